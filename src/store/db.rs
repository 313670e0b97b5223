//! The one file that knows which database driver is underneath.
//!
//! A statement is written once, with `?` for its values, and bound with the few types every
//! database has: integers and text, each possibly null. Nulls are typed, because PostgreSQL
//! refuses a text null for a number. Rows are read back by column name.
//!
//! `SQLite` has one writer and several readers: a transaction takes the writing connection with
//! `BEGIN IMMEDIATE`, so it never fails half way because somebody else wrote first.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, Transaction};

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::error::Error;
use crate::domain::id::{ChallengeId, SessionId, UserId};

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database: cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    readers: SqlitePool,
    writer: SqlitePool,
}

impl Db {
    /// Opens a file, creating it when it is not there.
    pub async fn open(path: &Path, readers: u32, acquire_timeout: Duration) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool(1, acquire_timeout).connect_with(options.clone()).await?;
        let readers = pool(readers.max(1), acquire_timeout).connect_with(options.read_only(true)).await?;
        Ok(Self { readers, writer })
    }

    /// Opens a file to look at it: nothing is written, not even the journal mode.
    pub async fn peek(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let only = pool(1, BUSY_TIMEOUT).connect_with(options).await?;
        Ok(Self { readers: only.clone(), writer: only })
    }

    /// A database that lives as long as this value and its clones.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        // Each connection would see a database of its own: there is only one.
        let only = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        Ok(Self { readers: only.clone(), writer: only })
    }

    /// Starts a transaction. Dropped without [`Tx::commit`], it leaves no trace.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx { inner: self.writer.begin_with("BEGIN IMMEDIATE").await? })
    }

    /// Closes every connection, after the statements under way.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn pool(size: u32, acquire_timeout: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// A transaction.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Sqlite>,
}

impl Tx {
    /// Makes everything done through it durable. Only then may anything be acknowledged.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.inner.commit().await?)
    }

    /// Runs a script of several statements without values: a migration.
    pub(super) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(text).execute(&mut *self.inner).await?;
        Ok(())
    }
}

/// What a statement runs on.
#[derive(Debug)]
pub enum On<'a> {
    /// Outside a transaction, reading.
    Db(&'a Db),
    /// Inside one.
    Tx(&'a mut Tx),
}

/// A statement and its values.
#[derive(Debug)]
pub struct Statement {
    text: &'static str,
    values: Vec<Value>,
}

/// Starts a statement. Values go where the `?` are, in order.
#[must_use]
pub fn sql(text: &'static str) -> Statement {
    Statement { text, values: Vec::new() }
}

impl Statement {
    /// Adds the next value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; answers how many rows it touched. Writing needs a transaction.
    pub async fn execute(self, on: &mut On<'_>) -> Result<u64, StoreError> {
        let query = self.query();
        let done = match on {
            On::Db(db) => query.execute(&db.writer).await?,
            On::Tx(tx) => query.execute(&mut *tx.inner).await?,
        };
        Ok(done.rows_affected())
    }

    /// Runs it and answers the first row.
    pub async fn fetch_optional(self, on: &mut On<'_>) -> Result<Option<Row>, StoreError> {
        let query = self.query();
        let row = match on {
            On::Db(db) => query.fetch_optional(&db.readers).await?,
            On::Tx(tx) => query.fetch_optional(&mut *tx.inner).await?,
        };
        Ok(row.map(Row))
    }

    /// Runs it and answers every row.
    pub async fn fetch_all(self, on: &mut On<'_>) -> Result<Vec<Row>, StoreError> {
        let query = self.query();
        let rows = match on {
            On::Db(db) => query.fetch_all(&db.readers).await?,
            On::Tx(tx) => query.fetch_all(&mut *tx.inner).await?,
        };
        Ok(rows.into_iter().map(Row).collect())
    }

    fn query(self) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(self.text), |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
        })
    }
}

/// A value on its way into a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, a time, a boolean.
    Int(Option<i64>),
    /// Anything else.
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<Time> for Value {
    fn from(value: Time) -> Self {
        Self::Int(Some(value.micros()))
    }
}

impl From<Option<Time>> for Value {
    fn from(value: Option<Time>) -> Self {
        Self::Int(value.map(Time::micros))
    }
}

impl From<SessionId> for Value {
    fn from(value: SessionId) -> Self {
        Self::Int(Some(value.number()))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<UserId> for Value {
    fn from(value: UserId) -> Self {
        Self::Text(Some(value.to_string()))
    }
}

impl From<ChallengeId> for Value {
    fn from(value: ChallengeId) -> Self {
        Self::Text(Some(value.to_string()))
    }
}

impl From<&Email> for Value {
    fn from(value: &Email) -> Self {
        Self::Text(Some(value.as_str().to_owned()))
    }
}

impl From<&Username> for Value {
    fn from(value: &Username) -> Self {
        Self::Text(Some(value.as_str().to_owned()))
    }
}

impl From<&Phone> for Value {
    fn from(value: &Phone) -> Self {
        Self::Text(Some(value.as_str().to_owned()))
    }
}

/// One row of an answer.
#[derive(Debug)]
pub struct Row(SqliteRow);

impl Row {
    /// A number.
    pub fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        Ok(self.0.try_get(column)?)
    }

    /// A number or null.
    pub fn opt_int(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        Ok(self.0.try_get(column)?)
    }

    /// A boolean.
    pub fn bool(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// A time.
    pub fn time(&self, column: &'static str) -> Result<Time, StoreError> {
        Ok(Time::from_micros(self.int(column)?))
    }

    /// A time or null.
    pub fn opt_time(&self, column: &'static str) -> Result<Option<Time>, StoreError> {
        Ok(self.opt_int(column)?.map(Time::from_micros))
    }

    /// Text.
    pub fn text(&self, column: &'static str) -> Result<String, StoreError> {
        Ok(self.0.try_get(column)?)
    }

    /// Text or null.
    pub fn opt_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        Ok(self.0.try_get(column)?)
    }

    /// Text that reads as a `T`.
    pub fn parsed<T: std::str::FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| StoreError::Corrupt(column))
    }

    /// Text that reads as a `T`, or null.
    pub fn opt_parsed<T: std::str::FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text = self.opt_text(column)?;
        text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(column))).transpose()
    }
}

/// What failed technically. Never on the wire.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot serve now. Nothing was changed.
    #[error("the database cannot serve")]
    Unavailable(#[source] sqlx::Error),
    /// A value that must be unique is there already. The use case decides what that means.
    #[error("a unique value is taken")]
    Taken(#[source] sqlx::Error),
    /// A stored value cannot be read back.
    #[error("column `{0}` holds a value nauth did not write")]
    Corrupt(&'static str),
    /// The database does not have nauth's schema, or has another version of it.
    #[error("{0}")]
    Schema(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Taken(error),
            _ => Self::Unavailable(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(Box::new(error)),
            StoreError::Taken(_) | StoreError::Corrupt(_) | StoreError::Schema(_) => Self::Internal(Box::new(error)),
        }
    }
}
