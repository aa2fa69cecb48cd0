//! The passphrase of the keys' directory: from the service manager, or from a person at a terminal. It is
//! never an argument, never a variable and never a file beside the keys.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use thiserror::Error;
use zeroize::Zeroizing;

/// What the service manager provides it as (`LoadCredential=`).
pub(super) const CREDENTIAL: &str = "passphrase";
/// Longest one.
const MAX: usize = 1024;

/// There is no passphrase.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// Nobody to ask.
    #[error(
        "the keys are under a passphrase, and nobody is at a terminal: provide the credential \
         `passphrase` (LoadCredentialEncrypted=, see docs/operating.md)"
    )]
    NoTerminal,
    /// Nothing was typed, or too much.
    #[error("a passphrase has between 1 and 1024 bytes")]
    Length,
    /// Typed twice, and not the same.
    #[error("the two are not the same; nothing was changed")]
    Differs,
    /// The terminal, or the credential.
    #[error("the passphrase cannot be read")]
    Io(#[from] io::Error),
}

/// What was said before in this process: a person is asked once.
static SAID: Mutex<Option<Zeroizing<String>>> = Mutex::new(None);

/// The passphrase of keys that are sealed already.
pub(super) fn existing(credentials: Option<&Path>) -> Result<Zeroizing<String>, PassphraseError> {
    if let Some(provided) = provided(credentials)? {
        return Ok(provided);
    }
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_none() {
        *said = Some(ask("Passphrase of the authority's keys: ")?);
    }
    said.clone().ok_or(PassphraseError::Length)
}

/// One for keys that are not sealed yet.
pub(super) fn chosen(credentials: Option<&Path>) -> Result<Zeroizing<String>, PassphraseError> {
    if let Some(provided) = provided(credentials)? {
        return Ok(provided);
    }
    let first = ask("New passphrase of the authority's keys: ")?;
    if *first != *ask("Again: ")? {
        return Err(PassphraseError::Differs);
    }
    *SAID.lock().unwrap_or_else(PoisonError::into_inner) = Some(first.clone());
    Ok(first)
}

/// Forgets what was typed: it was wrong.
pub(super) fn forget() {
    *SAID.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn provided(credentials: Option<&Path>) -> Result<Option<Zeroizing<String>>, PassphraseError> {
    let path = credentials.map(|folder| folder.join(CREDENTIAL));
    let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    checked(&text).map(Some)
}

fn checked(text: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let line = text.trim_end_matches(['\r', '\n']);
    let fits = (1..=MAX).contains(&line.len());
    fits.then(|| Zeroizing::new(line.to_owned())).ok_or(PassphraseError::Length)
}

/// Asks at the terminal that controls this process, without showing what is typed.
fn ask(prompt: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let quiet = Quiet::new(terminal.map_err(|_| PassphraseError::NoTerminal)?)?;
    (&quiet.terminal).write_all(prompt.as_bytes())?;
    // A terminal gives one line at a time.
    let mut line = Zeroizing::new(vec![0; MAX + 2]);
    let length = (&quiet.terminal).read(&mut line)?;
    (&quiet.terminal).write_all(b"\n")?;
    let line = std::str::from_utf8(line.get(..length).unwrap_or_default());
    checked(line.map_err(|_| PassphraseError::Length)?)
}

/// A terminal that shows nothing until this is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> Result<Self, PassphraseError> {
        let before = tcgetattr(&terminal).map_err(|_| PassphraseError::NoTerminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet).map_err(io::Error::from)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
