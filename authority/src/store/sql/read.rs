//! Rows into types; a row that is not the authority's own is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signet_evidence::FingerFacts;
use signet_evidence::webauthn::{Aaguid, CoseKey};
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::metadata::AttestationKeyId;
use signet_verifier::records::{PlatformMethod, TpmClock};
use signet_verifier::token::PresenceRecord;
use signet_verifier::tpm::UserKeyMethod;
use signet_verifier::{AssuranceLevel, AttestationKind};

use super::*;

const DEVICE: &str =
    "SELECT id, operator, asset, ek_digest, ek_proven, ak_name, ak, tls_key, pcrs, mac,
    clock_ms, reset_count, restart_count, clock_safe, enrolled_at,
    devices.revoked_at IS NOT NULL OR operators.revoked_at IS NOT NULL AS revoked
    FROM devices JOIN operators ON operators.name = devices.operator WHERE id = $1";

/// Credentials where `$condition`.
macro_rules! credentials_where {
    ($condition:literal) => {
        query(concat!(
            "SELECT id, subject, credentials.name, public_key, aaguid, attestation, attestation_key,
             touch_only, reported, device, method, driver, fingers, sign_count, enrolled_at, last_used,
             mac, credentials.revoked_at IS NOT NULL OR operators.revoked_at IS NOT NULL AS revoked
             FROM credentials JOIN operators ON operators.name = credentials.subject WHERE ",
            $condition
        ))
    };
}

impl SqlStore {
    pub(super) async fn read_ticket(&self, digest: &Sha256) -> Result<Option<Ticket>, StoreError> {
        let row = query(
            "SELECT kind, operator, asset, tickets.created_at, expires, used_at, device_group, ek_digest,
             operators.revoked_at IS NOT NULL AS revoked
             FROM tickets JOIN operators ON operators.name = tickets.operator WHERE digest = $1",
        )
        .bind(digest.to_vec())
        .fetch_optional(&mut self.reader().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (kind, used): (String, Option<i64>) = (column(&row, "kind")?, column(&row, "used_at")?);
        let revoked: bool = column(&row, "revoked")?;
        Ok(Some(Ticket {
            kind: TicketKind::from_name(&kind).ok_or(StoreError::Corrupt { table: "tickets" })?,
            operator: column(&row, "operator")?,
            asset: column(&row, "asset")?,
            machine: ticket_machine(&row)?,
            created_at: UnixTime(column(&row, "created_at")?),
            expires: UnixTime(column(&row, "expires")?),
            used: used.is_some() || revoked,
        }))
    }

    pub(super) async fn read_grant(
        &self,
        device: &DeviceId,
        operator: &str,
        now: UnixTime,
    ) -> Result<Grant, StoreError> {
        let row = query(
            "SELECT 1 FROM grants WHERE device = $1 AND operator = $2 AND used_at IS NULL AND expires > $3
             AND NOT EXISTS (SELECT 1 FROM credentials WHERE subject = $2 AND revoked_at IS NULL)",
        )
        .bind(device.as_bytes())
        .bind(operator)
        .bind(now.0)
        .fetch_optional(&mut self.reader().await?)
        .await?;
        Ok(if row.is_some() { Grant::Open } else { Grant::Closed })
    }

    pub(super) async fn read_device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        let row =
            query(DEVICE).bind(id.as_bytes()).fetch_optional(&mut self.reader().await?).await?;
        row.map(|row| self.device_row(&row)).transpose()
    }

    fn device_row(&self, row: &Row) -> Result<DeviceRow, StoreError> {
        let corrupt = || StoreError::Corrupt { table: "devices" };
        let (id, ek): (Vec<u8>, Vec<u8>) = (column(row, "id")?, column(row, "ek_digest")?);
        let (pcrs, clock_ms): (String, i64) = (column(row, "pcrs")?, column(row, "clock_ms")?);
        let device = DeviceRow {
            id: DeviceId::from_bytes(&id).ok_or_else(corrupt)?,
            operator: column(row, "operator")?,
            asset: column(row, "asset")?,
            ek_digest: ek.try_into().map_err(|_| corrupt())?,
            ek_proven: column(row, "ek_proven")?,
            ak_name: column(row, "ak_name")?,
            ak: point(row, "ak")?,
            tls_key: point(row, "tls_key")?,
            pcrs: pcrs_of(&pcrs).ok_or_else(corrupt)?,
            clock: TpmClock {
                clock_ms: u64::try_from(clock_ms).map_err(|_| corrupt())?,
                reset_count: row.counter("reset_count")?,
                restart_count: row.counter("restart_count")?,
                safe: column(row, "clock_safe")?,
            },
            enrolled_at: UnixTime(column(row, "enrolled_at")?),
            revoked: column(row, "revoked")?,
        };
        let mac: Vec<u8> = column(row, "mac")?;
        self.integrity.check("devices", &device_parts(&device, &pcrs), &mac)?;
        Ok(device)
    }

