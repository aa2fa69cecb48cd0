//! Secrets typed at a terminal without echo, or read from a descriptor; never from arguments.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signet_client::ceremony::CannotAsk;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

/// Longest secret; tickets and PINs are far shorter.
const MAX_SECRET: usize = 1024;

/// Asks at the terminal that controls this process.
pub(crate) async fn ask(prompt: &str) -> Result<Zeroizing<String>, CannotAsk> {
    typed(prompt, false).await
}

/// Asks at the terminal for something that is no secret, and shows it.
pub(crate) async fn line(prompt: &str) -> Result<Zeroizing<String>, CannotAsk> {
    typed(prompt, true).await
}

async fn typed(prompt: &str, echo: bool) -> Result<Zeroizing<String>, CannotAsk> {
    let tty = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).unwrap_or(0))
        .open("/dev/tty")
        .map_err(|_| CannotAsk::NoTerminal)?;
    let quiet = QuietTerminal::new(tty, echo)?;
    quiet.say(prompt).map_err(CannotAsk::Io)?;
    let typed = quiet.line().await;
    if !echo {
        // The person's own line end was not shown.
        quiet.say("\n").map_err(CannotAsk::Io)?;
    }
    typed
}

/// Reads a secret from `reader` up to a line end or the end.
pub(crate) fn read(reader: impl Read) -> Result<Zeroizing<String>, CannotAsk> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 1));
    reader.take(MAX_SECRET as u64 + 1).read_to_end(&mut bytes).map_err(CannotAsk::Io)?;
    secret_of(&bytes)
}

/// Reads secrets from an inherited descriptor, one a line.
pub(crate) fn read_descriptor(number: u32) -> Result<Vec<Zeroizing<String>>, CannotAsk> {
    // Opened anew by name: taking over a raw number would be unsafe, and could close another's file.
    read_lines(File::open(format!("/dev/fd/{number}")).map_err(CannotAsk::Io)?)
}

/// Reads secrets from `reader`, one a line; a last empty line is none.
fn read_lines(reader: impl Read) -> Result<Vec<Zeroizing<String>>, CannotAsk> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 1));
    reader.take(MAX_SECRET as u64 + 1).read_to_end(&mut bytes).map_err(CannotAsk::Io)?;
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    whole.split(|byte| *byte == b'\n').map(secret_of).collect()
}

/// Reads a secret from a file, from standard input for `-`; without a file, from standard input or,
/// where that is a terminal, from the person.
pub(crate) async fn from_file_or_person(
    file: Option<&Path>,
    prompt: &str,
) -> Result<Zeroizing<String>, CannotAsk> {
    match file {
        Some(path) if path != Path::new("-") => read(File::open(path).map_err(CannotAsk::Io)?),
        None if io::stdin().is_terminal() => ask(prompt).await,
        _ => read(io::stdin().lock()),
    }
}

fn secret_of(bytes: &[u8]) -> Result<Zeroizing<String>, CannotAsk> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let fault =
        |text: &'static str| CannotAsk::Io(io::Error::new(io::ErrorKind::InvalidData, text));
    if line.len() > MAX_SECRET {
        return Err(fault("it is too long"));
    }
    match std::str::from_utf8(line) {
        Ok("") => Err(CannotAsk::Empty),
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(fault("it is not UTF-8 text")),
    }
}

/// A terminal that shows nothing of what is typed until this is dropped, unless it is no secret.
struct QuietTerminal {
    tty: AsyncFd<OwnedFd>,
    before: Termios,
}

impl QuietTerminal {
    fn new(tty: File, echo: bool) -> Result<Self, CannotAsk> {
        let before = tcgetattr(&tty).map_err(|_| CannotAsk::NoTerminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.set(LocalModes::ECHO, echo);
        quiet.local_modes.remove(LocalModes::ECHONL);
        quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        #[expect(
            deprecated,
            reason = "an OwnedFd names one descriptor, and its successor is unsafe"
        )]
        let tty = AsyncFd::new(OwnedFd::from(tty)).map_err(CannotAsk::Io)?;
        // What was typed before the question is no answer to it.
        tcsetattr(&tty, OptionalActions::Flush, &quiet)
            .map_err(|errno| CannotAsk::Io(errno.into()))?;
        Ok(Self { tty, before })
    }

    fn say(&self, text: &str) -> io::Result<()> {
        let mut tty = File::from(self.tty.as_fd().try_clone_to_owned()?);
        tty.write_all(text.as_bytes())
    }

    async fn line(&self) -> Result<Zeroizing<String>, CannotAsk> {
        let mut bytes = Zeroizing::new(vec![0; MAX_SECRET + 1]);
        let mut filled = 0;
        loop {
            let mut ready = self.tty.readable().await.map_err(CannotAsk::Io)?;
            let rest = bytes.get_mut(filled..).unwrap_or_default();
            let read = ready.try_io(|tty| Ok(rustix::io::read(tty, &mut *rest)?));
            match read {
                Err(_would_block) => {}
                Ok(Err(error)) => return Err(CannotAsk::Io(error)),
                Ok(Ok(0)) => return secret_of(bytes.get(..filled).unwrap_or_default()),
                Ok(Ok(count)) => {
                    filled += count;
                    let typed = bytes.get(..filled).unwrap_or_default();
                    if typed.contains(&b'\n') || filled > MAX_SECRET {
                        return secret_of(typed);
                    }
                }
            }
        }
    }
}

impl Drop for QuietTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_text() {
        assert_eq!(*read(&b"1234\r\nrest"[..]).unwrap(), "1234");
        assert_eq!(*read("pässword".as_bytes()).unwrap(), "pässword");
        assert!(matches!(read(&b"\n"[..]), Err(CannotAsk::Empty)));
        assert!(matches!(read(&b"\xff"[..]), Err(CannotAsk::Io(_))));
        assert!(matches!(read(&vec![b'1'; 5000][..]), Err(CannotAsk::Io(_))));
    }

    #[test]
    fn a_line_for_each_secret() {
        let lines = |text: &'static str| {
            let read = read_lines(text.as_bytes()).unwrap();
            read.iter().map(|line| line.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(lines("1234"), ["1234"]);
        assert_eq!(lines("1234\r\n567890\n"), ["1234", "567890"]);
        assert!(matches!(read_lines(&b""[..]), Err(CannotAsk::Empty)));
        assert!(matches!(read_lines(&b"1234\n\n5"[..]), Err(CannotAsk::Empty)));
    }

    #[test]
    fn a_descriptor_is_read_by_number() {
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"1234\n").unwrap();
        drop(writer);
        let number = u32::try_from(reader.as_raw_fd()).unwrap();
        assert_eq!(*read_descriptor(number).unwrap()[0], "1234");
        assert!(matches!(read_descriptor(999_999), Err(CannotAsk::Io(_))));
    }
}
