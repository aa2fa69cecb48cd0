//! What policy says of one request, as data.

use std::fmt;
use std::time::Duration;

use signet_verifier::AssuranceLevel;
pub use signet_verifier::permit::PolicyVersion;

use super::actions::Access;

/// What policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The action that the request is; `None` when it is none.
    pub action: Option<NamedAction>,
    /// The set that decided.
    pub version: PolicyVersion,
    /// Yes, no, or what would make it a yes.
    pub outcome: Outcome,
}

/// The action that a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAction {
    /// For example `mesh.route.update`.
    pub name: String,
    /// Whether it changes something.
    pub access: Access,
    /// The resource, as Cedar writes it.
    pub resource: String,
}

/// Yes, no, or what would make it a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These rules allow it; at least one.
    Permit {
        /// Names of the rules.
        rules: Vec<String>,
    },
    /// No better presence would help.
    Deny(Denial),
    /// The same person may, with this presence (RFC 9470).
    StepUp(StepUp),
}

/// Why no presence would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The request is no action that the map knows.
    Unmapped,
    /// No rule allows it: the default.
    NoRule,
    /// These rules forbid it.
    Forbidden {
        /// Names of the rules.
        rules: Vec<String>,
    },
    /// These rules could not be evaluated. A `forbid` among them would be skipped by Cedar, so
    /// nothing is allowed then.
    Failed {
        /// Names of the rules; empty when the request itself did not fit the schema.
        rules: Vec<String>,
    },
    /// The token's scope leaves this action out.
    Scope,
    /// The person approved an action of another name.
    ApprovedOther,
}

impl Denial {
    /// Its name in audit records.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::NoRule => "no-rule",
            Self::Forbidden { .. } => "forbidden",
            Self::Failed { .. } => "failed",
            Self::Scope => "scope",
            Self::ApprovedOther => "approved-other",
        }
    }

    /// The rules that decided, where some did.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        match self {
            Self::Forbidden { rules } | Self::Failed { rules } => rules,
            Self::Unmapped | Self::NoRule | Self::Scope | Self::ApprovedOther => &[],
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self.rules() {
            [] => Ok(()),
            rules => write!(f, " by {}", rules.join(", ")),
        }
    }
}

/// The presence that would make it a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    /// Levels that suffice, the least first (RFC 9470 `acr_values`).
    pub levels: Vec<AssuranceLevel>,
    /// Longest time since the touch that still suffices; zero when `single_use`.
    pub max_age: Duration,
    /// Only a touch for exactly this request helps.
    pub single_use: bool,
    /// Only a key of a model on which no PIN can stand in for a finger helps.
    pub no_pin: bool,
    /// Rules that would allow it then.
    pub rules: Vec<String>,
}
