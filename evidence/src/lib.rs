//! The words that both sides speak: Presence Evidence, the statement, and the TPM and WebAuthn
//! structures they carry.
//!
//! Bytes in, types out. No I/O, no clock, no randomness, no async. What is parsed here is still
//! the attacker's word: only `signet-verifier` turns it into proof.

pub mod action;
pub mod binding;
pub mod cbor;
pub mod eventlog;
pub mod facts;
pub mod header;
pub mod key;
pub mod platform;
pub mod presence;
pub mod rejection;
pub mod statement;
pub mod thumbprint;
mod time;
pub mod tpm;
pub mod webauthn;

pub use action::{Action, ActionDetails, ActionKind};
pub use facts::{FingerFacts, HostFacts, finger_set_digest};
pub use header::{
    CertificateChain, FidoAssertion, FidoRegistration, ObservedVerification, TpmEvidence,
};
pub use key::{Assertion, KeyPart, Registration};
pub use platform::{PlatformAssertion, PlatformKeyId, PlatformRegistration};
pub use presence::{Evidence, UnsignedEvidence};
pub use rejection::RejectionCode;
pub use statement::{DeviceId, PROFILE, Purpose, SessionId, Statement};
pub use thumbprint::{CertificateThumbprint, KeyThumbprint};
pub use time::UnixTime;
