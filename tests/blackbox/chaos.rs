//! Nodes, the database and Redis are killed while clients work; what clients were told stays true.
//! A node that has a file to itself is killed alone.
//!
//! Clients note every answer as it comes (`ledger`), and do what users do on whichever node they
//! happen to reach (`client`). At the end, when everything is up again, every promise is put to the test:
//! an acknowledged signup, password and revocation is there, a one-time secret worked once, a
//! session has one token for each generation, and nothing that was revoked came back.

mod client;
mod ledger;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use nauth::domain::id::random_number;
use serde_json::json;

use crate::database_server::DatabaseServer;
use crate::redis_server::RedisServer;
use crate::servers::{Kind, environment};
use crate::support::{Config, Echo, Mailbox, Nauth, eventually, millis, secs};
use client::Client;
use ledger::{CATCHES_UP_WITHIN, Ledger};

/// Users at work at any time.
const CLIENTS: usize = 8;
/// How long it takes, unless `NAUTH_TEST_CHAOS_SECONDS` says otherwise (`scripts/chaos`).
const SECONDS: u64 = 15;

/// What can be killed.
struct Installation {
    /// Two, or the one that has a file to itself.
    nodes: Vec<Nauth>,
    database: Option<DatabaseServer>,
    redis: Option<RedisServer>,
    ledger: Arc<Ledger>,
}

#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Node(usize),
    Database,
    Redis,
    /// A node that is started again while there is no database yet.
    NodeAndDatabase(usize),
    /// Everything at once.
    All,
}

impl Disturbance {
    /// Of what there is.
    fn of(installation: &Installation) -> Self {
        let node = dice(installation.nodes.len());
        if installation.database.is_none() {
            return Self::Node(node);
        }
        match dice(6) {
            0 | 1 => Self::Node(node),
            2 => Self::Database,
            3 => Self::Redis,
            4 => Self::NodeAndDatabase(node),
            _ => Self::All,
        }
    }
}

impl Installation {
    /// `None` where a server is not installed.
    async fn start(kind: Kind, with_redis: bool, mailbox: &Mailbox, echo: &Echo) -> Option<Self> {
        let (database, count) = match kind {
            Kind::Sqlite => (None, 1),
            server => (Some(DatabaseServer::start(server).await?), 2),
        };
        let redis = if with_redis { Some(RedisServer::start()?) } else { None };
        let config = config(database.as_ref(), redis.as_ref(), mailbox, echo);
        let nodes = join_all((0..count).map(|_| Nauth::start(config.clone()))).await;
        let seconds = environment("NAUTH_TEST_CHAOS_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
        Some(Self { nodes, database, redis, ledger: Arc::new(Ledger::new(secs(seconds))) })
    }

    /// Lets clients get somewhere before the next disturbance.
    async fn is_used_for_a_while(&self) {
        let before = self.ledger.acknowledged();
        tokio::time::sleep(millis(500) + moment()).await;
        eventually(secs(5), async || (self.ledger.acknowledged() > before + CLIENTS).then_some(())).await;
    }

    /// Kills something, and brings it back after a moment.
    async fn suffer(&mut self, disturbance: Disturbance) {
        eprintln!("{disturbance:?}");
        let pause = moment();
        match disturbance {
            Disturbance::Node(node) => {
                self.nodes[node].kill();
                tokio::time::sleep(pause).await;
                self.nodes[node].start_again().await;
            }
            Disturbance::Database => {
                self.kill_database();
                tokio::time::sleep(pause).await;
                self.start_database().await;
            }
            Disturbance::Redis => {
                let Some(redis) = &mut self.redis else { return };
                redis.stop();
                tokio::time::sleep(pause).await;
                redis.start_again();
            }
            Disturbance::NodeAndDatabase(node) => {
                self.nodes[node].kill();
                self.kill_database();
                let was_ready = self.nodes[node].try_start_again().await;
                assert!(!was_ready, "a node is ready without a database");
                self.start_database().await;
                self.nodes[node].start_again().await;
            }
            Disturbance::All => {
                self.kill_database();
                self.nodes[0].kill();
                if let Some(redis) = &mut self.redis {
                    redis.stop();
                    redis.start_again();
                }
                self.nodes[1].kill();
                self.start_database().await;
                join_all(self.nodes.iter_mut().map(Nauth::start_again)).await;
            }
        }
    }

    fn server(&mut self) -> &mut DatabaseServer {
        self.database.as_mut().expect("only a server is disturbed")
    }

    fn kill_database(&mut self) {
        self.ledger.database_is(None);
        self.server().kill();
    }

    async fn start_database(&mut self) {
        self.server().start_again().await;
        self.ledger.database_is(Some(Instant::now()));
    }
}

/// Less than this.
fn dice(sides: usize) -> usize {
    usize::try_from(random_number()).unwrap() % sides
}

/// Up to a second.
fn moment() -> Duration {
    millis(u64::try_from(dice(1_000)).unwrap())
}

/// Nothing is refused for coming too often: every refusal must have another reason.
fn config(database: Option<&DatabaseServer>, redis: Option<&RedisServer>, mailbox: &Mailbox, echo: &Echo) -> Config {
    let unlimited = json!({ "max": 0, "window": "1m" });
    let config = ["login", "signup", "forgot_password", "challenge", "default", "refresh"]
        .iter()
        .fold(mailbox.of(Config::in_front_of(echo)), |config, limit| {
            config.set(&format!("rate_limit.{limit}"), unlimited.clone())
        });
    let config = config
        .set("server.public_url", "http://localhost")
        .set("secrets.master_key", STANDARD.encode([7; 32]))
        .set("database.acquire_timeout", "2s")
        .set("database.statement_timeout", "2s")
        .set("security.password_hash.memory", "8MiB")
        .set("lockout.enabled", false)
        .set("password.reset.send_limit", json!({ "max": 100, "window": "1h" }));
    let config = match database {
        Some(database) => config.set("database.url", database.url()),
        None => config.on_a_file(),
    };
    match (redis, database) {
        (Some(redis), _) => config.set("redis.url", redis.url()).set("redis.timeout", "300ms"),
        (None, Some(_)) => config.set("transient.backend", "database"),
        (None, None) => config,
    }
}

/// Disturbs an installation while clients work, then asks whether everything is as they were told.
async fn promises_hold(kind: Kind, with_redis: bool) {
    let (mailbox, echo) = (Arc::new(Mailbox::start().await), Echo::start().await);
    let Some(mut installation) = Installation::start(kind, with_redis, &mailbox, &echo).await else { return };
    let ledger = Arc::clone(&installation.ledger);
    let nodes = [&installation.nodes[0], installation.nodes.last().unwrap()].map(Nauth::public);
    let work = (0..CLIENTS).map(|_| Client::new(nodes, Arc::clone(&mailbox), Arc::clone(&ledger)).works());
    let disturb = async {
        while !ledger.is_full() {
            installation.is_used_for_a_while().await;
            installation.suffer(Disturbance::of(&installation)).await;
        }
    };
    let (clients, ()) = tokio::join!(join_all(work), disturb);

    // What was revoked last of all is due as well.
    tokio::time::sleep(CATCHES_UP_WITHIN).await;
    for client in clients {
        client.settles_accounts().await;
    }
    ledger.is_clean();
}

#[tokio::test]
async fn on_a_file() {
    promises_hold(Kind::Sqlite, false).await;
}

#[tokio::test]
async fn on_postgres_with_redis() {
    promises_hold(Kind::Postgres, true).await;
}

#[tokio::test]
async fn on_mariadb() {
    promises_hold(Kind::MariaDb, false).await;
}
