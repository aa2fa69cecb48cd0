//! Connections of tools: taken, bounded in number, size and time, and ended in order.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::body::{Body, full};
use super::caller::{Door, Visit, admit};
use super::listen::{Listener, Opened};
use super::refusal::Refusal;
use super::{Proxy, ending, pac};
use crate::ceremony::Attendant;
use crate::private_socket::is_ours;

/// Connections of tools at once.
const SEATS: usize = 256;
/// For a request's head to come, and between two requests.
pub(super) const HEAD: Duration = Duration::from_secs(30);
/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// For what is under way, once the proxy ends.
const FAREWELL: Duration = Duration::from_secs(10);
/// After a failure to take a connection, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(500);

/// A connection's place among all. What becomes of the connection holds it too: a tunnel, a websocket.
pub(super) type Seat = Arc<OwnedSemaphorePermit>;

impl<A: Attendant + Send + 'static> Proxy<A> {
    /// Serves at these places until `stop`; then what is under way may end, for ten seconds at most.
    pub async fn serve(self: &Arc<Self>, places: Vec<Opened>, stop: impl Future<Output = ()>) {
        let seats = Arc::new(Semaphore::new(SEATS));
        let mut listening = JoinSet::new();
        let mut made = Vec::new();
        for place in places {
            made.extend(place.made.clone());
            listening.spawn(Arc::clone(self).listen(place, Arc::clone(&seats)));
        }
        stop.await;
        listening.shutdown().await;
        for path in made {
            let _ = std::fs::remove_file(path);
        }
        let _ = self.ender.send(true);
        let all = u32::try_from(SEATS).unwrap_or(u32::MAX);
        let _ = timeout(FAREWELL, seats.acquire_many(all)).await;
    }

    async fn listen(self: Arc<Self>, place: Opened, seats: Arc<Semaphore>) {
        let Opened { listener, door, .. } = place;
        loop {
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
            let taken = match &listener {
                Listener::Unix(listener) => match listener.accept().await {
                    Ok((stream, _)) if is_ours(&stream) => {
                        self.begin(stream, &door, seat);
                        Ok(())
                    }
                    Ok(_) => {
                        tracing::warn!("another user connected to the proxy's socket");
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Listener::Tcp(listener) => match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        self.begin(stream, &door, seat);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = taken {
                self.wait_after(&error).await;
            }
        }
    }

    async fn wait_after(&self, error: &io::Error) {
        tracing::warn!(%error, "cannot take a connection");
        sleep(PAUSE).await;
    }

    fn begin(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        door: &Door,
        seat: OwnedSemaphorePermit,
    ) {
        let (proxy, door) = (Arc::clone(self), door.clone());
        tokio::spawn(proxy.converse(stream, door, Arc::new(seat)));
    }

    /// Answers the requests of one connection.
    pub(super) async fn converse(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        door: Door,
        seat: Seat,
    ) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD as u32)
            .max_concurrent_streams(STREAMS);
        let spoke = Arc::new(AtomicBool::new(false));
        let service = service_fn(|request| {
            spoke.store(true, Ordering::Relaxed);
            let (proxy, door, seat) = (Arc::clone(&self), door.clone(), Arc::clone(&seat));
            async move { Ok::<_, Infallible>(proxy.answer(&door, &seat, request).await) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        // Which version is spoken is awaited without a limit of hyper's own.
        let silent = async {
            sleep(HEAD).await;
            if spoke.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = silent => return,
            () = ending(self.end.clone()) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "a tool's connection ended early");
        }
    }

    async fn answer(
        self: Arc<Self>,
        door: &Door,
        seat: &Seat,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let asked = request.headers().clone();
        let answered = match admit(door, &self.targets, &request) {
            Err(refusal) => Err(refusal),
            Ok(Visit::Pac) => Ok(self.pac(door)),
            Ok(Visit::Tunnel(tunnel)) => self.tunnel(&mut request, tunnel, door, seat),
            Ok(Visit::Request { target, view, path }) => {
                self.exchange(target, &view, &path, request, seat).await
            }
        };
        answered.unwrap_or_else(|refusal| refusal.answer(&asked))
    }

    fn pac(&self, door: &Door) -> Response<Body> {
        let Door::Port { address, .. } = door else {
            return Refusal::NothingHere.answer(&hyper::HeaderMap::new());
        };
        let mut response = Response::new(full(pac::script(&self.targets, &address.to_string())));
        let kind = HeaderValue::from_static("application/x-ns-proxy-autoconfig");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
