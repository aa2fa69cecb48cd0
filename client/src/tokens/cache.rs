//! The session on disk: one file that only its owner can read, in a directory of the same kind.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;
use zeroize::Zeroizing;

use super::record::SessionRecord;

const SESSION: &str = "session.json";
const LOCK: &str = "lock";
/// Largest file that is read; a record has about 2 KB.
const MAX_FILE: u64 = 64 * 1024;

/// Where sessions are kept between commands.
#[derive(Clone, Debug)]
pub struct TokenCache {
    directory: PathBuf,
}

/// Why the cache cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// No runtime directory.
    #[error(
        "XDG_RUNTIME_DIR is not set: log in through a session that sets it, or set it to a directory of your own"
    )]
    NoRuntimeDirectory,
    /// Somebody else could read or replace it.
    #[error("{path} is not safe to use: {fault}; remove it and log in again")]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The file is not a record.
    #[error("{path} is damaged: remove it, or log in again")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot use {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with a file or directory of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It belongs to another user.
    #[error("it belongs to user {0}")]
    Owner(u32),
    /// Others may use it.
    #[error("its mode is {0:o}, wider than its owner")]
    Mode(u32),
    /// It is no regular file, or no directory.
    #[error("it is not of the expected type")]
    Kind,
    /// It has a second name, where somebody else may hold it.
    #[error("it has {0} names")]
    Links(u64),
}

/// Holds other processes back while a token is renewed. Released when dropped.
#[derive(Debug)]
pub struct RenewalLock(#[allow(dead_code, reason = "the open file is the lock")] File);

impl TokenCache {
    /// The cache in `$XDG_RUNTIME_DIR/signet`; `runtime_directory` is that variable's value.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub fn open(runtime_directory: Option<&Path>) -> Result<Self, CacheError> {
        let runtime = runtime_directory
            .filter(|path| path.is_absolute())
            .ok_or(CacheError::NoRuntimeDirectory)?;
        Self::at(runtime.join("signet"))
    }

    /// The cache in `directory`, which is made if need be.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub fn at(directory: PathBuf) -> Result<Self, CacheError> {
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CacheError::Io { path: directory, source }),
        }
        let cache = Self { directory };
        cache.check_directory()?;
        Ok(cache)
    }

    /// The folder: its owner's only.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The session, if there is one.
    ///
    /// # Errors
    /// See [`CacheError`]; a file of another owner or with a wider mode is never read.
    pub fn load(&self) -> Result<Option<SessionRecord>, CacheError> {
        self.check_directory()?;
        let path = self.directory.join(SESSION);
        let Some(bytes) = read_private(&path, MAX_FILE)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(_) => Err(CacheError::Damaged { path }),
        }
    }

    /// Puts `record` in the place of what was there: all of it or nothing.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub fn store(&self, record: &SessionRecord) -> Result<(), CacheError> {
        self.check_directory()?;
        let path = self.directory.join(SESSION);
        let bytes = serde_json::to_vec(record).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| io_at(&path)(error.into()))?;
        write_private(&path, &bytes).map_err(io_at(&path))
    }

    /// Forgets the session.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub fn clear(&self) -> Result<(), CacheError> {
        self.check_directory()?;
        let path = self.directory.join(SESSION);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Waits until no other process renews, and holds them back. Blocks.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub fn lock(&self) -> Result<RenewalLock, CacheError> {
        self.check_directory()?;
        let path = self.directory.join(LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&path)
            .map_err(io_at(&path))?;
        check(&path, &file.metadata().map_err(io_at(&path))?, false)?;
        file.lock().map_err(io_at(&path))?;
        Ok(RenewalLock(file))
    }

    fn check_directory(&self) -> Result<(), CacheError> {
        let metadata = fs::symlink_metadata(&self.directory).map_err(io_at(&self.directory))?;
        check(&self.directory, &metadata, true)
    }
}

/// The bytes of a file that only its owner can read; `None` when there is none.
///
/// # Errors
/// See [`CacheError`]; a file of another owner or with a wider mode is never read, and one of more
/// than `most` bytes is damaged.
pub fn read_private(path: &Path, most: u64) -> Result<Option<Zeroizing<Vec<u8>>>, CacheError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(CacheError::Unsafe { path: path.to_owned(), fault: Fault::Kind });
        }
        Err(source) => return Err(CacheError::Io { path: path.to_owned(), source }),
    };
    check(path, &file.metadata().map_err(io_at(path))?, false)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(io_at(path))?;
    if bytes.len() as u64 > most {
        return Err(CacheError::Damaged { path: path.to_owned() });
    }
    Ok(Some(bytes))
}

