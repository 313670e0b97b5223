//! Floor 4, events: what happened is said once and heard by many.
//!
//! A use case makes its change in a [`Change`]: a transaction that also collects events, messages
//! and revocations. [`Events::commit`] writes the audit rows, the sealed messages and, last, the
//! revocations into the same transaction, commits, and only then tells metrics, the log, the
//! revocation set and the outbox. What changes nothing is [`Events::record`]ed through a
//! bounded queue, so an attack cannot turn the audit table into the bottleneck.

mod audit;
mod observe;
mod outlet;
mod recorder;
mod sinks;
mod wake;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::{Clock, Time};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::events::recorder::Entry;
use crate::mail::Message;
use crate::metrics::Metrics;
use crate::revocation::Revocations;
use crate::sealing::Sealer;
use crate::store::audit::AuditRow;
use crate::store::revocations::Revocation;
use crate::store::{Store, StoreError, Tx};

pub use outlet::Outlet;
pub use recorder::Recorder;
pub use sinks::{Feed, Outputs};
pub use wake::Wake;

/// Added to the life of the longest-lived token a revocation speaks of, beside the leeway.
const REVOCATION_MARGIN: Duration = Duration::from_mins(1);

/// Where changes are committed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    parts: Arc<Parts>,
}

/// What [`Events`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Learns of revocations at once.
    pub revocations: Arc<Revocations>,
    /// Seals messages.
    pub sealer: Arc<Sealer>,
    /// Who is told, and in which words.
    pub outlet: ArcSwap<Outlet>,
    /// Counts.
    pub metrics: Metrics,
    /// Takes events without a change.
    pub recorder: Recorder,
    /// Takes entries for files and standard output.
    pub feed: Feed,
    /// Woken when there is something to deliver.
    pub outbox: Arc<Wake>,
    /// The longest `jwt.leeway` there was, in milliseconds.
    pub leeway_ms: AtomicU64,
    /// The longest `jwt.access_ttl` there was, in milliseconds.
    pub access_ttl_ms: AtomicU64,
    /// Time.
    pub clock: Clock,
}

/// A transaction and what it is about.
#[derive(Debug)]
pub struct Change {
    tx: Tx,
    events: Vec<Event>,
    messages: Vec<(Message, Time)>,
    revocations: Vec<(Revocation, Time)>,
}

impl Change {
    /// Says that something happened.
    pub fn record(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Sends a message once the change is durable; after `expires_at` it is not worth sending.
    pub fn send(&mut self, message: Message, expires_at: Time) {
        self.messages.push((message, expires_at));
    }

    /// Revokes tokens, the latest of which expires at `latest_exp`.
    pub fn revoke(&mut self, revocation: Revocation, latest_exp: Time) {
        self.revocations.push((revocation, latest_exp));
    }
}

impl Deref for Change {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

impl Events {
    /// Events on these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Replaces who is told, and in which words.
    pub fn set_outlet(&self, outlet: Outlet) {
        self.parts.outlet.store(Arc::new(outlet));
    }

    /// Takes over another leeway and life of access tokens. Shorter ones change nothing: elsewhere the
    /// longer may still be in use.
    pub fn extend(&self, leeway: Duration, access_ttl: Duration) {
        self.parts.leeway_ms.fetch_max(millis(leeway), Ordering::Relaxed);
        self.parts.access_ttl_ms.fetch_max(millis(access_ttl), Ordering::Relaxed);
    }

    /// Until when a revocation is remembered that speaks of tokens which expire at `latest_exp`.
    ///
    /// A token that is minted while the change is under way is one of them, and its expiry may not be known.
    fn remembered_until(&self, latest_exp: Time, now: Time) -> Time {
        let lasting = |value: &AtomicU64| Duration::from_millis(value.load(Ordering::Relaxed));
        latest_exp.max(now + lasting(&self.parts.access_ttl_ms)) + lasting(&self.parts.leeway_ms) + REVOCATION_MARGIN
    }

    /// Writes what was recorded until cancelled.
    pub async fn run_recorder(&self, stop: CancellationToken) {
        self.parts.recorder.run(self, stop).await;
    }

    /// Writes lines of the audit trail until cancelled.
    pub async fn run_feed(&self, stop: CancellationToken) {
        self.parts.feed.run(self.parts.metrics.clone(), stop).await;
    }

