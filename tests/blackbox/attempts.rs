//! Attempts: what counts against whom, and what costs nobody anything.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::support::{Account, Answer, Config, Nauth, PASSWORD, Request, challenged};

/// Seconds a code of the tests' apps lives.
const STEP: u64 = 2;
/// Wrong codes in a minute that shut the breaker of the site.
const SITE: usize = 600;

fn config() -> Config {
    let unlimited = json!({ "max": 0, "window": "1m" });
    ["login", "signup", "default", "challenge", "forgot_password"]
        .iter()
        .fold(Config::whoami(), |config, limit| config.set(&format!("rate_limit.{limit}"), unlimited.clone()))
        .set("mfa.totp.step", format!("{STEP}s"))
        .set("mfa.totp.window", 3)
}

fn wrong_codes(per_user: u32, per_ip: u32) -> Value {
    json!({ "per_user": per_user, "per_ip": per_ip, "window": "1h" })
}

async fn confirm_reset(nauth: &Nauth, email: &str, code: &str, client: &str) -> Answer {
    let body = json!({ "identifier": email, "code": code, "newPassword": "another long password" });
    let request = Request::post("/auth/forgot-password/confirm").header("X-Forwarded-For", client);
    nauth.send(&request.json(&body)).await
}

async fn ask_for_reset(nauth: &Nauth, email: &str) -> String {
    nauth.send(&Request::post("/auth/forgot-password").json(&json!({ "identifier": email }))).await.expect(200);
    nauth.code_for(email).await
}

async fn reauthenticate(nauth: &Nauth, account: &Account, code: &str) -> Answer {
    nauth.post_as(account, "/auth/reauthenticate", &json!({ "method": "totp", "code": code })).await
}

#[tokio::test]
async fn an_outage_uses_up_nobodys_tries() {
    let config = config()
        .on_a_file()
        .set("signup.email_verification.attempt_limit", wrong_codes(3, 3))
        .set("database.statement_timeout", "200ms");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let session = challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    let eve = nauth.signup("eve@example.com").await;
    let email = json!({ "email": "e@example.com" });
    let change = Request::new("PUT", "/auth/profile").bearer(&eve.access_token).json(&email);
    nauth.send(&change).await.expect(200);
    let contact = json!({ "code": nauth.code_for("e@example.com").await });
    let reset = ask_for_reset(&nauth, "ada@example.com").await;
    let wish = json!({ "methodName": "totp" });
    let setup = nauth.post_as(&eve, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    let other = crate::support::App::told(&setup["setupData"], STEP);
    let setup = || json!({ "methodName": "totp", "setupData": { "secret": other.secret, "code": other.code() } });

    let file = format!("sqlite://{}", nauth.data_dir().join("nauth.db").display());
    let mut writer = SqliteConnection::connect(&file).await.unwrap();
    writer.execute("BEGIN IMMEDIATE").await.unwrap();
    for _ in 0..4 {
        let code = app.code();
        let answers = [
            reauthenticate(&nauth, &ada, &code).await,
            nauth.prove(&session, "totp", &code).await,
            nauth.post_as(&eve, "/auth/mfa/verify-setup", &setup()).await,
            nauth.post_as(&eve, "/auth/profile/contact/verify", &contact).await,
            confirm_reset(&nauth, "ada@example.com", &reset, "203.0.113.9").await,
        ];
        assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    }
    writer.execute("ROLLBACK").await.unwrap();

    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect(200);
    app.next_step().await;
    reauthenticate(&nauth, &ada, &app.code()).await.expect(200);
    nauth.post_as(&eve, "/auth/mfa/verify-setup", &setup()).await.expect(200);
    nauth.post_as(&eve, "/auth/profile/contact/verify", &contact).await.expect(200);
    confirm_reset(&nauth, "ada@example.com", &reset, "203.0.113.9").await.expect(200);
}

#[tokio::test]
async fn codes_for_nobody_from_everywhere_stop_no_code_that_is_somebodys() {
    let nauth = Nauth::start(config().set("server.trusted_proxies", json!(["127.0.0.1"]))).await;
    nauth.signup("ada@example.com").await;
    let code = ask_for_reset(&nauth, "ada@example.com").await;
    confirm_reset(&nauth, "ada@example.com", "no code", "203.0.113.9").await.expect(400);

    for batch in 0..SITE / 30 + 2 {
        let guesses = (0..30).map(async |number| {
            let (email, client) = (format!("u{number}@example.com"), format!("198.51.{batch}.{number}"));
            confirm_reset(&nauth, &email, "123456", &client).await.expect_error(400, "PASSWORD_RESET_CODE_INVALID");
        });
        join_all(guesses).await;
    }

    confirm_reset(&nauth, "ada@example.com", &code, "203.0.113.9").await.expect(200);
    // Whoever guesses so from one address is stopped there.
    let mut refused = 0;
    for _ in 0..25 {
        let answer = confirm_reset(&nauth, "u1@example.com", "123456", "198.51.100.200").await;
        refused += usize::from(answer.status == 429);
    }
    assert_eq!(refused, 5);
}

#[tokio::test]
async fn wrong_codes_in_masses_stop_codes_and_no_factor() {
    let config = config()
        .set("signup.email_verification.attempt_limit", wrong_codes(1_000_000, 1_000_000))
        .set("signup.email_verification.max_attempts", 100)
        .set("challenge.max_attempts", 100);
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let mut sessions = Vec::new();
    for number in 0..=SITE / 90 {
        let signup = nauth.try_signup(&format!("u{number}@example.com"), PASSWORD).await.expect(201);
        sessions.push(challenged(&signup, "VERIFY_EMAIL"));
    }

    for session in &sessions {
        join_all((0..90).map(|_| nauth.respond(session, "wrong"))).await;
    }

    let code = nauth.code_for("u0@example.com").await;
    nauth.respond(&sessions[0], &code).await.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");
    let session = challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect(200);
}

#[tokio::test]
async fn guesses_in_a_session_end_whatever_lockout_counts() {
    let nauth = Nauth::start(config().set("lockout.count", json!(["password"]))).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;

    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(reauthenticate(&nauth, &ada, &app.wrong_code()).await);
    }

    let codes: Vec<_> = answers.iter().map(|answer| answer.json()["code"].clone()).collect();
    assert_eq!(codes.iter().filter(|code| *code == "VERIFY_CODE_INVALID").count(), 10, "{codes:?}");
    assert_eq!(codes[11], "VERIFY_TOO_MANY_ATTEMPTS");
    // On the way in, each challenge counts alone.
    let session = challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect(200);
}

