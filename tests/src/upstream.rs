//! A small upstream that answers with what it received, and keeps it: what a gateway let pass.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// One request as it reached the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Path and query, raw.
    pub target: String,
    /// Names (lower case) and values, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// Body, as text.
    pub body: String,
}

impl Received {
    /// Every value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(found, _)| found == name);
        values.map(|(_, value)| value.as_str()).collect()
    }
}

type Log = Arc<Mutex<Vec<Received>>>;

/// The running upstream; it ends when dropped.
pub struct Upstream {
    address: SocketAddr,
    log: Log,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Starts it on a free loopback port, on a thread of its own.
    ///
    /// # Errors
    /// When there is no port or no thread to be had.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let log = Log::default();
        let router = Router::new().fallback(echo).with_state(log.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("upstream".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, log, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forgets everything after the first `count` requests.
    pub fn forget_after(&self, count: usize) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).truncate(count);
    }

    /// Everything that reached it so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn echo(
    State(log): State<Log>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Received> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let received = Received {
        method: method.to_string(),
        target: uri.path_and_query().map_or(String::new(), ToString::to_string),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
        body: text(&body),
    };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(received.clone());
    Json(received)
}
