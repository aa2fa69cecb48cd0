//! Text for people, JSON for programs.

use std::io::Write;

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// JSON or text.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one answer.
    pub(crate) fn line(self, text: &str, value: &serde_json::Value) -> anyhow::Result<()> {
        let line = if self.json { value.to_string() } else { text.to_owned() };
        to_stdout(format!("{line}\n").as_bytes())
    }
}

/// Writes to standard output; a reader that went away is no error.
pub(crate) fn to_stdout(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Writes to standard error; there is nobody to tell when that fails.
pub(crate) fn to_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
