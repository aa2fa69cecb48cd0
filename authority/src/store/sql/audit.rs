//! The audit table.

use super::*;

const TABLE: &str = "audit";
const COLUMNS: usize = 19;
/// Most records of one statement. Each number of rows is a statement that stays prepared.
pub(super) const AT_ONCE: usize = 32;
/// How far from its place a record that was moved is recognised.
const NEAR: i64 = 64;

impl SqlStore {
    /// Appends `entry` within the caller's transaction.
    pub(super) async fn write_audit(
        &self,
        connection: &mut Connection,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        if let (Some(kept), Some(hash)) = (&entry.kept, &entry.evidence) {
            super::evidence::write(connection, hash, kept, entry.at.0).await?;
        }
        let size = super::log::size(connection).await?;
        self.insert_record(connection, entry.clone().into_record(signed(size) + 1)).await
    }

    /// Writes a record and its leaf.
    pub(super) async fn insert_record(
        &self,
        connection: &mut Connection,
        record: AuditRecord,
    ) -> Result<(), StoreError> {
        let leaf = record.leaf();
        insert_records(connection, &self.integrity, &[(&record, leaf)]).await
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

/// What writes a number of records and their leaves.
struct Inserts {
    records: String,
    leaves: String,
    /// Both, and the end of the transaction, where several statements can go on one way.
    all: String,
}

impl Inserts {
    /// Made once for each number, since making them takes longer than running them.
    fn of(rows: usize) -> &'static Self {
        static MADE: [OnceLock<Inserts>; AT_ONCE + 1] = [const { OnceLock::new() }; AT_ONCE + 1];
        let rows = rows.min(AT_ONCE);
        MADE[rows].get_or_init(|| {
            let records = format!(
                "INSERT INTO audit (sequence, at, event, decision, code, subject, device, session,
                 token, credential, gateway, action, evidence, rule, detail, policy, request, trace,
                 mac) VALUES {}",
                places::<COLUMNS>(0, rows)
            );
            let leaves = log::insert_hashes(0, rows);
            let all = format!("{records}; {}; COMMIT", log::insert_hashes(COLUMNS * rows, rows));
            Self { records, leaves, all }
        })
    }
}

/// Writes at most [`AT_ONCE`] records that follow each other, and their leaves: two statements for all
/// of them.
async fn insert_records(
    connection: &mut Connection,
    integrity: &IntegrityKey,
    records: &[(&AuditRecord, Sha256)],
) -> Result<(), StoreError> {
    let inserts = Inserts::of(records.len());
    bind_records(query(&inserts.records), integrity, records).execute(connection).await?;
    bind_leaves(query(&inserts.leaves), records).execute(connection).await?;
    for (record, _) in records {
        log::fill_tiles(connection, leaf_number(record)).await?;
    }
    Ok(())
}

/// The same, and then the transaction's end.
pub(super) async fn commit_records(
    mut transaction: Transaction,
    integrity: &IntegrityKey,
    records: &[(&AuditRecord, Sha256)],
) -> Result<(), StoreError> {
    let fills = |(record, _): &(&AuditRecord, Sha256)| log::fills_tile(leaf_number(record));
    if transaction.takes_several() && !records.iter().any(fills) {
        let all = bind_records(query(&Inserts::of(records.len()).all), integrity, records);
        return transaction.commit_by(bind_leaves(all, records)).await;
    }
    insert_records(&mut transaction, integrity, records).await?;
    transaction.commit().await
}

fn leaf_number(record: &AuditRecord) -> u64 {
    record.sequence.saturating_sub(1).unsigned_abs()
}

fn bind_leaves(insert: Query, records: &[(&AuditRecord, Sha256)]) -> Query {
    let bind = |insert, (record, leaf): &(&AuditRecord, Sha256)| {
        log::bind_hash(insert, 0, leaf_number(record), leaf)
    };
    records.iter().fold(insert, bind)
}

fn bind_records(
    mut insert: Query,
    integrity: &IntegrityKey,
    records: &[(&AuditRecord, Sha256)],
) -> Query {
    for (record, leaf) in records {
        let mac = integrity.mac(TABLE, &[&record.sequence.to_be_bytes(), leaf]);
        insert = insert
            .bind(record.sequence)
            .bind(record.at)
            .bind(&record.event)
            .bind(&record.decision)
            .bind(&record.code)
            .bind(&record.subject)
            .bind(&record.device)
            .bind(&record.session)
            .bind(&record.token)
            .bind(&record.credential)
            .bind(&record.gateway)
            .bind(&record.action)
            .bind(&record.evidence)
            .bind(&record.rule)
            .bind(&record.detail)
            .bind(&record.policy)
            .bind(&record.request)
            .bind(&record.trace)
            .bind(mac.as_slice());
    }
    insert
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
