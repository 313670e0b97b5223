//! Floor 3, transient state: counters and ceremony state, nothing whose loss grants anything.

mod memory;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::error::Error;

pub use memory::Memory;

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
    /// Adds one to a counter that lives for `ttl` from its first count.
    async fn count(&self, key: &str, ttl: Duration) -> Result<Count, TransientError>;
    /// Removes a value.
    async fn delete(&self, key: &str) -> Result<(), TransientError>;
}

/// A counter after it was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many in this window, this one included.
    pub value: u64,
    /// When the window ends.
    pub resets_in: Duration,
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
