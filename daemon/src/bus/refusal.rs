//! A failure as a D-Bus error reply.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::failure::{ArgumentError, ERROR_PREFIX, Failure};

/// A [`Failure`] with its name and its message spelled out.
#[derive(Debug)]
pub(super) struct Refusal {
    name: ErrorName<'static>,
    message: String,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            // As many as somebody likes, or told already.
            Failure::TooManyRequests(_) | Failure::NotAuthorised(_) => {
                tracing::debug!(outcome = failure.name(), "call refused");
            }
            _ => tracing::info!(outcome = failure.name(), "call refused"),
        }
        let name = format!("{ERROR_PREFIX}{}", failure.name());
        Self { name: ErrorName::from_string_unchecked(name), message: message(&failure) }
    }
}

impl From<ArgumentError> for Refusal {
    fn from(error: ArgumentError) -> Self {
        Failure::from(error).into()
    }
}

/// What the caller reads: the advice, and the causes beneath it.
pub(super) fn message(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(" (");
            text.push_str(&words);
            text.push(')');
        }
        cause = error.source();
    }
    text
}

impl zbus::DBusError for Refusal {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name.clone()).build(&(self.message.as_str(),))
    }

    fn name(&self) -> ErrorName<'_> {
        self.name.clone()
    }

    fn description(&self) -> Option<&str> {
        Some(&self.message)
    }
}
