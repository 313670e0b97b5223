//! Limits and lockout over the native wire: what counts, for whom, and for how long.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::tests_support::{Answer, PASSWORD, TestNauth, credentials, post, settings};
use crate::config::settings::{Settings, TrustRule, VerificationMethod, Window};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

async fn nauth(change: impl FnOnce(&mut Settings)) -> TestNauth {
    let mut settings = settings();
    // Requests are not limited here, unless a test says so.
    let rates = &mut settings.rate_limit;
    for rate in
        [&mut rates.login, &mut rates.signup, &mut rates.forgot_password, &mut rates.challenge, &mut rates.default]
    {
        rate.max = 0;
    }
    change(&mut settings);
    let nauth = TestNauth::start(settings).await;
    nauth.ada().await;
    nauth.send(post("/auth/signup", &[], &json!({"email": BOB, "password": PASSWORD}))).await.expect(201);
    nauth
}

async fn fails(nauth: &TestNauth, identifier: &str, times: usize) {
    for _ in 0..times {
        nauth.login(identifier, "a wrong guess").await.refuses(401, "AUTH_INVALID_CREDENTIALS");
    }
}

fn is_blocked(answer: Answer, seconds: u64) {
    let answer = answer.refuses(429, "RATE_LIMIT_LOGIN");
    assert_eq!(answer.header("retry-after"), Some(seconds.to_string().as_str()));
    assert_eq!(answer.json()["details"]["retryAfter"], seconds);
}

