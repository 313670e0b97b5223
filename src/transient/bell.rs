//! A bell that nodes ring through Redis: it says that there is something new, and nothing else. Whoever
//! misses it finds out by looking, as always.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use redis::{Client, cmd};

use crate::config::settings;
use crate::transient::TransientError;
use crate::transient::redis::{Redis, clients, failed};

/// The bell of one kind of news.
pub struct Bell {
    /// Of every Redis it may be heard from: each node of a cluster rings for all.
    clients: Vec<Client>,
    /// How often it was listened to.
    turn: AtomicUsize,
    redis: Redis,
    channel: String,
    timeout: Duration,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Bell {
    /// The bell of this name, in Redis of these settings. Nothing is asked of it yet.
    pub fn new(settings: &settings::Redis, name: &str) -> Result<Self, TransientError> {
        let channel = format!("{}{name}", settings.key_prefix);
        let clients = clients(settings)?;
        // It rings now and then.
        let redis = Redis::new(&settings::Redis { pool: 1, ..settings.clone() })?;
        Ok(Self { clients, turn: AtomicUsize::new(0), redis, channel, timeout: settings.timeout })
    }

    /// Rings it on every node, this one included.
    pub async fn ring(&self) -> Result<(), TransientError> {
        self.redis.ask(cmd("PUBLISH").arg(&self.channel).arg("")).await
    }

    /// Calls `heard` whenever it rings, and once at the beginning; ends when Redis cannot be heard any more.
    pub async fn listen(&self, heard: impl Fn()) -> Result<(), TransientError> {
        // Another one when this one has fallen silent.
        let client = &self.clients[self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len()];
        let subscribed = async {
            let mut connection = client.get_async_pubsub().await?;
            connection.subscribe(&self.channel).await?;
            Ok(connection)
        };
        let subscribed = tokio::time::timeout(self.timeout, subscribed).await;
        let connection = subscribed.map_err(|late| TransientError(late.into()))?.map_err(failed)?;
        // What rang before was missed.
        heard();
        let mut rings = connection.into_on_message();
        while rings.next().await.is_some() {
            heard();
        }
        Ok(())
    }
}
