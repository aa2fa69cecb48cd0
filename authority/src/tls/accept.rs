//! The accept loop: bounded connections, bounded handshakes, and a stop that lets requests finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::PeerCertificate;

/// How long requests under way may take once the stop was asked for.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// What one listener serves, and to how many.
pub struct Serving {
    /// The bound socket.
    pub listener: TcpListener,
    /// TLS settings.
    pub tls: Arc<ServerConfig>,
    /// The endpoints.
    pub router: Router,
    /// Connections at once; more wait in the socket's queue.
    pub connections: usize,
    /// Time for the handshake, and for each request's head.
    pub header_timeout: Duration,
}

/// Serves until `stop` becomes true, then lets requests under way finish.
pub async fn serve(serving: Serving, mut stop: watch::Receiver<bool>) {
    let Serving { listener, tls, router, connections, header_timeout } = serving;
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(connections));
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
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            if let Some((connection, peer)) =
                handshake(acceptor, stream, address, header_timeout).await
            {
                serve_connection(connection, peer, address, router, watcher, header_timeout).await;
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time and were closed");
    }
}

/// Ends the connection that a request came over, whatever is under way on it.
#[derive(Clone, Debug, Default)]
pub struct Closer(Arc<Notify>);

impl Closer {
    /// Ends it.
    pub fn close(&self) {
        self.0.notify_one();
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    limit: Duration,
) -> Option<(TlsStream, Option<PeerCertificate>)> {
    // Answers are small and whole; waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake refused");
            return None;
        }
        Err(_) => {
            tracing::debug!(%address, "TLS handshake took too long");
            return None;
        }
    };
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let peer = leaf.map(|leaf| PeerCertificate::new(leaf.clone().into_owned()));
    Some((stream, peer))
}

async fn serve_connection(
    stream: TlsStream,
    peer: Option<PeerCertificate>,
    address: SocketAddr,
    router: Router,
    watcher: Watcher,
    header_timeout: Duration,
) {
    let mark = move |request: &mut Request<Incoming>| {
        // Whatever a client may have caused to be there, only the handshake's certificate counts.
        request.extensions_mut().remove::<PeerCertificate>();
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
    };
    if let Err(error) = serve_http(stream, router, watcher, header_timeout, mark).await {
        tracing::debug!(%address, %error, "connection ended with an error");
    }
}

/// Answers the requests of one connection; `mark` notes on each whose connection it is.
///
/// # Errors
/// When the connection breaks or does not speak HTTP.
pub(crate) async fn serve_http<S, F>(
    stream: S,
    router: Router,
    watcher: Watcher,
    header_timeout: Duration,
    mark: F,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(&mut Request<Incoming>) + Clone + Send + 'static,
{
    let closer = Closer::default();
    let closed = closer.clone();
    let service = router.map_request(move |mut request: Request<Incoming>| {
        mark(&mut request);
        request.extensions_mut().insert(closer.clone());
        request.map(axum::body::Body::new)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let connection = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    tokio::select! {
        ended = watcher.watch(connection) => ended,
        () = closed.0.notified() => {
            tracing::debug!("connection cut");
            Ok(())
        }
    }
}

/// Running out of file descriptors would otherwise turn this loop into a busy one.
pub(crate) async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
