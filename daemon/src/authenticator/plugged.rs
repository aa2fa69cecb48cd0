//! Which keys are plugged in, kept up to date without polling: by what the kernel tells of directories
//! (inotify), or by the descriptors that the broker hands in.
//!
//! docs/decisions/ says why inotify and not udev's netlink messages.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use signet_ctap::{Key, OpenError, Timing};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::broker::{HeldKey, HeldKeys};
use crate::config::Authenticators;

/// How long after plugging in a key may be erased (CTAP 2.1 §6.6).
const JUST: Duration = Duration::from_secs(10);
const DEVICES: &str = "/dev";
const NODE: &[u8] = b"hidraw";

/// The plugged keys by device node, each with the time at which it was plugged in; none for those
/// that were there when the daemon started.
pub type PluggedKeys = BTreeMap<PathBuf, Option<Instant>>;

/// Where the keys come from.
#[derive(Debug)]
pub enum Source {
    /// All FIDO devices that the kernel lists, anew for each request.
    Discover,
    /// These nodes; those that do not exist count as unplugged.
    Paths(Vec<PathBuf>),
    /// Whoever hands them in on this listening socket.
    Broker(OwnedFd),
}

/// The configuration wants keys from the broker, and its socket is not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "authenticators = \"broker\", but standard input is no socket for keys: start signetd by its unit"
)]
pub struct NoKeySocket;

impl Source {
    /// What the configuration asks for, with the broker's socket where there is one.
    ///
    /// # Errors
    /// [`NoKeySocket`]
    pub fn choose(asked: &Authenticators, socket: Option<OwnedFd>) -> Result<Self, NoKeySocket> {
        match (asked, socket) {
            (Authenticators::Auto | Authenticators::Broker, Some(socket)) => {
                Ok(Self::Broker(socket))
            }
            (Authenticators::Broker, None) => Err(NoKeySocket),
            (Authenticators::Auto | Authenticators::Discover, _) => Ok(Self::Discover),
            (Authenticators::Paths(paths), _) => Ok(Self::Paths(paths.clone())),
        }
    }
}

/// A key's device node and the name the kernel knows it by.
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) name: Option<String>,
    held: Option<Arc<HeldKey>>,
}

impl Node {
    pub(super) async fn open(&self) -> Result<Key, OpenError> {
        match &self.held {
            Some(held) => held.open().await,
            None => Key::open_path(&self.path, Timing::default()).await,
        }
    }
}

/// The keys that are there now, asked for and not remembered.
#[derive(Clone, Debug)]
enum Nodes {
    Discover,
    Paths(Vec<PathBuf>),
    Held(Arc<HeldKeys>),
}

/// Keeps [`PluggedKeys`]; the task ends with the last of its clones.
#[derive(Clone, Debug)]
pub(super) struct Plugs {
    nodes: Nodes,
    present: watch::Receiver<PluggedKeys>,
}

impl Plugs {
    /// Begins to watch. Needs a tokio runtime. Where the kernel does not let us, keys are found when
    /// they are asked for, and nobody hears of them before.
    pub(super) fn watch(source: Source) -> Self {
        match source {
            Source::Discover => Self::of_folders(Nodes::Discover),
            Source::Paths(paths) => Self::of_folders(Nodes::Paths(paths)),
            Source::Broker(socket) => match HeldKeys::receive(socket) {
                Ok(held) => Self { present: held.subscribe(), nodes: Nodes::Held(held) },
                Err(error) => {
                    tracing::error!(%error, "no security keys can be handed in");
                    Self::of_folders(Nodes::Paths(Vec::new()))
                }
            },
        }
    }

    fn of_folders(nodes: Nodes) -> Self {
        let watching = Watching::new(nodes.clone());
        // After the watch has begun, so that no key falls between.
        let there = nodes.list().into_iter().filter(|node| accessible(&node.path));
        let (present, receiver) = watch::channel(there.map(|node| (node.path, None)).collect());
        match watching {
            Ok(watching) => {
                tokio::spawn(watching.run(present));
            }
            Err(error) => tracing::warn!(%error, "cannot watch for security keys"),
        }
        Self { nodes, present: receiver }
    }

