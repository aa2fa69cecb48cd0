//! An authority with an enrolled machine, and the same server with a constant answer.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData};
use signet_authority::config::Config;
use signet_authority::keys::{self, Keys};
use signet_authority::random;
use signet_authority::state::system_clock;
use signet_authority::store::{
    AuditEntry, Decision, DeviceEnrolment, DeviceRow, Event, MintRecord, NewTicket, SessionChange,
    SessionKind, SessionRow, SqlStore, Store, TicketKind, TicketMachine, TokenRow,
};
use signet_evidence::{CertificateThumbprint, DeviceId, Purpose, SessionId, UnixTime};
use signet_tests::house::{AuthorityService, GatewayFiles, TRUST_DOMAIN};
use signet_verifier::AssuranceLevel;
use signet_verifier::challenge::ChallengeContext;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::records::TpmClock;
use signet_verifier::token::claims::{Confirmation, Status, StatusListEntry};
use signet_verifier::token::{Facts, PresenceRecord, TokenClaims};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::load::Way;
use crate::{Failure, Programs};

const DAY: Duration = Duration::from_secs(86_400);
/// As long as any session token lives.
const LIFE: i64 = 900;
const CLOCK: TpmClock = TpmClock { clock_ms: 1, reset_count: 1, restart_count: 0, safe: true };

pub(crate) struct Stage {
    pub(crate) authority: AuthorityService,
    pub(crate) gateway: GatewayFiles,
    pub(crate) machine: Machine,
    constant: Child,
    constant_address: SocketAddr,
    config: Config,
    keys: Keys,
    store: SqlStore,
    runtime: Runtime,
    folder: TempDir,
}

/// An enrolled machine: its certificate and key in PEM.
pub(crate) struct Machine {
    id: DeviceId,
    pub(crate) thumbprint: CertificateThumbprint,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.constant.kill();
        let _ = self.constant.wait();
    }
}

