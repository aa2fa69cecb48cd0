//! WebAuthn: registrations and assertions (W3C Web Authentication Level 3 §7).

mod assertion;
mod attestation;
mod registration;

pub use assertion::{AssertionError, ExpectedAssertion, VerifiedAssertion};
pub use attestation::{
    AttestationError, PlatformStatementError, TpmStatementError, VerifiedAttestation,
};
pub use registration::{ExpectedRegistration, RegistrationError, VerifiedRegistration};

/// Whether the authenticator must have verified its user (L3 §5.8.6, without `preferred`: a verifier
/// either demands it or does not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserVerification {
    /// UV must be set.
    Required,
    /// UV may be clear: a touch is enough.
    Discouraged,
}
