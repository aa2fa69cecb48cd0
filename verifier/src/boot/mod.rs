//! What a machine booted, and whether that is allowed.
//!
//! [`ProvenLog`] leads an event log to quoted PCRs; a [`MachinePolicy`] says what is allowed; [`judge`]
//! compares and answers with [`Finding`]s in words. [`Baseline`] learns a policy from machines that are
//! in order, [`differences`] tells what changed between two boots. All are pure functions.

mod baseline;
mod difference;
mod finding;
mod judge;
mod pattern;
mod policy;
mod proven;
mod report;
mod words;

pub use baseline::{Baseline, BaselineError};
pub use difference::{Change, changed_values, differences};
pub use finding::{Finding, SignatureStore};
pub use judge::{BootJudgement, Verdict, judge};
pub use pattern::TextPattern;
pub use policy::{Allowed, LogPolicy, MachinePolicy, Mode, PcrIndex, PolicyError, Rules};
pub use proven::{LogError, ProvenLog};
pub(crate) use report::report;
pub use report::{BootReport, BootState, LogFact, judged_pcrs, policies_for};
pub use words::Measurement;
