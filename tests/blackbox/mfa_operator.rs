//! What ends or lifts second factors from outside: operators, resets, other addresses.

use serde_json::json;

use super::support::{
    Account, Answer, Config, Nauth, PASSWORD, Receiver, Request, challenged, claims_of, eventually, secs,
};

const STEP: u64 = 2;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PHONE: &str = "+41791234567";
const NEW: &str = "another walk by the sea";

fn config() -> Config {
    Config::whoami().set("mfa.totp.step", format!("{STEP}s")).set("mfa.totp.window", 3)
}

/// A login that shows the token of a device.
async fn login_on(nauth: &Nauth, password: &str, device: &str) -> Answer {
    let body = json!({ "identifier": "ada@example.com", "password": password });
    nauth.send(&Request::post("/auth/login").header("X-Device-Token", device).json(&body)).await
}

/// Trusts the device ada holds, and demands that it spares her the question.
async fn trust(nauth: &Nauth, ada: &Account) -> String {
    let token = nauth.post_as(ada, "/auth/trust-device", &json!({})).await.expect(200).json()["deviceToken"].clone();
    let spared = login_on(nauth, PASSWORD, token.as_str().unwrap()).await.expect(200);
    spared.json()["deviceToken"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_operator_takes_lost_factors_away_and_everything_that_stood_on_them() {
    let nauth = Nauth::start(config().set("mfa.trust.bypass", true)).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.set_up_app(&ada, STEP).await;
    nauth.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200);
    let device = trust(&nauth, &ada).await;
    let shown = nauth.command(&["user", "show", "ada@example.com"]).await.expect(0);
    let shown = shown.says("factor    totp (Ada's phone, asked for first)").says("10 backup codes left");
    drop(shown);

    let reset = ["user", "unlock", "ada@example.com", "--reset-mfa"];
    nauth.command(&reset).await.expect(0).says("has no second factor any more (1 removed); all sessions ended");
    nauth.command(&reset).await.expect(0).says("has no second factor");

    nauth.writes("A login method was removed").await;
    let ended = eventually(secs(5), async || (nauth.get_as(&ada, "/auth/profile").await.status == 401).then_some(()));
    ended.await.expect("her session ends");
    let plain = Account::in_answer(&login_on(&nauth, PASSWORD, &device).await.expect(200));
    assert_eq!(claims_of(&plain.access_token)["acr"], "aal1");
    let status = nauth.get_as(&plain, "/auth/mfa/status").await.expect(200).json();
    assert_eq!((&status["enabled"], &status["hasBackupCodes"]), (&json!(false), &json!(false)));
    let trusted = Request::get("/auth/is-trusted-device").bearer(&plain.access_token);
    let trusted = nauth.send(&trusted.header("X-Device-Token", &device)).await;
    assert_eq!(trusted.expect(200).json()["trusted"], false);
    assert_eq!(nauth.get_as(&plain, "/auth/trusted-devices").await.json()["trustedDevices"], json!([]));
    let history = nauth.get_as(&plain, "/auth/audit/history?eventTypes=MFA_DISABLED,DEVICE_UNTRUSTED").await.json();
    assert_eq!(history["total"], 2, "{history}");
    let disabled = nauth.get_as(&plain, "/auth/audit/history?eventTypes=MFA_DISABLED").await.json();
    assert_eq!(disabled["data"][0]["performedBy"], "operator");

    let unknown = nauth.get_as(&plain, "/auth/audit/history?eventTypes=SUSPICIOUS_ACTIVITY").await.expect(200).json();
    assert_eq!(unknown["data"][0]["reason"], "unknown_device_token", "{unknown}");

    // Where it was trusted before, it is asked again once there is a factor.
    nauth.set_up_app(&plain, STEP).await;
    challenged(&login_on(&nauth, PASSWORD, &device).await.expect(200), "MFA_REQUIRED");
}

#[tokio::test]
async fn an_operator_exempts_somebody_for_a_reason_until_further_notice() {
    let nauth = Nauth::start(config().set("mfa.require_for_roles", json!(["admin"]))).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.set_up_app(&ada, STEP).await;
    challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");

    let exempt = ["user", "unlock", "ada@example.com", "--mfa-exempt", "lost at sea"];
    nauth.command(&exempt).await.expect(0).says("is not asked for a second factor any more");
    nauth.command(&exempt).await.expect(0).says("is exempt already");
    nauth.command(&["user", "show", "ada@example.com"]).await.expect(0).says("(lost at sea)");
    let ada = nauth.login("ada@example.com").await;
    let status = nauth.get_as(&ada, "/auth/mfa/status").await.expect(200).json();
    assert_eq!((&status["mfaExempt"], &status["mfaExemptReason"]), (&json!(true), &json!("lost at sea")));
    let granted = nauth.get_as(&ada, "/auth/audit/history?eventTypes=MFA_EXEMPTION_GRANTED").await.json();
    assert_eq!(granted["data"][0]["reason"], "lost at sea", "{granted}");

    nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);
    challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    nauth.command(&["user", "revoke-role", "ada@example.com", "admin"]).await.expect(0);
    let ada = nauth.login("ada@example.com").await;

    let end = ["user", "unlock", "ada@example.com", "--end-mfa-exemption"];
    nauth.command(&end).await.expect(0).says("is asked for a second factor again");
    nauth.command(&end).await.expect(0).says("is not exempt");
    challenged(&nauth.try_login("ada@example.com", PASSWORD).await.expect(200), "MFA_REQUIRED");
    let revoked = nauth.get_as(&ada, "/auth/audit/history?eventTypes=MFA_EXEMPTION_REVOKED").await.json();
    assert_eq!(revoked["total"], 1, "{revoked}");

    let both = ["user", "unlock", "ada@example.com", "--reset-mfa", "--end-mfa-exemption"];
    nauth.command(&both).await.expect(2);
    nauth.command(&["user", "unlock", "ada@example.com", "--mfa-exempt", " "]).await.expect(2);
}

