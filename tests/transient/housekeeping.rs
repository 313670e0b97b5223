//! What has ended is swept out of a database beneath those who count there.

use std::time::Duration;

use nauth::store::Db;
use nauth::store::Store;
use nauth::transient::Hit;

use crate::Ground;
use crate::servers::Kind;

const WINDOW: Duration = Duration::from_secs(1);
const KEYS: usize = 6;
const MAX: u64 = 5;

/// Each round finds counters that ended long ago, counts in them side by side, and sweeps meanwhile.
async fn sweeps_beneath_whoever_counts(kind: Kind) {
    let Some(ground) = Ground::database(kind).await else { return };
    let settings = ground.room.as_ref().unwrap().settings("");
    let store = Store::new(Db::open(&settings).await.unwrap());
    for round in 0..15 {
        ground.clock.advance(Duration::from_hours(1));
        let counting = ground.side_by_side(12 * KEYS, {
            let turn = std::sync::atomic::AtomicUsize::new(0);
            move |node| {
                let key = (turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % KEYS).to_string();
                async move { node.hit(&key, MAX, WINDOW).await.unwrap() }
            }
        });
        let sweeping = async {
            for _ in 0..4 {
                store.transients().purge(ground.clock.now()).await.unwrap();
            }
        };

        let (hits, ()) = tokio::join!(counting, sweeping);

        let passed = hits.iter().filter(|hit| **hit == Hit::Allowed).count();
        assert_eq!(passed, KEYS * usize::try_from(MAX).unwrap(), "round {round}");
    }
    ground.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    sweeps_beneath_whoever_counts(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    sweeps_beneath_whoever_counts(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    sweeps_beneath_whoever_counts(Kind::MariaDb).await;
}
