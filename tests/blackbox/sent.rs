//! Second factors whose codes are sent: in a session, and to a number nobody has proven yet.

use serde_json::{Value, json};

use super::support::{
    Account, Browser, Config, Echo, Form, Nauth, PASSWORD, Receiver, Request, Seen, challenged, claims_of, eventually,
    secs,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NUMBER: &str = "+41791234567";
const ADA: &str = "ada@example.com";

fn by_mail() -> Config {
    Config::whoami().set("mfa.methods", json!(["email"]))
}

/// Makes the proven address of an account a factor.
async fn enrol_mail(nauth: &Nauth, account: &Account) {
    let wish = json!({ "methodName": "email", "setupData": { "deviceName": "Work" } });
    let done = nauth.post_as(account, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    assert_eq!(done["setupData"]["autoCompleted"], true, "{done}");
}

/// Asks for a code in a session; answers where it goes.
async fn ask_for_mail(nauth: &Nauth, account: &Account) -> Value {
    let asked = nauth.post_as(account, "/auth/mfa/challenge-data", &json!({ "method": "email" })).await;
    asked.expect(200).json()["challengeData"].clone()
}

#[tokio::test]
async fn a_session_is_raised_by_a_mailed_code_that_is_good_there_only_and_once() {
    let nauth = Nauth::start(by_mail()).await;
    let ada = nauth.signup(ADA).await;
    let other = nauth.login(ADA).await;
    let proof = |code: &str| json!({ "method": "email", "code": code });
    let none = nauth.post_as(&ada, "/auth/mfa/challenge-data", &json!({ "method": "email" })).await;
    assert_eq!(none.expect_error(404, "RESOURCE_NOT_FOUND").json()["details"]["deviceType"], "email");
    enrol_mail(&nauth, &ada).await;
    let devices = nauth.get_as(&ada, "/auth/mfa/devices").await.expect(200).json();
    assert_eq!(devices["devices"][0]["name"], "Work");
    assert_eq!(claims_of(&ada.access_token)["acr"], "aal1");

    assert_eq!(ask_for_mail(&nauth, &ada).await, "a***@example.com");
    assert_eq!(ask_for_mail(&nauth, &ada).await, "a***@example.com", "the mail on its way does");
    let code = nauth.code_for(ADA).await;
    let elsewhere = nauth.post_as(&other, "/auth/reauthenticate", &proof(&code)).await;
    assert_eq!(elsewhere.expect_error(400, "VERIFY_CODE_INVALID").json()["message"], "Invalid MFA code");
    let login = challenged(&nauth.try_login(ADA, PASSWORD).await.expect(200), "MFA_REQUIRED");
    nauth.prove(&login, "email", &code).await.expect_error(400, "VERIFY_CODE_INVALID");
    let at_login = nauth.code_for(ADA).await;
    nauth.post_as(&ada, "/auth/reauthenticate", &proof(&at_login)).await.expect_error(400, "VERIFY_CODE_INVALID");

    let raised = nauth.post_as(&ada, "/auth/reauthenticate", &proof(&code)).await.expect(200).json();
    let claims = claims_of(raised["accessToken"].as_str().unwrap());
    assert_eq!((&claims["acr"], &claims["sessionId"]), (&json!("aal2"), &claims_of(&ada.access_token)["sessionId"]));
    nauth.post_as(&ada, "/auth/reauthenticate", &proof(&code)).await.expect_error(400, "VERIFY_CODE_INVALID");
    nauth.prove(&login, "email", &at_login).await.expect(200);
    assert_eq!(nauth.codes_for(ADA).len(), 3, "one to verify, one in the session, one to log in");
}

#[tokio::test]
async fn a_code_in_a_session_has_its_tries_and_its_delay() {
    let nauth = Nauth::start(by_mail().set("signup.email_verification.resend_delay", "3s")).await;
    let ada = nauth.signup(ADA).await;
    enrol_mail(&nauth, &ada).await;
    ask_for_mail(&nauth, &ada).await;
    let code = nauth.code_for(ADA).await;
    let wrong = json!({ "method": "email", "code": if code == "000000" { "000001" } else { "000000" } });
    for _ in 0..3 {
        nauth.post_as(&ada, "/auth/reauthenticate", &wrong).await.expect_error(400, "VERIFY_CODE_INVALID");
    }
    let right = json!({ "method": "email", "code": code });
    nauth.post_as(&ada, "/auth/reauthenticate", &right).await.expect_error(400, "VERIFY_TOO_MANY_ATTEMPTS");
    let early = nauth.post_as(&ada, "/auth/mfa/challenge-data", &json!({ "method": "email" })).await;
    early.expect_error(429, "RATE_LIMIT_RESEND");

    tokio::time::sleep(secs(3)).await;

    ask_for_mail(&nauth, &ada).await;
    let right = json!({ "method": "email", "code": nauth.code_for(ADA).await });
    nauth.post_as(&ada, "/auth/reauthenticate", &right).await.expect(200);
}

#[tokio::test]
async fn the_pages_raise_a_session_by_a_mailed_code() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).set("mfa.methods", json!(["email"]));
    let config = config.route("path = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config.route("path = \"/vault\"\naccess = \"required\"\nmin_aal = 2")).await;
    let ada = nauth.signup(ADA).await;
    let mut browser = Browser::new(&nauth);
    let page = browser.open("/").await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    browser.submit(&login.fill("identifier", ADA).fill("password", PASSWORD)).await.expect(200);
    let session = claims_of(browser.cookie("nauth_access_token").unwrap())["sessionId"].clone();
    enrol_mail(&nauth, &ada).await;

    let page = browser.open("/vault/gold").await.expect(200);
    assert!(page.text().contains("A second step is needed"), "{page}");
    let page = browser.submit(&Form::saying(&page, "Send a code by mail")).await.expect(200);
    assert!(page.text().contains("A code is on its way"), "{page}");
    let code = nauth.code_for(ADA).await;
    let proof =
        |page, code: &str| Form::with_fields(page, &["method", "code"]).fill("method", "email").fill("code", code);
    let page = browser.submit(&proof(&page, if code == "000000" { "000001" } else { "000000" })).await.expect(400);
    assert!(page.text().contains("That code is not right"), "{page}");
    let landed = browser.submit(&proof(&page, &code)).await.expect(200);

    assert_eq!(Seen::in_answer(&landed).target, "/vault/gold");
    let claims = claims_of(browser.cookie("nauth_access_token").unwrap());
    assert_eq!((&claims["sessionId"], &claims["acr"]), (&session, &json!("aal2")));
}

