//! Users, their roles, and what must be unique of them.

use std::time::Duration;

use nauth::domain::secret::Secret;
use nauth::domain::user::{Exemption, Lock, User};
use nauth::store::StoreError;

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::{ada, insert, session, user};

on_every_database! {
    async fn a_user_comes_back_as_it_was_stored(fresh: &Fresh) {
        let store = fresh.store().await;
        let stored = User {
            username: Some("ada".parse().unwrap()),
            phone: Some("+41791234567".parse().unwrap()),
            first_name: Some("Ada \u{1f469}\u{200d}\u{1f52c} 'o''x? $1 \\ \" %".to_owned()),
            last_name: Some("Łovelace".to_owned()),
            password_hash: Some(Secret::new("$argon2id$v=19$m=19456$abc".to_owned())),
            lock: Some(Lock { at: NOW, reason: "why?".to_owned(), until: None }),
            mfa_exempt: Some(Exemption { at: NOW, reason: Some("no phone".to_owned()) }),
            timezone: Some("Europe/Zurich".to_owned()),
            metadata: "{\"a\":\"?\",\"n\":null}".to_owned(),
            must_change_password: true,
            roles: vec!["admin".parse().unwrap(), "user".parse().unwrap()],
            ..user("ada@example.com")
        };
        insert(&store, &stored).await;

        let read = store.users().by_email(&stored.email).await.unwrap().unwrap();

        assert_eq!(format!("{read:?}"), format!("{stored:?}"));
        assert_eq!(read.password_hash.unwrap().expose(), stored.password_hash.unwrap().expose());
        assert!(store.users().by_username(&stored.username.unwrap()).await.unwrap().is_some());
        assert!(store.users().by_phone(&stored.phone.unwrap()).await.unwrap().is_some());
        assert!(store.users().by_id(nauth::domain::id::UserId::random()).await.unwrap().is_none());
    }

    async fn lockouts_end_at_a_later_time_whatever_the_clock_says(fresh: &Fresh) {
        let store = fresh.store().await;
        let (ada, bob) = (ada(&store).await, user("bob@example.com"));
        insert(&store, &bob).await;
        let ended = async |at| {
            let mut tx = store.begin().await.unwrap();
            assert!(tx.users().end_lockouts(ada.id, at).await.unwrap());
            tx.commit().await.unwrap();
            store.users().by_id(ada.id).await.unwrap().unwrap().lockouts_ended_at.unwrap()
        };

        let first = ended(NOW).await;
        let same = ended(NOW).await;
        let earlier = ended(NOW - Duration::from_mins(1)).await;
        let later = ended(NOW + Duration::from_mins(1)).await;

        assert_eq!((first, later), (NOW, NOW + Duration::from_mins(1)));
        assert!(first < same && same < earlier && earlier < later);
        assert!(store.users().by_id(bob.id).await.unwrap().unwrap().lockouts_ended_at.is_none());
        let mut tx = store.begin().await.unwrap();
        assert!(!tx.users().end_lockouts(nauth::domain::id::UserId::random(), NOW).await.unwrap());
    }

    async fn what_is_not_known_is_null_and_not_empty(fresh: &Fresh) {
        let store = fresh.store().await;
        let empty = User { first_name: Some(String::new()), ..user("ada@example.com") };
        insert(&store, &empty).await;

        let read = store.users().by_id(empty.id).await.unwrap().unwrap();

        assert_eq!((read.first_name.as_deref(), read.last_name.as_deref()), (Some(""), None));
        assert!(read.username.is_none() && read.phone.is_none() && read.lock.is_none() && read.password_hash.is_none());
    }

    async fn an_address_a_name_and_a_number_have_one_holder(fresh: &Fresh) {
        let store = fresh.store().await;
        let first = User {
            username: Some("ada".parse().unwrap()),
            phone: Some("+41791234567".parse().unwrap()),
            ..user("ada@example.com")
        };
        insert(&store, &first).await;

        for second in [
            user("ada@example.com"),
            User { username: first.username.clone(), ..user("bob@example.com") },
            User { phone: first.phone.clone(), ..user("bob@example.com") },
        ] {
            let mut tx = store.begin().await.unwrap();
            let taken = tx.users().insert(&second, true, "test").await;
            assert!(matches!(taken, Err(StoreError::Taken(_))), "{taken:?}");
        }
        // Nobody's name is not somebody's.
        insert(&store, &user("bob@example.com")).await;
        insert(&store, &user("eve@example.com")).await;
        // A number that may be shared is no claim.
        let mut tx = store.begin().await.unwrap();
        tx.users().insert(&User { phone: first.phone.clone(), ..user("dan@example.com") }, false, "test").await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn letters_and_accents_make_a_difference(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        insert(&store, &user("adá@example.com")).await;

        let upper = nauth::domain::contact::Identifier::Unknown("ADA@example.com".to_owned());
        let padded = nauth::domain::contact::Identifier::Unknown("ada@example.com ".to_owned());

        assert!(store.users().by_identifier(&upper).await.unwrap().is_none());
        assert!(store.users().by_identifier(&padded).await.unwrap().is_none());
        assert_eq!(store.users().by_email(&ada.email).await.unwrap().unwrap().id, ada.id);
    }

    async fn roles_are_granted_once_and_taken_once(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let role = "support".parse().unwrap();
        let mut tx = store.begin().await.unwrap();

        assert!(tx.users().grant_role(ada.id, &role, "test", NOW).await.unwrap());
        assert!(!tx.users().grant_role(ada.id, &role, "test", NOW).await.unwrap());
        assert_eq!(tx.users().raise_claims_version(ada.id, NOW).await.unwrap(), Some(2));
        assert!(tx.users().revoke_role(ada.id, &"user".parse().unwrap()).await.unwrap());
        assert!(!tx.users().revoke_role(ada.id, &"user".parse().unwrap()).await.unwrap());
        tx.commit().await.unwrap();

        assert_eq!(store.users().by_id(ada.id).await.unwrap().unwrap().roles, [role]);
    }

    async fn changes_touch_only_what_they_name_and_tell_whether_they_did(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let later = NOW + Duration::from_secs(1);
        let lock = Lock { at: later, reason: "gone".to_owned(), until: Some(later) };

        assert_eq!(store.users().verify_email(ada.id, &ada.email, 1, later).await.unwrap(), Some(2));
        assert_eq!(store.users().verify_email(ada.id, &ada.email, 2, later).await.unwrap(), None);
        assert!(store.users().note_login(ada.id, 1, later).await.unwrap());
        assert!(store.users().lock(ada.id, &lock).await.unwrap());
        assert!(!store.users().lock(ada.id, &lock).await.unwrap());
        assert!(!store.users().note_login(ada.id, 1, later).await.unwrap(), "a locked account");
        assert!(store.users().unlock(ada.id, later).await.unwrap());
        // Written as it was: it still counts as touched.
        assert!(store.users().set_password(ada.id, 1, &Secret::new("h".to_owned()), later).await.unwrap());
        assert!(store.users().set_password(ada.id, 1, &Secret::new("h".to_owned()), later).await.unwrap());
        assert!(!store.users().set_password(ada.id, 2, &Secret::new("x".to_owned()), later).await.unwrap());
        assert_eq!(store.users().raise_epoch(ada.id, later).await.unwrap(), Some(2));
        assert!(!store.users().complete(ada.id, later).await.unwrap());

        let read = store.users().by_id(ada.id).await.unwrap().unwrap();
        assert_eq!((read.email_verified, read.claims_version, read.auth_epoch), (true, 2, 2));
        assert_eq!(read.password_hash.unwrap().expose(), "h");
    }

    async fn users_are_listed_page_by_page(fresh: &Fresh) {
        let store = fresh.store().await;
        for number in 0_u32..5 {
            // Two of them at the same moment.
            let at = NOW + Duration::from_secs(u64::from(number / 2));
            insert(&store, &User { created_at: at, ..user(&format!("u{number}@example.com")) }).await;
        }

        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store.users().page(after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.id));
            seen.extend(page.into_iter().map(|user| user.email.to_string()));
        }

        seen.sort();
        assert_eq!(seen, ["u0@example.com", "u1@example.com", "u2@example.com", "u3@example.com", "u4@example.com"]);
    }

    async fn whatever_hangs_on_an_unfinished_account_goes_with_it(fresh: &Fresh) {
        let store = fresh.store().await;
        let finished = ada(&store).await;
        let ada = User { completed_at: None, ..user("bob@example.com") };
        insert(&store, &ada).await;
        let session = session(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&session).await.unwrap();
        tx.password_history().push(ada.id, &Secret::new("h".to_owned()), 5, NOW).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = store.begin().await.unwrap();
        assert!(tx.users().delete_unfinished(ada.id).await.unwrap());
        assert!(!tx.users().delete_unfinished(finished.id).await.unwrap());
        tx.commit().await.unwrap();

        assert!(store.sessions().by_id(session.id).await.unwrap().is_none());
        assert!(store.password_history().of(ada.id, 5).await.unwrap().is_empty());
    }

    async fn accounts_that_were_never_finished_are_found_by_age(fresh: &Fresh) {
        let store = fresh.store().await;
        let finished = ada(&store).await;
        insert(&store, &User { completed_at: None, ..user("old@example.com") }).await;
        insert(&store, &User { completed_at: None, created_at: NOW + Duration::from_hours(1), ..user("new@example.com") }).await;

        insert(&store, &User { completed_at: None, created_at: NOW - Duration::from_hours(1), ..user("older@example.com") }).await;
        let id = async |email: &str| store.users().by_email(&email.parse().unwrap()).await.unwrap().unwrap().id;
        let (old, older) = (id("old@example.com").await, id("older@example.com").await);

        let before = NOW + Duration::from_secs(1);
        assert_eq!(store.users().unfinished(before, 10).await.unwrap(), [older, old], "not {}", finished.id);
        assert_eq!(store.users().unfinished(before, 1).await.unwrap(), [older]);
    }

    async fn hashes_of_other_systems_are_told_apart_by_how_they_begin(fresh: &Fresh) {
        let store = fresh.store().await;
        for (number, hash) in ["$argon2id$a", "$2b$12$aaa", "$2b$12$bbb", "nauth-wrap$md5$x", "nauth-wrap$sha1$x"].iter().enumerate() {
            let password_hash = Some(Secret::new((*hash).to_owned()));
            insert(&store, &User { password_hash, ..user(&format!("u{number}@example.com")) }).await;
        }

        let mut found: Vec<String> =
            store.users().foreign_hashes(10).await.unwrap().iter().map(|hash| hash.expose().clone()).collect();

        found.sort();
        assert_eq!(found, ["$2b$12$aaa", "nauth-wrap$md5$x", "nauth-wrap$sha1$x"]);
    }
}
