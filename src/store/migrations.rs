//! Brings a database to the schema this binary was built for, or refuses it with a reason.
//!
//! Forward only, one transaction for each step, and of several processes that start at once one at a
//! time: they end in a whole schema, and so does a crash half way. `MariaDB` alone makes every change
//! of a table lasting at once: there a step is noted before it begins, and one that did not end is told.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::clock::Time;
use crate::store::db::{Db, Dialect, On, StoreError, Tx, sql};

/// Reads the texts of a step, one for each dialect.
macro_rules! step {
    ($version:expr, $name:literal, $file:literal) => {
        Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../../migrations/postgres/", $file)),
            mariadb: include_str!(concat!("../../migrations/mysql/", $file)),
        }
    };
}
/// The steps, in order. A released step is never edited.
const STEPS: &[Step] = &[
    step!(1, "init", "0001_init.sql"),
    step!(2, "accounts", "0002_accounts.sql"),
    step!(3, "signing_keys", "0003_signing_keys.sql"),
    step!(CHECKSUMS, "checksums", "0004_checksums.sql"),
    step!(5, "transient", "0005_transient.sql"),
    step!(6, "indexes", "0006_indexes.sql"),
    step!(7, "factors", "0007_factors.sql"),
    step!(8, "locations", "0008_locations.sql"),
    step!(9, "lockouts", "0009_lockouts.sql"),
    step!(10, "devices_of_entries", "0010_devices_of_entries.sql"),
];

/// From this step on it is known what each of them said.
const CHECKSUMS: i64 = 4;
/// When a step was applied that is not.
const UNFINISHED: Time = Time::from_micros(0);
/// How long another process may take.
const TURN_TRIES: u32 = 3_000;
const TURN_PAUSE: Duration = Duration::from_millis(200);

struct Step {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
    mariadb: &'static str,
}

impl Step {
    fn text(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
            Dialect::MariaDb => self.mariadb,
        }
    }

    /// The text as it is run. MariaDB and MySQL call the one collation that compares byte by byte by different names;
    /// each reads a comment that the other one passes over.
    fn script(&self, dialect: Dialect) -> Cow<'static, str> {
        let text = self.text(dialect);
        if dialect != Dialect::MariaDb {
            return text.into();
        }
        text.replace(" utf8mb4_nopad_bin", " /*M! utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */").into()
    }

    fn checksum(&self, dialect: Dialect) -> String {
        let sum = digest(&SHA256, self.text(dialect).as_bytes());
        sum.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }
}

/// How far a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Steps applied, oldest first: version, name and when.
    pub applied: Vec<(i64, String, Time)>,
    /// Steps this binary would apply: version and name.
    pub pending: Vec<(i64, &'static str)>,
}

/// Reads how far the database is.
///
/// # Errors
/// [`StoreError::Schema`] when the database belongs to something else or to a newer nauth, or when a
/// step of it is not whole.
pub async fn status(db: &Db) -> Result<Status, StoreError> {
    read_status(&mut On::Db(db)).await
}

/// Applies what is pending; answers what was applied.
pub async fn apply(db: &Db, now: Time) -> Result<Vec<(i64, &'static str)>, StoreError> {
    let mut applied = Vec::new();
    while let Some(step) = apply_next(db, now).await? {
        applied.push(step);
    }
    Ok(applied)
}

async fn apply_next(db: &Db, now: Time) -> Result<Option<(i64, &'static str)>, StoreError> {
    let mut tx = db.begin().await?;
    take_turn(&mut tx).await?;
    let applied = apply_pending(&mut tx, now).await;
    // Also of one that failed: this lock does not go with the transaction.
    if db.dialect() == Dialect::MariaDb {
        tx.whatever_happened(
            "SET SESSION /*M! max_statement_time */ /*!80017 max_execution_time */ = @limit_before; DO RELEASE_ALL_LOCKS();",
        )
        .await?;
    }
    if applied.as_ref().is_ok_and(Option::is_some) {
        tx.commit().await?;
    }
    applied
}