#[tokio::test]
async fn a_number_is_whoevers_proves_it_and_nobodys_before() {
    let phones = Receiver::start().await;
    let config = Config::whoami()
        .set("mfa.methods", json!(["sms"]))
        .set("sms.provider", "webhook")
        .set("sms.webhook", json!({ "url": phones.url("/sms"), "secret": SECRET }))
        .set("signup.phone_verification.send_limit", json!({ "max": 10, "window": "1h" }));
    let nauth = Nauth::start(config).await;
    let code = async |number: usize| {
        let posted = eventually(secs(10), async || phones.posted().get(number).cloned()).await.expect("a message");
        assert_eq!(posted.json()["template"], "mfa_sms_code");
        posted.json()["vars"]["code"].as_str().unwrap().to_owned()
    };
    let (mallory, ada) = (nauth.signup("mallory@example.com").await, nauth.signup(ADA).await);
    let bob = nauth.signup("bob@example.com").await;
    let wish = json!({ "methodName": "sms", "setupData": { "phoneNumber": NUMBER, "deviceName": "Mine" } });
    let finish = |code: String| json!({ "methodName": "sms", "setupData": { "code": code } });

    let begun = nauth.post_as(&mallory, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    assert_eq!(begun["setupData"]["maskedPhone"], "***-***-4567");
    let mallorys = code(0).await;
    nauth.try_login(NUMBER, PASSWORD).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    nauth.post_as(&ada, "/auth/mfa/setup-data", &wish).await.expect(200);
    let adas = code(1).await;
    nauth.post_as(&ada, "/auth/mfa/verify-setup", &finish(adas)).await.expect(200);

    let login = nauth.try_login(NUMBER, PASSWORD).await.expect(200);
    challenged(&login, "MFA_REQUIRED");
    let devices = nauth.get_as(&ada, "/auth/mfa/devices").await.expect(200).json();
    assert_eq!(devices["devices"][0]["name"], "Mine", "as it was called when it was begun");
    let late = nauth.post_as(&mallory, "/auth/mfa/verify-setup", &finish(mallorys)).await;
    late.expect_error(409, "SIGNUP_PHONE_EXISTS");
    nauth.post_as(&bob, "/auth/mfa/setup-data", &wish).await.expect_error(409, "SIGNUP_PHONE_EXISTS");
    let profile = nauth.get_as(&mallory, "/auth/profile").await.expect(200).json();
    assert_eq!(profile["isPhoneVerified"], false, "{profile}");
}

#[tokio::test]
async fn what_may_not_be_set_up_says_which_feature_is_missing() {
    let nauth = Nauth::start(Config::whoami().set("mfa.methods", json!(["totp"]))).await;
    let ada = nauth.signup(ADA).await;
    for (method, feature) in [("sms", "sms-mfa"), ("email", "email-mfa"), ("passkey", "passkey")] {
        let refused = nauth.post_as(&ada, "/auth/mfa/setup-data", &json!({ "methodName": method })).await;
        assert_eq!(refused.expect_error(400, "VALIDATION_FAILED").json()["details"], json!({ "feature": feature }));
    }
}

#[tokio::test]
async fn what_is_switched_off_has_no_routes() {
    let nauth = Nauth::start(Config::whoami().set("mfa.enabled", false).set("audit.enabled", false)).await;
    let ada = nauth.signup(ADA).await;
    nauth.get_as(&ada, "/auth/audit/history").await.expect_error(404, "RESOURCE_NOT_FOUND");
    for path in ["/auth/challenge/setup-data", "/auth/challenge/challenge-data", "/auth/mfa/challenge-data"] {
        nauth.send(&Request::post(path).json(&json!({}))).await.expect_error(404, "RESOURCE_NOT_FOUND");
    }
}