/// Writes a file that only its owner can read, in the place of what was there: all or nothing.
///
/// # Errors
/// Of the file system.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    // Left over by a process of the same id that was killed.
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

fn check(path: &Path, metadata: &fs::Metadata, directory: bool) -> Result<(), CacheError> {
    let mode = metadata.permissions().mode() & 0o7777;
    let fault = if directory != metadata.is_dir() || directory == metadata.is_file() {
        Fault::Kind
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        Fault::Owner(metadata.uid())
    } else if mode & 0o077 != 0 {
        Fault::Mode(mode)
    } else if !directory && metadata.nlink() != 1 {
        Fault::Links(metadata.nlink())
    } else {
        return Ok(());
    };
    Err(CacheError::Unsafe { path: path.to_owned(), fault })
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> CacheError + '_ {
    |source| CacheError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn cache() -> (tempfile::TempDir, TokenCache, PathBuf) {
        let runtime = tempfile::tempdir().unwrap();
        let cache = TokenCache::open(Some(runtime.path())).unwrap();
        let file = runtime.path().join("signet").join(SESSION);
        (runtime, cache, file)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn fault(cache: &TokenCache) -> Fault {
        match cache.load() {
            Err(CacheError::Unsafe { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_private() {
        let (runtime, cache, file) = cache();
        assert_eq!(cache.load().unwrap(), None);
        cache.store(&record(0, Some(900))).unwrap();
        cache.store(&record(9, None)).unwrap();
        assert_eq!(cache.load().unwrap(), Some(record(9, None)));
        assert_eq!((mode(&file), mode(&runtime.path().join("signet"))), (0o600, 0o700));
        assert_eq!(fs::read_dir(runtime.path().join("signet")).unwrap().count(), 1);
        cache.clear().unwrap();
        cache.clear().unwrap();
        assert_eq!(cache.load().unwrap(), None);
    }

    #[test]
    fn a_wider_mode_a_link_or_a_second_name_is_refused() {
        let (runtime, cache, file) = cache();
        cache.store(&record(0, None)).unwrap();
        set_mode(&file, 0o640);
        assert_eq!(fault(&cache), Fault::Mode(0o640));
        set_mode(&file, 0o600);
        let second = runtime.path().join("second");
        fs::hard_link(&file, &second).unwrap();
        assert_eq!(fault(&cache), Fault::Links(2));
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&second, &file).unwrap();
        assert_eq!(fault(&cache), Fault::Kind);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(fault(&cache), Fault::Kind);
    }

    #[test]
    fn a_directory_that_others_may_use_is_refused() {
        let (runtime, cache, _) = cache();
        let directory = runtime.path().join("signet");
        set_mode(&directory, 0o755);
        assert_eq!(fault(&cache), Fault::Mode(0o755));
        let stored = cache.store(&record(0, None));
        assert!(matches!(stored, Err(CacheError::Unsafe { fault: Fault::Mode(0o755), .. })));
        fs::rename(&directory, runtime.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(runtime.path().join("elsewhere"), &directory).unwrap();
        assert_eq!(fault(&cache), Fault::Kind);
    }

    #[test]
    fn another_owner_is_refused() {
        // Only root can give a file away; elsewhere there is nothing to try.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_runtime, cache, file) = cache();
        cache.store(&record(0, None)).unwrap();
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert_eq!(fault(&cache), Fault::Owner(65534));
    }

    #[test]
    fn a_damaged_file_is_named_and_can_be_replaced() {
        let (_runtime, cache, file) = cache();
        for bad in [&b""[..], b"{", b"[]", b"{\"version\":1}", &vec![b' '; 100_000]] {
            write_private(&file, bad).unwrap();
            assert!(matches!(cache.load(), Err(CacheError::Damaged { path }) if path == file));
        }
        cache.store(&record(0, None)).unwrap();
        assert_eq!(cache.load().unwrap(), Some(record(0, None)));
    }

    #[test]
    fn no_runtime_directory() {
        assert!(matches!(TokenCache::open(None), Err(CacheError::NoRuntimeDirectory)));
        let relative = TokenCache::open(Some(Path::new("run")));
        assert!(matches!(relative, Err(CacheError::NoRuntimeDirectory)));
    }

    #[test]
    fn one_holder_of_the_lock_at_a_time() {
        let (_runtime, cache, _) = cache();
        let held = cache.lock().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = cache.clone();
        let waiter = std::thread::spawn(move || {
            let _lock = other.lock().unwrap();
            sender.send(()).unwrap();
        });
        assert_eq!(receiver.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        drop(held);
        receiver.recv().unwrap();
        waiter.join().unwrap();
    }
}
