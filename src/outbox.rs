//! Floor 4, the outbox: what was written with a change leaves the house after it.
//!
//! Each channel (mail, text messages, webhooks) has a loop of its own, so that a slow mail server
//! holds up nothing else. A message is taken for a lease; whoever crashes with one loses it to the
//! next. Failures are tried again with growing pauses, and given up in the end.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::domain::clock::{Clock, Time};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::events::{Events, Wake};
use crate::mail::{DeliveryError, Rendered, Transport};
use crate::metrics::{DeliveryResult, MailTemplate, Metrics};
use crate::sealing::{OUTBOX, Sealer};
use crate::store::outbox::{Channel, OutboxRow};
use crate::store::{Store, StoreError};
use crate::webhooks::Webhooks;

/// How long a delivery may take before somebody else may try.
const LEASE: Duration = Duration::from_secs(90);
/// Messages of one channel delivered side by side.
const BATCH: i64 = 16;
/// How often the outbox is looked at when nobody says that there is something.
const POLL: Duration = Duration::from_secs(1);
/// Tries before a message is given up.
const MAX_ATTEMPTS: i64 = 12;
/// Most characters kept of why a webhook was given up.
const MAX_CAUSE: usize = 200;
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// The ways out. Replaced as a whole by a reload.
#[derive(Debug)]
pub struct WaysOut {
    /// Mail.
    pub mail: Box<dyn Transport>,
    /// Text messages.
    pub sms: Box<dyn Transport>,
    /// Webhooks.
    pub webhooks: Webhooks,
}

/// Delivers what the outbox holds.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    /// The database.
    pub store: Store,
    /// Opens bodies.
    pub sealer: Arc<Sealer>,
    /// Says what is given up.
    pub events: Events,
    /// The ways out.
    pub ways: Arc<ArcSwap<WaysOut>>,
    /// Counts.
    pub metrics: Metrics,
    /// Announces new messages, to each channel.
    pub wake: Arc<Wake>,
    /// Time.
    pub clock: Clock,
}

/// Takes one kind of message out of the house.
#[async_trait]
trait Deliver {
    async fn deliver(&self, row: &OutboxRow, body: &[u8]) -> Result<(), DeliveryError>;
}

#[async_trait]
impl Deliver for Box<dyn Transport> {
    async fn deliver(&self, _row: &OutboxRow, body: &[u8]) -> Result<(), DeliveryError> {
        let message: Rendered =
            serde_json::from_slice(body).map_err(|_| DeliveryError::Permanent("its body cannot be read".to_owned()))?;
        self.as_ref().deliver(&message).await
    }
}

#[async_trait]
impl Deliver for Webhooks {
    async fn deliver(&self, row: &OutboxRow, body: &[u8]) -> Result<(), DeliveryError> {
        self.deliver(row.target.as_deref().unwrap_or(""), body).await
    }
}

