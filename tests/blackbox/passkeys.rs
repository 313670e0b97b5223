//! Passkeys: set up, asked for, forged, cloned, and enough to log in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{
    Account, Answer, Authenticator, Chromium, Config, Echo, Nauth, PASSWORD, Request, challenged, claims_of,
};

fn passwordless() -> Config {
    Config::whoami().set("mfa.passkey.passwordless", true)
}

/// What `setup-data` asks of an authenticator.
async fn asked_to_create(nauth: &Nauth, account: &Account) -> Value {
    let wish = json!({ "methodName": "passkey" });
    nauth.post_as(account, "/auth/mfa/setup-data", &wish).await.expect(200).json()["setupData"].clone()
}

/// Sets a passkey up.
async fn set_up(nauth: &Nauth, account: &Account, authenticator: &mut Authenticator) -> i64 {
    let setup = asked_to_create(nauth, account).await;
    let answer = finish(nauth, account, &authenticator.create(&setup["options"])).await.expect(200);
    answer.json()["deviceId"].as_i64().unwrap()
}

async fn finish(nauth: &Nauth, account: &Account, credential: &Value) -> Answer {
    let body = json!({ "methodName": "passkey", "setupData": { "credential": credential } });
    nauth.post_as(account, "/auth/mfa/verify-setup", &body).await
}

/// Logs in with the password and answers the challenge for a factor.
async fn ask(nauth: &Nauth, email: &str) -> String {
    challenged(&nauth.try_login(email, PASSWORD).await.expect(200), "MFA_REQUIRED")
}

/// What a challenge asks of an authenticator.
async fn asked_to_prove(nauth: &Nauth, session: &str) -> Value {
    let body = json!({ "session": session, "method": "passkey" });
    let answer = nauth.send(&Request::post("/auth/challenge/challenge-data").json(&body)).await.expect(200);
    answer.json()["challengeData"]["options"].clone()
}

async fn prove(nauth: &Nauth, session: &str, credential: &Value) -> Answer {
    nauth.answer(session, "MFA_REQUIRED", json!({ "method": "passkey", "credential": credential })).await
}

/// Asks what a login needs: the options and the session.
async fn question(nauth: &Nauth) -> (Value, String) {
    let answer = nauth.send(&Request::post("/auth/passkey/options").json(&json!({}))).await.expect(200).json();
    (answer["options"].clone(), answer["session"].as_str().unwrap().to_owned())
}

async fn login(nauth: &Nauth, session: &str, credential: &Value) -> Answer {
    let body = json!({ "session": session, "credential": credential });
    nauth.send(&Request::post("/auth/passkey/login").json(&body)).await
}

#[tokio::test]
async fn a_passkey_is_set_up_and_asked_for_and_its_answers_are_good_once() {
    let nauth = Nauth::start(Config::whoami()).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut authenticator = Authenticator::at(&nauth);
    let setup = asked_to_create(&nauth, &ada).await;
    assert_eq!(setup["challenge"], setup["options"]["challenge"], "older clients look for it right here");
    assert_eq!(setup["options"]["rp"]["id"], "localhost");
    assert_eq!(setup["options"]["authenticatorSelection"]["userVerification"], "preferred");
    let credential = authenticator.create(&setup["options"]);
    let nested = json!({ "credential": { "credential": credential, "deviceName": "Ada's key" },
        "expectedChallenge": setup["options"]["challenge"] });
    let body = json!({ "methodName": "passkey", "setupData": nested });
    nauth.post_as(&ada, "/auth/mfa/verify-setup", &body).await.expect(200);
    let again = nauth.post_as(&ada, "/auth/mfa/verify-setup", &body).await.expect_error(400, "CHALLENGE_INVALID");
    assert_eq!(again.json()["message"], "No passkey challenge found in session");

    let devices = nauth.get_as(&ada, "/auth/mfa/devices").await.expect(200).json();
    assert_eq!(devices["devices"][0]["name"], "Ada's key");
    let next = asked_to_create(&nauth, &ada).await;
    assert_eq!(next["options"]["excludeCredentials"][0]["id"], credential["id"]);
    let raised = nauth.refresh(&ada).await;
    assert_eq!(claims_of(&raised.access_token)["acr"], "aal2");

    let session = ask(&nauth, "ada@example.com").await;
    let early = authenticator.get(&json!({ "rpId": "localhost", "challenge": "AAAA", "allowCredentials": [] }));
    prove(&nauth, &session, &early).await.expect_error(400, "CHALLENGE_INVALID");
    let options = asked_to_prove(&nauth, &session).await;
    assert_eq!(options["allowCredentials"][0]["transports"], json!(["internal"]));
    let proof = authenticator.get(&options);
    let answer = prove(&nauth, &session, &proof).await.expect(200);
    let claims = claims_of(&Account::in_answer(&answer).access_token);
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("aal2"), &json!(["pwd", "pop", "mfa"])));

    let other = ask(&nauth, "ada@example.com").await;
    prove(&nauth, &other, &proof).await.expect_error(400, "CHALLENGE_INVALID");
    let asked = asked_to_prove(&nauth, &other).await;
    prove(&nauth, &other, &proof).await.expect_error(400, "CHALLENGE_INVALID");
    let fresh = authenticator.get(&asked);
    let both = join_all([prove(&nauth, &other, &fresh), prove(&nauth, &other, &fresh)]).await;
    assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1, "{both:?}");
}

