//! Results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
    colour_results: bool,
    live: bool,
}

/// Emphasis on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// Something the person must do.
    Ask,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Not important.
    Faint,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Ask => "1;36",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Faint => "2",
        }
    }
}

impl Output {
    /// Colour only on a terminal, and not when `NO_COLOR` says so (no-color.org).
    pub(crate) fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = !dumb && io::stderr().is_terminal();
        let colour_results = !no_colour && !dumb && io::stdout().is_terminal();
        Self { json, colour: !no_colour && terminal, colour_results, live: !json && terminal }
    }

    /// Whether a person watches: what was said can be said anew in its place.
    pub(crate) fn is_live(self) -> bool {
        self.live
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints a result: `json` for programs, `text` for people.
    pub(crate) fn result(self, json: &impl Serialize, text: &str) -> Result<(), Failure> {
        if !self.json {
            return self.line(text);
        }
        let json = serde_json::to_string_pretty(json);
        self.line(&json.map_err(|error| Failure::Print(error.into()))?)
    }

    /// Prints one line of JSON, for programs that follow what happens.
    pub(crate) fn json_line(self, json: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(json);
        self.line(&json.map_err(|error| Failure::Print(error.into()))?)
    }

    /// Prints text with a line end.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(if text.ends_with('\n') { b"" } else { b"\n" })
    }

    /// Prints bytes as they are. A reader that has gone is no failure.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
            _ => Ok(()),
        }
    }

    /// Tells the person something on standard error.
    pub(crate) fn say(self, style: Option<Style>, text: &str) {
        let text = self.styled(style, text);
        // Nobody may be reading; the command goes on.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says on the line of the terminal that it is on; only where a person watches.
    pub(crate) fn say_in_place(self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush());
    }

    /// Tells why the command did not succeed.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let error = serde_json::json!({
                "error": { "code": failure.code(), "message": failure.message() }
            });
            let _ = writeln!(io::stderr().lock(), "{error}");
        } else {
            self.say(
                None,
                &format!("{} {}", self.styled(Some(Style::Bad), "signet:"), failure.message()),
            );
        }
    }

    /// A word of a result for people.
    pub(crate) fn emphasised(self, style: Style, text: &str) -> String {
        painted(Some(style).filter(|_| self.colour_results), text)
    }

    fn styled(self, style: Option<Style>, text: &str) -> String {
        painted(style.filter(|_| self.colour), text)
    }
}

fn painted(style: Option<Style>, text: &str) -> String {
    match style {
        Some(style) => format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()),
        None => text.to_owned(),
    }
}
