//! `signetd` on the message bus.

mod answer;
mod dictionary;
mod enrolment;
mod error;
mod method;
mod proxy;
mod request;
mod sessions;
mod stage;
mod upkeep;

use aws_lc_rs::rand;
use signet_evidence::Purpose;
use signet_evidence::thumbprint::hex;
use zbus::Connection;
use zbus::fdo::DBusProxy;

pub use answer::{Answer, Completion, Finger, Sensor, StoredCredential, StoredCredentials};
use dictionary::Dictionary;
pub use enrolment::{Activation, ActivationRequest, EndorsementKey, EnrolledState, EnrolmentKeys};
pub use error::{DaemonError, DaemonRefusal};
pub use method::{Means, Method};
use proxy::{Arguments, Presence1Proxy, RequestProxy};
pub use request::{Event, Request};
pub use sessions::Standing;
pub use stage::{Progress, Prompt, Sample, Step};
pub use upkeep::{Configuration, Plugged, Upkeep};

/// The service's name on the bus.
pub const SERVICE: &str = "org.signet.Presence1";
const REQUEST_PATH: &str = "/org/signet/Presence1/request";

/// Longest wait for the answer to a call. A TPM may need half a minute to make its keys.
const CALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Which message bus `signetd` is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// The system bus.
    #[default]
    System,
    /// A bus at this D-Bus address.
    Address(String),
}

impl Bus {
    /// Connects.
    ///
    /// # Errors
    /// [`DaemonError::Bus`].
    pub async fn connect(&self) -> Result<Connection, DaemonError> {
        let builder = match self {
            Self::System => zbus::connection::Builder::system(),
            Self::Address(address) => zbus::connection::Builder::address(address.as_str()),
        };
        builder.method_timeout(CALL_LIMIT).build().await.map_err(DaemonError::Bus)
    }
}

/// A connection to `signetd`.
#[derive(Clone, Debug)]
pub struct Daemon {
    proxy: Presence1Proxy<'static>,
}

/// How this machine is enrolled, as `signetd` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// UEID in hex.
    pub device_id: String,
    /// The person this machine belongs to.
    pub operator: String,
    /// The authority's URL.
    pub authority: String,
    /// Audience of evidence.
    pub audience: String,
    /// FIDO2 relying party.
    pub rp_id: String,
    /// mTLS client certificate, DER, leaf first.
    pub certificates: Vec<Vec<u8>>,
    /// The authority's TLS trust anchors, DER.
    pub trust_anchors: Vec<Vec<u8>>,
}

/// What to prove, and to whom.
#[derive(Clone, Debug)]
pub struct PresenceRequest<'a> {
    /// What the evidence is for.
    pub purpose: Purpose,
    /// The authority's challenge.
    pub challenge: &'a [u8],
    /// The operator; none for workloads.
    pub subject: Option<&'a str>,
    /// Rights asked for.
    pub scope: Option<&'a str>,
    /// Assurance asked for.
    pub acr: Option<&'a str>,
    /// Exact bytes of the action that is approved.
    pub action: Option<&'a [u8]>,
    /// The session that is renewed.
    pub session: Option<[u8; 16]>,
    /// Credentials that may answer.
    pub allow_credentials: &'a [Vec<u8>],
    /// Credentials that may answer by a touch alone.
    pub touch_credentials: &'a [Vec<u8>],
    /// `required` or `discouraged`, as the authority asks.
    pub user_verification: &'a str,
    /// SHA-256 of the event log that the authority has of this machine.
    pub known_event_log: Option<&'a [u8]>,
    /// What to prove it with.
    pub means: Means,
    /// Our own words to the person, at most 200 characters; shown as such.
    pub reason: Option<&'a str>,
    /// The far host that asks through this machine; shown as not proved.
    pub remote: Option<&'a str>,
}

impl<'a> PresenceRequest<'a> {
    /// For a session of this operator: the authority's challenge is answered with one of these
    /// credentials and user verification.
    #[must_use]
    pub fn session(
        subject: &'a str,
        challenge: &'a [u8],
        allow_credentials: &'a [Vec<u8>],
    ) -> Self {
        Self {
            purpose: Purpose::Session,
            challenge,
            subject: Some(subject),
            scope: None,
            acr: None,
            action: None,
            session: None,
            allow_credentials,
            touch_credentials: &[],
            user_verification: "required",
            known_event_log: None,
            means: Means::default(),
            reason: None,
            remote: None,
        }
    }
}