    /// Writes what waits in queues, for a program that ends now.
    pub async fn flush(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.run_recorder(stop.clone()).await;
        self.run_feed(stop).await;
    }

    /// Starts a change.
    pub async fn begin(&self) -> Result<Change, StoreError> {
        let tx = self.parts.store.begin().await?;
        Ok(Change { tx, events: Vec::new(), messages: Vec::new(), revocations: Vec::new() })
    }

    /// Makes a change durable and tells everybody.
    pub async fn commit(&self, change: Change, ctx: &RequestContext) -> Result<(), Error> {
        let Change { mut tx, events, messages, revocations } = change;
        let now = self.parts.clock.now();
        let outlet = self.parts.outlet.load();
        let kept = events.iter().filter(|_| outlet.audit.enabled);
        let entries: Vec<(&Event, AuditRow)> = kept.filter_map(|event| Some((event, audit::row(event)?))).collect();
        let mut waiting = outlet.tell_users(&mut tx, &self.parts.sealer, &messages, now).await?;
        for (event, row) in &entries {
            audit::insert(&mut tx, row, ctx, now).await?;
            if !audit::is_about_an_entry(event) {
                waiting += outlet.tell_sinks(&mut tx, &self.parts.sealer, row, ctx, now).await?;
            }
        }
        waiting += outlet.tell_webhooks(&mut tx, &self.parts.sealer, &events, ctx, now).await?;
        let mut revoked = Vec::new();
        if !revocations.is_empty() {
            let until = |(what, exp): &(Revocation, Time)| (*what, self.remembered_until(*exp, now));
            let entries: Vec<_> = revocations.iter().map(until).collect();
            // Last of all, so that numbers become visible in the order of the commits.
            revoked = tx.revocations().append(&entries, now).await?;
        }
        tx.commit().await?;

        self.parts.revocations.apply_own(&revoked);
        for (_, row) in &entries {
            self.parts.feed.push(&outlet.outputs, row, ctx, now, &self.parts.metrics);
        }
        for event in &events {
            observe::observe(event, &self.parts.metrics);
        }
        if waiting > 0 {
            self.parts.outbox.all();
        }
        Ok(())
    }

    /// Says that something happened that changed nothing. Waits for its entry only where the settings
    /// say so; an entry that cannot be written is counted.
    pub async fn record(&self, event: &Event, ctx: &RequestContext) {
        let is_soon = {
            let outlet = self.parts.outlet.load();
            outlet.audit.queued || !outlet.audit.enabled
        };
        if is_soon {
            return self.record_soon(event, ctx);
        }
        observe::observe(event, &self.parts.metrics);
        let Some(row) = audit::row(event) else { return };
        let entry = Entry { row, ctx: ctx.clone(), at: self.parts.clock.now() };
        if let Err(error) = self.write(&[entry]).await {
            tracing::error!(error = %crate::logging::chain(&error), "an audit entry is lost");
            self.parts.metrics.audit_dropped(1);
        }
    }

    /// The same, and never waits.
    pub fn record_soon(&self, event: &Event, ctx: &RequestContext) {
        observe::observe(event, &self.parts.metrics);
        if let Some(row) = audit::row(event).filter(|_| self.parts.outlet.load().audit.enabled) {
            self.parts.recorder.push(row, ctx, self.parts.clock.now(), &self.parts.metrics);
        }
    }

    async fn write(&self, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let outlet = self.parts.outlet.load_full();
        let mut tx = self.parts.store.begin().await?;
        let mut waiting = 0;
        for Entry { row, ctx, at } in entries {
            if let (Some(session), None) = (ctx.session, ctx.device.get()) {
                // Where tokens alone are looked at, nobody has asked for the device.
                tx.sessions().by_id(session).await?.inspect(|session| ctx.comes_from(&session.device));
            }
            audit::insert(&mut tx, row, ctx, *at).await?;
            waiting += outlet.tell_sinks(&mut tx, &self.parts.sealer, row, ctx, *at).await?;
        }
        tx.commit().await?;
        for Entry { row, ctx, at } in entries {
            self.parts.feed.push(&outlet.outputs, row, ctx, *at, &self.parts.metrics);
        }
        if waiting > 0 {
            self.parts.outbox.all();
        }
        Ok(())
    }
}

/// A duration as [`Parts`] holds it.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
