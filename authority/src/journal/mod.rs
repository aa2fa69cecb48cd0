//! Yeses to reads: on record in a file of this node before they are given, and in the store a moment later.
//!
//! Adding to a file costs a hundredth of a transaction, and stays whatever becomes of this process. What the machine
//! itself had not written back when its power failed is lost: so only what changes nothing is
//! answered like this, and only where the settings name a journal (decision 0041).

mod file;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;
use signet_verifier::log::leaf_hash;
use thiserror::Error;
use tokio::sync::{Notify, watch};

use self::file::JournalFile;
use crate::store::{AuditEntry, AuditRecord, Decision, Event, IntegrityKey, Store, StoreError};

pub use self::file::JournalError;

/// How long records gather before the store gets them: many in one transaction.
const GATHER: Duration = Duration::from_millis(100);
/// When the store has not taken the oldest for so long, nothing more is noted: the store has to be asked, and says what
/// is wrong.
const LATE: Duration = Duration::from_secs(1);
/// Most that wait; some 16 MiB of memory.
const MOST: usize = 16_384;
/// How many the store gets in one transaction.
const AT_ONCE: usize = 256;
/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_millis(250);
/// A file that is not longer is not worth emptying; it is emptied when nothing waits.
const SHORT: u64 = 1 << 20;
/// A file that is longer must be emptied first: under a load that never lets up something waits always.
const FULL: u64 = 16 << 20;

/// A record in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Its place in the journal; ascending.
    pub number: u64,
    /// The record, without a place in the log.
    pub record: AuditRecord,
    /// Its leaf.
    pub leaf: Sha256,
}

/// The journal cannot be opened.
#[derive(Debug, Error)]
pub enum OpenJournalError {
    /// The file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store.
    #[error("the records in the journal cannot be handed over")]
    Store(#[from] StoreError),
}

/// This node's journal. It notes nothing until it is opened.
#[derive(Default)]
pub struct Journal(OnceLock<Open>);

struct Open {
    name: [u8; 16],
    queue: Mutex<Queue>,
    /// Something was noted.
    more: Notify,
    /// The last number that the store has.
    taken: watch::Sender<u64>,
}

struct Queue {
    file: JournalFile,
    /// Number of the last record.
    last: u64,
    waiting: VecDeque<(Instant, Arc<Noted>)>,
    /// The last attempt to write failed.
    failing: bool,
}

impl Journal {
    /// Opens the file, hands over what an earlier process left in it, and notes from now on.
    ///
    /// # Errors
    /// [`OpenJournalError`]; nothing in the file is lost.
    pub async fn open(
        &self,
        path: &Path,
        integrity: IntegrityKey,
        store: &dyn Store,
        now: UnixTime,
    ) -> Result<(), OpenJournalError> {
        let (mut file, found) = JournalFile::open(path, integrity)?;
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        for some in found.records.chunks(AT_ONCE) {
            store.take_journal(file.name(), some).await?;
        }
        if found.damaged {
            let copy = file.keep_copy(&format!("damaged-{}", now.0)).map_err(failed)?;
            let mut alert = AuditEntry::new(now, Event::Alert, Decision::Allowed);
            alert.detail =
                format!("the journal was damaged; what it held is in {}", copy.display());
            tracing::error!("{}", alert.detail);
            store.append_audit(&alert).await?;
        }
        if !found.records.is_empty() {
            tracing::info!(records = found.records.len(), "the journal was handed over");
        }
        // Only now, that the store has all of it.
        file.clear().map_err(failed)?;
        let last = store.journal_taken(file.name()).await?;
        let name = *file.name();
        let queue = Queue { file, last, waiting: VecDeque::new(), failing: false };
        let open = Open {
            name,
            queue: Mutex::new(queue),
            more: Notify::new(),
            taken: watch::Sender::new(last),
        };
        // Opened twice, the first stays: the second could not have locked the file.
        let _ = self.0.set(open);
        Ok(())
    }

