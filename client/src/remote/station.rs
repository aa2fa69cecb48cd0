//! The workstation's end: asks the person, gets the token, sends the request, tells the answer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use thiserror::Error;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::exchange::{self, Approved, ExchangeError, HeaderError};
use super::frame::{Frame, FrameError, FrameReader, FrameWriter, Kind, MAX_PIECE};
use super::message::{
    FarMessage, MAX_BODY, Refusal, StationMessage, VERSION, Wanted, framed, read,
};
use super::tunnel;
use crate::approval::{ApprovalError, action_for};
use crate::ceremony::{Attendant, CannotAsk, Question};
use crate::daemon::{Bus, DaemonRefusal, Means, Progress, Step};
use crate::one_line::words;
use crate::private_socket::{self, SocketFault, is_ours};
use crate::tls::TlsConfigError;
use crate::tokens::{CacheError, TokenCache};
use crate::workstation::{OpenError, PresenceError, Workstation};

/// Connections at once.
const SEATS: usize = 4;
/// For the far host to say hello, and to say what it wants.
const HELLO: Duration = Duration::from_secs(10);
const ASK: Duration = Duration::from_secs(30);
/// For the far host to reach the gateway.
const REACH: Duration = Duration::from_secs(20);
/// For request and answer; the action token lives as long.
const EXCHANGE: Duration = Duration::from_secs(60);
/// For the last words to be read.
const FAREWELL: Duration = Duration::from_secs(10);
/// After a refusal by the person no far host asks for so long.
const REST: Duration = Duration::from_secs(30);
/// Longest name of a far host.
const MAX_HOST: usize = 64;

/// The socket in the runtime directory's folder of ours.
#[must_use]
pub fn socket_path(directory: &Path) -> PathBuf {
    directory.join("remote.sock")
}

