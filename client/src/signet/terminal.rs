//! The ceremony as the person sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use signet_client::authority::printable;
use signet_client::ceremony::{Attendant, CannotAsk, Question};
use signet_client::daemon::{Method, Progress, Prompt, Sample, Step};
use signet_client::demand::Announcement;
use zeroize::Zeroizing;

use crate::approval;
use crate::fingerprint::{self, Enrolment};
use crate::interrupt::Interrupt;
use crate::output::{Output, Style};
use crate::pin::PinSource;

/// Shows progress on standard error and gets PINs.
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
    /// The finger that is being enrolled.
    enrolment: Enrolment,
    /// Whether the cursor stands behind a bar.
    in_line: bool,
}

impl Terminal {
    pub(crate) fn new(output: Output, pin: PinSource, interrupt: Interrupt) -> Self {
        Self { output, pin, interrupt, shown: Mutex::default() }
    }

    /// From here on requests are about one key: a PIN that it took is not asked for again.
    pub(crate) fn remember_pin(&self) {
        self.pin.remember();
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something on a line of its own.
    fn say(&self, shown: &mut Shown, style: Option<Style>, text: &str) {
        if std::mem::take(&mut shown.in_line) {
            self.output.say(None, "");
        }
        self.output.say(style, text);
    }

    fn sample(&self, shown: &mut Shown, sample: Sample, remaining: u32) {
        shown.enrolment.sampled(sample, remaining);
        let (words, left) = (fingerprint::words(sample), shown.enrolment.left());
        if self.output.is_json() {
            let event =
                json!({ "event": "sample", "status": sample.as_str(), "remaining": remaining });
            // A reader that is gone does not end the enrolment.
            let _ = self.output.json_line(&event);
        } else if self.output.is_live() {
            self.output.say_in_place(&format!("{} {words}, {left}", shown.enrolment.bar()));
            shown.in_line = remaining > 0;
            if remaining == 0 {
                self.output.say(None, "");
            }
        } else {
            self.say(shown, None, &format!("{words}, {left}"));
        }
    }
}

impl Attendant for Terminal {
    fn begin(&self) {
        *self.shown() = Shown::default();
        self.pin.another_question();
    }

    fn has_secrets(&self) -> bool {
        self.pin.has_pins()
    }

    fn done(&self) {
        self.pin.proved();
    }

    fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            let text = format!("this machine: {}", printable(warning));
            self.output.say(Some(Style::Bad), &text);
        }
    }

    fn announce(&self, announcement: Announcement<'_>) {
        match announcement {
            Announcement::Presence { description } => {
                self.output.say(None, "The gateway wants you to prove your presence anew.");
                if let Some(description) = description {
                    self.output.say(None, description);
                }
            }
            Announcement::Action(action) => {
                self.output.say(None, "The gateway wants a touch for this very request.");
                approval::show(self.output, action);
            }
        }
    }

    fn show(&self, step: &Step) {
        let mut shown = self.shown();
        if let Some(prompt) = step.prompt.as_ref().filter(|new| shown.prompt.as_ref() != Some(new))
        {
            let text = printable(&format!("{}: {}", prompt.title, prompt.action));
            self.say(&mut shown, None, &text);
            *shown = Shown { prompt: Some(prompt.clone()), ..Shown::default() };
            self.pin.another_question();
        }
        if let Progress::Sample { status, remaining } = step.progress {
            return self.sample(&mut shown, status, remaining);
        }
        let again = shown.pin;
        shown.pin |= matches!(step.progress, Progress::PinNeeded { .. });
        if let Some((style, mut words)) = words(step.progress, step.method, again) {
            let enter =
                matches!(step.progress, Progress::PinNeeded { .. } | Progress::NewPinNeeded { .. });
            if enter && step.agent && !self.pin.has_pins() {
                words.push_str(" Your session's agent asks for it.");
            }
            self.say(&mut shown, style, &words);
        }
    }

    async fn secret(&self, question: Question) -> Result<Zeroizing<String>, CannotAsk> {
        match question {
            Question::Pin { min_length, method, .. } => {
                let prompt =
                    format!("PIN of {} (at least {min_length} characters): ", whose(method));
                self.pin.pin(&prompt).await
            }
            Question::NewPin { min_length, max_length, method } => {
                let whose = whose(method);
                let prompt =
                    format!("New PIN of {whose} ({min_length} to {max_length} characters): ");
                self.pin.new_pin(self.output, &prompt).await
            }
        }
    }

    async fn interrupted(&self) {
        self.interrupt.asked().await;
    }
}

