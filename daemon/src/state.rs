//! What the daemon remembers: one file, replaced as a whole or not at all.
//!
//! The AK's salt, the TLS key's blob (encrypted by the TPM) and the enrolment are in the same file,
//! so that no crash can leave one without the other. The first line carries a digest of the rest:
//! a file that was cut or changed is refused and never half believed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signet_evidence::DeviceId;
use signet_evidence::binding::sha256;
use signet_evidence::thumbprint::hex;

use crate::platform::PlatformKey;
use crate::tpm::{BlobError, TlsKey};

const FILE: &str = "state";
const MAGIC: &str = "signet-state-1";

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Makes this installation's AK another one than the next installation's.
    #[serde(with = "base64_array")]
    pub ak_salt: [u8; 32],
    /// A TLS key that no certificate has been issued for yet: an enrolment that began.
    pub pending_key: Option<StoredKey>,
    /// The enrolment, with its TLS key.
    pub enrolment: Option<Enrolment>,
    /// Keys of this TPM that stand for people. Absent in the files of versions before them.
    #[serde(default, with = "platform_keys")]
    pub platform_keys: Vec<PlatformKey>,
}

/// What the authority gave this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The key that the device certificate is for.
    pub tls_key: StoredKey,
    /// Device certificates in DER, leaf first.
    pub device_chain: Vec<Base64>,
    /// AK certificates in DER, leaf first.
    pub ak_chain: Vec<Base64>,
    /// The device's UEID.
    #[serde(with = "device_id")]
    pub device_id: DeviceId,
    /// The authority's URL.
    pub authority: String,
    /// What the authority calls itself in statements.
    pub audience: String,
    /// The WebAuthn RP ID: a host name.
    pub rp_id: String,
    /// Who enrolled the machine.
    pub operator: String,
    /// Trust anchors of the authority's TLS certificate, DER.
    pub ca: Vec<Base64>,
    /// Who signs the device's and the AK's certificates, DER. Empty in enrolments of earlier
    /// versions: their certificates cannot be renewed.
    #[serde(default)]
    pub issuers: Vec<Base64>,
}

/// Bytes that are base64 in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

/// A TLS key's blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey(pub TlsKey);

/// The state directory cannot be used. `Clone`, so that one failure can be told to several callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The directory or file cannot be made, written or replaced. What was there is still there.
    #[error(
        "cannot write {path}: free some space on the disk, or give signetd the right to write there, then try again"
    )]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: IoFault,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: give signetd the right to read it, then start signetd again")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: IoFault,
    },
    /// The file was cut or changed, or written by a later version.
    #[error(
        "{path} is damaged or of a later version: restore it from a backup, or run `signetd --forget` and enrol this machine again"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// Another signetd uses the directory.
    #[error("another signetd uses {path}: stop it, or give this one a state_dir of its own")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// No randomness for the salt.
    #[error("the system gives no random numbers: restart the machine")]
    Randomness,
}

/// The kind of an I/O error, which can be compared and copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IoFault(pub io::ErrorKind);

impl From<io::Error> for IoFault {
    fn from(error: io::Error) -> Self {
        Self(error.kind())
    }
}

/// The state directory, locked for this process.
#[derive(Clone, Debug)]
pub struct StateDir {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// The directory, locked while this is open.
    _lock: File,
    stored: Mutex<Arc<Stored>>,
}

