//! First sights: when a token of a new generation is used, its predecessor is on its way out. And,
//! where sessions end by idleness, signs of life.
//!
//! Noted once for each token by each node (signs of life a few times within the idle timeout), off
//! the path of the request, several in one transaction.

use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::id::SessionId;
use crate::domain::session::Seen;
use crate::store::{Store, StoreError};
use crate::tokens::AccessToken;

/// Sights that may wait.
const CAPACITY: usize = 4096;
/// Signs of life within one idle timeout.
const SIGNS_OF_LIFE: u32 = 8;
/// Sights written in one transaction.
const BATCH: usize = 128;

/// The queue's entrance and, until somebody runs it, its exit.
#[derive(Debug)]
pub struct Sightings {
    entrance: mpsc::Sender<Sighting>,
    exit: Mutex<Option<mpsc::Receiver<Sighting>>>,
}

#[derive(Debug)]
enum Sighting {
    First { session: SessionId, generation: i64, seen: Seen },
    Activity { session: SessionId, at: Time },
}

impl Sighting {
    fn session(&self) -> SessionId {
        match self {
            Self::First { session, .. } | Self::Activity { session, .. } => *session,
        }
    }
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
            // In one order, so that nodes that note the same sessions wait and do not stand in each other's way.
            batch.sort_by_key(Sighting::session);
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
        self.note_activity(token);
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
        let sighting = Sighting::First { session: token.session, generation: token.claims.generation, seen };
        // A full queue is a busy node; another token of the generation will be seen.
        let _ = self.parts.sightings.entrance.try_send(sighting);
    }

    /// Notes that a session is in use, where sessions end by idleness.
    /// A sign of life of the session behind a token, which keeps it from lapsing for want of any.
    pub fn note_activity(&self, token: &AccessToken) {
        let idle = self.settings.session.idle_timeout;
        if idle.is_zero() {
            return;
        }
        let at = self.now();
        if token.is_activity_due(at, idle / SIGNS_OF_LIFE) {
            let _ = self.parts.sightings.entrance.try_send(Sighting::Activity { session: token.session, at });
        }
    }
}

async fn write(store: &Store, batch: &[Sighting]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for sighting in batch {
        match sighting {
            Sighting::First { session, generation, seen } => {
                tx.sessions().note_seen(*session, *generation, seen).await?;
            }
            Sighting::Activity { session, at } => tx.sessions().note_activity(*session, *at).await?,
        }
    }
    tx.commit().await
}
