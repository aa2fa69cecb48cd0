//! What is PostgreSQL's own.
//!
//! Write transactions take one lock before they read anything, so that they come one after the other
//! on all nodes, as they do in SQLite. See docs/decisions/0029.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Row};
use thiserror::Error;
use zeroize::Zeroizing;

use super::database::{Raw, in_time};

/// Later ones than these may have been made by a program of a later version.
pub(super) static MIGRATIONS: sqlx::migrate::Migrator = {
    let mut migrations = sqlx::migrate!("./migrations/postgres");
    migrations.ignore_missing = true;
    migrations
};

/// The write lock, held until the end of the transaction. READ COMMITTED, so that each statement sees
/// what was committed before the lock was given. The number is "SIGNET".
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SELECT pg_advisory_xact_lock(91557013538132)";
/// As long as it takes.
pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
/// The same lock for a whole connection: nobody writes while tables change.
const HOLD: &str = "SET statement_timeout = 0; SET lock_timeout = '60s'; \
    SELECT pg_advisory_lock(91557013538132)";

/// Where nodes hear that something changed.
pub(super) const CHANNEL: &str = "signet_news";

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Bounds that the server keeps, so that a node that vanished, or a network that was cut, does not
/// hold the write lock for longer than this.
const SESSION: [(&str, &str); 5] = [
    ("lock_timeout", "5s"),
    ("statement_timeout", "8s"),
    ("idle_in_transaction_session_timeout", "3s"),
    ("client_connection_check_interval", "1s"),
    ("tcp_user_timeout", "5s"),
];

/// A PostgreSQL server and a database on it. Its password is never shown.
#[derive(Clone)]
pub struct Server(Box<PgConnectOptions>);

/// The URL of the database cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ServerError {
    /// Not such a URL.
    #[error("not a URL such as postgres://signet@db.example.org/signet")]
    Malformed,
    /// Settings are read by more people than a password is for.
    #[error(
        "take the password out of the settings: put it into the file that PGPASSFILE names (mode \
         0600), or into the credential `database-password` of the service"
    )]
    Password,
    /// Records and revocations would travel where others can change them.
    #[error(
        "the database is on another machine: use sslmode=verify-full, with sslrootcert=FILE where its \
         CA is your own"
    )]
    Unverified,
    /// There is none to use by default.
    #[error("name the database: postgres://signet@db.example.org/NAME")]
    NoDatabase,
}

impl Server {
    /// Reads `postgres://[user@]host[:port]/database[?sslmode=…&sslrootcert=…&sslcert=…&sslkey=…]`; the
    /// password, where there is one, comes from the file that `PGPASSFILE` names.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn parse(url: &str) -> Result<Self, ServerError> {
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') || url.contains("password=") {
            return Err(ServerError::Password);
        }
        let mut options: PgConnectOptions = url.parse().map_err(|_| ServerError::Malformed)?;
        if options.get_database().is_none() {
            return Err(ServerError::NoDatabase);
        }
        let chosen = url.contains("sslmode=") || url.contains("ssl-mode=");
        if !is_local(&options) {
            if !chosen {
                options = options.ssl_mode(PgSslMode::VerifyFull);
            }
            if !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
                return Err(ServerError::Unverified);
            }
        }
        Ok(Self(Box::new(options.application_name("signet-authority").options(SESSION))))
    }

    /// With the password in `database-password` there, if there is such a file.
    #[must_use]
    pub fn with_credentials(self, folder: Option<&Path>) -> Self {
        let file = folder.map(|folder| folder.join("database-password"));
        match file.and_then(|file| std::fs::read_to_string(file).ok()).map(Zeroizing::new) {
            Some(password) => Self(Box::new(self.0.password(password.trim_end_matches('\n')))),
            None => self,
        }
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let cut = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(CONNECT, self.0.connect()).await.unwrap_or_else(|_| Err(cut()))
    }

    pub(super) async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        let one = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
        let mut listener =
            PgListener::connect_with(&one.connect_lazy_with(*self.0.clone())).await?;
        listener.eager_reconnect(false);
        Ok(listener)
    }

    /// A connection that nobody writes beside.
    pub(super) async fn connect_alone(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(HOLD).execute(&mut connection).await?;
        Ok(connection)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.0.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => self.0.get_host().to_owned(),
        };
        let database = self.0.get_database().unwrap_or_default();
        write!(f, "{database} at {host}:{}", self.0.get_port())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// Whether nothing leaves the machine.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    options.get_socket().is_some() || host.starts_with('/') || host == "localhost" || loopback
}

pub(super) async fn connect(server: &Server) -> Result<Raw, sqlx::Error> {
    Ok(Raw::Postgres(Box::new(server.connect().await?)))
}

/// How this server is set up, where that would lose what was committed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unfit {
    /// Commits that a power failure takes back.
    #[error("its setting {0} is off: what was committed could be lost; turn it on")]
    Unsafe(&'static str),
    /// Text would be stored as something else.
    #[error("its encoding is not UTF8: create the database with ENCODING 'UTF8'")]
    Encoding,
    /// A copy that takes no writes.
    #[error("it is a standby that takes no writes: name the primary")]
    Standby,
}

pub(super) async fn check(connection: &mut PgConnection) -> Result<Option<Unfit>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'),
         current_setting('synchronous_commit'), current_setting('server_encoding'),
         pg_is_in_recovery()",
    );
    let row = in_time(row.fetch_one(connection)).await?;
    for (index, name) in ["fsync", "full_page_writes", "synchronous_commit"].into_iter().enumerate()
    {
        if row.try_get::<String, _>(index)? == "off" {
            return Ok(Some(Unfit::Unsafe(name)));
        }
    }
    if row.try_get::<String, _>(3)? != "UTF8" {
        return Ok(Some(Unfit::Encoding));
    }
    Ok(row.try_get::<bool, _>(4)?.then_some(Unfit::Standby))
}
