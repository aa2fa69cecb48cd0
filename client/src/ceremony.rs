//! Seeing a request through: progress to the person, the PIN to the key, an interrupt to `signetd`.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::daemon::{Completion, DaemonError, DaemonRefusal, Event, Progress, Prompt, Request};

/// Longest wait for the last word of a request that was cancelled.
const FAREWELL: Duration = Duration::from_secs(5);

/// Whoever stands between the ceremony and the person.
pub trait Attendant: Sync {
    /// Shows what happens, and what is asked in `signetd`'s own words.
    fn show(&self, progress: Progress, prompt: Option<&Prompt>);

    /// Asks for the PIN.
    fn pin(
        &self,
        tries_left: u32,
        min_length: u32,
    ) -> impl Future<Output = Result<Zeroizing<String>, CannotAsk>> + Send;

    /// Resolves when the person wants to stop.
    fn interrupted(&self) -> impl Future<Output = ()> + Send;
}

/// Why the person could not be asked. Never the same as a no, and never a yes.
#[derive(Debug, Error)]
pub enum CannotAsk {
    /// No terminal.
    #[error(
        "a PIN is needed, but there is no terminal to ask at: run this at a terminal, or give the PIN with --pin-fd"
    )]
    NoTerminal,
    /// There was one PIN, and it was given already.
    #[error("the only PIN was given already")]
    PinUsed,
    /// The descriptor or the terminal cannot be read.
    #[error("the PIN cannot be read")]
    Io(#[source] std::io::Error),
    /// Nothing was entered.
    #[error("no PIN was entered")]
    Empty,
}

/// Why a ceremony brought nothing.
#[derive(Debug, Error)]
pub enum CeremonyError {
    /// `signetd` refused, or went away.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The person could not be asked.
    #[error("could not ask: {0}")]
    CannotAsk(#[source] CannotAsk),
    /// The one PIN that could be given is not the key's. It is not tried twice: keys lock.
    #[error("the PIN that was given is not right: check it, the key locks after a few more")]
    PinWrong,
    /// The person stopped it.
    #[error("cancelled; nothing was approved")]
    Cancelled,
}

/// Sees `request` through to its answer.
///
/// # Errors
/// See [`CeremonyError`].
pub async fn attend(
    mut request: Request,
    attendant: &impl Attendant,
) -> Result<Completion, CeremonyError> {
    let mut interrupted = std::pin::pin!(attendant.interrupted());
    loop {
        let event = tokio::select! {
            event = request.next() => event?,
            () = &mut interrupted => return Err(stop(&mut request, CeremonyError::Cancelled).await),
        };
        let (mut progress, mut prompt) = match event {
            Event::Completed(completion) => return Ok(completion),
            Event::Progress(progress, prompt) => (progress, prompt),
        };
        while let Progress::PinNeeded { tries_left, min_length } = progress {
            attendant.show(progress, prompt.as_ref());
            let event = tokio::select! {
                pin = attendant.pin(tries_left, min_length) => match pin {
                    Ok(pin) => {
                        request.provide_pin(&pin).await?;
                        request.next().await?
                    }
                    Err(reason) => {
                        let reason = match reason {
                            CannotAsk::PinUsed => CeremonyError::PinWrong,
                            reason => CeremonyError::CannotAsk(reason),
                        };
                        return Err(stop(&mut request, reason).await);
                    }
                },
                // It may run out of time, or the key be unplugged, while the person types.
                event = request.next() => event?,
                () = &mut interrupted => {
                    return Err(stop(&mut request, CeremonyError::Cancelled).await);
                }
            };
            (progress, prompt) = match event {
                Event::Completed(completion) => return Ok(completion),
                Event::Progress(progress, prompt) => (progress, prompt),
            };
        }
        attendant.show(progress, prompt.as_ref());
    }
}

/// Cancels, and waits for the last word, so that the key is quiet before we are.
async fn stop(request: &mut Request, reason: CeremonyError) -> CeremonyError {
    if request.cancel().await.is_ok() {
        let last_word = async { while let Ok(Event::Progress(..)) = request.next().await {} };
        let _ = tokio::time::timeout(FAREWELL, last_word).await;
    }
    reason
}

impl CeremonyError {
    /// Which error of `signetd` this is, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<DaemonRefusal> {
        match self {
            Self::Daemon(error) => error.refusal(),
            _ => None,
        }
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Daemon(error) => error.is_unavailable(),
            Self::CannotAsk(_) => true,
            Self::PinWrong | Self::Cancelled => false,
        }
    }
}
