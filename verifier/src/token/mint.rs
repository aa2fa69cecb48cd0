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
    let cap = if once { MAX_ACTION_LIFETIME_SECONDS } else { MAX_LIFETIME_SECONDS };
    let lifetime = i64::try_from(terms.lifetime.as_secs()).unwrap_or(cap).min(cap);
    // A token never outlives its session, nor the presence that gives it its level.
    let expires = [Some(now.0.saturating_add(lifetime)), Some(terms.session.expires.0)]
        .into_iter()
        .chain([presence.map(|presence| presence.expires.0)])
        .flatten()
        .min()
        .unwrap_or(now.0);
    let verification = presence.and_then(|presence| presence.verification.clone());
    Ok(TokenClaims {
        iss: terms.issuer.clone(),
        aud: terms.audience.clone(),
        sub: result.subject().map_or_else(|| terms.client_id.clone(), str::to_owned),
        client_id: terms.client_id.clone(),
        iat: now.0,
        nbf: now.0,
        exp: expires,
        jti: SessionId(terms.token_id).to_string(),
        sid: terms.session.id.to_string(),
        auth_time: presence.map(|presence| presence.proved_at.0),
        acr: presence.map_or(AssuranceLevel::Device, |presence| presence.level).as_str().into(),
        amr: presence.map(|presence| presence.methods.clone()).unwrap_or_default(),
        cnf: match format {
            TokenFormat::Jwt => Confirmation::certificate(result.peer()),
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
            x5t_hex: result.peer().to_hex(),
            once,
        },
    })
}
