//! The store in one SQLite file: write-ahead log, one writer at a time, synchronous commits.

mod approvals;
mod audit;
mod enrol;
mod machines;
mod metadata;
mod mint;
mod pins;
mod policies;
mod read;
mod revoke;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use signet_evidence::binding::Sha256;
use signet_evidence::{DeviceId, SessionId, UnixTime};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use super::*;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long a writer waits for another process, such as `signet-authority revoke`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// [`Store`] in a SQLite file.
pub struct SqliteStore {
    readers: SqlitePool,
    // One connection, so that writers of this process queue here and not in SQLite's busy loop.
    writer: Mutex<SqliteConnection>,
    options: SqliteConnectOptions,
    size_limit: AtomicU64,
    audit_queue: audit::Queue,
    integrity: IntegrityKey,
}

/// The database cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// `init` would overwrite it.
    #[error("{} exists already; choose another directory", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is none.
    #[error("{} does not exist; make it with `signet-authority init`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// SQLite does not open it.
    #[error("cannot open the database {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables are of another version.
    #[error("cannot bring the database {} to this version", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
}

impl SqliteStore {
    /// Makes a new database at `path`.
    ///
    /// # Errors
    /// See [`OpenError`]; an existing file is never touched.
    pub async fn create(path: &Path, integrity: IntegrityKey) -> Result<Self, OpenError> {
        if path.exists() {
            return Err(OpenError::Exists { path: path.to_owned() });
        }
        Self::connect(path, options(path).create_if_missing(true), integrity).await
    }

    /// Opens the database at `path` and brings its tables to this version.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(path: &Path, integrity: IntegrityKey) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        Self::connect(path, options(path), integrity).await
    }

    /// Bounds the file to `bytes`, so that it never fills a disk that others need. At the bound,
    /// what would grow it fails with [`StoreError::Full`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn limit_size(&self, bytes: u64) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        self.size_limit.store(bytes, Ordering::Relaxed);
        apply_size_limit(&mut writer, bytes).await
    }

    /// The writing connection, in no transaction.
    ///
    /// When SQLite itself rolls a transaction back (a full disk), sqlx believes that it is still
    /// open, and the connection is of no use any more: another takes its place.
    async fn writer(&self) -> Result<MutexGuard<'_, SqliteConnection>, StoreError> {
        use sqlx::{ConnectOptions, Connection};
        let mut writer = self.writer.lock().await;
        if writer.is_in_transaction() {
            // A transaction that was just dropped may still be on its way out.
            writer.ping().await.map_err(unavailable)?;
        }
        if writer.is_in_transaction() {
            *writer = self.options.connect().await.map_err(unavailable)?;
            let limit = self.size_limit.load(Ordering::Relaxed);
            if limit != u64::MAX {
                apply_size_limit(&mut writer, limit).await?;
            }
        }
        Ok(writer)
    }

    /// Closes the file, so that it is whole without its write-ahead log.
    pub async fn close(self) {
        use sqlx::Connection;
        self.readers.close().await;
        // A log that stays is replayed at the next start.
        let _ = self.writer.into_inner().close().await;
    }

    async fn connect(
        path: &Path,
        options: SqliteConnectOptions,
        integrity: IntegrityKey,
    ) -> Result<Self, OpenError> {
        use sqlx::ConnectOptions;
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        let mut writer = options.connect().await.map_err(unusable)?;
        MIGRATIONS
            .run(&mut writer)
            .await
            .map_err(|source| OpenError::Migration { path: path.to_owned(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options.clone().create_if_missing(false))
            .await
            .map_err(unusable)?;
        let options = options.create_if_missing(false);
        let size_limit = AtomicU64::new(u64::MAX);
        Ok(Self {
            readers,
            writer: Mutex::new(writer),
            options,
            size_limit,
            audit_queue: audit::Queue::default(),
            integrity,
        })
    }
}

async fn apply_size_limit(connection: &mut SqliteConnection, bytes: u64) -> Result<(), StoreError> {
    let row =
        sqlx::query("PRAGMA page_size").fetch_one(&mut *connection).await.map_err(unavailable)?;
    let page: i64 = row.try_get(0).map_err(unavailable)?;
    // Zero would mean "as before"; SQLite never goes below what the file has.
    let pages = (bytes / u64::try_from(page).unwrap_or(4096).max(1)).max(1);
    // A pragma takes no parameters; a number is no injection.
    let pragma = format!("PRAGMA max_page_count = {pages}");
    let query = sqlx::query(sqlx::AssertSqlSafe(pragma));
    query.execute(connection).await.map_err(unavailable).map(|_| ())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// A write transaction that holds SQLite's write lock from its start, so that what it reads stays
/// true until it commits. Dropped without commit, it changes nothing.
async fn begin(writer: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, StoreError> {
    use sqlx::Connection;
    writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)
}

async fn commit(transaction: Transaction<'_, Sqlite>) -> Result<(), StoreError> {
    transaction.commit().await.map_err(unavailable)
}

/// `SQLITE_FULL` is the one failure that a person can mend at once, so it has a variant of its own.
fn unavailable(error: sqlx::Error) -> StoreError {
    const SQLITE_FULL: &str = "13";
    match &error {
        sqlx::Error::Database(cause) if cause.code().as_deref() == Some(SQLITE_FULL) => {
            StoreError::Full
        }
        _ => StoreError::Unavailable(error),
    }
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|cause| cause.is_unique_violation())
}

/// SQLite's integers are signed; counters that exceed them do not occur, and saturate.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[async_trait]
impl Store for SqliteStore {
    async fn append_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.append_with_others(entry).await
    }

    async fn audit_after(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.read_audit(after, limit).await
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
        let row = sqlx::query("SELECT 1 FROM consumed_challenges WHERE random = ?")
            .bind(random.to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
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
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let row = sqlx::query("UPDATE status_indices SET next = next + ? RETURNING next")
            .bind(i64::from(count))
            .fetch_one(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let next: i64 = row.try_get(0).map_err(unavailable)?;
        commit(transaction).await?;
        let end =
            u64::try_from(next).map_err(|_| StoreError::Corrupt { table: "status_indices" })?;
        Ok(end.saturating_sub(u64::from(count))..end)
    }

    async fn live_sessions(&self, now: UnixTime) -> Result<u64, StoreError> {
        let row =
            sqlx::query("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND expires > ?")
                .bind(now.0)
                .fetch_one(&self.readers)
                .await
                .map_err(unavailable)?;
        let count: i64 = row.try_get(0).map_err(unavailable)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn forget_expired(&self, now: UnixTime) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        // A gateway accepts a token for some seconds after its end; remember it longer than that.
        for statement in [
            "DELETE FROM consumed_challenges WHERE expires + 60 < ?",
            "DELETE FROM tokens WHERE expires + 60 < ?",
        ] {
            sqlx::query(statement)
                .bind(now.0)
                .execute(&mut *transaction)
                .await
                .map_err(unavailable)?;
        }
        commit(transaction).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map_err(unavailable).map(|_| ())
    }
}
