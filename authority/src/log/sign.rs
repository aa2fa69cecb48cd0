//! Signs the tree when it has grown, and refuses to sign what contradicts what was signed before.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde_json::json;
use signet_evidence::UnixTime;
use signet_verifier::events::Topic;
use signet_verifier::log::{
    Checkpoint, CheckpointError, Frontier, Note, NoteError, NoteKey, NoteKeyError, TreeHead,
    key_name,
};
use signet_verifier::token::SigningUnavailable;
use thiserror::Error;
use tokio::sync::watch;

use super::prove::{root_at, tree_at};
use crate::keys::{KeyError, LogRing};
use crate::rounds::Rounds;
use crate::state::Authority;
use crate::store::{SignedCheckpoint, Store, StoreError};

const PAGE: u32 = 500;

/// The log's keys and the newest checkpoint that was signed.
pub struct AuditLog {
    name: String,
    keys: RwLock<Keys>,
    newest: watch::Sender<Option<Arc<SignedCheckpoint>>>,
}

/// The keys, and their public halves as notes name them, the newest last.
struct Keys {
    ring: LogRing,
    public: Vec<NoteKey>,
    newest: NoteKey,
}

impl Keys {
    fn new(ring: LogRing, name: &str) -> Result<Self, NoteKeyError> {
        let public = ring.note_keys(name)?;
        let newest = public.last().cloned().ok_or(NoteKeyError::Format)?;
        Ok(Self { ring, public, newest })
    }
}

/// The name of the log of the authority `issuer`: the URL under which it is served, without the scheme.
#[must_use]
pub fn log_name(issuer: &str) -> String {
    format!("{}/log", key_name(issuer.trim_start_matches("https://")))
}

/// Keys of the log that cannot be taken.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// They cannot be read.
    #[error("the log's keys cannot be read")]
    Keys(#[from] KeyError),
    /// They have no names.
    #[error("the log's keys cannot be named")]
    Name(#[from] NoteKeyError),
}

/// A tree that is not signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The store.
    #[error("the log cannot be read or written")]
    Store(#[from] StoreError),
    /// The key.
    #[error("the log's key does not sign")]
    Key(#[from] SigningUnavailable),
    /// The newest checkpoint in the store is not one of this log's key.
    #[error("the newest checkpoint was not signed by this log's key")]
    Foreign(#[from] CheckpointError),
    /// A leaf that is not of the record that it should be of.
    #[error(
        "record {0} is not the one that its leaf in the tree is of; run `signet-authority audit verify`"
    )]
    Record(u64),
    /// The tree does not hold what this process wrote into it.
    #[error(
        "records {first} to {last} are not those that this process wrote; run `signet-authority audit verify`"
    )]
    Other {
        /// The first record that is not signed yet.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The tree does not hold what was signed.
    #[error(
        "the log was rewritten: its first {size} records are not those that were signed; run \
         `signet-authority audit verify`"
    )]
    Rewritten {
        /// Records of the checkpoint that it contradicts.
        size: u64,
    },
}

impl From<NoteError> for SignError {
    fn from(error: NoteError) -> Self {
        Self::Foreign(error.into())
    }
}

impl AuditLog {
    /// The log of the authority `issuer`, signed by these keys.
    ///
    /// # Errors
    /// [`NoteKeyError`] when the issuer gives no name.
    pub fn new(issuer: &str, ring: LogRing) -> Result<Self, NoteKeyError> {
        let name = log_name(issuer);
        let keys = RwLock::new(Keys::new(ring, &name)?);
        Ok(Self { name, keys, newest: watch::Sender::default() })
    }

    /// What its checkpoints are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public keys that the log ever had, the newest last: what its checkpoints are checked with.
    #[must_use]
    pub fn keys(&self) -> Vec<NoteKey> {
        self.loaded().public.clone()
    }

    /// The newest of them.
    #[must_use]
    pub fn key(&self) -> NoteKey {
        self.loaded().newest.clone()
    }

    /// The notes by which each key named the next.
    #[must_use]
    pub fn successions(&self) -> Vec<String> {
        self.loaded().ring.successions().to_vec()
    }

