//! Judging a token that came with a connection (protocol §3.3).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::{CertificateThumbprint, KeyThumbprint, RejectionCode, UnixTime};
use thiserror::Error;

use super::claims::TokenClaims;
use super::signer::{Jwk, TokenSigner};
use super::{MAX_ACTION_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS, MAX_TOKEN, cwt, jwt};
use crate::ecdsa::{P256PublicKey, SignatureInvalid};
use crate::rejection::Rejection;

/// How far the issuer's and the checker's clocks may differ, in seconds.
const SKEW: i64 = 5;

/// A public key that tokens may be signed with. Its algorithm is fixed: ES256.
/// Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(Arc<NamedKey>);

struct NamedKey {
    id: String,
    point: [u8; 65],
    /// Put on the curve once; `None` for bytes that are not on it, which verify nothing.
    parsed: Option<P256PublicKey>,
}

impl PartialEq for NamedKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.point == other.point
    }
}

impl Eq for NamedKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.0.id)
    }
}

impl VerifyingKey {
    /// The public key of `signer`, under its own name for it.
    #[must_use]
    pub fn of_signer(signer: &dyn TokenSigner) -> Self {
        Self::new(signer.key_id().to_owned(), *signer.public_point())
    }

    /// The key of a JWK; `None` when it is not a P-256 signing key.
    #[must_use]
    pub fn from_jwk(jwk: &Jwk) -> Option<Self> {
        Some(Self::new(jwk.kid.clone(), jwk.point()?))
    }

    fn new(id: String, point: [u8; 65]) -> Self {
        let parsed = P256PublicKey::from_uncompressed_point(&point).ok();
        Self(Arc::new(NamedKey { id, point, parsed }))
    }

    /// RFC 7638 thumbprint, or whatever the issuer calls it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.0.id
    }

    /// Checks an ES256 signature (r ‖ s).
    pub(crate) fn verify(
        &self,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), SignatureInvalid> {
        self.0.parsed.as_ref().ok_or(SignatureInvalid)?.verify_fixed(message, signature)
    }
}

/// Judges tokens of one issuer for one audience.
#[derive(Clone, Debug)]
pub struct TokenChecker {
    /// Expected `iss`.
    pub issuer: String,
    /// Expected `aud`.
    pub audience: String,
    /// The issuer's keys.
    pub keys: Vec<VerifyingKey>,
}

/// A token whose signature, issuer, audience, time and binding to this connection were found good.
///
/// Not yet known: whether its session was revoked, and whether a single-use token was redeemed. Both
/// are the store's to say.
#[derive(Debug)]
pub struct CheckedToken {
    claims: Arc<TokenClaims>,
}

impl CheckedToken {
    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }
}

#[derive(Debug, Error)]
enum Cause {
    #[error("no key {0:?} is known")]
    UnknownKey(String),
    #[error("issued by {issuer:?} for {audience:?}")]
    IssuerOrAudience { issuer: String, audience: String },
    #[error("valid from {not_before} to {expires}, and it is {now}")]
    Time { not_before: i64, expires: i64, now: UnixTime },
    #[error("lives for {0} seconds")]
    TooLong(i64),
    #[error("bound to {bound:?}, and the connection's is {found:?}")]
    Binding { bound: Option<String>, found: String },
}

impl TokenChecker {
    /// Checks a JWT that came over a connection with the client certificate `peer`.
    ///
    /// # Errors
    /// [`Rejection`] with a `token-…` code; the first failing check decides.
    pub fn check_jwt(
        &self,
        token: &str,
        peer: CertificateThumbprint,
        now: UnixTime,
    ) -> Result<CheckedToken, Rejection> {
        let (claims, _) = self.read_jwt(token)?;
        self.check_bound(Arc::new(claims), peer, now)
    }

