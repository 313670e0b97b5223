//! How long a refusal takes: as long as the slowest kind of hash there is.
//!
//! While every hash is of the configured kind, nobody's password costs the same work as somebody's
//! and nothing is held back. Once accounts came with hashes of other kinds, the time of a refusal
//! would tell which kind an account has, and so that it is there. From then on every refusal is held
//! until the slowest kind would have been done, by a timer: work that nobody reads would only make
//! the hashing threads easier to flood.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The slowest kind is as slow as the median of so many of its latest verifications.
const REMEMBERED: usize = 9;
/// Kinds remembered. Beyond them a hash is verified, but does not raise the floor.
const MAX_KINDS: usize = 64;
/// Nobody waits longer than this for a refusal that is ready.
const MAX_HOLD: Duration = Duration::from_secs(3);

/// What verifications of each kind have taken.
#[derive(Debug, Default)]
pub(super) struct Floor {
    kinds: Mutex<HashMap<String, VecDeque<Duration>>>,
}

impl Floor {
    /// A hash of this kind took so long to verify.
    pub(super) fn note(&self, kind: &str, took: Duration) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if !kinds.contains_key(kind) && kinds.len() >= MAX_KINDS {
            return;
        }
        let latest = kinds.entry(kind.to_owned()).or_default();
        if latest.len() == REMEMBERED {
            latest.pop_front();
        }
        latest.push_back(took);
    }

    /// How long a refusal takes from the start of its work on; nothing while there is one kind of hash.
    pub(super) fn hold(&self) -> Duration {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() < 2 {
            return Duration::ZERO;
        }
        let slowest = kinds.values().map(median).max().unwrap_or_default();
        // A margin, so that the slowest kind itself mostly ends below the floor.
        (slowest + slowest / 8).min(MAX_HOLD)
    }
}

fn median(latest: &VecDeque<Duration>) -> Duration {
    let mut sorted: Vec<Duration> = latest.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn one_kind_of_hash_needs_no_floor() {
        let floor = Floor::default();
        floor.note("argon2id", millis(20));
        floor.note("argon2id", millis(30));

        assert_eq!(floor.hold(), Duration::ZERO);
    }

    #[test]
    fn the_slowest_kind_is_the_floor_and_single_hiccups_do_not_count() {
        let floor = Floor::default();
        floor.note("argon2id", millis(20));
        for took in [250, 240, 2_000, 240, 240] {
            floor.note("bcrypt", millis(took));
        }

        assert_eq!(floor.hold(), millis(270));
        for _ in 0..REMEMBERED {
            floor.note("bcrypt", millis(80));
        }
        assert_eq!(floor.hold(), millis(90));
    }

    #[test]
    fn the_floor_and_its_memory_are_bounded() {
        let floor = Floor::default();
        for kind in 0..1000 {
            floor.note(&kind.to_string(), Duration::from_mins(1));
        }

        assert_eq!(floor.hold(), MAX_HOLD);
        assert_eq!(floor.kinds.lock().unwrap().len(), MAX_KINDS);
    }
}