impl Dispatcher {
    /// Delivers one channel's messages until cancelled; what is under way is finished.
    pub async fn run(self, channel: Channel, stop: CancellationToken) {
        // Nobody else can have claimed anything: what a run that crashed had in hand need not wait for its lease.
        if self.store.is_of_one_node()
            && let Err(error) = self.take_over(channel).await
        {
            warn!(error = %crate::logging::chain(&error), "what the last run left waits until it is due");
        }
        let mut failing = false;
        loop {
            let delivered = self.deliver_due(channel).await;
            if let (Err(error), false) = (&delivered, failing) {
                error!(error = %crate::logging::chain(error), "the outbox cannot be read; messages wait");
            }
            failing = delivered.is_err();
            if delivered.is_ok_and(|count| count > 0) && !stop.is_cancelled() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.next(channel) => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn take_over(&self, channel: Channel) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.outbox().hurry(channel, self.clock.now()).await?;
        tx.commit().await
    }

    /// Delivers what is due now; answers how many messages it took.
    pub async fn deliver_due(&self, channel: Channel) -> Result<usize, Error> {
        // Looking is cheap and happens often; taking is a write and happens only when there is something.
        let now = self.clock.now();
        if self.store.outbox().next_due(channel).await?.is_none_or(|due| due > now) {
            return Ok(0);
        }
        let mut tx = self.store.begin().await?;
        let rows = tx.outbox().claim(channel, now, LEASE, BATCH).await?;
        tx.commit().await?;
        let deliveries = rows.iter().map(|row| self.deliver(channel, row));
        for done in futures_util::future::join_all(deliveries).await {
            done?;
        }
        Ok(rows.len())
    }

    async fn deliver(&self, channel: Channel, row: &OutboxRow) -> Result<(), Error> {
        let now = self.clock.now();
        if row.expires_at <= now {
            return self.give_up(channel, row, "it expired before it could be delivered").await;
        }
        let body = match self.sealer.open(OUTBOX, row.id, &row.sealed) {
            Ok(body) => body,
            Err(error) => return self.give_up(channel, row, &error.to_string()).await,
        };
        let ways = self.ways.load_full();
        let delivered = match channel {
            Channel::Email => Deliver::deliver(&ways.mail, row, &body).await,
            Channel::Sms => Deliver::deliver(&ways.sms, row, &body).await,
            Channel::Webhook => Deliver::deliver(&ways.webhooks, row, &body).await,
        };
        let max = match channel {
            Channel::Email | Channel::Sms => MAX_ATTEMPTS,
            Channel::Webhook => ways.webhooks.max_attempts(row.target.as_deref().unwrap_or("")),
        };
        match delivered {
            Ok(()) => {
                self.count(channel, row, DeliveryResult::Delivered);
                Ok(self.store.outbox().delivered(row.id, self.clock.now()).await?)
            }
            Err(DeliveryError::Permanent(reason)) => self.give_up(channel, row, &reason).await,
            Err(DeliveryError::Temporary(reason)) if row.attempts >= max => self.give_up(channel, row, &reason).await,
            Err(DeliveryError::Temporary(reason)) => self.try_later(channel, row, &reason).await,
        }
    }

    async fn try_later(&self, channel: Channel, row: &OutboxRow, reason: &str) -> Result<(), Error> {
        let due = next_try(self.clock.now(), row.attempts);
        self.count(channel, row, DeliveryResult::Retried);
        warn!(
            channel = channel.as_str(),
            message.id = row.id,
            message.kind = row.kind,
            attempts = row.attempts,
            reason,
            "a message was not delivered; trying again"
        );
        Ok(self.store.outbox().retry(row.id, due, reason).await?)
    }

    /// Gives a message up. Of a webhook the audit trail tells, in the same transaction.
    async fn give_up(&self, channel: Channel, row: &OutboxRow, reason: &str) -> Result<(), Error> {
        let mut change = self.events.begin().await?;
        if !change.outbox().dead(row.id, reason, self.clock.now()).await? {
            // Another node had it, too, and knows better.
            return Ok(());
        }
        if channel == Channel::Webhook {
            change.record(Event::WebhookFailed {
                webhook: row.target.clone().unwrap_or_default(),
                event: row.kind.clone(),
                attempts: row.attempts,
                cause: reason.chars().take(MAX_CAUSE).collect(),
            });
        }
        self.events.commit(change, &RequestContext::local()).await?;
        self.count(channel, row, DeliveryResult::Dead);
        error!(
            channel = channel.as_str(),
            message.id = row.id,
            message.kind = row.kind,
            attempts = row.attempts,
            reason,
            "a message is given up"
        );
        Ok(())
    }

    fn count(&self, channel: Channel, row: &OutboxRow, result: DeliveryResult) {
        match channel {
            Channel::Email => {
                if let Some(template) = MailTemplate::ALL.iter().find(|template| template.as_str() == row.kind) {
                    self.metrics.email(*template, result);
                }
            }
            Channel::Webhook => self.metrics.webhook(row.target.as_deref().unwrap_or(""), result),
            // Text messages have no series of their own; what becomes of them is in the log.
            Channel::Sms => {}
        }
    }
}

/// One second, two, four, … with up to a quarter more, so that many messages do not come back together.
fn next_try(now: Time, attempts: i64) -> Time {
    let exponent = u32::try_from(attempts - 1).unwrap_or(0).min(16);
    let pause = Duration::from_secs(1 << exponent).min(MAX_PAUSE);
    let jitter = pause.mul_f64(f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 1024.0);
    now + pause + jitter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let now = Time::from_secs(0);
        for (attempts, least) in [(1, 1), (2, 2), (5, 16), (40, 3600)] {
            let pause = next_try(now, attempts).since(now);
            let least = Duration::from_secs(least);
            assert!(pause >= least && pause <= least.mul_f64(1.25), "{attempts}: {pause:?}");
        }
    }
}
