//! `nauth user unlock`: whoever failures keep out of a running nauth may come in, and nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::redis_server::RedisServer;
use crate::servers::Kind;
use crate::support::{Account, Config, Database, Nauth, PASSWORD, Request, challenged, eventually, secs};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const NEXT: &str = "another walk by the sea";
const STEP: u64 = 2;
const UNLOCK: [&str; 3] = ["user", "unlock", ADA];
const FORGOTTEN: &str = "failed logins, wrong codes and blocks are forgotten";

/// Requests are not limited, and three wrong passwords lock out.
fn config() -> Config {
    let unlimited = json!({ "max": 0, "window": "1m" });
    Config::whoami()
        .without_verification()
        .set("rate_limit.login", unlimited.clone())
        .set("rate_limit.challenge", unlimited)
        .set("lockout.account_ip", json!({ "max": 3, "window": "1h", "duration": "1h" }))
}

async fn lock_out(nauth: &Nauth, email: &str) {
    for _ in 0..3 {
        nauth.try_login(email, "a wrong guess").await.expect(401);
    }
    is_locked_out(nauth, email).await;
}

async fn is_locked_out(nauth: &Nauth, email: &str) {
    nauth.try_login(email, PASSWORD).await.expect_error(429, "RATE_LIMIT_LOGIN");
}

#[tokio::test]
async fn failed_logins_of_one_user_are_forgotten_beside_a_running_server() {
    let nauth = Nauth::start(config()).await;
    nauth.signup(ADA).await;
    nauth.signup(BOB).await;
    lock_out(&nauth, ADA).await;
    lock_out(&nauth, BOB).await;

    nauth.command(&UNLOCK).await.expect(0).says("may log in again").says(FORGOTTEN);

    let ada = nauth.login(ADA).await;
    is_locked_out(&nauth, BOB).await;
    let history = eventually(secs(10), async || {
        let query = "/auth/audit/history?eventTypes=LOCKOUT_TRIGGERED,LOCKOUT_CLEARED";
        let history = nauth.get_as(&ada, query).await.json();
        (history["total"] == 2).then_some(history)
    });
    let history = history.await.expect("two entries");
    assert_eq!(history["data"][0]["eventType"], "LOCKOUT_CLEARED", "{history}");
    assert_eq!(history["data"][0]["performedBy"], "operator", "{history}");
    nauth.command(&["user", "show", ADA]).await.expect(0).says("unlocked  20");

    // Nobody is let off the next guesses, and it can be said as often as one likes.
    lock_out(&nauth, ADA).await;
    nauth.command(&UNLOCK).await.expect(0).says("may log in again");
    nauth.command(&UNLOCK).await.expect(0).says("may log in again");
    nauth.login(ADA).await;

    nauth.command(&["user", "disable", ADA]).await.expect(0);
    nauth.command(&UNLOCK).await.expect(0).says("is disabled, see `nauth user enable`").says(FORGOTTEN);
    nauth.try_login(ADA, PASSWORD).await.expect_error(403, "AUTH_ACCOUNT_LOCKED");
    nauth.command(&["user", "unlock", "nobody@example.com"]).await.expect(1).says("there is no user");
}

#[tokio::test]
async fn what_an_address_has_guessed_stays_counted() {
    let per_address = json!({ "max": 3, "window": "1h", "duration": "1h" });
    let nauth = Nauth::start(config().set("lockout.ip", per_address)).await;
    nauth.signup(ADA).await;
    lock_out(&nauth, ADA).await;

    nauth.command(&UNLOCK).await.expect(0);

    is_locked_out(&nauth, ADA).await;
}

