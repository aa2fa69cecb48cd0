//! Tokens: the Attestation Result as gateways consume it (protocol §3).
//!
//! [`mint()`] makes one from an [`AttestationResult`](crate::AttestationResult), and only from one;
//! [`check`] judges one that came back with a connection's certificate.

pub mod check;
pub mod claims;
mod cwt;
mod jwt;
pub mod mint;
pub mod seen;
pub mod signer;

pub use check::{CheckedToken, TokenChecker, VerifyingKey};
pub use claims::{Facts, TokenClaims};
pub use mint::{
    KeyCertificate, MintError, MintedToken, PresenceRecord, SessionTerms, StatusReference,
    TokenFormat, TokenTerms, mint,
};
pub use seen::SeenTokens;
pub use signer::{FileSigner, Jwk, SigningUnavailable, TokenSigner};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Longest life of a session token, in seconds.
pub const MAX_LIFETIME_SECONDS: i64 = 900;
/// Longest life of an action token, in seconds.
pub const MAX_ACTION_LIFETIME_SECONDS: i64 = 60;

/// Entry points for fuzzing: what stands behind the signature, without one. In builds with debug assertions
/// only: no program that is released has them.
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzzing {
    use super::{TokenClaims, cwt, jwt};

    /// Reads a JWT whose signature nobody checked.
    #[must_use]
    pub fn danger_unsigned_jwt(token: &str) -> Option<TokenClaims> {
        jwt::parse(token)?.claims()
    }

    /// Reads a CWT whose signature nobody checked.
    #[must_use]
    pub fn danger_unsigned_cwt(token: &[u8]) -> Option<TokenClaims> {
        cwt::parse(token)?.claims()
    }
}