    pub(super) async fn read_credential(
        &self,
        id: &[u8],
    ) -> Result<Option<CredentialRow>, StoreError> {
        let row = credentials_where!("id = $1")
            .bind(id)
            .fetch_optional(&mut self.reader().await?)
            .await?;
        row.map(|row| self.credential_row(&row)).transpose()
    }

    pub(super) async fn read_credentials_of(
        &self,
        subject: &str,
    ) -> Result<Vec<CredentialRow>, StoreError> {
        let rows = credentials_where!("subject = $1 ORDER BY enrolled_at, id")
            .bind(subject)
            .fetch_all(&mut self.reader().await?)
            .await?;
        rows.iter().map(|row| self.credential_row(row)).collect()
    }

    fn credential_row(&self, row: &Row) -> Result<CredentialRow, StoreError> {
        let corrupt = || StoreError::Corrupt { table: "credentials" };
        let (public_key, aaguid): (Vec<u8>, Vec<u8>) =
            (column(row, "public_key")?, column(row, "aaguid")?);
        let attestation: String = column(row, "attestation")?;
        let last_used: Option<i64> = column(row, "last_used")?;
        let attestation_key: Option<Vec<u8>> = column(row, "attestation_key")?;
        let credential = CredentialRow {
            id: column(row, "id")?,
            subject: column(row, "subject")?,
            name: column(row, "name")?,
            public_key: CoseKey::parse(&public_key).map_err(|_| corrupt())?,
            aaguid: Aaguid(aaguid.try_into().map_err(|_| corrupt())?),
            attestation: AttestationKind::from_name(&attestation).ok_or_else(corrupt)?,
            attestation_key: attestation_key
                .map(|key| key.try_into().map(AttestationKeyId))
                .transpose()
                .map_err(|_| corrupt())?,
            touch_only: column(row, "touch_only")?,
            reported: column(row, "reported")?,
            platform: platform_key(row)?,
            sign_count: row.counter("sign_count")?,
            enrolled_at: UnixTime(column(row, "enrolled_at")?),
            last_used: last_used.map(UnixTime),
            revoked: column(row, "revoked")?,
        };
        let mac: Vec<u8> = column(row, "mac")?;
        self.integrity.check("credentials", &credential_parts(&credential, &public_key), &mac)?;
        Ok(credential)
    }