impl StateDir {
    /// Opens the directory, makes it (mode 0700) and its file if there is none.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unwritable = |source: io::Error| unwritable(path, source);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unwritable)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(unwritable)?;
        let directory = File::open(path).map_err(|source| unreadable(path, source))?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateError::InUse { path: path.to_owned() })?;
        let (stored, fresh) = match read(&path.join(FILE))? {
            Some(stored) => (stored, false),
            None => (Stored::fresh()?, true),
        };
        let shared = Shared {
            path: path.to_owned(),
            _lock: directory,
            stored: Mutex::new(Arc::new(stored.clone())),
        };
        let state = Self { shared: Arc::new(shared) };
        if fresh {
            state.replace(stored)?;
        }
        Ok(state)
    }

    /// Removes the file: the machine is not enrolled any more. A damaged file is removed too.
    ///
    /// # Errors
    /// [`StateError::Unwritable`], [`StateError::InUse`].
    pub fn forget(path: &Path) -> Result<(), StateError> {
        let directory = File::open(path).map_err(|source| unreadable(path, source))?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateError::InUse { path: path.to_owned() })?;
        let file = path.join(FILE);
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(unwritable(&file, source))
            }
            _ => directory.sync_all().map_err(|source| unwritable(path, source)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What is remembered now.
    pub fn stored(&self) -> Arc<Stored> {
        Arc::clone(&self.shared.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers this from now on; durable when it returns. When it fails, what was remembered
    /// stays. Blocks for the disk.
    ///
    /// # Errors
    /// [`StateError::Unwritable`].
    pub fn replace(&self, stored: Stored) -> Result<(), StateError> {
        self.change(|current| {
            *current = stored;
            Ok(())
        })
    }

    /// Changes what is remembered, as [`replace`](Self::replace); nobody else changes it meanwhile.
    /// Nothing happens when `change` fails.
    ///
    /// # Errors
    /// That of `change`, and [`StateError::Unwritable`].
    pub fn change<E: From<StateError>>(
        &self,
        change: impl FnOnce(&mut Stored) -> Result<(), E>,
    ) -> Result<(), E> {
        let shared = &self.shared;
        // Held over the write, so that memory and disk change together.
        let mut current = shared.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stored = Stored::clone(&current);
        change(&mut stored)?;
        put(&shared.path, FILE, &encode(&stored))?;
        *current = Arc::new(stored);
        Ok(())
    }
}

impl Stored {
    fn fresh() -> Result<Self, StateError> {
        let mut ak_salt = [0; 32];
        rand::fill(&mut ak_salt).map_err(|_| StateError::Randomness)?;
        Ok(Self { ak_salt, pending_key: None, enrolment: None, platform_keys: Vec::new() })
    }

    /// The key that the TPM should hold: the pending one, which exists only where there is no
    /// enrolment or its key is lost, else that of the enrolment.
    pub fn key(&self) -> Option<&TlsKey> {
        let enrolled = self.enrolment.as_ref().map(|enrolment| &enrolment.tls_key.0);
        self.pending_key.as_ref().map(|key| &key.0).or(enrolled)
    }
}

fn unwritable(path: &Path, source: io::Error) -> StateError {
    StateError::Unwritable { path: path.to_owned(), source: source.into() }
}

fn unreadable(path: &Path, source: io::Error) -> StateError {
    StateError::Unreadable { path: path.to_owned(), source: source.into() }
}

/// Puts a file (mode 0600) into the state directory in the place of the one of that name: all of it
/// or nothing, durable when this returns.
///
/// # Errors
/// [`StateError::Unwritable`]; what was there stays.
pub(crate) fn put(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), StateError> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    let written = write_new(&new, bytes)
        .and_then(|()| fs::rename(&new, &path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|source| {
        // Half a file is of no use; failing to remove it changes nothing.
        let _ = fs::remove_file(&new);
        unwritable(&path, source)
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn encode(stored: &Stored) -> Vec<u8> {
    // Strings, bytes and options only: this cannot fail.
    let body = serde_json::to_vec_pretty(stored).unwrap_or_default();
    [format!("{MAGIC} {}\n", hex(&sha256(&body))).into_bytes(), body].concat()
}

fn read(path: &Path) -> Result<Option<Stored>, StateError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|source| unreadable(path, source))?,
    };
    decode(&bytes).map(Some).ok_or_else(|| StateError::Corrupt { path: path.to_owned() })
}

fn decode(bytes: &[u8]) -> Option<Stored> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, body) = (&bytes[..end], &bytes[end + 1..]);
    if line != format!("{MAGIC} {}", hex(&sha256(body))).as_bytes() {
        return None;
    }
    serde_json::from_slice(body).ok()
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for StoredKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Base64(self.0.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Base64::deserialize(deserializer)?.0;
        let key: Result<TlsKey, BlobError> = TlsKey::from_bytes(&bytes);
        key.map(Self).map_err(serde::de::Error::custom)
    }
}

