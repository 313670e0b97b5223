//! Values: there for their time, and for one taker.

use std::time::Duration;

use crate::{Ground, MINUTE, everywhere};

const MOMENT: Duration = Duration::from_millis(100);

everywhere! {
    async fn a_value_ends_with_its_time(ground: &Ground) {
        let [one, other] = &ground.nodes;
        one.put("a", vec![0, 255, b'\n'], MOMENT).await.unwrap();
        assert_eq!(other.get("a").await.unwrap(), Some(vec![0, 255, b'\n']));

        ground.pass(MOMENT).await;

        assert_eq!(other.get("a").await.unwrap(), None);
        assert_eq!(other.take("a").await.unwrap(), None);
        assert!(other.put_if_absent("a", vec![1], MINUTE).await.unwrap());
        assert_eq!(one.get("a").await.unwrap(), Some(vec![1]));
    }

    async fn a_value_is_written_and_taken_once(ground: &Ground) {
        let written = ground.side_by_side(40, |node| async move { node.put_if_absent("a", vec![7], MINUTE).await.unwrap() });
        assert_eq!(written.await.into_iter().filter(|written| *written).count(), 1);

        let taken = ground.side_by_side(40, |node| async move { node.take("a").await.unwrap() }).await;

        assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), [vec![7]]);
    }

    async fn a_value_is_replaced_and_removed(ground: &Ground) {
        let [one, other] = &ground.nodes;
        one.put("a", vec![1], MOMENT).await.unwrap();
        other.put("a", vec![2], MINUTE).await.unwrap();
        ground.pass(MOMENT).await;
        assert_eq!(one.get("a").await.unwrap(), Some(vec![2]), "with the time of the last one");

        one.delete("a").await.unwrap();

        assert_eq!(other.get("a").await.unwrap(), None);
        one.delete("a").await.unwrap();
    }
}
