//! What the authority remembers: one trait, so that SQLite and PostgreSQL answer alike.
//!
//! Each method that changes something is one transaction together with its audit record: a challenge
//! is consumed, a token recorded and the decision written, or none of them.

pub mod approvals;
pub mod audit;
pub mod backup;
mod integrity;
pub mod log;
pub mod machines;
pub mod policies;
pub mod rows;
mod sql;
mod tallies;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use signet_evidence::binding::Sha256;
use signet_evidence::{DeviceId, RejectionCode, SessionId, UnixTime};
use signet_verifier::log::{Frontier, NoteKey};
use signet_verifier::metadata::Rollback;
use thiserror::Error;
use tokio::sync::watch;

use crate::journal::Noted;
use crate::limits::Limited;
use crate::metrics::StoreTimes;

pub use approvals::{
    Approved, NewTicketRequest, OpenedTicket, Quorum, TicketApproval, TicketDocument, TicketRequest,
};
pub use audit::{AuditEntry, AuditRecord, Decision, Event, KeptEvidence};
pub use backup::{BackupError, BackupHeader, RestoreError, RestoreTime, Restored};
pub use integrity::IntegrityKey;
pub use log::{AuditFilter, Cosignature, FoundRecord, Mark, SignedCheckpoint, TILE, WitnessRow};
pub use machines::{
    AcceptedBoot, BootRow, EkApproval, EkPin, ListedMachine, MachineRow, Minded, NewBoot,
};
pub use policies::{NewActivation, PolicyActivation, PolicySlot};
pub use rows::{
    Authorisation, CredentialEnrolment, CredentialRow, DeviceEnrolment, DeviceRenewal, DeviceRow,
    Imported, Marked, MintRecord, NewTicket, PlatformKeyRow, Revocation, RevocationKind,
    RevocationTarget, SessionChange, SessionKind, SessionRow, StoredMetadata, Ticket, TicketKind,
    TicketMachine, TokenRow, TokenStanding, VerifierRow,
};
pub use sql::{File, Location, OpenError, Server, ServerError, SqlStore, Unfit};
pub use tallies::Tally;

/// The store cannot do what it should; nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No room for the transaction.
    #[error("the disk of the database is full; make room, then try again")]
    Full,
    /// The database does not answer, or answers with an error.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A program of a later version changed what this one relies on.
    #[error("the database is of a later version; install that version of signet-authority")]
    Outdated,
    /// A row that the authority cannot have written.
    #[error("a row of table {table} was not written by this authority")]
    Corrupt {
        /// The table.
        table: &'static str,
    },
}

