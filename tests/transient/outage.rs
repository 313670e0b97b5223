//! Redis fails: nobody waits for long, and nobody has to start anything again.

use std::time::{Duration, Instant};

use nauth::config::settings::{self, RedisPlace};
use nauth::domain::clock::Clock;
use nauth::domain::secret::Secret;
use nauth::transient::{Hit, Redis, Shared, Transient};

use crate::redis_cluster::redis_cli;
use crate::redis_server::RedisServer;
use crate::{MINUTE, redis_settings};

const TIMEOUT: Duration = Duration::from_millis(200);

fn node(server: &RedisServer) -> impl Transient + use<> {
    let settings = settings::Redis { timeout: TIMEOUT, ..redis_settings(server) };
    Shared::new(Redis::new(&settings).unwrap(), Clock::system())
}

async fn answers_within(node: &impl Transient, patience: Duration) {
    let patience = Instant::now() + patience;
    while node.hit("a", 1_000, MINUTE).await.is_err() {
        assert!(Instant::now() < patience, "Redis is not found again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn one_that_has_gone_is_told_at_once_and_found_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let node = node(&server);
    assert_eq!(node.hit("a", 1, MINUTE).await.unwrap(), Hit::Allowed);

    server.stop();
    for _ in 0..20 {
        assert!(node.hit("a", 1, MINUTE).await.is_err());
    }
    server.start_again();

    answers_within(&node, Duration::from_secs(3)).await;
}

/// How many connections nauth has to it.
fn connections(server: &RedisServer) -> usize {
    let listed = redis_cli(&server.url(), &["client", "list", "type", "normal"]);
    listed.lines().filter(|line| !line.contains("cmd=client")).count()
}

#[tokio::test]
async fn questions_are_spread_over_as_many_connections_as_there_may_be() {
    let Some(mut server) = RedisServer::start() else { return };
    let node_of = |pool| {
        let settings = settings::Redis { pool, timeout: TIMEOUT, ..redis_settings(&server) };
        Shared::new(Redis::new(&settings).unwrap(), Clock::system())
    };
    let node = node_of(16);
    assert_eq!(connections(&server), 0, "none is made before its turn");
    for _ in 0..8 {
        node.get("a").await.unwrap();
    }
    assert_eq!(connections(&server), 8);
    for _ in 0..40 {
        node.get("a").await.unwrap();
    }
    assert_eq!(connections(&server), 16);

    // One failure tells that all of them broke.
    server.stop();
    assert!(node.get("a").await.is_err());
    server.start_again();
    answers_within(&node, Duration::from_secs(3)).await;
    for _ in 0..40 {
        node.get("a").await.unwrap();
    }
    assert_eq!(connections(&server), 16);
}

#[tokio::test]
async fn one_that_hangs_holds_nobody_up() {
    let Some(server) = RedisServer::start() else { return };
    let node = node(&server);
    node.hit("a", 1, MINUTE).await.unwrap();

    server.freeze();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(node.hit("a", 1, MINUTE).await.is_err());
    }
    assert!(began.elapsed() < TIMEOUT * 4, "{:?}", began.elapsed());
    server.thaw();

    answers_within(&node, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_node_starts_without_it() {
    let Some(mut server) = RedisServer::start() else { return };
    server.stop();
    let node = node(&server);
    assert!(node.hit("a", 1, MINUTE).await.is_err());

    server.start_again();

    answers_within(&node, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn what_somebody_else_wrote_concerns_its_key_alone() {
    let Some(server) = RedisServer::start() else { return };
    let node = node(&server);
    node.put("theirs", b"hello".to_vec(), MINUTE).await.unwrap();

    assert!(node.hit("theirs", 5, MINUTE).await.is_err());

    assert_eq!(node.hit("ours", 5, MINUTE).await.unwrap(), Hit::Allowed);
}

#[test]
fn a_password_is_not_shown() {
    let place = RedisPlace::One(Secret::new("redis://:hunter2@127.0.0.1:1".to_owned()));
    let settings = settings::Redis { place, key_prefix: String::new(), pool: 2, timeout: TIMEOUT, ssl_ca: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(async {
        let redis = Redis::new(&settings).unwrap();
        assert!(!format!("{redis:?} {settings:?}").contains("hunter2"));
        let error = Shared::new(redis, Clock::system()).get("a").await.unwrap_err();
        assert!(!format!("{error:?} {}", nauth::logging::chain(&error)).contains("hunter2"));
    });
}
