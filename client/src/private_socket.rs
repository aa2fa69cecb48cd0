//! A Unix socket for one user.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// Why there is no socket.
#[derive(Debug, Error)]
pub(crate) enum SocketFault {
    /// Another process serves it.
    #[error("another process serves it")]
    Served,
    /// It cannot be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Listens at `path`, for its owner alone: mode 0600, and [`is_ours`] of each connection. A socket
/// that an ended process left behind is replaced, another file is not.
pub(crate) async fn listen(path: &Path) -> Result<UnixListener, SocketFault> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(SocketFault::Served);
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::from(io::ErrorKind::AlreadyExists).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether the same user, or root, is at the other end.
pub(crate) fn is_ours(stream: &UnixStream) -> bool {
    let us = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == us || peer.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_serves_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let first = listen(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path).await, Err(SocketFault::Served)));
        drop(first);
        listen(&path).await.unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        let Err(SocketFault::Io(error)) = listen(&file).await else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }
}
