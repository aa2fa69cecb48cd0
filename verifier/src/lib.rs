//! Appraises Presence Evidence; mints and checks tokens.
//!
//! No I/O, no clock, no async: bytes, rows and the time come in, proof comes out. Each check returns
//! a type of its own with private fields and one constructor, so that a step that was skipped does
//! not compile. An auditor reads `appraise` first.

// pub mod appraise;
pub mod assurance;
pub mod challenge;
pub mod policy;
pub mod records;
mod rejection;
mod result;
pub mod token;

pub use assurance::{AssuranceLevel, AttestationKind, ModelVerification};
pub use rejection::Rejection;
pub use result::AttestationResult;
