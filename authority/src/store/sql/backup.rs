//! Backup and restore. See [`super::super::backup`] for the form.

use std::io::{BufRead, BufReader, Read, Seek, Write};

use aws_lc_rs::digest;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use signet_evidence::thumbprint::{hex, unhex};

use super::catalog::{self, Kind, Table};
use super::database::{Raw, Value};
use super::*;
use crate::store::backup::{
    BackupError, BackupHeader, FORMAT, RestoreError, RestoreTime, Restored,
};

/// Longest line: an event log in hex, and room.
const LINE: u64 = 64 * 1024 * 1024;
const PAGE: u32 = 1000;

/// A line before rows of a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableLine {
    table: String,
    columns: Vec<String>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    mac: String,
}

impl SqlStore {
    /// Writes everything as it is at one moment; others go on meanwhile.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn back_up(
        &self,
        now: UnixTime,
        file: &mut (impl Write + Send),
    ) -> Result<BackupHeader, BackupError> {
        let mut reading = self.readers.snapshot().await?;
        let row = query("SELECT count(*), (SELECT max(version) FROM _sqlx_migrations) FROM audit")
            .fetch_one(&mut reading)
            .await?;
        let header = BackupHeader {
            signet_backup: FORMAT,
            schema: row.get(1)?,
            made_at: now.0,
            records: row.get(0)?,
        };
        let mut out = Hashed { file, hash: digest::Context::new(&digest::SHA256) };
        out.line(&header)?;
        let tables = catalog::tables(reading.start()?).await;
        for table in reading.finish(tables)? {
            let columns = table.columns.iter().map(|column| column.name.clone()).collect();
            out.line(&TableLine { table: table.name.clone(), columns })?;
            let written = write_rows(&mut reading, &table, &mut out).await;
            written?;
        }
        let digest = out.hash.finish();
        let mac = hex(&self.integrity.mac("backup", &[digest.as_ref()]));
        serde_json::to_writer(&mut *file, &LastLine { mac }).map_err(std::io::Error::from)?;
        file.write_all(b"\n")?;
        file.flush()?;
        Ok(header)
    }

    /// Puts the rows of a backup into a database that has none, in one transaction. What could be used
    /// twice because the backup does not know of its use is made useless: live sessions end, and
    /// challenges that may have been answered are refused.
    ///
    /// # Errors
    /// [`RestoreError`]; then nothing was changed.
    pub async fn restore(
        &self,
        file: &mut (impl Read + Seek),
        time: RestoreTime,
        audit: &AuditEntry,
    ) -> Result<Restored, RestoreError> {
        let header = self.check_backup(file)?;
        file.rewind()?;
        let mut transaction = self.begin().await?;
        let tables = catalog::tables(transaction.start()?).await;
        let tables = transaction.finish(tables)?;
        let known = query(
            "SELECT max(version), (SELECT count(*) FROM operators), (SELECT count(*) FROM audit)
             FROM _sqlx_migrations",
        )
        .fetch_one(&mut transaction)
        .await?;
        if header.schema > known.get::<i64>(0)? {
            return Err(RestoreError::Later { schema: header.schema });
        }
        if known.get::<i64>(1)? != 0 || known.get::<i64>(2)? != 0 {
            return Err(RestoreError::NotEmpty);
        }
        let rows = insert_all(&mut transaction, &tables, file).await?;
        self.check_records(&mut transaction, header.records).await?;
        let ended = end_all(&mut transaction, time).await?;
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await?;
        Ok(Restored { header, rows, ended })
    }

    /// Reads it whole: nothing is taken from a file that another wrote, or that is cut off.
    fn check_backup(&self, file: &mut impl Read) -> Result<BackupHeader, RestoreError> {
        let mut lines = Lines { file: BufReader::new(file), number: 0 };
        let mut hash = digest::Context::new(&digest::SHA256);
        let first = lines.next()?.ok_or(RestoreError::Malformed { line: 1 })?;
        hash.update(&first);
        let header: BackupHeader = lines.json(&first)?;
        if header.signet_backup != FORMAT {
            return Err(RestoreError::Malformed { line: 1 });
        }
        while let Some(line) = lines.next()? {
            if let Ok(last) = serde_json::from_slice::<LastLine>(&line) {
                let mac = unhex(&last.mac).ok_or_else(|| lines.malformed())?;
                let digest = hash.finish();
                let checked = self.integrity.check("backup", &[digest.as_ref()], &mac);
                return checked.map(|()| header).map_err(|_| RestoreError::Foreign);
            }
            hash.update(&line);
        }
        Err(lines.malformed())
    }

    /// Each record is this authority's and is the leaf that the log has in its place. What the log's
    /// checkpoints say of the whole, `audit verify` checks.
    async fn check_records(
        &self,
        transaction: &mut Connection,
        records: i64,
    ) -> Result<(), RestoreError> {
        let broken = || RestoreError::Audit(StoreError::Corrupt { table: "audit" });
        let (mut last, mut count) = (0, 0);
        loop {
            let page = self.find_on(transaction, &AuditFilter::default(), last, PAGE).await;
            let page = page.map_err(RestoreError::Audit)?;
            if page.is_empty() {
                return if count == records { Ok(()) } else { Err(broken()) };
            }
            for found in page {
                last = found.record.sequence;
                count += 1;
                let hash = query("SELECT hash FROM log_hashes WHERE level = 0 AND number = $1")
                    .bind(last - 1)
                    .fetch_optional(transaction)
                    .await?;
                let hash: Vec<u8> = hash.ok_or_else(broken)?.get(0)?;
                if !matches!(found.mark, Mark::Genuine) || hash != found.record.leaf() {
                    return Err(broken());
                }
            }
        }
    }
}