fn whose(method: Method) -> &'static str {
    match method {
        Method::SecurityKey => "your key",
        Method::TpmPin | Method::Fingerprint => "this machine",
    }
}

/// What the person is told, `again` when a PIN was asked for before; `None` for what is over before it is read.
pub(crate) fn words(
    progress: Progress,
    method: Method,
    again: bool,
) -> Option<(Option<Style>, String)> {
    let ask = |text: &str| Some((Some(Style::Ask), text.to_owned()));
    let bad = |text: String| Some((Some(Style::Bad), text));
    let faint = |text: String| Some((Some(Style::Faint), text));
    match progress {
        Progress::Queued { position: 0 } | Progress::Processing | Progress::Unrecognised => None,
        Progress::NumberShown { number } => {
            ask(&format!("Your session's agent asks for a number: it is {number}."))
        }
        Progress::NumberNeeded { .. } => ask("Which number does the program show?"),
        Progress::Queued { position: 1 } => faint("Waiting: 1 request is before yours…".to_owned()),
        Progress::Queued { position } => {
            faint(format!("Waiting: {position} requests are before yours…"))
        }
        Progress::KeyNeeded => ask("Plug in your key…"),
        Progress::TouchNeeded => ask("Touch your key…"),
        Progress::FingerNeeded if method == Method::Fingerprint => {
            ask("Finger needed: place it on this machine's reader…")
        }
        Progress::FingerNeeded => ask("Finger needed: place it on your key…"),
        Progress::WrongFinger { tries_left } => {
            bad(format!("Wrong finger, {} left.", tries(tries_left)))
        }
        Progress::FingerRetry { reason } => {
            bad(format!("Once more: {}.", fingerprint::words(reason)))
        }
        Progress::PinNeeded { tries_left, .. } if again => {
            bad(format!("Wrong PIN, {} left.", tries(tries_left)))
        }
        Progress::PinNeeded { tries_left, .. } if tries_left <= 3 => {
            bad(format!("PIN needed. Careful: {} left.", tries(tries_left)))
        }
        Progress::PinNeeded { .. } => ask("PIN needed."),
        Progress::NewPinNeeded { .. } => ask("New PIN needed."),
        Progress::Sample { .. } => None,
        Progress::Quoting => faint("The TPM signs…".to_owned()),
    }
}

fn tries(left: u32) -> String {
    if left == 1 { "1 try".to_owned() } else { format!("{left} tries") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads() {
        let text = |progress| words(progress, Method::SecurityKey, false).map(|(_, text)| text);
        assert_eq!(text(Progress::TouchNeeded).unwrap(), "Touch your key…");
        let wrong = Progress::WrongFinger { tries_left: 2 };
        assert_eq!(text(wrong).unwrap(), "Wrong finger, 2 tries left.");
        let last = Progress::PinNeeded { tries_left: 1, min_length: 4 };
        assert_eq!(text(last).unwrap(), "PIN needed. Careful: 1 try left.");
        let first = Progress::PinNeeded { tries_left: 8, min_length: 4 };
        assert_eq!(text(first).unwrap(), "PIN needed.");
        assert_eq!(words(first, Method::TpmPin, true).unwrap().1, "Wrong PIN, 8 tries left.");
        let queued = Progress::Queued { position: 2 };
        assert_eq!(text(queued).unwrap(), "Waiting: 2 requests are before yours…");
        assert_eq!(text(Progress::Queued { position: 0 }), None);
        assert_eq!(text(Progress::Processing), None);
        let number = text(Progress::NumberShown { number: 42 }).unwrap();
        assert!(number.ends_with("it is 42."), "{number}");
    }
}