#[tokio::test]
async fn a_passkey_that_is_demanded_stands_between_password_and_tokens() {
    let config = Config::whoami().without_verification();
    let config =
        config.set("mfa.enforcement", "required").set("mfa.grace", "0s").set("mfa.methods", json!(["passkey"]));
    let nauth = Nauth::start(config).await;
    let session = challenged(&nauth.try_signup("ada@example.com", PASSWORD).await.expect(201), "MFA_SETUP_REQUIRED");
    let body = json!({ "session": session, "method": "passkey" });
    let setup = nauth.send(&Request::post("/auth/challenge/setup-data").json(&body)).await.expect(200).json();
    let mut authenticator = Authenticator::at(&nauth);
    let credential = authenticator.create(&setup["setupData"]["options"]);

    let flat =
        json!({ "method": "passkey", "setupData": { "credential": credential, "expectedChallenge": "whatever" } });
    let answer = nauth.answer(&session, "MFA_SETUP_REQUIRED", flat).await.expect(200);

    assert_eq!(claims_of(&Account::in_answer(&answer).access_token)["acr"], "aal2");
}

#[tokio::test]
async fn an_answer_to_something_else_is_refused_and_counts() {
    let nauth = Nauth::start(Config::whoami().set("challenge.max_attempts", 20)).await;
    let (ada, eve) = (nauth.signup("ada@example.com").await, nauth.signup("eve@example.com").await);
    let (mut hers, mut eves) = (Authenticator::at(&nauth), Authenticator::at(&nauth));
    set_up(&nauth, &ada, &mut hers).await;
    let own = nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": "totp" })).await;
    own.expect(200);
    set_up(&nauth, &eve, &mut eves).await;
    let session = ask(&nauth, "ada@example.com").await;
    let refused = async |credential: Value, why: &str| {
        let answer = prove(&nauth, &session, &credential).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "VERIFY_CODE_INVALID"), "{why}: {answer}");
    };

    let options = asked_to_prove(&nauth, &session).await;
    refused(eves.get(&options), "another user's passkey").await;
    let options = asked_to_prove(&nauth, &session).await;
    let mut forged = hers.get(&options);
    forged["response"]["signature"] = eves.get(&options)["response"]["signature"].clone();
    refused(forged, "another key's signature").await;
    let options = asked_to_prove(&nauth, &session).await;
    hers.origin = "https://evil.example".to_owned();
    refused(hers.get(&options), "another origin").await;
    hers.origin = nauth.origin().replace("localhost", "other.localhost");
    let options = asked_to_prove(&nauth, &session).await;
    refused(hers.get(&options), "an origin below ours").await;
    hers.origin = nauth.origin();
    let options = asked_to_prove(&nauth, &session).await;
    hers.rp_id = Some("example.com".to_owned());
    refused(hers.get(&options), "another site's passkey").await;
    hers.rp_id = None;
    let options = asked_to_prove(&nauth, &session).await;
    hers.verifies = false;
    refused(hers.get(&options), "no longer verified").await;
    hers.verifies = true;
    let eve_session = ask(&nauth, "eve@example.com").await;
    let foreign = asked_to_prove(&nauth, &eve_session).await;
    asked_to_prove(&nauth, &session).await;
    refused(hers.get(&foreign), "the challenge put to somebody else").await;
    for _ in 0..2 {
        asked_to_prove(&nauth, &session).await;
        refused(json!({ "id": 7 }), "no credential at all").await;
    }
    let older = asked_to_prove(&nauth, &session).await;
    asked_to_prove(&nauth, &session).await;
    // Another tab has asked anew: that is no guess, and does not count.
    for _ in 0..3 {
        prove(&nauth, &session, &hers.get(&older)).await.expect_error(400, "CHALLENGE_INVALID");
    }

    let options = asked_to_prove(&nauth, &session).await;
    let wrong_device = json!({ "method": "passkey", "credential": hers.get(&options), "deviceId": 1 });
    nauth.answer(&session, "MFA_REQUIRED", wrong_device).await.expect_error(400, "VERIFY_CODE_INVALID");
    let options = asked_to_prove(&nauth, &session).await;
    let answer = prove(&nauth, &session, &hers.get(&options)).await;
    answer.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn what_is_registered_must_be_what_was_asked_for() {
    let nauth = Nauth::start(Config::whoami().set("mfa.passkey.user_verification", "required")).await;
    let (ada, eve) = (nauth.signup("ada@example.com").await, nauth.signup("eve@example.com").await);
    let mut authenticator = Authenticator::at(&nauth);
    let refused = async |credential: Value, why: &str| {
        let answer = finish(&nauth, &ada, &credential).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "VERIFY_CODE_INVALID"), "{why}: {answer}");
    };

    let setup = asked_to_create(&nauth, &ada).await;
    authenticator.verifies = false;
    refused(authenticator.create(&setup["options"]), "not verified").await;
    authenticator.verifies = true;
    let setup = asked_to_create(&nauth, &ada).await;
    authenticator.origin = "https://evil.example".to_owned();
    refused(authenticator.create(&setup["options"]), "another origin").await;
    authenticator.origin = nauth.origin();
    let setup = asked_to_create(&nauth, &ada).await;
    authenticator.rp_id = Some("example.com".to_owned());
    refused(authenticator.create(&setup["options"]), "another site").await;
    authenticator.rp_id = None;
    let foreign = asked_to_create(&nauth, &eve).await;
    asked_to_create(&nauth, &ada).await;
    refused(authenticator.create(&foreign["options"]), "the challenge put to somebody else").await;

    let setup = asked_to_create(&nauth, &eve).await;
    let taken = authenticator.create(&setup["options"]);
    finish(&nauth, &eve, &taken).await.expect(200);
    let setup = asked_to_create(&nauth, &ada).await;
    authenticator.next_id = Some(URL_SAFE_NO_PAD.decode(taken["id"].as_str().unwrap()).unwrap());
    finish(&nauth, &ada, &authenticator.create(&setup["options"])).await.expect_error(400, "VALIDATION_FAILED");
    assert_eq!(nauth.get_as(&ada, "/auth/mfa/devices").await.json()["devices"], json!([]));
}

