//! Changes a session began before it ended: none of them lands afterwards.

use serde_json::{Value, json};

use crate::api::tests_support::{PASSWORD, TestNauth, settings};
use crate::auth::mfa::SetupWish;
use crate::auth::{Caller, FactorAnswer, ProfileUpdate, SetupAnswer};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::domain::secret::Secret;

/// The names of those that were done all the same.
async fn landed(nauth: &TestNauth, caller: &Caller) -> Vec<&'static str> {
    let (auth, ctx) = (&nauth.auth, &RequestContext::local());
    let wish = SetupWish { method: Method::Totp, phone: None, name: None };
    let code = || Secret::new("123456".to_owned());
    let setup = SetupAnswer { method: Method::Email, code: code(), secret: None, phone: None, name: None };
    let proof = FactorAnswer { method: Method::Backup, code: code(), factor: None };
    let update = ProfileUpdate { first_name: Some("Eve".to_owned()), ..ProfileUpdate::default() };
    let contact = ProfileUpdate { email: Some("eve@example.com".parse().unwrap()), ..ProfileUpdate::default() };
    let password = Secret::new(PASSWORD.to_owned());
    let done = [
        ("begin_factor", auth.begin_factor(caller, &wish, ctx).await.err()),
        ("finish_factor", auth.finish_factor(caller, &setup, ctx).await.err()),
        ("prefer_factor", auth.prefer_factor(caller, 1, ctx).await.err()),
        ("remove_factor", auth.remove_factor(caller, 1, ctx).await.err()),
        ("new_codes", auth.new_codes(caller, ctx).await.err()),
        ("trust_device", auth.trust_device(caller, ctx).await.err()),
        ("update_profile", auth.update_profile(caller, update, ctx).await.err()),
        ("a contact change", auth.update_profile(caller, contact, ctx).await.err()),
        ("verify_contact", auth.verify_contact(caller, &code(), ctx).await.err()),
        ("resend_contact", auth.resend_contact(caller, ctx).await.err()),
        ("begin_own_proof", auth.begin_own_proof(caller, Method::Email, ctx).await.err()),
        ("reauthenticate", auth.reauthenticate(caller, password, ctx).await.err()),
        ("reauthenticate_with_factor", auth.reauthenticate_with_factor(caller, &proof, ctx).await.err()),
    ];
    let is_refused = |error: &Option<Error>| matches!(error, Some(Error::SessionNotFound(_)));
    done.into_iter().filter(|(_, error)| !is_refused(error)).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn nothing_a_session_began_lands_after_it_has_ended() {
    let nauth = TestNauth::start(settings()).await;
    let ada = nauth.ada().await;
    let ctx = RequestContext::local();
    let caller = async || {
        let answer = nauth.login("ada@example.com", PASSWORD).await.expect(200);
        let token = answer.json()["accessToken"].as_str().unwrap().to_owned();
        (nauth.auth.authenticate(&token, &ctx).await.unwrap(), token)
    };
    drop(ada);

    let (logged_out, token) = caller().await;
    nauth.post_as(&token, "/auth/logout", &json!({})).await.expect(200);
    assert_eq!(landed(&nauth, &logged_out).await, [""; 0]);

    let (untrusted, _) = caller().await;
    nauth.auth.forget_devices(untrusted.user.id, &ctx).await.unwrap();
    assert_eq!(landed(&nauth, &untrusted).await, [""; 0]);

    let (everywhere, _) = caller().await;
    nauth.auth.logout_all(everywhere.user.id, false, &ctx).await.unwrap();
    assert_eq!(landed(&nauth, &everywhere).await, [""; 0]);

    let (present, token) = caller().await;
    assert!(landed(&nauth, &present).await.contains(&"trust_device"), "who is there may");
    let profile: Value = nauth.get_as(&token, "/auth/profile").await.expect(200).json();
    assert_eq!(profile["firstName"], "Eve");
}
