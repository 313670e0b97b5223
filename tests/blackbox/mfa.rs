//! Second factors: set up, asked for, attacked, taken away.

use futures_util::future::join_all;
use serde_json::json;

use super::support::{
    Account, App, Browser, Config, Echo, Form, Nauth, PASSWORD, Request, Seen, challenged, claims_of,
};

/// Seconds a code of the tests lives: no test waits half a minute for the next one.
const STEP: u64 = 2;

fn config() -> Config {
    Config::whoami().set("mfa.totp.step", format!("{STEP}s")).set("mfa.totp.window", 3)
}

/// Logs in with the password and answers the challenge for a factor.
async fn ask(nauth: &Nauth, email: &str) -> String {
    challenged(&nauth.try_login(email, PASSWORD).await.expect(200), "MFA_REQUIRED")
}

#[tokio::test]
async fn an_app_is_set_up_and_asked_for_and_its_codes_are_good_once() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    assert_eq!(claims_of(&ada.access_token)["acr"], "aal1");

    let wish = json!({ "methodName": "totp" });
    let setup = nauth.post_as(&ada, "/auth/mfa/setup-data", &wish).await.expect(200).json()["setupData"].clone();
    assert!(setup["qrCode"].as_str().unwrap().starts_with("data:image/png;base64,"), "{setup}");
    assert!(setup["otpauthUrl"].as_str().unwrap().starts_with("otpauth://totp/"), "{setup}");
    assert_eq!(setup["accountName"], "ada@example.com");
    let app = App::told(&setup, STEP);
    let wrong = json!({ "methodName": "totp", "setupData": { "secret": app.secret, "code": app.wrong_code() } });
    nauth.post_as(&ada, "/auth/mfa/verify-setup", &wrong).await.expect_error(400, "VERIFY_CODE_INVALID");
    let own = json!({ "methodName": "totp", "setupData": { "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "code": "123456" } });
    let refused = nauth.post_as(&ada, "/auth/mfa/verify-setup", &own).await.expect_error(400, "VALIDATION_FAILED");
    assert_eq!(refused.json()["details"]["field"], "secret");
    let used = app.code();
    let right = json!({ "methodName": "totp", "setupData": { "secret": app.secret, "code": used } });
    nauth.post_as(&ada, "/auth/mfa/verify-setup", &right).await.expect(200);
    nauth.post_as(&ada, "/auth/mfa/verify-setup", &right).await.expect_error(400, "VALIDATION_FAILED");

    let status = nauth.get_as(&ada, "/auth/mfa/status").await.expect(200).json();
    assert_eq!(status["enabled"], true);
    assert_eq!(status["configuredMethods"], json!(["totp"]));
    assert_eq!(status["preferredMethod"], "totp");
    assert_eq!(nauth.get_as(&ada, "/auth/profile").await.json()["mfaEnabled"], true);
    let raised = nauth.refresh(&ada).await;
    assert_eq!(claims_of(&raised.access_token)["acr"], "aal2", "who sets a factor up has shown it");

    let session = ask(&nauth, "ada@example.com").await;
    nauth.prove(&session, "totp", &used).await.expect_error(400, "VERIFY_CODE_INVALID");
    app.next_step().await;
    let code = app.code();
    let answer = nauth.prove(&session, "totp", &code).await.expect(200);
    let claims = claims_of(&Account::in_answer(&answer).access_token);
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("aal2"), &json!(["pwd", "otp", "mfa"])));
    nauth.prove(&session, "totp", &code).await.expect_error(400, "CHALLENGE_ALREADY_COMPLETED");

    let other = ask(&nauth, "ada@example.com").await;
    nauth.prove(&other, "totp", &code).await.expect_error(400, "VERIFY_CODE_INVALID");
    let again = json!({ "method": "totp", "code": code });
    nauth.post_as(&ada, "/auth/reauthenticate", &again).await.expect_error(400, "VERIFY_CODE_INVALID");
}

