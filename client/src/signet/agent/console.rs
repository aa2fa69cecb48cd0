//! A prompt on the terminal: for ssh and consoles.

use signet_client::ceremony::CannotAsk;
use signet_client::daemon::{Method, Progress, Step};
use tokio::sync::mpsc;

use super::asked::Asked;
use super::link::Answers;
use super::{Note, ending};
use crate::output::{Output, Style};
use crate::secret_input;
use crate::terminal::words;

/// What a person types to say no.
const REFUSE: &str = "r";

/// What to ask next.
enum Entry {
    /// Only whether they refuse.
    Refusal,
    /// Nothing more: they refused, or the terminal is gone.
    Refused,
    Pin(String),
    NewPin {
        prompt: String,
        min_length: u32,
        max_length: u32,
    },
    Number,
}

/// What to do with what was typed.
enum Typed {
    Pin(zeroize::Zeroizing<String>),
    Number(u32),
    Refuse,
    Nothing,
}

/// Shows one prompt until it is over.
pub(super) async fn attend(
    output: Output,
    mut asked: Asked,
    answers: Answers,
    mut notes: mpsc::Receiver<Note>,
) {
    output.say(None, "");
    output.say(Some(Style::Ask), &asked.title());
    for line in asked.lines(None) {
        output.say(None, &format!("  {line}"));
    }
    let mut refusable_only = true;
    let mut typing = Box::pin(Entry::Refusal.typed(output));
    let mut asked_pin = false;
    loop {
        let typed = tokio::select! {
            note = notes.recv() => match note {
                Some(Note::Step(step)) => {
                    if asked.follow(&step) {
                        asked_pin = false;
                        output.say(Some(Style::Ask), &asked.title());
                        output.say(None, &format!("  {}", asked.prompt.action));
                    }
                    if let Some((style, text)) = words(step.progress, step.method, asked_pin) {
                        output.say(style, &format!("  {text}"));
                    }
                    asked_pin |= matches!(step.progress, Progress::PinNeeded { .. });
                    let next = Entry::of(&step);
                    // A question asked anew forgets what was typed: the one that stays is left alone,
                    // so that no step swallows a refusal.
                    if !(refusable_only && matches!(next, Entry::Refusal)) {
                        refusable_only = matches!(next, Entry::Refusal);
                        typing = Box::pin(next.typed(output));
                    }
                    continue;
                }
                Some(Note::Over { outcome, message }) => {
                    let (title, line) = ending(&asked, &outcome, &message);
                    let style = if outcome == "ok" { Style::Good } else { Style::Bad };
                    output.say(Some(style), &format!("{title}: {line}"));
                    return;
                }
                None => return,
            },
            typed = &mut typing => typed,
        };
        // It may be over by now; then the last word is on its way.
        let _ = match &typed {
            Ok(Typed::Pin(pin)) => answers.pin(pin).await,
            Ok(Typed::Number(number)) => answers.number(*number).await,
            Ok(Typed::Nothing) => Ok(()),
            Ok(Typed::Refuse) | Err(_) => answers.refuse().await,
        };
        let next = match typed {
            Ok(Typed::Refuse) | Err(_) => Entry::Refused,
            Ok(_) => Entry::Refusal,
        };
        refusable_only = matches!(next, Entry::Refusal);
        typing = Box::pin(next.typed(output));
    }
}

impl Entry {
    fn of(step: &Step) -> Self {
        let whose = match step.method {
            Method::SecurityKey => "your key",
            Method::TpmPin | Method::Fingerprint => "this machine",
        };
        match step.progress {
            Progress::PinNeeded { min_length, .. } => {
                Self::Pin(format!("PIN of {whose} (at least {min_length} characters): "))
            }
            Progress::NewPinNeeded { min_length, max_length } => {
                let prompt =
                    format!("New PIN of {whose} ({min_length} to {max_length} characters): ");
                Self::NewPin { prompt, min_length, max_length }
            }
            Progress::NumberNeeded { .. } => Self::Number,
            _ => Self::Refusal,
        }
    }

    async fn typed(self, output: Output) -> Result<Typed, CannotAsk> {
        match self {
            Self::Refusal => {
                let hint = format!("  {REFUSE} and Enter refuses it.\n");
                match secret_input::line(&hint).await {
                    Ok(line) if *line == REFUSE => Ok(Typed::Refuse),
                    Ok(_) | Err(CannotAsk::Empty) => Ok(Typed::Nothing),
                    Err(error) => Err(error),
                }
            }
            Self::Refused => std::future::pending().await,
            Self::Pin(prompt) => Ok(Typed::Pin(secret_input::ask(&prompt).await?)),
            Self::NewPin { prompt, min_length, max_length } => loop {
                let first = secret_input::ask(&prompt).await?;
                let characters = u32::try_from(first.chars().count()).unwrap_or(u32::MAX);
                let bytes = u32::try_from(first.len()).unwrap_or(u32::MAX);
                if characters < min_length || bytes > max_length {
                    output.say(Some(Style::Bad), "That is too short or too long.");
                } else if secret_input::ask("The same once more: ").await? == first {
                    return Ok(Typed::Pin(first));
                } else {
                    output.say(Some(Style::Bad), "The two are not the same.");
                }
            },
            Self::Number => loop {
                let line = secret_input::line("  Number that the program shows: ").await?;
                match line.trim().parse() {
                    Ok(number @ 10..=99) => return Ok(Typed::Number(number)),
                    _ if *line == REFUSE => return Ok(Typed::Refuse),
                    _ => output.say(Some(Style::Bad), "It has two digits."),
                }
            },
        }
    }
}
