//! Where tools connect.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketType, sockopt};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use super::caller::Door;
use super::secret::{Secret, SecretError};
use crate::private_socket::{self, SocketFault};
use crate::tokens::{CacheError, TokenCache};

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket; the one in the runtime directory without a path.
    Socket(Option<PathBuf>),
    /// A port of the loopback interface; 0 for a free one.
    Loopback(SocketAddr),
    /// The listening socket that is our standard input, as a service manager gives it.
    Handed,
}

/// Why a text names no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "listen at unix, unix:/PATH, 127.0.0.1:PORT, [::1]:PORT, or - for the socket on standard input; never at an address that others reach"
)]
pub struct ListenParseError;

impl FromStr for Listen {
    type Err = ListenParseError;

    fn from_str(text: &str) -> Result<Self, ListenParseError> {
        match text {
            "-" => return Ok(Self::Handed),
            "unix" => return Ok(Self::Socket(None)),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("unix:").map(PathBuf::from) {
            let fits = path.is_absolute();
            return if fits { Ok(Self::Socket(Some(path))) } else { Err(ListenParseError) };
        }
        let address = text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
        address.map(Self::Loopback).ok_or(ListenParseError)
    }
}

/// Why nobody can connect.
#[derive(Debug, Error)]
pub enum ProxyListenError {
    /// The runtime directory is not safe.
    #[error(transparent)]
    Directory(#[from] CacheError),
    /// No secret for a port.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Another process listens there.
    #[error("another process listens at {0}: is a `signet proxy` running already?")]
    Served(String),
    /// The socket cannot be made.
    #[error("cannot listen at {place}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// Standard input is something else.
    #[error("standard input is no listening socket of this machine: use --listen unix")]
    NotHanded,
}

/// An open place, before anything is taken from it.
#[derive(Debug)]
pub struct Opened {
    pub(super) listener: Listener,
    pub(super) door: Door,
    /// The socket that we made, to be taken away at the end.
    pub(super) made: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Opened {
    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        let Listener::Unix(listener) = &self.listener else { return None };
        listener.local_addr().ok()?.as_pathname().map(Path::to_owned)
    }

    /// The loopback port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.door {
            Door::Port { address, .. } => Some(*address),
            _ => None,
        }
    }
}

/// The file of the secret for ports, in the runtime directory.
#[must_use]
pub fn secret_file(cache: &TokenCache) -> PathBuf {
    cache.directory().join("proxy.secret")
}

/// Opens a place. `secret` is the file of the secret for a port, which is made where there is none.
///
/// # Errors
/// See [`ProxyListenError`].
pub async fn open(
    listen: &Listen,
    cache: &TokenCache,
    secret: &Path,
) -> Result<Opened, ProxyListenError> {
    match listen {
        Listen::Socket(path) => {
            let path = path.clone().unwrap_or_else(|| cache.directory().join("proxy.sock"));
            let place = || path.display().to_string();
            let listener = private_socket::listen(&path).await.map_err(|fault| match fault {
                SocketFault::Served => ProxyListenError::Served(place()),
                SocketFault::Io(source) => ProxyListenError::Io { place: place(), source },
            })?;
            let listener = Listener::Unix(listener);
            Ok(Opened { listener, door: Door::Socket, made: Some(path) })
        }
        Listen::Loopback(address) => {
            let failed = |source: io::Error| match source.kind() {
                io::ErrorKind::AddrInUse => ProxyListenError::Served(address.to_string()),
                _ => ProxyListenError::Io { place: address.to_string(), source },
            };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            let door = Door::Port { address, secret: Secret::in_file(secret)? };
            Ok(Opened { listener: Listener::Tcp(listener), door, made: None })
        }
        Listen::Handed => handed(secret),
    }
}

fn handed(secret: &Path) -> Result<Opened, ProxyListenError> {
    let stdin = io::stdin();
    let listens = sockopt::socket_acceptconn(&stdin).unwrap_or(false)
        && sockopt::socket_type(&stdin) == Ok(SocketType::STREAM);
    let family = sockopt::socket_domain(&stdin).ok().filter(|_| listens);
    let failed = |source| ProxyListenError::Io { place: "standard input".to_owned(), source };
    let fd = || stdin.as_fd().try_clone_to_owned().map_err(failed);
    match family {
        Some(AddressFamily::UNIX) => {
            let listener = std::os::unix::net::UnixListener::from(fd()?);
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = Listener::Unix(UnixListener::from_std(listener).map_err(failed)?);
            Ok(Opened { listener, door: Door::Socket, made: None })
        }
        Some(AddressFamily::INET | AddressFamily::INET6) => {
            let listener = std::net::TcpListener::from(fd()?);
            listener.set_nonblocking(true).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            if !address.ip().is_loopback() {
                return Err(ProxyListenError::NotHanded);
            }
            let listener = Listener::Tcp(TcpListener::from_std(listener).map_err(failed)?);
            let door = Door::Port { address, secret: Secret::in_file(secret)? };
            Ok(Opened { listener, door, made: None })
        }
        _ => Err(ProxyListenError::NotHanded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_that_others_do_not_reach() {
        assert_eq!("unix".parse(), Ok(Listen::Socket(None)));
        assert_eq!("unix:/run/a".parse(), Ok(Listen::Socket(Some("/run/a".into()))));
        assert_eq!("-".parse(), Ok(Listen::Handed));
        for here in ["127.0.0.1:8123", "[::1]:0"] {
            assert_eq!(here.parse(), Ok(Listen::Loopback(here.parse().unwrap())));
        }
        for bad in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "8123", "unix:a", "localhost:1", ""] {
            assert_eq!(bad.parse::<Listen>(), Err(ListenParseError), "{bad}");
        }
    }
}
