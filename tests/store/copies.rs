//! An installation moves from one database to another, whole or not at all.

use nauth::domain::secret::Secret;
use nauth::domain::user::User;
use nauth::store::copy::{Progress, copy};
use nauth::store::revocations::Revocation;
use nauth::store::sessions::Rotation;
use nauth::store::{Store, StoreError};

use crate::databases::{Fresh, Kind, NOW, on_every_database};
use crate::people::{ada, challenge, insert, secret, session, user};
use crate::rows::{message, rotation};

/// Rows in most tables, more than are read at once in one.
async fn fill(store: &Store) -> (User, nauth::domain::session::Session) {
    let ada = ada(store).await;
    let one = session(ada.id);
    let asked = challenge(ada.id);
    let mut tx = store.begin().await.unwrap();
    for number in 0..600 {
        let roles = vec!["admin".parse().unwrap(), "user".parse().unwrap()];
        let other = User { roles, first_name: Some("Ünï ☃".to_owned()), ..user(&format!("u{number}@example.com")) };
        tx.users().insert(&other, true, "test").await.unwrap();
    }
    tx.sessions().insert(&one).await.unwrap();
    tx.challenges().insert(&asked).await.unwrap();
    tx.one_time_secrets().replace(&secret(ada.id, Some(asked.id))).await.unwrap();
    tx.outbox().insert(&message(1), NOW).await.unwrap();
    tx.password_history().push(ada.id, &Secret::new("h".to_owned()), 5, NOW).await.unwrap();
    tx.keys().insert_master_check("check", NOW).await.unwrap();
    tx.revocations().append(&[(Revocation::UserEpoch(ada.id, 2), NOW)], NOW).await.unwrap();
    tx.commit().await.unwrap();
    (ada, one)
}

async fn moves(from: &Store, to: &Store) {
    let (ada, one) = fill(from).await;

    let mut told = Vec::new();
    copy(from.db(), to.db(), |progress| told.push(progress)).await.unwrap();

    assert!(told.contains(&Progress { table: "users", rows: 500, of: 601 }), "{told:?}");
    let done: Vec<_> = told.iter().filter(|told| told.is_done()).map(|told| (told.table, told.rows)).collect();
    for (table, rows) in [("users", 601), ("user_roles", 1201), ("sessions", 1), ("installation", 1), ("audit", 0)] {
        assert_eq!(done.iter().filter(|told| **told == (table, rows)).count(), 1, "{table}: {told:?}");
    }
    let (theirs, ours) = (from.users(), to.users());
    for mut users in [theirs, ours] {
        assert_eq!(users.by_id(ada.id).await.unwrap().unwrap().roles.len(), 1);
    }
    let known = to.users().by_email(&"u599@example.com".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((known.first_name.as_deref(), known.roles.len()), (Some("Ünï ☃"), 2));
    // What counts on goes on counting.
    let copied: Rotation = rotation(1);
    assert!(to.sessions().rotate(one.id, &copied).await.unwrap());
    let mut tx = to.begin().await.unwrap();
    let next = tx.revocations().append(&[(Revocation::Session(one.id), NOW)], NOW).await.unwrap();
    assert_eq!(next[0].number, 2);
}

on_every_database! {
    async fn everything_moves_here(fresh: &Fresh) {
        let file = Fresh::of(Kind::Sqlite).await.unwrap();
        moves(&file.store().await, &fresh.store().await).await;
        file.remove().await;
    }

    async fn everything_moves_from_here(fresh: &Fresh) {
        let file = Fresh::of(Kind::Sqlite).await.unwrap();
        moves(&fresh.store().await, &file.store().await).await;
        file.remove().await;
    }

    async fn nothing_is_copied_over_what_is_there(fresh: &Fresh) {
        let file = Fresh::of(Kind::Sqlite).await.unwrap();
        let (from, to) = (file.store().await, fresh.store().await);
        fill(&from).await;
        insert(&to, &user("bob@example.com")).await;

        let refused = copy(from.db(), to.db(), drop).await.unwrap_err();

        assert!(refused.to_string().contains("`nauth_users`"), "{refused}");
        assert!(to.users().by_email(&"ada@example.com".parse().unwrap()).await.unwrap().is_none());
        assert_eq!(to.revocations().head(0).await.unwrap().global_epoch, 1);
        file.remove().await;
    }

    async fn a_copy_that_breaks_off_leaves_nothing(fresh: &Fresh) {
        let file = Fresh::of(Kind::Sqlite).await.unwrap();
        let (from, to) = (file.store().await, fresh.store().await);
        fill(&from).await;

        // As if it were interrupted when half of it is done.
        let mut told = 0;
        let copying = std::panic::AssertUnwindSafe(copy(from.db(), to.db(), |_| {
            told += 1;
            assert!(told < 6, "interrupted");
        }));
        let interrupted = futures_util::FutureExt::catch_unwind(copying).await;

        assert!(interrupted.is_err());
        assert!(to.users().by_email(&"ada@example.com".parse().unwrap()).await.unwrap().is_none());
        copy(from.db(), to.db(), drop).await.unwrap();
        file.remove().await;
    }

    async fn a_source_of_an_older_schema_is_not_copied(fresh: &Fresh) {
        let file = Fresh::of(Kind::Sqlite).await.unwrap();
        let refused = copy(&fresh.open().await, file.store().await.db(), drop).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Schema(reason) if reason.contains("older schema")), "{refused}");
        file.remove().await;
    }
}
