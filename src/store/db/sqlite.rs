//! `SQLite`: a file, one writer, several readers.

mod group;

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{SqlStr, Sqlite};

use crate::config::settings::Database;
use crate::store::db::{StoreError, Value};

pub(super) use group::{Kind, Member, Standing, Writer};

/// Statements kept ready on each connection: more than there are.
const PREPARED: usize = 256;
/// Another process has a lock that this one needs: <https://sqlite.org/rescode.html#busy>.
const SQLITE_BUSY: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Opens a file, creating it when it is not there: readers and the writer.
pub(super) async fn open(path: &Path, settings: &Database) -> Result<(SqlitePool, Writer), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was acknowledged survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .statement_cache_capacity(PREPARED)
        // Another process that writes is all a statement ever waits for.
        .busy_timeout(settings.statement_timeout);
    let writer = Writer::new(options.clone(), settings.acquire_timeout);
    connect(&writer, settings.statement_timeout).await?;
    let readers = pool(settings.max_connections, settings.acquire_timeout).min_connections(settings.min_connections);
    let readers = readers.connect_with(options.read_only(true)).await?;
    Ok((readers, writer))
}

/// The first connection to a new file turns it to write-ahead logging. For that turn `SQLite` waits for
/// nobody: of several processes that start at once all but one are told that it is busy.
async fn connect(writer: &Writer, patience: Duration) -> Result<(), StoreError> {
    let patience = Instant::now() + patience;
    loop {
        match writer.connect().await {
            Err(error) if is_busy(&error) && Instant::now() < patience => tokio::time::sleep(BUSY_PAUSE).await,
            connected => return Ok(connected?),
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    code(error) == Some(SQLITE_BUSY)
}

/// What went wrong by `SQLite`'s own count, if it was `SQLite` that told.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code)?;
    // Extended codes keep the plain one in their low byte.
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

/// Opens a file that nothing is written to: a writer that is asked for anything is told so.
pub(super) async fn peek(path: &Path, settings: &Database) -> Result<(SqlitePool, Writer), StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(settings.statement_timeout);
    let reader = pool(1, settings.acquire_timeout).connect_with(options.clone()).await?;
    Ok((reader, Writer::new(options, settings.acquire_timeout)))
}

/// A database in memory. Each connection would see one of its own: there is only the writer's.
pub(super) async fn in_memory() -> Result<Writer, StoreError> {
    let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
    let writer = Writer::new(options, Duration::from_secs(30));
    writer.connect().await?;
    Ok(writer)
}

fn pool(size: u32, acquire_timeout: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// A statement with its values.
pub(super) fn query(text: SqlStr, values: Vec<Value>) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}