    /// What a JWT says, once its signature was found good, and by which key.
    pub(super) fn read_jwt(&self, token: &str) -> Result<(TokenClaims, &VerifyingKey), Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(RejectionCode::TokenMalformed.into());
        }
        let parsed = jwt::parse(token).ok_or(RejectionCode::TokenMalformed)?;
        let key = self.check_signature(&parsed.key_id, parsed.signed, &parsed.signature)?;
        Ok((parsed.claims().ok_or(RejectionCode::TokenMalformed)?, key))
    }

    /// Everything about a JWT that its signature does not settle for good.
    pub(super) fn check_bound(
        &self,
        claims: Arc<TokenClaims>,
        peer: CertificateThumbprint,
        now: UnixTime,
    ) -> Result<CheckedToken, Rejection> {
        self.check_claims(&claims, now)?;
        if !is_bound(&claims, peer) {
            return Err(binding(claims.cnf.x5t_s256.clone(), peer.to_hex()));
        }
        Ok(CheckedToken { claims })
    }

    /// Checks a CWT that came over a connection whose client key is `peer`.
    ///
    /// # Errors
    /// [`Rejection`] with a `token-…` code; the first failing check decides.
    pub fn check_cwt(
        &self,
        token: &[u8],
        peer: KeyThumbprint,
        now: UnixTime,
    ) -> Result<CheckedToken, Rejection> {
        if token.len() > MAX_TOKEN {
            return Err(RejectionCode::TokenMalformed.into());
        }
        let parsed = cwt::parse(token).ok_or(RejectionCode::TokenMalformed)?;
        self.check_signature(&parsed.key_id, &parsed.signed, &parsed.signature)?;
        let claims = parsed.claims().ok_or(RejectionCode::TokenMalformed)?;
        self.check_claims(&claims, now)?;
        if claims.cnf.ckt != Some(peer.0) {
            let bound = claims.cnf.ckt.map(|ckt| signet_evidence::thumbprint::hex(&ckt));
            return Err(binding(bound, signet_evidence::thumbprint::hex(&peer.0)));
        }
        Ok(CheckedToken { claims: Arc::new(claims) })
    }

    fn check_signature(
        &self,
        key_id: &str,
        signed: &[u8],
        signature: &[u8; 64],
    ) -> Result<&VerifyingKey, Rejection> {
        let code = RejectionCode::TokenSignatureInvalid;
        let key = self
            .keys
            .iter()
            .find(|key| key.key_id() == key_id)
            .ok_or_else(|| Rejection::because(code, Cause::UnknownKey(key_id.to_owned())))?;
        key.verify(signed, signature).map_err(|_| Rejection::new(code))?;
        Ok(key)
    }

    fn check_claims(&self, claims: &TokenClaims, now: UnixTime) -> Result<(), Rejection> {
        if claims.iss != self.issuer || claims.aud != self.audience {
            let (issuer, audience) = (claims.iss.clone(), claims.aud.clone());
            let cause = Cause::IssuerOrAudience { issuer, audience };
            return Err(Rejection::because(RejectionCode::TokenAudienceWrong, cause));
        }
        let (not_before, expires) = (claims.nbf, claims.exp);
        if now.0 < not_before.saturating_sub(SKEW) || now.0 >= expires.saturating_add(SKEW) {
            let cause = Cause::Time { not_before, expires, now };
            return Err(Rejection::because(RejectionCode::TokenExpired, cause));
        }
        let limit =
            if claims.signet.once { MAX_ACTION_LIFETIME_SECONDS } else { MAX_LIFETIME_SECONDS };
        let lifetime = expires.saturating_sub(claims.iat);
        if lifetime > limit {
            return Err(Rejection::because(
                RejectionCode::TokenMalformed,
                Cause::TooLong(lifetime),
            ));
        }
        // An action token without its action, or the reverse, would be good for anything.
        if claims.signet.once != claims.authorization_details.is_some()
            || claims.assurance().is_none()
        {
            return Err(RejectionCode::TokenMalformed.into());
        }
        Ok(())
    }
}

/// Whether a token names this certificate, in both of its forms. Nothing is allocated.
fn is_bound(claims: &TokenClaims, peer: CertificateThumbprint) -> bool {
    let mut text = [0; 43];
    let written = URL_SAFE_NO_PAD.encode_slice(peer.0, &mut text);
    let named = claims.cnf.x5t_s256.as_deref().map(str::as_bytes);
    written == Ok(text.len())
        && named == Some(&text[..])
        && is_hex_of(&claims.signet.x5t_hex, &peer.0)
}

/// Whether `text` is `bytes` in lower-case hex.
fn is_hex_of(text: &str, bytes: &[u8]) -> bool {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.bytes().eq(digits.filter_map(|digit| DIGITS.get(usize::from(digit)).copied()))
}

fn binding(bound: Option<String>, found: String) -> Rejection {
    Rejection::because(RejectionCode::TokenBindingMismatch, Cause::Binding { bound, found })
}
