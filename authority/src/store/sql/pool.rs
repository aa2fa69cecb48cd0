//! Connections that are kept open, and transactions on them.
//!
//! Not sqlx's pool: that one waits without bound for the answer of a server that the network was cut
//! from, and SQLite rolls some transactions back by itself, which sqlx does not notice.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signet_evidence::binding::Sha256;
use signet_verifier::log::Frontier;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::StoreError;
use super::database::{Query, Raw, Row, ask, run};
use super::written::Written;
use super::{Location, postgres, sqlite};
use crate::metrics::StoreTimes;

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(30);
/// After a failed attempt to connect, others are told so for this long without trying.
const DOWN: Duration = Duration::from_millis(500);
/// A connection that rested longer is asked whether it still works. No server is back from a restart
/// so soon, so who finds a dead connection unasked finds a database that is down.
const RESTED: Duration = Duration::from_millis(100);

/// At most so many connections to one database. Clones share them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    location: Location,
    connections: u32,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<(Instant, Raw)>>,
    down_since: Mutex<Option<Instant>>,
    /// Cleared by whatever the database did not answer or had no room for; set by a commit.
    works: AtomicBool,
    /// The tables are of a later version, whose rules this one does not know.
    outdated: AtomicBool,
    what_for: Use,
    times: StoreTimes,
    written: Mutex<Written>,
}

/// What connections of a pool are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// One statement, or several that only read.
    Read,
    /// Transactions that write.
    Write,
}

impl Pool {
    pub(super) fn new(
        location: Location,
        connections: u32,
        what_for: Use,
        times: StoreTimes,
    ) -> Self {
        Self(Arc::new(Inner {
            location,
            connections,
            permits: Arc::new(Semaphore::new(connections as usize)),
            idle: Mutex::default(),
            down_since: Mutex::default(),
            works: AtomicBool::new(true),
            outdated: AtomicBool::new(false),
            what_for,
            times,
            written: Mutex::default(),
        }))
    }

    /// Where it leads.
    pub(super) fn location(&self) -> &Location {
        &self.0.location
    }

    /// A connection in no transaction.
    pub(super) async fn acquire(&self) -> Result<Connection, StoreError> {
        let began = Instant::now();
        let span = match self.0.what_for {
            Use::Read => tracing::debug_span!("store read", failed = tracing::field::Empty),
            Use::Write => tracing::debug_span!("store write", failed = tracing::field::Empty),
        };
        let permits = self.0.permits.clone();
        let permit = tokio::time::timeout(TURN, permits.acquire_owned()).await;
        let (Ok(Ok(permit)), false) = (permit, self.is_down()) else {
            return Err(sqlx::Error::PoolTimedOut.into());
        };
        let raw = match self.rested().await {
            Some(raw) => raw,
            None => self.connect().await?,
        };
        let (raw, permit) = (Some(raw), Some(permit));
        let (state, pool, leaves) = (State::Ready, self.clone(), Vec::new());
        Ok(Connection { raw, state, pool, permit, began, span, leaves })
    }

    /// A write transaction that comes after all that committed before: what it reads stays true until
    /// it commits. Dropped without commit, it changes nothing.
    pub(super) async fn begin(&self) -> Result<Transaction, StoreError> {
        self.acquire().await?.begin().await
    }

    /// The same, with the row that `question` asks for, which takes no values: both on one way.
    pub(super) async fn begin_asking(
        &self,
        question: &str,
    ) -> Result<(Transaction, Row), StoreError> {
        self.acquire().await?.begin_asking(question).await
    }

    /// A transaction that reads everything as it is at one moment.
    pub(super) async fn snapshot(&self) -> Result<Transaction, StoreError> {
        self.acquire().await?.begin_with(sqlite::SNAPSHOT, postgres::SNAPSHOT).await
    }

    /// Connects anew, so that what changed about the location counts.
    pub(super) async fn reconnect(&self) -> Result<(), StoreError> {
        let all = self.0.permits.acquire_many(self.0.connections).await;
        self.close_idle().await;
        drop(all);
        self.acquire().await.map(|_| ())
    }

