//! Minting: an [`AttestationResult`] becomes a token, and nothing else does.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::{CertificateThumbprint, Purpose, SessionId, UnixTime};
use thiserror::Error;
use zeroize::Zeroizing;

use super::claims::{Confirmation, Facts, Status, StatusListEntry, TokenClaims};
use super::signer::{SigningUnavailable, TokenSigner};
use super::{MAX_ACTION_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS, cwt, jwt};
use crate::assurance::AssuranceLevel;
use crate::certificate::Certificate;
use crate::result::AttestationResult;

/// What a person once proved in a session, as the store keeps it for renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRecord {
    /// When, by the authority's clock.
    pub proved_at: UnixTime,
    /// Until when it counts.
    pub expires: UnixTime,
    /// The level that was reached.
    pub level: AssuranceLevel,
    /// RFC 8176 methods.
    pub methods: Vec<String>,
    /// How the user was verified, where known, and who says so (`model` or `host`).
    pub verification: Option<(String, String)>,
    /// How the authenticator attested itself.
    pub attestation: Option<String>,
}

/// The session that a token belongs to.
#[derive(Clone, Debug)]
pub struct SessionTerms {
    /// Its id.
    pub id: SessionId,
    /// When it ends, whatever happens.
    pub expires: UnixTime,
    /// The presence that counts now; `None` for workloads.
    pub presence: Option<PresenceRecord>,
}

/// A place in a status list.
#[derive(Clone, Debug)]
pub struct StatusReference {
    /// Index of the session's bit.
    pub index: u64,
    /// Where the list is.
    pub uri: String,
}

/// JWT or CWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// Bound to the certificate (`x5t#S256`).
    Jwt,
    /// Bound to the key (`ckt`).
    Cwt,
}

/// What the authority decides about a token.
#[derive(Clone, Debug)]
pub struct TokenTerms {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// SPIFFE ID of the device certificate.
    pub client_id: String,
    /// 128 fresh random bits.
    pub token_id: [u8; 16],
    /// Now.
    pub issued_at: UnixTime,
    /// Life; cut to the caps of 900 s and, for action tokens, 60 s.
    pub lifetime: Duration,
    /// The session.
    pub session: SessionTerms,
    /// The session's status bit.
    pub status: StatusReference,
    /// Granted scope.
    pub scope: Option<String>,
    /// The certificate that the token is bound to where it is not the one that the evidence was made with.
    pub certificate: Option<KeyCertificate>,
}

impl TokenTerms {
    /// When a token of evidence for `purpose` runs out: never after its session, nor after the presence that
    /// gives it its level.
    #[must_use]
    pub fn expires(&self, purpose: Purpose) -> UnixTime {
        let cap = match purpose {
            Purpose::Action => MAX_ACTION_LIFETIME_SECONDS,
            _ => MAX_LIFETIME_SECONDS,
        };
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(cap).min(cap);
        let presence = self.session.presence.as_ref().map(|presence| presence.expires);
        let expires = UnixTime(self.issued_at.0.saturating_add(lifetime)).min(self.session.expires);
        presence.map_or(expires, |presence| presence.min(expires))
    }
}

/// Another certificate of the key that evidence was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCertificate(CertificateThumbprint);

impl KeyCertificate {
    /// The certificate `der` (DER), for the key of this evidence.
    ///
    /// # Errors
    /// [`MintError::OtherKey`] when it is not one for that key.
    pub fn of(result: &AttestationResult, der: &[u8]) -> Result<Self, MintError> {
        let certificate = Certificate::parse(der).map_err(|_| MintError::OtherKey)?;
        let key = certificate.p256_key().map_err(|_| MintError::OtherKey)?;
        if key.thumbprint() != result.key() {
            return Err(MintError::OtherKey);
        }
        Ok(Self(certificate.thumbprint()))
    }
}

/// A minted token.
pub struct MintedToken {
    /// As it goes to the client: the JWT, or the CWT in base64url.
    pub encoded: Zeroizing<String>,
    /// What it says.
    pub claims: TokenClaims,
}