    /// Loads the keys anew if their plan was changed since; returns whether it was.
    ///
    /// # Errors
    /// See [`ReloadError`]; the keys stay as they were then.
    pub fn reload(&self, directory: &Path, now: UnixTime) -> Result<bool, ReloadError> {
        if !self.loaded().ring.is_outdated(directory)? {
            return Ok(false);
        }
        let keys = Keys::new(LogRing::load(directory, now)?, &self.name)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(true)
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest checkpoint that this process knows, and those to come.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Option<Arc<SignedCheckpoint>>> {
        self.newest.subscribe()
    }

    /// Signs what is new, after checking that it continues what was signed, and that the authority
    /// wrote it; returns whether something was.
    ///
    /// # Errors
    /// See [`SignError`]; nothing is signed then.
    pub async fn sign_news(&self, store: &dyn Store, now: UnixTime) -> Result<bool, SignError> {
        // What is committed from now on is for the next time.
        let written = store.written_tree();
        let stored = store.newest_checkpoint().await?;
        // Whoever writes to the database cannot make this process forget.
        let known = self.newest.borrow().clone();
        let size = store.log_size().await?;
        let mut from = 0;
        let known = known.as_deref().filter(|known| stored.as_ref() != Some(known));
        for signed in stored.iter().chain(known) {
            let head = self.read(signed)?;
            if size < head.size || root_at(store, head.size).await? != head.root {
                return Err(SignError::Rewritten { size: head.size });
            }
            from = from.max(head.size);
        }
        if size == from {
            self.tell(stored);
            return Ok(false);
        }
        let head = head_to_sign(store, written, from..size).await?;
        let checkpoint = Checkpoint { origin: self.name.clone(), head };
        let note = self.sign(&checkpoint, now)?.to_string();
        let checkpoint = SignedCheckpoint { size: head.size, at: now, note };
        store.add_checkpoint(&checkpoint).await?;
        self.tell(Some(checkpoint));
        Ok(true)
    }

    /// The note of `checkpoint`, signed by each key that signs now.
    fn sign(&self, checkpoint: &Checkpoint, now: UnixTime) -> Result<Note, SigningUnavailable> {
        let mut signers = self.loaded().ring.signers(now).into_iter();
        let newest = signers.next().ok_or(SigningUnavailable::Failed)?;
        let mut note = checkpoint.sign(newest.as_ref())?;
        for earlier in signers {
            note.sign(&self.name, earlier.as_ref())?;
        }
        Ok(note)
    }

    fn read(&self, checkpoint: &SignedCheckpoint) -> Result<TreeHead, SignError> {
        let note = Note::parse(&checkpoint.note)?;
        Ok(Checkpoint::verify_by_any(&note, &self.loaded().public)?.head)
    }

    fn tell(&self, checkpoint: Option<SignedCheckpoint>) {
        self.newest.send_if_modified(|newest| {
            let size = |one: &SignedCheckpoint| one.size;
            let newer = checkpoint.as_ref().map(size) > newest.as_deref().map(size);
            if newer {
                *newest = checkpoint.map(Arc::new);
            }
            newer
        });
    }
}

/// The tree to sign, up to the end of `new` or as far as this process wrote it: the authority wrote all of it that is
/// new.
async fn head_to_sign(
    store: &dyn Store,
    written: Option<Frontier>,
    new: Range<u64>,
) -> Result<TreeHead, SignError> {
    let written = written.filter(|tree| new.start < tree.size() && tree.size() <= new.end);
    let tree = match written {
        // Nobody else wrote: the records need not be read back.
        Some(tree) if tree == tree_at(store, tree.size()).await? => tree,
        Some(tree) => return Err(SignError::Other { first: new.start + 1, last: tree.size() }),
        None => {
            check_records(store, new.start, new.end).await?;
            let tree = tree_at(store, new.end).await?;
            store.continue_tree(tree.clone());
            tree
        }
    };
    Ok(TreeHead { size: tree.size(), root: tree.root() })
}

/// That the records from number `from` (zero-based) on are the authority's, and their leaves theirs.
async fn check_records(store: &dyn Store, from: u64, size: u64) -> Result<(), SignError> {
    let mut next = from;
    while next < size {
        let after = i64::try_from(next).unwrap_or(i64::MAX);
        let mut records = store.audit_after(after, PAGE).await?;
        records.truncate(usize::try_from(size - next).unwrap_or(usize::MAX));
        let leaves = store.log_hashes(0, next..next + records.len() as u64).await?;
        if records.is_empty() || leaves.len() != records.len() {
            return Err(SignError::Record(next + 1));
        }
        for (record, leaf) in records.iter().zip(leaves) {
            next += 1;
            if u64::try_from(record.sequence) != Ok(next) || record.leaf() != leaf {
                return Err(SignError::Record(next));
            }
        }
    }
    Ok(())
}

/// Signs the log whenever it has grown, until `stop` becomes true, and once more then. Whichever node signs,
/// this one tells its verifiers.
pub async fn keep_signed(authority: Arc<Authority>, stop: watch::Receiver<bool>) {
    let interval = authority.config.settings.audit.checkpoint.get_ref().duration();
    let mut rounds = Rounds::every(interval, stop);
    let mut newest = authority.log.newest();
    loop {
        let last = !rounds.next().await;
        match authority.log.sign_news(authority.store.as_ref(), authority.now()).await {
            Ok(_) => {
                authority.metrics.log_is_sound(true);
                publish_new(&authority, &mut newest);
            }
            // What the next try may mend.
            Err(SignError::Store(error @ (StoreError::Unavailable(_) | StoreError::Full))) => {
                tracing::warn!(%error, "cannot sign the audit log");
            }
            Err(error) => {
                authority.metrics.log_is_sound(false);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the audit log is not signed any more"
                );
            }
        }
        if last {
            return;
        }
    }
}

/// Tells this node's verifiers of a checkpoint that they were not told of.
fn publish_new(authority: &Authority, newest: &mut watch::Receiver<Option<Arc<SignedCheckpoint>>>) {
    if !newest.has_changed().unwrap_or(false) {
        return;
    }
    if let Some(newest) = newest.borrow_and_update().as_deref() {
        let news = json!({"size": newest.size, "note": newest.note});
        authority.events.publish(Topic::Checkpoint, &news);
    }
}
