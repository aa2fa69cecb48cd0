//! The settings as they stand in the file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::limits::Limits;
use super::values::{
    AaguidText, CollectorUrl, DatabaseText, HttpsUrl, MetadataUrl, RpId, Span, SpiffeText,
    TrustDomain,
};
use super::{Conflict, is_name};

/// Longest session token (protocol §3.1).
const SESSION_TOKEN_CAP: Span = Span::seconds(900);
/// Longest action token (protocol §3.1).
const ACTION_TOKEN_CAP: Span = Span::seconds(60);

/// Everything an operator of the authority may set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where gateways connect.
    pub gateway_listen: Spanned<SocketAddr>,
    /// Issuer of tokens and audience of evidence.
    pub issuer: HttpsUrl,
    /// Audience of tokens: one trust domain or gateway group.
    pub audience: String,
    /// SPIFFE trust domain of the device certificates.
    pub trust_domain: TrustDomain,
    /// Reserved relying party id.
    pub rp_id: RpId,
    /// SQLite file, or PostgreSQL database.
    #[serde(default = "default_database")]
    pub database: Spanned<DatabaseText>,
    /// Directory of keys and certificates.
    #[serde(default = "default_keys")]
    pub keys: PathBuf,
    /// A certificate of the authority that somebody else keeps, such as an ACME client.
    pub tls: Option<TlsSettings>,
    /// How often a new token key takes over; never by itself without this.
    pub rotate_token_key: Option<Spanned<Span>>,
    /// How long things live.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// What a machine's TPM must show.
    pub tpm: TpmSettings,
    /// What machines may boot.
    pub machines: Option<MachineSettings>,
    /// Models of security key that are accepted.
    #[serde(default)]
    pub authenticators: Vec<AuthenticatorModel>,
    /// What is accepted at key enrolment besides the named models.
    #[serde(default)]
    pub registration: Registration,
    /// FIDO metadata.
    pub metadata: Option<MetadataSettings>,
    /// Who approves tickets, and when they are due.
    #[serde(default)]
    pub recovery: Recovery,
    /// Gateways that may ask.
    #[serde(default)]
    pub gateways: Vec<GatewaySettings>,
    /// Action policy.
    pub policy: PolicySettings,
    /// Bounds on what one caller may take.
    #[serde(default)]
    pub limits: Limits,
    /// The audit log.
    #[serde(default)]
    pub audit: AuditSettings,
    /// Logging.
    #[serde(default)]
    pub log: LogSettings,
    /// Spans for a collector.
    pub telemetry: Option<TelemetrySettings>,
}

/// A certificate of the authority that its own CA did not issue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Leaf first, with those between it and the root; read again whenever it changes.
    pub certificate: PathBuf,
    /// Its key, PKCS#8, mode 0600; read again whenever it changes.
    pub key: PathBuf,
    /// What leads to it: given to gateways as `authority-ca.pem`.
    pub ca: PathBuf,
}

/// How long things live, by the authority's clock.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifetimes {
    /// Session token.
    pub session_token: Spanned<Span>,
    /// Action token.
    pub action_token: Spanned<Span>,
    /// How long one proof of presence can carry a session: the longest window that policies give.
    pub presence: Spanned<Span>,
    /// Longest session.
    pub session: Spanned<Span>,
    /// Time to answer a challenge with a touch.
    pub challenge: Spanned<Span>,
    /// Time to answer a renewal's challenge.
    pub renewal_challenge: Spanned<Span>,
    /// Enrolment ticket.
    pub ticket: Spanned<Span>,
    /// Grant for the first key after a machine was enrolled.
    pub grant: Spanned<Span>,
    /// Time between the two halves of a machine's enrolment.
    pub enrolment: Spanned<Span>,
    /// Device and AK certificates.
    pub device_certificate: Spanned<Span>,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let span = |seconds| Spanned::new(0..0, Span::seconds(seconds));
        Self {
            session_token: span(300),
            action_token: span(60),
            presence: span(4 * 3600),
            session: span(10 * 3600),
            challenge: span(120),
            renewal_challenge: span(30),
            ticket: span(15 * 60),
            grant: span(15 * 60),
            enrolment: span(5 * 60),
            device_certificate: span(7 * 86400),
        }
    }
}

/// What a machine's TPM must show.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmSettings {
    /// Directory of TPM makers' root and intermediate certificates (PEM or DER).
    pub ek_roots: Spanned<PathBuf>,
    /// Accept a TPM without an endorsement certificate; its tokens say `dev: unproven`.
    #[serde(default)]
    pub danger_accept_unproven: bool,
    /// PCRs that must be quoted and judged.
    #[serde(default = "default_pcrs")]
    pub required_pcrs: Spanned<BTreeSet<u8>>,
    /// How PCR values are judged of machines that no machine policy is for.
    #[serde(default)]
    pub boot: BootMode,
}