#[tokio::test]
async fn wrong_codes_of_a_second_factor_are_forgotten() {
    let nauth = Nauth::start(
        config()
            .set("mfa.totp.step", format!("{STEP}s"))
            .set("mfa.totp.window", 3)
            .set("challenge.max_attempts", 10)
            .set("signup.email_verification.attempt_limit", json!({ "per_user": 2, "per_ip": 100, "window": "1h" })),
    )
    .await;
    let mut apps = Vec::new();
    for email in [ADA, BOB] {
        let account = nauth.signup(email).await;
        let app = nauth.set_up_app(&account, STEP).await;
        let session = challenged(&nauth.try_login(email, PASSWORD).await.expect(200), "MFA_REQUIRED");
        for _ in 0..2 {
            nauth.prove(&session, "totp", &app.wrong_code()).await.expect_error(400, "VERIFY_CODE_INVALID");
        }
        app.next_step().await;
        nauth.prove(&session, "totp", &app.code()).await.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");
        apps.push((session, app));
    }

    nauth.command(&UNLOCK).await.expect(0).says(FORGOTTEN);

    let [(of_ada, ada), (of_bob, bob)] = &apps[..] else { unreachable!("two were pushed") };
    ada.next_step().await;
    Account::in_answer(&nauth.prove(of_ada, "totp", &ada.code()).await.expect(200));
    nauth.prove(of_bob, "totp", &bob.code()).await.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");

    // Whoever reads somebody's mail has no more tries at the second factor for it.
    nauth.send(&Request::post("/auth/forgot-password").json(&json!({ "identifier": BOB }))).await.expect(200);
    let confirm = json!({ "identifier": BOB, "code": nauth.code_for(BOB).await, "newPassword": NEXT });
    nauth.send(&Request::post("/auth/forgot-password/confirm").json(&confirm)).await.expect(200);
    let session = challenged(&nauth.try_login(BOB, NEXT).await.expect(200), "MFA_REQUIRED");
    bob.next_step().await;
    nauth.prove(&session, "totp", &bob.code()).await.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn a_block_of_unusual_logins_ends_and_what_led_to_it_weighs_nothing() {
    let nauth = Nauth::start(
        config()
            .set("mfa.enforcement", "adaptive")
            .set("mfa.adaptive.triggers", vec!["suspicious_activity"])
            .set("mfa.adaptive.weights.suspicious_activity", 60)
            .set("mfa.adaptive.high.action", "block_signin")
            .set("mfa.adaptive.block", json!({ "scope": "user", "duration": "3650d" }))
            .set("lockout.account_ip", json!({ "max": 100, "window": "1h", "duration": "1h" })),
    )
    .await;
    for email in [ADA, BOB] {
        let account = nauth.signup(email).await;
        for _ in 0..4 {
            nauth.try_login(email, "a wrong guess").await.expect(401);
        }
        // Entries of what changes nothing are written a little later.
        let written = eventually(secs(10), async || {
            let failed = nauth.get_as(&account, "/auth/audit/history?eventTypes=LOGIN_FAILED").await.json();
            (failed["total"] == 4).then_some(())
        });
        written.await.expect("four entries");
        nauth.try_login(email, PASSWORD).await.expect_error(400, "SIGNIN_BLOCKED_HIGH_RISK");
    }

    nauth.command(&UNLOCK).await.expect(0).says(FORGOTTEN);

    nauth.login(ADA).await;
    nauth.try_login(BOB, PASSWORD).await.expect_error(400, "SIGNIN_BLOCKED_HIGH_RISK");
}

#[tokio::test]
async fn whoever_is_locked_out_of_several_nodes_is_let_into_all_of_them() {
    for (kind, redis) in [(Kind::Postgres, false), (Kind::MariaDb, false), (Kind::Postgres, true)] {
        let Some(database) = Database::on(kind) else { continue };
        let redis = if redis { RedisServer::start() } else { None };
        let config = database
            .of(config())
            .set("server.instances", "multi")
            .set("server.public_url", "http://localhost")
            .set("secrets.master_key", STANDARD.encode([7; 32]));
        let config = match &redis {
            Some(redis) => config.set("redis.url", redis.url()),
            None => config,
        };
        let (one, other) = tokio::join!(Nauth::start(config.clone()), Nauth::start(config));
        one.signup(ADA).await;
        one.signup(BOB).await;
        lock_out(&one, ADA).await;
        lock_out(&other, BOB).await;
        is_locked_out(&other, ADA).await;

        one.command(&UNLOCK).await.expect(0).says("may log in again");

        other.login(ADA).await;
        one.login(ADA).await;
        is_locked_out(&one, BOB).await;
    }
}