#[tokio::test]
async fn a_counter_that_goes_back_is_a_copy() {
    let nauth = Nauth::start(Config::whoami()).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut authenticator = Authenticator::at(&nauth);
    authenticator.counter = Some(7);
    set_up(&nauth, &ada, &mut authenticator).await;
    let session = ask(&nauth, "ada@example.com").await;
    authenticator.counter = Some(9);
    let options = asked_to_prove(&nauth, &session).await;
    prove(&nauth, &session, &authenticator.get(&options)).await.expect(200);

    let session = ask(&nauth, "ada@example.com").await;
    for copied in [Some(9), Some(8), None] {
        authenticator.counter = copied;
        let options = asked_to_prove(&nauth, &session).await;
        prove(&nauth, &session, &authenticator.get(&options)).await.expect_error(400, "VERIFY_CODE_INVALID");
    }
    nauth.writes("a passkey's counter went back").await;
    let told = nauth.get_as(&ada, "/auth/audit/history").await.expect(200).text();
    assert!(told.contains("SUSPICIOUS_ACTIVITY") && told.contains("passkey_cloned"), "{told}");

    let session = ask(&nauth, "ada@example.com").await;
    authenticator.counter = Some(10);
    let options = asked_to_prove(&nauth, &session).await;
    prove(&nauth, &session, &authenticator.get(&options)).await.expect(200);
}

