//! Steps on a terminal, and in a file.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::{Line, StepRecord};

/// Prints steps as they are played.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    colour: bool,
}

impl Printer {
    /// For standard output: colour on a terminal only, and not when `NO_COLOR` says so.
    #[must_use]
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: !refused && !dumb && io::stdout().is_terminal() }
    }

    /// One step.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn step(self, record: &StepRecord) -> io::Result<()> {
        let mut text = format!("\n{:>2}  {}\n", record.step, self.paint("1", &record.title));
        let colour = if record.held { "2" } else { "31" };
        for line in &record.lines {
            text.push_str(&match line {
                Line::Did(line) => format!("    {} {line}\n", self.paint("36", ">")),
                Line::Back(line) => format!("      {}\n", self.paint(colour, line)),
            });
        }
        let verdict =
            if record.held { self.paint("32", "held") } else { self.paint("1;31", "DID NOT HOLD") };
        text.push_str(&format!("    {verdict}\n"));
        self.line(&text)
    }

    /// A line of its own.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn line(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Writes the transcript, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_transcript(path: &Path, records: &[StepRecord]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("json.new");
    fs::write(&new, serde_json::to_vec_pretty(records)?)?;
    fs::rename(new, path)
}
