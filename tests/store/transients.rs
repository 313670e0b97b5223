//! Counters in the database: each change is one step, and what has ended goes.

use std::time::Duration;

use futures_util::future::join_all;
use nauth::store::db::{On, sql};

use crate::databases::{Fresh, NOW, on_every_database};

const MINUTE: Duration = Duration::from_mins(1);

on_every_database! {
    async fn of_those_who_write_take_and_remove_side_by_side_none_is_refused(fresh: &Fresh) {
        let store = fresh.store().await;
        for round in 0..20 {
            let name = format!("a/{}", round % 3);
            let work = (0..12).map(async |number| {
                let (mut transients, text) = (store.transients(), number.to_string());
                let begun = transients.begin(&name, &text, NOW + MINUTE, NOW).await;
                let done = match number % 3 {
                    0 => transients.swap(&name, "0", &text, NOW + MINUTE, NOW).await.map(drop),
                    1 => transients.remove(&name, "1", NOW).await.map(drop),
                    _ => transients.delete(&name, NOW).await,
                };
                begun.map(drop).and(done)
            });

            let refused: Vec<_> = join_all(work).await.into_iter().filter_map(Result::err).collect();

            assert!(refused.iter().all(nauth::store::StoreError::is_a_lost_race), "{refused:?}");
            let races = refused.len();
            assert!(races <= 2, "rows that stay give little to fight for, and {races} of 12 lost");
        }
    }

    async fn what_is_removed_is_nothing_to_anybody(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut transients = store.transients();
        assert!(transients.begin("a", "1", NOW + MINUTE, NOW).await.unwrap());
        assert!(!transients.begin("a", "2", NOW + MINUTE, NOW).await.unwrap());

        assert!(!transients.remove("a", "2", NOW).await.unwrap());
        assert!(transients.remove("a", "1", NOW).await.unwrap());

        // Nor to a node whose clock is behind.
        assert_eq!(transients.load("a", NOW - Duration::from_secs(10)).await.unwrap(), None);
        assert!(!transients.swap("a", "1", "2", NOW + MINUTE, NOW).await.unwrap());
        assert!(transients.begin("a", "3", NOW + MINUTE, NOW).await.unwrap());
        assert_eq!(transients.load("a", NOW).await.unwrap().as_deref(), Some("3"));
    }

    async fn names_that_differ_in_case_or_by_a_space_are_others(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut transients = store.transients();
        for name in ["a", "A", "a ", "ä"] {
            assert!(transients.begin(name, name, NOW + MINUTE, NOW).await.unwrap(), "{name}");
        }
        for name in ["a", "A", "a ", "ä"] {
            assert_eq!(transients.load(name, NOW).await.unwrap().as_deref(), Some(name));
            assert!(!transients.swap(name, "b", "c", NOW + MINUTE, NOW).await.unwrap());
        }
    }

    async fn what_ended_a_while_ago_is_swept_out_and_nothing_else(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut transients = store.transients();
        // More than one statement looks at.
        for number in 0..75 {
            transients.begin(&format!("{number}/"), "1", NOW + MINUTE, NOW).await.unwrap();
        }
        sql("INSERT INTO nauth_transient (name, value, ends_at) \
             SELECT CONCAT(a.name, b.name), '1', b.ends_at FROM nauth_transient a, nauth_transient b")
            .execute(&mut On::Db(store.db()))
            .await
            .unwrap();
        for name in ["0", "50/50", "z"] {
            transients.put(name, "1", NOW + Duration::from_hours(2), NOW).await.unwrap();
        }

        let now = NOW + Duration::from_hours(1);
        assert_eq!(transients.purge(NOW + 2 * MINUTE).await.unwrap(), 0);
        assert_eq!(transients.purge(now).await.unwrap(), 75 + 75 * 75);
        assert_eq!(transients.purge(now).await.unwrap(), 0);

        for name in ["0", "50/50", "z"] {
            assert!(transients.load(name, now).await.unwrap().is_some(), "{name}");
        }
        assert_eq!(transients.load("1/", now).await.unwrap(), None);
    }
}
