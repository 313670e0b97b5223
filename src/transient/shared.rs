//! Transient state that stands somewhere else, where several nodes see it.
//!
//! A counter is read, changed by the arithmetic that memory uses as well, and put back if nobody has
//! changed it meanwhile; else it is done once more. What is refused changes nothing, so it is one
//! question and no write: under a flood on one key only as many write as the limit lets pass, and
//! nobody is kept trying for long. Windows go by the clocks of the nodes, as sessions do.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::clock::{Clock, Time};
use crate::domain::id::random_number;
use crate::transient::counters::text::Counter;
use crate::transient::counters::{Attempts, Sliding};
use crate::transient::{Hit, Reserved, Tally, Transient, TransientError};

/// How often a change is tried while others are faster. One of those that try at a time gets through.
const TRIES: u32 = 200;
/// Longest rest between two tries.
const LONGEST_REST: Duration = Duration::from_millis(16);

/// Where values stand. Each call is one step there: done wholly or not at all.
#[async_trait]
pub trait Place: Send + Sync + Debug {
    /// Reads a value.
    async fn load(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError>;
    /// Writes a value for `ttl`, whatever stands there.
    async fn put(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), TransientError>;
    /// Writes a value for `ttl` if `held` is what stands there (`None`: nothing); answers whether it did.
    async fn swap(&self, key: &str, held: Option<&[u8]>, value: &[u8], ttl: Duration) -> Result<bool, TransientError>;
    /// Reads and removes a value: one caller gets it.
    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError>;
    /// Removes a value.
    async fn delete(&self, key: &str) -> Result<(), TransientError>;
}

/// Transient state in a place that nodes share.
#[derive(Debug)]
pub struct Shared<P> {
    place: P,
    clock: Clock,
}

impl<P: Place> Shared<P> {
    /// State in this place, that takes its time from `clock`.
    #[must_use]
    pub fn new(place: P, clock: Clock) -> Self {
        Self { place, clock }
    }

    /// Changes a counter, or a `fresh` one where there is none; without that nothing is done.
    async fn change<C: Counter, T>(
        &self,
        key: &str,
        fresh: impl Fn(Time) -> Option<C> + Send + Sync,
        change: impl Fn(&mut C, Time) -> T + Send + Sync,
    ) -> Result<Option<T>, TransientError> {
        for tried in 0..TRIES {
            let held = self.place.load(key).await?;
            let now = self.clock.now();
            // What has ended by our clock may still stand there by another.
            let standing = held.as_deref().map(read).transpose()?.filter(|counter: &C| counter.ends_at(now) > now);
            let Some(mut counter) = standing.or_else(|| fresh(now)) else { return Ok(None) };
            let changed = change(&mut counter, now);
            let written = counter.write().into_bytes();
            if held.as_ref() == Some(&written) {
                return Ok(Some(changed));
            }
            let ttl = counter.ends_at(now).since(now);
            if ttl.is_zero() || self.place.swap(key, held.as_deref(), &written, ttl).await? {
                return Ok(Some(changed));
            }
            rest(tried).await;
        }
        Err(TransientError("others were always faster".into()))
    }
}

/// Between two tries: as long as it takes the others, and not all of them alike.
async fn rest(tried: u32) {
    let longest = LONGEST_REST.min(Duration::from_millis(1 << tried.min(10)));
    let share = u64::try_from(random_number()).unwrap_or(0) % u64::try_from(longest.as_micros()).unwrap_or(1);
    tokio::time::sleep(Duration::from_micros(share)).await;
}

fn read<C: Counter>(held: &[u8]) -> Result<C, TransientError> {
    let counter = std::str::from_utf8(held).ok().and_then(C::read);
    counter.ok_or_else(|| TransientError("a counter holds what nauth did not write".into()))
}

#[async_trait]
impl<P: Place> Transient for Shared<P> {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.place.load(key).await
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), TransientError> {
        self.place.put(key, &value, ttl).await
    }

    async fn put_if_absent(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<bool, TransientError> {
        self.place.swap(key, None, &value, ttl).await
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.place.take(key).await
    }

    async fn hit(&self, key: &str, max: u64, window: Duration) -> Result<Hit, TransientError> {
        let fresh = |now| Some(Sliding::new(now, max, window));
        let hit = self.change(key, fresh, |sliding: &mut Sliding, now| sliding.hit(max, window, now)).await?;
        Ok(hit.expect("there is a counter, if need be a fresh one"))
    }

    async fn unhit(&self, key: &str) -> Result<(), TransientError> {
        self.change(key, |_| None, |sliding: &mut Sliding, _| sliding.unhit()).await.map(drop)
    }

    async fn reserve(&self, key: &str, rule: &Tally) -> Result<Reserved, TransientError> {
        let fresh = |now| Some(Attempts::new(now, rule));
        let reserved = self.change(key, fresh, |attempts: &mut Attempts, now| attempts.reserve(rule, now)).await?;
        Ok(reserved.expect("there is a counter, if need be a fresh one"))
    }

    async fn fail(&self, key: &str, rule: &Tally) -> Result<bool, TransientError> {
        let fresh = |now| Some(Attempts::new(now, rule));
        let was_the_last = self.change(key, fresh, |attempts: &mut Attempts, now| attempts.fail(rule, now)).await?;
        Ok(was_the_last.expect("there is a counter, if need be a fresh one"))
    }

    async fn refund(&self, key: &str) -> Result<(), TransientError> {
        self.change(key, |_| None, |attempts: &mut Attempts, _| attempts.refund()).await.map(drop)
    }

    async fn delete(&self, key: &str) -> Result<(), TransientError> {
        self.place.delete(key).await
    }
}
