//! Transient state in this process: sharded and bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::clock::{Clock, Time};
use crate::transient::{Count, Transient, TransientError};

/// Independent parts, so that two keys seldom wait for each other.
const SHARDS: usize = 64;
/// Entries in all parts together. Beyond it the ones that end first make room.
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
    Counter(u64),
}

impl Memory {
    /// Empty state that takes its time from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_capacity(clock, MAX_ENTRIES)
    }

    fn with_capacity(clock: Clock, entries: usize) -> Self {
        Self {
            clock,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_capacity: entries.div_ceil(SHARDS),
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

    fn insert(&self, shard: &mut HashMap<String, Entry>, key: &str, entry: Entry) {
        if shard.len() >= self.shard_capacity && !shard.contains_key(key) {
            make_room(shard, self.clock.now());
        }
        shard.insert(key.to_owned(), entry);
    }
}

/// Drops what has ended; when that is nothing, an eighth of what ends first.
fn make_room(shard: &mut HashMap<String, Entry>, now: Time) {
    let before = shard.len();
    shard.retain(|_, entry| entry.ends_at > now);
    if shard.len() < before {
        return;
    }
    let mut ends: Vec<Time> = shard.values().map(|entry| entry.ends_at).collect();
    ends.sort_unstable();
    let cut = ends[ends.len() / 8];
    shard.retain(|_, entry| entry.ends_at > cut);
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

    async fn count(&self, key: &str, ttl: Duration) -> Result<Count, TransientError> {
        let now = self.clock.now();
        let mut shard = self.shard(key);
        if let Some(Entry { value: Stored::Counter(value), ends_at }) = self.live(&mut shard, key) {
            *value = value.saturating_add(1);
            return Ok(Count { value: *value, resets_in: ends_at.since(now) });
        }
        self.insert(&mut shard, key, Entry { value: Stored::Counter(1), ends_at: now + ttl });
        Ok(Count { value: 1, resets_in: ttl })
    }

    async fn delete(&self, key: &str) -> Result<(), TransientError> {
        self.shard(key).remove(key);
        Ok(())
    }
}

fn bytes(value: &Stored) -> Option<Vec<u8>> {
    match value {
        Stored::Bytes(bytes) => Some(bytes.clone()),
        Stored::Counter(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_counter_counts_within_its_window() {
        let (memory, clock) = memory();
        for expected in 1..=3 {
            assert_eq!(memory.count("a", MINUTE).await.unwrap().value, expected);
        }
        clock.advance(Duration::from_secs(59));
        assert_eq!(memory.count("a", MINUTE).await.unwrap().resets_in, Duration::from_secs(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(memory.count("a", MINUTE).await.unwrap().value, 1);
    }

    #[tokio::test]
    async fn a_flood_of_keys_stays_within_the_capacity() {
        let memory = Memory::with_capacity(Clock::manual(Time::from_secs(1)), 640);
        for n in 0..10_000 {
            memory.count(&n.to_string(), MINUTE).await.unwrap();
        }

        let entries: usize = memory.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(entries <= 640 + SHARDS, "{entries}");
    }
}
