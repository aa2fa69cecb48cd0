//! One commit for all decisions that wait to be on record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::Instrument;

use super::*;

/// Most records of one commit: what one statement for all of them takes.
const AT_ONCE: usize = audit::AT_ONCE;

/// Appends records that change nothing else. While one commit is under way others gather for the next,
/// so that many decisions cost one look at the disk. Clones share it.
#[derive(Clone)]
pub(super) struct GroupCommit(Arc<Shared>);

struct Shared {
    writers: Pool,
    integrity: Arc<IntegrityKey>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody writes, and will look here again.
    written: bool,
}

struct Waiting {
    record: AuditRecord,
    leaf: Sha256,
    kept: Option<Arc<KeptEvidence>>,
    hash: Option<Sha256>,
    /// The last revocation that the decision knows of.
    as_of: Option<i64>,
    /// Nobody knows whether it stands under the number that it has: the COMMIT was not answered.
    unsure: bool,
    done: oneshot::Sender<Result<Appended, StoreError>>,
}

impl GroupCommit {
    pub(super) fn new(writers: Pool, integrity: Arc<IntegrityKey>) -> Self {
        Self(Arc::new(Shared { writers, integrity, queue: Mutex::default() }))
    }

    /// Returns when the record is on the disk, or when something was revoked after `as_of`. Whoever
    /// does not wait so long has it written all the same.
    pub(super) async fn append(
        &self,
        entry: &AuditEntry,
        as_of: Option<i64>,
    ) -> Result<Appended, StoreError> {
        let span = tracing::debug_span!("store write", failed = tracing::field::Empty);
        let (done, is_done) = oneshot::channel();
        let (kept, hash) = (entry.kept.clone(), entry.evidence);
        // Its number is known when it is written.
        let record = entry.clone().into_record(0);
        let leaf = record.leaf();
        let begin = {
            let mut queue = self.0.lock();
            queue.waiting.push(Waiting { record, leaf, kept, hash, as_of, unsure: false, done });
            !std::mem::replace(&mut queue.written, true)
        };
        if begin {
            tokio::spawn(Writer { shared: self.0.clone(), ended: false }.write_all());
        }
        let outcome = is_done.instrument(span.clone()).await;
        // The writer ends without a word only when everything does.
        let outcome = outcome.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()));
        if outcome.is_err() {
            span.record("failed", true);
        }
        outcome
    }
}

/// Writes until nobody waits.
struct Writer {
    shared: Arc<Shared>,
    ended: bool,
}

impl Writer {
    async fn write_all(mut self) {
        while let Some(batch) = self.next() {
            self.shared.write(batch).await;
        }
    }

    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.shared.lock();
        if queue.waiting.is_empty() {
            (queue.written, self.ended) = (false, true);
            return None;
        }
        let some = queue.waiting.len().min(AT_ONCE);
        Some(queue.waiting.drain(..some).collect())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.ended {
            // The runtime ends in the middle. Another one may use the store, and nobody waits here.
            *self.shared.lock() = Queue::default();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, mut batch: Vec<Waiting>) {
        let failed = match self.try_write(&mut batch).await {
            Ok(last) => return batch.into_iter().for_each(|one| one.tell(Ok(last))),
            Err(error) => error,
        };
        let is_certain = batch.len() == 1 && batch.iter().all(|one| !one.unsure);
        let mut failed = is_certain.then_some(failed);
        // One of many may be what the database does not take: then that one fails, and no other. What a
        // COMMIT without an answer may have written is looked for first.
        for one in batch {
            let mut alone = [one];
            let outcome = match failed.take() {
                Some(error) => Err(error),
                None => self.try_write(&mut alone).await,
            };
            let [one] = alone;
            one.tell(outcome);
        }
    }

    /// Writes those that are not overtaken; returns the last revocation.
    async fn try_write(&self, batch: &mut [Waiting]) -> Result<i64, StoreError> {
        // Nobody else writes until the commit, so both stay true.
        let (mut transaction, row) = self
            .writers
            .begin_asking(
                "SELECT (SELECT coalesce(max(number) + 1, 0) FROM log_hashes WHERE level = 0),
                 (SELECT coalesce(max(sequence), 0) FROM revocations)",
            )
            .await?;
        if let [one] = &mut *batch
            && one.unsure
        {
            if one.stands(&mut transaction).await? {
                return Ok(one.as_of.unwrap_or_default());
            }
            one.unsure = false;
        }
        let (mut sequence, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        let mut current = Vec::with_capacity(batch.len());
        for one in batch.iter_mut().filter(|one| !one.is_overtaken(last)) {
            if let (Some(kept), Some(hash)) = (&one.kept, &one.hash) {
                evidence::write(&mut transaction, hash, kept, one.record.at).await?;
            }
            sequence += 1;
            one.record.sequence = sequence;
            current.push(audit::Leaf { number: sequence, record: &one.record, hash: one.leaf });
        }
        if !current.is_empty() {
            let written = audit::commit_leaves(transaction, &self.integrity, &current).await;
            if let Err(error) = written {
                batch.iter_mut().for_each(|one| one.unsure = one.record.sequence > 0);
                return Err(error);
            }
        }
        Ok(last)
    }
}

impl Waiting {
    fn is_overtaken(&self, last: i64) -> bool {
        self.as_of.is_some_and(|as_of| as_of != last)
    }

    /// Whether the COMMIT that was not answered wrote it. It has ended: this transaction has the lock that it
    /// had. What stands under a number stays, and no other request's record has the same leaf.
    async fn stands(&self, transaction: &mut Connection) -> Result<bool, StoreError> {
        let number = u64::try_from(self.record.sequence - 1).unwrap_or_default();
        let there = log::read_hashes(transaction, 0, number..number + 1).await?;
        Ok(there == [self.leaf])
    }

    /// Whoever hung up does not hear it.
    fn tell(self, outcome: Result<i64, StoreError>) {
        let appended = outcome.map(|last| match self.is_overtaken(last) {
            true => Appended::Overtaken,
            false => Appended::Written,
        });
        let _ = self.done.send(appended);
    }
}