async fn apply_pending(tx: &mut Tx, now: Time) -> Result<Option<(i64, &'static str)>, StoreError> {
    let dialect = tx.dialect();
    // Read when it is our turn: another process may have applied the step meanwhile.
    let status = read_status(&mut On::Tx(tx)).await?;
    let Some((version, name)) = status.pending.first().copied() else { return Ok(None) };
    let step = STEPS.iter().find(|step| step.version == version).expect("pending steps are known steps");
    if status.applied.is_empty() {
        tx.script(
            "CREATE TABLE nauth_migrations (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, \
             applied_at BIGINT NOT NULL)",
        )
        .await?;
    }
    note(tx, version, name, if dialect == Dialect::MariaDb { UNFINISHED } else { now }).await?;
    tx.script(&step.script(dialect)).await?;
    if dialect == Dialect::MariaDb {
        finish(tx, version, now).await?;
    }
    if version >= CHECKSUMS {
        note_checksums(tx, version).await?;
    }
    Ok(Some((version, name)))
}

/// Waits until no other process changes the schema. A change takes as long as it takes.
async fn take_turn(tx: &mut Tx) -> Result<(), StoreError> {
    let (unlimited, turn) = match tx.dialect() {
        // Its transactions are one at a time already.
        Dialect::Sqlite => return Ok(()),
        Dialect::Postgres => (
            "SELECT set_config('statement_timeout', '0', true)",
            "SELECT CAST(CASE WHEN pg_try_advisory_xact_lock(hashtextextended(current_schema() || '.nauth_migrations', \
             0)) THEN 1 ELSE 0 END AS BIGINT) AS mine",
        ),
        Dialect::MariaDb => (
            "SET @limit_before = /*M! @@max_statement_time, SESSION max_statement_time */ \
             /*!80017 @@max_execution_time, SESSION max_execution_time */ = 0",
            "SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), '.nauth_migrations'), 224), 0) AS mine",
        ),
    };
    tx.script(unlimited).await?;
    for _ in 0..TURN_TRIES {
        let row = sql(turn).fetch_optional(&mut On::Tx(tx)).await?;
        if row.ok_or(StoreError::Corrupt("mine"))?.int("mine")? == 1 {
            return Ok(());
        }
        tokio::time::sleep(TURN_PAUSE).await;
    }
    Err(StoreError::Schema("another process has been changing the schema for ten minutes".to_owned()))
}

async fn note(tx: &mut Tx, version: i64, name: &str, at: Time) -> Result<(), StoreError> {
    sql("INSERT INTO nauth_migrations (version, name, applied_at) VALUES (?, ?, ?)")
        .bind(version)
        .bind(name)
        .bind(at)
        .execute(&mut On::Tx(tx))
        .await?;
    Ok(())
}

async fn finish(tx: &mut Tx, version: i64, now: Time) -> Result<(), StoreError> {
    sql("UPDATE nauth_migrations SET applied_at = ? WHERE version = ?")
        .bind(now)
        .bind(version)
        .execute(&mut On::Tx(tx))
        .await?;
    Ok(())
}

async fn note_checksums(tx: &mut Tx, until: i64) -> Result<(), StoreError> {
    let dialect = tx.dialect();
    for step in STEPS.iter().filter(|step| step.version <= until) {
        sql("UPDATE nauth_migrations SET checksum = ? WHERE version = ? AND checksum IS NULL")
            .bind(step.checksum(dialect))
            .bind(step.version)
            .execute(&mut On::Tx(tx))
            .await?;
    }
    Ok(())
}

