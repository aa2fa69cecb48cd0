//! What nodes noted in their journals, taken into the log.

use super::audit::Leaf;
use super::*;
use crate::journal::Noted;

impl SqlStore {
    /// Takes what was not taken before: also when an earlier answer was lost, each record once.
    pub(super) async fn take_noted(
        &self,
        journal: &[u8; 16],
        noted: &[Arc<Noted>],
    ) -> Result<(), StoreError> {
        let Some(last) = noted.last() else { return Ok(()) };
        let mut transaction = self.begin().await?;
        let taken = taken(&mut transaction, journal).await?;
        let size = signed(log::size(&mut transaction).await?);
        let new = noted.iter().filter(|noted| noted.number > taken).zip(size + 1..);
        let leaves: Vec<_> = new
            .map(|(noted, number)| Leaf { number, record: &noted.record, hash: noted.leaf })
            .collect();
        for some in leaves.chunks(audit::AT_ONCE) {
            audit::insert_leaves(&mut transaction, &self.integrity, some).await?;
        }
        query(
            "INSERT INTO journals (name, taken) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET taken = excluded.taken",
        )
        .bind(journal.to_vec())
        .bind(signed(last.number.max(taken)))
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    pub(super) async fn read_journal_taken(&self, journal: &[u8; 16]) -> Result<u64, StoreError> {
        taken(&mut self.reader().await?, journal).await
    }
}

async fn taken(connection: &mut Connection, journal: &[u8; 16]) -> Result<u64, StoreError> {
    let row = query("SELECT taken FROM journals WHERE name = $1")
        .bind(journal.to_vec())
        .fetch_optional(connection)
        .await?;
    let taken: i64 = row.map_or(Ok(0), |row| row.get(0))?;
    u64::try_from(taken).map_err(|_| StoreError::Corrupt { table: "journals" })
}
