//! Which node runs a job now, and when it last ran.

use std::time::Duration;

use crate::domain::clock::Time;
use crate::store::db::{On, StoreError, sql};

/// The jobs, outside or inside a transaction.
#[derive(Debug)]
pub struct Jobs<'a> {
    on: On<'a>,
}

impl<'a> Jobs<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Takes a job for `lease`, if nobody has it and it last ran `every` ago or longer; answers
    /// whether it did. Whoever crashes with one loses it when the lease ends. A transaction in which
    /// it was not taken is good for nothing more.
    pub async fn take(
        &mut self,
        name: &str,
        holder: &str,
        every: Duration,
        lease: Duration,
        now: Time,
    ) -> Result<bool, StoreError> {
        let known = sql("SELECT name FROM nauth_jobs WHERE name = ?").bind(name).fetch_optional(&mut self.on).await?;
        if known.is_none() {
            let inserted = sql("INSERT INTO nauth_jobs (name, holder, locked_until) VALUES (?, ?, ?)")
                .bind(name)
                .bind(holder)
                .bind(now + lease)
                .execute(&mut self.on)
                .await;
            return match inserted {
                Ok(rows) => Ok(rows == 1),
                Err(StoreError::Taken(_)) => Ok(false),
                Err(error) => Err(error),
            };
        }
        let rows = sql("UPDATE nauth_jobs SET holder = ?, locked_until = ? \
             WHERE name = ? AND locked_until <= ? AND (ran_at IS NULL OR ran_at <= ?)")
        .bind(holder)
        .bind(now + lease)
        .bind(name)
        .bind(now)
        .bind(now - every)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Gives a job back, done.
    pub async fn done(&mut self, name: &str, holder: &str, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_jobs SET locked_until = ?, ran_at = ? WHERE name = ? AND holder = ?")
            .bind(now)
            .bind(now)
            .bind(name)
            .bind(holder)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }
}
