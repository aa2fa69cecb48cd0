//! The ceremony as the person sees it.

use std::sync::{Mutex, PoisonError};

use signet_client::authority::printable;
use signet_client::ceremony::{Attendant, CannotAsk};
use signet_client::daemon::{Progress, Prompt};
use zeroize::Zeroizing;

use crate::interrupt::Interrupt;
use crate::output::{Output, Style};
use crate::pin::PinSource;

/// Shows progress on standard error and gets the PIN.
#[derive(Debug)]
pub(crate) struct Terminal {
    output: Output,
    pin: PinSource,
    interrupt: Interrupt,
    shown: Mutex<Shown>,
}

/// What was shown so far.
#[derive(Debug, Default)]
struct Shown {
    /// The last prompt, so that it is shown once.
    prompt: Option<Prompt>,
    /// Whether a PIN was asked for under it: the next question means that it was wrong.
    pin: bool,
}

impl Terminal {
    pub(crate) fn new(output: Output, pin: PinSource, interrupt: Interrupt) -> Self {
        Self { output, pin, interrupt, shown: Mutex::default() }
    }
}

impl Attendant for Terminal {
    fn show(&self, progress: Progress, prompt: Option<&Prompt>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prompt) = prompt.filter(|prompt| shown.prompt.as_ref() != Some(prompt)) {
            self.output.say(None, &printable(&format!("{}: {}", prompt.title, prompt.action)));
            *shown = Shown { prompt: Some(prompt.clone()), pin: false };
        }
        let again = shown.pin;
        shown.pin |= matches!(progress, Progress::PinNeeded { .. });
        if let Some((style, words)) = words(progress, again) {
            self.output.say(style, &words);
        }
    }

    async fn pin(&self, _: u32, min_length: u32) -> Result<Zeroizing<String>, CannotAsk> {
        self.pin.pin(&format!("PIN of your key (at least {min_length} characters): ")).await
    }

    async fn interrupted(&self) {
        self.interrupt.during_ceremony().await;
    }
}

/// What the person is told, `again` when a PIN was asked for before; `None` for what is over before it is read.
fn words(progress: Progress, again: bool) -> Option<(Option<Style>, String)> {
    let (style, text) = match progress {
        Progress::Queued { position: 0 } => return None,
        Progress::Queued { position: 1 } => {
            (Some(Style::Faint), "Waiting: 1 request is before yours…".to_owned())
        }
        Progress::Queued { position } => {
            (Some(Style::Faint), format!("Waiting: {position} requests are before yours…"))
        }
        Progress::TouchNeeded => (Some(Style::Ask), "Touch your key…".to_owned()),
        Progress::FingerNeeded => {
            (Some(Style::Ask), "Finger needed: place it on your key…".to_owned())
        }
        Progress::WrongFinger { tries_left } => {
            (Some(Style::Bad), format!("Wrong finger, {} left.", tries(tries_left)))
        }
        Progress::PinNeeded { tries_left, .. } if again => {
            (Some(Style::Bad), format!("Wrong PIN, {} left.", tries(tries_left)))
        }
        Progress::PinNeeded { tries_left, .. } if tries_left <= 3 => {
            (Some(Style::Bad), format!("PIN needed. Careful: {} left.", tries(tries_left)))
        }
        Progress::PinNeeded { .. } => (Some(Style::Ask), "PIN needed.".to_owned()),
        Progress::Quoting => (Some(Style::Faint), "The TPM signs…".to_owned()),
        Progress::Processing | Progress::Unrecognised => return None,
    };
    Some((style, text))
}

fn tries(left: u32) -> String {
    if left == 1 { "1 try".to_owned() } else { format!("{left} tries") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads() {
        let text = |progress| words(progress, false).map(|(_, text)| text);
        assert_eq!(text(Progress::TouchNeeded).unwrap(), "Touch your key…");
        let wrong = Progress::WrongFinger { tries_left: 2 };
        assert_eq!(text(wrong).unwrap(), "Wrong finger, 2 tries left.");
        let last = Progress::PinNeeded { tries_left: 1, min_length: 4 };
        assert_eq!(text(last).unwrap(), "PIN needed. Careful: 1 try left.");
        let first = Progress::PinNeeded { tries_left: 8, min_length: 4 };
        assert_eq!(text(first).unwrap(), "PIN needed.");
        assert_eq!(words(first, true).unwrap().1, "Wrong PIN, 8 tries left.");
        let queued = Progress::Queued { position: 2 };
        assert_eq!(text(queued).unwrap(), "Waiting: 2 requests are before yours…");
        assert_eq!(text(Progress::Queued { position: 0 }), None);
        assert_eq!(text(Progress::Processing), None);
    }
}
