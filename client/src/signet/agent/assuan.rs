//! The Assuan protocol as far as a pinentry speaks it: lines of at most 1000 bytes, `OK`, `ERR`, `D`,
//! percent escapes (libassuan's manual, "Client requests" and "Server responses").

use std::io;
use std::process::Stdio;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zeroize::{Zeroize, Zeroizing};

/// Longest line without its end.
const MAX_LINE: usize = 1000;
/// More than any answer has.
const BUFFER: usize = 4096;
/// `GPG_ERR_CANCELED` and `GPG_ERR_FULLY_CANCELED`, `GPG_ERR_NOT_CONFIRMED`, in the low 16 bits.
const CANCELLED: [u32; 3] = [99, 198, 114];

/// Why a helper gave no answer.
#[derive(Debug, Error)]
pub(super) enum AssuanError {
    /// It cannot be run, or went away.
    #[error("it cannot be talked to")]
    Io(#[from] io::Error),
    /// It does not speak the protocol.
    #[error("it says what it should not")]
    Protocol,
    /// It cannot do this.
    #[error("it refuses with error {code}")]
    Refused {
        /// libgpg-error's number, with its source.
        code: u32,
    },
    /// The person closed it.
    #[error("the person closed it")]
    Cancelled,
}

/// A running helper.
pub(super) struct Assuan {
    _process: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read and not yet used; never grows, so that no copy of a PIN is left behind.
    buffer: Zeroizing<Vec<u8>>,
    /// Whether it had the person type the PIN of the last answer twice.
    pub(super) repeated: bool,
}

impl Assuan {
    /// Starts the helper and waits for its greeting. It is killed when this is dropped.
    pub(super) async fn start(mut command: Command) -> Result<Self, AssuanError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.kill_on_drop(true).spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        };
        let buffer = Zeroizing::new(Vec::with_capacity(BUFFER));
        let mut assuan = Self { _process: process, input, output, buffer, repeated: false };
        assuan.answer().await?;
        Ok(assuan)
    }

    /// A command with an argument that is escaped, and the data that it answers with.
    pub(super) async fn call(
        &mut self,
        command: &str,
        argument: &str,
    ) -> Result<Zeroizing<String>, AssuanError> {
        let mut line = command.to_owned();
        if !argument.is_empty() {
            line.push(' ');
            line.push_str(&escaped(argument, MAX_LINE - line.len()));
        }
        line.push('\n');
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await?;
        self.answer().await
    }

    /// Everything up to `OK`.
    async fn answer(&mut self) -> Result<Zeroizing<String>, AssuanError> {
        self.repeated = false;
        let mut data = Zeroizing::new(Vec::with_capacity(BUFFER));
        loop {
            let line = self.line().await?;
            let text = line.as_slice();
            if text == b"OK" || text.starts_with(b"OK ") {
                let text = std::str::from_utf8(&data).map_err(|_| AssuanError::Protocol)?;
                return Ok(Zeroizing::new(text.to_owned()));
            } else if let Some(piece) = text.strip_prefix(b"D ") {
                unescape(piece, &mut data)?;
            } else if let Some(rest) = text.strip_prefix(b"ERR ") {
                return Err(error(rest));
            } else if text == b"S PIN_REPEATED" {
                self.repeated = true;
            } else if text.starts_with(b"INQUIRE ") {
                // It wants something, such as how good a PIN is, that we do not tell.
                self.input.write_all(b"END\n").await?;
            }
            // Other status lines (S) and comments (#) are passed over.
        }
    }

    async fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, AssuanError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = Zeroizing::new(self.buffer[..end].to_vec());
                let left = self.buffer.len() - end - 1;
                self.buffer.copy_within(end + 1.., 0);
                self.buffer[left..].zeroize();
                self.buffer.truncate(left);
                return Ok(line);
            }
            if self.buffer.len() >= MAX_LINE + 2 {
                return Err(AssuanError::Protocol);
            }
            let room = (BUFFER - self.buffer.len()) as u64;
            let read = (&mut self.output).take(room).read_buf(&mut *self.buffer).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn error(rest: &[u8]) -> AssuanError {
    let digits = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    let code = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok());
    match code {
        Some(code) if CANCELLED.contains(&(code & 0xffff)) => AssuanError::Cancelled,
        Some(code) => AssuanError::Refused { code },
        None => AssuanError::Protocol,
    }
}

/// Percent-escaped, cut at a character so that it fits into `room` bytes.
fn escaped(text: &str, room: usize) -> String {
    let mut line = String::new();
    for character in text.chars() {
        let piece = match character {
            '%' => "%25".to_owned(),
            control if control.is_ascii_control() => format!("%{:02X}", u32::from(control)),
            other => other.to_string(),
        };
        if line.len() + piece.len() > room {
            break;
        }
        line.push_str(&piece);
    }
    line
}

fn unescape(piece: &[u8], into: &mut Vec<u8>) -> Result<(), AssuanError> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = piece;
    while let Some((first, after)) = rest.split_first() {
        if into.len() >= MAX_LINE {
            return Err(AssuanError::Protocol);
        }
        rest = after;
        if *first != b'%' {
            into.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(AssuanError::Protocol) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
            return Err(AssuanError::Protocol);
        };
        into.push(high << 4 | low);
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_one_line_whatever_it_holds() {
        assert_eq!(escaped("100 %\nBYE\r\u{0}ä", 100), "100 %25%0ABYE%0D%00ä");
        assert_eq!(escaped("ab\n", 4), "ab");
        assert_eq!(escaped("aä", 2), "a");
    }

    #[test]
    fn data_is_unescaped() {
        let mut data = Vec::new();
        unescape("12%25%0a%C3%a4".as_bytes(), &mut data).unwrap();
        assert_eq!(data, "12%\nä".as_bytes());
        for broken in [&b"%"[..], b"%2", b"%zz"] {
            assert!(matches!(unescape(broken, &mut data), Err(AssuanError::Protocol)));
        }
    }

    #[test]
    fn a_closed_dialogue_is_told_from_a_fault() {
        assert!(matches!(error(b"83886179 Operation cancelled"), AssuanError::Cancelled));
        assert!(matches!(error(b"83886194 fully"), AssuanError::Cancelled));
        let refused = error(b"83886205 Inappropriate ioctl");
        assert!(matches!(refused, AssuanError::Refused { code: 83_886_205 }));
        assert!(matches!(error(b"what"), AssuanError::Protocol));
    }

    async fn helper(script: &str) -> Result<Assuan, AssuanError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Assuan::start(command).await
    }

    #[tokio::test]
    async fn whatever_a_helper_says_is_an_answer_or_an_error() {
        let talks = "echo OK hello; read line; echo \"# $line\"; echo S X; echo D 12%2534; echo OK";
        let mut assuan = helper(talks).await.unwrap();
        assert_eq!(*assuan.call("GETPIN", "").await.unwrap(), "12%34");
        let gone = assuan.call("BYE", "").await;
        assert!(matches!(gone, Err(AssuanError::Io(_))));
        assert!(matches!(helper("exit 1").await, Err(AssuanError::Io(_))));
        let endless = helper("head -c 100000 /dev/zero | tr '\\0' x").await;
        assert!(matches!(endless, Err(AssuanError::Protocol)));
        let nothing = Assuan::start(Command::new("/nonexistent/pinentry")).await;
        assert!(matches!(nothing, Err(AssuanError::Io(_))));
    }
}
