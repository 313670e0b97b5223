//! Who the tests are about.

use std::time::Duration;

use nauth::domain::challenge::{Challenge, StepKind};
use nauth::domain::id::{ChallengeId, SessionId, UserId, random_number};
use nauth::domain::mfa::Entry;
use nauth::domain::session::{Delivery, Device, Session};
use nauth::domain::user::User;
use nauth::store::Store;
use nauth::store::one_time_secrets::{OneTimeSecret, Purpose};

use crate::databases::NOW;

pub(crate) fn user(email: &str) -> User {
    User { completed_at: Some(NOW), ..User::new(email.parse().unwrap(), vec!["user".parse().unwrap()], NOW) }
}

pub(crate) fn session(user: UserId) -> Session {
    Session {
        id: SessionId::random(),
        user,
        family: "ab".repeat(32),
        generation: 1,
        rotated_at: NOW,
        refresh_expires_at: NOW + Duration::from_hours(1),
        refresh_kid: "k".to_owned(),
        seen: None,
        auth_epoch: 1,
        latest_exp: NOW,
        amr: vec!["pwd".to_owned()],
        acr: "aal1".to_owned(),
        auth_time: NOW,
        dialect: "nauth".to_owned(),
        delivery: Delivery::Cookies,
        auth_method: "password".to_owned(),
        ip: "127.0.0.1".to_owned(),
        location: nauth::domain::location::Location::default(),
        user_agent: String::new(),
        device: Device::default(),
        trusted_device: None,
        claims: None,
        created_at: NOW,
        last_activity_at: NOW,
        expires_at: NOW + Duration::from_hours(1),
        revoked_at: None,
    }
}

pub(crate) fn challenge(user: UserId) -> Challenge {
    Challenge {
        id: ChallengeId::random(),
        user,
        step: StepKind::VerifyEmail,
        auth_epoch: 1,
        attempts: 0,
        max_attempts: 3,
        password_proven: true,
        amr: vec!["pwd".to_owned()],
        client_binding: "somebody".to_owned(),
        entry: Entry::Login,
        renews: None,
        method: None,
        decoy: false,
        created_at: NOW,
        expires_at: NOW + Duration::from_mins(15),
        completed_at: None,
    }
}

pub(crate) fn secret(user: UserId, challenge: Option<ChallengeId>) -> OneTimeSecret {
    OneTimeSecret {
        id: random_number(),
        user,
        purpose: Purpose::VerifyEmail,
        challenge,
        session: None,
        destination: "ada@example.com".to_owned(),
        secret_hash: "h".repeat(64),
        link_hash: None,
        auth_epoch: 1,
        attempts: 0,
        max_attempts: 3,
        created_at: NOW,
        expires_at: NOW + Duration::from_mins(10),
    }
}

/// Ada, stored.
pub(crate) async fn ada(store: &Store) -> User {
    let ada = user("ada@example.com");
    insert(store, &ada).await;
    ada
}

pub(crate) async fn insert(store: &Store, user: &User) {
    let mut tx = store.begin().await.unwrap();
    tx.users().insert(user, true, "test").await.unwrap();
    tx.commit().await.unwrap();
}
