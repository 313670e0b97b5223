//! The queue for audit entries that belong to no change: failed logins, mostly.

use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::store::audit::AuditRow;

/// Entries that may wait.
const CAPACITY: usize = 4096;
/// Entries written in one transaction.
const BATCH: usize = 256;

/// The queue's entrance and, until somebody runs it, its exit.
#[derive(Debug)]
pub struct Recorder {
    entrance: mpsc::Sender<Entry>,
    exit: Mutex<Option<mpsc::Receiver<Entry>>>,
}

/// An entry on its way into the trail.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: AuditRow,
    pub(super) ctx: RequestContext,
    pub(super) at: Time,
}

impl Default for Recorder {
    fn default() -> Self {
        let (entrance, exit) = mpsc::channel(CAPACITY);
        Self { entrance, exit: Mutex::new(Some(exit)) }
    }
}

impl Recorder {
    /// Puts an entry into the queue; counts it as lost when the queue is full.
    pub(super) fn push(&self, row: AuditRow, ctx: &RequestContext, at: Time, metrics: &Metrics) {
        if self.entrance.try_send(Entry { row, ctx: ctx.clone(), at }).is_err() {
            metrics.audit_dropped(1);
        }
    }

    /// Has entries written until cancelled, then what is left. The first caller gets the work.
    pub(super) async fn run(&self, events: &Events, stop: CancellationToken) {
        let taken = self.exit.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut exit) = taken else { return };
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let stopping = tokio::select! {
                received = exit.recv_many(&mut batch, BATCH) => received == 0,
                () = stop.cancelled() => {
                    exit.close();
                    exit.recv_many(&mut batch, BATCH).await == 0
                }
            };
            if let Err(error) = events.write(&batch).await {
                tracing::error!(error = %crate::logging::chain(&error), lost = batch.len(), "audit entries are lost");
                events.parts.metrics.audit_dropped(batch.len() as u64);
            }
            batch.clear();
            if stopping {
                return;
            }
        }
    }
}
