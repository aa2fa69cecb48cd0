//! The audit table.

use std::sync::PoisonError;

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
            self.write_audit(&mut transaction, &one.entry).await?;
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
        let last = query("SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1")
            .fetch_optional(connection)
            .await?;
        let (sequence, previous) = match last {
            None => (1, [0; 32]),
            Some(row) => {
                let sequence: i64 = row.get(0)?;
                let digest: Vec<u8> = row.get(1)?;
                let digest = digest.try_into().map_err(|_| StoreError::Corrupt { table: TABLE })?;
                (sequence + 1, digest)
            }
        };
        let record = entry.clone().into_record(sequence, previous);
        let mac = self.integrity.mac(TABLE, &[&record.digest]);
        query(
            "INSERT INTO audit (sequence, at, event, decision, code, subject, device, session, token,
             credential, gateway, action, evidence, rule, detail, policy, request, previous, digest, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
             $20)",
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
        .await?;
        Ok(())
    }

    pub(super) async fn read_audit(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = query(
            "SELECT sequence, at, event, decision, code, subject, device, session, token, credential,
             gateway, action, evidence, rule, detail, policy, request, previous, digest, mac
             FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&mut self.reader().await?)
        .await?;
        rows.iter().map(|row| self.audit_record(row)).collect()
    }

    fn audit_record(&self, row: &Row) -> Result<AuditRecord, StoreError> {
        let corrupt = StoreError::Corrupt { table: TABLE };
        let record = read_record(row)?;
        let mac: Vec<u8> = row.get("mac")?;
        let Some(record) = record else { return Err(corrupt) };
        if record.computed_digest() != record.digest {
            return Err(corrupt);
        }
        self.integrity.check(TABLE, &[&record.digest], &mac)?;
        Ok(record)
    }
}

fn read_record(row: &Row) -> Result<Option<AuditRecord>, StoreError> {
    let previous: Result<_, _> = row.get::<Vec<u8>>("previous")?.try_into();
    let digest: Result<_, _> = row.get::<Vec<u8>>("digest")?.try_into();
    let (Ok(previous), Ok(digest)) = (previous, digest) else { return Ok(None) };
    Ok(Some(AuditRecord {
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
        previous,
        digest,
    }))
}
