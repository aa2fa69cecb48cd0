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
        let (number, hash) = (record.sequence, record.leaf());
        insert_leaves(connection, &self.integrity, &[Leaf { number, record: &record, hash }]).await
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

/// A record with its place in the log.
pub(super) struct Leaf<'a> {
    /// From 1.
    pub(super) number: i64,
    pub(super) record: &'a AuditRecord,
    pub(super) hash: Sha256,
}

/// What writes a number of records and their leaves.
struct Inserts {
    records: String,
    leaves: String,
    /// Both, and the end of the transaction, where several statements can go on one way.
    all: String,
}

impl Inserts {
    /// Made once for each number, since making them takes longer than running them. SQLite gets places without
    /// numbers: for each number of a place it would go through all of them.
    fn of(rows: usize, numbered: bool) -> &'static Self {
        static MADE: [[OnceLock<Inserts>; 2]; AT_ONCE + 1] =
            [const { [const { OnceLock::new() }; 2] }; AT_ONCE + 1];
        let rows = rows.min(AT_ONCE);
        MADE[rows][usize::from(numbered)].get_or_init(|| {
            let made = Self::made(rows);
            match numbered {
                true => made,
                false => Self {
                    records: without_numbers(&made.records),
                    leaves: without_numbers(&made.leaves),
                    all: without_numbers(&made.all),
                },
            }
        })
    }

    fn made(rows: usize) -> Self {
        let records = format!(
            "INSERT INTO audit (sequence, at, event, decision, code, subject, device, session,
                 token, credential, gateway, action, evidence, rule, detail, policy, request, trace,
                 mac) VALUES {}",
            places::<COLUMNS>(0, rows)
        );
        let leaves = log::insert_hashes(0, rows);
        let all = format!("{records}; {}; COMMIT", log::insert_hashes(COLUMNS * rows, rows));
        Self { records, leaves, all }
    }
}

/// `?` in place of `$1` and so on, where they ascend by one.
fn without_numbers(sql: &str) -> String {
    let mut parts = sql.split('$');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "?" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

/// Writes at most [`AT_ONCE`] records that follow each other, and their leaves: two statements for all
/// of them.
pub(super) async fn insert_leaves(
    connection: &mut Connection,
    integrity: &IntegrityKey,
    leaves: &[Leaf<'_>],
) -> Result<(), StoreError> {
    let inserts = Inserts::of(leaves.len(), !connection.takes_several());
    bind_records(query(&inserts.records), integrity, leaves).execute(connection).await?;
    bind_hashes(query(&inserts.leaves), leaves).execute(connection).await?;
    for leaf in leaves {
        log::fill_tiles(connection, leaf.place()).await?;
        connection.added(leaf.place(), leaf.hash);
    }
    Ok(())
}

/// The same, and then the transaction's end.
pub(super) async fn commit_leaves(
    mut transaction: Transaction,
    integrity: &IntegrityKey,
    leaves: &[Leaf<'_>],
) -> Result<(), StoreError> {
    if transaction.takes_several() && !leaves.iter().any(|leaf| log::fills_tile(leaf.place())) {
        let all = query(&Inserts::of(leaves.len(), false).all);
        let all = bind_hashes(bind_records(all, integrity, leaves), leaves);
        leaves.iter().for_each(|leaf| transaction.added(leaf.place(), leaf.hash));
        return transaction.commit_by(all).await;
    }
    insert_leaves(&mut transaction, integrity, leaves).await?;
    transaction.commit().await
}

impl Leaf<'_> {
    /// In the tree, from 0.
    fn place(&self) -> u64 {
        self.number.saturating_sub(1).unsigned_abs()
    }
}

fn bind_hashes(insert: Query, leaves: &[Leaf<'_>]) -> Query {
    leaves.iter().fold(insert, |insert, leaf| log::bind_hash(insert, 0, leaf.place(), &leaf.hash))
}

fn bind_records(mut insert: Query, integrity: &IntegrityKey, leaves: &[Leaf<'_>]) -> Query {
    for Leaf { number, record, hash } in leaves {
        let mac = integrity.mac(TABLE, &[&number.to_be_bytes(), hash]);
        insert = insert
            .bind(*number)
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
