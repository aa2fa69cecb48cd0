//! Events for the person, and the PIN from them.

use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::error::OperationError;
use crate::channel::Keepalive;
use crate::commands::SampleStatus;

/// What happens during an operation. Show it; only [`Event::PinNeeded`] wants an answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The key computes.
    Processing,
    /// Touch the key.
    TouchNeeded,
    /// Several keys blink: touch the one to use.
    ChoiceNeeded {
        /// How many blink.
        keys: usize,
    },
    /// Lay an enrolled finger on the key (or use whatever built-in verification it has).
    FingerNeeded,
    /// The finger was not recognised.
    WrongFinger {
        /// Tries left until only the PIN helps.
        tries_left: u32,
    },
    /// Built-in verification is used up; the PIN is asked instead, if the policy allows it.
    FingerBlocked,
    /// Type the PIN.
    PinNeeded(PinRequest),
    /// A sample of a finger was taken, during enrolment.
    SampleTaken {
        /// How it came out.
        status: SampleStatus,
        /// Good samples still needed.
        remaining: u32,
    },
}

/// A question for the PIN. Dropping it unanswered means that nobody could be asked.
#[derive(Debug)]
pub struct PinRequest {
    /// Tries left, this one included, until the key must be reset.
    pub tries_left: u32,
    /// Shortest PIN, code points.
    pub min_length: u32,
    /// The PIN given before was wrong.
    pub wrong_before: bool,
    reply: oneshot::Sender<Option<Zeroizing<String>>>,
}

impl PinRequest {
    /// Gives the PIN as typed.
    pub fn answer(self, pin: Zeroizing<String>) {
        // The operation may have been dropped meanwhile.
        let _ = self.reply.send(Some(pin));
    }

    /// The person does not want to.
    pub fn decline(self) {
        let _ = self.reply.send(None);
    }
}

/// Receives the events of operations.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    /// The next event; `None` when the last [`Prompt`] is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// Where an operation sends its events.
#[derive(Debug, Clone)]
pub struct Prompt(mpsc::UnboundedSender<Event>);

impl Prompt {
    /// A prompt and the events that come out of it.
    pub fn new() -> (Self, Events) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Events(receiver))
    }

    /// A prompt at which nobody sits: touches may still happen, a PIN cannot.
    pub fn nobody() -> Self {
        Self::new().0
    }

    /// Sends an event; nobody may be there to see it.
    pub(super) fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Asks for the PIN.
    pub(super) async fn ask_pin(
        &self,
        tries_left: u32,
        min_length: u32,
        wrong_before: bool,
    ) -> Result<Zeroizing<String>, OperationError> {
        let (reply, answer) = oneshot::channel();
        let request = PinRequest { tries_left, min_length, wrong_before, reply };
        self.0.send(Event::PinNeeded(request)).map_err(|_| OperationError::NobodyToAsk)?;
        match answer.await {
            Ok(Some(pin)) => Ok(pin),
            Ok(None) => Err(OperationError::Declined),
            Err(_) => Err(OperationError::NobodyToAsk),
        }
    }

    /// A watch that reports changes between computing and waiting for a touch.
    pub(super) fn watch(&self) -> impl FnMut(Keepalive) + Send + use<> {
        let prompt = self.clone();
        let mut last = None;
        move |keepalive| {
            if last.replace(keepalive) != Some(keepalive) {
                prompt.send(match keepalive {
                    Keepalive::Processing => Event::Processing,
                    Keepalive::UserNeeded => Event::TouchNeeded,
                });
            }
        }
    }
}