/// Metadata that was not taken.
#[derive(Debug, Error)]
pub enum ImportError {
    /// Older than what counts.
    #[error("older metadata than what counts now")]
    Rollback(#[from] Rollback),
    /// The store cannot.
    #[error("the store could not commit")]
    Store(#[from] StoreError),
}

/// A change that was not made.
#[derive(Debug, Error)]
pub enum CommitError {
    /// What was true when the request was judged no longer is, or was used up by another request.
    #[error("{0}")]
    Rejected(RejectionCode),
    /// The token's place in the status lists was revoked since it was chosen: choose another.
    #[error("the token's place in the status lists was revoked meanwhile")]
    PlaceRevoked,
    /// It was done too often.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The store cannot.
    #[error("the store could not commit")]
    Store(#[from] StoreError),
}

impl From<RejectionCode> for CommitError {
    fn from(code: RejectionCode) -> Self {
        Self::Rejected(code)
    }
}

/// The authority's memory.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes a decision that changes nothing else.
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// The same for a decision that looked at revocations up to number `revocations`
    /// ([`TokenStanding::revocations`]) and at nothing else that can change: whether something was revoked
    /// since is asked in the transaction that writes it.
    async fn append_as_of(
        &self,
        entry: &AuditEntry,
        revocations: i64,
    ) -> Result<Appended, StoreError>;

    /// Writes what a node noted in its journal, in the journal's order, each record once however often it is
    /// handed over.
    async fn take_journal(
        &self,
        journal: &[u8; 16],
        noted: &[Arc<Noted>],
    ) -> Result<(), StoreError>;

    /// The last number that was taken from that journal; zero where it is not known.
    async fn journal_taken(&self, journal: &[u8; 16]) -> Result<u64, StoreError>;

    /// The same as [`Self::append_audit`] for a decision with tallies.
    async fn append_counted(&self, entry: &AuditEntry) -> Result<(), CommitError>;

    /// Whether one of these was counted as often as it may. Only what is written holds against others
    /// who do it at the same time.
    async fn limit_reached(
        &self,
        tallies: &[Tally],
        now: UnixTime,
    ) -> Result<Option<Limited>, StoreError>;

    /// At most `limit` audit records with a sequence number above `after`, in order.
    async fn audit_after(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// Of those, the ones that are asked for.
    async fn audit_matching(
        &self,
        filter: &AuditFilter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// The same without a filter, whoever wrote them: for checking the log.
    async fn audit_found_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<FoundRecord>, StoreError>;

    /// Deletes the records below number `kept_from`, and returns how many; their hashes stay.
    async fn prune_audit(&self, kept_from: i64, audit: &AuditEntry) -> Result<u64, StoreError>;

    /// Leaves of the tree over the audit records.
    async fn log_size(&self) -> Result<u64, StoreError>;

    /// Hashes of that tree: at level 0 the leaves, at each further level the roots over [`TILE`]
    /// hashes of the level below. Those that are not there yet are left out.
    async fn log_hashes(&self, level: u8, numbers: Range<u64>) -> Result<Vec<Sha256>, StoreError>;

    /// The tree as this process wrote it, without asking the database: of one that [`Self::continue_tree`] told it,
    /// and what it committed since. `None` where others wrote too.
    fn written_tree(&self) -> Option<Frontier>;

    /// Tells it a tree whose records were read and found to be the authority's.
    fn continue_tree(&self, tree: Frontier);

    /// Keeps a checkpoint; one of that size that is there already stays.
    async fn add_checkpoint(&self, checkpoint: &SignedCheckpoint) -> Result<(), StoreError>;

    /// The checkpoint of the largest tree.
    async fn newest_checkpoint(&self) -> Result<Option<SignedCheckpoint>, StoreError>;

    /// At most `limit` checkpoints of more than `size` records, in order.
    async fn checkpoints_after(
        &self,
        size: u64,
        limit: u32,
    ) -> Result<Vec<SignedCheckpoint>, StoreError>;

    /// The cosignatures under the checkpoint of `size` records.
    async fn cosignatures(&self, size: u64) -> Result<Vec<Cosignature>, StoreError>;

    /// Keeps a cosignature under a checkpoint that is there.
    async fn add_cosignature(&self, cosignature: &Cosignature) -> Result<(), StoreError>;

    /// All witnesses.
    async fn witnesses(&self) -> Result<Vec<WitnessRow>, StoreError>;

    /// Remembers a witness's key; an earlier key of that name counts no more.
    async fn pin_witness(&self, key: &NoteKey, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Adds a ticket and, where there is none, its operator.
    async fn add_ticket(&self, ticket: &NewTicket, audit: &AuditEntry) -> Result<(), StoreError>;

    /// The ticket with this digest, used or not.
    async fn ticket(&self, digest: &Sha256) -> Result<Option<Ticket>, StoreError>;

    /// Adds a request for a ticket.
    async fn request_ticket(
        &self,
        request: &NewTicketRequest,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// The request for the ticket with this digest.
    async fn ticket_request(&self, id: &Sha256) -> Result<Option<TicketRequest>, StoreError>;

    /// Requests made since then, oldest first; at most 1000.
    async fn ticket_requests(&self, since: UnixTime) -> Result<Vec<TicketRequest>, StoreError>;

    /// Consumes the challenge, moves clock and counter on, and records the approval; with the last
    /// one that is due the ticket comes into being.
    async fn approve_ticket(
        &self,
        approval: &TicketApproval,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Uses up the ticket and adds the device with its grant. A live device with the same
    /// endorsement key is revoked where the ticket re-binds it, and in the way otherwise.
    async fn enrol_device(
        &self,
        device: &DeviceEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Consumes the challenge of a machine that gets new certificates, and moves its clock on.
    async fn renew_device(
        &self,
        renewal: &DeviceRenewal,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Consumes the challenge and the authorisation, and adds the credential.
    async fn enrol_credential(
        &self,
        credential: &CredentialEnrolment,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// The device with this id.
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError>;

    /// What is known of a machine beyond its enrolment.
    async fn machine(&self, id: &DeviceId) -> Result<MachineRow, StoreError>;

    /// All machines, revoked ones among them, in the order of their enrolment.
    async fn machines(&self) -> Result<Vec<ListedMachine>, StoreError>;

    /// The event log with this digest, while a machine's state refers to it.
    async fn event_log(&self, digest: &Sha256) -> Result<Option<Vec<u8>>, StoreError>;

    /// Records a state that a machine did not show before.
    async fn note_boot(&self, new: &NewBoot, audit: &AuditEntry) -> Result<(), StoreError>;

    /// Puts a machine into exactly these groups.
    async fn set_groups(
        &self,
        device: &DeviceId,
        groups: &BTreeSet<String>,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Accepts a state of a machine.
    async fn accept_boot(
        &self,
        device: &DeviceId,
        accepted: &AcceptedBoot,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Endorsement keys without a certificate, in the order in which they were seen.
    async fn ek_pins(&self) -> Result<Vec<EkPin>, StoreError>;

    /// The endorsement key with this digest, where it was seen without a certificate.
    async fn ek_pin(&self, digest: &Sha256) -> Result<Option<EkPin>, StoreError>;

    /// Records what is known of an endorsement key without a certificate.
    async fn pin_ek(&self, pin: &EkPin, audit: &AuditEntry) -> Result<(), StoreError>;

    /// The credential with this id.
    async fn credential(&self, id: &[u8]) -> Result<Option<CredentialRow>, StoreError>;

    /// All credentials of an operator, oldest first.
    async fn credentials_of(&self, subject: &str) -> Result<Vec<CredentialRow>, StoreError>;

    /// Whether a challenge with this random part was answered.
    async fn challenge_was_consumed(&self, random: &[u8; 16]) -> Result<bool, StoreError>;

    /// Whether `device` may still register the first key of `operator`.
    async fn grant_is_open(
        &self,
        device: &DeviceId,
        operator: &str,
        now: UnixTime,
    ) -> Result<Grant, StoreError>;

    /// The session with this id.
    async fn session(&self, id: SessionId) -> Result<Option<SessionRow>, StoreError>;

    /// The token with this id, while it is remembered.
    async fn token(&self, id: &[u8; 16]) -> Result<Option<TokenRow>, StoreError>;

    /// Whether the token with this id still counts, while it is remembered.
    async fn token_standing(&self, id: &[u8; 16]) -> Result<Option<TokenStanding>, StoreError>;

    /// Consumes the challenge, moves clock and counter on, starts or continues the session and
    /// records the token; with [`CommitError::PlaceRevoked`] none of it.
    async fn mint(&self, record: &MintRecord, audit: &AuditEntry) -> Result<(), CommitError>;

    /// Uses up a single-use token.
    async fn redeem(
        &self,
        id: &[u8; 16],
        now: UnixTime,
        audit: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Revokes the target and everything under it; `None` when there was nothing left to revoke.
    async fn revoke(
        &self,
        target: &RevocationTarget,
        now: UnixTime,
        audit: &AuditEntry,
    ) -> Result<Option<Vec<Revocation>>, StoreError>;

    /// Revocations with a sequence number above `after`, in order.
    async fn revocations_after(&self, after: i64) -> Result<Vec<Revocation>, StoreError>;

    /// Records which verifiers are connected, and what each has in force. Decides nothing, so there is
    /// no audit record.
    async fn note_verifiers(&self, verifiers: &[VerifierRow]) -> Result<(), StoreError>;

    /// Verifiers that were seen since then, by gateway and instance.
    async fn verifiers(&self, since: UnixTime) -> Result<Vec<VerifierRow>, StoreError>;

    /// Takes new metadata, and marks the enrolled keys of models that something stands against: what
    /// was proved with them ends. A mark is lifted when nothing stands against the model any more.
    /// Writes `audit`, and a record for each mark and each lift.
    async fn import_metadata(
        &self,
        import: &StoredMetadata,
        audit: &AuditEntry,
    ) -> Result<Imported, ImportError>;

    /// The digest of the metadata that counts: whether a node has to read it anew.
    async fn metadata_digest(&self) -> Result<Option<Sha256>, StoreError>;

    /// The metadata that counts.
    async fn metadata(&self) -> Result<Option<StoredMetadata>, StoreError>;

    /// Puts a set of action policies into force, or into shadow, and returns the activation's number;
    /// `None`, with nothing changed, when another came between.
    async fn activate_policy(
        &self,
        new: &NewActivation<'_>,
        audit: &AuditEntry,
    ) -> Result<Option<i64>, StoreError>;

    /// Number of the newest activation, zero when there is none: whether a node has to read anew.
    async fn policy_position(&self) -> Result<i64, StoreError>;

    /// Activations, newest first.
    async fn policy_history(&self) -> Result<Vec<PolicyActivation>, StoreError>;

    /// The texts of a set that was activated: a JSON object of file names and contents.
    async fn policy_set(&self, version: &Sha256) -> Result<Option<String>, StoreError>;

    /// Places in the status lists that nobody else gets.
    async fn reserve_status_indices(&self, count: u32) -> Result<Range<u64>, StoreError>;

    /// Sessions that can still be renewed.
    async fn live_sessions(&self, now: UnixTime) -> Result<u64, StoreError>;

    /// Forgets challenges and tokens that have run out. Audit records stay.
    /// Returns how many tokens that were.
    async fn forget_expired(&self, now: UnixTime) -> Result<u64, StoreError>;

    /// How long reads and writes take.
    fn times(&self) -> StoreTimes;

    /// The evidence with this SHA-256, if it was kept and is not forgotten.
    async fn evidence(&self, hash: &Sha256) -> Result<Option<KeptEvidence>, StoreError>;

    /// Forgets evidence from before `before`, and the oldest of what is more than `bytes` in all; returns
    /// how many pieces went. Records keep its hash.
    async fn forget_evidence(&self, before: UnixTime, bytes: u64) -> Result<u64, StoreError>;

    /// Answers when reads work.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether the last write came through. After one that did not, something else has to be written
    /// before it says so again.
    fn takes_writes(&self) -> bool;

    /// Changes when another node or process may have written what this one should know: then read
    /// what is new ([`Self::revocations_after`] and the like). It changes without reason sometimes,
    /// and a lost connection can hold news back: read every second or so besides.
    fn news(&self) -> watch::Receiver<u64>;
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on the disk.
    Written,
    /// Something was revoked meanwhile: nothing was written, decide again.
    Overtaken,
}

/// Whether a first key may be registered without another key's assent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Yes.
    Open,
    /// There is none, or it was used or ran out.
    Closed,
}
