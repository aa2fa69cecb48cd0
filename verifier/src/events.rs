//! What an authority pushes to verifiers, and what they answer (protocol §3.4): the messages of
//! `GET /v1/events` and `POST /v1/events/ack`, in JSON.
//!
//! A verifier ignores members that it does not know, so that authorities can be newer than it.

use serde::{Deserialize, Serialize};

/// The names of events.
pub mod name {
    /// [`Hello`](super::Hello): the first event of a stream.
    pub const HELLO: &str = "hello";
    /// [`Revocations`](super::Revocations).
    pub const REVOCATION: &str = "revocation";
    /// [`Heartbeat`](super::Heartbeat).
    pub const HEARTBEAT: &str = "heartbeat";
}

/// What is pushed besides revocations: always the latest of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The version of the action policy that counts.
    Policy,
    /// The newest signed checkpoint of the audit log.
    Checkpoint,
    /// The JWK set changed: read it anew.
    Keys,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Policy, Self::Checkpoint, Self::Keys];

    /// Its name as an event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Checkpoint => "checkpoint",
            Self::Keys => "keys",
        }
    }

    /// The topic of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name)
    }
}

/// A place in the status lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Number of the list: `<issuer>/status/<list>`.
    pub list: u64,
    /// Index in it.
    pub idx: u64,
}

/// The first event: where the stream begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The verifier's name for itself, 32 hex digits; chosen by the authority where it named none.
    pub instance: String,
    /// This run of this node, hex: positions of another run are not comparable.
    pub run: String,
    /// The last revocation that counts now.
    pub position: i64,
    /// Whether what the verifier holds does not lead here: it reads the status lists anew.
    pub reset: bool,
    /// Every place before this one is revoked.
    pub below: Place,
    /// The lists that hold a revoked place, when `reset`; in all others nothing is revoked.
    pub lists: Vec<u64>,
    /// A heartbeat comes at least this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// The authority's time, Unix seconds.
    pub time: i64,
}

/// One thing to refuse from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// `token`, `session`, `device` or `all`.
    pub kind: String,
    /// The id in hex; empty for `all`.
    pub id: String,
    /// The place in the status lists that is invalid from now on; for `all`, every place before it.
    /// Absent where others say it all, such as the sessions of a device.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
}

/// What was revoked between two positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// The position before; a verifier that is not there yet has missed something.
    pub after: i64,
    /// The position from now on.
    pub position: i64,
    /// What is revoked.
    pub revoked: Vec<Revoked>,
}

/// Nothing was missed up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The last position that was pushed.
    pub position: i64,
    /// The authority's time, Unix seconds.
    pub time: i64,
}

/// `POST /v1/events/ack`: applied up to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// As in [`Hello`].
    pub instance: String,
    /// Everything up to here is refused.
    pub position: i64,
}

/// The answer: what a verifier at `position` knows is complete, as of `age_ms` before the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The last revocation that this node knows of.
    pub position: i64,
    /// How long ago it last looked, in milliseconds.
    pub age_ms: u64,
    /// The authority's time, Unix seconds.
    pub time: i64,
    /// Names the JWK set; another value means another set.
    pub keys: String,
}
