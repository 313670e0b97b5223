//! Transient state in Redis.
//!
//! One connection serves everybody, and is made again whenever it broke. Nobody waits for Redis
//! longer than `redis.timeout`; once it has failed it is left alone for a moment, in which everybody
//! is told so at once, and then one caller tries it for all.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError, Script, TlsCertificates, cmd};
use tokio::time::Instant;

use crate::config::settings;
use crate::transient::TransientError;
use crate::transient::shared::Place;

/// How long Redis is left alone after it failed.
const REST: Duration = Duration::from_secs(1);
/// The value of "it works".
const AWAKE: u64 = 0;

/// Writes a value if nobody has written another meanwhile; its end is set in the same step.
static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
         redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
         return 1",
    )
});

/// Redis, as a place for transient state.
pub struct Redis {
    connection: ConnectionManager,
    prefix: String,
    timeout: Duration,
    began: Instant,
    /// Milliseconds after `began` until which it is left alone.
    rests_until: AtomicU64,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Why Redis was not asked.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error("Redis did not answer in time")]
    Late,
    #[error("Redis failed a moment ago")]
    Resting,
}

impl Redis {
    /// Redis of these settings. Nothing is asked of it yet: a node starts without it.
    ///
    /// # Errors
    /// When the settings cannot be used, such as a file that is gone.
    pub fn new(settings: &settings::Redis) -> Result<Self, TransientError> {
        let config = ConnectionManagerConfig::new()
            // Whoever asks next tries again.
            .set_number_of_retries(0)
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        let connection = ConnectionManager::new_lazy_with_config(client(settings)?, config).map_err(failed)?;
        let (prefix, timeout) = (settings.key_prefix.clone(), settings.timeout);
        Ok(Self { connection, prefix, timeout, began: Instant::now(), rests_until: AtomicU64::new(AWAKE) })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &mut Cmd) -> Result<T, TransientError> {
        let mut connection = self.connection.clone();
        self.guarded(command.query_async(&mut connection)).await
    }

    /// What Redis answers, within its time and unless it rests.
    async fn guarded<T>(&self, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, TransientError> {
        self.admit()?;
        let answered = tokio::time::timeout(self.timeout, answer).await;
        match answered {
            Ok(Err(error)) if !is_an_answer(&error) => {
                self.failed_at_last(&error);
                Err(failed(error))
            }
            Err(_) => {
                self.failed_at_last(&Unasked::Late);
                Err(TransientError(Unasked::Late.into()))
            }
            Ok(answer) => {
                if self.rests_until.swap(AWAKE, Ordering::Relaxed) != AWAKE {
                    tracing::info!("Redis answers again");
                }
                answer.map_err(failed)
            }
        }
    }

    /// While it rests nobody is let through; when that is over, one to try it.
    fn admit(&self) -> Result<(), TransientError> {
        let rests_until = self.rests_until.load(Ordering::Relaxed);
        if rests_until == AWAKE {
            return Ok(());
        }
        let now = self.now();
        let is_first = || {
            let next = now + millis(REST.max(self.timeout));
            self.rests_until.compare_exchange(rests_until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if now >= rests_until && is_first() { Ok(()) } else { Err(TransientError(Unasked::Resting.into())) }
    }

    fn failed_at_last(&self, error: &(dyn std::error::Error + 'static)) {
        if self.rests_until.swap(self.now() + millis(REST), Ordering::Relaxed) == AWAKE {
            tracing::error!(error = %crate::logging::chain(error), "Redis cannot be asked");
        }
    }

    /// Never [`AWAKE`].
    fn now(&self) -> u64 {
        millis(self.began.elapsed()) + 1
    }
}

/// A client that trusts what the settings say.
pub(super) fn client(settings: &settings::Redis) -> Result<Client, TransientError> {
    let url = settings.url.expose().as_str();
    let Some(ca) = &settings.ssl_ca else { return Client::open(url).map_err(failed) };
    let root_cert = std::fs::read(ca).map_err(|error| TransientError(error.into()))?;
    Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert: Some(root_cert) }).map_err(failed)
}

/// Redis has understood and said no, to this one question: others may still be answered.
fn is_an_answer(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

pub(super) fn failed(error: RedisError) -> TransientError {
    TransientError(error.into())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// At least one: an end of nought is none to Redis.
fn ttl_millis(ttl: Duration) -> u64 {
    millis(ttl).max(1)
}

#[async_trait]
impl Place for Redis {
    async fn load(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.ask(cmd("GET").arg(self.key(key))).await
    }

    async fn put(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), TransientError> {
        self.ask(cmd("SET").arg(self.key(key)).arg(value).arg("PX").arg(ttl_millis(ttl))).await
    }

    async fn swap(&self, key: &str, held: Option<&[u8]>, value: &[u8], ttl: Duration) -> Result<bool, TransientError> {
        let (key, ttl) = (self.key(key), ttl_millis(ttl));
        let Some(held) = held else {
            let written: Option<String> = self.ask(cmd("SET").arg(key).arg(value).arg("NX").arg("PX").arg(ttl)).await?;
            return Ok(written.is_some());
        };
        let mut script = SWAP.key(key);
        script.arg(held).arg(value).arg(ttl);
        let mut connection = self.connection.clone();
        self.guarded(script.invoke_async(&mut connection)).await
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.ask(cmd("GETDEL").arg(self.key(key))).await
    }

    async fn delete(&self, key: &str) -> Result<(), TransientError> {
        self.ask(cmd("DEL").arg(self.key(key))).await
    }
}
