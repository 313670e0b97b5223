//! Nodes, the database and Redis are killed while clients work; what clients were told stays true.
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
use crate::support::{Config, Echo, Mailbox, Nauth, millis, secs};
use client::Client;
use ledger::Ledger;

/// Users at work at any time.
const CLIENTS: usize = 8;
/// How long it takes, unless `NAUTH_TEST_CHAOS_SECONDS` says otherwise (`scripts/chaos`).
const SECONDS: u64 = 15;

/// What can be killed.
struct Installation {
    nodes: [Nauth; 2],
    database: DatabaseServer,
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
    fn random() -> Self {
        let node = dice(2);
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
        let database = DatabaseServer::start(kind).await?;
        let redis = if with_redis { Some(RedisServer::start()?) } else { None };
        let config = || config(&database, redis.as_ref(), mailbox, echo);
        let (one, other) = tokio::join!(Nauth::start(config()), Nauth::start(config()));
        let ledger = Arc::new(Ledger::default());
        Some(Self { nodes: [one, other], database, redis, ledger })
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
                let [one, other] = &mut self.nodes;
                tokio::join!(one.start_again(), other.start_again());
            }
        }
    }

    fn kill_database(&mut self) {
        self.ledger.database_is(None);
        self.database.kill();
    }

    async fn start_database(&mut self) {
        self.database.start_again().await;
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
fn config(database: &DatabaseServer, redis: Option<&RedisServer>, mailbox: &Mailbox, echo: &Echo) -> Config {
    let unlimited = json!({ "max": 0, "window": "1m" });
    let config = ["login", "signup", "forgot_password", "challenge", "default", "refresh"]
        .iter()
        .fold(mailbox.of(Config::in_front_of(echo)), |config, limit| {
            config.set(&format!("rate_limit.{limit}"), unlimited.clone())
        });
    let config = config
        .set("server.public_url", "http://localhost")
        .set("secrets.master_key", STANDARD.encode([7; 32]))
        .set("database.url", database.url())
        .set("database.acquire_timeout", "2s")
        .set("database.statement_timeout", "2s")
        .set("security.password_hash.memory", "8MiB")
        .set("lockout.enabled", false)
        .set("password.reset.send_limit", json!({ "max": 100, "window": "1h" }));
    match redis {
        Some(redis) => config.set("redis.url", redis.url()).set("redis.timeout", "300ms"),
        None => config.set("transient.backend", "database"),
    }
}

/// Disturbs an installation while clients work, then asks whether everything is as they were told.
async fn promises_hold(kind: Kind, with_redis: bool) {
    let (mailbox, echo) = (Arc::new(Mailbox::start().await), Echo::start().await);
    let Some(mut installation) = Installation::start(kind, with_redis, &mailbox, &echo).await else { return };
    let ledger = Arc::clone(&installation.ledger);
    ledger.database_is(Some(Instant::now()));
    let seconds = environment("NAUTH_TEST_CHAOS_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let until = Instant::now() + secs(seconds);

    let nodes = [installation.nodes[0].public(), installation.nodes[1].public()];
    let work = (0..CLIENTS).map(|_| Client::new(nodes, Arc::clone(&mailbox), Arc::clone(&ledger)).works_until(until));
    let disturb = async {
        while Instant::now() < until {
            tokio::time::sleep(millis(500) + moment()).await;
            installation.suffer(Disturbance::random()).await;
        }
    };
    let (clients, ()) = tokio::join!(join_all(work), disturb);

    for client in clients {
        client.settles_accounts().await;
    }
    ledger.is_clean();
}

#[tokio::test]
async fn on_postgres_with_redis() {
    promises_hold(Kind::Postgres, true).await;
}

#[tokio::test]
async fn on_mariadb() {
    promises_hold(Kind::MariaDb, false).await;
}
