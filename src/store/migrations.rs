//! Brings a database to the schema this binary was built for, or refuses it with a reason.
//!
//! Forward only, one transaction for each step, so several processes starting at once and a crash
//! half way both end in a whole schema.

use crate::domain::clock::Time;
use crate::store::db::{Db, On, StoreError, Tx, sql};

/// The steps, in order. A released step is never edited.
const STEPS: &[Step] = &[
    Step { version: 1, name: "init", sqlite: include_str!("../../migrations/sqlite/0001_init.sql") },
    Step { version: 2, name: "accounts", sqlite: include_str!("../../migrations/sqlite/0002_accounts.sql") },
    Step { version: 3, name: "signing_keys", sqlite: include_str!("../../migrations/sqlite/0003_signing_keys.sql") },
];

struct Step {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
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
/// [`StoreError::Schema`] when the database belongs to something else or to a newer nauth.
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
    // Read inside the transaction: another process may have applied the step meanwhile.
    let status = read_status(&mut On::Tx(&mut tx)).await?;
    let Some((version, name)) = status.pending.first().copied() else { return Ok(None) };
    let step = STEPS.iter().find(|step| step.version == version).expect("pending steps are known steps");
    if status.applied.is_empty() {
        tx.script(
            "CREATE TABLE nauth_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)",
        )
        .await?;
    }
    tx.script(step.sqlite).await?;
    record(&mut tx, version, name, now).await?;
    tx.commit().await?;
    Ok(Some((version, name)))
}

async fn record(tx: &mut Tx, version: i64, name: &str, now: Time) -> Result<(), StoreError> {
    sql("INSERT INTO nauth_migrations (version, name, applied_at) VALUES (?, ?, ?)")
        .bind(version)
        .bind(name)
        .bind(now)
        .execute(&mut On::Tx(tx))
        .await?;
    Ok(())
}

async fn read_status(on: &mut On<'_>) -> Result<Status, StoreError> {
    let tables = sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .fetch_all(on)
        .await?
        .iter()
        .map(|row| row.text("name"))
        .collect::<Result<Vec<_>, _>>()?;
    let ours = tables.iter().any(|name| name == "nauth_migrations");
    if !ours && !tables.is_empty() {
        return Err(StoreError::Schema(format!(
            "the database holds tables of something else (`{}`); point `database.url` at a database of its own",
            tables[0]
        )));
    }

    let mut applied = Vec::new();
    if ours {
        for row in sql("SELECT version, name, applied_at FROM nauth_migrations ORDER BY version").fetch_all(on).await? {
            applied.push((row.int("version")?, row.text("name")?, row.time("applied_at")?));
        }
    }
    let newest = STEPS.last().map_or(0, |step| step.version);
    if let Some((version, ..)) = applied.last().filter(|(version, ..)| *version > newest) {
        return Err(StoreError::Schema(format!(
            "the database has schema {version}, this nauth knows schemas up to {newest}; run a newer nauth"
        )));
    }
    let have = applied.last().map_or(0, |(version, ..)| *version);
    let pending = STEPS.iter().filter(|step| step.version > have).map(|step| (step.version, step.name)).collect();
    Ok(Status { applied, pending })
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
        record(&mut tx, 9999, "future", Time::from_secs(2)).await.unwrap();
        tx.commit().await.unwrap();

        let refused = status(&db).await.unwrap_err();

        assert!(refused.to_string().contains("run a newer nauth"), "{refused}");
    }
}