#[tokio::test]
async fn one_code_sent_side_by_side_lets_one_in() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let mut sessions = Vec::new();
    for n in 0..8 {
        let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
        let login = Request::post("/auth/login").header("User-Agent", &format!("client/{n}")).json(&body);
        sessions.push(challenged(&nauth.send(&login).await.expect(200), "MFA_REQUIRED"));
    }
    app.next_step().await;
    let code = app.code();

    let answers = join_all(sessions.iter().map(|session| nauth.prove(session, "totp", &code))).await;

    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{answers:?}");
}

#[tokio::test]
async fn guesses_end_at_the_users_own_limit_whatever_challenge_they_are_made_in() {
    let nauth = Nauth::start(config().set("challenge.bind", "none")).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;

    let mut refusals = Vec::new();
    for _ in 0..12 {
        let session = ask(&nauth, "ada@example.com").await;
        let answer = nauth.prove(&session, "totp", &app.wrong_code()).await;
        refusals.push(answer.json()["code"].as_str().unwrap().to_owned());
    }

    assert_eq!(refusals.iter().filter(|code| *code == "VERIFY_CODE_INVALID").count(), 10, "{refusals:?}");
    assert_eq!(refusals.last().unwrap(), "VERIFY_TOO_MANY_ATTEMPTS");
    let session = ask(&nauth, "ada@example.com").await;
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn a_challenge_takes_as_many_answers_as_it_says() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let session = ask(&nauth, "ada@example.com").await;
    for _ in 0..3 {
        nauth.prove(&session, "totp", &app.wrong_code()).await.expect_error(400, "VERIFY_CODE_INVALID");
    }
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect_error(400, "CHALLENGE_MAX_ATTEMPTS");
    let next = ask(&nauth, "ada@example.com").await;
    nauth.prove(&next, "totp", &app.code()).await.expect(200);
}

#[tokio::test]
async fn a_factor_that_is_demanded_stands_between_signup_and_tokens() {
    let nauth = Nauth::start(config().set("mfa.enforcement", "required").set("mfa.grace", "0s")).await;
    let session = challenged(&nauth.try_signup("ada@example.com", PASSWORD).await.expect(201), "VERIFY_EMAIL");
    let setup = json!({ "session": session, "method": "totp" });
    let early = nauth.send(&Request::post("/auth/challenge/setup-data").json(&setup)).await;
    let early = early.expect_error(400, "VALIDATION_FAILED");
    let sentence = "Cannot get setup data: expected MFA_SETUP_REQUIRED challenge, got VERIFY_EMAIL";
    assert_eq!(early.json()["message"], sentence);

    let code = nauth.code_for("ada@example.com").await;
    let answer = nauth.respond(&session, &code).await.expect(200);
    let session = challenged(&answer, "MFA_SETUP_REQUIRED");
    assert_eq!(answer.json()["challengeParameters"]["allowedMethods"], json!(["totp", "passkey", "email"]));
    nauth.send(&Request::get("/auth/profile").bearer(&session)).await.expect(401);

    let setup = json!({ "session": session, "method": "totp" });
    let setup = nauth.send(&Request::post("/auth/challenge/setup-data").json(&setup)).await.expect(200).json();
    let app = App::told(&setup["setupData"], STEP);
    let data = |code: &str| json!({ "method": "totp", "setupData": { "secret": app.secret, "code": code } });
    let wrong = nauth.answer(&session, "MFA_SETUP_REQUIRED", data(&app.wrong_code())).await;
    wrong.expect_error(400, "VERIFY_CODE_INVALID");
    let done = nauth.answer(&session, "MFA_SETUP_REQUIRED", data(&app.code())).await.expect(200);
    let ada = Account::in_answer(&done);
    assert_eq!(claims_of(&ada.access_token)["acr"], "aal2");
    let again = nauth.answer(&session, "MFA_SETUP_REQUIRED", data(&app.code())).await;
    again.expect_error(400, "CHALLENGE_ALREADY_COMPLETED");

    let session = ask(&nauth, "ada@example.com").await;
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect(200);
}

