//! Transient state in Redis.
//!
//! Every step is one command on one key, so it is the same to a cluster.

mod connections;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, RedisError, Script, cmd};

use crate::config::settings;
use crate::transient::TransientError;
use crate::transient::breaker::{Breaker, millis};
use crate::transient::redis::connections::{Connection, Maker, Pool};
use crate::transient::shared::Place;

pub(super) use connections::clients;

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
    maker: Maker,
    pool: ArcSwap<Pool>,
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
        let maker = Maker::new(settings)?;
        let pool = ArcSwap::from_pointee(maker.pool().map_err(failed)?);
        let breaker = Breaker::new("Redis", settings.timeout);
        Ok(Self { maker, pool, prefix: settings.key_prefix.clone(), breaker })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, TransientError> {
        self.answer(async |mut connection| command.query_async(&mut connection).await).await
    }

    /// What Redis answers, within its time and unless it rests.
    async fn answer<T>(
        &self,
        question: impl AsyncFnOnce(Connection) -> Result<T, RedisError>,
    ) -> Result<T, TransientError> {
        self.breaker.admit()?;
        let pool = self.pool.load_full();
        let answered = self.breaker.judge(question(pool.next()), is_an_answer).await;
        if answered.is_err() && self.breaker.is_resting() {
            self.renew(&pool);
        }
        answered
    }

    /// Where one connection broke the others will have broken too: all of them are made anew, else each
    /// would have to be found out by somebody's failure.
    fn renew(&self, broken: &Arc<Pool>) {
        if let Ok(pool) = self.maker.pool() {
            self.pool.compare_and_swap(broken, Arc::new(pool));
        }
    }
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
        self.answer(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.ask(cmd("GETDEL").arg(self.key(key))).await
    }

    async fn delete(&self, key: &str) -> Result<(), TransientError> {
        self.ask(cmd("DEL").arg(self.key(key))).await
    }
}
