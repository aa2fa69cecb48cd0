//! The tree over the audit records, and what was signed of it.

use signet_verifier::log::{Frontier, NoteKey};

use super::*;
use crate::store::log::TILE;

const WITNESSES: &str = "witnesses";
const HASHES: &str = "log_hashes";

/// Whether leaf `number` is the last of its tile.
pub(super) fn fills_tile(number: u64) -> bool {
    (number + 1).is_multiple_of(TILE)
}

/// Adds the hash of each tile whose last hash comes of leaf `number`.
pub(super) async fn fill_tiles(
    connection: &mut Connection,
    mut number: u64,
) -> Result<(), StoreError> {
    for level in 0.. {
        if !fills_tile(number) {
            break;
        }
        let tile = read_hashes(connection, level, number + 1 - TILE..number + 1).await?;
        if tile.len() as u64 != TILE {
            return Err(StoreError::Corrupt { table: HASHES });
        }
        number /= TILE;
        let root = Frontier::of(&tile).root();
        let insert = query_of(insert_hashes(0, 1));
        bind_hash(insert, level + 1, number, &root).execute(connection).await?;
    }
    Ok(())
}

/// The statement for so many hashes, each with [`bind_hash`], after `taken` other values.
pub(super) fn insert_hashes(taken: usize, hashes: usize) -> String {
    let places = places::<3>(taken, hashes);
    format!("INSERT INTO log_hashes (level, number, hash) VALUES {places}")
}

pub(super) fn bind_hash(insert: Query, level: u8, number: u64, hash: &Sha256) -> Query {
    insert.bind(i64::from(level)).bind(signed(number)).bind(hash.as_slice())
}

/// How many leaves there are: the number of the last record.
pub(super) async fn size(connection: &mut Connection) -> Result<u64, StoreError> {
    let row = query("SELECT coalesce(max(number) + 1, 0) FROM log_hashes WHERE level = 0")
        .fetch_one(connection)
        .await?;
    let size: i64 = row.get(0)?;
    u64::try_from(size).map_err(|_| StoreError::Corrupt { table: HASHES })
}

pub(super) async fn read_hashes(
    connection: &mut Connection,
    level: u8,
    numbers: Range<u64>,
) -> Result<Vec<Sha256>, StoreError> {
    let rows = query(
        "SELECT hash FROM log_hashes WHERE level = $1 AND number >= $2 AND number < $3
         ORDER BY number",
    )
    .bind(i64::from(level))
    .bind(signed(numbers.start))
    .bind(signed(numbers.end))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| digest(row, HASHES)).collect()
}

fn digest(row: &Row, table: &'static str) -> Result<Sha256, StoreError> {
    let bytes: Vec<u8> = row.get(0)?;
    bytes.try_into().map_err(|_| StoreError::Corrupt { table })
}

impl SqlStore {
    pub(super) async fn read_log_hashes(
        &self,
        level: u8,
        numbers: Range<u64>,
    ) -> Result<Vec<Sha256>, StoreError> {
        read_hashes(&mut self.reader().await?, level, numbers).await
    }

    pub(super) async fn read_log_size(&self) -> Result<u64, StoreError> {
        size(&mut self.reader().await?).await
    }

