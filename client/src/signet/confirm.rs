//! Asking a person whether it is meant.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};

use crate::failure::Failure;

/// Has the person at the terminal type `word`.
///
/// # Errors
/// [`Failure::NotConfirmed`] when they type something else, or there is no terminal.
pub(crate) async fn typed(question: String, word: &'static str) -> Result<(), Failure> {
    let asked = tokio::task::spawn_blocking(move || ask(&question, word));
    match asked.await {
        Ok(Ok(true)) => Ok(()),
        _ => Err(Failure::NotConfirmed),
    }
}

fn ask(question: &str, word: &str) -> std::io::Result<bool> {
    let mut tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    write!(tty, "{question}\nType {word} to go on: ")?;
    let mut line = String::new();
    BufReader::new(tty).read_line(&mut line)?;
    Ok(line.trim() == word)
}