impl Stage {
    /// `source` is the gateway's `peer_certificate`.
    pub(crate) fn set(programs: &Programs, source: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("authority");
        // Of the example policy's mesh operators.
        let mut authority = AuthorityService::init(&place, "bob")?;
        let gateway = authority.admit_gateway("edge", &folder.path().join("gateway"))?;
        authority.set("peer_certificate", &format!("\"{source}\""))?;
        // Far more questions than any gateway asks: what they cost is to be seen, not where they end.
        authority.set("gateway", "\"100000000/1m\"")?;
        let (socket, uid) = (folder.path().join("edge.sock"), nix::unistd::getuid());
        authority
            .configure(&format!("socket = \"{}\"\nsocket_uids = [{uid}]\n", socket.display()))?;
        authority.serve()?;
        let config = Config::load(&authority.config())?;
        let (constant, constant_address) =
            start_constant(programs, &authority.config(), &folder.path().join("constant.sock"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (keys, integrity) =
            (keys::load(&config.keys())?, keys::load_integrity(&config.keys())?);
        let store = runtime.block_on(SqlStore::open(config.database(), integrity))?;
        let machine = runtime.block_on(enrol(&config, &keys, &store))?;
        Ok(Self {
            authority,
            gateway,
            machine,
            constant,
            constant_address,
            config,
            keys,
            store,
            runtime,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("edge.sock")
    }

    /// The authority's process and the way to it.
    pub(crate) fn ours(&self) -> Result<(u32, Way), Failure> {
        let pid = self.authority.pid().ok_or("the authority has ended")?;
        Ok((pid, Way::Unix(self.socket())))
    }

    /// The constant server's process and the way to it.
    pub(crate) fn constant(&self) -> (u32, Way) {
        (self.constant.id(), Way::Unix(self.folder.path().join("constant.sock")))
    }

    /// Where the constant server listens for gateways.
    pub(crate) fn constant_address(&self) -> SocketAddr {
        self.constant_address
    }

    /// The token key that signs now, public half in PEM.
    pub(crate) fn token_key_pem(&self) -> String {
        keys::public_key_pem(self.keys.token.signer(system_clock()()).public_point())
    }

    /// A new session, with its row in the store, and what its token says.
    pub(crate) fn session(&self) -> Result<TokenClaims, Failure> {
        self.runtime.block_on(self.start_session())
    }

    async fn start_session(&self) -> Result<TokenClaims, Failure> {
        let now = system_clock()();
        let presence = PresenceRecord {
            proved_at: now,
            expires: UnixTime(now.0 + 14_400),
            level: AssuranceLevel::Uv,
            methods: vec!["hwk".into(), "user".into(), "mfa".into()],
            verification: None,
            attestation: Some("packed".into()),
        };
        let session = SessionRow {
            id: SessionId(random::bytes()),
            kind: SessionKind::Person,
            subject: Some("bob".into()),
            device: self.machine.id.clone(),
            credential: None,
            reset_count: 1,
            scope: None,
            started_at: now,
            expires: now.plus(DAY),
            last_token_at: now,
            presence: Some(presence),
            status_index: self.store.reserve_status_indices(1).await?.start,
            ended: false,
        };
        let token = TokenRow {
            id: random::bytes(),
            session: session.id,
            action: None,
            issued_at: now,
            expires: UnixTime(now.0 + LIFE),
            redeemed: false,
            revoked: false,
        };
        let claims = self.claims(&session, &token);
        let context = ChallengeContext {
            peer: self.machine.thumbprint,
            purpose: Purpose::Session,
            action: None,
            session: None,
        };
        let challenge = self.keys.challenge.issue(&context, now.plus(DAY), random::bytes());
        let record = MintRecord {
            challenge: self.keys.challenge.check(&challenge, &context, now)?,
            device: self.machine.id.clone(),
            clock: CLOCK,
            credential: None,
            session: SessionChange::Start(session),
            token,
        };
        self.store.mint(&record, &allowed(Event::TokenSession)).await?;
        Ok(claims)
    }

    fn claims(&self, session: &SessionRow, token: &TokenRow) -> TokenClaims {
        let issuer = self.config.settings.issuer.to_string();
        TokenClaims {
            aud: self.config.settings.audience.clone(),
            sub: "bob".into(),
            client_id: self.config.device_spiffe_id(&self.machine.id),
            iat: token.issued_at.0,
            nbf: token.issued_at.0,
            exp: token.expires.0,
            jti: SessionId(token.id).to_string(),
            sid: session.id.to_string(),
            auth_time: Some(token.issued_at.0),
            acr: AssuranceLevel::Uv.as_str().into(),
            amr: vec!["hwk".into(), "user".into(), "mfa".into()],
            cnf: Confirmation::certificate(self.machine.thumbprint),
            scope: None,
            authorization_details: None,
            status: Status {
                status_list: StatusListEntry {
                    idx: session.status_index,
                    uri: format!("{issuer}/status/0"),
                },
            },
            signet: Facts {
                human: true,
                uvm: None,
                uvm_src: None,
                key_att: Some("packed".into()),
                dev: "proven".into(),
                boot: "accepted".into(),
                pres_exp: Some(token.issued_at.0 + 14_400),
                sess_exp: session.expires.0,
                x5t_hex: self.machine.thumbprint.to_hex(),
                once: false,
            },
            iss: issuer,
        }
    }

    /// The same claims signed anew: other bytes each time, so nobody has seen them.
    pub(crate) fn sign(&self, claims: &TokenClaims) -> Result<String, Failure> {
        let signer = self.keys.token.signer(system_clock()());
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, signer.key_id());
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
        let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
        let signature = signer.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The question of a gateway: may the owner of this token see a route?
    pub(crate) fn question(&self, token: &str) -> Vec<u8> {
        self.request("/v1/authorize", token)
    }

    /// The request as a client sends it to a gateway.
    pub(crate) fn request(&self, prefix: &str, token: &str) -> Vec<u8> {
        let peer = self.machine.thumbprint.to_hex();
        format!(
            "GET {prefix}/v1/namespaces/sandbox/routes/web HTTP/1.1\r\nhost: ctl.mesh.example\r\n\
             authorization: Bearer {token}\r\nx-signet-peer-sha256: {peer}\r\n\r\n"
        )
        .into_bytes()
    }
}

fn start_constant(
    programs: &Programs,
    config: &Path,
    socket: &Path,
) -> Result<(Child, SocketAddr), Failure> {
    let mut child = Command::new(programs.path("constant-service"))
        .arg(config)
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match line.trim().parse() {
        Ok(address) => Ok((child, address)),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err("constant-service did not start".into())
        }
    }
}

fn allowed(event: Event) -> AuditEntry {
    AuditEntry::new(system_clock()(), event, Decision::Allowed)
}

/// Enrols a machine of bob's as if its TPM had been judged.
async fn enrol(config: &Config, keys: &Keys, store: &dyn Store) -> Result<Machine, Failure> {
    let now = system_clock()();
    let key = KeyPair::generate()?;
    let id = DeviceId::from_random(&random::bytes::<16>()).ok_or("a device id")?;
    let point: [u8; 65] = key.der_bytes().try_into()?;
    let certificate =
        keys.device_ca.issuer(now).issue_device(&point, &config.device_spiffe_id(&id), now, DAY)?;
    let public = P256PublicKey::from_uncompressed_point(&point)?;
    let digest = random::bytes();
    let ticket = NewTicket {
        digest,
        kind: TicketKind::Device,
        operator: "bob".into(),
        asset: None,
        machine: TicketMachine::default(),
        created_at: now,
        expires: now.plus(DAY),
    };
    store.add_ticket(&ticket, &allowed(Event::Ticket)).await?;
    let device = DeviceRow {
        id: id.clone(),
        operator: "bob".into(),
        asset: None,
        ek_digest: random::bytes(),
        ek_proven: true,
        ak_name: vec![1],
        ak: public.clone(),
        tls_key: public,
        pcrs: [(0, vec![0; 32])].into(),
        clock: CLOCK,
        enrolled_at: now,
        revoked: false,
    };
    let enrolment = DeviceEnrolment { ticket: digest, device, grant_expires: now };
    store.enrol_device(&enrolment, &allowed(Event::DeviceEnrol)).await?;
    Ok(Machine {
        id,
        thumbprint: CertificateThumbprint::of_der(&certificate),
        certificate: keys::pem(&certificate),
        key: key.serialize_pem(),
    })
}

/// The trust domain of every stage, which is its tokens' audience too.
pub(crate) const AUDIENCE: &str = TRUST_DOMAIN;
