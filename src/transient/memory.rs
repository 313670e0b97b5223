//! Transient state in this process: sharded and bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::clock::{Clock, Time};
use crate::transient::counters::{Attempts, Sliding};
use crate::transient::{Hit, Reserved, Tally, Transient, TransientError};

/// Independent parts, so that two keys seldom wait for each other.
const SHARDS: usize = 64;
/// Entries in all parts together. Beyond it the lightest make room: a flood of new keys, each counted
/// once, cannot push out a counter that is near its limit.
const MAX_ENTRIES: usize = 1 << 18;

/// Transient state in memory.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<String, Entry>>>,
    shard_capacity: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    value: Stored,
    ends_at: Time,
}

#[derive(Debug, Clone)]
enum Stored {
    Bytes(Vec<u8>),
    Sliding(Sliding),
    Attempts(Attempts),
}

impl Entry {
    /// How much would be lost with it.
    fn weight(&self) -> u64 {
        match &self.value {
            Stored::Bytes(_) => u64::MAX,
            Stored::Sliding(sliding) => sliding.count(),
            Stored::Attempts(attempts) => attempts.count(),
        }
    }
}

impl Memory {
    /// Empty state that takes its time from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_capacity: MAX_ENTRIES.div_ceil(SHARDS),
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, HashMap<String, Entry>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).expect("a shard's index fits");
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live<'a>(&self, shard: &'a mut HashMap<String, Entry>, key: &str) -> Option<&'a mut Entry> {
        let now = self.clock.now();
        shard.get_mut(key).filter(|entry| entry.ends_at > now)
    }

    fn count_attempts<T>(&self, key: &str, rule: &Tally, count: impl FnOnce(&mut Attempts, Time) -> T) -> T {
        let mut shard = self.shard(key);
        let now = self.clock.now();
        if let Some(Entry { value: Stored::Attempts(attempts), ends_at }) = self.live(&mut shard, key) {
            let counted = count(attempts, now);
            *ends_at = attempts.ends_at();
            return counted;
        }
        let mut attempts = Attempts::new(now, rule);
        let counted = count(&mut attempts, now);
        let ends_at = attempts.ends_at();
        self.insert(&mut shard, key, Entry { value: Stored::Attempts(attempts), ends_at });
        counted
    }

    fn insert(&self, shard: &mut HashMap<String, Entry>, key: &str, entry: Entry) {
        if shard.len() >= self.shard_capacity && !shard.contains_key(key) {
            make_room(shard, self.clock.now());
        }
        shard.insert(key.to_owned(), entry);
    }
}

/// Drops what has ended; when that is nothing, an eighth: the lightest, and of these what ends first.
fn make_room(shard: &mut HashMap<String, Entry>, now: Time) {
    let before = shard.len();
    shard.retain(|_, entry| entry.ends_at > now);
    if shard.len() < before {
        return;
    }
    let mut ranks: Vec<(u64, Time)> = shard.values().map(|entry| (entry.weight(), entry.ends_at)).collect();
    let (_, cut, _) = ranks.select_nth_unstable(before / 8);
    let cut = *cut;
    shard.retain(|_, entry| (entry.weight(), entry.ends_at) > cut);
}

