//! What must happen once happens once, whoever comes at the same time; and what is numbered is
//! numbered in the order in which it can be seen.

use std::sync::Arc;
use std::time::Duration;

use nauth::domain::challenge::{Challenge, StepKind};
use nauth::domain::clock::Time;
use nauth::domain::session::EndReason;
use nauth::store::ceremonies::Ceremony;
use nauth::store::one_time_secrets::Purpose;
use nauth::store::outbox::Channel;
use nauth::store::revocations::Revocation;
use nauth::store::{Store, StoreError};
use tokio::sync::Barrier;

use crate::databases::{Fresh, NOW, on_every_database};
use crate::people::{ada, challenge, secret, session, user};
use crate::rows::{message, rotation};

/// How many come at once; more than there are connections.
const CROWD: usize = 16;
const LEASE: Duration = Duration::from_mins(1);

/// Lets a crowd do something at the same moment; answers what each of them got.
async fn crowd<T, F>(store: &Store, act: impl Fn(Store, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(CROWD));
    let members: Vec<_> = (0..CROWD)
        .map(|number| {
            let (barrier, act) = (Arc::clone(&barrier), act(store.clone(), number));
            tokio::spawn(async move {
                barrier.wait().await;
                act.await
            })
        })
        .collect();
    let mut done = Vec::with_capacity(CROWD);
    for member in members {
        done.push(member.await.unwrap());
    }
    done
}

fn wins(done: &[bool]) -> usize {
    done.iter().filter(|won| **won).count()
}

