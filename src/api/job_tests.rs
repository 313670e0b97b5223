//! What is swept out, by whom, and what stays.

use std::time::Duration;

use serde_json::json;

use crate::api::tests_support::{PASSWORD, TestNauth, post, settings};
use crate::config::settings::VerificationMethod;

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn what_nobody_finished_gives_its_name_back_and_what_is_finished_stays() {
    let mut settings = settings();
    settings.signup.verification_method = VerificationMethod::Email;
    let mut nauth = TestNauth::start(settings).await;
    let bob = json!({"email": "bob@example.com", "username": "bob", "password": PASSWORD});
    nauth.send(post("/auth/signup", &[], &bob)).await.expect(201);
    nauth.reload(|settings| settings.signup.verification_method = VerificationMethod::None);
    let token = nauth.ada().await.text("accessToken");

    assert!(nauth.auth.purge("one").await.unwrap().is_some());
    let bob = nauth.auth.find_user("bob@example.com").await.expect("there is still time").id;
    nauth.clock.advance(DAY + Duration::from_secs(1));
    assert!(nauth.auth.purge("one").await.unwrap().is_some_and(|rows| rows > 0));

    nauth.auth.find_user("bob@example.com").await.expect_err("nobody came back");
    assert_eq!(nauth.audit_types_of(bob).await.last().map(String::as_str), Some("ACCOUNT_DELETED"));
    nauth.auth.find_user("ada@example.com").await.expect("a complete account");
    let ada = nauth.login("ada@example.com", PASSWORD).await.expect(200).text("accessToken");
    nauth.get_as(&ada, "/auth/profile").await.expect(200);
    nauth.get_as(&token, "/auth/profile").await.expect(401);
}

#[tokio::test]
async fn one_node_sweeps_and_the_others_do_not() {
    let nauth = TestNauth::start(settings()).await;

    assert!(nauth.auth.purge("one").await.unwrap().is_some());
    assert_eq!(nauth.auth.purge("two").await.unwrap(), None);
    nauth.clock.advance(Duration::from_mins(10));
    assert!(nauth.auth.purge("two").await.unwrap().is_some());
    assert_eq!(nauth.auth.purge("one").await.unwrap(), None);
}

#[tokio::test]
async fn there_is_an_audit_trail_where_it_is_wanted() {
    let mut settings = settings();
    settings.audit.queued = false;
    let kept = TestNauth::start(settings.clone()).await;
    kept.ada().await;
    kept.login("ada@example.com", "a wrong guess").await.expect(401);
    assert!(kept.audit_types().await.contains(&"LOGIN_FAILED".to_owned()), "it is written before it is answered");

    settings.audit.enabled = false;
    let unkept = TestNauth::start(settings).await;
    unkept.ada().await;
    unkept.login("ada@example.com", "a wrong guess").await.expect(401);
    assert_eq!(unkept.audit_types().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_audit_trail_is_kept_as_long_as_the_settings_say() {
    let nauth = TestNauth::start(settings()).await;
    nauth.ada().await;
    let entries = async || nauth.audit_types().await;
    let before = entries().await;
    assert!(
        before.contains(&"ACCOUNT_CREATED".to_owned()) && before.contains(&"LOGIN_SUCCESS".to_owned()),
        "{before:?}"
    );

    nauth.clock.advance(91 * DAY);
    nauth.auth.purge("one").await.unwrap();
    let later = entries().await;
    assert!(later.contains(&"ACCOUNT_CREATED".to_owned()) && !later.contains(&"LOGIN_SUCCESS".to_owned()), "{later:?}");

    nauth.clock.advance(310 * DAY);
    nauth.auth.purge("one").await.unwrap();
    assert_eq!(entries().await, Vec::<String>::new());
}