    /// Whether what was tried last came through.
    pub(super) fn works(&self) -> bool {
        self.0.works.load(Ordering::Relaxed)
    }

    /// The log's tree, where all of it is known.
    pub(super) fn written_tree(&self) -> Option<Frontier> {
        lock(&self.0.written).tree().cloned()
    }

    /// What was written over it continues this tree.
    pub(super) fn continue_tree(&self, tree: Frontier) {
        lock(&self.0.written).continue_from(tree);
    }

    /// Begins nothing more, while the tables are of a later version.
    pub(super) fn refuse_to_write(&self, outdated: bool) {
        self.0.outdated.store(outdated, Ordering::Relaxed);
    }

    /// Closes what is open and opens nothing more.
    pub(super) async fn close(&self) {
        // Whoever holds one still finishes first.
        let all = self.0.permits.acquire_many(self.0.connections);
        let _ = tokio::time::timeout(TURN, all).await;
        self.0.permits.close();
        self.close_idle().await;
    }

    async fn close_idle(&self) {
        let idle = std::mem::take(&mut *lock(&self.0.idle));
        for (_, raw) in idle {
            raw.close().await;
        }
    }

    async fn rested(&self) -> Option<Raw> {
        loop {
            let (since, mut raw) = lock(&self.0.idle).pop()?;
            if since.elapsed() < RESTED || run(&mut raw, "SELECT 1").await.is_ok() {
                return Some(raw);
            }
        }
    }

    async fn connect(&self) -> Result<Raw, StoreError> {
        let connected = match &self.0.location {
            Location::File(file) => sqlite::connect(file).await,
            Location::Server(server) => postgres::connect(server).await,
        };
        *lock(&self.0.down_since) = connected.is_err().then(Instant::now);
        if connected.is_err() {
            self.0.works.store(false, Ordering::Relaxed);
        }
        Ok(connected?)
    }

    fn is_down(&self) -> bool {
        lock(&self.0.down_since).is_some_and(|since| since.elapsed() < DOWN)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Raw {
    fn one_of<T>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    async fn close(self) {
        use sqlx::Connection;
        // What a file's log still holds is replayed at the next start; a server sees the end.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
    }
}

/// Whether a connection can be used again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// A statement is under way, and perhaps whoever waited for it no longer does.
    Busy,
    /// It did not answer, or said goodbye.
    Broken,
}

/// A connection, and the right to it.
pub(super) struct Connection {
    raw: Option<Raw>,
    state: State,
    pool: Pool,
    permit: Option<OwnedSemaphorePermit>,
    /// When it was asked for.
    began: Instant,
    span: tracing::Span,
    /// Leaves of the log that the transaction added, with their numbers from 0.
    leaves: Vec<(u64, Sha256)>,
}

impl Connection {
    /// A leaf of the log was added, which stands when the transaction is committed.
    pub(super) fn added(&mut self, number: u64, leaf: Sha256) {
        self.leaves.push((number, leaf));
    }

    /// For one statement; [`Self::finish`] follows with its outcome.
    pub(super) fn start(&mut self) -> Result<&mut Raw, StoreError> {
        if self.state != State::Ready {
            return Err(sqlx::Error::WorkerCrashed.into());
        }
        self.state = State::Busy;
        Ok(self.raw.as_mut().ok_or(sqlx::Error::PoolClosed)?)
    }

    pub(super) fn finish<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        match &outcome {
            Err(error) if !is_answer(error) => {
                self.span.record("failed", true);
                self.state = State::Broken;
                // What happened to this one probably happened to all: the server was restarted.
                lock(&self.pool.0.idle).clear();
            }
            _ => self.state = State::Ready,
        }
        let outcome = outcome.map_err(StoreError::from);
        if self.state == State::Broken || matches!(outcome, Err(StoreError::Full)) {
            self.pool.0.works.store(false, Ordering::Relaxed);
        }
        outcome
    }