#[tokio::test]
async fn an_address_that_was_proven_is_a_factor_at_once() {
    let config = config().set("mfa.enforcement", "required").set("mfa.grace", "0s");
    let nauth = Nauth::start(config).await;
    let session = challenged(&nauth.try_signup("ada@example.com", PASSWORD).await.expect(201), "VERIFY_EMAIL");
    let code = nauth.code_for("ada@example.com").await;
    let session = challenged(&nauth.respond(&session, &code).await.expect(200), "MFA_SETUP_REQUIRED");
    let wish = json!({ "session": session, "method": "email" });
    let done = nauth.send(&Request::post("/auth/challenge/setup-data").json(&wish)).await.expect(200).json();
    assert_eq!(done["setupData"]["autoCompleted"], true);
    let data = json!({ "method": "email", "setupData": { "code": "" } });
    let ada = Account::in_answer(&nauth.answer(&session, "MFA_SETUP_REQUIRED", data).await.expect(200));
    assert_eq!(claims_of(&ada.access_token)["acr"], "aal1", "nothing was proven anew");

    let login = nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    let session = challenged(&login, "MFA_REQUIRED");
    assert_eq!(login.json()["challengeParameters"]["preferredMethod"], "email");
    assert_eq!(login.json()["challengeParameters"]["maskedEmail"], "a***@example.com");
    let code = nauth.code_for("ada@example.com").await;
    let resend = Request::post("/auth/challenge/resend").json(&json!({ "session": session }));
    nauth.send(&resend).await.expect_error(429, "RATE_LIMIT_RESEND");
    let data = json!({ "session": session, "method": "email" });
    let data = nauth.send(&Request::post("/auth/challenge/challenge-data").json(&data)).await.expect(200);
    assert_eq!(data.json()["challengeData"], "a***@example.com");
    let answer = nauth.prove(&session, "email", &code).await.expect(200);
    assert_eq!(claims_of(&Account::in_answer(&answer).access_token)["acr"], "aal2");
    assert_eq!(nauth.codes_for("ada@example.com").len(), 2, "one to verify, one to log in");
}

#[tokio::test]
async fn who_has_time_left_is_told_how_much() {
    let nauth = Nauth::start(config().without_verification().set("mfa.enforcement", "required")).await;
    let signup = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);
    let told = signup.json()["mfaGracePeriod"].clone();
    assert_eq!(
        (&told["active"], &told["daysRemaining"], &told["enforcement"]),
        (&json!(true), &json!(7), &json!("REQUIRED"))
    );
    assert!(told["endsAt"].is_string(), "{told}");

    let spared = config().without_verification().set("mfa.enforcement", "required").set("mfa.grace", "0s");
    let nauth = Nauth::start(spared.set("mfa.grace_skip_signup", true)).await;
    let signup = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);
    assert_eq!(signup.json()["mfaGracePeriod"]["requiredAtNextLogin"], true);
    challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_SETUP_REQUIRED");
}

#[tokio::test]
async fn backup_codes_are_good_once_and_go_with_the_last_factor() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let early = nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await;
    early.expect_error(400, "VALIDATION_FAILED");
    nauth.set_up_app(&ada, STEP).await;
    let codes = nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();
    let codes: Vec<String> = serde_json::from_value(codes["codes"].clone()).unwrap();
    assert!(codes.len() == 10 && codes.iter().all(|code| code.len() == 10), "{codes:?}");

    let login = nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    assert_eq!(login.json()["challengeParameters"]["availableMethods"], json!(["totp", "backup"]));
    let session = challenged(&login, "MFA_REQUIRED");
    nauth.prove(&session, "backup", &codes[0].to_lowercase()).await.expect(200);
    let session = ask(&nauth, "ada@example.com").await;
    nauth.prove(&session, "backup", &codes[0]).await.expect_error(400, "VERIFY_CODE_INVALID");
    let fresh = nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();
    nauth.prove(&session, "backup", &codes[1]).await.expect_error(400, "VERIFY_CODE_INVALID");
    nauth.prove(&session, "backup", fresh["codes"][1].as_str().unwrap()).await.expect(200);

    let devices = nauth.get_as(&ada, "/auth/mfa/devices").await.expect(200).json();
    assert_eq!(
        (&devices["devices"][0]["name"], &devices["devices"][0]["isPreferred"]),
        (&json!("Ada's phone"), &json!(true))
    );
    let path = format!("/auth/mfa/devices/{}", devices["devices"][0]["id"]);
    let removed = nauth.send(&Request::new("DELETE", &path).bearer(&ada.access_token)).await.expect(200).json();
    assert_eq!((&removed["removedMethod"], &removed["mfaDisabled"]), (&json!("totp"), &json!(true)));
    let gone = nauth.send(&Request::new("DELETE", &path).bearer(&ada.access_token)).await;
    let gone = gone.expect_error(404, "RESOURCE_NOT_FOUND").json();
    assert_eq!(gone["details"], json!({ "deviceId": devices["devices"][0]["id"] }));
    assert_eq!(nauth.get_as(&ada, "/auth/mfa/status").await.json()["hasBackupCodes"], false);
    nauth.login("ada@example.com").await;
}

