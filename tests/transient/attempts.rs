//! Attempts: counted before they are made, and a lock that holds on every node.

use std::time::Duration;

use nauth::transient::{Memory, Penalty, Reserved, Tally, Transient as _};

use crate::{Ground, MINUTE, everywhere};

const RULE: Tally = Tally { max: 5, window: Duration::from_hours(1), penalty: Penalty::Lock(MINUTE) };

everywhere! {
    async fn of_many_side_by_side_no_more_are_made_than_may_fail(ground: &Ground) {
        let reserved = ground.side_by_side(120, |node| async move { node.reserve("a", &RULE).await.unwrap() }).await;
        assert_eq!(reserved.iter().filter(|one| **one == Reserved::Granted).count(), 5);
        assert!(reserved.iter().all(|one| matches!(one, Reserved::Granted | Reserved::Crowded)));

        let failed = ground.side_by_side(5, |node| async move { node.fail("a", &RULE).await.unwrap() }).await;

        assert_eq!(failed.into_iter().filter(|was_the_last| *was_the_last).count(), 1);
        for node in &ground.nodes {
            assert_eq!(node.reserve("a", &RULE).await.unwrap(), Reserved::Blocked { retry_after: MINUTE });
        }
    }

    async fn a_lock_ends_and_counting_begins_anew(ground: &Ground) {
        let [one, other] = &ground.nodes;
        let lock = Duration::from_millis(300);
        let rule = Tally { max: 1, window: Duration::from_hours(1), penalty: Penalty::Lock(lock) };
        assert_eq!(one.reserve("a", &rule).await.unwrap(), Reserved::Granted);
        assert!(one.fail("a", &rule).await.unwrap());
        assert_eq!(other.reserve("a", &rule).await.unwrap(), Reserved::Blocked { retry_after: lock });

        ground.pass(lock).await;

        assert_eq!(other.reserve("a", &rule).await.unwrap(), Reserved::Granted);
        assert!(other.fail("a", &rule).await.unwrap());
    }

    async fn what_turns_out_right_is_taken_back(ground: &Ground) {
        let [one, other] = &ground.nodes;
        one.refund("a").await.unwrap();
        for _ in 0..20 {
            assert_eq!(one.reserve("a", &RULE).await.unwrap(), Reserved::Granted);
            other.refund("a").await.unwrap();
        }
        for _ in 0..5 {
            one.reserve("a", &RULE).await.unwrap();
            one.fail("a", &RULE).await.unwrap();
        }

        other.delete("a").await.unwrap();

        assert_eq!(one.reserve("a", &RULE).await.unwrap(), Reserved::Granted);
    }

    // Whatever is tried and however it ends: the answers are those of memory.
    async fn everywhere_the_same_is_answered(ground: &Ground) {
        let memory = Memory::new(ground.clock.clone());
        let delay = Tally { max: 3, window: MINUTE, penalty: Penalty::Delay(Duration::from_secs(20)) };
        let mut random = 7_u64;
        for number in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, rule) = if (random >> 33).is_multiple_of(2) { ("lock", RULE) } else { ("delay", delay) };
            let node = &ground.nodes[number % 2];
            match (random >> 40) % 4 {
                0 => {
                    memory.refund(key).await.unwrap();
                    node.refund(key).await.unwrap();
                }
                1 => {
                    let expected = memory.fail(key, &rule).await.unwrap();
                    assert_eq!(node.fail(key, &rule).await.unwrap(), expected, "{number}");
                }
                _ => {
                    let expected = memory.reserve(key, &rule).await.unwrap();
                    assert_eq!(node.reserve(key, &rule).await.unwrap(), expected, "{number}");
                }
            }
            ground.clock.advance(Duration::from_millis((random >> 45) % 9_000));
        }
    }
}
