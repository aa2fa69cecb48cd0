//! Tallies: one row for each caller who did something that is limited, until the window ends.

use std::time::Duration;

use super::*;
use crate::limits::Limited;

impl SqlStore {
    /// Writes a decision that changes nothing but its tallies.
    pub(super) async fn append_with_tallies(&self, audit: &AuditEntry) -> Result<(), CommitError> {
        let mut transaction = self.begin().await?;
        count(&mut transaction, audit).await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn read_limit_reached(
        &self,
        tallies: &[Tally],
        now: UnixTime,
    ) -> Result<Option<Limited>, StoreError> {
        let mut reader = self.reader().await?;
        for tally in tallies {
            let row = query("SELECT used, ends FROM tallies WHERE name = $1 AND ends > $2")
                .bind(tally.name())
                .bind(now.0)
                .fetch_optional(&mut reader)
                .await?;
            let Some(row) = row else { continue };
            if row.get::<i64>(0)? >= i64::from(tally.most) {
                return Ok(Some(limited(tally, row.get(1)?, now)));
            }
        }
        Ok(None)
    }
}

/// Counts what the decision counts for. Whoever is above the bound writes nothing.
pub(super) async fn count(
    connection: &mut Connection,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    let now = audit.at;
    for tally in &audit.tallies {
        let window = i64::try_from(tally.window.as_secs()).unwrap_or(i64::MAX);
        let row = query(
            "INSERT INTO tallies (name, ends, used) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET
             used = CASE WHEN tallies.ends <= $4 THEN excluded.used
                         ELSE tallies.used + excluded.used END,
             ends = CASE WHEN tallies.ends <= $4 THEN excluded.ends ELSE tallies.ends END
             RETURNING used, ends",
        )
        .bind(tally.name())
        .bind(now.0.saturating_add(window))
        .bind(i64::from(tally.counts))
        .bind(now.0)
        .fetch_one(connection)
        .await?;
        // One that does not count is stopped by as many as were allowed.
        let used: i64 = row.get(0)?;
        if used + i64::from(!tally.counts) > i64::from(tally.most) {
            return Err(limited(tally, row.get(1)?, now).into());
        }
    }
    Ok(())
}

fn limited(tally: &Tally, ends: i64, now: UnixTime) -> Limited {
    let seconds = u64::try_from(ends.saturating_sub(now.0)).unwrap_or(0).max(1);
    Limited { limit: tally.limit, retry_after: Duration::from_secs(seconds) }
}