/// What a new authenticator is registered over.
#[derive(Clone, Debug)]
pub struct RegistrationRequest<'a> {
    /// The authority's challenge.
    pub challenge: &'a [u8],
    /// The operator.
    pub subject: &'a str,
    /// Credentials whose authenticators must not register again.
    pub exclude_credentials: &'a [Vec<u8>],
    /// Credentials one of which must assert first; empty when a ticket or a grant allows it.
    pub authorise_with: &'a [Vec<u8>],
    /// SHA-256 of the event log that the authority has of this machine.
    pub known_event_log: Option<&'a [u8]>,
    /// What kind of authenticator.
    pub means: Means,
    /// Our own words to the person, at most 200 characters; shown as such.
    pub reason: Option<&'a str>,
}

/// An authenticator that is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// Device node.
    pub path: String,
    /// What it calls itself.
    pub product: String,
    /// Model; 16 bytes.
    pub aaguid: Vec<u8>,
    /// CTAP versions.
    pub versions: Vec<String>,
    /// Whether a PIN is set.
    pub pin_set: bool,
    /// `none`, `not-enrolled` or `enrolled`.
    pub built_in_uv: String,
    /// Fewest characters of a PIN.
    pub min_pin_length: u32,
    /// Whether it speaks nothing newer than U2F.
    pub u2f_only: bool,
    /// Whether a touch is all it can prove.
    pub touch_only: bool,
    /// The maker's number of the firmware.
    pub firmware: Option<u32>,
    /// Ways to reach it, such as `usb`.
    pub transports: Vec<String>,
    /// Whether it verifies its user for everything.
    pub always_uv: bool,
    /// Whether its PIN must be changed before it is used again.
    pub force_pin_change: bool,
    /// `unsupported`, `none` or `enrolled`.
    pub fingers: String,
    /// Room for discoverable credentials, where the key says.
    pub credentials_left: Option<u32>,
    /// Whether enterprise attestation is on.
    pub enterprise_attestation: bool,
}

/// How `signetd` and its TPM are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonStatus {
    /// `ok`, or what is wrong.
    pub tpm: String,
    /// Maker, such as `IBM`.
    pub tpm_manufacturer: Option<String>,
    /// Firmware version.
    pub tpm_firmware: Option<String>,
    /// TPM resets since it was cleared.
    pub reset_count: Option<u32>,
    /// Resumes since the last reset.
    pub restart_count: Option<u32>,
    /// Whether the TPM is locked against guessing.
    pub lockout: Option<bool>,
    /// Whether this machine is enrolled.
    pub enrolled: bool,
    /// Requests waiting.
    pub queue_length: Option<u32>,
    /// Driver of the machine's fingerprint reader, or why there is none to use.
    pub fingerprint_reader: Option<String>,
    /// This machine's own keys.
    pub platform_keys: Vec<PlatformKey>,
    /// How the TPM behaves: `ok`, `busy`, `lockout`, `failed` or `missing`.
    pub tpm_health: Option<String>,
    /// What to do when it is not `ok`.
    pub tpm_advice: Option<String>,
    /// Wrong PINs that the TPM counts now.
    pub lockout_counter: Option<u32>,
    /// Wrong PINs that lock it.
    pub lockout_limit: Option<u32>,
    /// Seconds after which one is forgotten.
    pub lockout_recovery: Option<u32>,
    /// Kinds of endorsement key that the TPM's maker left a certificate for.
    pub ek_certificates: Option<Vec<String>>,
    /// The attestation key's certificate, DER.
    pub ak_certificate: Option<Vec<u8>>,
    /// The log of what booted: `ok`, or why there is none to show.
    pub boot_log: Option<String>,
    /// Who says whether a caller may: `polkit`, or `danger-skip-polkit`.
    pub authorisation: Option<String>,
    /// Whether an agent shows prompts to this user.
    pub agent: Option<bool>,
}

/// A key of the machine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformKey {
    /// What sets it free.
    pub method: String,
    /// Its credential id, in hex.
    pub credential_id: String,
}

impl Daemon {
    /// Connects to the bus; `signetd` itself is called first by the first method.
    ///
    /// # Errors
    /// [`DaemonError::Bus`].
    pub async fn connect(bus: &Bus) -> Result<Self, DaemonError> {
        Self::over(&bus.connect().await?).await
    }

