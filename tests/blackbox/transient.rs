//! Limits that nodes count together in Redis, and what becomes of requests when it is gone.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::redis_cluster::RedisCluster;
use crate::redis_server::RedisServer;
use crate::servers::Kind;
use crate::support::{Config, Database, Echo, Nauth, Request, eventually, secs};

const RARE: &str = "path = \"/rare\"\naccess = \"public\"\nrate_limit = { max = 1, window = \"1h\" }";

/// As seldom as nodes may read what was revoked.
const SELDOM: &str = "5s";

/// Nodes with a database each, so that Redis is all they share.
fn config(echo: &Echo, redis: &RedisServer) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("redis.url", redis.url())
        .set("redis.timeout", "300ms")
        .route(RARE)
        .route("path = \"/\"\naccess = \"public\"")
}

async fn two_nodes(config: &Config) -> (Nauth, Nauth) {
    tokio::join!(Nauth::start(config.clone()), Nauth::start(config.clone()))
}

async fn logs_in_wrongly(nauth: &Nauth) -> u16 {
    nauth.try_login("nobody@example.com", "wrong wrong wrong").await.status
}

#[tokio::test]
async fn a_rate_is_one_for_all_nodes() {
    let Some(redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let limit = json!({ "max": 3, "window": "1h" });
    let (one, other) = two_nodes(&config(&echo, &redis).set("rate_limit.login", limit)).await;

    for node in [&one, &other, &one] {
        assert_eq!(logs_in_wrongly(node).await, 401);
    }
    assert_eq!([logs_in_wrongly(&other).await, logs_in_wrongly(&one).await], [429, 429]);

    one.send(&Request::get("/rare")).await.expect(200);
    other.send(&Request::get("/rare")).await.expect(429);
    assert!(other.metric("nauth_rate_limited_total", &["scope=\"route\""]).await >= 1.0);
}

#[tokio::test]
async fn whoever_counts_under_another_name_or_in_memory_counts_alone() {
    let Some(redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let config = config(&echo, &redis);
    let (named, alone) =
        (config.clone().set("redis.key_prefix", "other:"), config.clone().set("transient.backend", "memory"));
    let (one, named, alone) = tokio::join!(Nauth::start(config), Nauth::start(named), Nauth::start(alone));

    for node in [&one, &named, &alone] {
        node.send(&Request::get("/rare")).await.expect(200);
        node.send(&Request::get("/rare")).await.expect(429);
    }
}

#[tokio::test]
async fn a_cluster_counts_and_rings_as_one_redis_does() {
    let (Some(cluster), Some(database)) = (RedisCluster::start(), Database::on(Kind::Postgres)) else { return };
    let echo = Echo::start().await;
    let config = database
        .of(Config::in_front_of(&echo).without_verification().route(RARE).route("path = \"/\""))
        .set("server.instances", "multi")
        .set("server.public_url", "http://localhost")
        .set("secrets.master_key", STANDARD.encode([7; 32]))
        .set("redis.cluster", cluster.urls())
        .set("session.revocation_poll", SELDOM)
        .set("rate_limit.login", json!({ "max": 5, "window": "1h" }));
    let (one, other) = two_nodes(&config).await;

    one.signup("ada@example.com").await;
    assert!(logouts_are_heard_of(&one, &other).await);

    // Two logins are counted by now.
    for node in [&one, &other, &one] {
        assert_eq!(logs_in_wrongly(node).await, 401);
    }
    assert_eq!([logs_in_wrongly(&other).await, logs_in_wrongly(&one).await], [429, 429]);
    one.send(&Request::get("/rare")).await.expect(200);
    other.send(&Request::get("/rare")).await.expect(429);
}

#[tokio::test]
async fn guesses_spread_over_nodes_are_no_more_than_on_one() {
    let Some(redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let (one, other) = two_nodes(&config(&echo, &redis).set("lockout.account_ip.max", 4)).await;

    let answers = futures_util::future::join_all((0..24).map(|number| {
        let node = if number % 2 == 0 { &one } else { &other };
        logs_in_wrongly(node)
    }));
    let answers = answers.await;

    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 4, "{answers:?}");
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
    assert_eq!([logs_in_wrongly(&one).await, logs_in_wrongly(&other).await], [429, 429]);
}

#[tokio::test]
async fn without_redis_the_api_refuses_and_what_is_proxied_goes_on() {
    let Some(mut redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, &redis)).await;
    let ada = nauth.signup("ada@example.com").await;

    redis.stop();
    let began = Instant::now();
    let refused = nauth.try_login("ada@example.com", crate::support::PASSWORD).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    nauth.try_refresh(&ada.refresh_token).await.expect(503);
    for _ in 0..3 {
        nauth.send(&Request::get("/rare")).await.expect(200);
    }
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    nauth.manage(&Request::get("/readyz")).await.expect(200);
    assert!(began.elapsed() < secs(5), "{:?}", began.elapsed());
    assert!(nauth.metric("nauth_rate_uncounted_total", &["scope=\"login\"", "result=\"refused\""]).await >= 1.0);
    assert!(nauth.metric("nauth_rate_uncounted_total", &["scope=\"route\"", "result=\"passed\""]).await >= 3.0);
    nauth.writes("Redis cannot be asked").await;

    redis.start_again();
    let back = eventually(secs(5), async || {
        let status = nauth.try_login("ada@example.com", crate::support::PASSWORD).await.status;
        (status == 200).then_some(())
    });
    assert!(back.await.is_some(), "{}", nauth.output());
    nauth.writes("Redis answers again").await;
}

#[tokio::test]
async fn a_redis_that_hangs_holds_up_nobody() {
    let Some(redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, &redis)).await;
    nauth.send(&Request::get("/rare")).await.expect(200);

    redis.freeze();
    let began = Instant::now();
    let rare = futures_util::future::join_all((0..100).map(|_| async {
        nauth.send(&Request::get("/rare")).await.expect(200);
    }));
    rare.await;
    assert!(began.elapsed() < secs(5), "{:?}", began.elapsed());
    redis.thaw();

    let back = eventually(secs(5), async || (nauth.send(&Request::get("/rare")).await.status == 429).then_some(()));
    assert!(back.await.is_some(), "{}", nauth.output());
}

