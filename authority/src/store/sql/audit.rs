//! The audit table.

use std::sync::PoisonError;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const TABLE: &str = "audit";
/// Most records of one statement. Each number of rows is a statement that stays prepared.
const AT_ONCE: usize = 32;
/// How far from its place a record that was moved is recognised.
const NEAR: i64 = 64;

/// Records that wait for the writer. Whoever gets it first writes for all: one synchronous commit
/// then serves every decision that was made meanwhile.
#[derive(Default)]
pub(super) struct Queue(std::sync::Mutex<Vec<Waiting>>);

struct Waiting {
    entry: AuditEntry,
    written: oneshot::Sender<()>,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqlStore {
    /// Appends `entry`, together with those of others that wait; returns when it is on the disk.
    pub(super) async fn append_with_others(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let (written, mut is_written) = oneshot::channel();
        self.audit_queue.lock().push(Waiting { entry: entry.clone(), written });
        let writer = match self.writers.acquire().await {
            Ok(writer) => writer,
            Err(error) => {
                // Nobody writes now, and what nobody writes must not pile up.
                self.audit_queue.lock().clear();
                return Err(error);
            }
        };
        let mut waiting = match is_written.try_recv() {
            Ok(()) => return Ok(()),
            Err(TryRecvError::Empty) => std::mem::take(&mut *self.audit_queue.lock()),
            // Whoever wrote for us failed, or hung up: our own record is still ours to write.
            Err(TryRecvError::Closed) => {
                let (written, _) = oneshot::channel();
                vec![Waiting { entry: entry.clone(), written }]
            }
        };
        let mut transaction = writer.begin().await?;
        for one in &waiting {
            super::evidence::write(&mut transaction, &one.entry).await?;
        }
        // Nobody else writes until the commit, so the places are known.
        let mut sequence = signed(super::log::size(&mut transaction).await?);
        for some in waiting.chunks(AT_ONCE) {
            let numbered = |one: &Waiting| {
                sequence += 1;
                one.entry.clone().into_record(sequence)
            };
            self.insert_records(&mut transaction, some.iter().map(numbered).collect()).await?;
        }
        transaction.commit().await?;
        for one in waiting.drain(..) {
            // Those who hung up do not hear it.
            let _ = one.written.send(());
        }
        Ok(())
    }

    /// Appends `entry` within the caller's transaction.
    pub(super) async fn write_audit(
        &self,
        connection: &mut Connection,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        super::evidence::write(connection, entry).await?;
        let size = super::log::size(connection).await?;
        self.insert_record(connection, entry.clone().into_record(signed(size) + 1)).await
    }

    /// Writes a record and its leaf.
    pub(super) async fn insert_record(
        &self,
        connection: &mut Connection,
        record: AuditRecord,
    ) -> Result<(), StoreError> {
        self.insert_records(connection, vec![record]).await
    }

    /// Writes records that follow each other, and their leaves: two statements for all of them.
    async fn insert_records(
        &self,
        connection: &mut Connection,
        records: Vec<AuditRecord>,
    ) -> Result<(), StoreError> {
        let Some(first) = records.first().map(|record| record.sequence) else { return Ok(()) };
        let leaves: Vec<Sha256> = records.iter().map(AuditRecord::leaf).collect();
        let mut insert = query_of(format!(
            "INSERT INTO audit (sequence, at, event, decision, code, subject, device, session, token,
             credential, gateway, action, evidence, rule, detail, policy, request, trace, mac)
             VALUES {}",
            places::<19>(records.len())
        ));
        for (record, leaf) in records.into_iter().zip(&leaves) {
            let mac = self.integrity.mac(TABLE, &[&record.sequence.to_be_bytes(), leaf]);
            insert = insert
                .bind(record.sequence)
                .bind(record.at)
                .bind(record.event)
                .bind(record.decision)
                .bind(record.code)
                .bind(record.subject)
                .bind(record.device)
                .bind(record.session)
                .bind(record.token)
                .bind(record.credential)
                .bind(record.gateway)
                .bind(record.action)
                .bind(record.evidence)
                .bind(record.rule)
                .bind(record.detail)
                .bind(record.policy)
                .bind(record.request)
                .bind(record.trace)
                .bind(mac.as_slice());
        }
        insert.execute(connection).await?;
        super::log::add_leaves(connection, first, &leaves).await
    }

    /// Records after number `after`, as they lie in the table.
    pub(super) async fn find_audit(
        &self,
        filter: &AuditFilter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<FoundRecord>, StoreError> {
        self.find_on(&mut self.reader().await?, filter, after, limit).await
    }

    /// The same, also of what the transaction has not committed yet.
    pub(super) async fn find_on(
        &self,
        connection: &mut Connection,
        filter: &AuditFilter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<FoundRecord>, StoreError> {
        let rows = query(
            "SELECT sequence, at, event, decision, code, subject, device, session, token, credential,
             gateway, action, evidence, rule, detail, policy, request, trace, mac FROM audit
             WHERE sequence > $1 AND ($2 IS NULL OR at >= $2) AND ($3 IS NULL OR at < $3)
             AND ($4 IS NULL OR subject = $4) AND ($5 IS NULL OR code = $5)
             AND ($6 IS NULL OR event = $6) ORDER BY sequence LIMIT $7",
        )
        .bind(after)
        .bind(filter.since.map(|time| time.0))
        .bind(filter.until.map(|time| time.0))
        .bind(&filter.subject)
        .bind(&filter.code)
        .bind(&filter.event)
        .bind(limit)
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let (record, mac) = (read_record(row)?, row.get::<Vec<u8>>("mac")?);
                let mark = self.mark(&record, &mac);
                Ok(FoundRecord { record, mark })
            })
            .collect()
    }

    /// The same, of records that the authority wrote.
    pub(super) async fn read_audit(
        &self,
        filter: &AuditFilter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let found = self.find_audit(filter, after, limit).await?;
        let genuine = |found: FoundRecord| match found.mark {
            Mark::Genuine => Ok(found.record),
            Mark::Moved { .. } | Mark::Foreign => Err(StoreError::Corrupt { table: TABLE }),
        };
        found.into_iter().map(genuine).collect()
    }

    fn mark(&self, record: &AuditRecord, mac: &[u8]) -> Mark {
        let leaf = record.leaf();
        let is_number =
            |number: i64| self.integrity.check(TABLE, &[&number.to_be_bytes(), &leaf], mac).is_ok();
        let number = record.sequence;
        if is_number(number) {
            return Mark::Genuine;
        }
        let near =
            (1..=NEAR).flat_map(|way| [number.saturating_add(way), number.saturating_sub(way)]);
        near.into_iter()
            .find(|near| is_number(*near))
            .map_or(Mark::Foreign, |from| Mark::Moved { from })
    }
}

pub(super) fn read_record(row: &Row) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        sequence: row.get("sequence")?,
        at: row.get("at")?,
        event: row.get("event")?,
        decision: row.get("decision")?,
        code: row.get("code")?,
        subject: row.get("subject")?,
        device: row.get("device")?,
        session: row.get("session")?,
        token: row.get("token")?,
        credential: row.get("credential")?,
        gateway: row.get("gateway")?,
        action: row.get("action")?,
        evidence: row.get("evidence")?,
        rule: row.get("rule")?,
        detail: row.get("detail")?,
        policy: row.get("policy")?,
        request: row.get("request")?,
        trace: row.get("trace")?,
    })
}