#[tokio::test]
async fn a_passkey_raises_a_session_and_is_gone_when_it_is_removed() {
    let nauth = Nauth::start(Config::whoami()).await;
    let ada = nauth.signup("ada@example.com").await;
    let none = json!({ "method": "passkey" });
    let none = nauth.post_as(&ada, "/auth/mfa/challenge-data", &none).await.expect_error(404, "RESOURCE_NOT_FOUND");
    assert_eq!(none.json()["details"]["deviceType"], "passkey");
    let mut authenticator = Authenticator::at(&nauth);
    let id = set_up(&nauth, &ada, &mut authenticator).await;
    let asked = async || {
        let body = json!({ "method": "passkey" });
        let answer = nauth.post_as(&ada, "/auth/mfa/challenge-data", &body).await;
        (answer.status == 200).then(|| answer.json()["challengeData"]["options"].clone())
    };
    let proof = json!({ "method": "passkey", "credential": authenticator.get(&asked().await.unwrap()) });
    let raised = nauth.post_as(&ada, "/auth/reauthenticate", &proof).await.expect(200).json();
    let claims = claims_of(raised["accessToken"].as_str().unwrap());
    assert_eq!(claims["acr"], "aal2");
    nauth.post_as(&ada, "/auth/reauthenticate", &proof).await.expect_error(400, "CHALLENGE_INVALID");

    let late = authenticator.get(&asked().await.unwrap());
    nauth.send(&Request::new("DELETE", &format!("/auth/mfa/devices/{id}")).bearer(&ada.access_token)).await.expect(200);
    let late = json!({ "method": "passkey", "credential": late });
    nauth.post_as(&ada, "/auth/reauthenticate", &late).await.expect_error(400, "VERIFY_CODE_INVALID");
    assert!(asked().await.is_none());
}

#[tokio::test]
async fn a_passkey_alone_is_a_login_with_two_factors() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut authenticator = Authenticator::at(&nauth);
    let setup = asked_to_create(&nauth, &ada).await;
    assert_eq!(setup["options"]["authenticatorSelection"]["residentKey"], "preferred");
    finish(&nauth, &ada, &authenticator.create(&setup["options"])).await.expect(200);

    let (options, session) = question(&nauth).await;
    assert_eq!((&options["allowCredentials"], &options["userVerification"]), (&json!([]), &json!("required")));
    let credential = authenticator.get(&options);
    let answer = login(&nauth, &session, &credential).await.expect(200);
    let inside = Account::in_answer(&answer);
    let claims = claims_of(&inside.access_token);
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("aal2"), &json!(["pop", "user"])));
    assert_eq!((&inside.sub, &answer.json()["authMethod"]), (&ada.sub, &json!("passkey")));
    login(&nauth, &session, &credential).await.expect_error(400, "CHALLENGE_INVALID");
    let logins =
        nauth.metric("nauth_auth_events_total", &["event=\"login\"", "method=\"passkey\"", "result=\"success\""]);
    assert!((logins.await - 1.0).abs() < f64::EPSILON);

    let (options, session) = question(&nauth).await;
    let credential = authenticator.get(&options);
    let both = join_all([login(&nauth, &session, &credential), login(&nauth, &session, &credential)]).await;
    assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1, "{both:?}");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_passkey_login_is_answered_alike() {
    let nauth = Nauth::start(passwordless().set("lockout.enabled", false)).await;
    let (ada, eve) = (nauth.signup("ada@example.com").await, nauth.signup("eve@example.com").await);
    let (mut hers, mut eves) = (Authenticator::at(&nauth), Authenticator::at(&nauth));
    set_up(&nauth, &ada, &mut hers).await;
    set_up(&nauth, &eve, &mut eves).await;
    let refused = async |session: &str, credential: Value, why: &str| {
        let answer = login(&nauth, session, &credential).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "AUTH_INVALID_CREDENTIALS"), "{why}: {answer}");
        let mut body = answer.json();
        body["timestamp"].take();
        body.to_string()
    };

    let mut answers = Vec::new();
    let (options, session) = question(&nauth).await;
    let mut unknown = hers.get(&options);
    unknown["rawId"] = json!("AAAA");
    answers.push(refused(&session, unknown, "an unknown passkey").await);
    let (options, session) = question(&nauth).await;
    let mut forged = hers.get(&options);
    forged["response"]["signature"] = eves.get(&options)["response"]["signature"].clone();
    answers.push(refused(&session, forged, "another key's signature").await);
    let (options, session) = question(&nauth).await;
    let mut other = hers.get(&options);
    other["response"]["userHandle"] = eves.get(&options)["response"]["userHandle"].clone();
    answers.push(refused(&session, other, "another user's name").await);
    let (options, session) = question(&nauth).await;
    let mut nobody = hers.get(&options);
    nobody["response"].as_object_mut().unwrap().remove("userHandle");
    answers.push(refused(&session, nobody, "nobody's name").await);
    let (options, session) = question(&nauth).await;
    hers.verifies = false;
    answers.push(refused(&session, hers.get(&options), "not verified").await);
    hers.verifies = true;
    let ((foreign, _), (_, session)) = (question(&nauth).await, question(&nauth).await);
    answers.push(refused(&session, hers.get(&foreign), "the answer to another question").await);
    let (_, session) = question(&nauth).await;
    answers.push(refused(&session, json!({ "id": "x" }), "no passkey at all").await);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

    let pending = ask(&nauth, "ada@example.com").await;
    let (_, session) = question(&nauth).await;
    let second_factor = asked_to_prove(&nauth, &pending).await;
    refused(&session, hers.get(&second_factor), "the answer to a challenge").await;

    nauth.command(&["user", "disable", "ada@example.com", "--reason", "left"]).await.expect(0);
    let (options, session) = question(&nauth).await;
    login(&nauth, &session, &hers.get(&options)).await.expect_error(403, "AUTH_ACCOUNT_LOCKED");
}

