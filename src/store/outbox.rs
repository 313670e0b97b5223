//! Messages on their way, written in the transaction that causes them.
//!
//! A body is sealed from the moment it is written and blanked once the message is delivered or
//! given up.

use std::time::Duration;

use crate::domain::clock::Time;
use crate::store::db::{On, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const FINISHED: Sweep = sweep!("nauth_outbox", "id", "finished_at < ?", "finished_at");

/// The ways out of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Mail.
    Email,
    /// Text messages.
    Sms,
    /// Webhooks.
    Webhook,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Email, Self::Sms, Self::Webhook];

    /// The stored name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Webhook => "webhook",
        }
    }
}

/// A message about to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage<'a> {
    /// Part of what the body is sealed with.
    pub id: i64,
    /// Which way it goes.
    pub channel: Channel,
    /// The name of the webhook.
    pub target: Option<&'a str>,
    /// What kind of message, a closed list's name.
    pub kind: &'a str,
    /// The sealed body.
    pub sealed: &'a str,
    /// Not worth delivering after this.
    pub expires_at: Time,
}

/// One message to deliver.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Part of what the body is sealed with.
    pub id: i64,
    /// What kind of message, a closed list's name.
    pub kind: String,
    /// The name of the webhook.
    pub target: Option<String>,
    /// The sealed body.
    pub sealed: String,
    /// Deliveries tried, this one included.
    pub attempts: i64,
    /// Not worth delivering after this.
    pub expires_at: Time,
    /// When it was written.
    pub created_at: Time,
}

/// The outbox, outside or inside a transaction.
#[derive(Debug)]
pub struct Outbox<'a> {
    on: On<'a>,
}

impl<'a> Outbox<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Puts a sealed message into the outbox, due at once.
    pub async fn insert(&mut self, message: &NewMessage<'_>, now: Time) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_outbox (id, channel, target, kind, state, sealed, attempts, due_at, expires_at, \
             created_at) VALUES (?, ?, ?, ?, 'waiting', ?, 0, ?, ?, ?)")
        .bind(message.id)
        .bind(message.channel.as_str())
        .bind(message.target)
        .bind(message.kind)
        .bind(message.sealed)
        .bind(now)
        .bind(message.expires_at)
        .bind(now)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Takes up to `limit` due messages of a channel for `lease`; whoever crashes with one loses it to the next.
    /// Whoever claims at the same time does so in the same order, and waits instead of standing in the way.
    pub async fn claim(
        &mut self,
        channel: Channel,
        now: Time,
        lease: Duration,
        limit: i64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = sql("SELECT id, kind, target, sealed, attempts, due_at, expires_at, created_at FROM nauth_outbox \
             WHERE channel = ? AND state = 'waiting' AND due_at <= ? ORDER BY due_at, created_at LIMIT ?")
        .bind(channel.as_str())
        .bind(now)
        .bind(limit)
        .fetch_all(&mut self.on)
        .await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, attempts, due_at) = (row.int("id")?, row.int("attempts")?, row.time("due_at")?);
            let won = sql("UPDATE nauth_outbox SET attempts = attempts + 1, due_at = ? \
                 WHERE id = ? AND state = 'waiting' AND attempts = ? AND due_at = ?")
            .bind(now + lease)
            .bind(id)
            .bind(attempts)
            .bind(due_at)
            .execute(&mut self.on)
            .await?;
            if won == 1 {
                claimed.push(OutboxRow {
                    id,
                    kind: row.text("kind")?,
                    target: row.opt_text("target")?,
                    sealed: row.text("sealed")?,
                    attempts: attempts + 1,
                    expires_at: row.time("expires_at")?,
                    created_at: row.time("created_at")?,
                });
            }
        }
        Ok(claimed)
    }

    /// When the next waiting message of a channel is due.
    pub async fn next_due(&mut self, channel: Channel) -> Result<Option<Time>, StoreError> {
        let row = sql("SELECT MIN(due_at) AS due_at FROM nauth_outbox WHERE channel = ? AND state = 'waiting'")
            .bind(channel.as_str())
            .fetch_optional(&mut self.on)
            .await?;
        Ok(row.map(|row| row.opt_time("due_at")).transpose()?.flatten())
    }

    /// Makes all waiting messages of a channel due, claimed ones and those left for later.
    pub async fn hurry(&mut self, channel: Channel, now: Time) -> Result<u64, StoreError> {
        sql("UPDATE nauth_outbox SET due_at = ? WHERE channel = ? AND state = 'waiting' AND due_at > ?")
            .bind(now)
            .bind(channel.as_str())
            .bind(now)
            .execute(&mut self.on)
            .await
    }

    /// How many messages of a channel are waiting.
    pub async fn count_waiting(&mut self, channel: Channel) -> Result<i64, StoreError> {
        let row = sql("SELECT COUNT(*) AS waiting FROM nauth_outbox WHERE channel = ? AND state = 'waiting'")
            .bind(channel.as_str())
            .fetch_optional(&mut self.on)
            .await?;
        row.map_or(Ok(0), |row| row.int("waiting"))
    }

    /// Marks a message delivered and blanks its body.
    pub async fn delivered(&mut self, id: i64, now: Time) -> Result<(), StoreError> {
        sql(
            "UPDATE nauth_outbox SET state = 'delivered', sealed = '', last_error = NULL, finished_at = ? WHERE id = ?",
        )
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Gives a message up that still waits, and blanks its body; answers whether it did.
    pub async fn dead(&mut self, id: i64, error: &str, now: Time) -> Result<bool, StoreError> {
        let given_up = sql("UPDATE nauth_outbox SET state = 'dead', sealed = '', last_error = ?, finished_at = ? \
             WHERE id = ? AND state = 'waiting'")
        .bind(error)
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(given_up == 1)
    }

    /// Leaves a message for later.
    pub async fn retry(&mut self, id: i64, due_at: Time, error: &str) -> Result<(), StoreError> {
        sql("UPDATE nauth_outbox SET due_at = ?, last_error = ? WHERE id = ? AND state = 'waiting'")
            .bind(due_at)
            .bind(error)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Removes messages finished before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        FINISHED.run(&mut self.on, before).await
    }
}
