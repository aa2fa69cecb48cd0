//! Tickets, machines and security keys.

use signet_evidence::RejectionCode;
use sqlx::sqlite::SqliteConnection;

use super::mint::{consume_challenge, require_live_device, store_clock, store_counter};
use super::*;

impl SqliteStore {
    pub(super) async fn insert_ticket(
        &self,
        ticket: &NewTicket,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        sqlx::query(
            "INSERT INTO operators (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&ticket.operator)
        .bind(ticket.created_at.0)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        sqlx::query(
            "INSERT INTO tickets (digest, kind, operator, asset, created_at, expires)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(ticket.digest.to_vec())
        .bind(ticket.kind.as_str())
        .bind(&ticket.operator)
        .bind(&ticket.asset)
        .bind(ticket.created_at.0)
        .bind(ticket.expires.0)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        self.write_audit(&mut transaction, audit).await?;
        commit(transaction).await
    }

    pub(super) async fn insert_device(
        &self,
        enrolment: &DeviceEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let device = &enrolment.device;
        let now = device.enrolled_at;
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        use_ticket(&mut transaction, &enrolment.ticket, TicketKind::Device, &device.operator, now)
            .await?;
        // The same TPM again: an administrator's ticket allowed it, and only the new row speaks.
        let earlier =
            sqlx::query("SELECT id FROM devices WHERE ek_digest = ? AND revoked_at IS NULL")
                .bind(device.ek_digest.to_vec())
                .fetch_all(&mut *transaction)
                .await
                .map_err(unavailable)?;
        for row in earlier {
            let id: Vec<u8> = row.try_get(0).map_err(unavailable)?;
            let id = DeviceId::from_bytes(&id).ok_or(StoreError::Corrupt { table: "devices" })?;
            revoke::revoke_device(&mut transaction, &id, now).await?;
        }
        self.insert_device_row(&mut transaction, device).await?;
        sqlx::query("INSERT INTO grants (device, operator, expires) VALUES (?, ?, ?)")
            .bind(device.id.as_bytes())
            .bind(&device.operator)
            .bind(enrolment.grant_expires.0)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(commit(transaction).await?)
    }

    async fn insert_device_row(
        &self,
        connection: &mut SqliteConnection,
        device: &DeviceRow,
    ) -> Result<(), StoreError> {
        let pcrs = read::pcrs_text(&device.pcrs);
        let mac = self.integrity.mac("devices", &read::device_parts(device, &pcrs));
        sqlx::query(
            "INSERT INTO devices (id, operator, asset, ek_digest, ek_proven, ak_name, ak,
             tls_key, pcrs, mac, clock_ms, reset_count, restart_count, clock_safe, enrolled_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(device.id.as_bytes())
        .bind(&device.operator)
        .bind(&device.asset)
        .bind(device.ek_digest.to_vec())
        .bind(device.ek_proven)
        .bind(&device.ak_name)
        .bind(device.ak.uncompressed_point().to_vec())
        .bind(device.tls_key.uncompressed_point().to_vec())
        .bind(&pcrs)
        .bind(mac.to_vec())
        .bind(signed(device.clock.clock_ms))
        .bind(device.clock.reset_count)
        .bind(device.clock.restart_count)
        .bind(device.clock.safe)
        .bind(device.enrolled_at.0)
        .execute(connection)
        .await
        .map_err(unavailable)?;
        Ok(())
    }

    pub(super) async fn write_renewal(
        &self,
        renewal: &DeviceRenewal,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        consume_challenge(&mut transaction, &renewal.challenge).await?;
        require_live_device(&mut transaction, &renewal.device).await?;
        store_clock(&mut transaction, &renewal.device, &renewal.clock).await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(commit(transaction).await?)
    }

    pub(super) async fn insert_credential(
        &self,
        enrolment: &CredentialEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let credential = &enrolment.credential;
        let now = credential.enrolled_at;
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        consume_challenge(&mut transaction, &enrolment.challenge).await?;
        require_live_device(&mut transaction, &enrolment.device).await?;
        store_clock(&mut transaction, &enrolment.device, &enrolment.clock).await?;
        match &enrolment.authorisation {
            Authorisation::Ticket(digest) => {
                let kind = TicketKind::Authenticator;
                use_ticket(&mut transaction, digest, kind, &credential.subject, now).await?;
            }
            Authorisation::Grant => {
                use_grant(&mut transaction, &enrolment.device, &credential.subject, now).await?;
            }
            Authorisation::Credential { id, sign_count } => {
                store_counter(&mut transaction, id, *sign_count, now).await?;
            }
        }
        let inserted = self.insert_credential_row(&mut transaction, credential).await;
        match inserted {
            Err(error) if is_unique_violation(&error) => {
                return Err(RejectionCode::CredentialDuplicate.into());
            }
            inserted => inserted.map_err(unavailable)?,
        }
        // Metadata may have come in since the evidence was judged.
        if self.is_reported(&mut transaction, credential).await? {
            return Err(RejectionCode::AuthenticatorStatus.into());
        }
        self.write_audit(&mut transaction, audit).await?;
        Ok(commit(transaction).await?)
    }

    async fn insert_credential_row(
        &self,
        connection: &mut SqliteConnection,
        credential: &CredentialRow,
    ) -> Result<(), sqlx::Error> {
        let public_key = credential.public_key.to_bytes();
        let mac =
            self.integrity.mac("credentials", &read::credential_parts(credential, &public_key));
        let platform = credential.platform.as_ref();
        let fingers = platform.and_then(|key| read::fingers(&key.method));
        sqlx::query(
            "INSERT INTO credentials (id, subject, name, public_key, aaguid, attestation, mac,
             sign_count, enrolled_at, touch_only, attestation_key, device, method, driver, fingers)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&credential.id)
        .bind(&credential.subject)
        .bind(&credential.name)
        .bind(&public_key)
        .bind(credential.aaguid.0.to_vec())
        .bind(credential.attestation.as_str())
        .bind(mac.to_vec())
        .bind(credential.sign_count)
        .bind(credential.enrolled_at.0)
        .bind(credential.touch_only)
        .bind(credential.attestation_key.map(|key| key.0.to_vec()))
        .bind(platform.map(|key| key.device.as_bytes().to_vec()))
        .bind(platform.map(|key| key.method.kind().as_str()))
        .bind(fingers.map(|facts| facts.driver.clone()))
        .bind(fingers.map(|facts| facts.fingers.to_vec()))
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn use_ticket(
    connection: &mut SqliteConnection,
    digest: &Sha256,
    kind: TicketKind,
    operator: &str,
    now: UnixTime,
) -> Result<(), CommitError> {
    let used = sqlx::query(
        "UPDATE tickets SET used_at = ?1 WHERE digest = ?2 AND kind = ?3 AND operator = ?4
         AND used_at IS NULL AND expires > ?1
         AND NOT EXISTS (SELECT 1 FROM operators WHERE name = ?4 AND revoked_at IS NOT NULL)",
    )
    .bind(now.0)
    .bind(digest.to_vec())
    .bind(kind.as_str())
    .bind(operator)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    if used.rows_affected() == 1 { Ok(()) } else { Err(RejectionCode::TicketInvalid.into()) }
}

async fn use_grant(
    connection: &mut SqliteConnection,
    device: &DeviceId,
    operator: &str,
    now: UnixTime,
) -> Result<(), CommitError> {
    let used = sqlx::query(
        "UPDATE grants SET used_at = ?1 WHERE device = ?2 AND operator = ?3 AND used_at IS NULL
         AND expires > ?1
         AND NOT EXISTS (SELECT 1 FROM credentials WHERE subject = ?3 AND revoked_at IS NULL)",
    )
    .bind(now.0)
    .bind(device.as_bytes())
    .bind(operator)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    if used.rows_affected() == 1 {
        Ok(())
    } else {
        Err(RejectionCode::RegistrationNotAuthorised.into())
    }
}