#[tokio::test]
async fn wrong_passkeys_lock_the_client_out_as_wrong_passwords_do() {
    let config = passwordless().set("lockout.account_ip", json!({ "max": 3, "window": "15m", "duration": "15m" }));
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut hers = Authenticator::at(&nauth);
    set_up(&nauth, &ada, &mut hers).await;
    for _ in 0..3 {
        let (options, session) = question(&nauth).await;
        let mut forged = hers.get(&options);
        forged["response"]["signature"] = json!("AAAA");
        login(&nauth, &session, &forged).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    }
    let (options, session) = question(&nauth).await;
    login(&nauth, &session, &hers.get(&options)).await.expect_error(429, "RATE_LIMIT_LOGIN");
}

#[tokio::test]
async fn what_else_stands_before_a_session_stands_before_a_passkey_too() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut authenticator = Authenticator::at(&nauth);
    set_up(&nauth, &ada, &mut authenticator).await;
    let set = ["user", "set-password", "ada@example.com", "--must-change"];
    nauth.command_reading(&set, "another long walk\n").await.expect(0);

    let (options, session) = question(&nauth).await;
    let answer = login(&nauth, &session, &authenticator.get(&options)).await.expect(200);
    let change = challenged(&answer, "FORCE_CHANGE_PASSWORD");
    // Whoever knows only the password does not come by what the passkey has proven.
    let by_password = nauth.try_login("ada@example.com", "another long walk").await.expect(200);
    assert_ne!(challenged(&by_password, "FORCE_CHANGE_PASSWORD"), change);
    let new = json!({ "newPassword": "yet another long walk" });
    let answer = nauth.answer(&change, "FORCE_CHANGE_PASSWORD", new).await.expect(200);

    let claims = claims_of(&Account::in_answer(&answer).access_token);
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("aal2"), &json!(["pop", "user"])));
}

#[tokio::test]
async fn a_key_that_never_verifies_is_a_second_factor_and_no_login() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut authenticator = Authenticator::at(&nauth);
    authenticator.verifies = false;
    set_up(&nauth, &ada, &mut authenticator).await;

    let session = ask(&nauth, "ada@example.com").await;
    let options = asked_to_prove(&nauth, &session).await;
    prove(&nauth, &session, &authenticator.get(&options)).await.expect(200);
    let (options, session) = question(&nauth).await;
    login(&nauth, &session, &authenticator.get(&options)).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn another_site_logs_nobody_in() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut authenticator = Authenticator::at(&nauth);
    set_up(&nauth, &ada, &mut authenticator).await;
    let (options, session) = question(&nauth).await;
    let body = json!({ "session": session, "credential": authenticator.get(&options) });
    let from = |origin: &str| Request::post("/auth/passkey/login").header("Origin", origin).json(&body);

    let refused = nauth.send(&from("https://evil.example")).await.expect_error(403, "FORBIDDEN");
    assert_eq!(refused.json()["details"]["reason"], "cross_site");

    let inside = nauth.send(&from(&nauth.origin())).await.expect(200);
    assert!(inside.cookie("nauth_access_token").is_some(), "{inside}");
    assert!(inside.json().get("accessToken").is_none(), "{inside}");
}

