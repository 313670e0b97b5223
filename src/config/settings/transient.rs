//! Counters and their like: `[redis]`, `[transient]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::secret::Secret;

/// `[redis]`
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where it is, and what logs in there.
    pub place: RedisPlace,
    /// What the names of all keys begin with.
    pub key_prefix: String,
    /// Connections that questions are spread over, to each node of a cluster; never 0.
    pub pool: usize,
    /// Longest wait for a connection, and for an answer.
    pub timeout: Duration,
    /// Authorities that may vouch for it, instead of the system's: a PEM file.
    pub ssl_ca: Option<PathBuf>,
}

/// Where a Redis is, by URL.
#[derive(Debug, Clone)]
pub enum RedisPlace {
    /// It is one.
    One(Secret<String>),
    /// Some nodes of a cluster, which know the others; never empty.
    Cluster(Vec<Secret<String>>),
}

impl RedisPlace {
    /// Every URL that is written; never none.
    #[must_use]
    pub fn urls(&self) -> &[Secret<String>] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Cluster(urls) => urls,
        }
    }
}

impl PartialEq for Redis {
    fn eq(&self, other: &Self) -> bool {
        fn told(redis: &Redis) -> impl PartialEq {
            let Redis { place, key_prefix, pool, timeout, ssl_ca } = redis.clone();
            let urls: Vec<String> = place.urls().iter().map(|url| url.expose().clone()).collect();
            (matches!(place, RedisPlace::One(_)), urls, key_prefix, pool, timeout, ssl_ca)
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
