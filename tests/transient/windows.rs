//! Windows: no more pass than may, whoever asks.

use std::time::Duration;

use nauth::transient::{Hit, Memory, Transient as _};

use crate::{Ground, MINUTE, everywhere};

everywhere! {
    async fn of_many_side_by_side_as_many_pass_as_may(ground: &Ground) {
        // One that is kept hit by hit, and one that is kept as two sums.
        for max in [5, 60] {
            let key = max.to_string();
            let hits = ground.side_by_side(120, |node| {
                let key = key.clone();
                async move { node.hit(&key, max, MINUTE).await.unwrap() }
            });

            let passed = hits.await.into_iter().filter(|hit| *hit == Hit::Allowed).count() as u64;

            assert_eq!(passed, max);
        }
    }

    async fn whoever_waits_as_long_as_told_passes_and_that_is_no_longer_than_the_window(ground: &Ground) {
        let [one, other] = &ground.nodes;
        let window = Duration::from_millis(300);
        for (key, max) in [("few", 2), ("many", 40)] {
            for _ in 0..max {
                assert_eq!(one.hit(key, max, window).await.unwrap(), Hit::Allowed);
            }
            let Hit::Refused { count, retry_after } = other.hit(key, max, window).await.unwrap() else { panic!() };
            assert_eq!(count, max);
            assert!(retry_after <= window, "{key}: {retry_after:?}");

            ground.pass(retry_after + Duration::from_millis(1)).await;

            assert_eq!(other.hit(key, max, window).await.unwrap(), Hit::Allowed);
        }
    }

    async fn one_that_is_taken_back_leaves_its_place(ground: &Ground) {
        let [one, other] = &ground.nodes;
        other.unhit("a").await.unwrap();
        assert_eq!(one.hit("a", 1, MINUTE).await.unwrap(), Hit::Allowed);
        assert!(matches!(other.hit("a", 1, MINUTE).await.unwrap(), Hit::Refused { .. }));

        other.unhit("a").await.unwrap();

        assert_eq!(one.hit("a", 1, MINUTE).await.unwrap(), Hit::Allowed);
    }

    // Whatever is asked and whenever: the answers are those of memory.
    async fn everywhere_the_same_is_answered(ground: &Ground) {
        let memory = Memory::new(ground.clock.clone());
        let mut random = 42_u64;
        for number in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, max) = if (random >> 33).is_multiple_of(2) { ("few", 3) } else { ("many", 20) };
            let node = &ground.nodes[number % 2];
            if (random >> 40).is_multiple_of(10) {
                memory.unhit(key).await.unwrap();
                node.unhit(key).await.unwrap();
            } else {
                let expected = memory.hit(key, max, MINUTE).await.unwrap();
                assert_eq!(node.hit(key, max, MINUTE).await.unwrap(), expected, "{number}");
            }
            ground.clock.advance(Duration::from_millis((random >> 45) % 9_000));
        }
    }
}
