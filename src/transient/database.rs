//! Transient state in the database, for nodes that share one and have no Redis.
//!
//! It has connections of its own: whoever counts may hold a transaction, and would wait for a
//! connection that only those give back who wait for theirs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::config::settings;
use crate::domain::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{Db, Store, StoreError};
use crate::transient::TransientError;
use crate::transient::breaker::Breaker;
use crate::transient::shared::Place;

/// One connection of its own for so many that the database has otherwise.
const SHARE: u32 = 4;
/// How often a value is read that others take meanwhile: one of them has it then.
const TRIES: usize = 5;

/// The database, as a place for transient state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    store: Store,
    clock: Clock,
    breaker: Arc<Breaker>,
}

impl Database {
    /// A place in the database of these settings, with its schema up to date.
    pub async fn open(settings: &settings::Database, clock: Clock, metrics: &Metrics) -> Result<Self, StoreError> {
        let share = settings.max_connections.div_ceil(SHARE);
        let own = settings::Database { max_connections: share, min_connections: 1, ..settings.clone() };
        let store = Store::new(Db::open(&own).await?).counted(metrics);
        let breaker = Breaker::new("the database of counters", settings.acquire_timeout);
        Ok(Self { store, clock, breaker: Arc::new(breaker) })
    }

    /// The connections that are only for this.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    async fn ask<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, TransientError> {
        self.breaker.admit()?;
        self.breaker.judge(answer, is_an_answer).await
    }
}

fn is_an_answer(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_) | StoreError::Late) || error.is_a_lost_race()
}

/// Whoever loses a race has changed nothing, as if the value had been another.
fn unless_lost(done: Result<bool, StoreError>) -> Result<bool, StoreError> {
    match done {
        Err(error) if error.is_a_lost_race() => Ok(false),
        done => done,
    }
}

/// A text holds every value this way.
fn text(value: &[u8]) -> String {
    STANDARD_NO_PAD.encode(value)
}

fn bytes(text: &str) -> Result<Vec<u8>, StoreError> {
    STANDARD_NO_PAD.decode(text).map_err(|_| StoreError::Corrupt("value"))
}

#[async_trait]
impl Place for Database {
    async fn load(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.ask(async {
            let found = self.store.transients().load(key, self.clock.now()).await?;
            found.as_deref().map(bytes).transpose()
        })
        .await
    }

    async fn put(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), TransientError> {
        let now = self.clock.now();
        self.ask(self.store.transients().put(key, &text(value), now + ttl, now)).await
    }

    async fn swap(&self, key: &str, held: Option<&[u8]>, value: &[u8], ttl: Duration) -> Result<bool, TransientError> {
        let (now, value) = (self.clock.now(), text(value));
        self.ask(async {
            let mut transients = self.store.transients();
            unless_lost(match held {
                None => transients.begin(key, &value, now + ttl, now).await,
                Some(held) => transients.swap(key, &text(held), &value, now + ttl, now).await,
            })
        })
        .await
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>, TransientError> {
        self.ask(async {
            let mut transients = self.store.transients();
            for _ in 0..TRIES {
                let now = self.clock.now();
                let Some(held) = transients.load(key, now).await? else { return Ok(None) };
                if unless_lost(transients.remove(key, &held, now).await)? {
                    return bytes(&held).map(Some);
                }
            }
            Ok(None)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), TransientError> {
        self.ask(self.store.transients().delete(key, self.clock.now())).await
    }
}