#[tokio::test]
async fn factors_are_nobody_elses_and_need_a_fresh_login() {
    let nauth = Nauth::start(config().set("security.reauth_age", "1s")).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.set_up_app(&ada, STEP).await;
    let eve = nauth.signup("eve@example.com").await;
    let id = nauth.get_as(&ada, "/auth/mfa/devices").await.json()["devices"][0]["id"].clone();
    let theirs = Request::new("DELETE", &format!("/auth/mfa/devices/{id}")).bearer(&eve.access_token);
    nauth.send(&theirs).await.expect_error(404, "RESOURCE_NOT_FOUND");
    let theirs = format!("/auth/mfa/devices/{id}/preferred");
    nauth.post_as(&eve, &theirs, &json!({})).await.expect_error(404, "RESOURCE_NOT_FOUND");

    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;

    let own = Request::new("DELETE", &format!("/auth/mfa/devices/{id}")).bearer(&ada.access_token);
    let refused = nauth.send(&own).await.expect_error(403, "FORBIDDEN");
    assert_eq!(refused.json()["details"]["reason"], "reauth");
    nauth.post_as(&eve, "/auth/mfa/setup-data", &json!({ "methodName": "totp" })).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_trusted_device_spares_its_own_user_the_question() {
    let nauth = Nauth::start(config().set("mfa.trust.bypass", true)).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.set_up_app(&ada, STEP).await;
    let eve = nauth.signup("eve@example.com").await;
    nauth.set_up_app(&eve, STEP).await;
    let token = nauth.post_as(&ada, "/auth/trust-device", &json!({})).await.expect(200).json()["deviceToken"].clone();
    let login = |email: &str, token: &str| {
        let body = json!({ "identifier": email, "password": PASSWORD });
        Request::post("/auth/login").header("X-Device-Token", token).json(&body)
    };

    challenged(&nauth.send(&login("eve@example.com", token.as_str().unwrap())).await.expect(200), "MFA_REQUIRED");
    challenged(&nauth.send(&login("ada@example.com", &"0".repeat(64))).await.expect(200), "MFA_REQUIRED");
    let spared = nauth.send(&login("ada@example.com", token.as_str().unwrap())).await.expect(200);
    let spared = Account::in_answer(&spared);
    assert_eq!(claims_of(&spared.access_token)["acr"], "aal1", "trust is no proof");

    let changed = json!({ "oldPassword": PASSWORD, "newPassword": "another walk by the sea" });
    nauth.post_as(&spared, "/auth/change-password", &changed).await.expect(200);
    let body = json!({ "identifier": "ada@example.com", "password": "another walk by the sea" });
    let login = Request::post("/auth/login").header("X-Device-Token", token.as_str().unwrap()).json(&body);
    challenged(&nauth.send(&login).await.expect(200), "MFA_REQUIRED");
}

#[tokio::test]
async fn a_role_may_demand_what_nothing_else_does() {
    let nauth = Nauth::start(config().set("mfa.require_for_roles", json!(["admin"]))).await;
    nauth.signup("ada@example.com").await;
    let ada = nauth.login("ada@example.com").await;
    nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);
    challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_SETUP_REQUIRED");

    // A session that was there before has the role from when it has proven a factor.
    let roles = |account: &Account| claims_of(&account.access_token)["roles"].clone();
    let ada = nauth.refresh(&ada).await;
    assert_eq!(roles(&ada), json!(["user"]));
    nauth.set_up_app(&ada, STEP).await;
    assert_eq!(roles(&nauth.refresh(&ada).await), json!(["admin", "user"]));
}

