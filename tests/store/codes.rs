//! Challenges, and codes that work once.

use std::time::Duration;

use nauth::domain::challenge::StepKind;
use nauth::store::one_time_secrets::{OneTimeSecret, Purpose};

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::{ada, challenge, secret};

on_every_database! {
    async fn a_challenge_is_found_by_the_client_that_began_it(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let mine = challenge(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.challenges().insert(&mine).await.unwrap();
        tx.commit().await.unwrap();

        let mut challenges = store.challenges();
        let open = challenges.open_of(ada.id, StepKind::VerifyEmail, 1, "somebody", false, NOW).await.unwrap();
        assert_eq!(format!("{:?}", open.unwrap()), format!("{mine:?}"));
        for (binding, decoy, epoch, at) in [
            ("Somebody", false, 1, NOW),
            ("somebody", true, 1, NOW),
            ("somebody", false, 2, NOW),
            ("somebody", false, 1, mine.expires_at),
        ] {
            let none = challenges.open_of(ada.id, StepKind::VerifyEmail, epoch, binding, decoy, at).await.unwrap();
            assert!(none.is_none(), "{binding} {decoy} {epoch}");
        }
    }

    async fn answers_to_a_challenge_are_counted(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let mine = challenge(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.challenges().insert(&mine).await.unwrap();
        tx.commit().await.unwrap();

        let mut claimed = Vec::new();
        for _ in 0..4 {
            claimed.push(store.challenges().claim_attempt(mine.id, NOW).await.unwrap());
        }

        assert_eq!(claimed, [true, true, true, false]);
        assert!(store.challenges().complete(mine.id, NOW).await.unwrap());
        assert!(!store.challenges().complete(mine.id, NOW).await.unwrap());
    }

    async fn a_new_code_voids_the_ones_before_it(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let (first, second) = (secret(ada.id, None), secret(ada.id, None));
        let mut tx = store.begin().await.unwrap();
        tx.one_time_secrets().replace(&first).await.unwrap();
        tx.one_time_secrets().replace(&second).await.unwrap();
        tx.commit().await.unwrap();

        let unused = store.one_time_secrets().unused_of(ada.id, Purpose::VerifyEmail).await.unwrap().unwrap();

        assert_eq!(unused.id, second.id);
        assert!(!store.one_time_secrets().consume(first.id, 1, NOW).await.unwrap());
        assert!(store.one_time_secrets().unused_of(ada.id, Purpose::PasswordReset).await.unwrap().is_none());
        let sent = store.one_time_secrets().last_sent(ada.id, Purpose::VerifyEmail, "ada@example.com").await.unwrap();
        assert_eq!(sent, Some(NOW));
        let never = store.one_time_secrets().last_sent(ada.id, Purpose::VerifyEmail, "bob@example.com").await.unwrap();
        assert_eq!(never, None);
    }

    async fn a_code_works_once_while_it_lives(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let code = secret(ada.id, None);
        let mut tx = store.begin().await.unwrap();
        tx.one_time_secrets().replace(&code).await.unwrap();
        tx.commit().await.unwrap();
        let mut codes = store.one_time_secrets();

        assert!(!codes.consume(code.id, 2, NOW).await.unwrap(), "of another epoch");
        assert!(!codes.consume(code.id, 1, code.expires_at).await.unwrap(), "lapsed");
        assert!(codes.claim_attempt(code.id).await.unwrap());
        codes.return_attempt(code.id).await.unwrap();
        codes.return_attempt(code.id).await.unwrap();
        assert_eq!(codes.unused_of(ada.id, Purpose::VerifyEmail).await.unwrap().unwrap().attempts, 0);
        assert!(codes.consume(code.id, 1, NOW).await.unwrap());
        assert!(!codes.consume(code.id, 1, NOW).await.unwrap(), "used");
        assert!(!codes.claim_attempt(code.id).await.unwrap(), "used");
    }

    async fn a_live_code_moves_to_another_challenge(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let (old, new) = (challenge(ada.id), challenge(ada.id));
        let code = OneTimeSecret { link_hash: Some("l".to_owned()), ..secret(ada.id, Some(old.id)) };
        let mut tx = store.begin().await.unwrap();
        tx.challenges().insert(&old).await.unwrap();
        tx.challenges().insert(&new).await.unwrap();
        tx.one_time_secrets().replace(&code).await.unwrap();
        tx.commit().await.unwrap();

        let mut codes = store.one_time_secrets();
        let to = code.destination.as_str();
        assert!(codes.adopt(ada.id, Purpose::VerifyEmail, 1, to, new.id, NOW).await.unwrap());
        assert!(!codes.adopt(ada.id, Purpose::VerifyEmail, 2, to, new.id, NOW).await.unwrap());

        let moved = codes.unused_for(new.id, Purpose::VerifyEmail).await.unwrap().unwrap();
        assert_eq!((moved.id, moved.link_hash), (code.id, None));
        assert!(codes.unused_for(old.id, Purpose::VerifyEmail).await.unwrap().is_none());
    }

    async fn an_invitation_is_used_as_often_as_it_says(fresh: &Fresh) {
        let store = fresh.store().await;
        let invitation = nauth::store::invitations::Invitation {
            code_hash: "h".to_owned(),
            email: None,
            max_uses: 2,
            expires_at: NOW + Duration::from_secs(1),
        };
        let mut tx = store.begin().await.unwrap();
        tx.invitations().insert(&invitation, NOW).await.unwrap();
        tx.commit().await.unwrap();
        let email = "ada@example.com".parse().unwrap();

        let mut used = Vec::new();
        for _ in 0..3 {
            used.push(store.invitations().consume("h", &email, NOW).await.unwrap());
        }

        assert_eq!(used, [true, true, false]);
        assert!(!store.invitations().is_open("h", &email, NOW).await.unwrap());
    }
}
