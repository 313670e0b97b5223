//! What was refused to whom of late, so that the audit trail has each refusal once and not a thousand times.
//!
//! A program that asks again and again for what it may not have would push better entries out of the
//! recorder's queue. Only a refused request comes here; who is let through meets nobody's lock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;

use crate::domain::clock::Time;
use crate::domain::id::UserId;

/// A refusal is told again after this.
const REST: Duration = Duration::from_mins(1);
/// Parts with a lock each.
const SHARDS: usize = 16;
/// Refusals remembered in each. All of them together are a quarter of what may wait to be written.
const IN_SHARD: usize = 64;

/// The memory of one node. Holds keyed hashes alone.
#[derive(Debug)]
pub struct Denials {
    hasher: RandomState,
    shards: [Mutex<Vec<(u64, Time)>>; SHARDS],
}

/// Whether a refusal is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// It is the first one in a while.
    First,
    /// It was told a moment ago.
    Again,
    /// There are too many to remember.
    TooMany,
}

impl Default for Denials {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }
}

impl Denials {
    /// Notes that a route refused a user for this reason.
    pub fn note(&self, user: UserId, route: &str, reason: &str, now: Time) -> Telling {
        let key = self.hasher.hash_one((user, route, reason));
        let shard = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        let mut told = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, at)| now.since(*at) < REST);
        if told.iter().any(|(known, _)| *known == key) {
            return Telling::Again;
        }
        if told.len() == IN_SHARD {
            return Telling::TooMany;
        }
        told.push((key, now));
        Telling::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_once_a_minute() {
        let (denials, ada, bob) = (Denials::default(), UserId::random(), UserId::random());
        let note = |user, route, reason, secs| denials.note(user, route, reason, Time::from_secs(secs));

        assert_eq!(note(ada, "admin", "role", 0), Telling::First);
        assert_eq!(note(ada, "admin", "role", 59), Telling::Again);
        for (user, route, reason) in [(bob, "admin", "role"), (ada, "reports", "role"), (ada, "admin", "address")] {
            assert_eq!(note(user, route, reason, 59), Telling::First, "{route} {reason}");
        }
        assert_eq!(note(ada, "admin", "role", 60), Telling::First);
    }

    #[test]
    fn a_flood_is_bounded_and_passes() {
        let (denials, ada) = (Denials::default(), UserId::random());
        let flood = |at| {
            let note = |route: usize| denials.note(ada, &route.to_string(), "role", Time::from_secs(at));
            (0..20 * SHARDS * IN_SHARD).map(note).filter(|told| *told == Telling::First).count()
        };

        assert_eq!(flood(0), SHARDS * IN_SHARD);
        assert_eq!(flood(30), 0);
        assert_eq!(flood(60), SHARDS * IN_SHARD);
    }
}