#[tokio::test]
async fn what_proves_factors_cannot_be_read_out_of_the_database() {
    let nauth = Nauth::start(config().on_a_file()).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let codes = nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();

    let mut stored = Vec::new();
    for name in ["nauth.db", "nauth.db-wal"] {
        stored.extend(std::fs::read(nauth.data_dir().join(name)).unwrap_or_default());
    }

    assert!(contains(&stored, b"Ada's phone"), "the factor stands there");
    let raw = data_encoding::BASE32_NOPAD.decode(app.secret.as_bytes()).unwrap();
    assert!(!contains(&stored, app.secret.as_bytes()) && !contains(&stored, &raw));
    for code in codes["codes"].as_array().unwrap() {
        assert!(!contains(&stored, code.as_str().unwrap().as_bytes()));
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test]
async fn a_session_is_raised_in_place_by_a_factor() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).set("mfa.totp.step", format!("{STEP}s")).set("mfa.totp.window", 3);
    let config = config.set("mfa.trust.bypass", true).set("mfa.trust.devices", "always");
    let config = config.route("path = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config.route("path = \"/vault\"\naccess = \"required\"\nmin_aal = 2")).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;

    // By the API.
    let plain = Account { ..nauth.refresh(&ada).await };
    nauth.get_as(&plain, "/vault").await.expect(200);

    // By the pages, with a device that is trusted: it spares nothing where a route asks.
    let mut browser = Browser::new(&nauth);
    let page = browser.open("/").await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    let page =
        browser.submit(&login.fill("identifier", "ada@example.com").fill("password", PASSWORD)).await.expect(200);
    app.next_step().await;
    let proof = Form::with_fields(&page, &["method", "code"]).fill("method", "totp").fill("code", &app.code());
    browser.submit(&proof).await.expect(200);
    let logout = Request::post("/auth/logout").header("Sec-Fetch-Site", "same-origin").json(&json!({}));
    browser.fetch(logout).await;
    let page = browser.open("/").await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    let landed =
        browser.submit(&login.fill("identifier", "ada@example.com").fill("password", PASSWORD)).await.expect(200);
    assert_eq!(Seen::in_answer(&landed).target, "/", "the device is trusted");
    let session = claims_of(browser.cookie("nauth_access_token").unwrap())["sessionId"].clone();

    let page = browser.open("/vault/gold").await.expect(200);
    assert!(page.text().contains("A second step is needed"), "{page}");
    let login = Form::with_fields(&page, &["identifier", "password"]);
    let page = browser.submit(&login.fill("password", PASSWORD)).await.expect(200);
    app.next_step().await;
    let proof = Form::with_fields(&page, &["method", "code"]).fill("method", "totp").fill("code", &app.code());
    let landed = browser.submit(&proof).await.expect(200);
    assert_eq!(Seen::in_answer(&landed).target, "/vault/gold", "the visit goes on");
    let claims = claims_of(browser.cookie("nauth_access_token").unwrap());
    assert_eq!((&claims["sessionId"], &claims["acr"]), (&session, &json!("aal2")), "it is the same session");
}

