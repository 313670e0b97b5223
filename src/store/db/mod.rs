//! The one module that knows which database driver is underneath.
//!
//! A statement is written once, with `?` for its values, and bound with the few types every
//! database has ([`Value`]). Rows are read back by column name ([`Row`]). What a database wants to be
//! told at the beginning stands in the file of its name.
//!
//! `SQLite` has one writer and several readers: transactions write one after the other, so none fails half
//! way because somebody else wrote first, and those that came together are committed together
//! (`sqlite/group.rs`). `PostgreSQL` and `MariaDB` run transactions side by side at READ COMMITTED. There a row is held by whoever changed it
//! until the transaction ends, and whoever changes it next sees what came out: what must happen once,
//! or one after the other, begins with a conditional `UPDATE`, never with a `SELECT`.

mod error;
mod held;
mod mariadb;
mod postgres;
mod row;
mod sqlite;
mod text;
mod value;
mod watch;

use std::path::Path;
use std::time::Duration;

use sqlx::mysql::MySqlPool;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{MySql, Postgres};

use crate::config::settings::{Database, DatabasePlace};
use crate::metrics::{DatabaseConnection, DatabaseMetrics, DatabaseOperation, Metrics};
use held::{Held, in_time};
use sqlite::Standing;
use text::{Texts, Values};
use watch::Watch;

pub use error::StoreError;
pub use row::Row;
pub use value::Value;

/// The prefix of tables in statements and migrations, and in a database where nobody chose another.
const PREFIX: &str = "nauth_";
/// A server ends a statement that takes too long; one that is not heard of is waited for this much longer.
const SILENCE: Duration = Duration::from_secs(2);

/// The database: cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    driver: Driver,
    texts: Texts,
    /// Longest wait for a server, statement by statement.
    patience: Duration,
    /// What counts, if anything does.
    metrics: Option<DatabaseMetrics>,
}

#[derive(Debug, Clone)]
enum Driver {
    Sqlite {
        /// None where nobody but the writer sees what is in it.
        readers: Option<SqlitePool>,
        writer: sqlite::Writer,
    },
    Postgres(PgPool),
    MariaDb(MySqlPool),
}

/// Which SQL a database speaks, for the few places where one text does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `SQLite`.
    Sqlite,
    /// `PostgreSQL`.
    Postgres,
    /// `MariaDB`.
    MariaDb,
}

impl Db {
    /// Opens the database of these settings; a file is created when it is not there.
    pub async fn open(settings: &Database) -> Result<Self, StoreError> {
        let (driver, values) = match &settings.place {
            DatabasePlace::Sqlite(path) => {
                let (readers, writer) = sqlite::open(path, settings).await?;
                (Driver::Sqlite { readers: Some(readers), writer }, Values::Marked)
            }
            DatabasePlace::Postgres(server) => {
                (Driver::Postgres(postgres::open(server, settings).await?), Values::Numbered)
            }
            DatabasePlace::MariaDb(server) => (Driver::MariaDb(mariadb::open(server, settings).await?), Values::Marked),
        };
        let texts = Texts::new(values, &settings.table_prefix);
        Ok(Self { driver, texts, patience: settings.statement_timeout + SILENCE, metrics: None })
    }

    /// Opens a `SQLite` file to look at it: nothing is written, not even the journal mode.
    pub async fn peek(path: &Path, settings: &Database) -> Result<Self, StoreError> {
        let (reader, writer) = sqlite::peek(path, settings).await?;
        let driver = Driver::Sqlite { readers: Some(reader), writer };
        Ok(Self { driver, texts: Texts::new(Values::Marked, &settings.table_prefix), patience: SILENCE, metrics: None })
    }

