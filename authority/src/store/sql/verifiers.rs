//! Which verifiers are connected, and what each has in force.

use super::*;

/// Rows of verifiers that were not seen for this long are removed, in seconds.
const FORGOTTEN: i64 = 600;

impl SqlStore {
    pub(super) async fn write_verifiers(
        &self,
        verifiers: &[VerifierRow],
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for one in verifiers {
            let statement = match one.connected {
                true => {
                    "INSERT INTO verifiers
                     (gateway, instance, node, connected, position, applied_at, seen_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (gateway, instance) DO UPDATE SET node = excluded.node,
                     connected = excluded.connected, position = excluded.position,
                     applied_at = excluded.applied_at, seen_at = excluded.seen_at"
                }
                // It may be connected to another node by now.
                false => {
                    "UPDATE verifiers SET connected = $4, position = $5, applied_at = $6, seen_at = $7
                     WHERE gateway = $1 AND instance = $2 AND node = $3"
                }
            };
            query(statement)
                .bind(&one.gateway)
                .bind(one.instance.as_slice())
                .bind(&one.node)
                .bind(one.connected)
                .bind(one.position)
                .bind(one.applied_at)
                .bind(one.seen_at.0)
                .execute(&mut transaction)
                .await?;
        }
        let seen = verifiers.iter().map(|one| one.seen_at.0).max().unwrap_or_default();
        query("DELETE FROM verifiers WHERE seen_at < $1")
            .bind(seen.saturating_sub(FORGOTTEN))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await
    }

    pub(super) async fn read_verifiers(
        &self,
        since: UnixTime,
    ) -> Result<Vec<VerifierRow>, StoreError> {
        let corrupt = || StoreError::Corrupt { table: "verifiers" };
        let rows = query(
            "SELECT gateway, instance, node, connected, position, applied_at, seen_at FROM verifiers
             WHERE seen_at >= $1 ORDER BY gateway, instance",
        )
        .bind(since.0)
        .fetch_all(&mut self.reader().await?)
        .await?;
        rows.iter()
            .map(|row| {
                let instance: Vec<u8> = column(row, "instance")?;
                Ok(VerifierRow {
                    gateway: column(row, "gateway")?,
                    instance: instance.try_into().map_err(|_| corrupt())?,
                    node: column(row, "node")?,
                    connected: column(row, "connected")?,
                    position: column(row, "position")?,
                    applied_at: column(row, "applied_at")?,
                    seen_at: UnixTime(column(row, "seen_at")?),
                })
            })
            .collect()
    }
}
