//! What a session may do to its account, attacked: the second factor of somebody else is not taken over by
//! whoever holds a session that never showed one.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::{Account, Answer, App, Config, Nauth, PASSWORD, Receiver, Request, challenged, claims_of};

/// Seconds a code of the tests lives.
const STEP: u64 = 2;
/// As much as another code to the same address waits in these tests, and a little more.
const RESEND_DELAY: Duration = Duration::from_millis(1_100);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn config() -> Config {
    Config::whoami().set("mfa.totp.step", format!("{STEP}s")).set("mfa.totp.window", 3)
}

fn request_as(account: &Account, method: &str, path: &str) -> Request {
    Request::new(method, path).bearer(&account.access_token)
}

/// Refused with the words that have a client ask its user to confirm who they are.
fn must_reauthenticate(answer: Answer) {
    let refused = answer.expect_error(403, "FORBIDDEN");
    assert_eq!(refused.json()["details"]["reason"], "reauth", "{refused}");
}

async fn reauthenticate(nauth: &Nauth, account: &Account, with: &Value) -> Account {
    let answer = nauth.post_as(account, "/auth/reauthenticate", with).await.expect(200);
    Account { access_token: answer.json()["accessToken"].as_str().unwrap().to_owned(), ..account.clone() }
}

/// Logs in from a client of its own and answers the challenge that is put.
async fn challenge_of(nauth: &Nauth, client: &str, kind: &str) -> String {
    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    let login = Request::post("/auth/login").header("User-Agent", client).json(&body);
    challenged(&nauth.send(&login).await.expect(200), kind)
}

/// Begins to set an app up in a challenge.
async fn app_for(nauth: &Nauth, session: &str) -> App {
    let wish = Request::post("/auth/challenge/setup-data").json(&json!({ "session": session, "method": "totp" }));
    App::told(&nauth.send(&wish).await.expect(200).json()["setupData"], STEP)
}

fn set_up(app: &App) -> Value {
    json!({ "method": "totp", "setupData": { "secret": app.secret, "code": app.code() } })
}

#[tokio::test]
async fn a_session_that_showed_no_factor_takes_none_over() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let eve = nauth.login("ada@example.com").await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let factor = nauth.get_as(&ada, "/auth/mfa/devices").await.json()["devices"][0]["id"].clone();

    // The password alone makes a session fresh, and no surer.
    let eve = reauthenticate(&nauth, &eve, &json!({ "password": PASSWORD })).await;
    let post = |path: &str, body: Value| request_as(&eve, "POST", path).json(&body);
    let put = |body: Value| request_as(&eve, "PUT", "/auth/profile").json(&body);
    let totp = json!({ "methodName": "totp", "setupData": { "secret": app.secret, "code": "123456" } });
    let attempts = [
        post("/auth/mfa/backup-codes/generate", json!({})),
        post("/auth/mfa/setup-data", json!({ "methodName": "totp" })),
        post("/auth/mfa/setup-data", json!({ "methodName": "email" })),
        post("/auth/mfa/verify-setup", totp),
        post(&format!("/auth/mfa/devices/{factor}/preferred"), json!({})),
        request_as(&eve, "DELETE", &format!("/auth/mfa/devices/{factor}")),
        post("/auth/trust-device", json!({})),
        put(json!({ "email": "eve@example.com" })),
        put(json!({ "phone": "+41791234567" })),
        put(json!({ "preferredMfaMethod": "totp" })),
    ];
    for attempt in attempts {
        must_reauthenticate(nauth.send(&attempt).await);
    }
    nauth.send(&put(json!({ "firstName": "Ada" }))).await.expect(200);

    app.next_step().await;
    let sure = reauthenticate(&nauth, &eve, &json!({ "method": "totp", "code": app.code() })).await;
    assert_eq!(claims_of(&sure.access_token)["acr"], "aal2");
    nauth.post_as(&sure, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200);
    nauth.post_as(&sure, "/auth/trust-device", &json!({})).await.expect(200);
}

#[tokio::test]
async fn an_address_asked_for_before_there_was_a_factor_is_not_put_in_force_without_it() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let eve = nauth.login("ada@example.com").await;
    nauth
        .send(&request_as(&eve, "PUT", "/auth/profile").json(&json!({ "email": "eve@example.com" })))
        .await
        .expect(200);
    let code = nauth.code_for("eve@example.com").await;
    nauth.set_up_app(&ada, STEP).await;

    must_reauthenticate(nauth.post_as(&eve, "/auth/profile/contact/verify", &json!({ "code": code })).await);

    assert_eq!(nauth.get_as(&ada, "/auth/profile").await.json()["email"], "ada@example.com");
}