    /// Writes a `SQLite` database as it is at one moment into a file that is empty.
    pub async fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let mut on = On::Db(self);
        sql("VACUUM INTO ?").bind(file.to_string_lossy().into_owned()).execute(&mut on).await?;
        Ok(())
    }

    /// A `SQLite` database that lives as long as this value and its clones.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let driver = Driver::Sqlite { readers: None, writer: sqlite::in_memory().await? };
        Ok(Self { driver, texts: Texts::new(Values::Marked, PREFIX), patience: SILENCE, metrics: None })
    }

    /// The same, counting from here on.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        Self { metrics: Some(metrics.database()), ..self }
    }

    /// Tells how many connections there are now, in all of these together.
    pub fn tell_connections(all: &[Self], metrics: &Metrics) {
        let (mut idle, mut used) = (0, 0);
        for (idles, uses) in all.iter().map(Self::connections) {
            idle += idles;
            used += uses;
        }
        metrics.database_connections(DatabaseConnection::Idle, idle);
        metrics.database_connections(DatabaseConnection::Used, used);
    }

    /// Connections that rest, and those in use.
    fn connections(&self) -> (usize, usize) {
        fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> (usize, usize) {
            let idle = pool.num_idle();
            (idle, (pool.size() as usize).saturating_sub(idle))
        }
        match &self.driver {
            Driver::Sqlite { readers, writer } => {
                let (idle, used) = readers.as_ref().map_or((0, 0), of);
                match writer.standing() {
                    Standing::Absent => (idle, used),
                    Standing::Idle => (idle + 1, used),
                    Standing::Used => (idle, used + 1),
                }
            }
            Driver::Postgres(pool) => of(pool),
            Driver::MariaDb(pool) => of(pool),
        }
    }

    /// Which SQL it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.driver {
            Driver::Sqlite { .. } => Dialect::Sqlite,
            Driver::Postgres(_) => Dialect::Postgres,
            Driver::MariaDb(_) => Dialect::MariaDb,
        }
    }

    /// Starts a transaction. Dropped without [`Tx::commit`], it leaves no trace.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let watch = Watch::begin(DatabaseOperation::Begin);
        let begun = self.open_transaction().await;
        watch.end(self.metrics.as_ref(), &begun);
        let (texts, metrics) = (self.texts.clone(), self.metrics.clone());
        Ok(Tx { inner: begun?, texts, patience: self.patience, metrics, has_failed: false })
    }

    async fn open_transaction(&self) -> Result<Open, StoreError> {
        Ok(match &self.driver {
            Driver::Sqlite { writer, .. } => Open::Sqlite(writer.begin(sqlite::Kind::Transaction).await?),
            Driver::Postgres(pool) => {
                let mut held = Held::of(pool, self.patience).await?;
                held.begin().await?;
                Open::Postgres(held)
            }
            Driver::MariaDb(pool) => {
                let mut held = Held::of(pool, self.patience).await?;
                held.begin().await?;
                Open::MariaDb(held)
            }
        })
    }

    /// Closes every connection, after the statements under way.
    pub async fn close(&self) {
        match &self.driver {
            Driver::Sqlite { readers, writer } => {
                if let Some(readers) = readers {
                    readers.close().await;
                }
                writer.close().await;
            }
            Driver::Postgres(pool) => pool.close().await,
            Driver::MariaDb(pool) => pool.close().await,
        }
    }
}

/// A transaction.
///
/// Once a statement of it has failed nothing more is done in it, and it cannot be committed: databases
/// differ in what is left of it by then.
#[derive(Debug)]
pub struct Tx {
    inner: Open,
    texts: Texts,
    patience: Duration,
    metrics: Option<DatabaseMetrics>,
    has_failed: bool,
}

#[derive(Debug)]
enum Open {
    Sqlite(sqlite::Member),
    Postgres(Held<Postgres>),
    MariaDb(Held<MySql>),
}

impl Tx {
    /// Makes everything done through it durable. Only then may anything be acknowledged.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.check()?;
        let watch = Watch::begin(DatabaseOperation::Commit);
        let done = match self.inner {
            Open::Sqlite(member) => member.commit().await,
            Open::Postgres(mut held) => held.commit().await,
            Open::MariaDb(mut held) => held.commit().await,
        };
        watch.end(self.metrics.as_ref(), &done);
        done
    }

    /// Which SQL its database speaks.
    pub(super) fn dialect(&self) -> Dialect {
        match self.inner {
            Open::Sqlite(_) => Dialect::Sqlite,
            Open::Postgres(_) => Dialect::Postgres,
            Open::MariaDb(_) => Dialect::MariaDb,
        }
    }

    /// Runs a script of several statements without values, however long it takes: a migration.
    pub(super) async fn script(&mut self, text: &str) -> Result<(), StoreError> {
        self.check()?;
        let script = sqlx::raw_sql(self.texts.script(text));
        let done = match &mut self.inner {
            Open::Sqlite(member) => {
                let done = script.execute(member.connection()).await.map(drop);
                member.judged(done)
            }
            Open::Postgres(held) => {
                let done = script.execute(held.asked()).await.map(drop).map_err(StoreError::from);
                held.heard(done)
            }
            Open::MariaDb(held) => {
                let done = script.execute(held.asked()).await.map(drop).map_err(StoreError::from);
                held.heard(done)
            }
        };
        self.noting(done)
    }

    /// Runs a script even where the transaction has failed: what does not end with a transaction.
    pub(super) async fn whatever_happened(&mut self, text: &str) -> Result<(), StoreError> {
        let had_failed = std::mem::take(&mut self.has_failed);
        let done = self.script(text).await;
        self.has_failed |= had_failed;
        done
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.has_failed { Err(StoreError::Aborted) } else { Ok(()) }
    }

    fn noting<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        self.has_failed |= done.is_err();
        done
    }
}

