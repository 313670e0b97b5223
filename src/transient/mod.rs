//! Floor 3, transient state: counters and ceremony state, nothing whose loss grants anything.

mod bell;
mod breaker;
mod counters;
mod database;
mod memory;
mod redis;
mod shared;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::error::Error;

pub use bell::Bell;
pub use database::Database;
pub use memory::Memory;
pub use redis::Redis;
pub use shared::{Place, Shared};

/// Short-lived state under opaque keys. Asynchronous, because it may live on another machine.
#[async_trait]
pub trait Transient: Send + Sync + std::fmt::Debug {
    /// Reads a value.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError>;
    /// Writes a value for `ttl`.
    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<(), TransientError>;
    /// Writes a value unless there is one; answers whether it did.
    async fn put_if_absent(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<bool, TransientError>;
    /// Reads and removes a value: one caller gets it.
    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError>;
    /// Counts one more within a sliding window, if `max` allows it. What is refused is not counted.
    ///
    /// Limits up to 16 are exact: within any stretch of `window` no more than `max` pass. Larger ones
    /// count the present window and, weighted by what is left of it, the one before, which may let
    /// a third more pass where traffic was uneven.
    async fn hit(&self, key: &str, max: u64, window: Duration) -> Result<Hit, TransientError>;
    /// Takes back one count of [`Transient::hit`].
    async fn unhit(&self, key: &str) -> Result<(), TransientError>;
    /// Counts an attempt before it is made, unless the key is blocked, or as many are under way as
    /// may still fail. Whoever is granted one says with [`Transient::fail`] or [`Transient::refund`]
    /// how it ended; what nobody has decided after 30 s has failed.
    async fn reserve(&self, key: &str, rule: &Tally) -> Result<Reserved, TransientError>;
    /// An attempt of [`Transient::reserve`] failed. From the `max`-th on the key is blocked as the
    /// rule says; answers whether this was the one.
    async fn fail(&self, key: &str, rule: &Tally) -> Result<bool, TransientError>;
    /// An attempt of [`Transient::reserve`] counts no longer.
    async fn refund(&self, key: &str) -> Result<(), TransientError>;
    /// Removes a value.
    async fn delete(&self, key: &str) -> Result<(), TransientError>;
}

/// What became of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// It is within the limit.
    Allowed,
    /// It would be beyond.
    Refused {
        /// How many are counted.
        count: u64,
        /// When the next one will pass.
        retry_after: Duration,
    },
}

/// How attempts are counted and what too many of them cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Failures within `window` until the key is blocked; at least 1.
    pub max: u64,
    /// Counted from the first one.
    pub window: Duration,
    /// What happens then.
    pub penalty: Penalty,
}

/// What too many attempts cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// Nothing passes for so long; then counting begins anew.
    Lock(Duration),
    /// Each failure makes the next attempt wait: 1 s, 2 s, 4 s, … up to so long.
    Delay(Duration),
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It may be made.
    Granted,
    /// Not now.
    Blocked {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// As many are under way as may still fail: one of them will be decided soon.
    Crowded,
}

/// Transient state cannot serve now.
#[derive(Debug, thiserror::Error)]
#[error("transient state cannot serve")]
pub struct TransientError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl From<TransientError> for Error {
    fn from(error: TransientError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
