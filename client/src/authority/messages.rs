//! What goes over HTTP between the client and the authority.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::base64url::Base64Url;
use crate::tokens::AccessToken;

/// `POST /v1/enrol/device/begin`.
#[derive(Debug, Serialize)]
pub(super) struct BeginEnrolment<'a> {
    pub(super) ticket: &'a str,
    pub(super) ek_kind: &'a str,
    pub(super) ek_public: Base64Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ek_certificate: Option<Base64Url>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ek_chain: Vec<Base64Url>,
    pub(super) ak_public: Base64Url,
    pub(super) tls_public: Base64Url,
}

/// The authority's challenge to the TPM.
#[derive(Clone, Debug, Deserialize)]
pub struct EnrolmentBegun {
    /// Names this enrolment.
    pub enrolment_id: String,
    /// TPM2B_ID_OBJECT.
    pub credential_blob: Base64Url,
    /// TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Base64Url,
    /// Nonce for the quote.
    pub nonce: Base64Url,
    /// The UEID the device will have.
    pub device_id: Base64Url,
    /// The SPIFFE ID the device will have.
    pub spiffe_id: String,
    /// Deterministic CBOR of all of it.
    pub transcript: Base64Url,
    /// Seconds to answer in.
    pub expires_in: u64,
}

/// An attestation and the signature over it.
#[derive(Debug, Serialize)]
pub(super) struct Signed {
    pub(super) attest: Base64Url,
    pub(super) signature: Base64Url,
}

/// `POST /v1/enrol/device/finish`.
#[derive(Debug, Serialize)]
pub(super) struct FinishEnrolment<'a> {
    pub(super) enrolment_id: &'a str,
    pub(super) proof: Base64Url,
    pub(super) certify: Signed,
    pub(super) quote: Signed,
    pub(super) pcrs: BTreeMap<String, Base64Url>,
    pub(super) csr: Base64Url,
}

/// What an enrolled machine is given.
#[derive(Clone, Debug, Deserialize)]
pub struct EnrolmentFinished {
    /// mTLS certificate, DER, leaf first.
    pub device_chain: Vec<Base64Url>,
    /// AK certificate, DER, leaf first.
    pub ak_chain: Vec<Base64Url>,
    /// UEID.
    pub device_id: Base64Url,
    /// SPIFFE ID of the certificate.
    pub spiffe_id: String,
    /// Audience of evidence.
    pub audience: String,
    /// FIDO2 relying party.
    pub rp_id: String,
    /// The person this machine belongs to.
    pub operator: String,
    /// TLS trust anchors, DER.
    pub ca: Vec<Base64Url>,
    /// Who signs this machine's certificates, now and at renewals, DER.
    pub issuers: Vec<Base64Url>,
    /// When the certificate ends, Unix seconds.
    pub certificate_expires: i64,
}

/// `POST /v1/enrol/device/renew`.
#[derive(Debug, Serialize)]
pub(super) struct RenewDevice {
    pub(super) evidence: Base64Url,
}

/// New certificates for the keys of an enrolled machine.
#[derive(Clone, Debug, Deserialize)]
pub struct DeviceRenewed {
    /// mTLS certificate, DER, leaf first.
    pub device_chain: Vec<Base64Url>,
    /// AK certificate, DER, leaf first.
    pub ak_chain: Vec<Base64Url>,
    /// Later CAs, each certified by the one before it, DER.
    #[serde(default)]
    pub successors: Vec<Base64Url>,
    /// When the certificate ends, Unix seconds.
    pub certificate_expires: i64,
}

/// `POST /v1/challenge`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChallengeRequest<'a> {
    /// [`signet_evidence::Purpose::as_str`].
    pub purpose: &'a str,
    /// The operator; the device's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// Rights asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// Assurance asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<&'a str>,
    /// Exact bytes of the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Base64Url>,
    /// The session, 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// What to answer, and with which credentials.
