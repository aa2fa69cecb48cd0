//! Frames on the socket: one byte of kind, four of length (big-endian), the content.

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest control message.
const MAX_CONTROL: usize = 16 * 1024;
/// Longest piece of a body or of the tunnel.
pub const MAX_PIECE: usize = 64 * 1024;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message in JSON.
    Control,
    /// Bytes of the TLS connection to the gateway.
    Tunnel,
    /// Bytes of a request's or answer's body.
    Body,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Control => 0,
            Self::Tunnel => 1,
            Self::Body => 2,
        }
    }

    fn of(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(Self::Control),
            1 => Ok(Self::Tunnel),
            2 => Ok(Self::Body),
            _ => Err(FrameError::Kind(byte)),
        }
    }

    fn limit(self) -> usize {
        if self == Self::Control { MAX_CONTROL } else { MAX_PIECE }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// The content.
    pub content: Vec<u8>,
}

/// Why no frame was read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The other side ended, or broke off within a frame.
    #[error("the other side closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] std::io::Error),
    /// A kind that this version does not have.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// Longer than any of its kind may be; nothing of it was read.
    #[error("a frame of {length} bytes, where {limit} are the most")]
    TooLong {
        /// As announced.
        length: u32,
        /// The most.
        limit: usize,
    },
}

impl From<std::io::Error> for FrameError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R>(R);

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from here on.
    pub fn new(reader: R) -> Self {
        Self(reader)
    }

    /// The next frame. Not to be given up in the middle.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub async fn next(&mut self) -> Result<Frame, FrameError> {
        let kind = Kind::of(self.0.read_u8().await?)?;
        let length = self.0.read_u32().await?;
        let limit = kind.limit();
        let size = usize::try_from(length).ok().filter(|size| *size <= limit);
        let size = size.ok_or(FrameError::TooLong { length, limit })?;
        let mut content = vec![0; size];
        self.0.read_exact(&mut content).await?;
        Ok(Frame { kind, content })
    }

    /// Resolves when the other side says anything at all, or ends. What it says is lost.
    pub(super) async fn stirred(&mut self) -> FrameError {
        match self.0.read_u8().await {
            Ok(byte) => FrameError::Kind(byte),
            Err(error) => error.into(),
        }
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W>(W);

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes from here on.
    pub fn new(writer: W) -> Self {
        Self(writer)
    }

    /// Writes a frame; bodies and tunnel bytes must come in pieces of at most [`MAX_PIECE`].
    ///
    /// # Errors
    /// [`FrameError::TooLong`], [`FrameError::Closed`], [`FrameError::Io`].
    pub async fn send(&mut self, frame: &Frame) -> Result<(), FrameError> {
        let limit = frame.kind.limit();
        let length = u32::try_from(frame.content.len()).unwrap_or(u32::MAX);
        if frame.content.len() > limit {
            return Err(FrameError::TooLong { length, limit });
        }
        let mut bytes = Vec::with_capacity(5 + frame.content.len());
        bytes.push(frame.kind.byte());
        bytes.extend(length.to_be_bytes());
        bytes.extend(&frame.content);
        self.0.write_all(&bytes).await?;
        Ok(self.0.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_go_through_and_nothing_else_does() {
        let mut bytes = Vec::new();
        let frame = Frame { kind: Kind::Body, content: b"abc".to_vec() };
        FrameWriter::new(&mut bytes).send(&frame).await.unwrap();
        assert_eq!(bytes, [2, 0, 0, 0, 3, b'a', b'b', b'c']);
        assert_eq!(FrameReader::new(&*bytes).next().await.unwrap(), frame);
        for cut in 0..bytes.len() {
            let half = FrameReader::new(&bytes[..cut]).next().await;
            assert!(matches!(half, Err(FrameError::Closed)), "{cut}");
        }
        let strange = FrameReader::new(&[3, 0, 0, 0, 0][..]).next().await;
        assert!(matches!(strange, Err(FrameError::Kind(3))));
        let long = FrameReader::new(&[0, 0, 0, 0x40, 1][..]).next().await;
        assert!(matches!(long, Err(FrameError::TooLong { length: 16385, limit: MAX_CONTROL })));
        let content = vec![0; MAX_PIECE + 1];
        let sent = FrameWriter::new(&mut bytes).send(&Frame { kind: Kind::Body, content }).await;
        assert!(matches!(sent, Err(FrameError::TooLong { .. })));
    }
}