#[tokio::test]
async fn an_address_of_numbers_starts_without_passkeys_and_says_so() {
    let nauth =
        Nauth::start(Config::whoami().without_verification().set("server.public_url", "http://127.0.0.1:1")).await;
    nauth.command(&["check"]).await.expect(0).says("passkeys are left out");
    let ada = nauth.signup("ada@example.com").await;
    let methods = nauth.get_as(&ada, "/auth/mfa/available-methods").await.expect(200).json();
    assert_eq!(methods["availableMethods"], json!(["totp", "email"]));
    let wish = json!({ "methodName": "passkey" });
    nauth.post_as(&ada, "/auth/mfa/setup-data", &wish).await.expect_error(400, "VALIDATION_FAILED");
}

#[tokio::test]
async fn without_the_key_there_are_no_routes_for_it() {
    let nauth = Nauth::start(Config::whoami()).await;
    nauth.send(&Request::post("/auth/passkey/options").json(&json!({}))).await.expect_error(404, "RESOURCE_NOT_FOUND");
    let body = json!({ "session": "0b6f7c1a-9f7d-4c53-8f0e-3f1d6d8f5a11", "credential": {} });
    nauth.send(&Request::post("/auth/passkey/login").json(&body)).await.expect_error(404, "RESOURCE_NOT_FOUND");
}

/// What a page needs to speak to nauth: `post(path, body)`, with the token that shows the page is ours.
const PAGE: &str = r#"
    const post = async (path, body) => {
        const token = document.cookie.match(/nauth_csrf_token=([^;]*)/)?.[1] ?? "";
        const headers = { "Content-Type": "application/json", "X-CSRF-Token": decodeURIComponent(token) };
        const answer = await fetch("/auth" + path, { method: "POST", headers, body: JSON.stringify(body) });
        const said = await answer.json();
        if (!answer.ok) throw new Error(path + ": " + JSON.stringify(said));
        return said;
    };
"#;

#[tokio::test]
async fn a_real_browser_sets_a_passkey_up_and_logs_in_with_it() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification().set("mfa.passkey.passwordless", true);
    let nauth = Nauth::start(config.route("path = \"/page\"\naccess = \"public\"")).await;
    let mut browser = Chromium::open(&format!("{}/page", nauth.origin())).await;

    let set_up = r#"
        await post("/signup", { email: "ada@example.com", password: "a long walk by the sea" });
        const { setupData } = await post("/mfa/setup-data", { methodName: "passkey" });
        const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(setupData.options);
        const credential = (await navigator.credentials.create({ publicKey })).toJSON();
        const done = await post("/mfa/verify-setup", { methodName: "passkey", setupData: { credential } });
        await post("/logout", {});
        return done;
    "#;
    let done = browser.run(&format!("{PAGE}{set_up}")).await;
    assert!(done["deviceId"].is_i64(), "{done}");
    let second_factor = r#"
        const { session } = await post("/login", { identifier: "ada@example.com", password: "a long walk by the sea" });
        const { challengeData } = await post("/challenge/challenge-data", { session, method: "passkey" });
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(challengeData.options);
        const credential = (await navigator.credentials.get({ publicKey })).toJSON();
        const inside = await post("/respond-challenge", { session, type: "MFA_REQUIRED", method: "passkey", credential });
        await post("/logout", {});
        return inside.user.email;
    "#;
    assert_eq!(browser.run(&format!("{PAGE}{second_factor}")).await, "ada@example.com");
    let alone = r#"
        const { session, options } = await post("/passkey/options", {});
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
        const credential = (await navigator.credentials.get({ publicKey })).toJSON();
        await post("/passkey/login", { session, credential });
        return (await (await fetch("/auth/profile")).json()).email;
    "#;
    assert_eq!(browser.run(&format!("{PAGE}{alone}")).await, "ada@example.com");
}
