//! The audit table.

use std::sync::PoisonError;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const TABLE: &str = "audit";

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

impl SqliteStore {
    /// Appends `entry`, together with those of others that wait; returns when it is on the disk.
    pub(super) async fn append_with_others(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let (written, mut is_written) = oneshot::channel();
        self.audit_queue.lock().push(Waiting { entry: entry.clone(), written });
        let mut writer = match self.writer().await {
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
        let mut transaction = begin(&mut writer).await?;
        for one in &waiting {
            self.write_audit(&mut transaction, &one.entry).await?;
        }
        commit(transaction).await?;
        for one in waiting.drain(..) {
            // Those who hung up do not hear it.
            let _ = one.written.send(());
        }
        Ok(())
    }

    /// Appends `entry` within the caller's transaction.
    pub(super) async fn write_audit(
        &self,
        connection: &mut SqliteConnection,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        let last = sqlx::query("SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        let (sequence, previous) = match last {
            None => (1, [0; 32]),
            Some(row) => {
                let sequence: i64 = row.try_get(0).map_err(unavailable)?;
                let digest: Vec<u8> = row.try_get(1).map_err(unavailable)?;
                let digest = digest.try_into().map_err(|_| StoreError::Corrupt { table: TABLE })?;
                (sequence + 1, digest)
            }
        };
        let record = entry.clone().into_record(sequence, previous);
        let mac = self.integrity.mac(TABLE, &[&record.digest]);
        sqlx::query(
            "INSERT INTO audit (sequence, at, event, decision, code, subject, device, session, token,
             credential, gateway, action, evidence, rule, detail, policy, request, previous, digest, mac)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
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
        .bind(record.previous.to_vec())
        .bind(record.digest.to_vec())
        .bind(mac.to_vec())
        .execute(connection)
        .await
        .map_err(unavailable)?;
        Ok(())
    }

    pub(super) async fn read_audit(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?")
            .bind(after)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(|row| self.audit_record(row)).collect()
    }

    fn audit_record(&self, row: &SqliteRow) -> Result<AuditRecord, StoreError> {
        let corrupt = StoreError::Corrupt { table: TABLE };
        let record = read_record(row).map_err(unavailable)?;
        let mac: Vec<u8> = row.try_get("mac").map_err(unavailable)?;
        let Some(record) = record else { return Err(corrupt) };
        if record.computed_digest() != record.digest {
            return Err(corrupt);
        }
        self.integrity.check(TABLE, &[&record.digest], &mac)?;
        Ok(record)
    }
}

fn read_record(row: &SqliteRow) -> Result<Option<AuditRecord>, sqlx::Error> {
    let previous: Result<_, _> = row.try_get::<Vec<u8>, _>("previous")?.try_into();
    let digest: Result<_, _> = row.try_get::<Vec<u8>, _>("digest")?.try_into();
    let (Ok(previous), Ok(digest)) = (previous, digest) else { return Ok(None) };
    Ok(Some(AuditRecord {
        sequence: row.try_get("sequence")?,
        at: row.try_get("at")?,
        event: row.try_get("event")?,
        decision: row.try_get("decision")?,
        code: row.try_get("code")?,
        subject: row.try_get("subject")?,
        device: row.try_get("device")?,
        session: row.try_get("session")?,
        token: row.try_get("token")?,
        credential: row.try_get("credential")?,
        gateway: row.try_get("gateway")?,
        action: row.try_get("action")?,
        evidence: row.try_get("evidence")?,
        rule: row.try_get("rule")?,
        detail: row.try_get("detail")?,
        policy: row.try_get("policy")?,
        request: row.try_get("request")?,
        previous,
        digest,
    }))
}