    /// The keys that are there now.
    pub(super) fn nodes(&self) -> Vec<Node> {
        self.nodes.list()
    }

    /// The plugged keys, and every change of them.
    pub(super) fn subscribe(&self) -> watch::Receiver<PluggedKeys> {
        self.present.clone()
    }

    /// Whether the key was plugged in within the last ten seconds.
    pub(super) fn is_just_plugged(&self, path: &Path) -> bool {
        let since = self.present.borrow().get(path).copied().flatten();
        since.is_some_and(|since| since.elapsed() <= JUST)
    }
}

impl Nodes {
    fn list(&self) -> Vec<Node> {
        match self {
            Self::Discover => {
                let found = signet_ctap::discover().unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot list the security keys");
                    Vec::new()
                });
                let found = found.into_iter();
                found.map(|key| Node { path: key.path, name: key.name, held: None }).collect()
            }
            Self::Paths(paths) => paths
                .iter()
                .filter(|path| path.exists())
                .map(|path| Node { path: path.clone(), name: None, held: None })
                .collect(),
            Self::Held(held) => {
                let node = |held: Arc<HeldKey>| {
                    let found = held.found().clone();
                    Node { path: found.path, name: found.name, held: Some(held) }
                };
                held.all().into_iter().map(node).collect()
            }
        }
    }
}

/// Directories under watch.
struct Watching {
    nodes: Nodes,
    inotify: AsyncFd<OwnedFd>,
    folders: HashMap<i32, PathBuf>,
}

/// What happened to one name in a directory.
struct Happened {
    folder: i32,
    flags: ReadFlags,
    name: PathBuf,
}

impl Watching {
    fn new(nodes: Nodes) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watched: Vec<PathBuf> = match &nodes {
            Nodes::Discover => vec![DEVICES.into()],
            Nodes::Paths(paths) => {
                paths.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect()
            }
            Nodes::Held(_) => Vec::new(),
        };
        watched.sort();
        watched.dedup();
        let mut folders = HashMap::new();
        for folder in watched {
            // ATTRIB: udev gives us the right to open a node only after it was made.
            let flags = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::ATTRIB
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR;
            match inotify::add_watch(&inotify, &folder, flags) {
                Ok(number) => {
                    folders.insert(number, folder);
                }
                Err(error) => {
                    let folder = folder.display();
                    tracing::warn!(%folder, %error, "cannot watch for security keys");
                }
            }
        }
        #[expect(
            deprecated,
            reason = "deprecated because of descriptors that close or change under it, which an OwnedFd \
                      cannot; its successor is an unsafe fn, and unsafe code is forbidden here"
        )]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self { nodes, inotify, folders })
    }

    async fn run(self, present: watch::Sender<PluggedKeys>) {
        loop {
            let happened = tokio::select! {
                () = present.closed() => return,
                happened = read(&self.inotify) => happened,
            };
            match happened {
                Ok(happened) => {
                    present.send_if_modified(|keys| self.update(keys, &happened));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot watch for security keys any longer");
                    return;
                }
            }
        }
    }

    /// Brings `keys` up to date; whether anything changed.
    fn update(&self, keys: &mut PluggedKeys, happened: &[Happened]) -> bool {
        let before = keys.clone();
        for Happened { folder, flags, name } in happened {
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.look_again(keys);
                continue;
            }
            let Some(folder) = self.folders.get(folder) else { continue };
            let path = folder.join(name);
            let anew = flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
            let gone = flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
            if gone || !self.is_key(&path) || !accessible(&path) {
                keys.remove(&path);
            } else if anew || !keys.contains_key(&path) {
                keys.insert(path, Some(Instant::now()));
            }
        }
        *keys != before
    }

    /// After the kernel had more to tell than it could keep.
    fn look_again(&self, keys: &mut PluggedKeys) {
        let there = self.nodes.list().into_iter().filter(|node| accessible(&node.path));
        let there = there.map(|node| (keys.get(&node.path).copied().flatten(), node.path));
        *keys = there.map(|(since, path)| (path, since)).collect();
    }

    fn is_key(&self, path: &Path) -> bool {
        match &self.nodes {
            Nodes::Paths(paths) => paths.iter().any(|known| known == path),
            Nodes::Discover => {
                path.file_name().is_some_and(|name| name.as_bytes().starts_with(NODE))
                    && self.nodes.list().iter().any(|node| node.path == path)
            }
            Nodes::Held(_) => false,
        }
    }
}