/// Why far hosts are not served.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The folder is not safe.
    #[error(transparent)]
    Directory(#[from] CacheError),
    /// Another agent of this user serves them.
    #[error("another agent serves far hosts at {0}")]
    Served(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen at {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a far host's wish was not fulfilled.
#[derive(Debug, Error)]
enum Fault {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(
        "the far host speaks version {0} of the protocol, and this machine {VERSION}: use one version of signet"
    )]
    Version(u32),
    #[error("that is not what this protocol expects here")]
    Protocol,
    #[error("the far host took too long")]
    TooSlow,
    #[error("the name of the far host is not a host name")]
    Host,
    #[error("only single requests are approved for far hosts, and not {0:?}")]
    Purpose(String),
    #[error("a body has at most {MAX_BODY} bytes here")]
    TooLarge,
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("that is not an HTTP method")]
    Method,
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error("too many far hosts ask at once: try again")]
    Busy,
    #[error("the person refused a far host just now: try again in {} s", REST.as_secs())]
    Resting,
    #[error(
        "nothing at the workstation can show the prompt: run `signet agent` in a session of it"
    )]
    NobodyShows,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Presence(#[from] PresenceError),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error("the far host does not reach the gateway: {0}")]
    Unreachable(String),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

impl Fault {
    fn refusal(&self) -> Refusal {
        let refusal = |code: &str, unavailable| (code.to_owned(), unavailable);
        let (code, unavailable) = match self {
            Self::Frame(_) | Self::Protocol | Self::Host => refusal("malformed", false),
            Self::Version(_) => refusal("version", false),
            Self::TooSlow => refusal("too-slow", true),
            Self::Purpose(_) => refusal("not-served", false),
            Self::TooLarge => refusal("too-large", false),
            Self::Header(_) => refusal("header", false),
            Self::Method | Self::Approval(_) => refusal("action", false),
            Self::Busy => refusal("busy", true),
            Self::Resting => refusal("resting", true),
            Self::NobodyShows => refusal("CannotPrompt", true),
            Self::Open(OpenError::NotEnrolled) => refusal("not-enrolled", false),
            Self::Open(_) | Self::Tls(_) => refusal("unavailable", true),
            Self::Presence(error) => return presence_refusal(error),
            Self::Unreachable(_) => refusal("gateway-unreachable", true),
            Self::Exchange(ExchangeError::Untrusted { .. }) => refusal("gateway-untrusted", false),
            Self::Exchange(_) => refusal("gateway", true),
        };
        Refusal { code, message: words(self), unavailable }
    }
}

fn presence_refusal(error: &PresenceError) -> Refusal {
    let unavailable = error.is_unavailable();
    let code = match error {
        PresenceError::Authority(error) => error.rejection().map(|code| code.as_str()),
        PresenceError::Ceremony(error) => error.refusal().and_then(DaemonRefusal::as_str),
        PresenceError::Renamed { .. } => None,
    };
    let code = code.unwrap_or(if unavailable { "unavailable" } else { "failed" }).to_owned();
    Refusal { code, message: words(error), unavailable }
}

/// Serves far hosts.
#[derive(Debug)]
pub struct Station {
    bus: Bus,
    /// CAs of gateways, DER; the authority's own where there are none.
    anchors: Option<Vec<Vec<u8>>>,
    seats: Semaphore,
    /// Until when nobody asks.
    rest: Mutex<Option<Instant>>,
}

impl Station {
    /// Serves by `signetd` on this bus, and believes gateways under these CAs (DER).
    #[must_use]
    pub fn new(bus: Bus, anchors: Option<Vec<Vec<u8>>>) -> Self {
        Self { bus, anchors, seats: Semaphore::new(SEATS), rest: Mutex::default() }
    }

    /// Makes the socket, which only its owner can reach: its folder has mode 0700, itself 0600.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(runtime_directory: Option<&Path>) -> Result<UnixListener, ListenError> {
        let cache = TokenCache::open(runtime_directory)?;
        let path = socket_path(cache.directory());
        private_socket::listen(&path).await.map_err(|fault| match fault {
            SocketFault::Served => ListenError::Served(path.clone()),
            SocketFault::Io(source) => ListenError::Io { path: path.clone(), source },
        })
    }

    /// Serves all who connect.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => {
                    tokio::spawn(Arc::clone(&self).attend(stream));
                }
                Ok(_) => tracing::warn!("another user asked at the socket for far hosts"),
                // Out of descriptors: others must end first.
                Err(error) => {
                    tracing::warn!(%error, "cannot take a far host's connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn attend(self: Arc<Self>, stream: UnixStream) {
        let (reader, writer) = stream.into_split();
        let (out, outbox) = mpsc::channel(16);
        let writing = tokio::spawn(write(FrameWriter::new(writer), outbox));
        let mut reader = FrameReader::new(reader);
        let done = match self.seats.try_acquire() {
            Ok(_seat) => self.converse(&mut reader, &out).await,
            Err(_) => Err(Fault::Busy),
        };
        if let Err(fault) = done {
            let refusal = fault.refusal();
            tracing::info!(code = %refusal.code, "a far host was refused");
            let _ = timeout(FAREWELL, out.send(framed(&StationMessage::Refused(refusal)))).await;
        }
        drop(out);
        let _ = timeout(FAREWELL, writing).await;
    }

    async fn converse(
        &self,
        reader: &mut FrameReader<OwnedReadHalf>,
        out: &mpsc::Sender<Frame>,
    ) -> Result<(), Fault> {
        let host = timeout(HELLO, hello(reader)).await.map_err(|_| Fault::TooSlow)??;
        tell(out, StationMessage::Hello { version: VERSION }).await?;
        let (wanted, body) = timeout(ASK, wish(reader)).await.map_err(|_| Fault::TooSlow)??;
        let method = wanted.method.parse().map_err(|_| Fault::Method)?;
        let url = Url::parse(&wanted.url).map_err(|_| ApprovalError::Url)?;
        let headers = exchange::headers(&wanted.headers)?;
        let action = action_for(&wanted.method, &url, &body, &wanted.actions)?;
        if self.is_resting() {
            return Err(Fault::Resting);
        }
        let workstation = Workstation::open(&self.bus).await?.for_remote(host);
        let tls = workstation.tls_towards(self.anchors.as_deref())?;
        let herald = Herald::new(out.clone());
        let acr = wanted.acr.as_deref();
        let approving = workstation.approve(action.as_bytes(), acr, Means::default(), &herald);
        let approved = tokio::select! {
            approved = approving => approved,
            // It has said everything: more is an attempt at something else, and an end is the end.
            stirred = reader.stirred() => return Err(match stirred {
                FrameError::Kind(_) => Fault::Protocol,
                gone => gone.into(),
            }),
        };
        let token = match approved {
            Ok(response) => response.access_token,
            Err(_) if herald.is_unseen() => return Err(Fault::NobodyShows),
            Err(error) => {
                self.rest_after(&error);
                return Err(error.into());
            }
        };
        tell(out, StationMessage::Connect {}).await?;
        timeout(REACH, reached(reader)).await.map_err(|_| Fault::TooSlow)??;
        let (ours, tunnelled) = tokio::io::duplex(MAX_PIECE);
        let approved = Approved { method, url, headers, body, token };
        // The handshake waits for the TPM on its thread: not on one that others need.
        let (handle, sink) = (tokio::runtime::Handle::current(), out.clone());
        let exchange = tokio::task::spawn_blocking(move || {
            handle.block_on(timeout(EXCHANGE, exchange::send(approved, tls, ours, &sink)))
        });
        let answered = tokio::select! {
            answered = exchange => answered,
            () = tunnel::carry(tunnelled, reader, out) => return Err(FrameError::Closed.into()),
        };
        match answered {
            Ok(Ok(done)) => Ok(done?),
            Ok(Err(_)) => Err(Fault::TooSlow),
            Err(_) => Err(FrameError::Closed.into()),
        }
    }

    fn is_resting(&self) -> bool {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.is_some_and(|until| Instant::now() < until)
    }

    /// A person who said no, or did not answer, is left in peace.
    fn rest_after(&self, error: &PresenceError) {
        let PresenceError::Ceremony(error) = error else { return };
        if matches!(error.refusal(), Some(DaemonRefusal::Cancelled | DaemonRefusal::TimedOut)) {
            let until = Instant::now().checked_add(REST);
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }
}

async fn write(mut writer: FrameWriter<OwnedWriteHalf>, mut outbox: mpsc::Receiver<Frame>) {
    while let Some(frame) = outbox.recv().await {
        if writer.send(&frame).await.is_err() {
            return;
        }
    }
}

async fn tell(out: &mpsc::Sender<Frame>, message: StationMessage) -> Result<(), Fault> {
    Ok(out.send(framed(&message)).await.map_err(|_| FrameError::Closed)?)
}

async fn hello(reader: &mut FrameReader<OwnedReadHalf>) -> Result<String, Fault> {
    match read(&reader.next().await?) {
        Some(FarMessage::Hello { version: VERSION, host }) => {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let sound = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(letter);
            if sound { Ok(host) } else { Err(Fault::Host) }
        }
        Some(FarMessage::Hello { version, .. }) => Err(Fault::Version(version)),
        _ => Err(Fault::Protocol),
    }
}

/// What is wanted, with its body.
async fn wish(reader: &mut FrameReader<OwnedReadHalf>) -> Result<(Wanted, Vec<u8>), Fault> {
    let Some(FarMessage::Ask(wanted)) = read(&reader.next().await?) else {
        return Err(Fault::Protocol);
    };
    if wanted.purpose != "action" {
        return Err(Fault::Purpose(crate::authority::printable(&wanted.purpose)));
    }
    let length = usize::try_from(wanted.body_length).ok().filter(|length| *length <= MAX_BODY);
    let length = length.ok_or(Fault::TooLarge)?;
    let mut body = Vec::new();
    while body.len() < length {
        let Frame { kind: Kind::Body, content } = reader.next().await? else {
            return Err(Fault::Protocol);
        };
        if content.is_empty() || body.len() + content.len() > length {
            return Err(Fault::Protocol);
        }
        body.extend(content);
    }
    Ok((wanted, body))
}

async fn reached(reader: &mut FrameReader<OwnedReadHalf>) -> Result<(), Fault> {
    match read(&reader.next().await?) {
        Some(FarMessage::Connected {}) => Ok(()),
        Some(FarMessage::Unreachable { message }) => {
            Err(Fault::Unreachable(crate::authority::printable(&message)))
        }
        _ => Err(Fault::Protocol),
    }
}

/// Tells the far host what the person is asked to do, and stops when nobody shows it to them here.
struct Herald {
    out: mpsc::Sender<Frame>,
    unseen: Mutex<bool>,
    stop: Notify,
}

impl Herald {
    fn new(out: mpsc::Sender<Frame>) -> Self {
        Self { out, unseen: Mutex::default(), stop: Notify::new() }
    }

    fn is_unseen(&self) -> bool {
        *self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attendant for Herald {
    fn show(&self, step: &Step) {
        if step.prompt.is_some() && !step.agent {
            *self.unseen.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.stop.notify_one();
            return;
        }
        if let Some(words) = at_the_workstation(step.progress) {
            // A far host that does not read misses it.
            let _ = self.out.try_send(framed(&StationMessage::Progress { words }));
        }
    }

    async fn secret(&self, _question: Question) -> Result<Zeroizing<String>, CannotAsk> {
        Err(CannotAsk::NoTerminal)
    }

    fn interrupted(&self) -> impl Future<Output = ()> + Send {
        self.stop.notified()
    }
}

/// What the person has to do there, for who waits at the far host.
fn at_the_workstation(progress: Progress) -> Option<String> {
    let text = match progress {
        Progress::Queued { position: 0 } | Progress::Processing | Progress::Unrecognised => {
            return None;
        }
        Progress::Queued { .. } => "waiting: others are served first",
        Progress::KeyNeeded => "plug in your key",
        Progress::TouchNeeded => "touch your key",
        Progress::FingerNeeded | Progress::FingerRetry { .. } => "place your finger",
        Progress::WrongFinger { .. } => "wrong finger: place another",
        Progress::PinNeeded { .. } | Progress::NewPinNeeded { .. } => "enter your PIN",
        Progress::NumberShown { number } => {
            return Some(format!("at the workstation: choose the number {number}"));
        }
        Progress::NumberNeeded { .. } | Progress::Sample { .. } => return None,
        Progress::Quoting => "the TPM signs",
    };
    Some(format!("at the workstation: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceremony::CeremonyError;

    #[test]
    fn a_no_is_told_from_a_part_that_is_missing() {
        let code = |fault: Fault| (fault.refusal().code, fault.refusal().unavailable);
        assert_eq!(code(Fault::Busy), ("busy".into(), true));
        assert_eq!(code(Fault::Purpose("session".into())), ("not-served".into(), false));
        let cancelled = PresenceError::Ceremony(CeremonyError::Cancelled);
        assert_eq!(code(cancelled.into()), ("failed".into(), false));
    }
}
