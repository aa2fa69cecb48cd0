//! A PIN out of a pipe, so that it is in no message and no log of the bus.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use zeroize::Zeroizing;

use crate::authenticator::Pin;
use crate::failure::{ArgumentError, Failure};

/// Longest PIN in bytes of UTF-8.
const MAX_PIN: usize = crate::authenticator::MAX_PIN as usize;
/// PIN, line end, and one byte that shows that there is too much.
const BUFFER: usize = MAX_PIN + 3;
/// Whoever calls has the PIN already; the pipe needs no patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads to the end of the pipe; a trailing line end is not part of the PIN.
///
/// # Errors
/// [`ArgumentError::Pin`], [`Failure::PinTooLong`].
pub(super) async fn read(pipe: OwnedFd) -> Result<Pin, Failure> {
    let pipe = Receiver::from_owned_fd(pipe).map_err(|_| ArgumentError::Pin)?;
    // Never grows, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BUFFER));
    let read = async {
        let mut pipe = pipe.take(BUFFER as u64);
        while pipe.read_buf(&mut *bytes).await? > 0 {}
        std::io::Result::Ok(())
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(ArgumentError::Pin.into()),
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| ArgumentError::Pin)?;
    match text.len() {
        0 => Err(ArgumentError::Pin.into()),
        1..=MAX_PIN => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(Failure::PinTooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    async fn through_a_pipe(bytes: &[u8]) -> Result<Pin, Failure> {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(bytes).unwrap();
        drop(writer);
        read(reader.into()).await
    }

    #[tokio::test]
    async fn a_pin_is_short_utf_8_without_its_line_end() {
        for (bytes, pin) in [("1234", "1234"), ("1234\n", "1234"), ("pässword\r\n", "pässword")] {
            assert_eq!(through_a_pipe(bytes.as_bytes()).await.as_deref(), Ok(&pin.to_owned()));
        }
        let longest = "x".repeat(MAX_PIN);
        assert_eq!(through_a_pipe(longest.as_bytes()).await.as_deref(), Ok(&longest));
        for bytes in [&b""[..], b"\n", b"\xff\xfe12"] {
            assert_eq!(through_a_pipe(bytes).await, Err(ArgumentError::Pin.into()));
        }
        for bytes in [&[b'x'; MAX_PIN + 1][..], &[b'x'; 5000]] {
            assert_eq!(through_a_pipe(bytes).await, Err(Failure::PinTooLong));
        }
    }

    #[tokio::test]
    async fn only_a_pipe_is_read() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(read(file.into()).await, Err(ArgumentError::Pin.into()));
    }
}