fn accessible(path: &Path) -> bool {
    access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Everything that the kernel has to tell, at least one thing.
async fn read(inotify: &AsyncFd<OwnedFd>) -> io::Result<Vec<Happened>> {
    loop {
        let mut ready = inotify.readable().await?;
        if let Ok(happened) = ready.try_io(|inotify| drain(inotify.get_ref())) {
            return happened;
        }
    }
}

fn drain(inotify: &OwnedFd) -> io::Result<Vec<Happened>> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(inotify, &mut buffer);
    let mut happened = Vec::new();
    loop {
        match events.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                let name = PathBuf::from(name.unwrap_or_default());
                happened.push(Happened { folder: event.wd(), flags: event.events(), name });
            }
            Err(Errno::AGAIN) if !happened.is_empty() => return Ok(happened),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    async fn next(changes: &mut watch::Receiver<PluggedKeys>) -> PluggedKeys {
        let changed = tokio::time::timeout(Duration::from_secs(60), changes.changed()).await;
        changed.expect("a change was due").unwrap();
        changes.borrow_and_update().clone()
    }

    #[tokio::test]
    async fn a_key_counts_as_just_plugged_only_when_it_was_seen_to_come() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        fs::write(&first, "").unwrap();
        let plugs = Plugs::watch(Source::Paths(vec![first.clone(), second.clone()]));
        let mut changes = plugs.subscribe();
        assert_eq!(*changes.borrow_and_update(), [(first.clone(), None)].into());
        assert!(!plugs.is_just_plugged(&first));

        fs::write(folder.path().join("stranger"), "").unwrap();
        fs::write(&second, "").unwrap();
        let keys = next(&mut changes).await;
        assert_eq!(keys.keys().collect::<Vec<_>>(), [&first, &second]);
        assert!(plugs.is_just_plugged(&second) && !plugs.is_just_plugged(&first));

        // Pulled out and plugged in at once: it was not there all the time.
        fs::remove_file(&first).unwrap();
        fs::write(&first, "").unwrap();
        while !plugs.is_just_plugged(&first) {
            next(&mut changes).await;
        }
        fs::rename(&first, folder.path().join("elsewhere")).unwrap();
        let keys = next(&mut changes).await;
        assert_eq!(keys.keys().collect::<Vec<_>>(), [&second]);
    }

    #[tokio::test]
    async fn a_node_counts_from_the_time_it_may_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let plugs = Plugs::watch(Source::Paths(vec![key.clone()]));
        let mut changes = plugs.subscribe();
        fs::write(folder.path().join("new"), "").unwrap();
        fs::set_permissions(folder.path().join("new"), Permissions::from_mode(0o000)).unwrap();
        fs::rename(folder.path().join("new"), &key).unwrap();
        if accessible(&key) {
            // Root may open everything.
            assert_eq!(next(&mut changes).await.len(), 1);
            return;
        }
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(next(&mut changes).await.len(), 1);
        fs::set_permissions(&key, Permissions::from_mode(0o000)).unwrap();
        assert_eq!(next(&mut changes).await.len(), 0);
    }
}
