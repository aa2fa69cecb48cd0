//! Errors for people, in one line.

use std::error::Error;

use crate::authority::printable;

/// An error with its causes, each once; printable.
pub(crate) fn words(error: &dyn Error) -> String {
    printable(&causes(error))
}

/// An error with its causes, each once, as they are.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn each_cause_is_said_once() {
        let end = Layer("no such\nfile", None);
        let middle = Layer("cannot read", Some(Box::new(end)));
        let error = Layer("cannot read", Some(Box::new(middle)));
        assert_eq!(words(&error), format!("cannot read: {}", printable("no such\nfile")));
    }
}
