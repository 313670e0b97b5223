//! A Redis cluster: the contract on keys that lie on several nodes, and move.

use std::process::Command;
use std::time::{Duration, Instant};

use nauth::config::settings::{self, RedisPlace};
use nauth::domain::clock::{Clock, Time};
use nauth::domain::secret::Secret;
use nauth::transient::{Hit, Redis, Shared, Transient as _};

use crate::redis_cluster::{RedisCluster, redis_cli};
use crate::{Ground, MINUTE, attempts, values, windows};

fn settings(cluster: &RedisCluster, prefix: &str) -> settings::Redis {
    settings::Redis {
        place: RedisPlace::Cluster(cluster.urls().into_iter().map(Secret::new).collect()),
        key_prefix: format!("{prefix}:"),
        pool: 3,
        timeout: Duration::from_secs(5),
        ssl_ca: None,
    }
}

/// Under names of its own, which lie somewhere else.
fn ground(cluster: &RedisCluster, prefix: &str) -> Ground {
    let settings = settings(cluster, prefix);
    Ground::of_clients(&Clock::manual(Time::from_secs(1_000_000)), |clock| {
        Shared::new(Redis::new(&settings).unwrap(), clock)
    })
}

/// How many keys each node holds.
fn keys_on(cluster: &RedisCluster) -> Vec<u32> {
    cluster.urls().iter().map(|url| redis_cli(url, &["dbsize"]).trim().parse().unwrap()).collect()
}

/// Moves half of what the first node holds to the second, while both go on.
fn move_slots(cluster: &RedisCluster) {
    let urls = cluster.urls();
    let [from, to] = [0, 1].map(|node: usize| redis_cli(&urls[node], &["cluster", "myid"]).trim().to_owned());
    let mut command = Command::new("redis-cli");
    command.args(["--cluster", "reshard", urls[0].trim_start_matches("redis://"), "--cluster-from", &from]);
    let moved = command.args(["--cluster-to", &to, "--cluster-slots", "2700", "--cluster-yes"]).output().unwrap();
    assert!(moved.status.success(), "{moved:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_of_one_redis_holds_of_a_cluster() {
    let Some(cluster) = RedisCluster::start() else { return };
    macro_rules! hold {
        ($($module:ident::$name:ident),* $(,)?) => {
            $($module::$name::on(&ground(&cluster, stringify!($name))).await;)*
        };
    }
    hold!(
        attempts::of_many_side_by_side_no_more_are_made_than_may_fail,
        attempts::a_lock_ends_and_counting_begins_anew,
        attempts::what_turns_out_right_is_taken_back,
        attempts::everywhere_the_same_is_answered,
        values::a_value_ends_with_its_time,
        values::a_value_is_written_and_taken_once,
        values::a_value_is_replaced_and_removed,
        windows::of_many_side_by_side_as_many_pass_as_may,
        windows::whoever_waits_as_long_as_told_passes_and_that_is_no_longer_than_the_window,
        windows::one_that_is_taken_back_leaves_its_place,
        windows::everywhere_the_same_is_answered,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_lie_on_every_node_and_may_move() {
    let Some(cluster) = RedisCluster::start() else { return };
    let ground = ground(&cluster, "moves");
    let [one, other] = &ground.nodes;
    let keys: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for key in &keys {
        assert_eq!(one.hit(key, 2, MINUTE).await.unwrap(), Hit::Allowed);
        assert_eq!(other.hit(key, 2, MINUTE).await.unwrap(), Hit::Allowed);
    }
    let before = keys_on(&cluster);
    assert!(before.iter().all(|keys| *keys > 0), "{before:?}");

    move_slots(&cluster);
    let after = keys_on(&cluster);
    assert!(after[0] < before[0] && after[1] > before[1], "{before:?} {after:?}");

    for key in &keys {
        assert!(matches!(one.hit(key, 2, MINUTE).await.unwrap(), Hit::Refused { count: 2, .. }), "{key}");
        other.unhit(key).await.unwrap();
        assert_eq!(other.hit(key, 2, MINUTE).await.unwrap(), Hit::Allowed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_holds_nobody_up() {
    let Some(cluster) = RedisCluster::start() else { return };
    let timeout = Duration::from_millis(200);
    let settings = settings::Redis { timeout, ..settings(&cluster, "hangs") };
    let node = Shared::new(Redis::new(&settings).unwrap(), Clock::system());
    let keys: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for key in &keys {
        node.hit(key, 1, MINUTE).await.unwrap();
    }

    let hanging = cluster.urls()[0].clone();
    let hangs = std::thread::spawn(move || redis_cli(&hanging, &["debug", "sleep", "3"]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let answers = futures_util::future::join_all(keys.iter().map(|key| node.hit(key, 1, MINUTE))).await;
    assert!(answers.iter().any(Result::is_err), "somebody has asked the one that hangs");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    hangs.join().unwrap();

    let patience = Instant::now() + Duration::from_secs(10);
    for key in &keys {
        let counted = async || match node.hit(key, 1, MINUTE).await {
            Ok(hit) => matches!(hit, Hit::Refused { .. }),
            Err(_) => false,
        };
        while !counted().await {
            assert!(Instant::now() < patience, "{key} is not found again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
