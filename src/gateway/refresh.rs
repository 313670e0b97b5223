//! Transparent refresh: the requests of a burst share one rotation.
//!
//! A page loads many things at once; when its access cookie has lapsed, all of them come with the
//! same refresh cookie. The first one rotates, on a task of its own that no disconnect can stop;
//! the others wait for its result, and stragglers find it for a moment longer. Across processes
//! the grace of the session's row does the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::auth::Grant;
use crate::domain::error::Error;
use crate::metrics::{Metrics, RefreshResult};

/// How long a result is kept for stragglers.
const KEPT: Duration = Duration::from_secs(1);
/// Rotations under way or kept; beyond it every request goes to the database by itself.
const CAPACITY: usize = 16 * 1024;

/// What a refresh ended with, shared by everybody who waited.
pub type Refreshed = Result<Arc<Grant>, Arc<Error>>;

type Flight = Shared<BoxFuture<'static, Refreshed>>;

/// The rotations under way in this process.
#[derive(Debug)]
pub struct Refreshes {
    hasher: RandomState,
    flights: Arc<Mutex<HashMap<(u64, String), Flight>>>,
    metrics: Metrics,
}

impl Refreshes {
    /// None under way.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { hasher: RandomState::new(), flights: Arc::default(), metrics }
    }

    /// Refreshes with `token`, by `rotate` unless somebody else is at it.
    pub async fn refresh(
        &self,
        token: &str,
        rotate: impl Future<Output = Result<Grant, Error>> + Send + 'static,
    ) -> Refreshed {
        let begun = std::time::Instant::now();
        let key = (self.hasher.hash_one(token), token.to_owned());
        let (flight, is_first) = self.board(key, rotate);
        if is_first {
            return flight.await;
        }
        let waiting = Waiting::begin(&self.metrics);
        let result = flight.await;
        drop(waiting);
        self.metrics.session_refreshed(RefreshResult::Coalesced, begun.elapsed());
        result
    }

    fn board(
        &self,
        key: (u64, String),
        rotate: impl Future<Output = Result<Grant, Error>> + Send + 'static,
    ) -> (Flight, bool) {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key) {
            return (flight.clone(), false);
        }
        let task = tokio::spawn(rotate);
        let flight = async move {
            match task.await {
                Ok(Ok(grant)) => Ok(Arc::new(grant)),
                Ok(Err(error)) => Err(Arc::new(error)),
                Err(panic) => Err(Arc::new(Error::Internal(Box::new(panic)))),
            }
        };
        let flight: Flight = flight.boxed().shared();
        if flights.len() < CAPACITY {
            flights.insert(key.clone(), flight.clone());
            tokio::spawn(land(Arc::clone(&self.flights), key, flight.clone()));
        }
        (flight, true)
    }
}

/// Somebody who waits, also when they leave before the end.
struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.session_refresh_waiters().inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.session_refresh_waiters().dec();
    }
}

/// Forgets a flight: a good one after a moment, a failed one at once, so that the next request tries anew.
async fn land(flights: Arc<Mutex<HashMap<(u64, String), Flight>>>, key: (u64, String), flight: Flight) {
    if flight.await.is_ok() {
        tokio::time::sleep(KEPT).await;
    }
    lock(&flights).remove(&key);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_burst_shares_one_rotation() {
        let refreshes = Arc::new(Refreshes::new(Metrics::new()));
        let rotations = Arc::new(AtomicUsize::new(0));
        let burst = (0..50).map(|_| {
            let (refreshes, rotations) = (Arc::clone(&refreshes), Arc::clone(&rotations));
            async move {
                let rotate = async move {
                    rotations.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Err(Error::SessionExpired)
                };
                refreshes.refresh("token", rotate).await
            }
        });

        let results = futures_util::future::join_all(burst).await;

        assert_eq!(rotations.load(Ordering::SeqCst), 1);
        assert!(results.iter().all(|result| matches!(result, Err(error) if matches!(**error, Error::SessionExpired))));
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let refreshes = Refreshes::new(Metrics::new());
        let _ = refreshes.refresh("token", async { Err(Error::SessionExpired) }).await;
        while !lock(&refreshes.flights).is_empty() {
            tokio::task::yield_now().await;
        }

        let second = refreshes.refresh("token", async { Err(Error::TokenReused) }).await;

        assert!(matches!(second.unwrap_err().as_ref(), Error::TokenReused));
    }
}
