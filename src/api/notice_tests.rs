//! What users are told by mail when something happens to their account, and by which switch.

use std::time::Duration;

use serde_json::json;

use crate::api::tests_support::{PASSWORD, TestNauth, bearer, post, settings};
use crate::config::settings::{Settings, VerificationMethod};
use crate::mail::Rendered;

const ADA: &str = "ada@example.com";
const NEXT: &str = "another walk by the sea";

async fn nauth(change: impl FnOnce(&mut Settings)) -> TestNauth {
    let mut settings = settings();
    let switches = &mut settings.notifications;
    for switch in
        [&mut switches.welcome, &mut switches.sessions_revoked, &mut switches.account_enabled, &mut switches.new_device]
    {
        *switch = true;
    }
    change(&mut settings);
    TestNauth::start(settings).await
}

/// Which mails went to whom since the last look.
async fn told(nauth: &TestNauth) -> Vec<(String, String)> {
    let mut told: Vec<_> = nauth.messages().await.into_iter().map(|mail| (mail.template, mail.to)).collect();
    told.sort();
    told
}

fn mails(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(template, to)| ((*template).to_owned(), (*to).to_owned())).collect()
}

async fn change_password(nauth: &TestNauth, token: &str) {
    let body = json!({"oldPassword": PASSWORD, "newPassword": NEXT});
    nauth.post_as(token, "/auth/change-password", &body).await.expect(200);
}

#[tokio::test]
async fn news_are_told_to_the_owner_of_an_account() {
    let nauth = nauth(|_| {}).await;
    let token = nauth.ada().await.text("accessToken");
    assert_eq!(told(&nauth).await, mails(&[("welcome", ADA)]));

    nauth.post_as(&token, "/auth/logout/all", &json!({})).await.expect(200);
    assert_eq!(told(&nauth).await, mails(&[("sessions_revoked", ADA)]));

    let token = nauth.login(ADA, PASSWORD).await.expect(200).text("accessToken");
    change_password(&nauth, &token).await;
    assert_eq!(told(&nauth).await, mails(&[("password_changed", ADA)]));

    let user = nauth.auth.find_user(ADA).await.unwrap();
    nauth.auth.disable(user.id, "unpaid\r\nBcc: eve@evil.example".to_owned()).await.unwrap();
    let [mail] = nauth.messages().await.try_into().unwrap_or_else(|mails: Vec<Rendered>| panic!("{}", mails.len()));
    assert!(mail.text.contains("unpaid Bcc: eve@evil.example") && mail.template == "account_disabled", "{}", mail.text);
    nauth.auth.enable(user.id).await.unwrap();
    assert_eq!(told(&nauth).await, mails(&[("account_enabled", ADA)]));
}

#[tokio::test]
async fn both_addresses_learn_that_one_takes_the_place_of_the_other() {
    let nauth = nauth(|_| {}).await;
    let token = nauth.ada().await.text("accessToken");
    told(&nauth).await;

    let mut put = post("/auth/profile", &[("authorization", &*bearer(&token))], &json!({"email": "ada@new.example"}));
    *put.method_mut() = http::Method::PUT;
    nauth.send(put).await.expect(200);
    let sent = nauth.messages().await;
    let code_mail = sent.iter().find(|mail| mail.template == "verification" && mail.to == "ada@new.example").unwrap();
    assert!(sent.iter().any(|mail| mail.template == "email_changed_old" && mail.to == ADA), "{}", sent.len());
    let code = code_mail.vars["code"].as_str().unwrap();

    nauth.post_as(&token, "/auth/profile/contact/verify", &json!({"code": code})).await.expect(200);

    assert_eq!(told(&nauth).await, mails(&[("email_changed_new", "ada@new.example"), ("email_changed_old", ADA)]));
}

#[tokio::test]
async fn a_client_not_seen_before_is_told_and_the_same_one_is_not() {
    let nauth = nauth(|_| {}).await;
    nauth.ada().await;
    told(&nauth).await;
    let login = async |agent: &str| {
        let body = json!({"identifier": ADA, "password": PASSWORD});
        nauth.send(post("/auth/login", &[("user-agent", agent)], &body)).await.expect(200);
        told(&nauth).await
    };

    assert_eq!(login("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0").await, mails(&[("new_device", ADA)]));
    assert_eq!(login("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0").await, []);
}

#[tokio::test]
async fn each_switch_silences_its_own_news_and_no_code() {
    let nauth = nauth(|settings| {
        settings.notifications.enabled = false;
        settings.signup.verification_method = VerificationMethod::Email;
    })
    .await;
    let challenge = nauth.ada_unproven().await;
    let code = nauth.code_to(ADA).await;
    let token = nauth.respond(&challenge["session"], "VERIFY_EMAIL", &code).await.expect(200).text("accessToken");
    change_password(&nauth, &token).await;
    assert_eq!(told(&nauth).await, []);

    nauth.clock.advance(Duration::from_hours(1));
    nauth.send(post("/auth/forgot-password", &[], &json!({"identifier": ADA}))).await.expect(200);
    assert_eq!(told(&nauth).await, mails(&[("password_reset", ADA)]));
}

#[tokio::test]
async fn a_stranger_cannot_put_words_into_a_mail_to_somebody_else() {
    let nauth = nauth(|settings| settings.signup.verification_method = VerificationMethod::Email).await;
    let body = json!({"email": "victim@example.com", "password": PASSWORD, "firstName": "Win a prize at evil.example"});
    nauth.send(post("/auth/signup", &[], &body)).await.expect(201);

    let [mail] = nauth.messages().await.try_into().unwrap_or_else(|mails: Vec<Rendered>| panic!("{}", mails.len()));
    assert!(!mail.text.contains("prize") && !mail.html.contains("prize"), "{}", mail.text);
    assert!(mail.text.contains("Hello victim@example.com"), "{}", mail.text);
}