#[async_trait]
impl Transient for Memory {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        let mut shard = self.shard(key);
        Ok(self.live(&mut shard, key).and_then(|entry| bytes(&entry.value)))
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), TransientError> {
        let entry = Entry { value: Stored::Bytes(value), ends_at: self.clock.now() + ttl };
        self.insert(&mut self.shard(key), key, entry);
        Ok(())
    }

    async fn put_if_absent(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<bool, TransientError> {
        let mut shard = self.shard(key);
        if self.live(&mut shard, key).is_some() {
            return Ok(false);
        }
        let entry = Entry { value: Stored::Bytes(value), ends_at: self.clock.now() + ttl };
        self.insert(&mut shard, key, entry);
        Ok(true)
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        let now = self.clock.now();
        let taken = self.shard(key).remove(key).filter(|entry| entry.ends_at > now);
        Ok(taken.and_then(|entry| bytes(&entry.value)))
    }

    async fn hit(&self, key: &str, max: u64, window: Duration) -> Result<Hit, TransientError> {
        let now = self.clock.now();
        let mut shard = self.shard(key);
        if let Some(Entry { value: Stored::Sliding(sliding), ends_at }) = self.live(&mut shard, key) {
            let hit = sliding.hit(max, window, now);
            *ends_at = sliding.ends_at(now);
            return Ok(hit);
        }
        let mut sliding = Sliding::new(now, max, window);
        let hit = sliding.hit(max, window, now);
        let ends_at = sliding.ends_at(now);
        self.insert(&mut shard, key, Entry { value: Stored::Sliding(sliding), ends_at });
        Ok(hit)
    }

    async fn unhit(&self, key: &str) -> Result<(), TransientError> {
        let mut shard = self.shard(key);
        if let Some(Entry { value: Stored::Sliding(sliding), .. }) = self.live(&mut shard, key) {
            sliding.unhit();
        }
        Ok(())
    }

    async fn reserve(&self, key: &str, rule: &Tally) -> Result<Reserved, TransientError> {
        Ok(self.count_attempts(key, rule, |attempts, now| attempts.reserve(rule, now)))
    }

    async fn fail(&self, key: &str, rule: &Tally) -> Result<bool, TransientError> {
        // Also when the counter was cleared meanwhile: a failure is one.
        Ok(self.count_attempts(key, rule, |attempts, now| attempts.fail(rule, now)))
    }

    async fn refund(&self, key: &str) -> Result<(), TransientError> {
        let mut shard = self.shard(key);
        if let Some(Entry { value: Stored::Attempts(attempts), .. }) = self.live(&mut shard, key) {
            attempts.refund();
        }
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), TransientError> {
        self.shard(key).remove(key);
        Ok(())
    }
}

fn bytes(value: &Stored) -> Option<Vec<u8>> {
    match value {
        Stored::Bytes(bytes) => Some(bytes.clone()),
        Stored::Sliding(_) | Stored::Attempts(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transient::Penalty;

    const MINUTE: Duration = Duration::from_mins(1);

    fn memory() -> (Memory, Clock) {
        let clock = Clock::manual(Time::from_secs(1_000));
        (Memory::new(clock.clone()), clock)
    }

    #[tokio::test]
    async fn values_end_with_their_time() {
        let (memory, clock) = memory();
        memory.put("a", vec![1], MINUTE).await.unwrap();

        assert_eq!(memory.get("a").await.unwrap(), Some(vec![1]));
        clock.advance(MINUTE);
        assert_eq!(memory.get("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_value_is_taken_once() {
        let (memory, _) = memory();
        assert!(memory.put_if_absent("a", vec![1], MINUTE).await.unwrap());
        assert!(!memory.put_if_absent("a", vec![2], MINUTE).await.unwrap());

        assert_eq!(memory.take("a").await.unwrap(), Some(vec![1]));
        assert_eq!(memory.take("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_million_keys_stay_within_the_capacity_and_push_out_no_counter_that_is_near_its_limit() {
        let memory = Memory::new(Clock::manual(Time::from_secs(1)));
        let rule = Tally { max: 5, window: Duration::from_hours(1), penalty: Penalty::Lock(MINUTE) };
        for _ in 0..4 {
            memory.reserve("victim", &rule).await.unwrap();
            memory.fail("victim", &rule).await.unwrap();
        }
        for n in 0..1_000_000 {
            memory.reserve(&n.to_string(), &rule).await.unwrap();
        }

        let entries: usize = memory.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(entries <= MAX_ENTRIES + SHARDS, "{entries}");
        assert_eq!(memory.reserve("victim", &rule).await.unwrap(), Reserved::Granted);
        memory.fail("victim", &rule).await.unwrap();
        assert_eq!(memory.reserve("victim", &rule).await.unwrap(), Reserved::Blocked { retry_after: MINUTE });
    }

    #[tokio::test]
    async fn attempts_side_by_side_are_no_more_than_allowed() {
        let memory = std::sync::Arc::new(Memory::new(Clock::system()));
        let rule = Tally { max: 5, window: Duration::from_hours(1), penalty: Penalty::Lock(MINUTE) };
        let attempts = (0..200).map(|_| {
            let memory = std::sync::Arc::clone(&memory);
            std::thread::spawn(move || futures_util::FutureExt::now_or_never(memory.reserve("a", &rule)).unwrap())
        });
        let attempts: Vec<_> = attempts.collect();

        let granted = attempts.into_iter().filter_map(|one| one.join().unwrap().ok());
        assert_eq!(granted.filter(|one| *one == Reserved::Granted).count(), 5);
    }
}
