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
    MintError, MintedToken, PresenceRecord, SessionTerms, StatusReference, TokenFormat, TokenTerms,
    mint,
};
pub use seen::SeenTokens;
pub use signer::{FileSigner, Jwk, SigningUnavailable, TokenSigner};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Longest life of a session token, in seconds.
pub const MAX_LIFETIME_SECONDS: i64 = 900;
/// Longest life of an action token, in seconds.
pub const MAX_ACTION_LIFETIME_SECONDS: i64 = 60;
