//! The ceremony: request → queue → prompt and user verification → assertion → quote → outer
//! signature, as a state machine without device, clock or task. Upkeep of a key (PIN, fingers) takes
//! the same way and ends after the prompt.
//!
//! [`Ceremony`] decides who is served next and what became of each request. The shell around it
//! (`crate::desk`) feeds events in by the `handle_` methods, with the time, and does what
//! [`Ceremony::poll_action`] says. Two lanes: one person can be asked one thing at a time, and the
//! machine alone (quote, signature) may serve several; so a renewal never waits behind a prompt.
//!
//! What holds at any time, and is checked by a property test:
//! - each accepted request completes exactly once, and nothing is said about it afterwards;
//! - at most one prompt is open, also while an abandoned one still winds down;
//! - requests of one user that ask exactly the same are one job with one prompt, and share its end;
//! - words that a person refused are not shown again for a while, whoever of the same user asks;
//!   one user's refusal is nothing to another;
//! - Unix users take turns, and so do the connections of one user: a user with many requests delays
//!   another's by at most one prompt, over however many connections they come.

mod lane;
mod machine;
#[cfg(test)]
mod properties;
mod stage;

pub use machine::{Ceremony, Limits, NotAskedForPin, Refused};
pub use stage::{
    Accepted, Action, Asked, CallerId, JobId, Need, Outcome, PersonsNo, RequestId, Stage, Waited,
};
