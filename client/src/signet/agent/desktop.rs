//! A prompt on the desktop: a notification that follows what happens, a pinentry for what is secret.

use std::sync::Arc;

use signet_client::ceremony::Question;
use signet_client::daemon::{Progress, Step};
use tokio::sync::{Notify, mpsc};
use zeroize::Zeroizing;

use super::asked::Asked;
use super::assuan::AssuanError;
use super::link::{Abilities, Answers};
use super::notification::{Notification, Notifications, Pressed};
use super::pinentry::Pinentry;
use super::{Note, ending};
use crate::terminal::words;

/// What this session can show prompts with.
#[derive(Clone)]
pub(super) struct Desktop {
    pub(super) notifications: Option<Notifications>,
    pub(super) pinentry: Option<Pinentry>,
    /// Told when the pinentry does not work.
    pub(super) failed: Arc<Notify>,
}

/// What the person entered.
enum Entered {
    Pin(Zeroizing<String>),
    Number(u32),
}

/// A question to the person at a pinentry.
enum Dialogue {
    None,
    Secret { question: Question, fault: Option<String> },
    Number,
}

impl Desktop {
    pub(super) fn abilities(&self) -> Abilities {
        let buttons = self.notifications.as_ref().is_some_and(|server| server.buttons);
        Abilities {
            show: self.notifications.is_some(),
            pin: self.pinentry.is_some(),
            number: buttons || self.pinentry.is_some(),
        }
    }

    /// Shows one prompt until it is over.
    pub(super) async fn attend(
        self,
        mut asked: Asked,
        answers: Answers,
        mut notes: mpsc::Receiver<Note>,
    ) {
        let mut shown = match &self.notifications {
            Some(server) => server.notification().await.ok(),
            None => None,
        };
        show(&mut shown, &asked, None, &[]).await;
        let mut dialogue = Dialogue::None;
        let mut asked_pin = false;
        loop {
            // Who has a pinentry in front of them only makes room.
            let closing_refuses = matches!(dialogue, Dialogue::None);
            let entered = tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::Step(step)) => {
                        // Another key may be asked for now: its first PIN is not a wrong one.
                        let again = !asked.follow(&step) && asked_pin;
                        asked_pin = again || matches!(step.progress, Progress::PinNeeded { .. });
                        dialogue = self.dialogue(&step, again);
                        let now = self.now(&step, again);
                        show(&mut shown, &asked, now.as_deref(), &self.numbers(&step)).await;
                        continue;
                    }
                    Some(Note::Over { outcome, message }) => {
                        let (title, line) = ending(&asked, &outcome, &message);
                        if let Some(notification) = &mut shown {
                            let _ = notification.end(&title, &[line]).await;
                        }
                        return;
                    }
                    None => {
                        if let Some(notification) = &shown {
                            notification.close().await;
                        }
                        return;
                    }
                },
                pressed = pressed(&mut shown, closing_refuses) => match pressed {
                    Pressed::Refuse => None,
                    Pressed::Number(number) => Some(Entered::Number(number)),
                },
                entered = self.enter(&asked, &dialogue) => match entered {
                    Ok(entered) => Some(entered),
                    Err(AssuanError::Cancelled) => None,
                    Err(error) => {
                        // Not the person's no: it is asked in another way.
                        super::say(&format!("the pinentry failed: {error}"));
                        self.failed.notify_one();
                        dialogue = Dialogue::None;
                        continue;
                    }
                },
            };
            dialogue = Dialogue::None;
            // It may be over by now; then the last word is on its way.
            let _ = match entered {
                Some(Entered::Pin(pin)) => answers.pin(&pin).await,
                Some(Entered::Number(number)) => answers.number(number).await,
                None => answers.refuse().await,
            };
        }
    }

    /// What the person should do.
    fn now(&self, step: &Step, again: bool) -> Option<String> {
        let (_, mut text) = words(step.progress, step.method, again)?;
        let enter =
            matches!(step.progress, Progress::PinNeeded { .. } | Progress::NewPinNeeded { .. });
        if enter && self.pinentry.is_none() {
            text.push_str(" Enter it in the program that asks.");
        }
        Some(text)
    }

    /// What a stage wants from a pinentry.
    fn dialogue(&self, step: &Step, again: bool) -> Dialogue {
        if self.pinentry.is_none() {
            return Dialogue::None;
        }
        let wrong = |tries: u32| match tries {
            1 => "Wrong PIN, 1 try left.".to_owned(),
            tries => format!("Wrong PIN, {tries} tries left."),
        };
        match step.progress {
            Progress::PinNeeded { tries_left, min_length } => {
                let method = step.method;
                let fault = match (again, tries_left) {
                    (true, _) => Some(wrong(tries_left)),
                    (false, 0..=3) => Some(format!("Careful: {tries_left} tries left.")),
                    (false, _) => None,
                };
                let question = Question::Pin { tries_left, min_length, method };
                Dialogue::Secret { question, fault }
            }
            Progress::NewPinNeeded { min_length, max_length } => {
                let question = Question::NewPin { min_length, max_length, method: step.method };
                Dialogue::Secret { question, fault: None }
            }
            Progress::NumberNeeded { .. } if self.numbers(step).is_empty() => Dialogue::Number,
            _ => Dialogue::None,
        }
    }

    /// The numbers to choose from by a button.
    fn numbers(&self, step: &Step) -> Vec<u32> {
        match (step.progress, &self.notifications) {
            (Progress::NumberNeeded { choices }, Some(server)) if server.buttons => choices.into(),
            _ => Vec::new(),
        }
    }

    /// Waits for what the person enters at a pinentry; for ever without a question.
    async fn enter(&self, asked: &Asked, dialogue: &Dialogue) -> Result<Entered, AssuanError> {
        let Some(pinentry) = &self.pinentry else { return std::future::pending().await };
        let text = format!("{}\n{}", asked.title(), asked.lines(None).join("\n"));
        match dialogue {
            Dialogue::None => std::future::pending().await,
            Dialogue::Number => pinentry.number(&text).await.map(Entered::Number),
            Dialogue::Secret { question, fault } => {
                pinentry.secret(*question, &text, fault.as_deref()).await.map(Entered::Pin)
            }
        }
    }
}

async fn show(shown: &mut Option<Notification>, asked: &Asked, now: Option<&str>, numbers: &[u32]) {
    if let Some(notification) = shown
        && let Err(error) = notification.show(&asked.title(), &asked.lines(now), numbers).await
    {
        super::say(&format!("the notification cannot be shown: {error}"));
    }
}

async fn pressed(shown: &mut Option<Notification>, closing_refuses: bool) -> Pressed {
    match shown {
        Some(notification) => notification.pressed(closing_refuses).await,
        None => std::future::pending().await,
    }
}
