//! How often somebody did what is limited over all nodes.

use std::time::Duration;

use crate::limits::Limit;

/// Something that is counted in the transaction that writes a decision, and stops it at its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// What is limited.
    pub limit: Limit,
    /// Who does it.
    pub who: String,
    /// How often they may, in one window.
    pub most: u32,
    /// How long a window is; it begins with the first time.
    pub window: Duration,
    /// Whether this decision counts, or is only stopped by those that did.
    pub counts: bool,
}

impl Tally {
    /// Its name in the store.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.limit.as_str(), self.who)
    }
}