#[tokio::test]
async fn an_address_that_became_a_factor_unseen_is_proven_in_the_session() {
    let nauth = Nauth::start(config().set("signup.email_verification.resend_delay", "1s")).await;
    let ada = nauth.signup("ada@example.com").await;
    let done = nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": "email" })).await.expect(200).json();
    assert_eq!((&done["setupData"]["autoCompleted"], done["setupData"]["deviceId"].is_i64()), (&json!(true), true));
    // Until it was shown once, whoever set it up goes on with the password.
    nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": "totp" })).await.expect(200);

    // A code of a login is for that login.
    let session = challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    let code = nauth.code_for("ada@example.com").await;
    let for_the_login = json!({ "method": "email", "code": code });
    let refused = nauth.post_as(&ada, "/auth/reauthenticate", &for_the_login).await;
    refused.expect_error(400, "VERIFY_CODE_INVALID");
    let answer = json!({ "session": session, "type": "MFA_REQUIRED", "method": "email", "code": code });
    nauth.send(&Request::post("/auth/respond-challenge").json(&answer)).await.expect(200);
    must_reauthenticate(nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await);

    tokio::time::sleep(RESEND_DELAY).await;
    let asked = nauth.post_as(&ada, "/auth/mfa/challenge-data", &json!({ "method": "email" })).await.expect(200);
    assert_eq!(asked.json()["challengeData"], "a***@example.com", "{asked}");
    let code = nauth.code_for("ada@example.com").await;
    let sure = reauthenticate(&nauth, &ada, &json!({ "method": "email", "code": code })).await;
    assert_eq!(claims_of(&sure.access_token)["acr"], "aal2");
    nauth.post_as(&sure, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200);
}

