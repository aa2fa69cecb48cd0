//! Keys that `signet-broker` hands in, each as an open descriptor: a daemon that sees no device node
//! needs no right to any.
//!
//! The descriptor is kept as long as the key is plugged in, and watched for its end only: that other
//! programs use the key does not wake us. docs/decisions/ says why it is done so.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, sockopt};
use rustix::process::geteuid;
use signet_ctap::handover::{Handover, HandoverError};
use signet_ctap::{DescriptorReports, Found, Key, OpenError, Timing};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::PluggedKeys;

/// Keys that are kept at once; nobody has so many.
const MOST_KEYS: usize = 32;
/// Keys of one visit of the broker.
const MOST_PACKETS: usize = 64;
/// How long one visit may take. The broker says all it has at once.
const VISIT: Duration = Duration::from_secs(5);

/// The socket on which keys are handed in, where systemd made it our standard input (`signetd.socket`).
pub fn handed_socket() -> Option<OwnedFd> {
    let stdin = io::stdin();
    let is_ours = sockopt::socket_acceptconn(&stdin).unwrap_or(false)
        && sockopt::socket_domain(&stdin) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(&stdin) == Ok(SocketType::SEQPACKET);
    is_ours.then(|| stdin.as_fd().try_clone_to_owned().ok()).flatten()
}

/// A key that was handed in.
#[derive(Debug)]
pub(super) struct HeldKey {
    found: Found,
    fd: OwnedFd,
    /// An epoll instance that is readable when the descriptor has hung up.
    end: AsyncFd<OwnedFd>,
}

impl HeldKey {
    fn new(found: Found, key: OwnedFd) -> io::Result<Self> {
        // Hang-up and error are told without being asked for, and tokio cannot ask for nothing else.
        let end = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&end, &key, epoll::EventData::new_u64(0), epoll::EventFlags::empty())?;
        Ok(Self { found, fd: key, end: watched(end)? })
    }

    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    fn is_gone(&self) -> bool {
        let mut asked = [PollFd::new(&self.fd, PollFlags::empty())];
        poll(&mut asked, Some(&Timespec::default())).is_err() || !asked[0].revents().is_empty()
    }

    async fn gone(&self) {
        while !self.is_gone() {
            match self.end.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    /// A channel of our own on the key, as if its node had been opened now.
    pub(super) async fn open(&self) -> Result<Key, OpenError> {
        let own = self.fd.try_clone().and_then(DescriptorReports::from_descriptor);
        let reports = own.map_err(OpenError::Device)?;
        reports.discard_stale();
        Key::open(reports, Timing::default()).await
    }
}

/// All keys that were handed in and are still plugged in.
#[derive(Debug)]
pub(super) struct HeldKeys {
    keys: Mutex<BTreeMap<PathBuf, Arc<HeldKey>>>,
    present: watch::Sender<PluggedKeys>,
}

impl HeldKeys {
    /// Takes keys on this listening socket. Needs a tokio runtime.
    pub(super) fn receive(socket: OwnedFd) -> io::Result<Arc<Self>> {
        let flags = rustix::fs::fcntl_getfl(&socket)?;
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
        let socket = watched(socket)?;
        let held = Arc::new(Self { keys: Mutex::default(), present: watch::Sender::default() });
        tokio::spawn(Arc::clone(&held).serve(socket));
        Ok(held)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<PluggedKeys> {
        self.present.subscribe()
    }

    pub(super) fn all(&self) -> Vec<Arc<HeldKey>> {
        self.keys().values().filter(|key| !key.is_gone()).map(Arc::clone).collect()
    }

    async fn serve(self: Arc<Self>, socket: AsyncFd<OwnedFd>) {
        loop {
            match next_visit(&socket).await {
                Ok(visit) => {
                    if tokio::time::timeout(VISIT, self.attend(visit)).await.is_err() {
                        tracing::warn!("whoever hands in security keys is too slow");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "no more security keys can be handed in");
                    return;
                }
            }
        }
    }

    /// Takes what one visitor brings. After the first packet that is not right, nothing more.
    async fn attend(self: &Arc<Self>, visit: OwnedFd) {
        match sockopt::socket_peercred(&visit) {
            Ok(peer) if peer.uid.is_root() || peer.uid == geteuid() => {}
            Ok(peer) => {
                let uid = peer.uid.as_raw();
                tracing::warn!(uid, "only root hands in security keys: refused");
                return;
            }
            Err(_) => return,
        }
        let Ok(visit) = watched(visit) else { return };
        for _ in 0..MOST_PACKETS {
            let held = match packet(&visit).await {
                Ok(None) => return,
                Ok(Some(handover)) => self.hold(handover),
                Err(error) => Err(error),
            };
            if let Err(error) = held {
                tracing::warn!(%error, "refused what was handed in as a security key");
                return;
            }
        }
        tracing::warn!("more than {MOST_PACKETS} security keys were handed in at once");
    }

    fn hold(self: &Arc<Self>, handover: Handover) -> Result<(), HandoverError> {
        let Handover { found, just_plugged, key } = handover;
        let since = just_plugged.then(Instant::now);
        let path = found.path.clone();
        let mut keys = self.keys();
        if keys.get(&path).is_some_and(|held| !held.is_gone()) {
            // Both by udev and for our start.
            return Ok(());
        }
        if keys.len() >= MOST_KEYS {
            tracing::warn!(path = %path.display(), "too many security keys: refused");
            return Ok(());
        }
        let held = Arc::new(HeldKey::new(found, key)?);
        tracing::info!(path = %path.display(), "security key handed in");
        tokio::spawn(Arc::clone(self).await_end(Arc::clone(&held)));
        keys.insert(path.clone(), held);
        self.present.send_modify(|present| {
            present.insert(path, since);
        });
        Ok(())
    }

    /// Forgets the key when it is pulled out.
    async fn await_end(self: Arc<Self>, held: Arc<HeldKey>) {
        held.gone().await;
        let path = &held.found.path;
        let mut keys = self.keys();
        // Another one may have come under the same name.
        if keys.get(path).is_some_and(|known| Arc::ptr_eq(known, &held)) {
            tracing::info!(path = %path.display(), "security key pulled out");
            keys.remove(path);
            self.present.send_modify(|present| {
                present.remove(path);
            });
        }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<HeldKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    deprecated,
    reason = "deprecated because of descriptors that close or change under it, which an OwnedFd \
              cannot; its successor is an unsafe fn, and unsafe code is forbidden here"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

async fn next_visit(socket: &AsyncFd<OwnedFd>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| Ok(accept_with(socket, flags)?)) {
            // Gone again before its turn.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Ok(visit) => return visit,
            Err(_) => {}
        }
    }
}

async fn packet(visit: &AsyncFd<OwnedFd>) -> Result<Option<Handover>, HandoverError> {
    loop {
        let mut ready = visit.readable().await?;
        match Handover::receive(visit) {
            Err(HandoverError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
            }
            taken => return taken,
        }
    }
}
