//! The store in SQL, written once for SQLite and PostgreSQL.

mod approvals;
mod audit;
mod backup;
mod catalog;
mod chain;
mod database;
mod enrol;
mod evidence;
mod group_commit;
mod journal;
mod log;
mod machines;
mod metadata;
mod mint;
mod news;
mod pins;
mod policies;
mod pool;
mod postgres;
mod read;
mod revoke;
mod sqlite;
mod store;
mod tallies;
mod verifiers;
mod written;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use signet_evidence::binding::{Sha256, sha256};
use signet_evidence::{DeviceId, SessionId, UnixTime};
use sqlx::Connection as _;
use sqlx::migrate::MigrateError;
use thiserror::Error;
use tokio::sync::watch;

use self::database::{Query, Row, column, is_unique_violation, places, query, query_of};
use self::pool::{Connection, Pool, Transaction, Use};
use super::*;
use crate::metrics::StoreTimes;

pub use self::postgres::{Server, ServerError, Unfit};

/// Connections of one process that read from a server, each of which waits for the network.
const SERVER_READERS: u32 = 8;
/// The same from a file: each is a thread with a cache of its own.
const FILE_READERS: u32 = 4;
/// And that write: writers take turns anyway, and those who wait here can have one commit for all.
const WRITERS: u32 = 1;

/// [`Store`] in SQLite or PostgreSQL.
pub struct SqlStore {
    readers: Pool,
    writers: Pool,
    news: news::News,
    group_commit: group_commit::GroupCommit,
    integrity: Arc<IntegrityKey>,
    times: StoreTimes,
}

/// Where a store is.
#[derive(Clone)]
pub enum Location {
    /// A SQLite file.
    File(File),
    /// A PostgreSQL database.
    Server(Server),
}

pub use self::sqlite::File;

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(File::new(path))
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<Server> for Location {
    fn from(server: Server) -> Self {
        Self::Server(server)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.path.display()),
            Self::Server(server) => write!(f, "{server}"),
        }
    }
}

/// The database cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// `init` would overwrite it.
    #[error("{place} exists already; choose another place")]
    Exists {
        /// Where.
        place: String,
    },
    /// There is none.
    #[error(
        "there is no database of an authority in {place}; make it with `signet-authority init`"
    )]
    Missing {
        /// Where.
        place: String,
    },
    /// The database does not open it.
    #[error("cannot open the database {place}")]
    Unusable {
        /// Where.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// It could lose what it has committed.
    #[error("the database {place} cannot be relied on")]
    Unfit {
        /// Where.
        place: String,
        /// Why.
        source: Unfit,
    },
    /// Records of an earlier version do not follow each other.
    #[error("cannot take over the audit records of an earlier version in {place}")]
    Chain {
        /// Where.
        place: String,
        /// Why.
        source: StoreError,
    },
    /// A later version changed what this one relies on.
    #[error("the database {place} is of a later version; install that version of signet-authority")]
    Outdated {
        /// Where.
        place: String,
    },
    /// Its tables are of another version.
    #[error("cannot bring the database {place} to this version")]
    Migration {
        /// Where.
        place: String,
        /// Why.
        source: MigrateError,
    },
}

impl SqlStore {
    /// Makes a new database.
    ///
    /// # Errors
    /// See [`OpenError`]; one that exists is never touched.
    pub async fn create(
        location: impl Into<Location>,
        integrity: IntegrityKey,
    ) -> Result<Self, OpenError> {
        let location = location.into();
        match exists(&location).await? {
            true => Err(OpenError::Exists { place: location.to_string() }),
            false => Self::connect(location, integrity).await,
        }
    }

    /// Opens a database and brings its tables to this version.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        location: impl Into<Location>,
        integrity: IntegrityKey,
    ) -> Result<Self, OpenError> {
        let location = location.into();
        match exists(&location).await? {
            true => Self::connect(location, integrity).await,
            false => Err(OpenError::Missing { place: location.to_string() }),
        }
    }

    /// Bounds a file to `bytes`, so that it never fills a disk that others need. At the bound, what
    /// would grow it fails with [`StoreError::Full`]. A server is bounded by whoever runs it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn limit_size(&self, bytes: u64) -> Result<(), StoreError> {
        let Location::File(file) = self.writers.location() else { return Ok(()) };
        file.limit_size(bytes);
        self.writers.reconnect().await
    }

    /// Closes it, so that a file is whole without its write-ahead log.
    pub async fn close(self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    async fn connect(location: Location, integrity: IntegrityKey) -> Result<Self, OpenError> {
        migrate(&location).await?;
        let place = location.to_string();
        let times = StoreTimes::default();
        let integrity = Arc::new(integrity);
        let writers = Pool::new(location.clone(), WRITERS, Use::Write, times.clone());
        let readers = match &location {
            Location::File(_) => FILE_READERS,
            Location::Server(_) => SERVER_READERS,
        };
        let store = Self {
            readers: Pool::new(location, readers, Use::Read, times.clone()),
            group_commit: group_commit::GroupCommit::new(writers.clone(), integrity.clone()),
            writers,
            times,
            news: news::News::default(),
            integrity,
        };
        match store.ping().await {
            Err(StoreError::Outdated) => return Err(OpenError::Outdated { place }),
            _ => store
                .take_over_chain()
                .await
                .map_err(|source| OpenError::Chain { place, source })?,
        }
        Ok(store)
    }

    /// For reads only.
    async fn reader(&self) -> Result<Connection, StoreError> {
        self.readers.acquire().await
    }

    /// For everything that changes something.
    async fn begin(&self) -> Result<Transaction, StoreError> {
        self.writers.begin().await
    }
}

async fn exists(location: &Location) -> Result<bool, OpenError> {
    let server = match location {
        Location::File(file) => return Ok(file.path.exists()),
        Location::Server(server) => server,
    };
    let unusable = |source| OpenError::Unusable { place: location.to_string(), source };
    let mut connection = server.connect().await.map_err(unusable)?;
    if let Some(source) = postgres::check(&mut connection).await.map_err(unusable)? {
        return Err(OpenError::Unfit { place: location.to_string(), source });
    }
    let tables = sqlx::query("SELECT 1 WHERE to_regclass('operators') IS NOT NULL");
    let found = tables.fetch_optional(&mut connection).await.map_err(unusable)?;
    let _ = connection.close().await;
    Ok(found.is_some())
}

/// The last migration that this program knows.
fn newest() -> i64 {
    postgres::MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn migrate(location: &Location) -> Result<(), OpenError> {
    let place = || location.to_string();
    let unusable = |source| OpenError::Unusable { place: place(), source };
    let migrated = match location {
        Location::File(file) => {
            let mut connection = file.create().await.map_err(unusable)?;
            let migrated = sqlite::MIGRATIONS.run(&mut connection).await;
            let _ = connection.close().await;
            migrated
        }
        Location::Server(server) => {
            let mut connection = server.connect_alone().await.map_err(unusable)?;
            let migrated = postgres::MIGRATIONS.run(&mut connection).await;
            let _ = connection.close().await;
            migrated
        }
    };
    migrated.map_err(|source| OpenError::Migration { place: place(), source })
}

/// Integers of both databases are signed; counters that exceed them do not occur, and saturate.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
