//! Revocation: the target, everything under it, and the feed that other nodes follow.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

impl SqlStore {
    pub(super) async fn write_revocation(
        &self,
        target: &RevocationTarget,
        now: UnixTime,
        audit: &AuditEntry,
    ) -> Result<Option<Vec<Revocation>>, StoreError> {
        let mut transaction = self.begin().await?;
        let last = last_sequence(&mut transaction).await?;
        let found = revoke_target(&mut transaction, target, now).await?;
        // Also where there was nothing: that it was asked for stays on record.
        self.write_audit(&mut transaction, audit).await?;
        let revoked = revocations(&mut transaction, last).await?;
        transaction.commit().await?;
        Ok(found.then_some(revoked))
    }

    pub(super) async fn read_revocations(&self, after: i64) -> Result<Vec<Revocation>, StoreError> {
        let mut connection = self.reader().await?;
        revocations(&mut connection, after).await
    }
}

pub(super) async fn revoke_target(
    connection: &mut Connection,
    target: &RevocationTarget,
    now: UnixTime,
) -> Result<bool, StoreError> {
    match target {
        RevocationTarget::Token(id) => {
            let query = "UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
            if !mark(connection, query, now, id).await? {
                return Ok(false);
            }
            let index = leave_place(connection, id).await?;
            feed(connection, RevocationKind::Token, id, index, now).await?;
        }
        RevocationTarget::Session(id) => return end_session(connection, *id, now).await,
        RevocationTarget::Credential(id) => {
            let query =
                "UPDATE credentials SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
            if !mark(connection, query, now, id).await? {
                return Ok(false);
            }
            end_sessions_of_key(connection, id, now).await?;
        }
        RevocationTarget::Device(id) => return revoke_device(connection, id, now).await,
        RevocationTarget::Operator(name) => return revoke_operator(connection, name, now).await,
        RevocationTarget::Everything => end_all_sessions(connection, now).await?,
    }
    Ok(true)
}

/// Gives a token's session another place in the status lists, and returns the one that its tokens have
/// had: who knows the lists only must refuse this token, too. The session's next token has the new place.
async fn leave_place(
    connection: &mut Connection,
    token: &[u8; 16],
) -> Result<Option<i64>, StoreError> {
    let session = query(
        "SELECT sessions.id, sessions.status_index FROM sessions
         JOIN tokens ON tokens.session = sessions.id
         WHERE tokens.id = $1 AND sessions.ended_at IS NULL",
    )
    .bind(token.as_slice())
    .fetch_optional(connection)
    .await?;
    let Some(session) = session else { return Ok(None) };
    let (id, index): (Vec<u8>, i64) = (column(&session, "id")?, column(&session, "status_index")?);
    let next = query("UPDATE status_indices SET next = next + 1 RETURNING next")
        .fetch_one(connection)
        .await?;
    let next: i64 = next.get(0)?;
    query("UPDATE sessions SET status_index = $1 WHERE id = $2")
        .bind(next - 1)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(Some(index))
}

/// Ends every session. One entry of the feed says so for all: every place that was given away so far.
async fn end_all_sessions(connection: &mut Connection, now: UnixTime) -> Result<(), StoreError> {
    query("UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL")
        .bind(now.0)
        .execute(connection)
        .await?;
    let next = query("SELECT next FROM status_indices").fetch_one(connection).await?;
    let next: i64 = next.get(0)?;
    feed(connection, RevocationKind::All, &[], Some(next), now).await
}

/// Revokes a machine and ends its sessions; `false` when there is no such live machine.
pub(super) async fn revoke_device(
    connection: &mut Connection,
    id: &DeviceId,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let query = "UPDATE devices SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
    if !mark(connection, query, now, id.as_bytes()).await? {
        return Ok(false);
    }
    feed(connection, RevocationKind::Device, id.as_bytes(), None, now).await?;
    let query = "SELECT id FROM sessions WHERE device = $1 AND ended_at IS NULL";
    end_sessions(connection, query, id.as_bytes(), now).await?;
    // The keys in its TPM speak on no other machine.
    let query = "UPDATE credentials SET revoked_at = $1 WHERE device = $2 AND revoked_at IS NULL";
    mark(connection, query, now, id.as_bytes()).await?;
    Ok(true)
}