    /// Puts a decision on record. False where that has to be the store's work: there is no journal, it cannot be
    /// written, or the store does not keep up.
    #[must_use]
    pub fn note(&self, entry: &AuditEntry) -> bool {
        let Some(open) = self.0.get() else { return false };
        let record = entry.clone().into_record(0);
        let bytes = record.entry();
        let leaf = leaf_hash(&bytes);
        let noted = open.lock().note(Instant::now(), record, &bytes, leaf);
        if noted {
            open.more.notify_one();
        }
        noted
    }

    /// How many records the store does not have yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.get().map_or(0, |open| open.lock().waiting.len())
    }

    /// Hands over what is noted until `stop` becomes true; [`Self::hand_over`] follows when nothing is noted any more.
    pub(crate) async fn keep_handing_over(
        &self,
        store: Arc<dyn Store>,
        mut stop: watch::Receiver<bool>,
    ) {
        let Some(open) = self.0.get() else { return };
        let mut stopped = std::pin::pin!(stop.wait_for(|stop| *stop));
        loop {
            let ready = async {
                open.more.notified().await;
                tokio::time::sleep(GATHER).await;
            };
            tokio::select! {
                () = ready => {}
                _ = &mut stopped => return,
            }
            while let Err(error) = self.hand_over(store.as_ref()).await {
                tracing::warn!(%error, "the journal cannot be handed over");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    _ = &mut stopped => return,
                }
            }
        }
    }

    /// Hands over what was noted before; what comes meanwhile gathers.
    ///
    /// # Errors
    /// [`StoreError`]; the rest stays in the journal.
    pub async fn hand_over(&self, store: &dyn Store) -> Result<(), StoreError> {
        let Some(open) = self.0.get() else { return Ok(()) };
        let all: Vec<_> = open.lock().waiting.iter().map(|(_, noted)| noted.clone()).collect();
        for some in all.chunks(AT_ONCE) {
            store.take_journal(&open.name, some).await?;
            let last = some.last().map_or(0, |noted| noted.number);
            open.lock().forget(last);
            open.taken.send_replace(last);
        }
        Ok(())
    }

    /// Returns when the store has everything that was noted before.
    pub async fn settled(&self) {
        let Some(open) = self.0.get() else { return };
        let last = open.lock().last;
        // The sender is beside it.
        let _ = open.taken.subscribe().wait_for(|taken| *taken >= last).await;
    }
}

