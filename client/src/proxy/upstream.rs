//! Connections to a gateway, kept and shared: the TPM signs once for each, whatever passes through it.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::{Body as HttpBody, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::{Body, full};
use super::target::Target;
use crate::authority::tls_cause;

/// For a TCP connection.
const CONNECT: Duration = Duration::from_secs(10);
/// For the handshake; the TPM may be busy with another's.
const HANDSHAKE: Duration = Duration::from_secs(40);
/// For a connection to be free where the most are open.
const WAIT: Duration = Duration::from_secs(10);
/// Most HTTP/1.1 connections to one gateway.
const MOST_HTTP1: usize = 32;
/// Most HTTP/2 connections to one gateway; another is opened when the streams of one are used up.
const MOST_HTTP2: usize = 4;
/// Streams on one of them: no peer should allow fewer (RFC 9113 §6.5.2).
const MOST_STREAMS: usize = 100;
/// How long a connection that nobody uses is trusted to be alive.
const IDLE: Duration = Duration::from_secs(90);
/// A connection whose peer answers nothing is found dead after about this time.
const ALIVE: Duration = Duration::from_secs(15);
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// Why a gateway did not answer.
#[derive(Debug, Error)]
pub(super) enum UpstreamError {
    #[error("the name of {origin} cannot be checked against a certificate")]
    Name { origin: String },
    #[error("cannot reach {origin}: check the URL and the network")]
    Unreachable { origin: String, source: io::Error },
    #[error("{origin} does not answer: check the network, or ask who runs it")]
    Silent { origin: String },
    #[error(
        "the certificate of {origin} is not trusted: start `signet proxy` with its CA in --cacert"
    )]
    Untrusted { origin: String, source: rustls::Error },
    #[error(
        "this machine's key could not be used for the connection to {origin}: see `signet doctor`"
    )]
    Key { origin: String, source: rustls::Error },
    #[error(
        "{origin} broke off the connection: this machine's certificate may have run out or been revoked; see `signet status`"
    )]
    BrokenOff { origin: String, source: rustls::Error },
    #[error(
        "the connection to {origin} failed before an answer came: look whether it was done before you send it again"
    )]
    Failed { origin: String, source: Box<dyn StdError + Send + Sync> },
    #[error("all connections to {origin} are in use: try again when a long request has ended")]
    Busy { origin: String },
    #[error("{origin} speaks no HTTP/1.1, and so no websockets, which this request needs")]
    NoHttp1 { origin: String },
}

impl UpstreamError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy { .. } | Self::Key { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::Unreachable { .. } => "gateway-unreachable",
            Self::Silent { .. } => "gateway-silent",
            Self::Untrusted { .. } => "gateway-untrusted",
            Self::Key { .. } => "key",
            Self::BrokenOff { .. } => "gateway-broke-off",
            Self::Failed { .. } => "gateway-failed",
            Self::Busy { .. } => "busy",
            Self::NoHttp1 { .. } => "gateway-http2-only",
        }
    }

    /// RFC 9209 §2.3.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::Untrusted { .. } => "tls_certificate_error",
            Self::Unreachable { .. } => "destination_unavailable",
            Self::Silent { .. } => "connection_timeout",
            Self::BrokenOff { .. } => "tls_alert_received",
            Self::Key { .. } => "proxy_internal_error",
            Self::Failed { .. } => "connection_terminated",
            Self::Busy { .. } => "connection_limit_reached",
            Self::NoHttp1 { .. } => "tls_protocol_error",
        }
    }

    /// Sorts what a connection says.
    fn sorted(origin: String, source: Box<dyn StdError + Send + Sync>) -> Self {
        match tls_cause(&*source).cloned() {
            Some(source @ rustls::Error::InvalidCertificate(_)) => {
                Self::Untrusted { origin, source }
            }
            Some(source @ rustls::Error::Other(_)) => Self::Key { origin, source },
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                Self::NoHttp1 { origin }
            }
            Some(source @ rustls::Error::AlertReceived(_)) => Self::BrokenOff { origin, source },
            _ => Self::Failed { origin, source },
        }
    }
}

/// What an HTTP version needs to be told of a request.
#[derive(Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

enum Line {
    Http1(http1::SendRequest<Body>, OwnedSemaphorePermit),
    Http2(Shared),
}

/// An HTTP/2 connection.
#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Body>,
    /// Streams of ours.
    active: Arc<AtomicUsize>,
    used: Arc<Mutex<Instant>>,
}

impl Shared {
    /// A place on it, unless it is closed or full, or nobody knows any more whether it is alive.
    fn take(&self) -> Option<Stream> {
        let full = self.active.load(Ordering::Relaxed) >= MOST_STREAMS;
        if !self.sender.is_ready() || full {
            return None;
        }
        Some(Stream::on(self))
    }

