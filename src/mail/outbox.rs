//! The dispatcher: takes due messages from the outbox, delivers them, backs off, gives up.
//!
//! A message is claimed for a while, so a dispatcher that dies with one loses it to the next.
//! Delivery is at least once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::domain::clock::{Clock, Time};
use crate::mail::{DeliveryError, Rendered, Transport};
use crate::metrics::{MailResult, MailTemplate, Metrics};
use crate::sealing::{OUTBOX, Sealer};
use crate::store::outbox::OutboxRow;
use crate::store::{Store, StoreError};

/// Messages claimed in one go, and delivered side by side.
const BATCH: i64 = 4;
/// How long a claim lasts; longer than any delivery.
const LEASE: Duration = Duration::from_mins(2);
/// Longest sleep while nothing is announced: another process may have written a message.
const POLL: Duration = Duration::from_secs(1);
/// Deliveries tried before a message is given up.
const MAX_ATTEMPTS: i64 = 8;
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_hours(1);

/// Delivers messages.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    /// Where messages wait.
    pub store: Store,
    /// Opens them.
    pub sealer: Arc<Sealer>,
    /// Takes them out of the house.
    pub transport: Arc<arc_swap::ArcSwap<Box<dyn Transport>>>,
    /// Counts.
    pub metrics: Metrics,
    /// Announces new messages.
    pub wake: Arc<Notify>,
    /// Time.
    pub clock: Clock,
}

impl Dispatcher {
    /// Delivers until cancelled; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let delivered = self.deliver_due().await;
            if let (Err(error), false) = (&delivered, failing) {
                error!(error = %crate::logging::chain(error), "the outbox cannot be read; messages wait");
            }
            failing = delivered.is_err();
            if delivered.is_ok_and(|count| count > 0) && !stop.is_cancelled() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Delivers what is due now; answers how many messages it took.
    pub async fn deliver_due(&self) -> Result<usize, StoreError> {
        // Looking is cheap and happens often; taking is a write and happens only when there is something.
        let now = self.clock.now();
        if self.store.outbox().next_due().await?.is_none_or(|due| due > now) {
            return Ok(0);
        }
        let mut tx = self.store.begin().await?;
        let rows = tx.outbox().claim(now, LEASE, BATCH).await?;
        tx.commit().await?;
        let deliveries = rows.iter().map(|row| self.deliver(row));
        for done in futures_util::future::join_all(deliveries).await {
            done?;
        }
        Ok(rows.len())
    }

    async fn deliver(&self, row: &OutboxRow) -> Result<(), StoreError> {
        let now = self.clock.now();
        if row.expires_at <= now {
            return self.give_up(row, "it expired before it could be delivered").await;
        }
        let opened = self.sealer.open(OUTBOX, row.id, &row.sealed).map_err(|error| error.to_string());
        let message = opened.and_then(|body| {
            serde_json::from_slice::<Rendered>(&body).map_err(|_| "its body cannot be read".to_owned())
        });
        let message = match message {
            Ok(message) => message,
            Err(reason) => return self.give_up(row, &reason).await,
        };
        let transport = self.transport.load_full();
        match transport.deliver(&message).await {
            Ok(()) => {
                self.metrics.email(MailTemplate::Verification, MailResult::Delivered);
                self.store.outbox().delivered(row.id, self.clock.now()).await
            }
            Err(DeliveryError::Permanent(reason)) => self.give_up(row, &reason).await,
            Err(DeliveryError::Temporary(reason)) if row.attempts >= MAX_ATTEMPTS => self.give_up(row, &reason).await,
            Err(DeliveryError::Temporary(reason)) => self.try_later(row, &reason).await,
        }
    }

    async fn try_later(&self, row: &OutboxRow, reason: &str) -> Result<(), StoreError> {
        let due = next_try(self.clock.now(), row.attempts);
        self.metrics.email(MailTemplate::Verification, MailResult::Retried);
        warn!(
            message.id = row.id,
            message.kind = row.kind,
            attempts = row.attempts,
            reason,
            "mail was not delivered; trying again"
        );
        self.store.outbox().retry(row.id, due, reason).await
    }

    async fn give_up(&self, row: &OutboxRow, reason: &str) -> Result<(), StoreError> {
        self.metrics.email(MailTemplate::Verification, MailResult::Dead);
        error!(message.id = row.id, message.kind = row.kind, attempts = row.attempts, reason, "mail is given up");
        self.store.outbox().dead(row.id, reason, self.clock.now()).await
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