on_every_database! {
    async fn of_a_crowd_that_ends_a_ceremony_one_does(fresh: &Fresh) {
        let store = fresh.store().await;
        let ceremony = Ceremony {
            purpose: "passkey_login",
            user: None,
            bound_to: "passkey/1".to_owned(),
            handle: "h".to_owned(),
            sealed: String::new(),
            expires_at: NOW + LEASE,
        };
        store.ceremonies().begin(&ceremony).await.unwrap();

        let done = crowd(&store, |store, _| async move {
            let mut tx = store.begin().await.unwrap();
            let ended = tx.ceremonies().end("passkey_login", "h").await.unwrap();
            tx.commit().await.unwrap();
            ended
        })
        .await;

        assert_eq!(wins(&done), 1);
    }

    async fn of_many_rotations_one_wins(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let id = session(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&id).await.unwrap();
        tx.commit().await.unwrap();
        let id = id.id;

        let done = crowd(&store, |store, _| async move { store.sessions().rotate(id, &rotation(1)).await.unwrap() }).await;

        assert_eq!(wins(&done), 1);
        assert_eq!(store.sessions().by_id(id).await.unwrap().unwrap().generation, 2);
    }

    async fn a_rotation_waits_for_a_logout_that_came_first(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let one = session(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&one).await.unwrap();
        tx.commit().await.unwrap();

        let mut logout = store.begin().await.unwrap();
        logout.sessions().revoke(one.id, EndReason::Logout, NOW).await.unwrap();
        let (other, id) = (store.clone(), one.id);
        let rotating = tokio::spawn(async move { other.sessions().rotate(id, &rotation(1)).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!rotating.is_finished(), "nobody knows yet how the logout ends");
        logout.commit().await.unwrap();

        assert!(!rotating.await.unwrap().unwrap());
    }

    async fn a_change_of_an_account_waits_for_an_epoch_that_is_raised_first(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let one = session(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.sessions().insert(&one).await.unwrap();
        assert!(tx.users().hold(ada.id, ada.auth_epoch, ada.device_epoch).await.unwrap());
        assert!(tx.sessions().hold(one.id, NOW).await.unwrap());
        tx.commit().await.unwrap();

        for of_devices in [false, true] {
            let ada = store.users().by_id(ada.id).await.unwrap().unwrap();
            let mut first = store.begin().await.unwrap();
            if of_devices {
                first.users().raise_device_epoch(ada.id).await.unwrap();
            } else {
                first.users().raise_epoch(ada.id, NOW).await.unwrap();
                first.sessions().revoke(one.id, EndReason::Logout, NOW).await.unwrap();
            }
            let other = store.clone();
            let changing = tokio::spawn(async move {
                let mut tx = other.begin().await.unwrap();
                tx.users().hold(ada.id, ada.auth_epoch, ada.device_epoch).await
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!changing.is_finished(), "nobody knows yet how the first one ends");
            first.commit().await.unwrap();

            assert!(!changing.await.unwrap().unwrap());
        }
        let mut tx = store.begin().await.unwrap();
        assert!(!tx.sessions().hold(one.id, NOW).await.unwrap());
    }

    async fn challenges_of_one_kind_lapse_but_for_one(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let of = |step| Challenge { step, ..challenge(ada.id) };
        let (kept, other, third) =
            (of(StepKind::SetUpFactor), of(StepKind::SetUpFactor), of(StepKind::VerifyEmail));
        let mut tx = store.begin().await.unwrap();
        for challenge in [&kept, &other, &third] {
            tx.challenges().insert(challenge).await.unwrap();
        }
        tx.challenges().lapse(ada.id, StepKind::SetUpFactor, Some(kept.id), NOW).await.unwrap();
        tx.commit().await.unwrap();

        let mut living = Vec::new();
        for challenge in [&kept, &other, &third] {
            let present = store.challenges().by_id(challenge.id).await.unwrap().unwrap();
            living.push(present.expires_at > NOW);
        }
        assert_eq!(living, [true, false, true]);
        let mut tx = store.begin().await.unwrap();
        tx.challenges().lapse(ada.id, StepKind::SetUpFactor, None, NOW).await.unwrap();
        assert!(!tx.challenges().claim_attempt(kept.id, NOW).await.unwrap());
    }

    async fn a_login_waits_for_a_new_password_that_came_first(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;

        let mut change = store.begin().await.unwrap();
        change.users().raise_epoch(ada.id, NOW).await.unwrap();
        let (other, id) = (store.clone(), ada.id);
        let login = tokio::spawn(async move {
            let mut tx = other.begin().await?;
            let noted = tx.users().note_login(id, 1, NOW).await?;
            tx.commit().await.map(|()| noted)
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        change.commit().await.unwrap();

        assert!(!login.await.unwrap().unwrap(), "the epoch it was made with is gone");
    }

    async fn changes_of_what_tokens_say_have_a_version_each(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;

        let mut versions = crowd(&store, |store, number| {
            let (id, email) = (ada.id, ada.email.clone());
            async move {
                let mut tx = store.begin().await.unwrap();
                let (mut users, phone) = (tx.users(), "+41791234567".parse().unwrap());
                let version = match number % 5 {
                    0 => users.set_email(id, &email, true, NOW).await,
                    1 => users.set_phone(id, &phone, true, false, NOW).await,
                    2 => users.verify_email(id, &email, 1, NOW).await,
                    3 => users.raise_claims_version(id, NOW).await,
                    // Nothing to prove until somebody has set it.
                    _ => users.verify_phone(id, &phone, 1, true, NOW).await,
                };
                tx.commit().await.unwrap();
                version.unwrap()
            }
        }).await;

        versions.retain(Option::is_some);
        versions.sort_unstable();
        let last = store.users().by_id(ada.id).await.unwrap().unwrap().claims_version;
        assert_eq!(versions, (2..=last).map(Some).collect::<Vec<_>>(), "each is told its own");
    }

    async fn an_account_that_is_being_finished_is_not_replaced(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = nauth::domain::user::User { completed_at: None, ..user("ada@example.com") };
        crate::people::insert(&store, &ada).await;

        let mut finishing = store.begin().await.unwrap();
        assert!(finishing.users().complete(ada.id, NOW).await.unwrap());
        let (other, id) = (store.clone(), ada.id);
        let signup = tokio::spawn(async move {
            let mut tx = other.begin().await?;
            let deleted = tx.users().delete_unfinished(id).await?;
            tx.commit().await.map(|()| deleted)
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        finishing.commit().await.unwrap();

        assert!(!signup.await.unwrap().unwrap());
        assert!(store.users().by_id(id).await.unwrap().is_some());
    }

    async fn a_code_is_used_once_and_tried_as_often_as_it_says(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let (used, tried) = (secret(ada.id, None), secret(ada.id, None));
        let tried = nauth::store::one_time_secrets::OneTimeSecret { purpose: Purpose::PasswordReset, ..tried };
        let mut tx = store.begin().await.unwrap();
        tx.one_time_secrets().replace(&used).await.unwrap();
        tx.one_time_secrets().replace(&tried).await.unwrap();
        tx.commit().await.unwrap();
        let (used, tried) = (used.id, tried.id);

        let consumed = crowd(&store, |store, _| async move {
            store.one_time_secrets().consume(used, 1, NOW).await.unwrap()
        }).await;
        let claimed = crowd(&store, |store, _| async move {
            store.one_time_secrets().claim_attempt(tried).await.unwrap()
        }).await;

        assert_eq!((wins(&consumed), wins(&claimed)), (1, 3));
    }

    async fn a_challenge_is_tried_as_often_as_it_says_and_completed_once(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let asked = challenge(ada.id);
        let mut tx = store.begin().await.unwrap();
        tx.challenges().insert(&asked).await.unwrap();
        tx.commit().await.unwrap();
        let id = asked.id;

        let tried = crowd(&store, |store, _| async move { store.challenges().claim_attempt(id, NOW).await.unwrap() }).await;
        let done = crowd(&store, |store, _| async move { store.challenges().complete(id, NOW).await.unwrap() }).await;

        assert_eq!((wins(&tried), wins(&done)), (3, 1));
    }

    async fn one_of_many_gets_an_address(fresh: &Fresh) {
        let store = fresh.store().await;

        let done = crowd(&store, |store, _| async move {
            let mut tx = store.begin().await?;
            tx.users().insert(&user("ada@example.com"), true, "test").await?;
            tx.commit().await
        }).await;

        let taken = done.iter().filter(|done| matches!(done, Err(StoreError::Taken(_)))).count();
        assert_eq!((done.iter().filter(|done| done.is_ok()).count(), taken), (1, CROWD - 1), "{done:?}");
    }

    async fn a_message_is_claimed_by_one_worker(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut tx = store.begin().await.unwrap();
        for id in 1..=20 {
            tx.outbox().insert(&message(id), NOW).await.unwrap();
        }
        tx.commit().await.unwrap();

        let claimed = crowd(&store, |store, _| async move {
            let mut tx = store.begin().await.unwrap();
            let rows = tx.outbox().claim(Channel::Email, NOW, LEASE, 20).await.unwrap();
            tx.commit().await.unwrap();
            rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
        }).await;

        let mut claimed = claimed.concat();
        claimed.sort_unstable();
        assert_eq!(claimed, (1..=20).collect::<Vec<_>>());
    }

    async fn a_job_runs_on_one_node(fresh: &Fresh) {
        let store = fresh.store().await;
        let every = Duration::from_mins(10);
        let take = |store: Store, node: usize, now: Time| async move {
            let mut tx = store.begin().await.unwrap();
            let is_mine = tx.jobs().take("purge", &format!("node-{node}"), every, LEASE, now).await.unwrap();
            if is_mine {
                tx.commit().await.unwrap();
            }
            is_mine
        };

        let first = crowd(&store, |store, node| take(store, node, NOW)).await;
        let holder = first.iter().position(|is_mine| *is_mine).unwrap();
        let while_it_runs = crowd(&store, |store, node| take(store, node, NOW + LEASE / 2)).await;
        store.jobs().done("purge", &format!("node-{holder}"), NOW + LEASE / 2).await.unwrap();
        let too_early = crowd(&store, |store, node| take(store, node, NOW + LEASE)).await;
        let when_due = crowd(&store, |store, node| take(store, node, NOW + every + LEASE)).await;

        assert_eq!([&first, &while_it_runs, &too_early, &when_due].map(|done| wins(done)), [1, 0, 0, 1]);
    }

    async fn revocations_are_seen_in_the_order_of_their_numbers(fresh: &Fresh) {
        let store = fresh.store().await;
        let ada = ada(&store).await;
        let reader = store.clone();
        // Reads as a node does: from its cursor, as often as it can. A gap would never be looked at again.
        let reading = tokio::spawn(async move {
            let (mut cursor, mut seen) = (0, Vec::new());
            while seen.len() < CROWD * 3 {
                for entry in reader.revocations().after(cursor, 1000).await.unwrap() {
                    seen.push(entry.number);
                    cursor = entry.number;
                }
            }
            seen
        });

        let id = ada.id;
        crowd(&store, |store, number| async move {
            for round in 0..3 {
                // Some never commit, and some commit late.
                for commits in if number % 5 == 0 { &[false, true][..] } else { &[true] } {
                    let mut tx = store.begin().await.unwrap();
                    tx.revocations().append(&[(Revocation::UserEpoch(id, round), NOW)], NOW).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(number as u64 % 4)).await;
                    if *commits {
                        tx.commit().await.unwrap();
                    }
                }
            }
        }).await;

        let seen = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
        assert_eq!(seen, (1..=i64::try_from(CROWD * 3).unwrap()).collect::<Vec<_>>());
    }

    async fn a_revocation_that_commits_late_is_not_overtaken(fresh: &Fresh) {
        let store = fresh.store().await;
        let mut late = store.begin().await.unwrap();
        late.revocations().append(&[(Revocation::Global(2), NOW)], NOW).await.unwrap();
        let other = store.clone();
        let second = tokio::spawn(async move {
            let mut tx = other.begin().await?;
            tx.revocations().append(&[(Revocation::Global(3), NOW)], NOW).await?;
            tx.commit().await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(store.revocations().after(0, 10).await.unwrap().is_empty(), "nothing is visible before the first");

        late.commit().await.unwrap();
        second.await.unwrap().unwrap();

        let seen = store.revocations().after(0, 10).await.unwrap();
        assert_eq!(
            seen.iter().map(|entry| (entry.number, entry.revocation)).collect::<Vec<_>>(),
            [(1, Revocation::Global(2)), (2, Revocation::Global(3))]
        );
    }

    async fn everybody_is_outdated_once(fresh: &Fresh) {
        let store = fresh.store().await;
        let epoch = store.revocations().head(0).await.unwrap().global_epoch;

        let done = crowd(&store, |store, _| async move { store.revocations().raise_global_epoch(epoch).await.unwrap() }).await;

        assert_eq!(wins(&done), 1);
        assert_eq!(store.revocations().head(0).await.unwrap().global_epoch, epoch + 1);
    }

    async fn a_restored_database_begins_anew_above_every_epoch_there_was(fresh: &Fresh) {
        let store = fresh.store().await;
        let before = store.revocations().head(0).await.unwrap();
        let kept = secret(ada(&store).await.id, None);
        store.one_time_secrets().replace(&kept).await.unwrap();

        for (at, epoch) in [(NOW, NOW.secs()), (NOW, NOW.secs() + 1), (NOW - Duration::from_secs(9), NOW.secs() + 2)] {
            let mut tx = store.begin().await.unwrap();
            tx.one_time_secrets().void_all(at).await.unwrap();
            tx.revocations().begin_anew(at).await.unwrap();
            tx.commit().await.unwrap();
            let head = store.revocations().head(0).await.unwrap();
            assert_eq!((head.global_epoch, head.restored, head.counter), (epoch, at.micros(), before.counter));
        }

        assert_eq!(before.restored, 0);
        assert!(!store.one_time_secrets().consume(kept.id, 1, NOW).await.unwrap());
    }

    async fn a_server_tells_its_time_and_a_file_has_none(fresh: &Fresh) {
        let store = fresh.store().await;
        let clock = nauth::domain::clock::Clock::system();

        let told = store.revocations().head(0).await.unwrap().clock;

        assert_eq!(told.is_some(), !store.is_of_one_node());
        if let Some(told) = told {
            assert!(told.since(clock.now()).max(clock.now().since(told)) < Duration::from_secs(10), "{told}");
        }
    }

    async fn what_is_done_one_at_a_time_sees_what_was_done_before(fresh: &Fresh) {
        let store = fresh.store().await;

        let done = crowd(&store, |store, _| async move {
            let mut tx = store.begin().await.unwrap();
            tx.one_at_a_time().await.unwrap();
            let is_first = tx.keys().master_checks().await.unwrap().is_empty();
            if is_first {
                tx.keys().insert_master_check("check", NOW).await.unwrap();
            }
            tx.commit().await.unwrap();
            is_first
        }).await;

        assert_eq!(wins(&done), 1);
    }
}
