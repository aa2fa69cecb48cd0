//! A Unix socket that is one gateway's own: the kernel says which user connects, so no TLS is needed.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::asker::SocketGateway;
use crate::tls::{DRAIN, Timeouts, pause_after, serve_http};

/// A gateway's socket cannot be made.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Something answers there already.
    #[error("another program listens on {}; stop it or change this socket", .0.display())]
    InUse(PathBuf),
    /// It cannot be made.
    #[error("cannot make the socket {}; may this user write to its folder?", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A bound socket.
pub struct GatewaySocket {
    path: PathBuf,
    listener: UnixListener,
    uids: BTreeSet<u32>,
    gateway: SocketGateway,
}

impl GatewaySocket {
    /// Binds the socket of the gateway with this SPIFFE ID. Everybody who reaches the file may
    /// connect; only processes of `uids` are answered.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: PathBuf, uids: BTreeSet<u32>, gateway: &str) -> Result<Self, SocketError> {
        let made = forget(&path).and_then(|()| {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o666))?;
            Ok(listener)
        });
        match made {
            Ok(listener) => {
                let gateway = SocketGateway(Arc::from(gateway));
                Ok(Self { path, listener, uids, gateway })
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(SocketError::InUse(path)),
            Err(source) => Err(SocketError::Io { path, source }),
        }
    }

    /// Serves until `stop` becomes true, then lets requests under way finish.
    pub async fn serve(
        self,
        router: Router,
        connections: usize,
        timeouts: Timeouts,
        mut stop: watch::Receiver<bool>,
    ) {
        let slots = Arc::new(Semaphore::new(connections));
        let graceful = GracefulShutdown::new();
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            if !self.admits(&stream) {
                continue;
            }
            let (router, watcher) = (router.clone(), graceful.watcher());
            let gateway = self.gateway.clone();
            tokio::spawn(async move {
                let _slot = slot;
                let mark = move |request: &mut axum::extract::Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(gateway.clone());
                };
                if let Err(error) = serve_http(stream, router, watcher, timeouts, mark).await {
                    tracing::debug!(%error, "connection to a gateway's socket ended with an error");
                }
            });
        }
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("some connections did not finish in time and were closed");
        }
    }

    /// Whether the connecting process belongs to a user of this gateway (`SO_PEERCRED`).
    fn admits(&self, stream: &UnixStream) -> bool {
        let uid = stream.peer_cred().map(|credentials| credentials.uid());
        let admitted = uid.as_ref().is_ok_and(|uid| self.uids.contains(uid));
        if !admitted {
            let uid = uid.ok();
            let SocketGateway(gateway) = &self.gateway;
            tracing::warn!(uid, %gateway, "a process of another user is not answered on this socket");
        }
        admitted
    }
}

impl Drop for GatewaySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes a socket that was left behind; one that somebody answers on stays.
fn forget(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)
        }
        _ => Ok(()),
    }
}