/// No token was minted.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum MintError {
    /// The peer certificate is not the one that the evidence was judged with.
    #[error("the connection's certificate is not the evidence's")]
    PeerChanged,
    /// A token is only ever bound to the key that the evidence was made with.
    #[error("the certificate is not one of the evidence's key")]
    OtherKey,
    /// Key enrolment and device enrolment give no token.
    #[error("evidence for {0} gives no token")]
    Purpose(Purpose),
    /// A person's session without a presence that counts.
    #[error("the session's presence has run out")]
    PresenceExpired,
    /// The session is over.
    #[error("the session is over")]
    SessionExpired,
    /// The key did not sign.
    #[error("the token was not signed")]
    Signing(#[from] SigningUnavailable),
}

/// Mints a token for the holder of `peer`, on the terms given.
///
/// An action's evidence gives an action token: one request, once, at most 60 s.
///
/// # Errors
/// See [`MintError`].
pub fn mint(
    result: &AttestationResult,
    peer: CertificateThumbprint,
    terms: &TokenTerms,
    format: TokenFormat,
    signer: &dyn TokenSigner,
) -> Result<MintedToken, MintError> {
    if result.peer() != peer {
        return Err(MintError::PeerChanged);
    }
    let claims = claims(result, terms, format)?;
    let encoded = match format {
        TokenFormat::Jwt => jwt::encode(&claims, signer)?,
        TokenFormat::Cwt => Zeroizing::new(URL_SAFE_NO_PAD.encode(&*cwt::encode(&claims, signer)?)),
    };
    Ok(MintedToken { encoded, claims })
}

fn claims(
    result: &AttestationResult,
    terms: &TokenTerms,
    format: TokenFormat,
) -> Result<TokenClaims, MintError> {
    let now = terms.issued_at;
    let once = match result.purpose() {
        Purpose::Action => true,
        Purpose::Session | Purpose::Renew | Purpose::Workload => false,
        purpose @ (Purpose::EnrolDevice | Purpose::EnrolKey) => {
            return Err(MintError::Purpose(purpose));
        }
    };
    if terms.session.expires <= now {
        return Err(MintError::SessionExpired);
    }
    let presence = terms.session.presence.as_ref();
    match presence {
        Some(presence) if presence.expires <= now => return Err(MintError::PresenceExpired),
        None if result.purpose() != Purpose::Workload => return Err(MintError::PresenceExpired),
        _ => {}
    }
    let bound = terms.certificate.map_or(result.peer(), |certificate| certificate.0);
    let verification = presence.and_then(|presence| presence.verification.clone());
    Ok(TokenClaims {
        iss: terms.issuer.clone(),
        aud: terms.audience.clone(),
        sub: result.subject().map_or_else(|| terms.client_id.clone(), str::to_owned),
        client_id: terms.client_id.clone(),
        iat: now.0,
        nbf: now.0,
        exp: terms.expires(result.purpose()).0,
        jti: SessionId(terms.token_id).to_string(),
        sid: terms.session.id.to_string(),
        auth_time: presence.map(|presence| presence.proved_at.0),
        acr: presence.map_or(AssuranceLevel::Device, |presence| presence.level).as_str().into(),
        amr: presence.map(|presence| presence.methods.clone()).unwrap_or_default(),
        cnf: match format {
            TokenFormat::Jwt => Confirmation::certificate(bound),
            TokenFormat::Cwt => Confirmation::key(result.key()),
        },
        scope: terms.scope.clone(),
        authorization_details: result.action().map(|action| vec![action.details().clone()]),
        status: Status {
            status_list: StatusListEntry { idx: terms.status.index, uri: terms.status.uri.clone() },
        },
        signet: Facts {
            human: presence.is_some(),
            uvm: verification.as_ref().map(|(method, _)| method.clone()),
            uvm_src: verification.map(|(_, source)| source),
            key_att: presence.and_then(|presence| presence.attestation.clone()),
            dev: if result.device_proven() { "proven" } else { "unproven" }.into(),
            boot: result.boot().state.claim().into(),
            pres_exp: presence.map(|presence| presence.expires.0),
            sess_exp: terms.session.expires.0,
            x5t_hex: bound.to_hex(),
            once,
        },
    })
}
