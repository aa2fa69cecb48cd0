//! What a step tells, and how it fails.

use std::error::Error;
use std::fmt::{Debug, Display};

/// Why a step did not hold.
pub type Fault = Box<dyn Error + Send + Sync>;

/// Something was not as it must be.
#[derive(Debug, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct Unexpected {
    /// What was looked at.
    pub what: &'static str,
    /// What it must be.
    pub expected: String,
    /// What it was.
    pub found: String,
}

/// One thing that a step tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Something was done.
    Did(String),
    /// Something came back.
    Back(String),
}

/// What a step did and what came back, in their order.
#[derive(Debug, Default)]
pub struct Notes {
    pub(super) lines: Vec<Line>,
    pub(super) decided: Vec<(&'static str, Option<&'static str>)>,
}

impl Notes {
    /// Something was done.
    pub fn did(&mut self, text: impl Display) {
        self.lines.push(Line::Did(text.to_string()));
    }

    /// Something came back.
    pub fn back(&mut self, text: impl Display) {
        self.lines.push(Line::Back(text.to_string()));
    }

    /// The audit trail must hold this yes.
    pub fn allowed(&mut self, event: &'static str) {
        self.decided.push((event, None));
    }

    /// The audit trail must hold this no, with this exact code.
    pub fn refused(&mut self, event: &'static str, code: &'static str) {
        self.decided.push((event, Some(code)));
    }
}

/// `found` must be `expected`.
///
/// # Errors
/// [`Unexpected`].
pub(super) fn expect<T: PartialEq<U> + Debug, U: Debug>(
    what: &'static str,
    found: T,
    expected: U,
) -> Result<(), Unexpected> {
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(Unexpected { what, expected, found })
}