    /// See [`Pool::begin`].
    pub(super) async fn begin(self) -> Result<Transaction, StoreError> {
        self.begin_with(sqlite::BEGIN, postgres::BEGIN).await
    }

    async fn begin_asking(self, question: &str) -> Result<(Transaction, Row), StoreError> {
        let mut transaction = self.of_this_version()?;
        let raw = transaction.start()?;
        let begin = raw.one_of(sqlite::BEGIN, postgres::BEGIN);
        let outcome = ask(raw, format!("{begin}; {question}")).await;
        let row = transaction.finish(outcome)?;
        Ok((transaction, row))
    }

    async fn begin_with(
        self,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Result<Transaction, StoreError> {
        let mut transaction = self.of_this_version()?;
        let raw = transaction.start()?;
        let outcome = run(raw, raw.one_of(sqlite, postgres)).await;
        transaction.finish(outcome)?;
        Ok(transaction)
    }

    /// To be begun.
    fn of_this_version(self) -> Result<Transaction, StoreError> {
        match self.pool.0.outdated.load(Ordering::Relaxed) {
            true => Err(StoreError::Outdated),
            false => Ok(Transaction(self)),
        }
    }

    /// Whether several statements with values can go on one way.
    pub(super) fn takes_several(&self) -> bool {
        matches!(self.raw, Some(Raw::Sqlite(_)))
    }

    fn take(&mut self) -> Self {
        let (raw, permit) = (self.raw.take(), self.permit.take());
        let (began, span) = (self.began, self.span.clone());
        let (pool, leaves) = (self.pool.clone(), Vec::new());
        Self { raw, state: self.state, pool, permit, began, span, leaves }
    }

    /// Ends what was under way, then lets others have the connection.
    async fn recover(mut self) {
        let Some(raw) = &mut self.raw else { return };
        self.state = match run(raw, "ROLLBACK").await {
            Ok(()) => State::Ready,
            // Nothing was under way.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("1") => {
                State::Ready
            }
            Err(_) => State::Broken,
        };
    }
}

/// Whether the database understood and refused, and is as it was otherwise. Class 57P of PostgreSQL
/// is the end of the connection.
fn is_answer(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => !error.code().is_some_and(|code| code.starts_with("57P")),
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            true
        }
        _ => false,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match (self.state, Handle::try_current()) {
            (State::Ready, _) => {
                if let Some(raw) = self.raw.take() {
                    lock(&self.pool.0.idle).push((Instant::now(), raw));
                }
            }
            (State::Busy, Ok(runtime)) if self.raw.is_some() => {
                let mut taken = self.take();
                // Should that not be run, or not to its end, because everything ends.
                taken.state = State::Broken;
                runtime.spawn(taken.recover());
            }
            (State::Busy | State::Broken, _) => {}
        }
        // What was taken out of this one tells for itself.
        if self.permit.is_some() {
            let writes = self.pool.0.what_for == Use::Write;
            self.pool.0.times.took(writes, self.began.elapsed());
        }
    }
}

/// A transaction.
pub(super) struct Transaction(Connection);

impl Transaction {
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let outcome = run(self.0.start()?, "COMMIT").await;
        self.0.finish(outcome)?;
        self.committed();
        Ok(())
    }

    /// For statements whose last one is the `COMMIT`.
    pub(super) async fn commit_by(mut self, statements: Query) -> Result<(), StoreError> {
        statements.execute(&mut self.0).await?;
        self.committed();
        Ok(())
    }

    fn committed(mut self) {
        self.0.pool.0.works.store(true, Ordering::Relaxed);
        let leaves = std::mem::take(&mut self.0.leaves);
        if !leaves.is_empty() {
            // While nobody else has the connection, so that they are added in the order of their numbers.
            let mut written = lock(&self.0.pool.0.written);
            leaves.into_iter().for_each(|(number, leaf)| written.add(number, leaf));
        }
        // Nothing is left to roll back.
        drop(self.0.take());
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.0.raw.is_some() && self.0.state == State::Ready {
            self.0.state = State::Busy;
        }
    }
}