#[tokio::test]
async fn a_reset_password_makes_trusted_devices_strangers_also_where_sessions_go_on() {
    for revokes in [true, false] {
        let settings = config().set("mfa.trust.bypass", true).set("password.reset.revoke_sessions", revokes);
        let nauth = Nauth::start(settings).await;
        let ada = nauth.signup("ada@example.com").await;
        nauth.set_up_app(&ada, STEP).await;
        let device = trust(&nauth, &ada).await;
        let sent = nauth.codes_for("ada@example.com").len();

        let forgot = Request::post("/auth/forgot-password").json(&json!({ "identifier": "ada@example.com" }));
        nauth.send(&forgot).await.expect(200);
        let code = eventually(secs(10), async || nauth.codes_for("ada@example.com").get(sent).cloned());
        let code = code.await.expect("a code");
        let confirm = json!({ "identifier": "ada@example.com", "code": code, "newPassword": NEW });
        nauth.send(&Request::post("/auth/forgot-password/confirm").json(&confirm)).await.expect(200);

        challenged(&login_on(&nauth, NEW, &device).await.expect(200), "MFA_REQUIRED");
    }
}

#[tokio::test]
async fn a_number_is_a_factor_until_it_is_another_one() {
    let phone = Receiver::start().await;
    let settings = config()
        .set("mfa.methods", json!(["totp", "sms"]))
        .set("signup.verification_method", "phone")
        .set("sms.provider", "webhook")
        .set("sms.webhook", json!({ "url": phone.url("/sms"), "secret": SECRET }));
    let nauth = Nauth::start(settings).await;
    let code = async |number: usize| {
        let posted = eventually(secs(10), async || phone.posted().get(number).cloned()).await.expect("a message");
        posted.json()["vars"]["code"].as_str().unwrap().to_owned()
    };
    let signup = json!({ "email": "ada@example.com", "password": PASSWORD, "phone": PHONE });
    let signup = nauth.send(&Request::post("/auth/signup").json(&signup)).await.expect(201);
    let session = challenged(&signup, "VERIFY_PHONE");
    let answer = nauth.answer(&session, "VERIFY_PHONE", json!({ "code": code(0).await })).await;
    let ada = Account::in_answer(&answer.expect(200));

    let wish = json!({ "methodName": "sms" });
    let done = nauth.post_as(&ada, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    assert_eq!(done["setupData"]["autoCompleted"], true, "the number was proven before: {done}");
    let login = nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    assert_eq!(login.json()["challengeParameters"]["preferredMethod"], "sms");
    let session = challenged(&login, "MFA_REQUIRED");
    let sent = code(1).await;
    nauth.prove(&session, "sms", "000000").await.expect_error(400, "VERIFY_CODE_INVALID");
    let ada = Account::in_answer(&nauth.prove(&session, "sms", &sent).await.expect(200));
    assert_eq!(claims_of(&ada.access_token)["acr"], "aal2");

    nauth.set_up_app(&ada, STEP).await;
    let put = |body| Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&body);
    nauth.send(&put(json!({ "preferredMfaMethod": "totp" }))).await.expect(200);
    let login = nauth.try_login("ada@example.com", PASSWORD).await.expect(200).json();
    assert_eq!(login["challengeParameters"]["preferredMethod"], "totp");
    nauth.send(&put(json!({ "preferredMfaMethod": "passkey" }))).await.expect_error(400, "VALIDATION_FAILED");

    let before = phone.posted().len();
    nauth.send(&put(json!({ "phone": "+41791234568" }))).await.expect(200);
    let status = nauth.get_as(&ada, "/auth/mfa/status").await.json();
    assert_eq!(status["configuredMethods"], json!(["sms", "totp"]), "pending changes nothing: {status}");
    let verify = json!({ "code": code(before).await });
    nauth.post_as(&ada, "/auth/profile/contact/verify", &verify).await.expect(200);
    let status = nauth.get_as(&ada, "/auth/mfa/status").await.json();
    assert_eq!(status["configuredMethods"], json!(["totp"]), "{status}");
}

#[tokio::test]
async fn a_password_that_must_change_comes_before_a_factor_that_must_be_set_up() {
    let nauth = Nauth::start(config()).await;
    nauth.signup("ada@example.com").await;
    nauth.reconfigure(&config().set("mfa.enforcement", "required").set("mfa.grace", "0s"));
    let command = ["user", "set-password", "ada@example.com", "--must-change"];
    nauth.command_reading(&command, "chosen by an operator, for once").await.expect(0);
    nauth.writes("settings reloaded").await;

    let login = nauth.try_login("ada@example.com", "chosen by an operator, for once").await.expect(200);
    let session = challenged(&login, "FORCE_CHANGE_PASSWORD");
    let answer = nauth.answer(&session, "FORCE_CHANGE_PASSWORD", json!({ "newPassword": NEW })).await.expect(200);
    let session = challenged(&answer, "MFA_SETUP_REQUIRED");
    let wish = json!({ "session": session, "method": "email" });
    nauth.send(&Request::post("/auth/challenge/setup-data").json(&wish)).await.expect(200);
    let data = json!({ "method": "email", "setupData": { "code": "" } });
    Account::in_answer(&nauth.answer(&session, "MFA_SETUP_REQUIRED", data).await.expect(200));
    challenged(&nauth.try_login("ada@example.com", NEW).await.expect(200), "MFA_REQUIRED");
}