    /// Speaks over this connection.
    ///
    /// # Errors
    /// [`DaemonError::Bus`].
    pub(crate) async fn over(connection: &Connection) -> Result<Self, DaemonError> {
        let proxy = Presence1Proxy::builder(connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        Ok(Self { proxy })
    }

    /// How this machine is enrolled; `None` when it is not.
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn enrolment(&self) -> Result<Option<Enrolment>, DaemonError> {
        let proxy = &self.proxy;
        if !proxy.enrolled().await? {
            return Ok(None);
        }
        Ok(Some(Enrolment {
            device_id: proxy.device_id().await?,
            operator: proxy.operator().await?,
            authority: proxy.authority().await?,
            audience: proxy.audience().await?,
            rp_id: proxy.rp_id().await?,
            certificates: proxy.device_certificates().await?,
            trust_anchors: proxy.authority_certificates().await?,
        }))
    }

    /// The version of `signetd`.
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn version(&self) -> Result<String, DaemonError> {
        Ok(self.proxy.version().await?)
    }

    /// Starts a proof of presence.
    ///
    /// # Errors
    /// When `signetd` refuses at once or cannot be reached.
    pub async fn request_presence(
        &self,
        request: &PresenceRequest<'_>,
    ) -> Result<Request, DaemonError> {
        let mut arguments: Arguments<'_> = [
            ("purpose", request.purpose.as_str().into()),
            ("challenge", request.challenge.into()),
            ("allow_credentials", request.allow_credentials.to_vec().into()),
            ("user_verification", request.user_verification.into()),
        ]
        .into();
        for (member, text) in [
            ("subject", request.subject),
            ("scope", request.scope),
            ("acr", request.acr),
            ("reason", request.reason),
            ("remote", request.remote),
        ] {
            if let Some(text) = text {
                arguments.insert(member, text.into());
            }
        }
        if let Some(action) = request.action {
            arguments.insert("action", action.into());
        }
        if let Some(session) = &request.session {
            arguments.insert("session", session.as_slice().into());
        }
        if !request.touch_credentials.is_empty() {
            arguments.insert("touch_credentials", request.touch_credentials.to_vec().into());
        }
        if let Some(digest) = request.known_event_log {
            arguments.insert("known_event_log", digest.into());
        }
        request.means.insert(&mut arguments);
        let (listening, token) = self.listen().await?;
        match request.purpose {
            Purpose::Session | Purpose::Action => {
                self.proxy.request_presence_of_person(&token, &arguments).await?;
            }
            _ => {
                self.proxy.request_presence(&token, &arguments).await?;
            }
        }
        Ok(listening)
    }

