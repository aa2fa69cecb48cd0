//! Tickets, machines and security keys.

use signet_evidence::RejectionCode;

use super::mint::{consume_challenge, require_live_device, store_clock, store_counter};
use super::*;

impl SqlStore {
    pub(super) async fn insert_ticket(
        &self,
        ticket: &NewTicket,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        add_operator(&mut transaction, &ticket.operator, ticket.created_at).await?;
        add_ticket_row(&mut transaction, ticket).await?;
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await
    }

    pub(super) async fn insert_device(
        &self,
        enrolment: &DeviceEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let device = &enrolment.device;
        let now = device.enrolled_at;
        let mut transaction = self.begin().await?;
        tallies::count(&mut transaction, audit).await?;
        let (digest, wanted) = (&enrolment.ticket, TicketKind::Device);
        let kind = use_ticket(&mut transaction, digest, wanted, &device.operator, now).await?;
        replace_device(&mut transaction, device, kind).await?;
        self.insert_device_row(&mut transaction, device).await?;
        let machine = used_for(&mut transaction, digest).await?;
        if machine.ek_digest.is_some_and(|expected| expected != device.ek_digest) {
            return Err(RejectionCode::TicketInvalid.into());
        }
        if let Some(group) = machine.group {
            self.put_groups(&mut transaction, &device.id, &[group].into()).await?;
        }
        query("INSERT INTO grants (device, operator, expires) VALUES ($1, $2, $3)")
            .bind(device.id.as_bytes())
            .bind(&device.operator)
            .bind(enrolment.grant_expires.0)
            .execute(&mut transaction)
            .await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    async fn insert_device_row(
        &self,
        connection: &mut Connection,
        device: &DeviceRow,
    ) -> Result<(), StoreError> {
        let pcrs = read::pcrs_text(&device.pcrs);
        let mac = self.integrity.mac("devices", &read::device_parts(device, &pcrs));
        query(
            "INSERT INTO devices (id, operator, asset, ek_digest, ek_proven, ak_name, ak,
             tls_key, pcrs, mac, clock_ms, reset_count, restart_count, clock_safe, enrolled_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
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
        .await?;
        Ok(())
    }

    pub(super) async fn write_renewal(
        &self,
        renewal: &DeviceRenewal,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let mut transaction = self.begin().await?;
        consume_challenge(&mut transaction, &renewal.challenge).await?;
        require_live_device(&mut transaction, &renewal.device).await?;
        store_clock(&mut transaction, &renewal.device, &renewal.clock).await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn insert_credential(
        &self,
        enrolment: &CredentialEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let credential = &enrolment.credential;
        let now = credential.enrolled_at;
        let mut transaction = self.begin().await?;
        tallies::count(&mut transaction, audit).await?;
        consume_challenge(&mut transaction, &enrolment.challenge).await?;
        require_live_device(&mut transaction, &enrolment.device).await?;
        store_clock(&mut transaction, &enrolment.device, &enrolment.clock).await?;
        match &enrolment.authorisation {
            Authorisation::Ticket(digest) => {
                let kind = TicketKind::Authenticator;
                let subject = &credential.subject;
                let kind = use_ticket(&mut transaction, digest, kind, subject, now).await?;
                if kind == TicketKind::Recovery {
                    revoke_keys(&mut transaction, subject, now).await?;
                }
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
            inserted => inserted?,
        }
        // Metadata may have come in since the evidence was judged.
        if self.is_reported(&mut transaction, credential).await? {
            return Err(RejectionCode::AuthenticatorStatus.into());
        }
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    async fn insert_credential_row(
        &self,
        connection: &mut Connection,
        credential: &CredentialRow,
    ) -> Result<(), StoreError> {
        let public_key = credential.public_key.to_bytes();
        let mac =
            self.integrity.mac("credentials", &read::credential_parts(credential, &public_key));
        let platform = credential.platform.as_ref();
        let fingers = platform.and_then(|key| read::fingers(&key.method));
        query(
            "INSERT INTO credentials (id, subject, name, public_key, aaguid, attestation, mac,
             sign_count, enrolled_at, touch_only, attestation_key, device, method, driver, fingers)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
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

/// Makes room for a machine whose TPM is enrolled: only a ticket that says so lets it take the place
/// of the earlier one, and only for the same operator.
async fn replace_device(
    connection: &mut Connection,
    device: &DeviceRow,
    kind: TicketKind,
) -> Result<(), CommitError> {
    let earlier =
        query("SELECT id, operator, revoked_at IS NULL AS live FROM devices WHERE ek_digest = $1")
            .bind(device.ek_digest.to_vec())
            .fetch_all(connection)
            .await?;
    let mut known = false;
    for row in &earlier {
        let same = column::<String>(row, "operator")? == device.operator;
        known |= same;
        if !column::<bool>(row, "live")? {
            continue;
        }
        if kind != TicketKind::Rebinding || !same {
            return Err(RejectionCode::DeviceEnrolled.into());
        }
        let id: Vec<u8> = column(row, "id")?;
        let id = DeviceId::from_bytes(&id).ok_or(StoreError::Corrupt { table: "devices" })?;
        revoke::revoke_device(connection, &id, device.enrolled_at).await?;
    }
    // Another TPM is another machine: nobody approved that.
    match kind == TicketKind::Rebinding && !known {
        true => Err(RejectionCode::TicketInvalid.into()),
        false => Ok(()),
    }
}

/// Revokes all keys of an operator who lost them, and the sessions that were proved with them.
async fn revoke_keys(
    connection: &mut Connection,
    subject: &str,
    now: UnixTime,
) -> Result<(), StoreError> {
    let rows = query("SELECT id FROM credentials WHERE subject = $1 AND revoked_at IS NULL")
        .bind(subject)
        .fetch_all(connection)
        .await?;
    for row in rows {
        let target = RevocationTarget::Credential(column(&row, "id")?);
        revoke::revoke_target(connection, &target, now).await?;
    }
    Ok(())
}

pub(super) async fn add_operator(
    connection: &mut Connection,
    name: &str,
    now: UnixTime,
) -> Result<(), StoreError> {
    query("INSERT INTO operators (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(now.0)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn add_ticket_row(
    connection: &mut Connection,
    ticket: &NewTicket,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO tickets (digest, kind, operator, asset, device_group, ek_digest, created_at,
         expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(ticket.digest.to_vec())
    .bind(ticket.kind.as_str())
    .bind(&ticket.operator)
    .bind(&ticket.asset)
    .bind(&ticket.machine.group)
    .bind(ticket.machine.ek_digest.map(|digest| digest.to_vec()))
    .bind(ticket.created_at.0)
    .bind(ticket.expires.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Uses up a ticket that opens `wanted`, a machine or a key, and says of which kind it was.
async fn use_ticket(
    connection: &mut Connection,
    digest: &Sha256,
    wanted: TicketKind,
    operator: &str,
    now: UnixTime,
) -> Result<TicketKind, CommitError> {
    let used = query(
        "UPDATE tickets SET used_at = $1 WHERE digest = $2 AND operator = $3
         AND used_at IS NULL AND created_at <= $1 AND expires > $1
         AND NOT EXISTS (SELECT 1 FROM operators WHERE name = $3 AND revoked_at IS NOT NULL)
         RETURNING kind",
    )
    .bind(now.0)
    .bind(digest.to_vec())
    .bind(operator)
    .fetch_optional(connection)
    .await?;
    let invalid = RejectionCode::TicketInvalid;
    let kind: String = column(&used.ok_or(invalid)?, "kind")?;
    let kind = TicketKind::from_name(&kind).ok_or(StoreError::Corrupt { table: "tickets" })?;
    // What was written so far is dropped with the transaction.
    if kind.opens() == wanted { Ok(kind) } else { Err(invalid.into()) }
}

/// What a ticket says of the machine that it was used for.
async fn used_for(
    connection: &mut Connection,
    digest: &Sha256,
) -> Result<TicketMachine, StoreError> {
    let row = query("SELECT device_group, ek_digest FROM tickets WHERE digest = $1")
        .bind(digest.to_vec())
        .fetch_one(connection)
        .await?;
    read::ticket_machine(&row)
}

async fn use_grant(
    connection: &mut Connection,
    device: &DeviceId,
    operator: &str,
    now: UnixTime,
) -> Result<(), CommitError> {
    let used = query(
        "UPDATE grants SET used_at = $1 WHERE device = $2 AND operator = $3 AND used_at IS NULL
         AND expires > $1
         AND NOT EXISTS (SELECT 1 FROM credentials WHERE subject = $3 AND revoked_at IS NULL)",
    )
    .bind(now.0)
    .bind(device.as_bytes())
    .bind(operator)
    .execute(connection)
    .await?;
    if used == 1 { Ok(()) } else { Err(RejectionCode::RegistrationNotAuthorised.into()) }
}
