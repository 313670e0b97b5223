//! Logins that are unusual: what is noticed, what follows, and what does not.

use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::redis_server::RedisServer;
use crate::support::{
    Account, Answer, App, Config, Nauth, PASSWORD, Place, Receiver, Request, challenged, claims_of, eventually, mmdb,
    secs,
};

const ADA: &str = "ada@example.com";
const HOME: &str = "192.0.2.1";
const AWAY: &str = "192.0.2.2";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const ZURICH: Place = Place { country: "CH", city: Some("Zürich"), point: Some((47.3667, 8.55)) };
const TOKYO: Place = Place { country: "JP", city: Some("Tokyo"), point: Some((35.6895, 139.6917)) };
const NO_CITY: Place = Place { country: "CH", city: None, point: Some((47.0, 8.0)) };
const STEP: u64 = 2;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NO_PLACES: [&str; 4] = ["new_device", "new_ip", "suspicious_activity", "recent_password_reset"];

/// Where habits count, and places do not.
fn config() -> Config {
    Config::whoami()
        .without_verification()
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .set("mfa.enforcement", "adaptive")
        .set("mfa.adaptive.triggers", NO_PLACES.to_vec())
        .set("mfa.totp.step", format!("{STEP}s"))
        .set("mfa.totp.window", 3)
        .set("rate_limit.login", json!({ "max": 0, "window": "1m" }))
}

fn with_places(directory: &Path) -> Config {
    let places = [(HOME, ZURICH), (AWAY, TOKYO), ("192.0.2.3", NO_CITY)];
    std::fs::write(directory.join("GeoLite2-City.mmdb"), mmdb(&places, 1)).unwrap();
    config()
        .set("mfa.adaptive.triggers", vec!["new_country", "impossible_travel"])
        .set("geoip.enabled", true)
        .set("geoip.dir", directory.to_str().unwrap())
}

fn request(path: &str, ip: &str, agent: &str, body: &Value) -> Request {
    Request::post(path).header("X-Forwarded-For", ip).header("User-Agent", agent).json(body)
}

async fn log_in(nauth: &Nauth, ip: &str, agent: &str) -> Answer {
    log_in_with(nauth, PASSWORD, ip, agent).await
}

async fn log_in_with(nauth: &Nauth, password: &str, ip: &str, agent: &str) -> Answer {
    nauth.send(&request("/auth/login", ip, agent, &json!({ "identifier": ADA, "password": password }))).await
}

/// Ada signs up at home, with Firefox.
async fn sign_up(nauth: &Nauth) -> Account {
    let body = json!({ "email": ADA, "password": PASSWORD });
    Account::in_answer(&nauth.send(&request("/auth/signup", HOME, FIREFOX, &body)).await.expect(201))
}

/// The same, with an app as second factor.
async fn enrolled(config: Config) -> (Nauth, App) {
    let nauth = Nauth::start(config).await;
    let ada = sign_up(&nauth).await;
    let app = nauth.set_up_app(&ada, STEP).await;
    (nauth, app)
}

#[track_caller]
fn is_in(answer: &Answer) {
    assert!(answer.json().get("accessToken").is_some(), "{answer}");
}

