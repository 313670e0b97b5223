//! The world below the edges: database, keys, engines, use cases. Built here and nowhere else, for
//! the server and for every command beside it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;

use crate::app::data_dir::DataDir;
use crate::app::post;
use crate::auth::{Auth, Parts, Sightings};
use crate::config::settings::{Database, DatabasePlace, Settings, TransientBackend};
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::secret::Secret;
use crate::events::{self, Events, Feed, Recorder, Wake};
use crate::metrics::Metrics;
use crate::outbox::Dispatcher;
use crate::outgoing::Outgoing;
use crate::password_hash::Hasher;
use crate::revocation::Revocations;
use crate::sealing::Sealer;
use crate::store::{Db, Store, StoreError, migrations};
use crate::tokens::keys::Purpose;
use crate::tokens::{AssertionCache, KeyError, Keychain, MasterKeys, Wanted};
use crate::transient::{Database as CountersInDatabase, Memory, Redis, Shared, Transient};

/// Everything below the edges.
#[derive(Debug)]
pub struct World {
    /// The database.
    pub store: Store,
    /// The same one on connections of its own, where counters stand in it.
    pub counters: Option<Store>,
    /// What the use cases stand on; survives reloads.
    pub parts: Arc<Parts>,
    /// The use cases under the settings the world was built with.
    pub auth: Auth,
    /// Delivers messages and events.
    pub dispatcher: Dispatcher,
}

impl World {
    /// Builds the world on an open database.
    pub async fn build(
        settings: &Arc<Settings>,
        store: Store,
        masters: &MasterKeys,
        clock: Clock,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let wanted = Wanted::by(settings);
        let keys = match Keychain::open(store.clone(), masters.clone(), &wanted, clock.now()).await {
            Ok(keys) => keys,
            Err(KeyError::WrongMaster) => bail!(
                "the database was made with another master key; set `secrets.master_key` to the right one, or list \
                 the old one in `secrets.previous`"
            ),
            Err(error) => return Err(error).context("the keys cannot be read"),
        };
        let revocations = Arc::new(Revocations::new(clock.clone(), metrics.clone()));
        let sealer = Arc::new(Sealer::new(keys.ring().purpose(Purpose::Outbox)));
        let outbox = Arc::new(Wake::default());
        let outgoing = Outgoing::new(clock.clone());
        let events = Events::new(events::Parts {
            store: store.clone(),
            revocations: Arc::clone(&revocations),
            sealer: Arc::clone(&sealer),
            outlet: ArcSwap::from_pointee(post::outlet(settings, &outgoing)?),
            metrics: metrics.clone(),
            recorder: Recorder::default(),
            feed: Feed::default(),
            outbox: Arc::clone(&outbox),
            leeway_ms: AtomicU64::new(events::millis(settings.jwt.leeway)),
            access_ttl_ms: AtomicU64::new(events::millis(settings.jwt.access_ttl)),
            clock: clock.clone(),
        });
        let hasher =
            Hasher::start(&settings.security.password_hash, &metrics).context("no hashing thread can be started")?;
        let (transient, counters) = transient(settings, &clock, &metrics).await?;
        let parts = Arc::new(Parts {
            store: store.clone(),
            transient,
            events,
            hasher: ArcSwap::from_pointee(hasher),
            keys,
            assertions: Arc::new(AssertionCache::default()),
            revocations,
            sightings: Sightings::default(),
            outgoing: outgoing.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        });
        let ways = Arc::new(ArcSwap::from_pointee(post::ways_out(settings, &outgoing)?));
        let dispatcher = Dispatcher {
            store: store.clone(),
            sealer,
            events: parts.events.clone(),
            ways,
            metrics,
            wake: outbox,
            clock,
        };
        let auth = Auth::new(Arc::clone(settings), Arc::clone(&parts));
        Ok(Self { store, counters, parts, auth, dispatcher })
    }
}

/// Where counters stand, and the connections to it that are a database's. A node starts without Redis as
/// well; what then becomes of requests says `[transient]`.
async fn transient(
    settings: &Settings,
    clock: &Clock,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<dyn Transient>, Option<Store>)> {
    let clock = clock.clone();
    Ok(match &settings.transient.backend {
        TransientBackend::Memory => (Arc::new(Memory::new(clock)), None),
        TransientBackend::Redis(redis) => {
            (Arc::new(Shared::new(Redis::new(redis).context("Redis cannot be used")?, clock)), None)
        }
        TransientBackend::Database => {
            let database = &settings.database;
            let place = CountersInDatabase::open(database, clock.clone(), metrics).await;
            let place = place.map_err(|error| unusable(database, error))?;
            let store = place.store().clone();
            (Arc::new(Shared::new(place, clock)), Some(store))
        }
    })
}

/// Whether the schema is brought up to date on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// It is.
    Migrate,
    /// It must be up to date already.
    Expect,
}

/// Opens the database of these settings, with its schema up to date, and sets the clock by its clock.
pub async fn open_store(settings: &Settings, data: &DataDir, schema: Schema, clock: &Clock) -> anyhow::Result<Store> {
    let database = &settings.database;
    let db = open_database(database, data).await?;
    if schema == Schema::Migrate {
        let applied = migrations::apply(&db, clock.now()).await.map_err(|error| unusable(database, error))?;
        for (version, name) in applied {
            tracing::info!(version, name, "schema brought up to date");
        }
    }
    let status = migrations::status(&db).await.map_err(|error| unusable(database, error))?;
    if !status.pending.is_empty() {
        bail!("the database `{}` has an older schema; run `nauth migrate` first", database.place);
    }
    let store = Store::new(db);
    // From here on time is what it is for every node.
    let asked = clock.now();
    let head = store.revocations().head(0).await.map_err(|error| unusable(database, error))?;
    clock.follow(head.clock, asked);
    Ok(store)
}

/// Opens the database of these settings as it is. A file of something else stays as it is.
pub async fn open_database(database: &Database, data: &DataDir) -> anyhow::Result<Db> {
    if let DatabasePlace::Sqlite(path) = &database.place {
        data.prepare_database(path)?;
        let db = Db::peek(path, database).await.map_err(|error| unusable(database, error))?;
        let looked = migrations::status(&db).await;
        db.close().await;
        looked.map_err(|error| unusable(database, error))?;
    }
    Db::open(database).await.map_err(|error| unusable(database, error))
}

/// A refusal that names the database.
#[must_use]
pub fn unusable(database: &Database, error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Schema(reason) => anyhow::anyhow!("the database `{}` cannot be used: {reason}", database.place),
        other => anyhow::Error::new(other).context(format!("the database `{}` cannot be used", database.place)),
    }
}

/// The master keys: configured, else generated. A new one is made for an empty database only.
pub async fn master_keys(settings: &Settings, data: &DataDir, store: &Store) -> anyhow::Result<MasterKeys> {
    let previous = settings.secrets.previous.clone();
    let current = match &settings.secrets.master_key {
        Some(key) => key.clone(),
        None => generated_key(data, store).await?,
    };
    Ok(MasterKeys { current, previous })
}

async fn generated_key(data: &DataDir, store: &Store) -> anyhow::Result<Secret<Vec<u8>>> {
    if let Some(key) = data.master_key()? {
        return Ok(key);
    }
    let known = store.keys().master_checks().await.map_err(Error::from).context("the keys cannot be read")?;
    if !known.is_empty() {
        bail!(
            "the master key `{}` is missing, and the database was made with it; restore it from a backup, or set \
             `secrets.master_key`, as all nodes on one database do",
            data.key_path().display()
        );
    }
    data.generate_master_key()
}
