//! The TCG event log: what firmware and boot loaders say they measured.
//!
//! A log is a story; only a quote can confirm it. [`EventLog::parse`] reads it within [`Limits`],
//! [`EventLog::compare`] leads it to quoted PCRs, [`Content`] says what of each event was measured,
//! and [`BootFacts`] puts that into words. Nothing here is verified: `signet-verifier` does that.

mod content;
mod facts;
mod kind;
mod parse;
mod replay;
mod variable;
mod wire;

pub use content::{Content, hint};
pub use facts::{
    Authority, BootFacts, BootString, Database, Measured, SecureBoot, UnprovenSecureBoot,
};
pub use kind::EventType;
pub use parse::{Event, EventLog, EventLogError, Limits, LogFormat, SpecIdError};
pub use replay::{Mismatch, MismatchCause, PcrComparison, Replay, ReplayError};
pub use variable::{Guid, SignatureCertificate, SignatureDatabase, Variable};