#[tokio::test]
async fn the_pages_set_a_factor_up() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification().set("mfa.totp.step", format!("{STEP}s"));
    let config = config.set("mfa.enforcement", "required").set("mfa.grace", "0s").set("mfa.totp.window", 3);
    let nauth = Nauth::start(config.route("path = \"/\"\naccess = \"required\"")).await;
    let mut browser = Browser::new(&nauth);
    let page = browser.open("/wanted").await.expect(200);
    let signup = Form::with_fields(&page, &["email", "password"]);
    let page = browser.submit(&signup.fill("email", "ada@example.com").fill("password", PASSWORD)).await.expect(200);
    assert!(page.text().contains("Set up a second step"), "{page}");

    let page = browser.submit(&Form::saying(&page, "code of your app")).await.expect(200);
    assert!(page.text().contains("src=\"data:image"), "{page}");
    let secret = regex::Regex::new("<code>([A-Z2-7]+)</code>").unwrap().captures(&page.text()).unwrap()[1].to_owned();
    let app = App::told(&json!({ "secret": secret }), STEP);
    let finish = Form::with_fields(&page, &["code", "secret"]);
    let page = browser.submit(&finish.clone().fill("code", &app.wrong_code())).await.expect(400);
    assert!(page.text().contains("That code is not right") && page.text().contains(&secret), "{page}");
    let landed = browser.submit(&Form::with_fields(&page, &["code", "secret"]).fill("code", &app.code())).await;
    assert_eq!(Seen::in_answer(&landed.expect(200)).target, "/wanted");
}

#[tokio::test]
async fn another_address_takes_the_factor_bound_to_the_old_one_away() {
    let nauth = Nauth::start(config().set("mfa.methods", json!(["totp", "email"]))).await;
    let mut ada = nauth.signup("ada@example.com").await;
    let done = nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": "email" })).await.expect(200).json();
    assert_eq!(done["setupData"]["autoCompleted"], true, "{done}");
    nauth.post_as(&ada, "/auth/mfa/challenge-data", &json!({ "method": "email" })).await.expect(200);
    let proof = json!({ "method": "email", "code": nauth.code_for("ada@example.com").await });
    let sure = nauth.post_as(&ada, "/auth/reauthenticate", &proof).await.expect(200).json();
    ada.access_token = sure["accessToken"].as_str().unwrap().to_owned();
    let update =
        Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&json!({ "email": "adaline@example.com" }));
    nauth.send(&update).await.expect(200);
    let code = nauth.code_for("adaline@example.com").await;
    nauth.post_as(&ada, "/auth/profile/contact/verify", &json!({ "code": code })).await.expect(200);

    assert_eq!(nauth.get_as(&ada, "/auth/mfa/status").await.json()["enabled"], false);
    nauth.login("adaline@example.com").await;
}

#[tokio::test]
async fn without_factors_there_are_no_routes_for_them() {
    let nauth = Nauth::start(Config::whoami().set("mfa.enabled", false)).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.get_as(&ada, "/auth/mfa/status").await.expect_error(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn who_comes_in_by_a_factor_is_forgiven_the_wrong_passwords_before() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    for _ in 0..3 {
        for _ in 0..3 {
            nauth.try_login("ada@example.com", "not the password").await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
        }
        let session = ask(&nauth, "ada@example.com").await;
        app.next_step().await;
        nauth.prove(&session, "totp", &app.code()).await.expect(200);
    }
}

#[tokio::test]
async fn many_who_prove_a_factor_at_once_from_one_address_wait_for_each_other() {
    let unlimited = json!({ "max": 0 });
    let config = config().without_verification().set("rate_limit.signup", unlimited.clone());
    let config = config.set("rate_limit.login", unlimited.clone()).set("rate_limit.challenge", unlimited);
    let nauth = Nauth::start(config).await;
    // More than may be wrong from one address.
    let mut proofs = Vec::new();
    for n in 0..24 {
        let email = format!("user{n}@example.com");
        let account = nauth.signup(&email).await;
        nauth.set_up_app(&account, STEP).await;
        let codes = nauth.post_as(&account, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();
        proofs.push((ask(&nauth, &email).await, codes["codes"][0].as_str().unwrap().to_owned()));
    }

    let answers = join_all(proofs.iter().map(|(session, code)| nauth.prove(session, "backup", code))).await;

    for answer in answers {
        assert_eq!(answer.status, 200, "{answer}");
    }
}