/// The journal in `path`, which another process may be writing to: its name and its last number, for
/// [`Store::journal_taken`]. `None` where it holds nothing, or is not there.
///
/// # Errors
/// When the file cannot be read.
pub fn newest(path: &Path) -> Result<Option<([u8; 16], u64)>, JournalError> {
    file::last(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn note(&mut self, now: Instant, record: AuditRecord, bytes: &[u8], leaf: Sha256) -> bool {
        let late = self.waiting.front().is_some_and(|(since, _)| now - *since > LATE);
        if late || self.waiting.len() >= MOST || self.file.len() > FULL {
            return false;
        }
        let number = self.last + 1;
        if let Err(error) = self.file.append(number, bytes, &leaf) {
            if !std::mem::replace(&mut self.failing, true) {
                let path = self.file.path().display();
                tracing::warn!(%error, %path, "the journal cannot be written: reads wait for the store");
            }
            return false;
        }
        self.failing = false;
        self.last = number;
        self.waiting.push_back((now, Arc::new(Noted { number, record, leaf })));
        true
    }

    /// The store has all up to `last`.
    fn forget(&mut self, last: u64) {
        while self.waiting.front().is_some_and(|(_, noted)| noted.number <= last) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty()
            && self.file.len() > SHORT
            && let Err(error) = self.file.clear()
        {
            tracing::warn!(%error, "the journal cannot be emptied");
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::SqlStore;

    const NOW: UnixTime = UnixTime(1_795_317_301);

    fn key() -> IntegrityKey {
        IntegrityKey::new(&Zeroizing::new([1; 32]))
    }

    fn entry(detail: &str) -> AuditEntry {
        let mut entry = AuditEntry::new(NOW, Event::Authorize, Decision::Allowed);
        entry.detail = detail.to_owned();
        entry
    }

    async fn store(folder: &Path) -> SqlStore {
        SqlStore::create(&folder.join("authority.db"), key()).await.unwrap()
    }

    async fn details(store: &dyn Store) -> Vec<String> {
        let records = store.audit_after(0, 1000).await.unwrap();
        records.into_iter().map(|record| record.detail).collect()
    }

    #[tokio::test]
    async fn nothing_is_noted_before_it_is_opened() {
        let journal = Journal::default();
        assert!(!journal.note(&entry("one")));
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("j"), store(folder.path()).await);
        journal.open(&path, key(), &store, NOW).await.unwrap();
        assert!(journal.note(&entry("two")));
        assert_eq!((journal.waiting(), details(&store).await.len()), (1, 0));
        journal.hand_over(&store).await.unwrap();
        assert_eq!((journal.waiting(), details(&store).await), (0, vec!["two".to_owned()]));
        journal.settled().await;
    }

    #[tokio::test]
    async fn what_an_earlier_process_left_is_handed_over_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("j"), store(folder.path()).await);
        let journal = Journal::default();
        journal.open(&path, key(), &store, NOW).await.unwrap();
        assert!(journal.note(&entry("one")) && journal.note(&entry("two")));
        journal.hand_over(&store).await.unwrap();
        assert!(journal.note(&entry("three")));
        // The file is short, so the first two are still in it.
        drop(journal);
        let journal = Journal::default();
        journal.open(&path, key(), &store, NOW).await.unwrap();
        assert_eq!(details(&store).await, ["one", "two", "three"]);
        assert!(journal.note(&entry("four")));
        journal.hand_over(&store).await.unwrap();
        assert_eq!(details(&store).await, ["one", "two", "three", "four"]);
    }

    #[tokio::test]
    async fn a_damaged_journal_is_kept_for_a_person_and_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("audit.journal"), store(folder.path()).await);
        let journal = Journal::default();
        journal.open(&path, key(), &store, NOW).await.unwrap();
        assert!(journal.note(&entry("one")) && journal.note(&entry("two")));
        drop(journal);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let journal = Journal::default();
        journal.open(&path, key(), &store, NOW).await.unwrap();
        let copy = folder.path().join(format!("audit.damaged-{}", NOW.0));
        assert_eq!(std::fs::read(&copy).unwrap(), bytes);
        let records = store.audit_after(0, 10).await.unwrap();
        let told: Vec<_> = records.iter().map(|one| (&*one.event, &*one.detail)).collect();
        let alert = format!("the journal was damaged; what it held is in {}", copy.display());
        assert_eq!(told, [("authorize", "one"), ("alert", &alert)]);
        assert!(journal.note(&entry("three")));
    }

    #[test]
    fn nothing_is_noted_while_the_store_does_not_keep_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let (file, _) = JournalFile::open(&path, key()).unwrap();
        let mut queue = Queue { file, last: 0, waiting: VecDeque::new(), failing: false };
        let began = Instant::now();
        let note = |queue: &mut Queue, now| {
            let record = entry("").into_record(0);
            let (bytes, leaf) = (record.entry(), record.leaf());
            queue.note(now, record, &bytes, leaf)
        };
        assert!(note(&mut queue, began));
        assert!(note(&mut queue, began + LATE));
        assert!(!note(&mut queue, began + LATE + Duration::from_millis(1)));
        queue.forget(1);
        assert!(note(&mut queue, began + LATE + Duration::from_millis(1)));
        queue.forget(3);
        for _ in 0..MOST {
            assert!(note(&mut queue, began));
        }
        assert!(!note(&mut queue, began));
        // Long enough to be emptied.
        assert!(queue.file.len() > SHORT);
        queue.forget(queue.last);
        assert_eq!((queue.waiting.len(), queue.file.len()), (0, 0));
        // The store keeps up, and yet something waits always.
        assert!(note(&mut queue, began));
        while note(&mut queue, began) {
            queue.forget(queue.last - 1);
        }
        assert!((FULL..FULL + 4096).contains(&queue.file.len()));
        queue.forget(queue.last);
        assert!(note(&mut queue, began));
        assert!(queue.file.len() < 4096);
    }
}
