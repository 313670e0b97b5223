//! How many requests an upstream works on at once.
//!
//! Whoever finds every place taken waits, in order, for as long as a connection may take. No more
//! wait than there are places: behind them nobody would be served in time, so they are told at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most_waiting: usize,
    waiting: AtomicUsize,
    patience: Duration,
    /// Whether every place is taken.
    full: IntGauge,
}

impl Places {
    pub(super) fn new(places: usize, patience: Duration, full: IntGauge) -> Self {
        let free = Arc::new(Semaphore::new(places));
        Self { free, most_waiting: places, waiting: AtomicUsize::new(0), patience, full }
    }

    /// A place; `None` when there is none in time.
    pub(super) async fn take(&self) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(self.taken(permit));
        }
        let _waiting = Waiting::begin(&self.waiting, self.most_waiting)?;
        let freed = Arc::clone(&self.free).acquire_owned();
        let permit = tokio::time::timeout(self.patience, freed).await.ok()?.ok()?;
        Some(self.taken(permit))
    }

    fn taken(&self, permit: OwnedSemaphorePermit) -> Place {
        if self.free.available_permits() == 0 {
            self.full.set(1);
        }
        Place { permit: Some(permit), free: Arc::clone(&self.free), full: self.full.clone() }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    free: Arc<Semaphore>,
    full: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever waits has it before this returns, and then it is as full as before.
        drop(self.permit.take());
        if self.free.available_permits() > 0 {
            self.full.set(0);
        }
    }
}

/// One of those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let one = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(one)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn places(count: usize) -> (Places, IntGauge) {
        let gauge = IntGauge::new("full", "for a test").unwrap();
        (Places::new(count, Duration::from_secs(3), gauge.clone()), gauge)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_waits_and_then_goes() {
        let (places, full) = places(1);
        let first = places.take().await.unwrap();
        assert_eq!(full.get(), 1);

        let mut second = Box::pin(places.take());
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(places.take().await.is_none(), "one waits already, which is as many as may");
        drop(first);
        assert_eq!(full.get(), 1, "the one that waited has it");

        let second = second.await.unwrap();
        drop(second);
        assert_eq!(full.get(), 0);
        assert!(matches!(Box::pin(places.take()).as_mut().poll(&mut context), Poll::Ready(Some(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (places, _) = places(2);
        let _both = (places.take().await.unwrap(), places.take().await.unwrap());
        let began = tokio::time::Instant::now();

        assert!(places.take().await.is_none());

        assert_eq!(began.elapsed().as_secs(), 3);
        assert_eq!(places.waiting.load(Ordering::Relaxed), 0);
    }
}