/// What machines may boot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSettings {
    /// Directory of machine policies (`*.toml`).
    pub policies: Spanned<PathBuf>,
}

/// How PCR values are judged of machines that no machine policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// They must equal those of the machine's enrolment.
    #[default]
    Baseline,
    /// They are recorded, and judge nothing.
    Record,
}

/// One model (or one maker's family) of security key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticatorModel {
    /// For people.
    pub name: String,
    /// PEM file of the attestation roots.
    pub roots: Spanned<PathBuf>,
    /// AAGUIDs that these roots may vouch for. The one of zeros stands for their U2F keys.
    pub aaguids: Vec<AaguidText>,
    /// How the model verifies its user, by its metadata.
    pub user_verification: UserVerificationKind,
}

/// How a model verifies its user, by its metadata; what the UV flag can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserVerificationKind {
    /// Not at all: a touch is all that it asks for, as U2F keys do.
    None,
    /// PIN only; no sensor.
    Pin,
    /// Built-in sensor with a PIN to fall back on.
    BuiltInOrPin,
    /// Built-in sensor and no fallback.
    BuiltIn,
}

/// What is accepted at key enrolment besides the named models.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Accept keys that do not attest themselves (`none` or self attestation).
    pub danger_accept_unattested: bool,
    /// Accept keys that cannot verify their user; they never prove more than `signet.touch`.
    pub accept_touch_only: bool,
    /// How well a key must guard its credential.
    pub cred_protect: CredProtectKind,
    /// Where given, the only models that are accepted.
    pub allow_aaguids: Option<Vec<AaguidText>>,
    /// Models that are never accepted.
    pub deny_aaguids: Spanned<Vec<AaguidText>>,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            danger_accept_unattested: false,
            accept_touch_only: false,
            cred_protect: CredProtectKind::default(),
            allow_aaguids: None,
            deny_aaguids: Spanned::new(0..0, Vec::new()),
        }
    }
}

/// The least `credProtect` (CTAP 2.1 §12.1) of a key that applies one, or that metadata says could.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredProtectKind {
    /// Level 3: the credential is of no use, and not even found, without its user.
    #[default]
    UvRequired,
    /// Level 2: without its user, only by whoever knows its id.
    UvOptionalWithList,
    /// Any level.
    Any,
}

/// FIDO metadata: what the FIDO Alliance, or one's own organisation, publishes of models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataSettings {
    /// PEM file of the roots that a BLOB's chain may lead to.
    pub roots: Spanned<PathBuf>,
    /// DNS name that the certificate which signs it must have.
    #[serde(default = "default_signer")]
    pub signer: Spanned<String>,
    /// File that is read again at each refresh.
    pub file: Option<Spanned<PathBuf>>,
    /// Where it is fetched from at each refresh.
    pub url: Option<Spanned<MetadataUrl>>,
    /// PEM file of the CAs that may certify that server; by default Debian's bundle of web CAs.
    #[serde(default = "default_url_roots")]
    pub url_roots: Spanned<PathBuf>,
    /// How often file or URL is looked at.
    #[serde(default = "default_refresh")]
    pub refresh: Spanned<Span>,
    /// What happens when the next BLOB is overdue.
    #[serde(default)]
    pub stale: StalePolicy,
    /// Accept every model in it, and not only those of `allow_aaguids`.
    #[serde(default)]
    pub accept_all_models: bool,
}

/// What happens when the next BLOB is overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StalePolicy {
    /// It is logged and counted; what is known goes on counting.
    #[default]
    Warn,
    /// No key is enrolled until it is there.
    Refuse,
}

/// Who approves tickets, and when approvals are due (protocol §4.4).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// Operators who may approve tickets for others.
    pub administrators: Spanned<BTreeSet<String>>,
    /// `signet-authority ticket` makes none for people who have, or had, a key.
    pub two_administrators: bool,
    /// How long an approved ticket waits before it opens anything.
    pub delay: Span,
    /// How long a request waits for approvals, and the ticket that comes of it for its use.
    pub request: Spanned<Span>,
    /// A new machine of one's own needs only a touch of one's own key.
    pub own_device: bool,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            administrators: Spanned::new(0..0, BTreeSet::new()),
            two_administrators: false,
            delay: Span::seconds(0),
            request: Spanned::new(0..0, Span::seconds(86400)),
            own_device: false,
        }
    }
}

