//! First sights: when a token of a new generation is used, its predecessor is on its way out.
//!
//! Noted once for each token by each node, off the path of the request, several in one transaction.

use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::domain::context::RequestContext;
use crate::domain::id::SessionId;
use crate::domain::session::Seen;
use crate::store::{Store, StoreError};
use crate::tokens::AccessToken;

/// Sights that may wait.
const CAPACITY: usize = 4096;
/// Sights written in one transaction.
const BATCH: usize = 128;

/// The queue's entrance and, until somebody runs it, its exit.
#[derive(Debug)]
pub struct Sightings {
    entrance: mpsc::Sender<Sighting>,
    exit: Mutex<Option<mpsc::Receiver<Sighting>>>,
}

#[derive(Debug)]
struct Sighting {
    session: SessionId,
    generation: i64,
    seen: Seen,
}

impl Default for Sightings {
    fn default() -> Self {
        let (entrance, exit) = mpsc::channel(CAPACITY);
        Self { entrance, exit: Mutex::new(Some(exit)) }
    }
}

impl Sightings {
    /// Writes sights until cancelled. The first caller gets the work.
    pub async fn run(&self, store: Store, stop: CancellationToken) {
        let taken = self.exit.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut exit) = taken else { return };
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = exit.recv_many(&mut batch, BATCH) => if received == 0 { return },
            }
            // A sight that is lost only prolongs the grace until the next one.
            if let Err(error) = write(&store, &batch).await {
                tracing::warn!(error = %crate::logging::chain(&error), "first sights of tokens are not noted");
            }
            batch.clear();
        }
    }
}

impl Auth {
    /// Notes that a client uses this token. Costs nothing after the first time.
    pub fn note_use(&self, token: &AccessToken, ctx: impl FnOnce() -> RequestContext) {
        // The first generation has no predecessor that could be on its way out.
        if token.claims.generation <= 1 || !token.first_sight() {
            return;
        }
        let ctx = ctx();
        let seen = Seen {
            at: self.now(),
            prefix: ctx.address_prefix().to_string(),
            user_agent: ctx.user_agent.as_deref().unwrap_or("").to_owned(),
        };
        let sighting = Sighting { session: token.session, generation: token.claims.generation, seen };
        // A full queue is a busy node; another token of the generation will be seen.
        let _ = self.parts.sightings.entrance.try_send(sighting);
    }
}

async fn write(store: &Store, batch: &[Sighting]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for sighting in batch {
        tx.sessions().note_seen(sighting.session, sighting.generation, &sighting.seen).await?;
    }
    tx.commit().await
}
