//! The transaction that turns evidence into a token (protocol §2.4, step 13).
//!
//! What was read before the evidence was judged is checked again here, under the write lock: of two
//! requests that race, one finds the world changed.

use signet_evidence::RejectionCode;
use signet_verifier::challenge::FreshChallenge;
use signet_verifier::records::TpmClock;

use super::*;

impl SqlStore {
    pub(super) async fn write_mint(
        &self,
        record: &MintRecord,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let now = record.token.issued_at;
        let mut transaction = self.begin().await?;
        tallies::count(&mut transaction, audit).await?;
        consume_challenge(&mut transaction, &record.challenge).await?;
        require_live_device(&mut transaction, &record.device).await?;
        store_clock(&mut transaction, &record.device, &record.clock).await?;
        if let Some((credential, count)) = &record.credential {
            store_counter(&mut transaction, credential, *count, now).await?;
        }
        change_session(&mut transaction, &record.session, now).await?;
        let token = &record.token;
        query(
            "INSERT INTO tokens (id, session, action, issued_at, expires) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(token.id.to_vec())
        .bind(token.session.0.to_vec())
        .bind(token.action.map(|action| action.to_vec()))
        .bind(now.0)
        .bind(token.expires.0)
        .execute(&mut transaction)
        .await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn write_redemption(
        &self,
        id: &[u8; 16],
        now: UnixTime,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let mut transaction = self.begin().await?;
        let redeemed = query(
            "UPDATE tokens SET redeemed_at = $1 WHERE id = $2 AND action IS NOT NULL
             AND redeemed_at IS NULL AND revoked_at IS NULL
             AND EXISTS (SELECT 1 FROM sessions WHERE sessions.id = tokens.session
                         AND ended_at IS NULL AND expires > $1)",
        )
        .bind(now.0)
        .bind(id.to_vec())
        .execute(&mut transaction)
        .await?;
        if redeemed != 1 {
            let row = query("SELECT redeemed_at IS NOT NULL FROM tokens WHERE id = $1")
                .bind(id.to_vec())
                .fetch_optional(&mut transaction)
                .await?;
            let redeemed = row.map(|row| row.get::<bool>(0)).transpose();
            return Err(match redeemed? {
                Some(true) => RejectionCode::TokenRedeemed.into(),
                Some(false) | None => RejectionCode::TokenRevoked.into(),
            });
        }
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }
}

pub(super) async fn consume_challenge(
    connection: &mut Connection,
    challenge: &FreshChallenge,
) -> Result<(), CommitError> {
    let inserted = query(
        "INSERT INTO consumed_challenges (random, expires) SELECT $1, $2
         WHERE NOT EXISTS (SELECT 1 FROM restorations WHERE refuse_until >= $2)",
    )
    .bind(challenge.random().to_vec())
    .bind(challenge.expires().0)
    .execute(connection)
    .await;
    match inserted {
        Ok(1) => Ok(()),
        // It may have been answered after the backup that was restored.
        Ok(_) => Err(RejectionCode::ChallengeReplayed.into()),
        Err(error) if is_unique_violation(&error) => Err(RejectionCode::ChallengeReplayed.into()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn require_live_device(
    connection: &mut Connection,
    device: &DeviceId,
) -> Result<(), CommitError> {
    let live = query(
        "SELECT 1 FROM devices JOIN operators ON operators.name = devices.operator
         WHERE devices.id = $1 AND devices.revoked_at IS NULL AND operators.revoked_at IS NULL",
    )
    .bind(device.as_bytes())
    .fetch_optional(connection)
    .await?;
    live.map(|_| ()).ok_or_else(|| RejectionCode::DeviceRevoked.into())
}

/// Moves the device's clock on. A quote that lost a race against a later one of the same boot
/// changes nothing; one of an earlier boot is refused.
pub(super) async fn store_clock(
    connection: &mut Connection,
    device: &DeviceId,
    clock: &TpmClock,
) -> Result<(), CommitError> {
    let row = query("SELECT reset_count, clock_ms FROM devices WHERE id = $1")
        .bind(device.as_bytes())
        .fetch_one(connection)
        .await?;
    let reset_count = row.counter(0)?;
    let clock_ms: i64 = row.get(1)?;
    if reset_count > clock.reset_count {
        return Err(RejectionCode::TpmClockRegressed.into());
    }
    if reset_count == clock.reset_count && clock_ms > signed(clock.clock_ms) {
        return Ok(());
    }
    query(
        "UPDATE devices SET clock_ms = $1, reset_count = $2, restart_count = $3, clock_safe = $4 WHERE id = $5",
    )
    .bind(signed(clock.clock_ms))
    .bind(clock.reset_count)
    .bind(clock.restart_count)
    .bind(clock.safe)
    .bind(device.as_bytes())
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves a key's counter on (WebAuthn §7.2 step 22): it grows, or stays zero for keys without one.
pub(super) async fn store_counter(
    connection: &mut Connection,
    credential: &[u8],
    count: u32,
    now: UnixTime,
) -> Result<(), CommitError> {
    let row = query(
        "SELECT sign_count, credentials.revoked_at IS NOT NULL OR operators.revoked_at IS NOT NULL,
         credentials.reported IS NOT NULL
         FROM credentials JOIN operators ON operators.name = credentials.subject
         WHERE credentials.id = $1",
    )
    .bind(credential)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Err(RejectionCode::CredentialUnknown.into()) };
    if row.get::<bool>(1)? {
        return Err(RejectionCode::CredentialRevoked.into());
    }
    if row.get::<bool>(2)? {
        return Err(RejectionCode::AuthenticatorStatus.into());
    }
    let stored = row.counter(0)?;
    if count <= stored && (count, stored) != (0, 0) {
        return Err(RejectionCode::CounterRegressed.into());
    }
    query("UPDATE credentials SET sign_count = $1, last_used = $2 WHERE id = $3")
        .bind(count)
        .bind(now.0)
        .bind(credential)
        .execute(connection)
        .await?;
    Ok(())
}

async fn change_session(
    connection: &mut Connection,
    change: &SessionChange,
    now: UnixTime,
) -> Result<(), CommitError> {
    let query = match change {
        SessionChange::Start(session) => query(
            "INSERT INTO sessions (id, kind, subject, device, credential, reset_count, scope, started_at,
             expires, last_token_at, presence, status_index)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(session.id.0.to_vec())
        .bind(session.kind.as_str())
        .bind(&session.subject)
        .bind(session.device.as_bytes())
        .bind(&session.credential)
        .bind(session.reset_count)
        .bind(&session.scope)
        .bind(session.started_at.0)
        .bind(session.expires.0)
        .bind(session.last_token_at.0)
        .bind(session.presence.as_ref().map(read::presence_text))
        .bind(signed(session.status_index)),
        SessionChange::Refresh { id, credential, presence, scope, .. } => query(
            "UPDATE sessions SET last_token_at = $1, scope = $2, credential = $3, presence = $4
             WHERE id = $5 AND kind = 'person' AND ended_at IS NULL AND expires > $1",
        )
        .bind(now.0)
        .bind(scope)
        .bind(credential)
        .bind(read::presence_text(presence))
        .bind(id.0.to_vec()),
        SessionChange::Renew { id, scope, .. } => query(
            "UPDATE sessions SET last_token_at = $1, scope = $2
             WHERE id = $3 AND kind = 'person' AND ended_at IS NULL AND expires > $1",
        )
        .bind(now.0)
        .bind(scope)
        .bind(id.0.to_vec()),
    };
    let changed = query.execute(connection).await?;
    if changed != 1 {
        return Err(RejectionCode::SessionEnded.into());
    }
    let stands = match change {
        SessionChange::Start(session) => is_after_all(connection, session.status_index).await?,
        SessionChange::Refresh { id, place, .. } | SessionChange::Renew { id, place, .. } => {
            is_place_of(connection, *id, *place).await?
        }
    };
    if stands { Ok(()) } else { Err(CommitError::PlaceRevoked) }
}

/// Whether nothing that revoked everything revoked this place too. It may have been chosen before, by a node
/// that had not heard yet.
async fn is_after_all(connection: &mut Connection, place: u64) -> Result<bool, StoreError> {
    let revoked =
        query("SELECT 1 FROM revocations WHERE kind = 'all' AND status_index > $1 LIMIT 1")
            .bind(signed(place))
            .fetch_optional(connection)
            .await?;
    Ok(revoked.is_none())
}

/// Whether the session still has this place. It gets another one when one of its tokens is revoked.
async fn is_place_of(
    connection: &mut Connection,
    session: SessionId,
    place: u64,
) -> Result<bool, StoreError> {
    let row = query("SELECT 1 FROM sessions WHERE id = $1 AND status_index = $2")
        .bind(session.0.to_vec())
        .bind(signed(place))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}