    pub(super) async fn read_session(
        &self,
        id: SessionId,
    ) -> Result<Option<SessionRow>, StoreError> {
        let row = query(
            "SELECT kind, subject, device, credential, reset_count, scope, started_at, expires,
             last_token_at, presence, status_index, ended_at FROM sessions WHERE id = $1",
        )
        .bind(id.0.to_vec())
        .fetch_optional(&mut self.reader().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = || StoreError::Corrupt { table: "sessions" };
        let (device, presence): (Vec<u8>, Option<String>) =
            (column(&row, "device")?, column(&row, "presence")?);
        let (index, ended): (i64, Option<i64>) =
            (column(&row, "status_index")?, column(&row, "ended_at")?);
        let kind: String = column(&row, "kind")?;
        Ok(Some(SessionRow {
            id,
            kind: SessionKind::from_name(&kind).ok_or_else(corrupt)?,
            subject: column(&row, "subject")?,
            device: DeviceId::from_bytes(&device).ok_or_else(corrupt)?,
            credential: column(&row, "credential")?,
            reset_count: row.counter("reset_count")?,
            scope: column(&row, "scope")?,
            started_at: UnixTime(column(&row, "started_at")?),
            expires: UnixTime(column(&row, "expires")?),
            last_token_at: UnixTime(column(&row, "last_token_at")?),
            presence: match presence {
                None => None,
                Some(text) => Some(presence_of(&text).ok_or_else(corrupt)?),
            },
            status_index: u64::try_from(index).map_err(|_| corrupt())?,
            ended: ended.is_some(),
        }))
    }

    pub(super) async fn read_token(&self, id: &[u8; 16]) -> Result<Option<TokenRow>, StoreError> {
        let row = query(
            "SELECT session, action, issued_at, expires, redeemed_at, revoked_at
             FROM tokens WHERE id = $1",
        )
        .bind(id.to_vec())
        .fetch_optional(&mut self.reader().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = || StoreError::Corrupt { table: "tokens" };
        let (session, action): (Vec<u8>, Option<Vec<u8>>) =
            (column(&row, "session")?, column(&row, "action")?);
        let (redeemed, revoked): (Option<i64>, Option<i64>) =
            (column(&row, "redeemed_at")?, column(&row, "revoked_at")?);
        Ok(Some(TokenRow {
            id: *id,
            session: SessionId(session.try_into().map_err(|_| corrupt())?),
            action: action.map(TryInto::try_into).transpose().map_err(|_| corrupt())?,
            issued_at: UnixTime(column(&row, "issued_at")?),
            expires: UnixTime(column(&row, "expires")?),
            redeemed: redeemed.is_some(),
            revoked: revoked.is_some(),
        }))
    }

    /// One query, because it is asked for every request of every gateway.
    pub(super) async fn read_token_standing(
        &self,
        id: &[u8; 16],
    ) -> Result<Option<TokenStanding>, StoreError> {
        let row = query(
            "SELECT tokens.session, tokens.action, sessions.expires,
             tokens.redeemed_at IS NOT NULL AS redeemed,
             tokens.revoked_at IS NOT NULL OR (sessions.id IS NOT NULL AND
             (sessions.ended_at IS NOT NULL OR operators.name IS NULL
             OR devices.revoked_at IS NOT NULL OR operators.revoked_at IS NOT NULL)) AS revoked,
             (SELECT coalesce(max(sequence), 0) FROM revocations) AS revocations
             FROM tokens LEFT JOIN sessions ON sessions.id = tokens.session
             LEFT JOIN devices ON devices.id = sessions.device
             LEFT JOIN operators ON operators.name = devices.operator WHERE tokens.id = $1",
        )
        .bind(id.to_vec())
        .fetch_optional(&mut self.reader().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = || StoreError::Corrupt { table: "tokens" };
        let (session, action): (Vec<u8>, Option<Vec<u8>>) =
            (column(&row, "session")?, column(&row, "action")?);
        let expires: Option<i64> = column(&row, "expires")?;
        Ok(Some(TokenStanding {
            session: SessionId(session.try_into().map_err(|_| corrupt())?),
            session_expires: expires.map(UnixTime),
            action: action.map(TryInto::try_into).transpose().map_err(|_| corrupt())?,
            redeemed: column(&row, "redeemed")?,
            revoked: column(&row, "revoked")?,
            revocations: column(&row, "revocations")?,
        }))
    }
}

pub(super) fn ticket_machine(row: &Row) -> Result<TicketMachine, StoreError> {
    let ek_digest: Option<Vec<u8>> = column(row, "ek_digest")?;
    let ek_digest = ek_digest.map(TryInto::try_into).transpose();
    Ok(TicketMachine {
        group: column(row, "device_group")?,
        ek_digest: ek_digest.map_err(|_| StoreError::Corrupt { table: "tickets" })?,
    })
}

fn point(row: &Row, name: &'static str) -> Result<P256PublicKey, StoreError> {
    let bytes: Vec<u8> = column(row, name)?;
    P256PublicKey::from_uncompressed_point(&bytes)
        .map_err(|_| StoreError::Corrupt { table: "devices" })
}

/// What the MAC of a device's row covers: who it is, and nothing that changes.
pub(super) fn device_parts<'a>(device: &'a DeviceRow, pcrs: &'a str) -> [&'a [u8]; 9] {
    [
        device.id.as_bytes(),
        device.operator.as_bytes(),
        device.asset.as_deref().unwrap_or_default().as_bytes(),
        &device.ek_digest,
        if device.ek_proven { b"1" } else { b"0" },
        &device.ak_name,
        device.ak.uncompressed_point(),
        device.tls_key.uncompressed_point(),
        pcrs.as_bytes(),
    ]
}

/// What the MAC of a credential's row covers.
pub(super) fn credential_parts<'a>(
    credential: &'a CredentialRow,
    public_key: &'a [u8],
) -> Vec<&'a [u8]> {
    let mut parts: Vec<&[u8]> = vec![
        &credential.id,
        credential.subject.as_bytes(),
        credential.name.as_bytes(),
        public_key,
        &credential.aaguid.0,
        credential.attestation.as_str().as_bytes(),
    ];
    // Only where they say something: rows from before they were known keep their MAC.
    if credential.touch_only {
        parts.push(b"touch-only");
    }
    if let Some(key) = &credential.attestation_key {
        parts.push(&key.0);
    }
    if let Some(key) = &credential.platform {
        parts.extend([key.device.as_bytes(), key.method.kind().as_str().as_bytes()]);
        let fingers = fingers(&key.method).map(|facts| [facts.driver.as_bytes(), &facts.fingers]);
        parts.extend(fingers.into_iter().flatten());
    }
    parts
}