async fn read_status(on: &mut On<'_>) -> Result<Status, StoreError> {
    let applied = read_ledger(on).await?;
    let newest = STEPS.last().map_or(0, |step| step.version);
    if let Some((version, ..)) = applied.last().filter(|(version, ..)| *version > newest) {
        return Err(StoreError::Schema(format!(
            "the database has schema {version}, this nauth knows schemas up to {newest}; run a newer nauth"
        )));
    }
    if let Some((version, name, _)) = applied.iter().find(|(.., at)| *at == UNFINISHED) {
        return Err(StoreError::Schema(format!(
            "step {version:04} {name} is not finished: another nauth is at it, or it broke off half way; if it did, \
             restore the database from a backup, or undo the step and delete its row in `{}`",
            on.named("nauth_migrations")
        )));
    }
    let have = applied.last().map_or(0, |(version, ..)| *version);
    if have >= CHECKSUMS {
        compare_checksums(on).await?;
    }
    let pending = STEPS.iter().filter(|step| step.version > have).map(|step| (step.version, step.name)).collect();
    Ok(Status { applied, pending })
}

/// The steps that were applied, finished or not; none of an empty database.
async fn read_ledger(on: &mut On<'_>) -> Result<Vec<(i64, String, Time)>, StoreError> {
    let tables = tables(on).await?;
    if !tables.contains(&on.named("nauth_migrations")) {
        // A file is ours alone; on a server other tables may stand beside ours.
        let is_foreign = |name: &&String| on.dialect() == Dialect::Sqlite || name.starts_with(&on.named("nauth_"));
        return match tables.iter().find(is_foreign) {
            None => Ok(Vec::new()),
            Some(table) => Err(StoreError::Schema(format!(
                "the database holds tables of something else (`{table}`); point `database.url` at a database of its \
                 own, or set another `database.table_prefix` on a server"
            ))),
        };
    }
    let rows = sql("SELECT version, name, applied_at FROM nauth_migrations ORDER BY version").fetch_all(on).await?;
    rows.iter().map(|row| Ok((row.int("version")?, row.text("name")?, row.time("applied_at")?))).collect()
}

async fn tables(on: &mut On<'_>) -> Result<Vec<String>, StoreError> {
    let text = match on.dialect() {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        }
        Dialect::Postgres => {
            "SELECT tablename AS name FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
        }
        Dialect::MariaDb => {
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name"
        }
    };
    sql(text).fetch_all(on).await?.iter().map(|row| row.text("name")).collect()
}

async fn compare_checksums(on: &mut On<'_>) -> Result<(), StoreError> {
    let dialect = on.dialect();
    for row in sql("SELECT version, checksum FROM nauth_migrations ORDER BY version").fetch_all(on).await? {
        let (version, noted) = (row.int("version")?, row.opt_text("checksum")?);
        let said = STEPS.iter().find(|step| step.version == version).map(|step| step.checksum(dialect));
        if noted.is_some() && noted != said {
            return Err(StoreError::Schema(format!(
                "step {version:04} was applied with another text than this nauth has; run the nauth that made the database"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_database_gets_every_step_once() {
        let db = Db::in_memory().await.unwrap();

        let first = apply(&db, Time::from_secs(1)).await.unwrap();
        let second = apply(&db, Time::from_secs(2)).await.unwrap();

        assert_eq!(first.len(), STEPS.len());
        assert!(second.is_empty());
        assert!(status(&db).await.unwrap().pending.is_empty());
    }

    #[tokio::test]
    async fn a_database_of_something_else_is_refused() {
        let db = Db::in_memory().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tx.script("CREATE TABLE invoices (id BIGINT)").await.unwrap();
        tx.commit().await.unwrap();

        let refused = apply(&db, Time::from_secs(1)).await.unwrap_err();

        assert!(refused.to_string().contains("`invoices`"), "{refused}");
    }

    #[tokio::test]
    async fn a_database_of_a_newer_nauth_is_refused() {
        let db = Db::in_memory().await.unwrap();
        apply(&db, Time::from_secs(1)).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        note(&mut tx, 9999, "future", Time::from_secs(2)).await.unwrap();
        tx.commit().await.unwrap();

        let refused = status(&db).await.unwrap_err();

        assert!(refused.to_string().contains("run a newer nauth"), "{refused}");
    }
}
