//! Appraises Presence Evidence; mints and checks tokens.
//!
//! No I/O, no clock, no async: bytes, rows and the time come in, proof comes out. Each check returns
//! a type of its own with private fields and one constructor, so that a step that was skipped does
//! not compile. An auditor reads [`appraise`] first.

pub mod appraise;
pub mod assurance;
pub mod bearer;
pub mod boot;
pub mod certificate;
pub mod chains;
pub mod challenge;
pub mod ecdsa;
pub mod enrolment;
pub mod events;
pub mod log;
pub mod metadata;
pub mod permit;
pub mod platform;
pub mod policy;
pub mod recent;
pub mod records;
mod refuse;
pub mod register;
mod rejection;
mod result;
pub mod status_list;
pub mod token;
pub mod tpm;
pub mod webauthn;

pub use appraise::{Appraisal, AuthenticatedEvidence};
pub use assurance::{AssuranceLevel, AttestationKind, ModelVerification};
pub use register::{NewKey, RegistrationResult};
pub use rejection::Rejection;
pub use result::AttestationResult;