/// Reader and fingers of a fingerprint key.
pub(super) fn fingers(method: &PlatformMethod) -> Option<&FingerFacts> {
    match method {
        PlatformMethod::Pin => None,
        PlatformMethod::Fingerprint(facts) => Some(facts),
    }
}

fn platform_key(row: &Row) -> Result<Option<PlatformKeyRow>, StoreError> {
    let corrupt = || StoreError::Corrupt { table: "credentials" };
    let (device, method): (Option<Vec<u8>>, Option<String>) =
        (column(row, "device")?, column(row, "method")?);
    let (driver, fingers): (Option<String>, Option<Vec<u8>>) =
        (column(row, "driver")?, column(row, "fingers")?);
    let (Some(device), Some(method)) = (device, method) else { return Ok(None) };
    let method = match (UserKeyMethod::from_name(&method), driver, fingers) {
        (Some(UserKeyMethod::Pin), None, None) => PlatformMethod::Pin,
        (Some(UserKeyMethod::Fingerprint), Some(driver), Some(fingers)) => {
            let fingers = fingers.try_into().map_err(|_| corrupt())?;
            PlatformMethod::Fingerprint(FingerFacts { driver, fingers })
        }
        _ => return Err(corrupt()),
    };
    let device = DeviceId::from_bytes(&device).ok_or_else(corrupt)?;
    Ok(Some(PlatformKeyRow { device, method }))
}

/// PCR values as a JSON object of index to hex.
pub(super) fn pcrs_text(pcrs: &BTreeMap<u8, Vec<u8>>) -> String {
    let members: Vec<String> = pcrs
        .iter()
        .map(|(index, value)| {
            format!("\"{index}\":\"{}\"", signet_evidence::thumbprint::hex(value))
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

pub(super) fn pcrs_of(text: &str) -> Option<BTreeMap<u8, Vec<u8>>> {
    let members: BTreeMap<u8, String> = serde_json::from_str(text).ok()?;
    members.into_iter().map(|(index, hex)| Some((index, bytes_of_hex(&hex)?))).collect()
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// A presence as it stands in a session's row.
#[derive(Serialize, Deserialize)]
struct StoredPresence {
    proved_at: i64,
    expires: i64,
    level: String,
    methods: Vec<String>,
    verification: Option<(String, String)>,
    attestation: Option<String>,
}

pub(super) fn presence_text(presence: &PresenceRecord) -> String {
    let stored = StoredPresence {
        proved_at: presence.proved_at.0,
        expires: presence.expires.0,
        level: presence.level.as_str().into(),
        methods: presence.methods.clone(),
        verification: presence.verification.clone(),
        attestation: presence.attestation.clone(),
    };
    // Strings and numbers only: this cannot fail, and an empty text would be refused as corrupt.
    serde_json::to_string(&stored).unwrap_or_default()
}

fn presence_of(text: &str) -> Option<PresenceRecord> {
    let stored: StoredPresence = serde_json::from_str(text).ok()?;
    Some(PresenceRecord {
        proved_at: UnixTime(stored.proved_at),
        expires: UnixTime(stored.expires),
        level: AssuranceLevel::from_name(&stored.level)?,
        methods: stored.methods,
        verification: stored.verification,
        attestation: stored.attestation,
    })
}