    pub(super) async fn write_checkpoint(
        &self,
        checkpoint: &SignedCheckpoint,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        // Another node may have signed the same tree.
        query(
            "INSERT INTO checkpoints (size, at, note) VALUES ($1, $2, $3)
             ON CONFLICT (size) DO NOTHING",
        )
        .bind(signed(checkpoint.size))
        .bind(checkpoint.at.0)
        .bind(&checkpoint.note)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    pub(super) async fn read_newest_checkpoint(
        &self,
    ) -> Result<Option<SignedCheckpoint>, StoreError> {
        let row = query("SELECT size, at, note FROM checkpoints ORDER BY size DESC LIMIT 1")
            .fetch_optional(&mut self.reader().await?)
            .await?;
        row.as_ref().map(checkpoint).transpose()
    }

    pub(super) async fn read_checkpoints(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<SignedCheckpoint>, StoreError> {
        let rows =
            query("SELECT size, at, note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT $2")
                .bind(signed(after))
                .bind(limit)
                .fetch_all(&mut self.reader().await?)
                .await?;
        rows.iter().map(checkpoint).collect()
    }

    pub(super) async fn read_cosignatures(
        &self,
        size: u64,
    ) -> Result<Vec<Cosignature>, StoreError> {
        let rows = query(
            "SELECT size, witness, at, line FROM cosignatures WHERE size = $1 ORDER BY witness",
        )
        .bind(signed(size))
        .fetch_all(&mut self.reader().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let at = UnixTime(row.get("at")?);
                let (witness, line) = (row.get("witness")?, row.get("line")?);
                Ok(Cosignature { size: size_of(row)?, witness, at, line })
            })
            .collect()
    }

    pub(super) async fn write_cosignature(
        &self,
        cosignature: &Cosignature,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        query(
            "INSERT INTO cosignatures (size, witness, at, line) VALUES ($1, $2, $3, $4)
             ON CONFLICT (size, witness) DO UPDATE SET at = excluded.at, line = excluded.line",
        )
        .bind(signed(cosignature.size))
        .bind(&cosignature.witness)
        .bind(cosignature.at.0)
        .bind(&cosignature.line)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    pub(super) async fn read_witnesses(&self) -> Result<Vec<WitnessRow>, StoreError> {
        let rows = query("SELECT name, key, mac FROM witnesses ORDER BY name")
            .fetch_all(&mut self.reader().await?)
            .await?;
        rows.iter()
            .map(|row| {
                let (name, key): (String, String) = (row.get("name")?, row.get("key")?);
                let mac: Vec<u8> = row.get("mac")?;
                self.integrity.check(WITNESSES, &[name.as_bytes(), key.as_bytes()], &mac)?;
                let key: NoteKey =
                    key.parse().map_err(|_| StoreError::Corrupt { table: WITNESSES })?;
                Ok(WitnessRow { key })
            })
            .collect()
    }

    pub(super) async fn write_witness(
        &self,
        key: &NoteKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let (name, text) = (key.name(), key.to_string());
        let mac = self.integrity.mac(WITNESSES, &[name.as_bytes(), text.as_bytes()]);
        let mut transaction = self.begin().await?;
        query(
            "INSERT INTO witnesses (name, key, mac) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET key = excluded.key, mac = excluded.mac",
        )
        .bind(name)
        .bind(&text)
        .bind(mac.as_slice())
        .execute(&mut transaction)
        .await?;
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await
    }

    /// Records below `kept_from` go; their hashes stay, and so do the last checkpoint and its
    /// cosignatures below it.
    pub(super) async fn delete_records(
        &self,
        kept_from: i64,
        audit: &AuditEntry,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        query("UPDATE audit_retention SET kept_from = $1 WHERE kept_from < $1")
            .bind(kept_from)
            .execute(&mut transaction)
            .await?;
        let gone = query("DELETE FROM audit WHERE sequence < $1")
            .bind(kept_from)
            .execute(&mut transaction)
            .await?;
        for table in [
            "DELETE FROM cosignatures WHERE size <
             (SELECT coalesce(max(size), 0) FROM checkpoints WHERE size < $1)",
            "DELETE FROM checkpoints WHERE size <
             (SELECT coalesce(max(size), 0) FROM checkpoints WHERE size < $1)",
        ] {
            query(table).bind(kept_from).execute(&mut transaction).await?;
        }
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await?;
        Ok(gone)
    }
}

fn checkpoint(row: &Row) -> Result<SignedCheckpoint, StoreError> {
    let at = UnixTime(row.get("at")?);
    Ok(SignedCheckpoint { size: size_of(row)?, at, note: row.get("note")? })
}

fn size_of(row: &Row) -> Result<u64, StoreError> {
    let size: i64 = row.get("size")?;
    u64::try_from(size).map_err(|_| StoreError::Corrupt { table: "checkpoints" })
}