#[tokio::test]
async fn what_cannot_be_counted_passes_or_not_as_configured() {
    let Some(mut redis) = RedisServer::start() else { return };
    redis.stop();
    let echo = Echo::start().await;
    let config = config(&echo, &redis).set("transient.on_error_auth", "open").set("transient.on_error_proxy", "closed");
    let nauth = Nauth::start(config.clone()).await;

    nauth.signup("ada@example.com").await;
    nauth.login("ada@example.com").await;
    assert_eq!(logs_in_wrongly(&nauth).await, 401);
    nauth.send(&Request::get("/rare")).await.expect(503);

    nauth.reconfigure(&config.set("transient.on_error_proxy", "open"));
    let open = eventually(secs(5), async || (nauth.send(&Request::get("/rare")).await.status == 200).then_some(()));
    assert!(open.await.is_some(), "{}", nauth.output());
}

#[tokio::test]
async fn another_redis_takes_a_restart_and_is_told() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;

    nauth.reconfigure(&Config::in_front_of(&echo).set("redis.url", "redis://:hunter2@127.0.0.1:1"));

    nauth.writes("restart").await;
    nauth.writes("redis").await;
    nauth.try_login("nobody@example.com", "wrong wrong wrong").await.expect(401);
    assert!(!nauth.output().contains("hunter2"));
}

#[tokio::test]
async fn a_redis_that_is_none_is_shown_with_its_line_and_without_its_password() {
    for (config, wanted) in [
        (Config::whoami().set("redis.url", "http://:hunter2@redis"), "`redis.url` is no URL of a Redis"),
        (
            Config::whoami().set("redis.url", "redis://:hunter2@a").set("redis.ssl_ca", "none.pem"),
            "`ssl_ca` is for a Redis that speaks TLS",
        ),
        (Config::whoami().set("redis.key_prefix", "my nauth:"), "`key_prefix` must be"),
        (Config::whoami().set("redis.cluster", vec!["redis://:hunter2@a/1"]), "a Redis cluster has one database"),
        (
            Config::whoami().set("redis.cluster", vec!["redis://:hunter2@a", "redis://:hunter3@b"]),
            "the nodes of `redis.cluster` differ in user, password or TLS",
        ),
        (
            Config::whoami().set("redis.cluster", vec!["http://:hunter2@a"]),
            "a node of `redis.cluster` is no URL of a Redis",
        ),
        (
            Config::whoami().set("redis.url", "redis://:hunter2@a").set("redis.cluster", vec!["redis://:hunter2@b"]),
            "`redis.url` and `redis.cluster` are both written",
        ),
        (Config::whoami().set("redis.pool", 0), "`redis.pool` must be from 1 to 256"),
        (Config::whoami().set("transient.backend", "redis"), "`backend` is `redis`, and there is none"),
    ] {
        let refused = Nauth::start_refused(config).await.expect(2).says(wanted).says("nauth.toml:");
        assert!(!refused.output.contains("hunter2"), "{}", refused.output);
    }
}

/// Whether what is revoked on one node holds on the other in less than three seconds, one time after the other:
/// whoever reads it by chance, because a poll is due, has none due the next time.
async fn logouts_are_heard_of(one: &Nauth, other: &Nauth) -> bool {
    for _ in 0..2 {
        let ada = one.login("ada@example.com").await;
        let is_let_in = async || other.send(&Request::get("/").bearer(&ada.access_token)).await.status == 200;
        assert!(is_let_in().await);
        one.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);
        if eventually(secs(3), async || (!is_let_in().await).then_some(())).await.is_none() {
            return false;
        }
    }
    true
}

/// The same of two nodes on this database.
async fn a_logout_is_heard_of(kind: Kind, poll: &str, redis_is_there: bool) -> Option<bool> {
    let (mut redis, database) = (RedisServer::start()?, Database::on(kind)?);
    let echo = Echo::start().await;
    let config = database
        .of(Config::in_front_of(&echo).without_verification())
        .set("server.public_url", "http://localhost")
        .set("secrets.master_key", STANDARD.encode([7; 32]))
        .set("redis.url", redis.url())
        .set("transient.on_error_auth", "open")
        .set("session.revocation_poll", poll);
    let (one, other) = two_nodes(&config).await;
    one.signup("ada@example.com").await;
    if !redis_is_there {
        redis.stop();
    }
    Some(logouts_are_heard_of(&one, &other).await)
}

#[tokio::test]
async fn what_one_node_revokes_the_others_read_at_once() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        assert_ne!(a_logout_is_heard_of(kind, SELDOM, true).await, Some(false), "{kind:?}");
    }
}

#[tokio::test]
async fn a_ring_that_is_lost_costs_a_poll() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        assert_ne!(a_logout_is_heard_of(kind, "500ms", false).await, Some(false), "{kind:?}");
    }
}
