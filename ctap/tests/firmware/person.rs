//! Somebody who follows the events.

use std::collections::VecDeque;

use signet_ctap::commands::SampleStatus;
use signet_ctap::operation::{Event, Prompt};
use signet_test_authenticators::VirtualKey;

/// What was seen, comparable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Touch,
    Choice(usize),
    Finger,
    WrongFinger(u32),
    FingerBlocked,
    Pin { tries_left: u32, wrong_before: bool },
    Sample(SampleStatus, u32),
}

/// What the person does when asked.
#[derive(Default)]
pub(crate) struct Person<'a> {
    /// The key at which touches and fingers happen.
    pub(crate) key: Option<&'a VirtualKey>,
    /// PINs to type, in order; then nobody answers.
    pub(crate) pins: VecDeque<&'a str>,
    /// Fingers to lay on, in order; `dirty` is a smudge.
    pub(crate) fingers: VecDeque<&'a str>,
}

impl Person<'_> {
    fn lay_finger(&mut self) {
        if let (Some(key), Some(finger)) = (self.key, self.fingers.pop_front()) {
            if finger == "dirty" { key.dirty().unwrap() } else { key.finger(finger).unwrap() }
        }
    }

    fn react(&mut self, event: Event) -> Option<Seen> {
        Some(match event {
            Event::TouchNeeded => {
                if let Some(key) = self.key {
                    key.touch().unwrap();
                }
                Seen::Touch
            }
            Event::ChoiceNeeded { keys } => {
                if let Some(key) = self.key {
                    key.touch().unwrap();
                }
                Seen::Choice(keys)
            }
            Event::FingerNeeded => {
                self.lay_finger();
                Seen::Finger
            }
            Event::WrongFinger { tries_left } => Seen::WrongFinger(tries_left),
            Event::FingerBlocked => Seen::FingerBlocked,
            Event::PinNeeded(question) => {
                let seen = Seen::Pin {
                    tries_left: question.tries_left,
                    wrong_before: question.wrong_before,
                };
                if let Some(pin) = self.pins.pop_front() {
                    question.answer(crate::secret(pin));
                }
                seen
            }
            Event::SampleTaken { status, remaining } => {
                if remaining > 0 {
                    self.lay_finger();
                }
                Seen::Sample(status, remaining)
            }
            _ => return None,
        })
    }

    /// Runs an operation with this person in front of it.
    pub(crate) async fn attend<T>(
        mut self,
        operation: impl AsyncFnOnce(Prompt) -> T,
    ) -> (T, Vec<Seen>) {
        let (prompt, mut events) = Prompt::new();
        let mut seen = Vec::new();
        let mut operation = std::pin::pin!(operation(prompt));
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => seen.extend(self.react(event)),
                result = &mut operation => break result,
            }
        };
        while let Some(event) = events.next().await {
            seen.extend(self.react(event));
        }
        (result, seen)
    }
}

/// Runs an operation with somebody who only types PINs.
pub(crate) async fn with_pins<T>(
    pins: &[&str],
    operation: impl AsyncFnOnce(Prompt) -> T,
) -> (T, Vec<Seen>) {
    Person { pins: pins.iter().copied().collect(), ..Person::default() }.attend(operation).await
}