/// What a statement runs on.
#[derive(Debug)]
pub enum On<'a> {
    /// Outside a transaction: a statement is one of its own.
    Db(&'a Db),
    /// Inside one.
    Tx(&'a mut Tx),
}

impl On<'_> {
    /// Which SQL is spoken there.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Db(db) => db.dialect(),
            Self::Tx(tx) => tx.dialect(),
        }
    }

    fn metrics(&self) -> Option<&DatabaseMetrics> {
        match self {
            Self::Db(db) => db.metrics.as_ref(),
            Self::Tx(tx) => tx.metrics.as_ref(),
        }
    }

    /// A name of ours with the prefix it has there.
    pub(super) fn named(&self, name: &str) -> String {
        match self {
            Self::Db(db) => db.texts.named(name),
            Self::Tx(tx) => tx.texts.named(name),
        }
    }
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

/// Runs a statement on whatever is underneath: the drivers share the names of their methods and no type.
macro_rules! run {
    ($statement:expr, $on:expr, $method:ident, $reads:literal, $read:expr) => {
        match $on {
            On::Db(db) => {
                let (text, values) = (db.texts.of($statement.text), $statement.values);
                match &db.driver {
                    Driver::Sqlite { readers: Some(readers), .. } if $reads => {
                        Ok(sqlite::query(text, values).$method(readers).await.map($read)?)
                    }
                    Driver::Sqlite { writer, .. } => {
                        let mut member = writer.begin(sqlite::Kind::Statement).await?;
                        let done = sqlite::query(text, values).$method(member.connection()).await;
                        let done = member.judged(done)?;
                        member.commit().await.map(|()| done).map($read)
                    }
                    Driver::Postgres(pool) => {
                        let mut held = Held::of(pool, db.patience).await?;
                        let answer = postgres::query(text, values).$method(held.asked());
                        let answer = in_time(db.patience, Box::pin(answer)).await;
                        held.heard(answer).map($read)
                    }
                    Driver::MariaDb(pool) => {
                        let mut held = Held::of(pool, db.patience).await?;
                        let answer = mariadb::query(text, values).$method(held.asked());
                        let answer = in_time(db.patience, Box::pin(answer)).await;
                        held.heard(answer).map($read)
                    }
                }
            }
            On::Tx(tx) => {
                tx.check()?;
                let (text, values) = (tx.texts.of($statement.text), $statement.values);
                let done = match &mut tx.inner {
                    Open::Sqlite(member) => {
                        let answer = sqlite::query(text, values).$method(member.connection()).await;
                        member.judged(answer).map($read)
                    }
                    Open::Postgres(held) => {
                        let answer = postgres::query(text, values).$method(held.asked());
                        let answer = in_time(tx.patience, Box::pin(answer)).await;
                        held.heard(answer).map($read)
                    }
                    Open::MariaDb(held) => {
                        let answer = mariadb::query(text, values).$method(held.asked());
                        let answer = in_time(tx.patience, Box::pin(answer)).await;
                        held.heard(answer).map($read)
                    }
                };
                tx.noting(done)
            }
        }
    };
}

impl Statement {
    /// Adds the next value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; answers how many rows it touched, changed or not.
    pub async fn execute(self, on: &mut On<'_>) -> Result<u64, StoreError> {
        let watch = Watch::begin(DatabaseOperation::Write);
        let done = async { run!(self, on, execute, false, |done| done.rows_affected()) }.await;
        watch.end(on.metrics(), &done);
        done
    }

    /// Runs it and answers the first row.
    pub async fn fetch_optional(self, on: &mut On<'_>) -> Result<Option<Row>, StoreError> {
        let watch = Watch::begin(DatabaseOperation::Read);
        let done = async { run!(self, on, fetch_optional, true, |row| row.map(Row::from)) }.await;
        watch.end(on.metrics(), &done);
        done
    }

    /// Runs it and answers every row.
    pub async fn fetch_all(self, on: &mut On<'_>) -> Result<Vec<Row>, StoreError> {
        let watch = Watch::begin(DatabaseOperation::Read);
        let done = async { run!(self, on, fetch_all, true, |rows| rows.into_iter().map(Row::from).collect()) }.await;
        watch.end(on.metrics(), &done);
        done
    }
}
