//! The words between the ceremony and its shell.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use signet_ctap::commands::SampleStatus;

use crate::platform::fprintd::Retry;

/// Who asks: the unique bus name of a connection. Turns are taken by caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(Arc<str>);

impl CallerId {
    /// The caller with this unique bus name.
    pub fn new(unique_name: &str) -> Self {
        Self(unique_name.into())
    }

    /// The unique bus name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One request, for as long as the daemon runs. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is done once, for one request or for several that ask exactly the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub(super) u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is asked, as far as the ceremony has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asks.
    pub caller: CallerId,
    /// The Unix user behind the caller.
    pub uid: u32,
    /// Whom it needs.
    pub need: Need,
    /// Digest of everything that is asked: requests of one user with the same digest are one job.
    pub whole: [u8; 32],
    /// Digest of the words that the person reads: refused once, they are not shown again for a while.
    pub words: [u8; 32],
}

/// A request that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The request.
    pub request: RequestId,
    /// What is done for it.
    pub job: JobId,
    /// Whether the job was there already.
    pub joined: bool,
}

/// A failure that may be the person's own no.
pub trait PersonsNo {
    /// Whether the person said no, rather than something having failed.
    fn is_persons_no(&self) -> bool;
}

/// Whom a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A person at an authenticator, then the TPM.
    Person,
    /// A person at an authenticator; nothing is proved to anybody.
    PersonAlone,
    /// The TPM alone.
    Machine,
}

/// How far a request is; what the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn; so many requests are served before it.
    Queued {
        /// Requests before this one, with the one that is being served.
        position: u32,
    },
    /// No authenticator is plugged in, and the request goes on when one is.
    KeyNeeded,
    /// The person has to give this number at the agent's prompt; the caller shows it.
    NumberShown {
        /// Two digits.
        number: u32,
    },
    /// An authenticator blinks.
    TouchNeeded,
    /// An authenticator waits for a finger.
    FingerNeeded,
    /// That was not an enrolled finger.
    WrongFinger {
        /// Fingers left until the authenticator wants its PIN.
        tries_left: u32,
    },
    /// The reader of this machine could not read the finger.
    FingerRetry(Retry),
    /// The authenticator wants its PIN.
    PinNeeded {
        /// PINs left until the authenticator locks itself.
        tries_left: u32,
        /// Fewest characters it takes.
        min_length: u32,
    },
    /// The new PIN is wanted.
    NewPinNeeded {
        /// Fewest characters.
        min_length: u32,
        /// Most bytes of UTF-8.
        max_length: u32,
    },
    /// A sample of a finger that is being enrolled was taken.
    Sample {
        /// How it came out.
        status: SampleStatus,
        /// Good samples still needed.
        remaining: u32,
    },
    /// The authenticator computes.
    Processing,
    /// The TPM quotes and signs.
    Quoting,
}

impl Stage {
    /// Whether the caller owes a PIN now.
    pub(super) fn asks_pin(self) -> bool {
        matches!(self, Self::PinNeeded { .. } | Self::NewPinNeeded { .. })
    }

    /// Whether the person was there just now, so that the time to wait begins again.
    pub(super) fn shows_person(self) -> bool {
        match self {
            Self::Sample { status, .. } => status != SampleStatus::NoActivity,
            Self::FingerRetry(_) => true,
            _ => false,
        }
    }
}

/// What a request was waiting for when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Its turn.
    Turn,
    /// The person.
    Person,
    /// The TPM.
    Machine,
}

/// What became of a request. `F` is the shell's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<F> {
    /// What was asked for is done.
    Done,
    /// The authenticator or the TPM failed.
    Failed(F),
    /// The caller took it back.
    Cancelled,
    /// It took too long.
    TimedOut(Waited),
    /// The caller left the bus; there is nobody to tell.
    CallerGone,
    /// The person refused it at the prompt.
    Refused,
    /// The person refused the same words just now; so long they are not shown again.
    CoolingDown(Duration),
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<F> {
    /// Ask the person; report by [`super::Ceremony::handle_prompted`], always.
    Prompt(JobId),
    /// Stop asking; the report is still due, when the authenticator is free again.
    StopPrompt(JobId),
    /// Quote and sign; report by [`super::Ceremony::handle_proved`], always.
    Prove(JobId),
    /// The proof is of no more use; the report is still due.
    StopProof(JobId),
    /// Show the person how far it is.
    Show(JobId, Stage),
    /// Nothing more is shown or done for this job, but what is still due.
    Close(JobId, Outcome<F>),
    /// Tell the caller how far the request is.
    Progress(RequestId, Stage),
    /// Tell the caller what became of it. The last word about this request.
    Complete(RequestId, Outcome<F>),
}
