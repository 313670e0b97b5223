//! Second factors, and what is half way set up or asked.

use std::time::Duration;

use nauth::domain::factor::{Factor, Method};
use nauth::domain::id::{UserId, random_number};
use nauth::store::StoreError;
use nauth::store::ceremonies::Ceremony;
use nauth::store::factors::Proof;

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::{ada, user};

const PURPOSE: &str = "passkey_proof";

fn passkey(user: UserId) -> Factor {
    Factor {
        id: random_number(),
        user,
        method: Method::Passkey,
        name: "Passkey".to_owned(),
        address: None,
        preferred: false,
        created_at: NOW,
        last_used_at: None,
    }
}

fn proof(credential: &str) -> Proof {
    Proof { sealed: Some("sealed".to_owned()), credential_hash: Some(credential.to_owned()), counter: 7 }
}

fn ceremony(bound_to: &str, handle: &str) -> Ceremony {
    Ceremony {
        purpose: PURPOSE,
        user: None,
        bound_to: bound_to.to_owned(),
        handle: handle.to_owned(),
        sealed: "sealed".to_owned(),
        expires_at: NOW + Duration::from_mins(1),
    }
}

on_every_database! {
    async fn a_passkey_is_one_users_and_is_found_by_its_credential(fresh: &Fresh) {
        let store = fresh.store().await;
        let (ada, eve) = (ada(&store).await, user("eve@example.com"));
        store.users().insert(&eve, false, "signup").await.unwrap();
        let (hers, eves) = (passkey(ada.id), passkey(eve.id));
        store.factors().insert(&hers, &proof("a")).await.unwrap();

        let taken = store.factors().insert(&eves, &proof("a")).await;

        assert!(matches!(taken, Err(StoreError::Taken(_))), "{taken:?}");
        let held = store.factors().by_credential("a").await.unwrap().unwrap();
        assert_eq!((held.user, held.factor, held.proof.counter), (ada.id, hers.id, 7));
        assert!(store.factors().by_credential("b").await.unwrap().is_none());
        assert!(store.factors().delete(ada.id, hers.id).await.unwrap());
        assert!(store.factors().by_credential("a").await.unwrap().is_none());
        store.factors().insert(&eves, &proof("a")).await.unwrap();
    }

    async fn a_counter_goes_forward_only(fresh: &Fresh) {
        let store = fresh.store().await;
        let factor = passkey(ada(&store).await.id);
        store.factors().insert(&factor, &proof("a")).await.unwrap();

        let mut moved = Vec::new();
        for counter in [6, 7, 9, 9, 8, 10] {
            moved.push(store.factors().advance(factor.id, counter).await.unwrap());
        }

        assert_eq!(moved, [false, false, true, false, false, true]);
    }

    async fn a_ceremony_is_found_where_it_was_begun_and_ends_once(fresh: &Fresh) {
        let store = fresh.store().await;
        let mine = ceremony("challenge/1", "h1");
        store.ceremonies().begin(&mine).await.unwrap();

        let mut ceremonies = store.ceremonies();
        assert_eq!(ceremonies.find(PURPOSE, "challenge/1", "h1", NOW).await.unwrap().as_deref(), Some("sealed"));
        assert!(ceremonies.is_open(PURPOSE, "challenge/1", NOW).await.unwrap());
        for (purpose, bound_to, handle, at) in [
            ("passkey_setup", "challenge/1", "h1", NOW),
            (PURPOSE, "challenge/2", "h1", NOW),
            (PURPOSE, "challenge/1", "h2", NOW),
            (PURPOSE, "challenge/1", "h1", mine.expires_at),
        ] {
            assert!(ceremonies.find(purpose, bound_to, handle, at).await.unwrap().is_none(), "{purpose} {bound_to}");
        }
        assert!(!ceremonies.is_open("passkey_setup", "challenge/1", NOW).await.unwrap());
        assert!(!ceremonies.is_open(PURPOSE, "challenge/2", NOW).await.unwrap());
        assert!(!ceremonies.is_open(PURPOSE, "challenge/1", mine.expires_at).await.unwrap());

        assert!(!ceremonies.end("passkey_setup", "h1").await.unwrap());
        assert!(ceremonies.end(PURPOSE, "h1").await.unwrap());
        assert!(!ceremonies.end(PURPOSE, "h1").await.unwrap());
        assert!(!ceremonies.is_open(PURPOSE, "challenge/1", NOW).await.unwrap());
    }

    async fn another_ceremony_takes_the_place_of_the_one_before_it(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut ceremonies = store.ceremonies();
        for (bound_to, handle) in [("challenge/1", "h1"), ("challenge/2", "h2"), ("challenge/1", "h3")] {
            ceremonies.begin(&ceremony(bound_to, handle)).await.unwrap();
        }

        assert!(!ceremonies.end(PURPOSE, "h1").await.unwrap());
        assert!(ceremonies.end(PURPOSE, "h2").await.unwrap());
        assert!(ceremonies.end(PURPOSE, "h3").await.unwrap());
    }
}
