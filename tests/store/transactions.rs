//! A transaction is whole or it never was.

use std::time::Duration;

use nauth::domain::error::Error;
use nauth::store::{Db, StoreError};

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::{ada, session, user};

on_every_database! {
    async fn what_is_not_committed_never_was(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut tx = store.begin().await.unwrap();
        tx.users().insert(&user("ada@example.com"), true, "test").await.unwrap();

        drop(tx);

        assert!(store.users().by_email(&"ada@example.com".parse().unwrap()).await.unwrap().is_none());
        ada(&store).await;
    }

    async fn a_transaction_that_failed_cannot_be_committed(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let mut tx = store.begin().await.unwrap();
        tx.users().insert(&user("bob@example.com"), true, "test").await.unwrap();
        let taken = tx.users().insert(&user("ada@example.com"), true, "test").await;
        assert!(matches!(taken, Err(StoreError::Taken(_))));

        let next = tx.users().raise_epoch(ada.id, NOW).await;
        let end = tx.commit().await;

        assert!(matches!(next, Err(StoreError::Aborted)), "{next:?}");
        assert!(matches!(end, Err(StoreError::Aborted)), "{end:?}");
        assert!(store.users().by_email(&"bob@example.com".parse().unwrap()).await.unwrap().is_none());
        assert_eq!(store.users().by_id(ada.id).await.unwrap().unwrap().auth_epoch, 1);
    }

    async fn a_transaction_reads_what_it_has_written_and_nobody_else_does(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut tx = store.begin().await.unwrap();
        let ada = user("ada@example.com");
        tx.users().insert(&ada, true, "test").await.unwrap();

        assert!(tx.users().by_id(ada.id).await.unwrap().is_some());
        assert!(store.users().by_id(ada.id).await.unwrap().is_none());

        tx.commit().await.unwrap();
        assert!(store.users().by_id(ada.id).await.unwrap().is_some());
    }

    async fn nothing_hangs_on_a_user_who_is_not_there(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut tx = store.begin().await.unwrap();

        let refused = tx.sessions().insert(&session(nauth::domain::id::UserId::random())).await;

        assert!(refused.is_err());
    }

    async fn two_that_stand_in_each_others_way_get_no_wrong_answer(fresh: &Fresh) {
        let settings = nauth::config::settings::Database { statement_timeout: Duration::from_secs(3), ..fresh.settings.clone() };
        let store = fresh.store().await;
        let (ada, bob) = (ada(&store).await, user("bob@example.com"));
        crate::people::insert(&store, &bob).await;
        let store = nauth::store::Store::new(Db::open(&settings).await.unwrap());

        let raise_both = |store: nauth::store::Store, first, second| async move {
            let mut tx = store.begin().await?;
            tx.users().raise_epoch(first, NOW).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            tx.users().raise_epoch(second, NOW).await?;
            tx.commit().await
        };
        let (one, other) = tokio::join!(
            tokio::spawn(raise_both(store.clone(), ada.id, bob.id)),
            tokio::spawn(raise_both(store.clone(), bob.id, ada.id)),
        );
        let done = [one.unwrap(), other.unwrap()];

        // One at a time it may go well; else one of them is told that the database cannot serve now.
        let good = done.iter().filter(|done| done.is_ok()).count();
        assert!(good >= 1, "{done:?}");
        for error in done.into_iter().filter_map(Result::err) {
            assert!(matches!(Error::from(error), Error::Unavailable(_)));
        }
        for id in [ada.id, bob.id] {
            let epoch = store.users().by_id(id).await.unwrap().unwrap().auth_epoch;
            assert_eq!(epoch, 1 + i64::try_from(good).unwrap());
        }
    }

    async fn whoever_waits_too_long_for_another_is_told_so(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let settings = nauth::config::settings::Database { statement_timeout: Duration::from_secs(1), ..fresh.settings.clone() };
        let impatient = nauth::store::Store::new(Db::open(&settings).await.unwrap());
        let mut long = store.begin().await.unwrap();
        long.users().raise_epoch(ada.id, NOW).await.unwrap();

        let late = match impatient.begin().await {
            Ok(mut tx) => tx.users().raise_epoch(ada.id, NOW).await.map(drop),
            Err(error) => Err(error),
        };

        assert!(matches!(Error::from(late.unwrap_err()), Error::Unavailable(_)));
        long.commit().await.unwrap();
        // Nothing of it is left behind.
        assert_eq!(impatient.users().raise_epoch(ada.id, NOW).await.unwrap(), Some(3));
    }
}
