//! What a request is about, and what comes of it.

use signet_evidence::binding::sha256;

use crate::authenticator::{Finding, Task, Upkeep};
use crate::ceremony::Need;
use crate::platform::PlatformKey;
use crate::presence::{Answers, Prepared, Produced};
use crate::prompt::{PromptText, Quoted};
use crate::tpm::Urgency;

/// More than any request has.
const MOST_STEPS: usize = 4;

/// What is asked of the daemon in one request.
#[derive(Debug)]
pub enum Work {
    /// Evidence.
    Presence {
        /// The request with its statement fixed.
        prepared: Box<Prepared>,
        /// Whether to wait for a key to be plugged in when there is none.
        wait: bool,
    },
    /// Something that the owner of a key does with it.
    Upkeep(Upkeep),
    /// Another PIN for this key of the machine's own.
    ChangePin(PlatformKey),
}

/// What the requester says of itself; shown as such, never signed and never believed.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// Why.
    pub reason: Option<Quoted>,
    /// From which far host.
    pub remote: Option<Quoted>,
}

/// What the person's part of a request gave.
#[derive(Debug)]
pub enum Given {
    /// Signatures of security keys, for evidence.
    Answers(Box<Answers>),
    /// All that was asked for.
    Finding(Finding),
}

/// The result of a request.
#[derive(Clone, Debug)]
pub enum Product {
    /// Evidence.
    Evidence(Box<Produced>),
    /// What a key told or did.
    Finding(Finding),
}

impl Work {
    /// Whom it needs.
    pub fn need(&self) -> Need {
        match self {
            Self::Presence { prepared, .. } => prepared.need(),
            Self::Upkeep(_) | Self::ChangePin(_) => Need::PersonAlone,
        }
    }

    /// Whether the person has anything to do or to see.
    pub fn asks_person(&self) -> bool {
        self.need() != Need::Machine
            && !matches!(self, Self::Upkeep(Upkeep { task: Task::Sensor, .. }))
    }

    /// The names of a critical action.
    pub fn action_names(&self) -> &[String] {
        match self {
            Self::Presence { prepared, .. } => prepared.action_names(),
            Self::Upkeep(_) | Self::ChangePin(_) => &[],
        }
    }

    /// The requester's own words.
    pub fn asking(&self) -> Asking {
        match self {
            Self::Presence { prepared, .. } => {
                let request = prepared.request();
                Asking { reason: request.reason.clone(), remote: request.remote.clone() }
            }
            Self::Upkeep(_) | Self::ChangePin(_) => Asking::default(),
        }
    }

    /// Digest of everything that is asked, without what the daemon adds, such as the time.
    pub fn whole(&self) -> [u8; 32] {
        // Debug output escapes and delimits, so that different requests differ in it.
        let text = match self {
            Self::Presence { prepared, wait } => {
                format!("presence {:?} {wait}", prepared.request())
            }
            Self::Upkeep(upkeep) => format!("upkeep {upkeep:?}"),
            Self::ChangePin(key) => format!("pin {:?} {:?}", key.id(), key.user),
        };
        sha256(text.as_bytes())
    }

    /// Digest of the words that the person reads.
    pub fn words(&self) -> [u8; 32] {
        let texts: Vec<PromptText> =
            (0..).map_while(|step| self.prompt(step)).take(MOST_STEPS).collect();
        sha256(format!("{texts:?}").as_bytes())
    }

    /// How soon the TPM should serve it.
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::Presence { prepared, .. } => prepared.urgency(),
            Self::Upkeep(_) | Self::ChangePin(_) => Urgency::Person,
        }
    }

    /// The words to show at this step.
    pub fn prompt(&self, step: usize) -> Option<PromptText> {
        match self {
            Self::Presence { prepared, .. } => prepared.prompts.get(step).cloned(),
            Self::Upkeep(upkeep) => Some(PromptText::upkeep(&upkeep.task)),
            Self::ChangePin(key) => Some(PromptText::platform_pin(key.method)),
        }
    }
}
