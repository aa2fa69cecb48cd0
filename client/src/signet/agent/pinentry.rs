//! PINs by a pinentry program, in its own window or on the terminal.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signet_client::ceremony::Question;
use signet_client::daemon::Method;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::asked::without_markup;
use super::assuan::{Assuan, AssuanError};

/// What Debian calls whichever is installed.
const PROGRAM: &str = "pinentry";
/// Says what a wrong first answer was; each of these runs at most so often.
const TRIES: usize = 10;

/// A pinentry that can ask the person.
#[derive(Clone, Debug)]
pub(super) struct Pinentry {
    program: OsString,
    /// The terminal it may use.
    terminal: Option<PathBuf>,
}

impl Pinentry {
    /// The program that was named, or the system's; `None` when it does not run, or has neither a
    /// display nor a terminal.
    pub(super) async fn find(program: Option<OsString>) -> Option<Self> {
        let program = program.unwrap_or_else(|| PROGRAM.into());
        let pinentry = Self { program, terminal: terminal() };
        let mut assuan = pinentry.start().await.ok()?;
        let flavour = assuan.call("GETINFO flavor", "").await.ok();
        let graphical = flavour.is_none_or(|name| !matches!(name.as_str(), "curses" | "tty"));
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let display = set("DISPLAY") || set("WAYLAND_DISPLAY");
        (graphical && display || pinentry.terminal.is_some()).then_some(pinentry)
    }

    /// Asks for a PIN. `text` says what for; `fault` what was wrong with the last answer.
    pub(super) async fn secret(
        &self,
        question: Question,
        text: &str,
        fault: Option<&str>,
    ) -> Result<Zeroizing<String>, AssuanError> {
        match question {
            Question::Pin { method, .. } => {
                self.get(&format!("PIN of {}:", whose(method)), text, fault, None).await
            }
            Question::NewPin { min_length, max_length, method } => {
                let prompt = format!("New PIN of {}:", whose(method));
                let mut fault = fault.map(str::to_owned);
                for _ in 0..TRIES {
                    let again = Some("The same once more:");
                    let pin = self.get(&prompt, text, fault.as_deref(), again).await?;
                    let characters = u32::try_from(pin.chars().count()).unwrap_or(u32::MAX);
                    let bytes = u32::try_from(pin.len()).unwrap_or(u32::MAX);
                    if characters >= min_length && bytes <= max_length {
                        return Ok(pin);
                    }
                    fault = Some(format!("It needs {min_length} to {max_length} characters."));
                }
                Err(AssuanError::Cancelled)
            }
        }
    }

    /// Asks for the number that the requester shows.
    pub(super) async fn number(&self, text: &str) -> Result<u32, AssuanError> {
        let mut fault = None;
        for _ in 0..TRIES {
            let prompt = "Number that the program shows:";
            let typed = self.get(prompt, text, fault, None).await?;
            match typed.trim().parse() {
                Ok(number @ 10..=99) => return Ok(number),
                _ => fault = Some("It has two digits."),
            }
        }
        Err(AssuanError::Cancelled)
    }

    async fn get(
        &self,
        prompt: &str,
        text: &str,
        fault: Option<&str>,
        repeat: Option<&str>,
    ) -> Result<Zeroizing<String>, AssuanError> {
        // A dialogue that is given up in the middle leaves the terminal as it was.
        let _restored = self.terminal.as_ref().and_then(Restored::new);
        let mut assuan = self.start().await?;
        assuan.call("SETTITLE", "Signet").await?;
        // Some pinentries take text for markup.
        assuan.call("SETDESC", &without_markup(text)).await?;
        assuan.call("SETPROMPT", prompt).await?;
        assuan.call("SETOK", "OK").await?;
        assuan.call("SETCANCEL", "_Refuse").await?;
        if let Some(fault) = fault {
            assuan.call("SETERROR", fault).await?;
        }
        if let Some(repeat) = repeat {
            // Not every one has a second entry; those say so, or leave it out.
            let _ = assuan.call("SETREPEAT", repeat).await;
        }
        loop {
            let pin = assuan.call("GETPIN", "").await?;
            if pin.is_empty() {
                return Err(AssuanError::Cancelled);
            }
            let Some(repeat) = repeat.filter(|_| !assuan.repeated) else { return Ok(pin) };
            assuan.call("SETPROMPT", repeat).await?;
            if assuan.call("GETPIN", "").await? == pin {
                return Ok(pin);
            }
            assuan.call("SETPROMPT", prompt).await?;
            assuan.call("SETERROR", "The two are not the same.").await?;
        }
    }

    async fn start(&self) -> Result<Assuan, AssuanError> {
        let mut assuan = Assuan::start(Command::new(&self.program)).await?;
        if let Some(terminal) = self.terminal.as_ref().and_then(|path| path.to_str()) {
            assuan.call("OPTION", &format!("ttyname={terminal}")).await?;
            let kind = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
            assuan.call("OPTION", &format!("ttytype={kind}")).await?;
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        if let Some(locale) = locale {
            // Not every one knows it.
            let _ = assuan.call("OPTION", &format!("lc-ctype={locale}")).await;
        }
        Ok(assuan)
    }
}

fn whose(method: Method) -> &'static str {
    match method {
        Method::SecurityKey => "your key",
        Method::TpmPin | Method::Fingerprint => "this machine",
    }
}

/// The terminal that a pinentry may use: what gpg's users name, or the one that we run on.
fn terminal() -> Option<PathBuf> {
    let named = std::env::var_os("GPG_TTY").filter(|name| !name.is_empty()).map(PathBuf::from);
    named.filter(|path| path.is_absolute()).or_else(|| {
        let name = rustix::termios::ttyname(std::io::stdin(), Vec::new()).ok()?;
        name.into_string().ok().map(PathBuf::from)
    })
}

/// A terminal's settings, put back when this is dropped.
struct Restored {
    terminal: File,
    before: Termios,
}

impl Restored {
    fn new(path: &PathBuf) -> Option<Self> {
        let terminal = File::options().read(true).write(true).open(path).ok()?;
        let before = tcgetattr(&terminal).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