async fn revoke_operator(
    connection: &mut Connection,
    name: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let revoked =
        query("UPDATE operators SET revoked_at = $1 WHERE name = $2 AND revoked_at IS NULL")
            .bind(now.0)
            .bind(name)
            .execute(connection)
            .await?;
    if revoked == 0 {
        return Ok(false);
    }
    query("UPDATE credentials SET revoked_at = $1 WHERE subject = $2 AND revoked_at IS NULL")
        .bind(now.0)
        .bind(name)
        .execute(connection)
        .await?;
    let devices = query("SELECT id FROM devices WHERE operator = $1 AND revoked_at IS NULL")
        .bind(name)
        .fetch_all(connection)
        .await?;
    for row in devices {
        let id: Vec<u8> = column(&row, "id")?;
        let id = DeviceId::from_bytes(&id).ok_or(StoreError::Corrupt { table: "devices" })?;
        revoke_device(connection, &id, now).await?;
    }
    let sessions = query("SELECT id FROM sessions WHERE subject = $1 AND ended_at IS NULL")
        .bind(name)
        .fetch_all(connection)
        .await?;
    for row in sessions {
        end_session(connection, session_id(&row)?, now).await?;
    }
    Ok(true)
}

/// Ends the sessions whose presence was proved with a key.
pub(super) async fn end_sessions_of_key(
    connection: &mut Connection,
    credential: &[u8],
    now: UnixTime,
) -> Result<(), StoreError> {
    let query = "SELECT id FROM sessions WHERE credential = $1 AND ended_at IS NULL";
    end_sessions(connection, query, credential, now).await
}

async fn end_sessions(
    connection: &mut Connection,
    sql: &'static str,
    of: &[u8],
    now: UnixTime,
) -> Result<(), StoreError> {
    let rows = query(sql).bind(of).fetch_all(connection).await?;
    for row in rows {
        end_session(connection, session_id(&row)?, now).await?;
    }
    Ok(())
}

async fn end_session(
    connection: &mut Connection,
    id: SessionId,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let row = query(
        "UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL RETURNING status_index",
    )
    .bind(now.0)
    .bind(id.0.to_vec())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let index: i64 = column(&row, "status_index")?;
    feed(connection, RevocationKind::Session, &id.0, Some(index), now).await?;
    Ok(true)
}

async fn mark(
    connection: &mut Connection,
    sql: &'static str,
    now: UnixTime,
    id: &[u8],
) -> Result<bool, StoreError> {
    let marked = query(sql).bind(now.0).bind(id).execute(connection).await?;
    Ok(marked == 1)
}

async fn feed(
    connection: &mut Connection,
    kind: RevocationKind,
    target: &[u8],
    status_index: Option<i64>,
    now: UnixTime,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO revocations (kind, target, status_index, revoked_at, committed_ms)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(kind.as_str())
    .bind(target)
    .bind(status_index)
    .bind(now.0)
    .bind(milliseconds())
    .execute(connection)
    .await?;
    Ok(())
}

/// The system's clock, for measuring only.
fn milliseconds() -> Option<i64> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(elapsed.as_millis()).ok()
}

pub(super) async fn last_sequence(connection: &mut Connection) -> Result<i64, StoreError> {
    let row =
        query("SELECT coalesce(max(sequence), 0) FROM revocations").fetch_one(connection).await?;
    row.get(0)
}

pub(super) async fn revocations(
    connection: &mut Connection,
    after: i64,
) -> Result<Vec<Revocation>, StoreError> {
    let corrupt = || StoreError::Corrupt { table: "revocations" };
    let rows = query("SELECT sequence, kind, target, status_index, committed_ms FROM revocations WHERE sequence > $1 ORDER BY sequence")
        .bind(after)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let (kind, index): (String, Option<i64>) =
                (column(row, "kind")?, column(row, "status_index")?);
            Ok(Revocation {
                sequence: column(row, "sequence")?,
                kind: RevocationKind::from_name(&kind).ok_or_else(corrupt)?,
                target: column(row, "target")?,
                status_index: index.map(u64::try_from).transpose().map_err(|_| corrupt())?,
                committed_ms: column(row, "committed_ms")?,
            })
        })
        .collect()
}

pub(super) fn session_id(row: &Row) -> Result<SessionId, StoreError> {
    let id: Vec<u8> = column(row, "id")?;
    Ok(SessionId(id.try_into().map_err(|_| StoreError::Corrupt { table: "sessions" })?))
}
