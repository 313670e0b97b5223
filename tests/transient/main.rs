//! The contract of transient state, put to every place where it can stand: in memory, in Redis, and in
//! each database. Of SQLite nauth itself makes no use: what is written once must hold there too.
//!
//! Of what is shared there are two clients, as two nodes would have. Without servers
//! (`scripts/with-servers`) and a `redis-server` the tests run without them; under `scripts/test` that
//! is a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

#[path = "../servers/redis_cluster.rs"]
mod redis_cluster;
#[path = "../servers/redis.rs"]
mod redis_server;
#[path = "../servers/mod.rs"]
mod servers;
#[path = "../servers/settings.rs"]
mod settings_of_servers;

mod attempts;
mod cluster;
mod housekeeping;
mod outage;
mod values;
mod ways;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nauth::config::settings::{self, RedisPlace};
use nauth::domain::clock::{Clock, Time};
use nauth::domain::secret::Secret;
use nauth::metrics::Metrics;
use nauth::store::{Db, migrations};
use nauth::transient::{Database, Memory, Redis, Shared, Transient};
use redis_server::RedisServer;
use servers::{Kind, Room};

const MINUTE: Duration = Duration::from_mins(1);

/// Transient state in some place, as two nodes see it, and their clock.
struct Ground {
    nodes: [Arc<dyn Transient>; 2],
    clock: Clock,
    /// Whether time goes on there by itself.
    has_own_clock: bool,
    /// What has to live as long.
    server: Option<RedisServer>,
    room: Option<Room>,
}

impl Ground {
    fn memory() -> Self {
        let clock = Clock::manual(Time::from_secs(1_000_000));
        let memory: Arc<dyn Transient> = Arc::new(Memory::new(clock.clone()));
        Self { nodes: [Arc::clone(&memory), memory], clock, has_own_clock: false, server: None, room: None }
    }

    /// `None` where there is no Redis.
    fn redis() -> Option<Self> {
        let server = RedisServer::start()?;
        let ground = Self::of_clients(&Clock::manual(Time::from_secs(1_000_000)), |clock| {
            Shared::new(Redis::new(&redis_settings(&server)).unwrap(), clock)
        });
        Some(Self { server: Some(server), ..ground })
    }

    /// Of two clients of something that has a clock of its own.
    fn of_clients(clock: &Clock, client: impl Fn(Clock) -> Shared<Redis>) -> Self {
        let node = || -> Arc<dyn Transient> { Arc::new(client(clock.clone())) };
        Self { nodes: [node(), node()], clock: clock.clone(), has_own_clock: true, server: None, room: None }
    }

    /// `None` where there is no server of this kind.
    async fn database(kind: Kind) -> Option<Self> {
        let room = Room::on(kind).await?;
        let settings = room.settings("");
        let clock = Clock::manual(Time::from_secs(1_000_000));
        migrations::apply(&Db::open(&settings).await.unwrap(), clock.now()).await.unwrap();
        let node = async || {
            let place = Database::open(&settings, clock.clone(), &Metrics::new()).await.unwrap();
            let node: Arc<dyn Transient> = Arc::new(Shared::new(place, clock.clone()));
            node
        };
        Some(Self {
            nodes: [node().await, node().await],
            clock: clock.clone(),
            has_own_clock: false,
            server: None,
            room: Some(room),
        })
    }

    /// Takes away what it made elsewhere. One whose test failed stays where it is.
    async fn remove(self) {
        drop(self.server);
        if let Some(room) = self.room {
            room.remove().await;
        }
    }

    /// Lets time pass, for nauth and for whoever has a clock of its own.
    async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        if self.has_own_clock {
            tokio::time::sleep(span + Duration::from_millis(5)).await;
        }
    }

    /// Does something `times` times side by side, on the nodes in turn.
    async fn side_by_side<T, F: Future<Output = T>>(
        &self,
        times: usize,
        work: impl Fn(Arc<dyn Transient>) -> F,
    ) -> Vec<T> {
        join_all((0..times).map(|number| work(Arc::clone(&self.nodes[number % 2])))).await
    }
}

fn redis_settings(server: &RedisServer) -> settings::Redis {
    settings::Redis {
        place: RedisPlace::One(Secret::new(server.url())),
        key_prefix: "test:".to_owned(),
        pool: 4,
        timeout: Duration::from_secs(2),
        ssl_ca: None,
    }
}

/// Makes one test of a function for each place.
macro_rules! everywhere {
    ($(async fn $name:ident($ground:ident: &Ground) $body:block)*) => {
        $(
            pub(crate) mod $name {
                use super::*;

                pub(crate) async fn on($ground: &Ground) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn memory() {
                    on(&Ground::memory()).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn redis() {
                    let Some(ground) = Ground::redis() else { return };
                    on(&ground).await;
                }

                async fn in_database(kind: crate::servers::Kind) {
                    let Some(ground) = Ground::database(kind).await else { return };
                    on(&ground).await;
                    ground.remove().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    in_database(crate::servers::Kind::Sqlite).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    in_database(crate::servers::Kind::Postgres).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn mariadb() {
                    in_database(crate::servers::Kind::MariaDb).await;
                }
            }
        )*
    };
}
pub(crate) use everywhere;