#[tokio::test]
async fn whoever_comes_as_always_is_not_asked_and_whoever_does_not_is() {
    let (nauth, app) = enrolled(config()).await;

    is_in(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
    is_in(&log_in(&nauth, AWAY, FIREFOX).await.expect(200));
    let session = challenged(&log_in(&nauth, HOME, "curl/8").await.expect(200), "MFA_REQUIRED");
    app.next_step().await;
    let proven = nauth.prove(&session, "totp", &app.code()).await.expect(200);
    assert_eq!(claims_of(&Account::in_answer(&proven).access_token)["acr"], "aal2");
    nauth.writes("A login to your account looked unusual (risk: medium): new device").await;

    let ada = Account::in_answer(&proven);
    let trail = nauth.get_as(&ada, "/auth/audit/history").await.expect(200).json();
    let of = |kind: &str| trail["data"].as_array().unwrap().iter().find(|entry| entry["eventType"] == kind).cloned();
    for kind in ["ADAPTIVE_MFA_RISK_ASSESSED", "ADAPTIVE_MFA_TRIGGERED"] {
        let entry = of(kind).unwrap_or_else(|| panic!("no {kind}: {trail}"));
        assert_eq!((&entry["riskFactor"], &entry["riskFactors"]), (&json!(25), &json!(["new_device"])));
        assert_eq!((&entry["adaptiveMfaTriggered"], &entry["eventStatus"]), (&json!(true), &json!("INFO")));
    }
}

#[tokio::test]
async fn a_trusted_device_is_no_new_one_whatever_it_calls_itself() {
    let (nauth, app) = enrolled(config()).await;
    let home = Account::in_answer(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
    // A usual login has shown no factor, and may trust nothing.
    nauth.post_as(&home, "/auth/trust-device", &json!({})).await.expect_error(403, "FORBIDDEN");
    app.next_step().await;
    let proof = json!({ "method": "totp", "code": app.code() });
    nauth.post_as(&home, "/auth/reauthenticate", &proof).await.expect(200);
    let trusted = nauth.post_as(&home, "/auth/trust-device", &json!({})).await.expect(200).json();
    let token = trusted["deviceToken"].as_str().unwrap();
    let body = json!({ "identifier": ADA, "password": PASSWORD });
    let other = request("/auth/login", HOME, "curl/8", &body);
    is_in(&nauth.send(&other.header("X-Device-Token", token)).await.expect(200));
    challenged(&log_in(&nauth, HOME, "curl/8.1").await.expect(200), "MFA_REQUIRED");
}

#[tokio::test]
async fn failed_logins_and_a_reset_password_are_unusual() {
    let (nauth, _) = enrolled(config()).await;
    for _ in 0..3 {
        log_in_with(&nauth, "not her password", HOME, FIREFOX).await.expect(401);
    }
    // Failed logins reach the audit trail a moment later.
    let asked = eventually(secs(5), async || {
        (log_in(&nauth, HOME, FIREFOX).await.expect(200).json()["challengeName"] == "MFA_REQUIRED").then_some(())
    });
    assert!(asked.await.is_some(), "three failed logins are suspicious");

    let (nauth, _) = enrolled(config().set("mfa.adaptive.triggers", vec!["recent_password_reset"])).await;
    is_in(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
    let new = "another walk by the sea";
    nauth.command_reading(&["user", "set-password", ADA], new).await.expect(0);
    challenged(&log_in_with(&nauth, new, HOME, FIREFOX).await.expect(200), "MFA_REQUIRED");
}

#[tokio::test]
async fn places_count_by_country_by_distance_and_by_what_is_not_known() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let webhook = format!(
        "[[webhooks]]\nname = \"risk\"\nurl = \"{}\"\nevents = [\"risk.detected\"]\nsecret = \"{SECRET}\"\n\
         allow_private = true\n",
        receiver.url("/risk"),
    );
    let (nauth, _) = enrolled(with_places(directory.path()).table(&webhook)).await;

    is_in(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
    is_in(&log_in(&nauth, "192.0.2.77", FIREFOX).await.expect(200));
    challenged(&log_in(&nauth, AWAY, FIREFOX).await.expect(200), "MFA_REQUIRED");
    let told = receiver.wait_for(|posted| posted.json()["type"] == "risk.detected").await.json();
    assert_eq!(told["data"]["risk_factors"], json!(["new_country", "impossible_travel"]));
    assert_eq!((&told["data"]["risk_score"], &told["data"]["risk_level"]), (&json!(65), &json!("high")));
    assert_eq!(told["data"]["action"], "require_mfa");
    nauth.writes(&format!("From: {AWAY} (Tokyo, JP)")).await;
    nauth.writes("With: Firefox on Linux").await;

    // In the same country, without a city: as far as is known, it is too far in no time.
    challenged(&log_in(&nauth, "192.0.2.3", FIREFOX).await.expect(200), "MFA_REQUIRED");
    let told = receiver.wait_for(|posted| posted.json()["data"]["risk_factors"][1] == "incomplete_location").await;
    assert_eq!(told.json()["data"]["risk_factors"][0], "impossible_travel");
}

#[tokio::test]
async fn a_block_ends_after_its_time_and_concerns_whom_it_says() {
    join_all([("ip", true), ("user", false), ("device", false)].map(blocks)).await;
}

async fn blocks((scope, others_pass): (&str, bool)) {
    let config = config()
        .set("mfa.adaptive.weights.new_device", 60)
        .set("mfa.adaptive.high.action", "block_signin")
        .set("mfa.adaptive.block.scope", scope)
        .set("mfa.adaptive.block.duration", "8s")
        .set("mfa.adaptive.block.message", "not like this");
    let (nauth, _) = enrolled(config).await;
    let refused = log_in(&nauth, HOME, "curl/8").await.expect_error(400, "SIGNIN_BLOCKED_HIGH_RISK");
    assert_eq!(refused.json()["message"], "Not like this");
    assert!(refused.json()["details"]["expiresAt"].is_string(), "{refused}");

    log_in(&nauth, HOME, FIREFOX).await.expect_error(400, "SIGNIN_BLOCKED_HIGH_RISK");
    let elsewhere = log_in(&nauth, AWAY, FIREFOX).await;
    assert_eq!(elsewhere.status == 200, others_pass, "{scope}: {elsewhere}");
    log_in_with(&nauth, "not her password", HOME, FIREFOX).await.expect(401);

    let passed = eventually(secs(20), async || (log_in(&nauth, HOME, FIREFOX).await.status == 200).then_some(()));
    assert!(passed.await.is_some(), "{scope}: a block ends, and blocked logins are no trouble of their own");
}

#[tokio::test]
async fn each_level_does_what_it_says() {
    let cases = [
        (20, "block_signin", "block_signin", "in"),
        (21, "require_mfa", "block_signin", "asked"),
        (50, "block_signin", "allow", "refused"),
        (51, "allow", "block_signin", "refused"),
        (51, "block_signin", "require_mfa", "asked"),
        (100, "block_signin", "allow", "in"),
    ];
    join_all(cases.map(async |(weight, medium, high, expected)| {
        let config = config()
            .set("mfa.adaptive.weights.new_device", weight)
            .set("mfa.adaptive.medium.action", medium)
            .set("mfa.adaptive.high.action", high);
        let (nauth, _) = enrolled(config).await;
        let answer = log_in(&nauth, HOME, "curl/8").await;
        assert_eq!(became(&answer), expected, "{weight} {medium} {high}: {answer}");
    }))
    .await;

    let always =
        config().set("mfa.adaptive.unenrolled_fallback", "allow").set("mfa.adaptive.low.action", "require_mfa");
    let (nauth, _) = enrolled(always).await;
    assert_eq!(became(&log_in(&nauth, HOME, FIREFOX).await), "asked");
    let nobody = Nauth::start(config().set("mfa.adaptive.low.action", "block_signin")).await;
    nobody.try_signup(ADA, PASSWORD).await.expect_error(400, "SIGNIN_BLOCKED_HIGH_RISK");
}

/// What became of a login, in one word.
fn became(answer: &Answer) -> &'static str {
    let body = answer.json();
    match answer.status {
        200 if body["challengeName"] == "MFA_REQUIRED" => "asked",
        200 if body.get("accessToken").is_some() => "in",
        400 if body["code"] == "SIGNIN_BLOCKED_HIGH_RISK" => "refused",
        _ => panic!("{answer}"),
    }
}

#[tokio::test]
async fn whoever_has_no_factor_yet_proves_to_read_mail_or_passes_or_does_not() {
    let nauth = Nauth::start(config()).await;
    sign_up(&nauth).await;
    let usual = log_in(&nauth, HOME, FIREFOX).await.expect(200).json();
    assert_eq!((&usual["riskScore"], &usual["riskLevel"]), (&json!(0), &json!("low")));
    assert_eq!(usual["mfaGracePeriod"]["enforcement"], "ADAPTIVE");
    assert_eq!(usual["gracePeriodEndsAt"], usual["mfaGracePeriod"]["endsAt"]);

    let asked = log_in(&nauth, HOME, "curl/8").await.expect(200);
    let session = challenged(&asked, "MFA_REQUIRED");
    assert_eq!(asked.json()["challengeParameters"]["availableMethods"], json!(["email"]));
    let code = nauth.code_for(ADA).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    nauth.prove(&session, "email", wrong).await.expect_error(400, "VERIFY_CODE_INVALID");
    nauth.prove(&session, "totp", &code).await.expect_error(400, "VERIFY_CODE_INVALID");
    let proven = nauth.prove(&session, "email", &code).await.expect(200);
    let claims = claims_of(&Account::in_answer(&proven).access_token);
    assert_eq!(claims["acr"], "aal1", "a stand-in is no factor: {claims}");
    nauth.prove(&session, "email", &code).await.expect_error(400, "CHALLENGE_ALREADY_COMPLETED");

    for (fallback, passes) in [("allow", true), ("deny", false)] {
        let nauth = Nauth::start(config().set("mfa.adaptive.unenrolled_fallback", fallback)).await;
        sign_up(&nauth).await;
        let answer = log_in(&nauth, HOME, "curl/8").await;
        if passes {
            assert_eq!(answer.expect(200).json()["riskScore"], 25);
        } else {
            let refused = answer.expect_error(400, "SIGNIN_BLOCKED_HIGH_RISK");
            assert!(refused.json().get("details").is_none(), "{refused}");
            is_in(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
        }
    }
}

#[tokio::test]
async fn whoever_sets_a_factor_up_is_asked_for_that_and_not_for_the_mailed_code() {
    let nauth = Nauth::start(config()).await;
    let ada = sign_up(&nauth).await;
    let session = challenged(&log_in(&nauth, HOME, "curl/8").await.expect(200), "MFA_REQUIRED");
    let code = nauth.code_for(ADA).await;
    let app = nauth.set_up_app(&ada, STEP).await;

    nauth.prove(&session, "email", &code).await.expect_error(400, "VERIFY_CODE_INVALID");
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect(200);
}

#[tokio::test]
async fn some_roles_are_always_asked_and_grace_ends_for_everybody() {
    let (nauth, _) = enrolled(config().set("mfa.require_for_roles", vec!["admin"])).await;
    is_in(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
    nauth.command(&["user", "grant-role", ADA, "admin"]).await.expect(0);
    challenged(&log_in(&nauth, HOME, FIREFOX).await.expect(200), "MFA_REQUIRED");

    let nauth = Nauth::start(config().set("mfa.grace", "0s").set("mfa.grace_skip_signup", true)).await;
    sign_up(&nauth).await;
    challenged(&log_in(&nauth, HOME, FIREFOX).await.expect(200), "MFA_SETUP_REQUIRED");
}

#[tokio::test]
async fn what_cannot_be_told_is_asked_unless_the_file_says_otherwise() {
    for (on_error, asks) in [("require_mfa", true), ("allow", false)] {
        let (nauth, _) = enrolled(config().on_a_file().set("mfa.adaptive.on_error", on_error)).await;
        is_in(&log_in(&nauth, HOME, FIREFOX).await.expect(200));
        let file = format!("sqlite://{}", nauth.data_dir().join("nauth.db").display());
        let mut beside = SqliteConnection::connect(&file).await.unwrap();
        beside.execute("UPDATE nauth_sessions SET ip = 'nowhere'").await.unwrap();

        let answer = log_in(&nauth, HOME, FIREFOX).await.expect(200);
        assert_eq!(became(&answer), if asks { "asked" } else { "in" });
        nauth.writes("nobody can tell how unusual a login is").await;
    }
}

/// Who is blocked stands there, and cannot be read.
#[tokio::test]
async fn without_its_counters_it_asks_whom_it_knows_rather_than_let_in_whom_it_may_have_blocked() {
    let Some(mut redis) = RedisServer::start() else { return };
    let config =
        config().set("redis.url", redis.url()).set("redis.timeout", "300ms").set("transient.on_error_auth", "open");
    let allowing = config.clone().set("mfa.adaptive.on_error", "allow");
    let ((asking, _), (allowing, _)) = tokio::join!(enrolled(config), enrolled(allowing));
    is_in(&log_in(&asking, HOME, FIREFOX).await.expect(200));

    redis.stop();

    assert_eq!(became(&log_in(&asking, HOME, FIREFOX).await), "asked");
    assert_eq!(became(&log_in(&allowing, HOME, FIREFOX).await), "in");
    asking.writes("nobody can tell whether a login is blocked").await;
    redis.start_again();
    let back = eventually(secs(10), async || (became(&log_in(&asking, HOME, FIREFOX).await) == "in").then_some(()));
    assert!(back.await.is_some(), "{}", asking.output());
}

#[tokio::test]
async fn triggers_that_nobody_could_see_stop_the_start() {
    let places = config().set("mfa.adaptive.triggers", vec!["new_country"]);
    Nauth::start_refused(places.clone()).await.expect(2).says("`geoip.enabled` is false");
    let directory = tempfile::tempdir().unwrap();
    let missing = places.set("geoip.enabled", true).set("geoip.dir", directory.path().to_str().unwrap());
    let refused = Nauth::start_refused(missing).await.expect(2);
    refused.says("GeoLite2-City.mmdb` is not there").says("triggers = [\"new_country\"]");
    Nauth::start_refused(config().set("audit.enabled", false)).await.expect(2).says("read from the audit trail");
}
