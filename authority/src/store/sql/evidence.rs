//! Evidence by its hash: written with the record of the decision on it, forgotten by age and size.

use super::*;

/// Writes evidence that is to be kept, within the caller's transaction.
pub(super) async fn write(
    connection: &mut Connection,
    hash: &Sha256,
    kept: &KeptEvidence,
    at: i64,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO evidence (hash, at, bytes, peer, size) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(hash.to_vec())
    .bind(at)
    .bind(kept.bytes.clone())
    .bind(kept.peer.clone())
    .bind(i64::try_from(kept.bytes.len() + kept.peer.len()).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

impl SqlStore {
    pub(super) async fn read_evidence(
        &self,
        hash: &Sha256,
    ) -> Result<Option<KeptEvidence>, StoreError> {
        let row = query("SELECT bytes, peer FROM evidence WHERE hash = $1")
            .bind(hash.to_vec())
            .fetch_optional(&mut self.reader().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let kept = KeptEvidence { bytes: row.get("bytes")?, peer: row.get("peer")? };
        // Whoever writes to the database cannot put other evidence in its place.
        let genuine = sha256(&kept.bytes) == *hash;
        genuine.then_some(kept).ok_or(StoreError::Corrupt { table: "evidence" }).map(Some)
    }

    pub(super) async fn delete_evidence(
        &self,
        before: UnixTime,
        bytes: u64,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let old = query("DELETE FROM evidence WHERE at < $1");
        let old = old.bind(before.0).execute(&mut transaction).await?;
        let more = query(
            "DELETE FROM evidence WHERE hash IN (SELECT hash FROM (SELECT hash,
             sum(size) OVER (ORDER BY at DESC, hash) AS total FROM evidence) AS newest
             WHERE total > $1)",
        );
        let bound = i64::try_from(bytes).unwrap_or(i64::MAX);
        let more = more.bind(bound).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(old + more)
    }
}