/// Ends what was live, and refuses the challenges that may have been answered since the backup.
async fn end_all(transaction: &mut Connection, time: RestoreTime) -> Result<u64, StoreError> {
    let live =
        query("SELECT id FROM sessions WHERE ended_at IS NULL").fetch_all(transaction).await?;
    for row in &live {
        let target = RevocationTarget::Session(revoke::session_id(row)?);
        revoke::revoke_target(transaction, &target, time.now).await?;
    }
    query("INSERT INTO restorations (restored_at, refuse_until) VALUES ($1, $2)")
        .bind(time.now.0)
        .bind(time.refuse_challenges_until.0)
        .execute(transaction)
        .await?;
    Ok(live.len() as u64)
}

async fn write_rows(
    reading: &mut Connection,
    table: &Table,
    out: &mut Hashed<'_, impl Write>,
) -> Result<(), BackupError> {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!("SELECT {} FROM {} ORDER BY 1", names.join(", "), quoted(&table.name));
    let sql = sqlx::AssertSqlSafe(sql);
    macro_rules! copy {
        ($database:ty, $row:path, $connection:expr) => {{
            let mut rows = sqlx::query::<$database>(sql).fetch(&mut **$connection);
            while let Some(row) = rows.try_next().await.map_err(StoreError::from)? {
                out.line(&json_of(&$row(row), table)?)?;
            }
        }};
    }
    match reading.start()? {
        Raw::Sqlite(connection) => copy!(sqlx::Sqlite, Row::Sqlite, connection),
        Raw::Postgres(connection) => copy!(sqlx::Postgres, Row::Postgres, connection),
    }
    Ok(reading.finish(Ok(()))?)
}

fn json_of(row: &Row, table: &Table) -> Result<Vec<Json>, StoreError> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(index, column)| {
            Ok(match column.kind {
                Kind::Integer => row.get::<Option<i64>>(index)?.into(),
                Kind::Bool => row.get::<Option<bool>>(index)?.into(),
                Kind::Text => row.get::<Option<String>>(index)?.into(),
                Kind::Bytes => row.get::<Option<Vec<u8>>>(index)?.map(|bytes| hex(&bytes)).into(),
            })
        })
        .collect()
}

async fn insert_all(
    transaction: &mut Connection,
    tables: &[Table],
    file: &mut impl Read,
) -> Result<u64, RestoreError> {
    let mut lines = Lines { file: BufReader::new(file), number: 0 };
    lines.next()?;
    let mut into: Option<Insert<'_>> = None;
    let mut rows = 0;
    while let Some(line) = lines.next()? {
        if let Ok(next) = serde_json::from_slice::<TableLine>(&line) {
            let insert = Insert::into(tables, &next).ok_or_else(|| lines.malformed())?;
            insert.empty(transaction).await?;
            number(transaction, into.replace(insert)).await?;
            continue;
        }
        if serde_json::from_slice::<LastLine>(&line).is_ok() {
            break;
        }
        let row: Vec<Json> = lines.json(&line)?;
        let insert = into.as_ref().ok_or_else(|| lines.malformed())?;
        let values = insert.values(row).ok_or_else(|| lines.malformed())?;
        let query =
            values.into_iter().fold(query_of(insert.sql.clone()), |query, value| query.bind(value));
        query.execute(transaction).await?;
        rows += 1;
    }
    number(transaction, into).await?;
    Ok(rows)
}

