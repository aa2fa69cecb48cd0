//! Seeing a request through: progress to the person, the PIN to the key, an interrupt to `signetd`.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::daemon::{Answer, DaemonError, DaemonRefusal, Event, Method, Progress, Request, Step};
use crate::demand::Announcement;

/// Longest wait for the last word of a request that was cancelled.
const FAREWELL: Duration = Duration::from_secs(5);

/// A secret that only the person knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The PIN.
    Pin {
        /// Tries left before it locks.
        tries_left: u32,
        /// Fewest characters.
        min_length: u32,
        /// Whose PIN: the key's, or this machine's.
        method: Method,
    },
    /// A PIN to be.
    NewPin {
        /// Fewest characters.
        min_length: u32,
        /// Most bytes.
        max_length: u32,
        /// Whose PIN: the key's, or this machine's.
        method: Method,
    },
}

impl Question {
    /// The question that this step asks.
    fn of(step: &Step) -> Option<Self> {
        let method = step.method;
        match step.progress {
            Progress::PinNeeded { tries_left, min_length } => {
                Some(Self::Pin { tries_left, min_length, method })
            }
            Progress::NewPinNeeded { min_length, max_length } => {
                Some(Self::NewPin { min_length, max_length, method })
            }
            _ => None,
        }
    }
}

/// Whoever stands between the ceremony and the person.
pub trait Attendant: Sync {
    /// A request begins.
    fn begin(&self) {}

    /// Whether secrets come from elsewhere than the person: then they are given also where the
    /// person's agent asks for them.
    fn has_secrets(&self) -> bool {
        false
    }

    /// The request was done.
    fn done(&self) {}

    /// Shows what happens, and what is asked in `signetd`'s own words.
    fn show(&self, step: &Step);

    /// Tells what the authority minds of this machine and let pass.
    fn warn(&self, warnings: &[String]) {
        let _ = warnings;
    }

    /// Tells what a gateway demands, before the request for it begins.
    fn announce(&self, announcement: Announcement<'_>) {
        let _ = announcement;
    }

    /// Asks for a PIN.
    fn secret(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<Zeroizing<String>, CannotAsk>> + Send;

    /// Resolves when the person wants to stop.
    fn interrupted(&self) -> impl Future<Output = ()> + Send;
}

/// Shows each step and asks nothing: PINs come from the person's agent, or nobody.
#[derive(Clone, Copy, Debug)]
pub struct Telling<F>(F);

impl<F: Fn(&Step) + Sync> Telling<F> {
    /// Shows steps by this.
    pub const fn new(show: F) -> Self {
        Self(show)
    }
}

impl<F: Fn(&Step) + Sync> Attendant for Telling<F> {
    fn show(&self, step: &Step) {
        (self.0)(step);
    }

    async fn secret(&self, _question: Question) -> Result<Zeroizing<String>, CannotAsk> {
        Err(CannotAsk::NoTerminal)
    }

    fn interrupted(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// Why the person could not be asked. Never the same as a no, and never a yes.
#[derive(Debug, Error)]
pub enum CannotAsk {
    /// No terminal.
    #[error(
        "a PIN is needed, but there is no terminal to ask at: run this at a terminal, or give the PIN with --pin-fd"
    )]
    NoTerminal,
    /// The PIN that could be given was given already.
    #[error("the only PIN was given already")]
    PinUsed,
    /// There is no line for a new PIN.
    #[error(
        "a new PIN is needed, but --pin-fd gave none: write it on a line of its own, after the present PIN if there is one"
    )]
    NewPinMissing,
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
    #[error("cancelled; nothing was approved or changed")]
    Cancelled,
}

/// Sees `request` through to its answer.
///
/// # Errors
/// See [`CeremonyError`].
pub async fn attend(
    mut request: Request,
    attendant: &impl Attendant,
) -> Result<Answer, CeremonyError> {
    attendant.begin();
    let mut interrupted = std::pin::pin!(attendant.interrupted());
    let mut question = None;
    loop {
        let answered = async {
            match question {
                Some(question) => attendant.secret(question).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            secret = answered => {
                question = None;
                match secret {
                    Ok(secret) => request.provide_pin(&secret).await?,
                    Err(CannotAsk::PinUsed) => {
                        return Err(stop(&mut request, CeremonyError::PinWrong).await);
                    }
                    Err(reason) => {
                        return Err(stop(&mut request, CeremonyError::CannotAsk(reason)).await);
                    }
                }
                continue;
            }
            // It may run out of time, or the key be unplugged, while the person types.
            event = request.next() => event?,
            () = &mut interrupted => {
                return Err(stop(&mut request, CeremonyError::Cancelled).await);
            }
        };
        match event {
            Event::Completed(answer) => {
                attendant.done();
                return Ok(answer);
            }
            Event::Progress(step) => {
                attendant.show(&step);
                question = Question::of(&step).filter(|_| !step.agent || attendant.has_secrets());
            }
        }
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
