//! What is answered about addresses that have accounts, where that is hidden: the same as about those that have none.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::tests_support::{Answer, PASSWORD, TestNauth, bearer, post, request, settings};
use crate::config::settings::VerificationMethod;

const ADA: &str = "ada@example.com";
const NOBODY: &str = "nobody@example.com";
const WRONG: &str = "wrong";

/// A nauth that hides which addresses have accounts; ada's has one. Answers the token of its owner.
async fn hiding() -> (TestNauth, String) {
    let mut settings = settings();
    settings.signup.verification_method = VerificationMethod::Email;
    settings.security.hide_existing_accounts = true;
    settings.challenge.max_attempts = 20;
    let rates = &mut settings.rate_limit;
    for rate in [&mut rates.signup, &mut rates.challenge, &mut rates.default] {
        rate.max = 0;
    }
    let nauth = TestNauth::start(settings).await;
    let challenge = nauth.ada_unproven().await;
    let code = nauth.code_to(ADA).await;
    let token = nauth.respond(&challenge["session"], "VERIFY_EMAIL", &code).await.expect(200).text("accessToken");
    nauth.clock.advance(Duration::from_mins(2));
    (nauth, token)
}

async fn sign_up(nauth: &TestNauth, email: &str) -> Value {
    let body = json!({ "email": email, "password": PASSWORD });
    nauth.send(post("/auth/signup", &[], &body)).await.expect(201).json()["session"].clone()
}

async fn change_email(nauth: &TestNauth, token: &str, email: &str) {
    let body = json!({ "email": email }).to_string();
    let lines = [("authorization", &*bearer(token)), ("content-type", "application/json")];
    nauth.send(request("PUT", "/auth/profile", &lines, Bytes::from(body))).await.expect(200);
}

/// What an answer tells.
fn told(answer: &Answer) -> Value {
    let (body, wait) = (answer.json(), answer.header("retry-after"));
    json!([body["code"], body["message"], body["details"], wait])
}

/// Everything a stranger can try with the challenge of a signup, and what they are told.
async fn tried(nauth: &TestNauth, email: &str) -> (Vec<Value>, usize) {
    let session = sign_up(nauth, email).await;
    let mut answers = Vec::new();
    for password in [PASSWORD, "another long password"] {
        let body = json!({ "session": session, "type": "VERIFY_EMAIL", "code": WRONG, "password": password });
        answers.push(told(&nauth.send(post("/auth/respond-challenge", &[], &body)).await));
    }
    let resend = async || told(&nauth.send(post("/auth/challenge/resend", &[], &json!({ "session": session }))).await);
    answers.push(resend().await);
    for _ in 0..3 {
        nauth.clock.advance(Duration::from_secs(61));
        answers.extend([resend().await, resend().await]);
    }
    for _ in 0..4 {
        answers.push(told(&nauth.respond(&session, "VERIFY_EMAIL", WRONG).await));
    }
    // Addresses are as long.
    let answers = answers.iter().map(|answer| answer.to_string().replace(email, "")).map(Value::from).collect();
    (answers, nauth.messages().await.iter().filter(|message| message.to == email).count())
}

#[tokio::test]
async fn a_pretended_challenge_answers_like_one_of_a_new_account() {
    let (nauth, _) = hiding().await;
    nauth.clock.advance(Duration::from_hours(2));

    let (of_new, sent) = tried(&nauth, NOBODY).await;
    let (of_owned, told) = tried(&nauth, ADA).await;

    assert_eq!(of_owned, of_new);
    assert_eq!((sent, told), (3, 3), "the limit of an address");
    for code in ["RATE_LIMIT_RESEND", "RATE_LIMIT_EMAIL", "VERIFY_CODE_INVALID", "VERIFY_TOO_MANY_ATTEMPTS"] {
        assert!(of_new.iter().any(|answer| answer.as_str().unwrap().contains(code)), "{code}: {of_new:?}");
    }
}

#[tokio::test]
async fn who_answers_pretended_challenges_uses_up_none_of_the_owners_tries() {
    let (nauth, token) = hiding().await;
    change_email(&nauth, &token, "countess@example.com").await;
    let code = nauth.code_to("countess@example.com").await;
    for client in ["203.0.113.1", "203.0.113.2"] {
        let session = sign_up(nauth.from(client), ADA).await;
        for _ in 0..6 {
            nauth.respond(&session, "VERIFY_EMAIL", WRONG).await.expect(400);
        }
    }

    let proof = json!({ "code": code });
    nauth.from("198.51.100.1").post_as(&token, "/auth/profile/contact/verify", &proof).await.expect(200);
}

#[tokio::test]
async fn an_address_somebody_has_is_as_pending_as_any_other() {
    let mut told_of = Vec::new();
    for email in [NOBODY, "bob@example.com"] {
        let (nauth, token) = hiding().await;
        let bob = sign_up(&nauth, "bob@example.com").await;
        let code = nauth.code_to("bob@example.com").await;
        nauth.respond(&bob, "VERIFY_EMAIL", &code).await.expect(200);
        change_email(&nauth, &token, email).await;

        let resend = async || told(&nauth.post_as(&token, "/auth/profile/contact/resend", &json!({})).await);
        let mut answers = vec![resend().await];
        nauth.clock.advance(Duration::from_secs(61));
        answers.extend([resend().await, resend().await]);
        for _ in 0..4 {
            let body = json!({ "code": WRONG });
            answers.push(told(&nauth.post_as(&token, "/auth/profile/contact/verify", &body).await));
        }
        told_of.push(answers);
    }

    assert_eq!(told_of[1], told_of[0]);
}