/// How rows of one table are inserted.
struct Insert<'a> {
    table: &'a Table,
    kinds: Vec<Kind>,
    sql: String,
}

impl<'a> Insert<'a> {
    fn into(tables: &'a [Table], line: &TableLine) -> Option<Self> {
        let table = tables.iter().find(|table| table.name == line.table)?;
        let of = |name: &String| table.columns.iter().find(|column| column.name == *name);
        let kinds = line.columns.iter().map(|name| Some(of(name)?.kind)).collect::<Option<_>>()?;
        let names: Vec<String> = line.columns.iter().map(|name| quoted(name)).collect();
        let places: Vec<String> = (1..=names.len()).map(|number| format!("${number}")).collect();
        let (into, names, places) = (quoted(&table.name), names.join(", "), places.join(", "));
        let sql = format!("INSERT INTO {into} ({names}) VALUES ({places})");
        Some(Self { table, kinds, sql })
    }

    /// Removes what a migration put there.
    async fn empty(&self, transaction: &mut Connection) -> Result<(), StoreError> {
        let table = quoted(&self.table.name);
        let count = query_of(format!("SELECT count(*) FROM {table}"));
        if count.fetch_one(transaction).await?.get::<i64>(0)? > 0 {
            query_of(format!("DELETE FROM {table}")).execute(transaction).await?;
        }
        Ok(())
    }

    fn values(&self, row: Vec<Json>) -> Option<Vec<Value>> {
        if row.len() != self.kinds.len() {
            return None;
        }
        row.into_iter().zip(&self.kinds).map(|(json, kind)| value(json, *kind)).collect()
    }
}

/// The databases differ in what yes and no are.
fn value(json: Json, kind: Kind) -> Option<Value> {
    Some(match (kind, json) {
        (Kind::Integer, Json::Null) => Value::Integer(None),
        (Kind::Integer, Json::Bool(yes)) => Value::Integer(Some(yes.into())),
        (Kind::Integer, Json::Number(number)) => Value::Integer(Some(number.as_i64()?)),
        (Kind::Bool, Json::Null) => Value::Bool(None),
        (Kind::Bool, Json::Bool(yes)) => Value::Bool(Some(yes)),
        (Kind::Bool, Json::Number(number)) => Value::Bool(Some(number.as_i64()? != 0)),
        (Kind::Text, Json::Null) => Value::Text(None),
        (Kind::Text, Json::String(text)) => Value::Text(Some(text)),
        (Kind::Bytes, Json::Null) => Value::Bytes(None),
        (Kind::Bytes, Json::String(text)) => Value::Bytes(Some(unhex(&text)?)),
        _ => return None,
    })
}

/// PostgreSQL goes on numbering where the rows end; SQLite does so by itself.
async fn number(transaction: &mut Connection, done: Option<Insert<'_>>) -> Result<(), StoreError> {
    let Some(insert) = done else { return Ok(()) };
    for column in insert.table.columns.iter().filter(|column| column.numbered) {
        let (table, name) = (quoted(&insert.table.name), quoted(&column.name));
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence($1, $2), coalesce(max({name}), 0) + 1, false) FROM {table}"
        );
        let query = query_of(sql).bind(&insert.table.name).bind(&column.name);
        query.fetch_optional(transaction).await?;
    }
    Ok(())
}

/// Names come from the database's own catalogue; quoting keeps words such as `only` what they are.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

struct Hashed<'a, W> {
    file: &'a mut W,
    hash: digest::Context,
}

impl<W: Write> Hashed<'_, W> {
    fn line(&mut self, value: &impl Serialize) -> Result<(), std::io::Error> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.hash.update(&line);
        self.file.write_all(&line)
    }
}

struct Lines<R> {
    file: BufReader<R>,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// The next line with its end; a line without end is no line of a whole file.
    fn next(&mut self) -> Result<Option<Vec<u8>>, RestoreError> {
        let mut line = Vec::new();
        self.number += 1;
        let read = self.file.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        match line.last() {
            _ if read == 0 => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            _ => Err(self.malformed()),
        }
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, line: &[u8]) -> Result<T, RestoreError> {
        serde_json::from_slice(line).map_err(|_| self.malformed())
    }

    fn malformed(&self) -> RestoreError {
        RestoreError::Malformed { line: self.number }
    }
}