/// One key: what releases it, its parts, whose it is.
mod platform_keys {
    use super::{Base64, Deserialize, Deserializer, PlatformKey, Serialize, Serializer};
    use crate::platform::Method;
    use crate::tpm::UserKey;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        method: Name,
        public: Base64,
        private: Base64,
        parent: Base64,
        user: String,
        used: bool,
    }

    #[derive(Clone, Copy, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Name {
        TpmPin,
        Fingerprint,
    }

    pub(super) fn serialize<S: Serializer>(keys: &[PlatformKey], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(keys.iter().cloned().map(|PlatformKey { method, key, user, used }| {
            let method = match method {
                Method::Pin => Name::TpmPin,
                Method::Fingerprint => Name::Fingerprint,
            };
            let [public, private, parent] = [key.public, key.private, key.parent].map(Base64);
            Entry { method, public, private, parent, user, used }
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PlatformKey>, D::Error> {
        let entries = Vec::<Entry>::deserialize(from)?.into_iter();
        Ok(entries
            .map(|Entry { method, public, private, parent, user, used }| {
                let method = match method {
                    Name::TpmPin => Method::Pin,
                    Name::Fingerprint => Method::Fingerprint,
                };
                let key = UserKey { public: public.0, private: private.0, parent: parent.0 };
                PlatformKey { method, key, user, used }
            })
            .collect())
    }
}

mod base64_array {
    use super::{Base64, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        Base64(bytes.to_vec()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let bytes = Base64::deserialize(from)?.0;
        bytes.try_into().map_err(|_| serde::de::Error::custom("not 32 bytes"))
    }
}

mod device_id {
    use super::{Deserialize, Deserializer, DeviceId, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &DeviceId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DeviceId, D::Error> {
        let text = String::deserialize(from)?;
        DeviceId::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a device id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Method;
    use crate::tpm::UserKey;

    const NEW_FILE: &str = "state.new";

    fn key() -> StoredKey {
        StoredKey(TlsKey { public: vec![1], private: vec![2], parent: vec![3], bound_to: None })
    }

    fn enrolment() -> Enrolment {
        Enrolment {
            tls_key: key(),
            device_chain: vec![Base64(vec![1; 40])],
            ak_chain: vec![Base64(vec![2; 40])],
            device_id: DeviceId::from_random(&[7; 16]).unwrap(),
            authority: "https://authority.example".into(),
            audience: "https://authority.example".into(),
            rp_id: "presence.mesh.example".into(),
            operator: "alice".into(),
            ca: vec![],
            issuers: vec![],
        }
    }

    #[test]
    fn what_is_stored_is_there_again_and_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/state");
        let state = StateDir::open(&path).unwrap();
        let stored = Stored { enrolment: Some(enrolment()), ..(*state.stored()).clone() };
        state.replace(stored.clone()).unwrap();
        assert_eq!(StateDir::open(&path).unwrap_err(), StateError::InUse { path: path.clone() });
        drop(state);
        assert_eq!(*StateDir::open(&path).unwrap().stored(), stored);
        for (name, mode) in [("", 0o700), (FILE, 0o600)] {
            let found = fs::metadata(path.join(name)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
    }

    #[test]
    fn platform_keys_are_remembered_and_may_be_absent() {
        let key = |method, used| PlatformKey {
            method,
            key: UserKey { public: vec![1], private: vec![2], parent: vec![3] },
            user: "alice".into(),
            used,
        };
        let platform_keys = vec![key(Method::Pin, true), key(Method::Fingerprint, false)];
        let stored = Stored { platform_keys, ..Stored::fresh().unwrap() };
        assert_eq!(decode(&encode(&stored)), Some(stored.clone()));
        let mut older = serde_json::to_value(&stored).unwrap();
        older.as_object_mut().unwrap().remove("platform_keys");
        let older: Stored = serde_json::from_value(older).unwrap();
        assert_eq!(older, Stored { platform_keys: Vec::new(), ..stored });
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let whole = encode(&Stored { enrolment: Some(enrolment()), ..Stored::fresh().unwrap() });
        assert!(decode(&whole).is_some());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&changed), None, "byte {at} changed");
            assert_eq!(decode(&whole[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_can_be_forgotten() {
        let root = tempfile::tempdir().unwrap();
        drop(StateDir::open(root.path()).unwrap());
        let path = root.path().join(FILE);
        fs::write(&path, b"{}").unwrap();
        assert_eq!(StateDir::open(root.path()).unwrap_err(), StateError::Corrupt { path });
        StateDir::forget(root.path()).unwrap();
        assert_eq!(StateDir::open(root.path()).unwrap().stored().enrolment, None);
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(root.path()).unwrap();
        let before = state.stored();
        // A folder stands where the new file would be written.
        fs::create_dir(root.path().join(NEW_FILE)).unwrap();
        let changed = Stored { pending_key: Some(key()), ..(*before).clone() };
        let source = IoFault(io::ErrorKind::IsADirectory);
        let path = root.path().join(FILE);
        assert_eq!(state.replace(changed), Err(StateError::Unwritable { path, source }));
        assert_eq!(state.stored(), before);
        drop(state);
        assert_eq!(StateDir::open(root.path()).unwrap().stored(), before);
    }

    #[test]
    fn what_a_crash_left_behind_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        drop(StateDir::open(root.path()).unwrap());
        fs::write(root.path().join(NEW_FILE), b"half a fi").unwrap();
        let state = StateDir::open(root.path()).unwrap();
        state.replace((*state.stored()).clone()).unwrap();
        assert!(!root.path().join(NEW_FILE).exists());
    }
}