#[derive(Clone, Debug, Deserialize)]
pub struct Challenge {
    /// The challenge.
    pub challenge: Base64Url,
    /// Audience of the evidence.
    pub audience: String,
    /// The operator; absent or empty for workloads.
    #[serde(default)]
    pub subject: Option<String>,
    /// FIDO2 relying party.
    pub rp_id: String,
    /// Credentials that may answer.
    #[serde(default)]
    pub allow_credentials: Vec<Base64Url>,
    /// Credentials that may answer by a touch alone.
    #[serde(default)]
    pub touch_credentials: Vec<Base64Url>,
    /// `required` or `discouraged`.
    pub user_verification: String,
    /// SHA-256 of the event log that the authority has of this machine.
    #[serde(default)]
    pub event_log: Option<Base64Url>,
    /// Seconds to answer in.
    pub expires_in: u64,
}

/// `POST /v1/enrol/authenticator`.
#[derive(Debug, Serialize)]
pub(super) struct EnrolAuthenticator<'a> {
    pub(super) evidence: Base64Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
}

/// An authenticator that was just enrolled.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EnrolledAuthenticator {
    /// Credential id, base64url.
    pub credential_id: String,
    /// Model, UUID text; of zeros where there is none.
    #[serde(default)]
    pub aaguid: String,
    /// `packed`, `fido-u2f`, `tpm2-certify` and others.
    pub attestation: String,
    /// Name given by the person.
    #[serde(default)]
    pub name: Option<String>,
}

/// `GET /v1/authenticators`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AuthenticatorList {
    pub(super) authenticators: Vec<ListedAuthenticator>,
}

/// An enrolled authenticator.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ListedAuthenticator {
    /// Credential id, base64url.
    pub credential_id: String,
    /// Name given by the person.
    #[serde(default)]
    pub name: Option<String>,
    /// Model, UUID text; of zeros where there is none.
    #[serde(default)]
    pub aaguid: String,
    /// How it attested itself.
    pub attestation: String,
    /// Unix seconds.
    #[serde(default)]
    pub enrolled_at: Option<i64>,
    /// Unix seconds.
    #[serde(default)]
    pub last_used: Option<i64>,
    /// Whether it was revoked.
    #[serde(default)]
    pub revoked: bool,
    /// Maker and model, as metadata names them.
    #[serde(default)]
    pub model: Option<String>,
    /// `ok`, or what metadata says against the model.
    #[serde(default)]
    pub status: Option<String>,
    /// `security-key`, `tpm-pin` or `fingerprint`.
    #[serde(default)]
    pub kind: Option<String>,
    /// How the model verifies its user, such as `pin` or `built-in-or-pin`.
    #[serde(default)]
    pub uv_capable: Option<String>,
    /// The machine that a key of a machine's own is in.
    #[serde(default)]
    pub device: Option<String>,
}

/// `POST /v1/token` (RFC 8693 §2.1).
#[derive(Debug, Serialize)]
pub(super) struct TokenExchange<'a> {
    pub(super) grant_type: &'a str,
    pub(super) subject_token: &'a str,
    pub(super) subject_token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<&'a str>,
}

/// Of whom the certificate is that a token is bound to, and that is shown to gateways with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The machine's.
    #[default]
    Machine,
    /// The operator's: another with each token, for the machine's key.
    Operator,
}

/// `POST /v1/revoke` (RFC 7009 §2.1).
#[derive(Debug, Serialize)]
pub(super) struct Revocation<'a> {
    pub(super) token: &'a str,
}

/// A token and what the authority says of it (RFC 8693 §2.2.1).
#[derive(Clone, Debug, Deserialize)]
pub struct TokenResponse {
    /// The token.
    pub access_token: AccessToken,
    /// Seconds it lives.
    pub expires_in: u64,
    /// Rights granted.
    #[serde(default)]
    pub scope: Option<String>,
    /// The session, 32 hex digits.
    #[serde(default)]
    pub session: Option<String>,
    /// Assurance reached.
    #[serde(default)]
    pub acr: Option<String>,
    /// Seconds until a new touch is due.
    #[serde(default)]
    pub presence_expires_in: Option<u64>,
    /// What the authority minds of this machine and let pass, each with what to do.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The certificate that the token is bound to, leaf first; empty where it is the machine's.
    #[serde(default)]
    pub certificate: Vec<Base64Url>,
}
