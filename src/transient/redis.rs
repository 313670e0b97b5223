//! Transient state in Redis.
//!
//! One connection serves everybody, and is made again whenever it broke.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError, Script, TlsCertificates, cmd};

use crate::config::settings;
use crate::transient::TransientError;
use crate::transient::breaker::{Breaker, millis};
use crate::transient::shared::Place;

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
    breaker: Breaker,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
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
        let breaker = Breaker::new("Redis", settings.timeout);
        Ok(Self { connection, prefix: settings.key_prefix.clone(), breaker })
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
        self.breaker.admit()?;
        self.breaker.judge(answer, is_an_answer).await
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