    fn is_over(&self) -> bool {
        let idle = self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IDLE;
        self.sender.is_closed() || (idle && self.active.load(Ordering::Relaxed) == 0)
    }
}

/// A stream in use.
struct Stream(Shared);

impl Stream {
    fn on(shared: &Shared) -> Self {
        shared.active.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// What an answer holds until its end.
#[derive(Default)]
pub(super) struct Hold(#[allow(dead_code, reason = "released by its end")] Option<Stream>);

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.0.is_some()).finish()
    }
}

struct Idle {
    sender: http1::SendRequest<Body>,
    permit: OwnedSemaphorePermit,
    since: Instant,
}

/// What is known of a gateway's protocol, and its shared connections.
#[derive(Default)]
struct Known {
    http1: bool,
    http2: Vec<Shared>,
}

/// A gateway and the connections to it.
pub(super) struct Upstream {
    target: Target,
    /// Offers HTTP/2 and HTTP/1.1.
    any: Arc<ClientConfig>,
    /// Offers HTTP/1.1: for upgrades.
    only_http1: Arc<ClientConfig>,
    known: tokio::sync::Mutex<Known>,
    idle: Mutex<VecDeque<Idle>>,
    freed: Notify,
    seats: Arc<Semaphore>,
}

impl Upstream {
    /// Connections to `target` with `tls`, which offers HTTP/2 and HTTP/1.1.
    pub(super) fn new(target: Target, tls: &ClientConfig) -> Arc<Self> {
        let mut only_http1 = tls.clone();
        only_http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(Self {
            target,
            any: Arc::new(tls.clone()),
            only_http1: Arc::new(only_http1),
            known: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
            freed: Notify::new(),
            seats: Arc::new(Semaphore::new(MOST_HTTP1)),
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request, whose URI is path and query, over a connection that is open or over a new one.
    /// An upgrade goes over HTTP/1.1.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        upgrade: bool,
    ) -> Result<(Response<Incoming>, Hold), UpstreamError> {
        let mut twin = twin(&request);
        loop {
            let (line, is_new) = self.line(upgrade).await?;
            let sent = match line {
                Line::Http2(shared) => {
                    let Some(stream) = shared.take() else { continue };
                    let request = self.shaped(request, Speaks::Http2)?;
                    let mut sender = shared.sender.clone();
                    let sent = sender.try_send_request(request).await;
                    sent.map(|response| (response, Hold(Some(stream))))
                }
                Line::Http1(mut sender, permit) => {
                    let request = self.shaped(request, Speaks::Http1)?;
                    let sent = sender.try_send_request(request).await;
                    if sent.is_ok() {
                        self.give_back(sender, permit);
                    }
                    sent.map(|response| (response, Hold::default()))
                }
            };
            let mut error = match sent {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            // A connection that was kept may have died meanwhile. What was not sent is sent on another;
            // what can do no harm twice too (RFC 9110 §9.2.2), once.
            request = match error.take_message().or_else(|| twin.take()) {
                Some(request) if !is_new => request,
                _ => return Err(self.failed(error.into_error().into())),
            };
        }
    }

    /// An open connection that has room, or a new one; and whether it is new.
    async fn line(self: &Arc<Self>, http1: bool) -> Result<(Line, bool), UpstreamError> {
        if http1 {
            return self.http1_line().await;
        }
        // Held while the first connection opens: whoever comes meanwhile shares it.
        let mut known = self.known.lock().await;
        if known.http1 {
            drop(known);
            return self.http1_line().await;
        }
        known.http2.retain(|shared| !shared.is_over());
        if let Some(shared) = known.http2.iter().find(|shared| shared.take().is_some()) {
            return Ok((Line::Http2(shared.clone()), false));
        }
        if known.http2.len() >= MOST_HTTP2 {
            return Err(UpstreamError::Busy { origin: self.target.origin() });
        }
        let stream = self.connect(&self.any).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let shared = self.http2(stream).await?;
            known.http2.push(shared.clone());
            return Ok((Line::Http2(shared), true));
        }
        known.http1 = true;
        drop(known);
        let permit = self.seat().await?;
        Ok((self.http1(stream, permit).await?, true))
    }

    async fn http1_line(self: &Arc<Self>) -> Result<(Line, bool), UpstreamError> {
        let taken = async {
            loop {
                let freed = self.freed.notified();
                if let Some(idle) = self.idle() {
                    return Ok(idle);
                }
                tokio::select! {
                    seat = Arc::clone(&self.seats).acquire_owned() => return Err(seat),
                    () = freed => {}
                }
            }
        };
        let busy = || UpstreamError::Busy { origin: self.target.origin() };
        match timeout(WAIT, taken).await {
            Ok(Ok(idle)) => Ok((Line::Http1(idle.sender, idle.permit), false)),
            Ok(Err(Ok(permit))) => {
                let stream = self.connect(&self.only_http1).await?;
                Ok((self.http1(stream, permit).await?, true))
            }
            Ok(Err(Err(_))) | Err(_) => Err(busy()),
        }
    }

    async fn seat(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let busy = || UpstreamError::Busy { origin: self.target.origin() };
        let seat = timeout(WAIT, Arc::clone(&self.seats).acquire_owned()).await;
        seat.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// A kept connection that is still good.
    fn idle(&self) -> Option<Idle> {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| idle.since.elapsed() < IDLE && idle.sender.is_ready());
        all.pop_back()
    }

    /// Keeps a connection once its answer has been read to the end.
    fn give_back(
        self: &Arc<Self>,
        mut sender: http1::SendRequest<Body>,
        permit: OwnedSemaphorePermit,
    ) {
        let upstream = Arc::clone(self);
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                let idle = Idle { sender, permit, since: Instant::now() };
                upstream.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(idle);
            }
            upstream.freed.notify_one();
        });
    }

    /// A new connection: the TPM signs.
    async fn connect(
        &self,
        tls: &Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, UpstreamError> {
        let origin = || self.target.origin();
        let host = self.target.bare_host().to_owned();
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| UpstreamError::Name { origin: origin() })?;
        let stream = timeout(CONNECT, TcpStream::connect((host, self.target.port())));
        let stream = stream.await.map_err(|_| UpstreamError::Silent { origin: origin() })?;
        let unreachable = |source| UpstreamError::Unreachable { origin: origin(), source };
        let stream = stream.map_err(unreachable)?;
        watch(&stream).map_err(unreachable)?;
        let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        // The handshake waits for the TPM on its thread: not on one that others need.
        let handle = tokio::runtime::Handle::current();
        let shaken =
            tokio::task::spawn_blocking(move || handle.block_on(timeout(HANDSHAKE, connecting)));
        match shaken.await {
            Ok(Ok(Ok(stream))) => Ok(stream),
            Ok(Ok(Err(error))) => Err(self.failed(error.into())),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Silent { origin: origin() }),
        }
    }

    async fn http2(&self, stream: TlsStream<TcpStream>) -> Result<Shared, UpstreamError> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD as u32)
            .keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE)
            .keep_alive_while_idle(false);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed(error.into()))?;
        tokio::spawn(connection);
        let used = Arc::new(Mutex::new(Instant::now()));
        Ok(Shared { sender, active: Arc::default(), used })
    }

    async fn http1(
        &self,
        stream: TlsStream<TcpStream>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Line, UpstreamError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed(error.into()))?;
        tokio::spawn(connection.with_upgrades());
        Ok(Line::Http1(sender, permit))
    }

    /// The request in the words of the protocol: who is called stands in its place.
    fn shaped(
        &self,
        mut request: Request<Body>,
        speaks: Speaks,
    ) -> Result<Request<Body>, UpstreamError> {
        let authority = self.target.authority();
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = match speaks {
            Speaks::Http1 => Uri::builder().path_and_query(path).build(),
            Speaks::Http2 => Uri::builder()
                .scheme(Scheme::HTTPS)
                .authority(authority.as_str())
                .path_and_query(path)
                .build(),
        };
        *request.uri_mut() = uri.map_err(|error| self.failed(error.into()))?;
        request.headers_mut().remove(HOST);
        match speaks {
            Speaks::Http1 => {
                *request.version_mut() = Version::HTTP_11;
                let host =
                    authority.parse().map_err(|_| UpstreamError::Name { origin: authority })?;
                request.headers_mut().insert(HOST, host);
            }
            Speaks::Http2 => *request.version_mut() = Version::HTTP_2,
        }
        Ok(request)
    }

    fn failed(&self, error: Box<dyn StdError + Send + Sync>) -> UpstreamError {
        UpstreamError::sorted(self.target.origin(), error)
    }
}

/// The same request, where sending it twice does no harm and there is no body.
fn twin(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.method().is_safe() || !request.body().is_end_stream() {
        return None;
    }
    let mut twin = Request::new(full(""));
    *twin.method_mut() = request.method().clone();
    *twin.uri_mut() = request.uri().clone();
    *twin.headers_mut() = request.headers().clone();
    Some(twin)
}

/// Has the kernel find a peer that went away without a word.
fn watch(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ALIVE)?;
    sockopt::set_tcp_keepintvl(stream, ALIVE / 3)?;
    let limit = u32::try_from(2 * ALIVE.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, limit)?)
}