/// Logs in from a client of its own; its challenge.
async fn ask_from(nauth: &Nauth, client: &str) -> Answer {
    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    nauth.send(&Request::post("/auth/login").header("User-Agent", client).json(&body)).await
}

/// An account with the code of a mail as its factor.
async fn with_mailed_codes(nauth: &Nauth) {
    let ada = nauth.signup("ada@example.com").await;
    let wish = json!({ "methodName": "email" });
    let setup = nauth.post_as(&ada, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    assert_eq!(setup["setupData"]["autoCompleted"], true, "{setup}");
}

#[tokio::test]
async fn a_mailed_code_stays_with_the_login_it_was_mailed_for() {
    let nauth = Nauth::start(config()).await;
    with_mailed_codes(&nauth).await;

    let own = challenged(&ask_from(&nauth, "ada").await.expect(200), "MFA_REQUIRED");
    let code = nauth.code_for("ada@example.com").await;
    let eves = challenged(&ask_from(&nauth, "eve").await.expect(200), "MFA_REQUIRED");
    let eves_code = nauth.code_for("ada@example.com").await;
    assert_eq!(challenged(&ask_from(&nauth, "ada").await.expect(200), "MFA_REQUIRED"), own, "one client, one login");

    assert_ne!(own, eves);
    nauth.prove(&eves, "email", &code).await.expect_error(400, "VERIFY_CODE_INVALID");
    nauth.prove(&own, "email", &code).await.expect(200);
    // No more mails than the limit says, whoever logs in from wherever.
    challenged(&ask_from(&nauth, "third").await.expect(200), "MFA_REQUIRED");
    ask_from(&nauth, "fourth").await.expect_error(429, "RATE_LIMIT_EMAIL");
    assert_eq!(nauth.codes_for("ada@example.com").len(), 1 + 3, "one to verify, three to log in");
    nauth.prove(&eves, "email", &eves_code).await.expect(200);
}

#[tokio::test]
async fn signups_of_strangers_keep_nobody_from_the_code_of_a_factor() {
    let config = config().set("security.hide_existing_accounts", true);
    let nauth = Nauth::start(config).await;
    with_mailed_codes(&nauth).await;
    let hidden = async || nauth.try_signup("ada@example.com", PASSWORD).await;
    while hidden().await.status == 201 {}
    hidden().await.expect_error(429, "RATE_LIMIT_EMAIL");

    for client in ["one", "two", "three"] {
        let session = challenged(&ask_from(&nauth, client).await.expect(200), "MFA_REQUIRED");
        let code = nauth.code_for("ada@example.com").await;
        nauth.prove(&session, "email", &code).await.expect(200);
    }
    // Who knows the password may have mailed as much; who sets another one leaves that behind.
    ask_from(&nauth, "four").await.expect_error(429, "RATE_LIMIT_EMAIL");
    let reset = ask_for_reset(&nauth, "ada@example.com").await;
    confirm_reset(&nauth, "ada@example.com", &reset, "203.0.113.9").await.expect(200);
    let body = json!({ "identifier": "ada@example.com", "password": "another long password" });
    let login = nauth.send(&Request::post("/auth/login").json(&body)).await.expect(200);
    challenged(&login, "MFA_REQUIRED");
}

/// Who may name an address may name one after the other, and each of its owners would get a mail.
#[tokio::test]
async fn nobody_has_mail_sent_to_one_stranger_after_the_other() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let eve = nauth.signup("eve@example.com").await;
    let to = |number: u8| {
        let email = json!({ "email": format!("stranger{number}@example.com") });
        Request::new("PUT", "/auth/profile").bearer(&eve.access_token).json(&email)
    };

    for number in 0..3 {
        nauth.send(&to(number)).await.expect(200);
    }

    nauth.send(&to(3)).await.expect_error(429, "RATE_LIMIT_EMAIL");
}
