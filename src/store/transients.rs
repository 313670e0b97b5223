//! Counters and their like, where nodes share them by the database: texts under names, each with its end.
//!
//! A row is taken over again and again, and leaves long after its end: a row that came and went
//! beneath those who want it would make a server choose whom of them to refuse.

use std::time::Duration;

use crate::domain::clock::Time;
use crate::store::db::{Dialect, On, StoreError, sql};

/// So long ago has ended what is removed: also by a clock that is behind.
const REMOVED: Duration = Duration::from_mins(1);
/// So long ago has ended what is swept out.
const SWEPT: Duration = Duration::from_mins(10);
/// Rows looked at by one statement then.
const BATCH: i64 = 5_000;

/// Short-lived values, outside or inside a transaction.
#[derive(Debug)]
pub struct Transients<'a> {
    on: On<'a>,
}

impl<'a> Transients<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Reads what has not ended.
    pub async fn load(&mut self, name: &str, now: Time) -> Result<Option<String>, StoreError> {
        let found = sql("SELECT value FROM nauth_transient WHERE name = ? AND ends_at > ?")
            .bind(name)
            .bind(now)
            .fetch_optional(&mut self.on)
            .await?;
        found.map(|row| row.text("value")).transpose()
    }

    /// Writes a value where nothing stands, or what has ended; answers whether it did.
    pub async fn begin(&mut self, name: &str, value: &str, ends_at: Time, now: Time) -> Result<bool, StoreError> {
        if self.on.dialect() != Dialect::MariaDb {
            let rows = sql("INSERT INTO nauth_transient (name, value, ends_at) VALUES (?, ?, ?) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value, ends_at = excluded.ends_at \
                 WHERE nauth_transient.ends_at <= ?")
            .bind(name)
            .bind(value)
            .bind(ends_at)
            .bind(now)
            .execute(&mut self.on)
            .await?;
            return Ok(rows == 1);
        }
        let rows = sql("UPDATE nauth_transient SET value = ?, ends_at = ? WHERE name = ? AND ends_at <= ?")
            .bind(value)
            .bind(ends_at)
            .bind(name)
            .bind(now)
            .execute(&mut self.on)
            .await?;
        if rows == 1 {
            return Ok(true);
        }
        let inserted = sql("INSERT INTO nauth_transient (name, value, ends_at) VALUES (?, ?, ?)")
            .bind(name)
            .bind(value)
            .bind(ends_at)
            .execute(&mut self.on)
            .await;
        match inserted {
            Ok(rows) => Ok(rows == 1),
            Err(StoreError::Taken(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a value, whatever stands there.
    pub async fn put(&mut self, name: &str, value: &str, ends_at: Time, now: Time) -> Result<(), StoreError> {
        // What another inserts between the two is replaced by the third: rows do not go away so soon.
        if !self.replace(name, value, ends_at).await? && !self.begin(name, value, ends_at, now).await? {
            self.replace(name, value, ends_at).await?;
        }
        Ok(())
    }

    async fn replace(&mut self, name: &str, value: &str, ends_at: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_transient SET value = ?, ends_at = ? WHERE name = ?")
            .bind(value)
            .bind(ends_at)
            .bind(name)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Writes a value in the place of the one that is `held`; answers whether that one still stood there.
    pub async fn swap(
        &mut self,
        name: &str,
        held: &str,
        value: &str,
        ends_at: Time,
        now: Time,
    ) -> Result<bool, StoreError> {
        let rows =
            sql("UPDATE nauth_transient SET value = ?, ends_at = ? WHERE name = ? AND value = ? AND ends_at > ?")
                .bind(value)
                .bind(ends_at)
                .bind(name)
                .bind(held)
                .bind(now)
                .execute(&mut self.on)
                .await?;
        Ok(rows == 1)
    }

    /// Removes a value if it is `held`; answers whether it was.
    pub async fn remove(&mut self, name: &str, held: &str, now: Time) -> Result<bool, StoreError> {
        self.swap(name, held, "", now - REMOVED, now).await
    }

    /// Removes whatever stands there.
    pub async fn delete(&mut self, name: &str, now: Time) -> Result<(), StoreError> {
        self.replace(name, "", now - REMOVED).await.map(drop)
    }

    /// Takes the rows away that ended a while ago, some at a time; answers how many.
    pub async fn purge(&mut self, now: Time) -> Result<u64, StoreError> {
        let (mut rows, mut after) = (0, String::new());
        loop {
            let last = sql("SELECT name FROM nauth_transient WHERE name > ? ORDER BY name LIMIT 1 OFFSET ?")
                .bind(after.as_str())
                .bind(BATCH - 1)
                .fetch_optional(&mut self.on)
                .await?;
            let Some(last) = last else { break };
            let last = last.text("name")?;
            rows += sql("DELETE FROM nauth_transient WHERE name > ? AND name <= ? AND ends_at <= ?")
                .bind(after)
                .bind(last.as_str())
                .bind(now - SWEPT)
                .execute(&mut self.on)
                .await?;
            after = last;
        }
        rows += sql("DELETE FROM nauth_transient WHERE name > ? AND ends_at <= ?")
            .bind(after)
            .bind(now - SWEPT)
            .execute(&mut self.on)
            .await?;
        Ok(rows)
    }
}