/// One gateway that may ask for decisions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Its SPIFFE ID, `spiffe://<trust_domain>/gateway/<name>`.
    pub spiffe_id: Spanned<SpiffeText>,
    /// The one source of the client's certificate that is believed from this gateway.
    pub peer_certificate: PeerCertificateSource,
    /// Where its questions say what they are about.
    #[serde(default)]
    pub request: RequestForm,
    /// A Unix socket on which this gateway, and no other, asks without TLS.
    pub socket: Option<Spanned<PathBuf>>,
    /// Users whose processes may connect to it.
    pub socket_uids: Option<BTreeSet<u32>>,
}

/// How a gateway reports the client's certificate; exactly one source is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerCertificateSource {
    /// Header `x-signet-peer-sha256`: SHA-256 of the DER certificate, hex.
    Sha256Header,
    /// Header `x-forwarded-client-cert` as Envoy writes it with `SANITIZE_SET` and `format: JSON`.
    XfccJson,
    /// Header `x-signet-peer-pem`: the certificate as PEM, percent-encoded.
    EscapedPem,
    /// Header `x-forwarded-tls-client-cert`: the DER certificate, base64.
    DerBase64,
    /// `attributes.source.certificate` of Envoy's gRPC question.
    Attributes,
}

impl PeerCertificateSource {
    /// The header it is in; `None` when it is in none.
    #[must_use]
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Sha256Header => Some("x-signet-peer-sha256"),
            Self::XfccJson => Some("x-forwarded-client-cert"),
            Self::EscapedPem => Some("x-signet-peer-pem"),
            Self::DerBase64 => Some("x-forwarded-tls-client-cert"),
            Self::Attributes => None,
        }
    }
}

/// Where a gateway's question over HTTP says what it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestForm {
    /// The question has the method, the host and, behind `/v1/authorize`, the target itself.
    #[default]
    Path,
    /// In `x-forwarded-method`, `-host` and `-uri`; the question itself is for `/v1/authorize`.
    Forwarded,
}

/// Action policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Directory of Cedar policies and the action map.
    pub directory: Spanned<PathBuf>,
}

/// The audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// How long at most new records wait for a signed checkpoint.
    pub checkpoint: Spanned<Span>,
    /// Where a yes to a read is on record before the database has it; every yes waits for the database without.
    pub journal: Option<PathBuf>,
    /// Keep the evidence that decisions were made on, under the hash that their records name.
    pub keep_evidence: bool,
    /// For how long.
    pub evidence_for: Span,
    /// How much at most, in MiB; the oldest goes first.
    pub evidence_mebibytes: u32,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            checkpoint: Spanned::new(0..0, Span::seconds(1)),
            journal: None,
            keep_evidence: true,
            evidence_for: Span::seconds(30 * 86400),
            evidence_mebibytes: 256,
        }
    }
}

/// Spans for a collector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Where it takes OTLP over HTTP; `/v1/traces` is added.
    pub otlp_endpoint: CollectorUrl,
    /// CAs of its certificate, for https.
    #[serde(default = "default_collector_roots")]
    pub roots: PathBuf,
}

/// Logging to standard error.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// One JSON object a line.
    pub json: bool,
}

impl Settings {
    /// The first contradiction, with the byte offset of the setting to change.
    pub(super) fn conflict(&self) -> Option<(usize, Conflict)> {
        self.lifetime_conflict()
            .or_else(|| self.database_conflict())
            .or_else(|| self.address_conflict())
            .or_else(|| self.metadata_conflict())
            .or_else(|| self.recovery_conflict())
            .or_else(|| {
                let often = self.rotate_token_key.as_ref()?;
                let least = Span::seconds(3600);
                (*often.get_ref() < least).then(|| (often.span().start, Conflict::RotatesTooOften))
            })
            .or_else(|| {
                let checkpoint = &self.audit.checkpoint;
                let zero = checkpoint.get_ref().duration().is_zero();
                zero.then(|| (checkpoint.span().start, Conflict::ZeroLifetime))
            })
    }

    fn recovery_conflict(&self) -> Option<(usize, Conflict)> {
        let Recovery { administrators, two_administrators, request, .. } = &self.recovery;
        let names = administrators.get_ref();
        if *two_administrators && names.len() < 2 {
            return Some((administrators.span().start, Conflict::TooFewAdministrators));
        }
        if !names.iter().all(|name| is_name(name)) {
            return Some((administrators.span().start, Conflict::AdministratorName));
        }
        let zero = request.get_ref().duration().is_zero();
        zero.then(|| (request.span().start, Conflict::ZeroLifetime))
    }

