//! FIDO metadata, and the marks that it leaves on enrolled keys.

use signet_verifier::metadata::{AttestationKeyId, Metadata};

use super::*;

const CORRUPT: StoreError = StoreError::Corrupt { table: "metadata" };

impl SqlStore {
    pub(super) async fn write_metadata(
        &self,
        import: &StoredMetadata,
        audit: &AuditEntry,
    ) -> Result<Imported, ImportError> {
        let mut transaction = self.begin().await?;
        let last = revoke::last_sequence(&mut transaction).await?;
        let row = query("SELECT content, digest, imported_at, mac FROM metadata")
            .fetch_optional(&mut transaction)
            .await?;
        if let Some(current) = row.map(|row| self.metadata_row(&row)).transpose()? {
            import.metadata.may_follow(current.metadata.number())?;
        }
        self.replace_metadata(&mut transaction, import).await?;
        self.write_audit(&mut transaction, audit).await?;
        let marked = self.mark_keys(&mut transaction, import).await?;
        let revocations = revoke::revocations(&mut transaction, last).await?;
        transaction.commit().await?;
        Ok(Imported { marked, revocations })
    }

    async fn replace_metadata(
        &self,
        connection: &mut Connection,
        import: &StoredMetadata,
    ) -> Result<(), StoreError> {
        let content = serde_json::to_string(&import.metadata).map_err(|_| CORRUPT)?;
        let number = signed(import.metadata.number());
        let mac = self.integrity.mac("metadata", &parts(import, &content));
        query(
            "INSERT INTO metadata
             (\"only\", number, next_update, imported_at, digest, content, mac)
             VALUES (1, $1, $2, $3, $4, $5, $6) ON CONFLICT (\"only\") DO UPDATE SET
             number = excluded.number, next_update = excluded.next_update,
             imported_at = excluded.imported_at, digest = excluded.digest,
             content = excluded.content, mac = excluded.mac",
        )
        .bind(number)
        .bind(import.metadata.next_update().0)
        .bind(import.imported_at.0)
        .bind(import.digest.to_vec())
        .bind(&content)
        .bind(mac.to_vec())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Compares every live key with what is reported of its model.
    async fn mark_keys(
        &self,
        connection: &mut Connection,
        import: &StoredMetadata,
    ) -> Result<Vec<Marked>, StoreError> {
        let rows = query(
            "SELECT id, subject, aaguid, attestation_key, reported FROM credentials
             WHERE revoked_at IS NULL ORDER BY enrolled_at, id",
        )
        .fetch_all(connection)
        .await?;
        let mut marked = Vec::new();
        for row in rows {
            let before: Option<String> = column(&row, "reported")?;
            let reported = reported(&row, import)?;
            if before == reported {
                continue;
            }
            let mark = Marked {
                credential: column(&row, "id")?,
                subject: column(&row, "subject")?,
                reported,
            };
            self.mark_key(connection, &mark, before.as_deref(), import.imported_at).await?;
            marked.push(mark);
        }
        Ok(marked)
    }

    async fn mark_key(
        &self,
        connection: &mut Connection,
        mark: &Marked,
        before: Option<&str>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        query("UPDATE credentials SET reported = $1 WHERE id = $2")
            .bind(&mark.reported)
            .bind(&mark.credential)
            .execute(connection)
            .await?;
        let (decision, detail) = match &mark.reported {
            Some(status) => {
                // A key that is refused proves nothing, and so what it proved is over.
                revoke::end_sessions_of_key(connection, &mark.credential, now).await?;
                let code = signet_evidence::RejectionCode::AuthenticatorStatus;
                (Decision::Refused(code), format!("metadata reports {status} of its model"))
            }
            None => {
                let before = before.unwrap_or_default();
                (Decision::Allowed, format!("metadata no longer holds {before} against its model"))
            }
        };
        let mut entry = AuditEntry::new(now, Event::KeyStatus, decision);
        entry.subject = Some(mark.subject.clone());
        entry.credential = Some(mark.credential.clone());
        entry.detail = detail;
        self.write_audit(connection, &entry).await
    }

    pub(super) async fn read_metadata_digest(&self) -> Result<Option<Sha256>, StoreError> {
        let row =
            query("SELECT digest FROM metadata").fetch_optional(&mut self.reader().await?).await?;
        row.map(|row| digest(&row)).transpose()
    }

    pub(super) async fn read_metadata(&self) -> Result<Option<StoredMetadata>, StoreError> {
        let row = query("SELECT content, digest, imported_at, mac FROM metadata")
            .fetch_optional(&mut self.reader().await?)
            .await?;
        row.map(|row| self.metadata_row(&row)).transpose()
    }

    /// Whether the metadata that counts now stands against the model of this key.
    pub(super) async fn is_reported(
        &self,
        connection: &mut Connection,
        credential: &CredentialRow,
    ) -> Result<bool, StoreError> {
        let row = query("SELECT content, digest, imported_at, mac FROM metadata")
            .fetch_optional(connection)
            .await?;
        let stored = row.map(|row| self.metadata_row(&row)).transpose()?;
        let (aaguid, key) = (credential.aaguid, credential.attestation_key);
        Ok(stored.is_some_and(|stored| {
            stored.metadata.reported(aaguid, key, credential.enrolled_at).is_some()
        }))
    }

    fn metadata_row(&self, row: &Row) -> Result<StoredMetadata, StoreError> {
        let (content, mac): (String, Vec<u8>) = (column(row, "content")?, column(row, "mac")?);
        let metadata: Metadata = serde_json::from_str(&content).map_err(|_| CORRUPT)?;
        let stored = StoredMetadata {
            digest: digest(row)?,
            metadata,
            imported_at: UnixTime(column(row, "imported_at")?),
        };
        self.integrity.check("metadata", &parts(&stored, &content), &mac)?;
        Ok(stored)
    }
}

/// What the MAC of the metadata's row covers: number and date stand in the content.
fn parts<'a>(stored: &'a StoredMetadata, content: &'a str) -> [&'a [u8]; 2] {
    [&stored.digest, content.as_bytes()]
}

fn digest(row: &Row) -> Result<Sha256, StoreError> {
    let digest: Vec<u8> = column(row, "digest")?;
    digest.try_into().map_err(|_| CORRUPT)
}

fn reported(row: &Row, import: &StoredMetadata) -> Result<Option<String>, StoreError> {
    let corrupt = || StoreError::Corrupt { table: "credentials" };
    let aaguid: Vec<u8> = column(row, "aaguid")?;
    let aaguid = signet_evidence::webauthn::Aaguid(aaguid.try_into().map_err(|_| corrupt())?);
    let key: Option<Vec<u8>> = column(row, "attestation_key")?;
    let key = key.map(|key| key.try_into().map(AttestationKeyId)).transpose();
    let key = key.map_err(|_| corrupt())?;
    let status = import.metadata.reported(aaguid, key, import.imported_at);
    Ok(status.map(|status| status.as_str().to_owned()))
}
