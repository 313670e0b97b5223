//! Counters and their like: `[redis]`, `[transient]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::secret::Secret;

/// `[redis]`
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where it is, and what logs in there.
    pub url: Secret<String>,
    /// What the names of all keys begin with.
    pub key_prefix: String,
    /// Longest wait for a connection, and for an answer.
    pub timeout: Duration,
    /// Authorities that may vouch for it, instead of the system's: a PEM file.
    pub ssl_ca: Option<PathBuf>,
}

impl PartialEq for Redis {
    fn eq(&self, other: &Self) -> bool {
        fn told(redis: &Redis) -> impl PartialEq {
            (redis.url.expose().clone(), redis.key_prefix.clone(), redis.timeout, redis.ssl_ca.clone())
        }
        told(self) == told(other)
    }
}

impl Eq for Redis {}

/// `[transient]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transient {
    /// Where counters stand.
    pub backend: TransientBackend,
    /// What becomes of a request to the auth API that cannot be counted.
    pub on_error_auth: OnError,
    /// What becomes of a proxied one.
    pub on_error_proxy: OnError,
}

/// Where counters stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransientBackend {
    /// In this process.
    Memory,
    /// In Redis.
    Redis(Redis),
    /// In the database, which is a server's.
    Database,
}

/// What becomes of whom a limit cannot be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It is refused.
    Closed,
    /// It passes uncounted.
    Open,
}
