//! [`Store`], method by method: what is behind each stands in the file of its subject.

use async_trait::async_trait;

use super::*;
use crate::journal::Noted;
use crate::limits::Limited;
use crate::metrics::StoreTimes;

#[async_trait]
impl Store for SqlStore {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.group_commit.append(entry, None).await.map(|_| ())
    }

    async fn append_as_of(
        &self,
        entry: &AuditEntry,
        revocations: i64,
    ) -> Result<Appended, StoreError> {
        self.group_commit.append(entry, Some(revocations)).await
    }

    async fn take_journal(
        &self,
        journal: &[u8; 16],
        noted: &[Arc<Noted>],
    ) -> Result<(), StoreError> {
        self.take_noted(journal, noted).await
    }

    async fn journal_taken(&self, journal: &[u8; 16]) -> Result<u64, StoreError> {
        self.read_journal_taken(journal).await
    }

    async fn append_counted(&self, entry: &AuditEntry) -> Result<(), CommitError> {
        self.append_with_tallies(entry).await
    }

    async fn limit_reached(
        &self,
        tallies: &[Tally],
        now: UnixTime,
    ) -> Result<Option<Limited>, StoreError> {
        self.read_limit_reached(tallies, now).await
    }

    async fn audit_after(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.read_audit(&AuditFilter::default(), after, limit).await
    }

    async fn audit_matching(
        &self,
        filter: &AuditFilter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.read_audit(filter, after, limit).await
    }

    async fn audit_found_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<FoundRecord>, StoreError> {
        self.find_audit(&AuditFilter::default(), after, limit).await
    }

    async fn prune_audit(&self, kept_from: i64, audit: &AuditEntry) -> Result<u64, StoreError> {
        self.delete_records(kept_from, audit).await
    }

    async fn log_size(&self) -> Result<u64, StoreError> {
        self.read_log_size().await
    }

    async fn log_hashes(&self, level: u8, numbers: Range<u64>) -> Result<Vec<Sha256>, StoreError> {
        self.read_log_hashes(level, numbers).await
    }

    fn written_tree(&self) -> Option<Frontier> {
        self.writers.written_tree()
    }

    fn continue_tree(&self, tree: Frontier) {
        self.writers.continue_tree(tree);
    }

    async fn add_checkpoint(&self, checkpoint: &SignedCheckpoint) -> Result<(), StoreError> {
        self.write_checkpoint(checkpoint).await
    }

    async fn newest_checkpoint(&self) -> Result<Option<SignedCheckpoint>, StoreError> {
        self.read_newest_checkpoint().await
    }

    async fn checkpoints_after(
        &self,
        size: u64,
        limit: u32,
    ) -> Result<Vec<SignedCheckpoint>, StoreError> {
        self.read_checkpoints(size, limit).await
    }

    async fn cosignatures(&self, size: u64) -> Result<Vec<Cosignature>, StoreError> {
        self.read_cosignatures(size).await
    }

    async fn add_cosignature(&self, cosignature: &Cosignature) -> Result<(), StoreError> {
        self.write_cosignature(cosignature).await
    }

    async fn witnesses(&self) -> Result<Vec<WitnessRow>, StoreError> {
        self.read_witnesses().await
    }

    async fn pin_witness(&self, key: &NoteKey, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_witness(key, audit).await
    }

    async fn add_ticket(&self, ticket: &NewTicket, audit: &AuditEntry) -> Result<(), StoreError> {
        self.insert_ticket(ticket, audit).await
    }

    async fn ticket(&self, digest: &Sha256) -> Result<Option<Ticket>, StoreError> {
        self.read_ticket(digest).await
    }

    async fn request_ticket(
        &self,
        request: &NewTicketRequest,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.insert_request(request, audit).await
    }

    async fn ticket_request(&self, id: &Sha256) -> Result<Option<TicketRequest>, StoreError> {
        self.read_request(id).await
    }

    async fn ticket_requests(&self, since: UnixTime) -> Result<Vec<TicketRequest>, StoreError> {
        self.read_requests(since).await
    }

    async fn approve_ticket(
        &self,
        approval: &TicketApproval,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.write_approval(approval, audit).await
    }

    async fn enrol_device(
        &self,
        device: &DeviceEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.insert_device(device, audit).await
    }

    async fn renew_device(
        &self,
        renewal: &DeviceRenewal,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.write_renewal(renewal, audit).await
    }

    async fn enrol_credential(
        &self,
        credential: &CredentialEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.insert_credential(credential, audit).await
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        self.read_device(id).await
    }

    async fn machine(&self, id: &DeviceId) -> Result<MachineRow, StoreError> {
        self.read_machine(id).await
    }

    async fn machines(&self) -> Result<Vec<ListedMachine>, StoreError> {
        self.read_machines().await
    }

    async fn event_log(&self, digest: &Sha256) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_event_log(digest).await
    }

    async fn note_boot(&self, new: &NewBoot, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_boot(new, audit).await
    }

    async fn set_groups(
        &self,
        device: &DeviceId,
        groups: &BTreeSet<String>,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.write_groups(device, groups, audit).await
    }

    async fn accept_boot(
        &self,
        device: &DeviceId,
        accepted: &AcceptedBoot,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.write_acceptance(device, accepted, audit).await
    }

    async fn ek_pins(&self) -> Result<Vec<EkPin>, StoreError> {
        self.read_pins().await
    }

    async fn ek_pin(&self, digest: &Sha256) -> Result<Option<EkPin>, StoreError> {
        self.read_pin(digest).await
    }

    async fn pin_ek(&self, pin: &EkPin, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_pin(pin, audit).await
    }

    async fn credential(&self, id: &[u8]) -> Result<Option<CredentialRow>, StoreError> {
        self.read_credential(id).await
    }

    async fn credentials_of(&self, subject: &str) -> Result<Vec<CredentialRow>, StoreError> {
        self.read_credentials_of(subject).await
    }

    async fn challenge_was_consumed(&self, random: &[u8; 16]) -> Result<bool, StoreError> {
        let row = query("SELECT 1 FROM consumed_challenges WHERE random = $1")
            .bind(random.to_vec())
            .fetch_optional(&mut self.reader().await?)
            .await?;
        Ok(row.is_some())
    }

    async fn grant_is_open(
        &self,
        device: &DeviceId,
        operator: &str,
        now: UnixTime,
    ) -> Result<Grant, StoreError> {
        self.read_grant(device, operator, now).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRow>, StoreError> {
        self.read_session(id).await
    }

    async fn token(&self, id: &[u8; 16]) -> Result<Option<TokenRow>, StoreError> {
        self.read_token(id).await
    }

    async fn token_standing(&self, id: &[u8; 16]) -> Result<Option<TokenStanding>, StoreError> {
        self.read_token_standing(id).await
    }

    async fn mint(&self, record: &MintRecord, audit: &AuditEntry) -> Result<(), CommitError> {
        self.write_mint(record, audit).await
    }

    async fn redeem(
        &self,
        id: &[u8; 16],
        now: UnixTime,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.write_redemption(id, now, audit).await
    }

    async fn revoke(
        &self,
        target: &RevocationTarget,
        now: UnixTime,
        audit: &AuditEntry,
    ) -> Result<Option<Vec<Revocation>>, StoreError> {
        self.write_revocation(target, now, audit).await
    }

    async fn revocations_after(&self, after: i64) -> Result<Vec<Revocation>, StoreError> {
        self.read_revocations(after).await
    }

    async fn import_metadata(
        &self,
        import: &StoredMetadata,
        audit: &AuditEntry,
    ) -> Result<Imported, ImportError> {
        self.write_metadata(import, audit).await
    }

    async fn metadata_digest(&self) -> Result<Option<Sha256>, StoreError> {
        self.read_metadata_digest().await
    }

    async fn metadata(&self) -> Result<Option<StoredMetadata>, StoreError> {
        self.read_metadata().await
    }

    async fn activate_policy(
        &self,
        new: &NewActivation<'_>,
        audit: &AuditEntry,
    ) -> Result<Option<i64>, StoreError> {
        self.write_activation(new, audit).await
    }

    async fn policy_position(&self) -> Result<i64, StoreError> {
        self.read_position().await
    }

    async fn policy_history(&self) -> Result<Vec<PolicyActivation>, StoreError> {
        self.read_activations().await
    }

    async fn policy_set(&self, version: &Sha256) -> Result<Option<String>, StoreError> {
        self.read_policy_set(version).await
    }

    async fn reserve_status_indices(&self, count: u32) -> Result<Range<u64>, StoreError> {
        let mut transaction = self.begin().await?;
        let row = query("UPDATE status_indices SET next = next + $1 RETURNING next")
            .bind(count)
            .fetch_one(&mut transaction)
            .await?;
        let next: i64 = row.get(0)?;
        transaction.commit().await?;
        let end =
            u64::try_from(next).map_err(|_| StoreError::Corrupt { table: "status_indices" })?;
        Ok(end.saturating_sub(u64::from(count))..end)
    }

    async fn note_verifiers(&self, verifiers: &[VerifierRow]) -> Result<(), StoreError> {
        self.write_verifiers(verifiers).await
    }

    async fn verifiers(&self, since: UnixTime) -> Result<Vec<VerifierRow>, StoreError> {
        self.read_verifiers(since).await
    }

    async fn live_sessions(&self, now: UnixTime) -> Result<u64, StoreError> {
        let row = query("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND expires > $1")
            .bind(now.0)
            .fetch_one(&mut self.reader().await?)
            .await?;
        let count: i64 = row.get(0)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn forget_expired(&self, now: UnixTime) -> Result<u64, StoreError> {
        // Each minute, whether this version may still decide.
        self.ping().await?;
        let mut transaction = self.begin().await?;
        // A gateway accepts a token for some seconds after its end; remember it longer than that.
        for statement in [
            "DELETE FROM consumed_challenges WHERE expires + 60 < $1",
            "DELETE FROM tallies WHERE ends < $1",
        ] {
            query(statement).bind(now.0).execute(&mut transaction).await?;
        }
        let tokens = query("DELETE FROM tokens WHERE expires + 60 < $1")
            .bind(now.0)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(tokens)
    }

    fn times(&self) -> StoreTimes {
        self.times.clone()
    }

    async fn evidence(&self, hash: &Sha256) -> Result<Option<KeptEvidence>, StoreError> {
        self.read_evidence(hash).await
    }

    async fn forget_evidence(&self, before: UnixTime, bytes: u64) -> Result<u64, StoreError> {
        self.delete_evidence(before, bytes).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut reader = self.reader().await?;
        let row = query("SELECT oldest FROM compatibility").fetch_one(&mut reader).await?;
        let outdated = row.get::<i64>(0)? > newest();
        self.writers.refuse_to_write(outdated);
        if outdated { Err(StoreError::Outdated) } else { Ok(()) }
    }

    fn takes_writes(&self) -> bool {
        self.writers.works()
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe(self.readers.location())
    }
}