    /// Starts the registration of a new authenticator.
    ///
    /// # Errors
    /// When `signetd` refuses at once or cannot be reached.
    pub async fn register_authenticator(
        &self,
        request: &RegistrationRequest<'_>,
    ) -> Result<Request, DaemonError> {
        let mut arguments: Arguments<'_> = [
            ("challenge", request.challenge.into()),
            ("subject", request.subject.into()),
            ("exclude_credentials", request.exclude_credentials.to_vec().into()),
        ]
        .into();
        if !request.authorise_with.is_empty() {
            arguments.insert("authorise_with", request.authorise_with.to_vec().into());
        }
        if let Some(reason) = request.reason {
            arguments.insert("reason", reason.into());
        }
        if let Some(digest) = request.known_event_log {
            arguments.insert("known_event_log", digest.into());
        }
        request.means.insert(&mut arguments);
        let (listening, token) = self.listen().await?;
        self.proxy.register_authenticator(&token, &arguments).await?;
        Ok(listening)
    }

    /// Signs the content of a TLS 1.3 client `CertificateVerify`; DER ECDSA with SHA-256.
    ///
    /// # Errors
    /// When `signetd` refuses the message or cannot be reached.
    pub async fn sign_tls(&self, message: &[u8]) -> Result<Vec<u8>, DaemonError> {
        Ok(self.proxy.sign_tls(message).await?)
    }

    /// The authenticators that are plugged in.
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn authenticators(&self) -> Result<Vec<Authenticator>, DaemonError> {
        let found = self.proxy.list_authenticators().await?;
        found.into_iter().map(|entry| authenticator(Dictionary::new(entry))).collect()
    }

    /// How `signetd` and its TPM are.
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn status(&self) -> Result<DaemonStatus, DaemonError> {
        let mut status = Dictionary::new(self.proxy.status().await?);
        Ok(DaemonStatus {
            tpm: status.take("tpm")?,
            tpm_manufacturer: status.optional("tpm_manufacturer")?,
            tpm_firmware: status.optional("tpm_firmware")?,
            reset_count: status.optional("reset_count")?,
            restart_count: status.optional("restart_count")?,
            lockout: status.optional("lockout")?,
            enrolled: status.take("enrolled")?,
            queue_length: status.optional("queue_length")?,
            fingerprint_reader: status.optional("fingerprint_reader")?,
            platform_keys: platform_keys(status.optional("platform_keys")?.unwrap_or_default()),
            tpm_health: status.optional("tpm_health")?,
            tpm_advice: status.optional("tpm_advice")?,
            lockout_counter: status.optional("lockout_counter")?,
            lockout_limit: status.optional("lockout_limit")?,
            lockout_recovery: status.optional("lockout_recovery")?,
            ek_certificates: status.optional("ek_certificates")?,
            ak_certificate: status.optional("ak_certificate")?,
            boot_log: status.optional("boot_log")?,
            authorisation: status.optional("authorisation")?,
            agent: status.optional("agent")?,
        })
    }

    /// Listens where the request with a fresh handle token will be, so that no signal is missed.
    /// Bound to the process that owns the name now: if it goes, the request is lost and says so.
    async fn listen(&self) -> Result<(Request, String), DaemonError> {
        let connection = self.proxy.inner().connection();
        let bus = DBusProxy::new(connection).await?;
        let service = zbus::names::BusName::try_from(SERVICE)?;
        let owner = match bus.get_name_owner(service.clone()).await {
            Ok(owner) => owner,
            // A property read lets the bus start the service, where it knows how.
            Err(zbus::fdo::Error::NameHasNoOwner(_)) => {
                self.proxy.version().await?;
                bus.get_name_owner(service).await.map_err(zbus::Error::from)?
            }
            Err(error) => return Err(zbus::Error::from(error).into()),
        };
        let token = hex(&random::<16>());
        let sender = connection.unique_name().map(|name| name.as_str()).unwrap_or_default();
        let sender = sender.trim_start_matches(':').replace('.', "_");
        let proxy = RequestProxy::builder(connection)
            .destination(owner.into_inner())
            .path(format!("{REQUEST_PATH}/{sender}/{token}"))
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        Ok((Request::listen(proxy).await?, token))
    }
}

fn authenticator(mut entry: Dictionary) -> Result<Authenticator, DaemonError> {
    Ok(Authenticator {
        path: entry.take("path")?,
        product: entry.take("product")?,
        aaguid: entry.take("aaguid")?,
        versions: entry.take("versions")?,
        pin_set: entry.take("pin_set")?,
        built_in_uv: entry.take("built_in_uv")?,
        min_pin_length: entry.optional("min_pin_length")?.unwrap_or(4),
        u2f_only: entry.optional("u2f_only")?.unwrap_or(false),
        touch_only: entry.optional("touch_only")?.unwrap_or(false),
        firmware: entry.optional("firmware")?,
        transports: entry.optional("transports")?.unwrap_or_default(),
        always_uv: entry.optional("always_uv")?.unwrap_or(false),
        force_pin_change: entry.optional("force_pin_change")?.unwrap_or(false),
        fingers: entry.optional("fingers")?.unwrap_or_else(|| "unsupported".to_owned()),
        credentials_left: entry.optional("credentials_left")?,
        enterprise_attestation: entry.optional("enterprise_attestation")?.unwrap_or(false),
    })
}

/// Keys of the machine's own, each its method, a space, and its credential id.
fn platform_keys(listed: Vec<String>) -> Vec<PlatformKey> {
    let key = |text: &String| {
        let (method, credential_id) = text.split_once(' ')?;
        Some(PlatformKey { method: method.into(), credential_id: credential_id.into() })
    };
    listed.iter().filter_map(key).collect()
}

/// Random bytes that need to be unguessable at most; all zero if the system gives none, which only
/// makes a handle token clash.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = rand::fill(&mut bytes);
    bytes
}
