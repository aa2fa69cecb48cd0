//! SQLite and PostgreSQL behind one connection, so that every query is written once.
//!
//! Queries have `$1` for their values, and only what both databases know. Integers are 64 bits
//! (`INTEGER`, `BIGINT`), bytes `BLOB` or `BYTEA`, yes or no `INTEGER` or `BOOLEAN`. Columns are named, never
//! `*`: another node may add some while this one runs, and PostgreSQL then refuses what it prepared.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, Sqlite, Type};

use super::super::StoreError;
use super::pool::Connection;

/// How long PostgreSQL may take for one statement before the network is taken for cut. Its own
/// bounds (`postgres::SESSION`) are below this.
const ANSWER: Duration = Duration::from_secs(10);

/// One connection to either.
pub(super) enum Raw {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

/// A value on its way into a query; `None` is NULL of that type.
pub(super) enum Value {
    Integer(Option<i64>),
    Bool(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($from:ty => $variant:ident($value:ident) $into:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant(Some($into))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map(|$value| $into))
            }
        }
    )*};
}

values! {
    i64 => Integer(value) value;
    u32 => Integer(value) value.into();
    bool => Bool(value) value;
    String => Text(value) value;
    &str => Text(value) value.to_owned();
    &String => Text(value) value.clone();
    Vec<u8> => Bytes(value) value;
    &[u8] => Bytes(value) value.to_vec();
    &Vec<u8> => Bytes(value) value.clone();
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

impl From<&Option<Vec<u8>>> for Value {
    fn from(value: &Option<Vec<u8>>) -> Self {
        Self::Bytes(value.clone())
    }
}

/// A statement and its values.
pub(super) struct Query {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

pub(super) fn query(sql: &'static str) -> Query {
    Query { sql: Cow::Borrowed(sql), values: Vec::new() }
}

/// A statement made of names from the database's own catalogue, or of places for a number of rows.
pub(super) fn query_of(sql: String) -> Query {
    Query { sql: Cow::Owned(sql), values: Vec::new() }
}

/// `($1, $2), ($3, $4)`: the places of so many rows of `WIDTH` values, after `taken` other values.
pub(super) fn places<const WIDTH: usize>(taken: usize, rows: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> =
            (1..=WIDTH).map(|place| format!("${}", taken + row * WIDTH + place)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Runs `$method` of sqlx on whichever database it is.
macro_rules! on_either {
    ($self:ident, $connection:ident, $method:ident, |$answer:ident| $sqlite:expr, $postgres:expr) => {
        match $connection {
            Raw::Sqlite(connection) => {
                let $answer = bound!($self, Sqlite).$method(&mut **connection).await?;
                Ok($sqlite)
            }
            Raw::Postgres(connection) => {
                let $answer = in_time(bound!($self, Postgres).$method(&mut **connection)).await?;
                Ok($postgres)
            }
        }
    };
}

macro_rules! bound {
    ($self:ident, $database:ty) => {{
        let mut query = match $self.sql {
            Cow::Borrowed(sql) => sqlx::query::<$database>(sql),
            Cow::Owned(sql) => sqlx::query::<$database>(sqlx::AssertSqlSafe(sql)),
        };
        for value in $self.values {
            query = match value {
                Value::Integer(value) => query.bind(value),
                Value::Bool(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Query {
    /// The next value, `$1` first.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// How many rows it changed.
    pub(super) async fn execute(self, connection: &mut Connection) -> Result<u64, StoreError> {
        let outcome = self.execute_on(connection.start()?).await;
        connection.finish(outcome)
    }

    pub(super) async fn fetch_optional(
        self,
        connection: &mut Connection,
    ) -> Result<Option<Row>, StoreError> {
        let outcome = self.optional_on(connection.start()?).await;
        connection.finish(outcome)
    }

    pub(super) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, StoreError> {
        let row = self.fetch_optional(connection).await?;
        row.ok_or(StoreError::Unavailable(sqlx::Error::RowNotFound))
    }

    pub(super) async fn fetch_all(
        self,
        connection: &mut Connection,
    ) -> Result<Vec<Row>, StoreError> {
        let outcome = self.all_on(connection.start()?).await;
        connection.finish(outcome)
    }

    async fn execute_on(self, raw: &mut Raw) -> Result<u64, sqlx::Error> {
        on_either!(self, raw, execute, |done| done.rows_affected(), done.rows_affected())
    }

    async fn optional_on(self, raw: &mut Raw) -> Result<Option<Row>, sqlx::Error> {
        on_either!(self, raw, fetch_optional, |row| row.map(Row::Sqlite), row.map(Row::Postgres))
    }

    async fn all_on(self, raw: &mut Raw) -> Result<Vec<Row>, sqlx::Error> {
        on_either!(
            self,
            raw,
            fetch_all,
            |rows| rows.into_iter().map(Row::Sqlite).collect(),
            rows.into_iter().map(Row::Postgres).collect()
        )
    }
}

/// Runs statements that take no values, at once, and returns the last row.
pub(super) async fn ask(raw: &mut Raw, statements: String) -> Result<Row, sqlx::Error> {
    let statements = sqlx::AssertSqlSafe(statements);
    let last = match raw {
        Raw::Sqlite(connection) => {
            let rows = sqlx::query(statements).fetch_all(&mut **connection).await?;
            rows.into_iter().next_back().map(Row::Sqlite)
        }
        Raw::Postgres(connection) => {
            let rows = in_time(sqlx::raw_sql(statements).fetch_all(&mut **connection)).await?;
            rows.into_iter().next_back().map(Row::Postgres)
        }
    };
    last.ok_or(sqlx::Error::RowNotFound)
}

/// Runs statements that take no values and return no rows.
pub(super) async fn run(raw: &mut Raw, statements: &'static str) -> Result<(), sqlx::Error> {
    match raw {
        Raw::Sqlite(connection) => {
            sqlx::raw_sql(statements).execute(&mut **connection).await.map(|_| ())
        }
        Raw::Postgres(connection) => {
            in_time(sqlx::raw_sql(statements).execute(&mut **connection)).await.map(|_| ())
        }
    }
}

/// Whatever takes longer was cut off: the connection is of no use any more.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let cut = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(cut()))
}

/// A row of either.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column can be read as.
pub(super) trait Column: Sized {
    fn of(row: &Row, index: impl Index) -> Result<Self, sqlx::Error>;
}

pub(super) trait Index: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {}
impl<T: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>> Index for T {}

impl<T> Column for T
where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    fn of(row: &Row, index: impl Index) -> Result<Self, sqlx::Error> {
        match row {
            Row::Sqlite(row) => row.try_get(index),
            Row::Postgres(row) => row.try_get(index),
        }
    }
}

impl Row {
    /// The column of this name or number.
    pub(super) fn get<T: Column>(&self, index: impl Index) -> Result<T, StoreError> {
        T::of(self, index).map_err(StoreError::from)
    }

    /// A counter of 32 bits, which PostgreSQL has no type for.
    pub(super) fn counter(&self, index: impl Index) -> Result<u32, StoreError> {
        let value: i64 = self.get(index)?;
        u32::try_from(value).map_err(|error| sqlx::Error::Decode(error.into()).into())
    }
}

pub(super) fn column<T: Column>(row: &Row, name: &'static str) -> Result<T, StoreError> {
    row.get(name)
}

/// A full disk is the one failure that a person can mend at once, so it has a variant of its own.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        /// `SQLITE_FULL`, and `disk_full` of PostgreSQL.
        const FULL: [&str; 2] = ["13", "53100"];
        let code = error.as_database_error().and_then(|cause| cause.code());
        match code.is_some_and(|code| FULL.contains(&&*code)) {
            true => Self::Full,
            false => Self::Unavailable(error),
        }
    }
}

/// Whether there is such a row already.
pub(super) fn is_unique_violation(error: &StoreError) -> bool {
    let StoreError::Unavailable(error) = error else { return false };
    error.as_database_error().is_some_and(|cause| cause.is_unique_violation())
}