#[tokio::test]
async fn an_account_is_locked_for_the_address_that_guesses_and_for_nobody_else() {
    let nauth = nauth(|_| {}).await;
    fails(nauth.from("198.51.100.1"), ADA, 5).await;

    is_blocked(nauth.login(ADA, PASSWORD).await, 900);
    assert!(nauth.metrics().contains("nauth_account_lockouts_total{scope=\"account_ip\"} 1\n"), "{}", nauth.metrics());
    nauth.login(BOB, PASSWORD).await.expect(200);
    nauth.from("198.51.100.2").login(ADA, PASSWORD).await.expect(200);
    nauth.clock.advance(Duration::from_mins(15));
    nauth.from("198.51.100.1").login(ADA, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn whoever_names_an_account_in_another_way_guesses_the_same_one() {
    let nauth = nauth(|_| {}).await;
    let carol = json!({"email": "carol@example.com", "username": "carol", "password": PASSWORD});
    nauth.send(post("/auth/signup", &[], &carol)).await.expect(201);
    fails(&nauth, "carol", 2).await;
    fails(&nauth, "Carol@Example.com", 3).await;

    is_blocked(nauth.login("carol", PASSWORD).await, 900);
}

#[tokio::test]
async fn an_address_is_locked_whatever_accounts_it_guesses_and_no_success_clears_that() {
    let nauth = nauth(|_| {}).await;
    nauth.from("198.51.100.1");
    for n in 0..19 {
        fails(&nauth, &format!("nobody{n}@example.com"), 1).await;
        // Its owner's own account is no way to have others forgiven.
        nauth.login(BOB, PASSWORD).await.expect(200);
    }
    fails(&nauth, ADA, 1).await;

    is_blocked(nauth.login(BOB, PASSWORD).await, 900);
    nauth.from("198.51.100.2").login(BOB, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn the_addresses_of_one_network_count_as_one_client() {
    let nauth = nauth(|_| {}).await;
    for n in 1..=5 {
        fails(nauth.from(&format!("2001:db8::{n}")), ADA, 1).await;
    }

    is_blocked(nauth.from("2001:db8::ffff").login(ADA, PASSWORD).await, 900);
    nauth.from("2001:db8:0:1::1").login(ADA, PASSWORD).await.expect(200);

    // An IPv4 address is the same one however it is written.
    fails(nauth.from("198.51.100.7"), BOB, 5).await;
    is_blocked(nauth.from("::ffff:198.51.100.7").login(BOB, PASSWORD).await, 900);
}

#[tokio::test]
async fn guesses_from_everywhere_slow_down_strangers_and_never_the_devices_of_the_account() {
    let nauth = nauth(|settings| settings.mfa.trust.devices = TrustRule::Always).await;
    let known = nauth.login(ADA, PASSWORD).await.expect(200).text("deviceToken");
    for n in 0..30 {
        fails(nauth.from(&format!("198.51.{n}.1")), ADA, 1).await;
    }

    is_blocked(nauth.from("203.0.113.1").login(ADA, PASSWORD).await, 1);
    let body = json!({"identifier": ADA, "password": PASSWORD});
    nauth.send(post("/auth/login", &[("x-device-token", &known)], &body)).await.expect(200);
}

#[tokio::test]
async fn a_success_clears_what_was_counted_for_its_account() {
    let nauth = nauth(|_| {}).await;
    fails(&nauth, ADA, 4).await;
    nauth.login(ADA, PASSWORD).await.expect(200);
    fails(&nauth, ADA, 4).await;
    nauth.login(ADA, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_right_password_that_brings_no_tokens_clears_nothing() {
    let mut nauth = nauth(|_| {}).await;
    nauth.reload(|settings| settings.signup.verification_method = VerificationMethod::Email);
    fails(&nauth, ADA, 4).await;

    assert_eq!(nauth.login(ADA, PASSWORD).await.expect(200).json()["challengeName"], "VERIFY_EMAIL");

    fails(&nauth, ADA, 1).await;
    is_blocked(nauth.login(ADA, PASSWORD).await, 900);
}

#[tokio::test]
async fn guesses_at_a_password_do_not_keep_out_whoever_has_another_one() {
    let nauth = nauth(|_| {}).await;
    fails(&nauth, ADA, 5).await;
    is_blocked(nauth.login(ADA, PASSWORD).await, 900);
    nauth.send(post("/auth/forgot-password", &[], &json!({"identifier": ADA}))).await.expect(200);
    let next = "another horse battery staple";
    let confirm = json!({"identifier": ADA, "code": nauth.code_to(ADA).await, "newPassword": next});
    nauth.clock.advance(Duration::from_secs(1));

    nauth.send(post("/auth/forgot-password/confirm", &[], &confirm)).await.expect(200);

    nauth.login(ADA, next).await.expect(200);
    fails(&nauth, ADA, 5).await;
    is_blocked(nauth.login(ADA, next).await, 900);
}

#[tokio::test]
async fn an_operator_ends_the_lockouts_of_one_user_and_can_do_so_again() {
    let nauth = nauth(|settings| settings.lockout.ip.max = 100).await;
    let ada = nauth.auth.find_user(ADA).await.unwrap().id;
    fails(&nauth, BOB, 5).await;
    // The clock stands still meanwhile.
    for _ in 0..3 {
        fails(&nauth, ADA, 5).await;
        is_blocked(nauth.login(ADA, PASSWORD).await, 900);
        nauth.auth.end_lockouts(ada).await.unwrap();
        nauth.login(ADA, PASSWORD).await.expect(200);
    }

    is_blocked(nauth.login(BOB, PASSWORD).await, 900);
    let cleared = nauth.audit_types().await.iter().filter(|kind| *kind == "LOCKOUT_CLEARED").count();
    assert_eq!(cleared, 3);
    let nobody = nauth.auth.end_lockouts(crate::domain::id::UserId::random()).await;
    assert!(matches!(nobody, Err(crate::domain::error::Error::NotFound)));
}

#[tokio::test]
async fn an_operator_has_wrong_codes_of_an_address_forgotten() {
    let nauth = nauth(|settings| {
        settings.signup.verification_method = VerificationMethod::Email;
        settings.challenge.max_attempts = 10;
        settings.signup.email_verification.max_attempts = 10;
        settings.signup.email_verification.attempt_limit.per_user = 2;
    })
    .await;
    let session = nauth.login(ADA, PASSWORD).await.expect(200).json()["session"].clone();
    let code = nauth.code_to(ADA).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..2 {
        nauth.respond(&session, "VERIFY_EMAIL", wrong).await.refuses(400, "VERIFY_CODE_INVALID");
    }
    nauth.respond(&session, "VERIFY_EMAIL", &code).await.refuses(400, "VERIFY_TOO_MANY_ATTEMPTS");

    nauth.auth.end_lockouts(nauth.auth.find_user(ADA).await.unwrap().id).await.unwrap();

    nauth.respond(&session, "VERIFY_EMAIL", &code).await.expect(200);
}

#[tokio::test]
async fn exempt_addresses_and_a_lockout_that_is_off_count_nothing() {
    let exempt = nauth(|settings| settings.lockout.allow_ips = vec!["198.51.100.0/24".parse().unwrap()]).await;
    fails(exempt.from("198.51.100.9"), ADA, 25).await;
    exempt.login(ADA, PASSWORD).await.expect(200);

    let switches: [fn(&mut Settings); 2] =
        [|settings| settings.lockout.enabled = false, |settings| settings.lockout.counts.passwords = false];
    for switch in switches {
        let off = nauth(switch).await;
        fails(&off, ADA, 40).await;
        off.login(ADA, PASSWORD).await.expect(200);
    }
}

/// Finds a limit in the settings.
type Limit = fn(&mut Settings) -> &mut Window;

#[tokio::test]
async fn every_limit_of_requests_says_when_to_come_back() {
    let two = Window { max: 2, window: Duration::from_mins(1) };
    let nauth = nauth(|_| {}).await;
    let cases: [(Limit, &str, Value, &str); 4] = [
        (
            |s| &mut s.rate_limit.login,
            "/auth/login",
            json!({"identifier": BOB, "password": PASSWORD}),
            "RATE_LIMIT_LOGIN",
        ),
        (|s| &mut s.rate_limit.signup, "/auth/signup", credentials("email"), "RATE_LIMIT_EXCEEDED"),
        (
            |s| &mut s.rate_limit.forgot_password,
            "/auth/forgot-password",
            json!({"identifier": BOB}),
            "RATE_LIMIT_PASSWORD_RESET",
        ),
        (
            |s| &mut s.rate_limit.challenge,
            "/auth/respond-challenge",
            json!({"session": "6f9619ff-8b86-4011-b42d-00c04fc964ff", "type": "VERIFY_EMAIL", "code": "123456"}),
            "RATE_LIMIT_EXCEEDED",
        ),
    ];
    let mut nauth = nauth;
    for (which, path, body, code) in cases {
        nauth.reload(|settings| *which(settings) = two);
        nauth.from("198.51.100.1");
        for _ in 0..2 {
            let answer = nauth.send(post(path, &[], &body)).await;
            assert_ne!(answer.0.status(), 429, "{path}: {answer:?}");
        }
        let refused = nauth.send(post(path, &[], &body)).await.refuses(429, code);
        assert_eq!(refused.header("retry-after"), Some("60"), "{path}");
        assert_eq!(refused.json()["details"]["retryAfter"], 60, "{path}");
        let elsewhere = nauth.from("203.0.113.1").send(post(path, &[], &body)).await;
        assert_ne!(elsewhere.0.status(), 429, "{path}: {elsewhere:?}");
        nauth.reload(|settings| which(settings).max = 0);
    }
}

#[tokio::test]
async fn refreshes_are_counted_by_session() {
    let mut nauth = nauth(|_| {}).await;
    nauth.reload(|settings| settings.rate_limit.refresh = Window { max: 2, window: Duration::from_mins(1) });
    let refresh = async |token: &str| nauth.send(post("/auth/refresh", &[], &json!({"refreshToken": token}))).await;
    let mut token = nauth.login(ADA, PASSWORD).await.expect(200).text("refreshToken");
    for _ in 0..2 {
        token = refresh(&token).await.expect(200).text("refreshToken");
    }

    let refused = refresh(&token).await.expect(429);
    assert_eq!(refused.header("retry-after"), Some("60"));
    let other = nauth.login(BOB, PASSWORD).await.expect(200).text("refreshToken");
    refresh(&other).await.expect(200);
    nauth.clock.advance(Duration::from_mins(1));
    refresh(&token).await.expect(200);
}
