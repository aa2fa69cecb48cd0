//! The far host's end: says what is wanted, and carries bytes between workstation and gateway.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use super::frame::{Frame, FrameError, FrameReader, FrameWriter, Kind, MAX_PIECE};
use super::message::{
    FarMessage, Header, MAX_BODY, Refusal, StationMessage, VERSION, Wanted, framed, read,
};

/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What the gateway answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<Header>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FarError {
    /// The socket is not there, or nobody listens behind it.
    #[error(
        "cannot reach the workstation through {path}: is it forwarded (ssh -R), and does `signet agent` run there?"
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection to the workstation broke.
    #[error("the connection to the workstation broke: {0}")]
    Broken(#[from] FrameError),
    /// The workstation speaks otherwise.
    #[error(
        "the workstation does not speak this version of the protocol: use one version of signet"
    )]
    Protocol,
    /// The workstation said no.
    #[error("the workstation refused ({}): {}", .0.code, .0.message)]
    Refused(Refusal),
    /// Bodies are bounded.
    #[error("a body has at most {MAX_BODY} bytes over a workstation's socket")]
    BodyTooLarge,
    /// Answers are bounded.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    AnswerTooLarge,
}

/// Has the workstation behind `socket` approve and send `wanted` with `body`; `host` is this host's
/// name, `show` is told what the person has to do.
///
/// # Errors
/// See [`FarError`].
pub async fn ask(
    socket: &Path,
    host: &str,
    wanted: Wanted,
    body: &[u8],
    show: impl Fn(&str),
) -> Result<Answer, FarError> {
    if body.len() > MAX_BODY {
        return Err(FarError::BodyTooLarge);
    }
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| FarError::Socket { path: socket.into(), source })?;
    let (reader, writer) = stream.into_split();
    let mut line = Line { reader: FrameReader::new(reader), writer: FrameWriter::new(writer) };
    line.say(&FarMessage::Hello { version: VERSION, host: host.to_owned() }).await?;
    let StationMessage::Hello { version: VERSION } = line.heard().await? else {
        return Err(FarError::Protocol);
    };
    let url = wanted.url.clone();
    line.say(&FarMessage::Ask(wanted)).await?;
    for piece in body.chunks(MAX_PIECE) {
        line.writer.send(&Frame { kind: Kind::Body, content: piece.to_vec() }).await?;
    }
    loop {
        match line.heard().await? {
            StationMessage::Progress { words } => show(&words),
            StationMessage::Connect {} => break,
            _ => return Err(FarError::Protocol),
        }
    }
    match gateway(&url).await {
        Ok(gateway) => {
            line.say(&FarMessage::Connected {}).await?;
            line.carry(gateway).await
        }
        Err(error) => {
            line.say(&FarMessage::Unreachable { message: error.to_string() }).await?;
            // The workstation says the last word.
            line.heard().await.and(Err(FarError::Protocol))
        }
    }
}

async fn gateway(url: &str) -> io::Result<TcpStream> {
    let url = Url::parse(url).map_err(|_| io::ErrorKind::InvalidInput)?;
    let host = url.host_str().ok_or(io::ErrorKind::InvalidInput)?;
    let port = url.port_or_known_default().unwrap_or(443);
    // An IPv6 address is in brackets in a URL.
    TcpStream::connect((host.trim_matches(['[', ']']), port)).await
}

struct Line {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
}

impl Line {
    async fn say(&mut self, message: &FarMessage) -> Result<(), FarError> {
        match self.writer.send(&framed(message)).await {
            // The workstation refused meanwhile, and says why.
            Err(FrameError::Closed) => self.heard().await.and(Err(FrameError::Closed.into())),
            other => Ok(other?),
        }
    }

    async fn heard(&mut self) -> Result<StationMessage, FarError> {
        match read(&self.reader.next().await?) {
            Some(StationMessage::Refused(refusal)) => Err(FarError::Refused(refusal)),
            Some(message) => Ok(message),
            None => Err(FarError::Protocol),
        }
    }

    /// Carries bytes until the answer is complete.
    async fn carry(mut self, gateway: TcpStream) -> Result<Answer, FarError> {
        let (mut from_gateway, mut to_gateway) = gateway.into_split();
        let mut writer = self.writer;
        let up = async {
            let mut piece = vec![0; MAX_PIECE];
            loop {
                let length = from_gateway.read(&mut piece).await.unwrap_or(0);
                let content = piece.get(..length).unwrap_or_default().to_vec();
                let sent = writer.send(&Frame { kind: Kind::Tunnel, content }).await;
                if sent.is_err() || length == 0 {
                    break;
                }
            }
            std::future::pending().await
        };
        let down = async {
            let mut answer = None;
            loop {
                let frame = self.reader.next().await?;
                match frame.kind {
                    Kind::Tunnel if frame.content.is_empty() => {
                        let _ = to_gateway.shutdown().await;
                    }
                    // A gateway that is gone is seen by the workstation, which says so.
                    Kind::Tunnel => drop(to_gateway.write_all(&frame.content).await),
                    Kind::Body => extend(answer.as_mut(), &frame.content)?,
                    Kind::Control => match read(&frame) {
                        Some(StationMessage::Answer { status, headers }) if answer.is_none() => {
                            answer = Some(Answer { status, headers, body: Vec::new() });
                        }
                        Some(StationMessage::End {}) => return answer.ok_or(FarError::Protocol),
                        Some(StationMessage::Refused(refusal)) => {
                            return Err(FarError::Refused(refusal));
                        }
                        _ => return Err(FarError::Protocol),
                    },
                }
            }
        };
        tokio::select! {
            answer = down => answer,
            never = up => never,
        }
    }
}

fn extend(answer: Option<&mut Answer>, content: &[u8]) -> Result<(), FarError> {
    let answer = answer.ok_or(FarError::Protocol)?;
    if answer.body.len() + content.len() > MAX_ANSWER {
        return Err(FarError::AnswerTooLarge);
    }
    answer.body.extend_from_slice(content);
    Ok(())
}
