//! The ActionPolicy: who may do what, with which presence (Cedar).
//!
//! A set is a folder: rules (`*.cedar`), the schema of its resources and actions, the entities that
//! rules speak about, and the map from HTTP and gRPC requests to named actions. It takes effect as a whole or not at all. Nothing is
//! allowed that no rule allows; and when the answer is no, [`ActionPolicySet::decide`] works out
//! whether a fresh touch by the same person would make it a yes.

mod actions;
mod bearing;
mod clock;
mod compare;
mod context;
mod decide;
mod decision;
mod evaluate;
mod example;
mod explain;
mod facts;
mod files;
mod load;
mod pattern;
mod problem;
mod reach;
mod recorded;
mod table;

pub use actions::{Access, ActionMapError};
pub use clock::iso_8601;
pub use compare::{Changes, Flip, FlipExample, Replay};
pub use decision::{Decision, Denial, NamedAction, Outcome, PolicyVersion, StepUp};
pub use example::EXAMPLE;
pub use explain::{Explanation, Lack, NearRule};
pub use facts::{PresenceFacts, RequestFacts};
pub use files::{PolicyFiles, SCHEMA, read_folder};
pub use load::{ActionPolicySet, Rule};
pub use pattern::PatternError;
pub use problem::{PolicyFault, PolicyLoadError, PolicyProblem};
pub use recorded::{RecordedRequest, Verdict};
pub use table::{Difference, TESTS, TableOutcome, TableRow, parse_table};

#[cfg(test)]
mod tests;