    fn lifetime_conflict(&self) -> Option<(usize, Conflict)> {
        let Lifetimes {
            session_token,
            action_token,
            presence,
            session,
            challenge,
            renewal_challenge,
            ticket,
            grant,
            enrolment,
            device_certificate,
        } = &self.lifetimes;
        let all = [
            session_token,
            action_token,
            presence,
            session,
            challenge,
            renewal_challenge,
            ticket,
            grant,
            enrolment,
            device_certificate,
        ];
        let zero = all.into_iter().find(|span| span.get_ref().duration().is_zero());
        let checks = [
            (zero.is_some(), zero.unwrap_or(session_token), Conflict::ZeroLifetime),
            (*session_token.get_ref() > SESSION_TOKEN_CAP, session_token, Conflict::TokenTooLong),
            (
                *action_token.get_ref() > ACTION_TOKEN_CAP,
                action_token,
                Conflict::ActionTokenTooLong,
            ),
            (presence.get_ref() > session.get_ref(), presence, Conflict::PresenceOutlivesSession),
        ];
        checks
            .into_iter()
            .find(|(found, ..)| *found)
            .map(|(_, span, conflict)| (span.span().start, conflict))
    }

    fn metadata_conflict(&self) -> Option<(usize, Conflict)> {
        let registration = &self.registration;
        let denied = registration.deny_aaguids.get_ref();
        let both = |allowed: &Vec<AaguidText>| denied.iter().any(|one| allowed.contains(one));
        if registration.allow_aaguids.as_ref().is_some_and(both) {
            return Some((registration.deny_aaguids.span().start, Conflict::AllowedAndDenied));
        }
        let metadata = self.metadata.as_ref()?;
        if let (Some(_), Some(url)) = (&metadata.file, &metadata.url) {
            return Some((url.span().start, Conflict::FileAndUrl));
        }
        let (signer, refresh) = (&metadata.signer, &metadata.refresh);
        if signer.get_ref().is_empty() {
            return Some((signer.span().start, Conflict::NoSigner));
        }
        let often = *refresh.get_ref() < Span::seconds(60);
        often.then(|| (refresh.span().start, Conflict::RefreshTooOften))
    }

    fn socket_conflict(&self) -> Option<(usize, Conflict)> {
        let mut seen = BTreeSet::new();
        self.gateways.iter().find_map(|gateway| {
            let users = gateway.socket_uids.as_ref().is_some_and(|uids| !uids.is_empty());
            match &gateway.socket {
                None if gateway.socket_uids.is_none() => None,
                Some(socket) if users => {
                    let span = socket.span().start;
                    (!seen.insert(socket.get_ref())).then_some((span, Conflict::SameSocket))
                }
                _ => {
                    let span = gateway.socket.as_ref().map(|socket| socket.span().start);
                    let span = span.unwrap_or(gateway.spiffe_id.span().start);
                    Some((span, Conflict::SocketWithoutUsers))
                }
            }
        })
    }

    fn database_conflict(&self) -> Option<(usize, Conflict)> {
        let on_server = matches!(self.database.get_ref(), DatabaseText::Server(_));
        let bounded = self.limits.database_mebibytes.is_some();
        (on_server && bounded).then(|| (self.database.span().start, Conflict::ServerSize))
    }

    fn address_conflict(&self) -> Option<(usize, Conflict)> {
        let gateway = &self.gateway_listen;
        if *gateway.get_ref() == self.listen && self.listen.port() != 0 {
            return Some((gateway.span().start, Conflict::SameListener));
        }
        let prefix = format!("spiffe://{}/gateway/", self.trust_domain);
        let foreign =
            self.gateways.iter().find(|g| !g.spiffe_id.get_ref().as_str().starts_with(&prefix));
        if let Some(foreign) = foreign {
            return Some((foreign.spiffe_id.span().start, Conflict::ForeignGateway));
        }
        if let Some(found) = self.socket_conflict() {
            return Some(found);
        }
        let pcrs = &self.tpm.required_pcrs;
        pcrs.get_ref()
            .iter()
            .any(|index| *index > 23)
            .then(|| (pcrs.span().start, Conflict::PcrIndex))
    }
}

fn default_signer() -> Spanned<String> {
    Spanned::new(0..0, "mds.fidoalliance.org".to_owned())
}

fn default_collector_roots() -> PathBuf {
    "/etc/ssl/certs/ca-certificates.crt".into()
}

fn default_url_roots() -> Spanned<PathBuf> {
    Spanned::new(0..0, "/etc/ssl/certs/ca-certificates.crt".into())
}

fn default_refresh() -> Spanned<Span> {
    Spanned::new(0..0, Span::seconds(6 * 3600))
}

fn default_database() -> Spanned<DatabaseText> {
    Spanned::new(0..0, DatabaseText::File("authority.db".into()))
}

fn default_keys() -> PathBuf {
    "keys".into()
}

fn default_pcrs() -> Spanned<BTreeSet<u8>> {
    Spanned::new(0..0, [0, 2, 4, 7].into())
}
