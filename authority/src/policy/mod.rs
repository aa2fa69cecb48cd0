//! The ActionPolicy: who may do what, with which presence (Cedar).
//!
//! A set is a folder: rules (`*.cedar`), their schema, the entities that rules speak about, and the
//! map from HTTP requests to named actions. It takes effect as a whole or not at all. Nothing is
//! allowed that no rule allows; and when the answer is no, [`ActionPolicySet::decide`] works out
//! whether a fresh touch by the same person would make it a yes.

mod actions;
mod decide;
mod decision;
mod evaluate;
mod example;
mod facts;
mod load;
mod pattern;
mod problem;
mod table;

pub use actions::{Access, ActionMapError};
pub use decide::Explanation;
pub use decision::{Decision, Denial, NamedAction, Outcome, PolicyVersion, StepUp};
pub use evaluate::iso_8601;
pub use example::EXAMPLE;
pub use facts::{PresenceFacts, RequestFacts};
pub use load::{ActionPolicySet, PolicyFiles, Rule};
pub use pattern::PatternError;
pub use problem::{PolicyFault, PolicyLoadError, PolicyProblem};
pub use table::{Difference, TESTS, TableOutcome};

#[cfg(test)]
mod tests;
