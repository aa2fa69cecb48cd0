//! What a request is about, and what comes of it.

use crate::authenticator::{Finding, Upkeep};
use crate::ceremony::Need;
use crate::platform::PlatformKey;
use crate::presence::{Answers, Prepared, Produced};
use crate::prompt::PromptText;

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

/// What the person's part of a request gave.
#[derive(Debug)]
pub enum Given {
    /// Signatures of security keys, for evidence.
    Answers(Answers),
    /// All that was asked for.
    Finding(Finding),
}

/// The result of a request.
#[derive(Debug)]
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

    /// The words to show at this step.
    pub fn prompt(&self, step: usize) -> Option<PromptText> {
        match self {
            Self::Presence { prepared, .. } => prepared.prompts.get(step).cloned(),
            Self::Upkeep(upkeep) => Some(PromptText::upkeep(&upkeep.task)),
            Self::ChangePin(key) => Some(PromptText::platform_pin(key.method)),
        }
    }
}
