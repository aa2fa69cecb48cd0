//! What is SQLite's own: one file, write-ahead log, one writer at a time, synchronous commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Row};

use super::database::Raw;

/// Later ones than these may have been made by a program of a later version.
pub(super) static MIGRATIONS: sqlx::migrate::Migrator = {
    let mut migrations = sqlx::migrate!("./migrations/sqlite");
    migrations.ignore_missing = true;
    migrations
};

/// Holds the write lock from the start, so that what is read stays true.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// From its first read on.
pub(super) const SNAPSHOT: &str = "BEGIN";

/// How long a writer waits for another process, such as `signet-authority revoke`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQLite file. Clones share the bound of its size.
#[derive(Clone)]
pub struct File {
    pub(super) path: PathBuf,
    size_limit: Arc<AtomicU64>,
}

impl File {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), size_limit: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// For connections that are opened from now on.
    pub(super) fn limit_size(&self, bytes: u64) {
        self.size_limit.store(bytes, Ordering::Relaxed);
    }

    /// Makes the file where there is none.
    pub(super) async fn create(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options().create_if_missing(true).connect().await
    }

    pub(super) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let mut connection = self.options().connect().await?;
        self.apply_size_limit(&mut connection).await?;
        Ok(connection)
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            // The kernel holds the file's pages once for all connections.
            .pragma("cache_size", "-512")
    }

    async fn apply_size_limit(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let bytes = self.size_limit.load(Ordering::Relaxed);
        if bytes == u64::MAX {
            return Ok(());
        }
        let row = sqlx::query("PRAGMA page_size").fetch_one(&mut *connection).await?;
        let page: i64 = row.try_get(0)?;
        // Zero would mean "as before"; SQLite never goes below what the file has.
        let pages = (bytes / u64::try_from(page).unwrap_or(4096).max(1)).max(1);
        // A pragma takes no parameters; a number is no injection.
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(pragma).execute(connection).await.map(|_| ())
    }
}

pub(super) async fn connect(file: &File) -> Result<Raw, sqlx::Error> {
    Ok(Raw::Sqlite(Box::new(file.connect().await?)))
}

/// A number that changes with every commit of another connection.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("PRAGMA data_version").fetch_one(connection).await?.try_get(0)
}
