//! The accept loop: bounded connections, bounded handshakes, and a stop that lets requests finish.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{ClientCas, Closer, PeerCertificate};
use crate::config::Limits;
use crate::limits::{ClientAddress, Listener};
use crate::metrics::Metrics;

/// How long requests under way may take once the stop was asked for.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// What one listener serves, and to how many.
pub struct Serving {
    /// The bound socket.
    pub listener: TcpListener,
    /// TLS settings.
    pub tls: Arc<ServerConfig>,
    /// Whose client certificates it takes.
    pub client_cas: Arc<ClientCas>,
    /// The endpoints.
    pub router: Router,
    /// Which one it is.
    pub which: Listener,
    /// Connections at once, of which more wait in the socket's queue, those of one address, and times.
    pub limits: Limits,
    /// Where slow clients and refused connections are counted.
    pub metrics: Arc<Metrics>,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the handshake, and for the first request's head.
    pub head: Duration,
    /// Until the next request is there.
    pub idle: Duration,
}

impl From<&Limits> for Timeouts {
    fn from(limits: &Limits) -> Self {
        Self { head: limits.header_timeout.duration(), idle: limits.idle_timeout.duration() }
    }
}

/// How many connections each address has; as many addresses as there are connections.
struct Addresses {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
    which: Listener,
    metrics: Arc<Metrics>,
}

/// A connection of an address, until it ends.
struct Place(Arc<Addresses>, IpAddr);

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            self.metrics.pressure.connection_refused(self.which);
            return None;
        }
        *count += 1;
        self.metrics.pressure.connection_opened(self.which);
        Some(Place(self.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self(addresses, address) = self;
        let mut open = addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(address) {
            Some(count @ 2..) => *count -= 1,
            _ => drop(open.remove(address)),
        }
        addresses.metrics.pressure.connection_closed(addresses.which);
    }
}

/// Serves until `stop` becomes true, then lets requests under way finish.
pub async fn serve(serving: Serving, mut stop: watch::Receiver<bool>) {
    let Serving { listener, tls, client_cas, router, which, limits, metrics } = serving;
    let timeouts = Timeouts::from(&limits);
    let most = limits.connections_per_address.get();
    let addresses = Addresses { open: Mutex::default(), most, which, metrics: metrics.clone() };
    let addresses = Arc::new(addresses);
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(limits.connections.get().min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        // Closed without a word: TLS would cost more than the answer is worth.
        let Some(place) = addresses.enter(address.ip()) else { continue };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        let (metrics, client_cas) = (metrics.clone(), client_cas.clone());
        tokio::spawn(async move {
            let _held = (slot, place);
            let slow = |at| metrics.pressure.slow(which, at);
            // Before the handshake: what changes while it is under way counts.
            let mut changes = client_cas.changes();
            match handshake(acceptor, stream, address, timeouts.head).await {
                Ok((connection, peer)) => {
                    let refused = async {
                        match &peer {
                            Some(peer) => client_cas.refuse(peer, &mut changes).await,
                            None => std::future::pending().await,
                        }
                    };
                    let served = serve_connection(
                        connection,
                        peer.clone(),
                        address,
                        router,
                        watcher,
                        timeouts,
                    );
                    let ended = tokio::select! {
                        ended = served => ended,
                        () = refused => {
                            tracing::debug!(%address, "its CA counts no more: connection cut");
                            Ended::Normally
                        }
                    };
                    if let Ended::Idle { asked } = ended {
                        slow(if asked { "idle" } else { "head" });
                    }
                }
                Err(Unshaken::TooSlow) => slow("handshake"),
                Err(Unshaken::Refused) => {}
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time and were closed");
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Why there is no connection.
enum Unshaken {
    Refused,
    TooSlow,
}

/// How a connection ended.
pub(crate) enum Ended {
    /// As connections do.
    Normally,
    /// It was cut because nobody asked anything over it; whether anybody ever did.
    Idle {
        /// Whether anybody ever did.
        asked: bool,
    },
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    limit: Duration,
) -> Result<(TlsStream, Option<PeerCertificate>), Unshaken> {
    // Answers are small and whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake refused");
            return Err(Unshaken::Refused);
        }
        Err(_) => {
            tracing::debug!(%address, "TLS handshake took too long");
            return Err(Unshaken::TooSlow);
        }
    };
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let peer = leaf.map(|leaf| PeerCertificate::new(leaf.clone().into_owned()));
    Ok((stream, peer))
}

async fn serve_connection(
    stream: TlsStream,
    peer: Option<PeerCertificate>,
    address: SocketAddr,
    router: Router,
    watcher: Watcher,
    timeouts: Timeouts,
) -> Ended {
    let mark = move |request: &mut Request<Incoming>| {
        // Whatever a client may have caused to be there, only the handshake's certificate counts.
        request.extensions_mut().remove::<PeerCertificate>();
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        request.extensions_mut().insert(ClientAddress(address.ip()));
    };
    serve_http(stream, router, watcher, timeouts, mark).await.unwrap_or_else(|error| {
        tracing::debug!(%address, %error, "connection ended with an error");
        Ended::Normally
    })
}

/// Answers the requests of one connection; `mark` notes on each whose connection it is.
///
/// # Errors
/// When the connection breaks or does not speak HTTP.
pub(crate) async fn serve_http<S, F>(
    stream: S,
    router: Router,
    watcher: Watcher,
    timeouts: Timeouts,
    mark: F,
) -> Result<Ended, Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(&mut Request<Incoming>) + Clone + Send + 'static,
{
    let closer = Closer::default();
    let closed = closer.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let busy = closer.busy();
        mark(&mut request);
        request.extensions_mut().insert(closer.clone());
        let answered = router.clone().oneshot(request.map(axum::body::Body::new));
        async move {
            let _busy = busy;
            answered.await
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // hyper's own timeout begins when the answer before was sent, so it would cut resting connections:
    // a gateway that asks at that moment gets no answer and refuses whom it asked for.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    tokio::select! {
        ended = watcher.watch(connection) => ended.map(|()| Ended::Normally),
        () = closed.closed() => {
            tracing::debug!("connection cut");
            Ok(Ended::Normally)
        }
        asked = closed.idle(timeouts.head, timeouts.idle) => Ok(Ended::Idle { asked }),
    }
}

/// Running out of file descriptors would otherwise turn this loop into a busy one.
pub(crate) async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
