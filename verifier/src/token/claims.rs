//! What a token says (RFC 9068 profile; protocol §3.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use signet_evidence::{ActionDetails, CertificateThumbprint, KeyThumbprint, SessionId, UnixTime};

use crate::assurance::AssuranceLevel;

/// The claims of a session or action token. The JSON form is the JWT's; the CWT carries the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClaims {
    /// The authority's URL.
    pub iss: String,
    /// One gateway group or trust domain.
    pub aud: String,
    /// Operator, or SPIFFE ID of a workload.
    pub sub: String,
    /// SPIFFE ID of the device certificate.
    pub client_id: String,
    /// Issued at.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Expires.
    pub exp: i64,
    /// 128 random bits, hex.
    pub jti: String,
    /// Session, hex.
    pub sid: String,
    /// The authority's time of the last verified touch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_time: Option<i64>,
    /// [`AssuranceLevel`].
    pub acr: String,
    /// RFC 8176 methods that were proved.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub amr: Vec<String>,
    /// What the token is bound to.
    pub cnf: Confirmation,
    /// Granted scope.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
    /// The one request that an action token allows (RFC 9396).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authorization_details: Option<Vec<ActionDetails>>,
    /// Token Status List entry of the session.
    pub status: Status,
    /// Orthogonal facts for policy.
    pub signet: Facts,
}

/// `cnf` (RFC 7800): the JWT binds the certificate (RFC 8705), the CWT the key (RFC 9679).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// SHA-256 of the certificate, base64url.
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none", default)]
    pub x5t_s256: Option<String>,
    /// COSE Key Thumbprint; CWT only.
    #[serde(skip)]
    pub ckt: Option<[u8; 32]>,
}

impl Confirmation {
    /// Binds to a certificate.
    #[must_use]
    pub fn certificate(thumbprint: CertificateThumbprint) -> Self {
        Self { x5t_s256: Some(URL_SAFE_NO_PAD.encode(thumbprint.0)), ckt: None }
    }

    /// Binds to a key.
    #[must_use]
    pub fn key(thumbprint: KeyThumbprint) -> Self {
        Self { x5t_s256: None, ckt: Some(thumbprint.0) }
    }
}

/// `status` (Token Status List).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The list and the place in it.
    pub status_list: StatusListEntry,
}

/// A place in a status list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusListEntry {
    /// Index of the bit.
    pub idx: u64,
    /// Where the list is.
    pub uri: String,
}

/// Facts that policies may ask for; `acr` is only their summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Whether a person proved their presence in this session.
    pub human: bool,
    /// How the user was verified, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uvm: Option<String>,
    /// Who says so: `model` (attested), `tpm` (checked by the machine's TPM) or `host` (observed by
    /// the workstation only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uvm_src: Option<String>,
    /// How the authenticator attested itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_att: Option<String>,
    /// Device: `proven` (EK certificate chain) or `unproven`.
    pub dev: String,
    /// Boot state: `accepted` or `unjudged`.
    pub boot: String,
    /// When presence runs out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pres_exp: Option<i64>,
    /// When the session ends.
    pub sess_exp: i64,
    /// The certificate's SHA-256 in hex, for gateways that can only compare strings.
    pub x5t_hex: String,
    /// Good for one request only.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub once: bool,
}

impl TokenClaims {
    /// The assurance level; `None` for a level that this version does not know.
    #[must_use]
    pub fn assurance(&self) -> Option<AssuranceLevel> {
        AssuranceLevel::from_name(&self.acr)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        SessionId::from_hex(&self.sid)
    }

    /// How long ago the last verified touch was; `None` when there was none.
    #[must_use]
    pub fn presence_age(&self, now: UnixTime) -> Option<std::time::Duration> {
        self.auth_time.map(|at| now.since(UnixTime(at)))
    }
}
