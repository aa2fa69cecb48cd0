//! Versions of the action policy, and which of them is in force.

use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;

/// What a set is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicySlot {
    /// Decides.
    Live,
    /// Is asked beside it, without effect.
    Shadow,
}

impl PolicySlot {
    /// Its name in rows, records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }

    /// The slot of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Live, Self::Shadow].into_iter().find(|slot| slot.as_str() == name)
    }
}

/// One time that something was put into force. The newest of its slot counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyActivation {
    /// Its number, from 1.
    pub number: i64,
    /// Which slot.
    pub slot: PolicySlot,
    /// The set; `None` takes away what was there.
    pub version: Option<Sha256>,
    /// When.
    pub at: UnixTime,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Something to be put into force.
#[derive(Clone, Copy, Debug)]
pub struct NewActivation<'a> {
    /// The activation that it follows, zero for the first: if another came between, it does not count.
    pub after: i64,
    /// Which slot.
    pub slot: PolicySlot,
    /// Version and texts of the set; `None` takes away what was there.
    pub set: Option<(Sha256, &'a str)>,
    /// When.
    pub at: UnixTime,
    /// Who says so.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}