#[tokio::test]
async fn mail_that_stands_in_for_factors_raises_no_session() {
    let nauth = Nauth::start(config().set("mfa.enforcement", "adaptive").set("mfa.adaptive.triggers", json!([]))).await;
    let ada = nauth.signup("ada@example.com").await;
    let asked = nauth.post_as(&ada, "/auth/mfa/challenge-data", &json!({ "method": "email" })).await;
    asked.expect_error(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_challenge_to_set_a_factor_up_ends_when_there_is_one() {
    let nauth = Nauth::start(config()).await;
    nauth.signup("ada@example.com").await;
    nauth.reconfigure(&config().set("mfa.enforcement", "required").set("mfa.grace", "0s"));
    nauth.writes("settings reloaded").await;
    let older = challenge_of(&nauth, "eve/1", "MFA_SETUP_REQUIRED").await;
    let by_mail = |session: &str| json!({ "session": session, "method": "email" });
    let begun = Request::post("/auth/challenge/setup-data").json(&by_mail(&older));
    let begun = nauth.send(&begun).await.expect(200).json();
    assert_eq!(begun["setupData"], json!({ "autoCompleted": true }), "nothing is stored before the answer");
    let hers = challenge_of(&nauth, "ada/1", "MFA_SETUP_REQUIRED").await;
    let app = app_for(&nauth, &hers).await;
    let ada = nauth.answer(&hers, "MFA_SETUP_REQUIRED", set_up(&app)).await.expect(200);
    let ada = Account::in_answer(&ada);

    let data = json!({ "method": "email", "setupData": {} });
    nauth.answer(&older, "MFA_SETUP_REQUIRED", data).await.expect_error(400, "CHALLENGE_EXPIRED");
    let again = Request::post("/auth/challenge/setup-data").json(&by_mail(&older));
    nauth.send(&again).await.expect_error(400, "CHALLENGE_EXPIRED");
    assert_eq!(nauth.get_as(&ada, "/auth/mfa/status").await.json()["configuredMethods"], json!(["totp"]));

    // In her session the same address, which she has proven, becomes another one as it is.
    let more = nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": "email" })).await.expect(200).json();
    assert_eq!(more["setupData"]["autoCompleted"], true, "{more}");
    assert_eq!(nauth.get_as(&ada, "/auth/mfa/status").await.json()["configuredMethods"], json!(["totp", "email"]));
}

#[tokio::test]
async fn of_two_who_set_the_first_factor_up_one_comes_in() {
    let nauth = Nauth::start(config()).await;
    nauth.signup("ada@example.com").await;
    nauth.reconfigure(&config().set("mfa.enforcement", "required").set("mfa.grace", "0s"));
    nauth.writes("settings reloaded").await;
    let mut answers = Vec::new();
    for client in ["ada/1", "eve/1", "eve/2", "eve/3"] {
        let session = challenge_of(&nauth, client, "MFA_SETUP_REQUIRED").await;
        let app = app_for(&nauth, &session).await;
        answers.push((session, app));
    }

    let done = join_all(answers.iter().map(|(session, app)| nauth.answer(session, "MFA_SETUP_REQUIRED", set_up(app))));
    let done = done.await;

    assert_eq!(done.iter().filter(|answer| answer.status == 200).count(), 1, "{done:?}");
}

#[tokio::test]
async fn what_is_taken_out_of_use_proves_nothing() {
    let plain = config().set("signup.email_verification.resend_delay", "1s");
    let nauth = Nauth::start(plain.clone()).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": "email" })).await.expect(200);
    let session = challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    let code = nauth.code_for("ada@example.com").await;
    let ada = Account::in_answer(&nauth.prove(&session, "email", &code).await.expect(200));
    let app = nauth.set_up_app(&ada, STEP).await;
    let codes = nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();
    let session = challenge_of(&nauth, "early/1", "MFA_REQUIRED").await;
    let mailed = nauth.code_for("ada@example.com").await;

    nauth.reconfigure(&plain.set("mfa.methods", json!(["totp"])).set("mfa.backup.enabled", false));
    nauth.writes("settings reloaded").await;

    let login = nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    assert_eq!(login.json()["challengeParameters"]["availableMethods"], json!(["totp"]), "{login}");
    assert_eq!(nauth.get_as(&ada, "/auth/mfa/status").await.json()["hasBackupCodes"], false);
    let ask = json!({ "session": session, "method": "email" });
    let ask = Request::post("/auth/challenge/challenge-data").json(&ask);
    nauth.send(&ask).await.expect_error(404, "RESOURCE_NOT_FOUND");
    nauth.prove(&session, "email", &mailed).await.expect_error(400, "VERIFY_CODE_INVALID");
    let backup = codes["codes"][0].as_str().unwrap();
    nauth.prove(&session, "backup", backup).await.expect_error(400, "VERIFY_CODE_INVALID");
    let in_session = json!({ "method": "backup", "code": backup });
    let refused = nauth.post_as(&ada, "/auth/reauthenticate", &in_session).await;
    refused.expect_error(400, "VERIFY_CODE_INVALID");
    let session = challenged(&login, "MFA_REQUIRED");
    app.next_step().await;
    nauth.prove(&session, "totp", &app.code()).await.expect(200);
}

#[tokio::test]
async fn what_was_trusted_without_a_factor_spares_none() {
    let nauth = Nauth::start(config().set("mfa.trust.bypass", true)).await;
    let ada = nauth.signup("ada@example.com").await;
    let token = nauth.post_as(&ada, "/auth/trust-device", &json!({})).await.expect(200).json()["deviceToken"].clone();
    nauth.set_up_app(&ada, STEP).await;

    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    let login = Request::post("/auth/login").header("X-Device-Token", token.as_str().unwrap()).json(&body);
    challenged(&nauth.send(&login).await.expect(200), "MFA_REQUIRED");
    assert_eq!(nauth.get_as(&ada, "/auth/trusted-devices").await.json()["trustedDevices"], json!([]));
}

#[tokio::test]
async fn a_session_raised_beside_a_password_stays_raised() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup("ada@example.com").await;
    let eve = nauth.login("ada@example.com").await;
    nauth.set_up_app(&ada, STEP).await;
    let codes = nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();

    // A password takes longer to compare than a code, and was read before the code came.
    let password = json!({ "password": PASSWORD });
    let code = json!({ "method": "backup", "code": codes["codes"][0] });
    let answers = join_all(
        [&password, &password, &code, &password]
            .map(async |body| nauth.post_as(&eve, "/auth/reauthenticate", body).await),
    );
    for answer in answers.await {
        answer.expect(200);
    }

    assert_eq!(claims_of(&nauth.refresh(&eve).await.access_token)["acr"], "aal2");
}

#[tokio::test]
async fn one_user_does_not_use_up_the_messages_of_the_site() {
    let phone = Receiver::start().await;
    let settings = config()
        .set("mfa.methods", json!(["totp", "sms"]))
        .set("signup.phone_verification.send_limit", json!({ "max": 3, "window": "1h" }))
        .set("sms.provider", "webhook")
        .set("sms.webhook", json!({ "url": phone.url("/sms"), "secret": SECRET }));
    let nauth = Nauth::start(settings).await;
    let ada = nauth.signup("ada@example.com").await;
    let wish = |n: u32| json!({ "methodName": "sms", "setupData": { "phoneNumber": format!("+4179123450{n}") } });

    for n in 0..3 {
        nauth.post_as(&ada, "/auth/mfa/setup-data", &wish(n)).await.expect(200);
    }
    let refused = nauth.post_as(&ada, "/auth/mfa/setup-data", &wish(3)).await;
    assert_eq!(refused.status, 429, "{refused}");
    let bob = nauth.signup("bob@example.com").await;
    nauth.post_as(&bob, "/auth/mfa/setup-data", &wish(4)).await.expect(200);
}

#[tokio::test]
async fn a_session_that_trusts_its_device_again_gets_another_token_and_no_second_device() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let trust =
        async || nauth.post_as(&ada, "/auth/trust-device", &json!({})).await.expect(200).json()["deviceToken"].clone();

    let (first, second) = (trust().await, trust().await);

    assert_ne!(first, second);
    let listed = nauth.get_as(&ada, "/auth/trusted-devices").await.expect(200).json()["trustedDevices"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let is_listed = async || {
        let sessions = nauth.get_as(&ada, "/auth/sessions").await.expect(200).json();
        sessions["sessions"][0]["isTrustedDevice"].clone()
    };
    assert_eq!(is_listed().await, true);
    let device = format!("/auth/trusted-devices/{}", listed[0]["id"]);
    nauth.send(&Request::new("DELETE", &device).bearer(&ada.access_token)).await.expect(200);
    assert_eq!(is_listed().await, false, "what was trusted once is not now");
}
