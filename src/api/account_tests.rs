//! Accounts over the native wire: challenges in every order, passwords, profiles, devices, sessions.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::tests_support::{Answer, ORIGIN, PASSWORD, TestNauth, bearer, credentials, post, request, settings};
use crate::auth::import::{ImportedUser, Writing};
use crate::config::settings::{ContactChange, OnSessionLimit, Settings, TrustRule, VerificationMethod};
use crate::password_hash::imported::ImportedHash;

const ADA: &str = "ada@example.com";
const NEXT: &str = "another walk by the sea";

async fn nauth(change: impl FnOnce(&mut Settings)) -> TestNauth {
    let mut settings = settings();
    change(&mut settings);
    TestNauth::start(settings).await
}

fn with_email(settings: &mut Settings) {
    settings.signup.verification_method = VerificationMethod::Email;
}

async fn put(nauth: &TestNauth, token: &str, body: &Value) -> Answer {
    let lines = [("authorization", &*bearer(token)), ("content-type", "application/json")];
    nauth.send(request("PUT", "/auth/profile", &lines, Bytes::from(body.to_string()))).await
}

#[tokio::test]
async fn a_forgotten_password_is_reset_with_the_code_and_everything_old_ends() {
    let nauth = nauth(|_| {}).await;
    let old = nauth.ada().await.text("accessToken");
    let known = nauth.send(post("/auth/forgot-password", &[], &json!({"identifier": ADA}))).await.expect(200);
    assert_eq!(known.json()["destination"], "a***@example.com");
    assert_eq!((&known.json()["deliveryMedium"], &known.json()["expiresIn"]), (&json!("email"), &json!(900)));
    let code = nauth.code_to(ADA).await;
    let confirm = |code: &str, password: &str| json!({"identifier": ADA, "code": code, "newPassword": password});
    let path = "/auth/forgot-password/confirm";

    nauth.send(post(path, &[], &confirm("00000000", NEXT))).await.refuses(400, "PASSWORD_RESET_CODE_INVALID");
    nauth.send(post(path, &[], &confirm(&code, "short"))).await.refuses(400, "SIGNUP_WEAK_PASSWORD");
    nauth.send(post(path, &[], &confirm(&code, PASSWORD))).await.refuses(400, "PASSWORD_REUSED");
    nauth
        .send(post("/auth/reset-password/confirm", &[], &confirm(&code, NEXT)))
        .await
        .refuses(400, "PASSWORD_RESET_CODE_INVALID");
    let done = nauth.send(post(path, &[], &confirm(&code, NEXT))).await.expect(200);

    assert_eq!(done.json(), json!({"success": true, "mustChangePassword": false}));
    nauth
        .send(post(path, &[], &confirm(&code, "yet another one here")))
        .await
        .refuses(400, "PASSWORD_RESET_CODE_INVALID");
    nauth.get_as(&old, "/auth/profile").await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    nauth.login(ADA, PASSWORD).await.refuses(401, "AUTH_INVALID_CREDENTIALS");
    nauth.login(ADA, NEXT).await.expect(200);
}

#[tokio::test]
async fn nobody_learns_from_forgot_password_who_has_an_account() {
    let nauth = nauth(|_| {}).await;
    nauth.ada().await;
    let ask = async |identifier: &str| {
        let answer = nauth.send(post("/auth/forgot-password", &[], &json!({"identifier": identifier}))).await;
        let mut body = answer.expect(200).json();
        body["destination"].take();
        body
    };

    assert_eq!(ask(ADA).await, ask("bob@example.com").await);
    for _ in 0..2 {
        ask("bob@example.com").await;
    }
    let body = json!({"identifier": "BOB@example.com"});
    let limited = nauth.send(post("/auth/forgot-password", &[], &body)).await;
    let limited = limited.refuses(429, "RATE_LIMIT_PASSWORD_RESET");
    assert_eq!(limited.header("retry-after"), Some("3600"));
    assert_eq!(limited.json()["details"]["retryAfter"], 3600);
}

#[tokio::test]
async fn a_reset_code_dies_with_too_many_tries_and_with_its_time() {
    let nauth = nauth(|_| {}).await;
    nauth.ada().await;
    let path = "/auth/forgot-password/confirm";
    let confirm = |code: &str| json!({"identifier": ADA, "code": code, "newPassword": NEXT});
    let forget = async || {
        nauth.send(post("/auth/forgot-password", &[], &json!({"identifier": ADA}))).await.expect(200);
        nauth.code_to(ADA).await
    };
    let code = forget().await;
    let wrong = if code == "11111111" { "22222222" } else { "11111111" };
    for _ in 0..3 {
        nauth.send(post(path, &[], &confirm(wrong))).await.refuses(400, "PASSWORD_RESET_CODE_INVALID");
    }
    nauth.send(post(path, &[], &confirm(&code))).await.refuses(400, "PASSWORD_RESET_MAX_ATTEMPTS");

    let late = forget().await;
    nauth.clock.advance(std::time::Duration::from_mins(15));
    nauth.send(post(path, &[], &confirm(&late))).await.refuses(400, "PASSWORD_RESET_CODE_EXPIRED");
}

#[tokio::test]
async fn an_operators_code_is_nothing_for_the_users_own_reset() {
    let nauth = nauth(|_| {}).await;
    nauth.ada().await;
    let user = nauth.auth.find_user(ADA).await.unwrap();
    assert_eq!(nauth.auth.send_admin_reset(&user).await.unwrap(), "a***@example.com");
    let code = nauth.code_to(ADA).await;
    let confirm = json!({"identifier": ADA, "code": code, "newPassword": NEXT});

    nauth.send(post("/auth/forgot-password/confirm", &[], &confirm)).await.refuses(400, "PASSWORD_RESET_CODE_INVALID");
    nauth.send(post("/auth/reset-password/confirm", &[], &confirm)).await.expect(200);
    nauth.login(ADA, NEXT).await.expect(200);
}

#[tokio::test]
async fn a_reset_takes_an_unfinished_account_from_whoever_made_it() {
    let nauth = nauth(with_email).await;
    let squat = json!({"email": ADA, "password": "the squatter's own", "username": "ada", "firstName": "Eve"});
    nauth.send(post("/auth/signup", &[], &squat)).await.expect(201);
    nauth.send(post("/auth/forgot-password", &[], &json!({"identifier": ADA}))).await.expect(200);
    let code = nauth.code_to(ADA).await;

    let confirm = json!({"identifier": ADA, "code": code, "newPassword": NEXT});
    nauth.send(post("/auth/forgot-password/confirm", &[], &confirm)).await.expect(200);

    nauth.login(ADA, "the squatter's own").await.refuses(401, "AUTH_INVALID_CREDENTIALS");
    let user = nauth.login(ADA, NEXT).await.expect(200).json()["user"].clone();
    assert_eq!((&user["isEmailVerified"], user.get("firstName")), (&json!(true), None));
    assert!(nauth.audit_types().await.contains(&"EMAIL_VERIFIED".to_owned()));
}

#[tokio::test]
async fn a_changed_password_ends_every_session() {
    let nauth = nauth(|_| {}).await;
    let token = nauth.ada().await.text("accessToken");
    let change = |old: &str, new: &str| json!({"oldPassword": old, "newPassword": new});
    let path = "/auth/change-password";

    nauth.post_as(&token, path, &change("not the password", NEXT)).await.refuses(400, "PASSWORD_INCORRECT");
    nauth.post_as(&token, path, &change(PASSWORD, "short")).await.refuses(400, "SIGNUP_WEAK_PASSWORD");
    nauth.post_as(&token, path, &change(PASSWORD, PASSWORD)).await.refuses(400, "PASSWORD_REUSED");
    let done = nauth.post_as(&token, path, &change(PASSWORD, NEXT)).await.expect(200);

    assert_eq!(done.json(), json!({"success": true}));
    nauth.get_as(&token, "/auth/profile").await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    let token = nauth.login(ADA, NEXT).await.expect(200).text("accessToken");
    nauth.post_as(&token, path, &change(NEXT, PASSWORD)).await.refuses(400, "PASSWORD_REUSED");
}

#[tokio::test]
async fn an_old_password_must_be_changed_before_anything_else() {
    let nauth = nauth(|settings| settings.password.expiry = std::time::Duration::from_hours(24)).await;
    nauth.ada().await;
    nauth.clock.advance(std::time::Duration::from_hours(25));

    let challenge = nauth.login(ADA, PASSWORD).await.expect(200).json();
    assert_eq!(challenge["challengeName"], "FORCE_CHANGE_PASSWORD");
    let respond = |password: &str| json!({"session": challenge["session"], "type": "FORCE_CHANGE_PASSWORD", "newPassword": password});
    let path = "/auth/respond-challenge";
    nauth.send(post(path, &[], &respond(PASSWORD))).await.refuses(400, "PASSWORD_REUSED");
    let tokens = nauth.send(post(path, &[], &respond(NEXT))).await.expect(200);

    nauth.get_as(&tokens.text("accessToken"), "/auth/profile").await.expect(200);
    nauth.send(post(path, &[], &respond("once more with feeling"))).await.refuses(400, "CHALLENGE_ALREADY_COMPLETED");
    nauth.login(ADA, NEXT).await.expect(200);
}

#[tokio::test]
async fn an_address_is_changed_once_the_new_one_is_proven() {
    let nauth = nauth(|_| {}).await;
    let token = nauth.ada().await.text("accessToken");

    let pending = put(&nauth, &token, &json!({"email": "countess@example.com", "firstName": "Ada"})).await.expect(200);
    assert_eq!(
        (&pending.json()["email"], &pending.json()["pendingEmail"]),
        (&json!(ADA), &json!("countess@example.com"))
    );
    assert_eq!(pending.json()["firstName"], "Ada");
    nauth.login(ADA, PASSWORD).await.expect(200);
    let code = nauth.code_to("countess@example.com").await;
    let verify = |code: &str| json!({"code": code});
    let path = "/auth/profile/contact/verify";
    nauth.post_as(&token, path, &verify("000000x")).await.refuses(400, "VERIFY_CODE_INVALID");
    let changed = nauth.post_as(&token, path, &verify(&code)).await.expect(200).json();

    assert_eq!((&changed["email"], &changed["isEmailVerified"]), (&json!("countess@example.com"), &json!(true)));
    assert!(changed.get("pendingEmail").is_none());
    let countess = nauth.auth.find_user("countess@example.com").await.unwrap().id;
    assert!(nauth.audit_types_of(countess).await.contains(&"EMAIL_VERIFIED".to_owned()));
    nauth.login(ADA, PASSWORD).await.refuses(401, "AUTH_INVALID_CREDENTIALS");
    nauth.login("countess@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn sensitive_changes_need_a_fresh_login() {
    let nauth = nauth(|settings| settings.jwt.access_ttl = std::time::Duration::from_hours(1)).await;
    let token = nauth.ada().await.text("accessToken");
    nauth.clock.advance(std::time::Duration::from_mins(16));

    let stale = put(&nauth, &token, &json!({"email": "countess@example.com"})).await.refuses(403, "FORBIDDEN");
    assert_eq!(stale.json()["details"]["reason"], "reauth");
    put(&nauth, &token, &json!({"firstName": "Ada"})).await.expect(200);
    let wrong = json!({"password": "not the password"});
    nauth.post_as(&token, "/auth/reauthenticate", &wrong).await.refuses(401, "AUTH_INVALID_CREDENTIALS");
    let fresh = nauth.post_as(&token, "/auth/reauthenticate", &json!({"password": PASSWORD})).await.expect(200);

    put(&nauth, &fresh.text("accessToken"), &json!({"email": "countess@example.com"})).await.expect(200);
    nauth.clock.advance(std::time::Duration::from_mins(16));
    let renewed = nauth.post_as(&token, "/auth/login", &credentials("identifier")).await.expect(200);
    assert_eq!(
        nauth.get_as(&renewed.text("accessToken"), "/auth/sessions").await.json()["sessions"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn what_others_have_is_refused_all_at_once() {
    let nauth = nauth(|settings| settings.security.contact_change = ContactChange::Immediate).await;
    let token = nauth.ada().await.text("accessToken");
    let bob = json!({"email": "bob@example.com", "password": PASSWORD, "username": "bob", "phone": "+41791234567"});
    nauth.send(post("/auth/signup", &[], &bob)).await.expect(201);

    let clash = json!({"email": "bob@example.com", "username": "Bob", "phone": "+41 79 123 45 67"});
    let refused = put(&nauth, &token, &clash).await.refuses(400, "VALIDATION_FAILED");
    let conflicts = ["Email already exists", "Phone number already exists", "Username already exists"];
    assert_eq!(refused.json()["details"]["conflicts"], json!(conflicts));

    let free =
        put(&nauth, &token, &json!({"email": "ada@example.net", "phone": "+41797654321"})).await.expect(200).json();
    assert_eq!((&free["email"], &free["isEmailVerified"]), (&json!("ada@example.net"), &json!(false)));
    assert_eq!(free["phone"], "+41797654321");
    let ada = nauth.auth.find_user("ada@example.net").await.unwrap().id;
    let types = nauth.audit_types_of(ada).await;
    let has = |kind: &str| types.iter().any(|present| present == kind);
    assert!(!has("EMAIL_VERIFICATION_STATUS_UPDATED"), "it was not proven before: {types:?}");
    assert!(has("EMAIL_CHANGED") && !has("EMAIL_VERIFIED"), "{types:?}");
}

#[tokio::test]
async fn metadata_is_merged_within_its_bounds() {
    let nauth = nauth(|settings| settings.signup.metadata_max = 64).await;
    let token = nauth.ada().await.text("accessToken");
    put(&nauth, &token, &json!({"metadata": {"theme": "dark", "beta": true}})).await.expect(200);
    put(&nauth, &token, &json!({"metadata": {"theme": null, "size": 3}})).await.expect(200);

    let user = nauth.auth.find_user(ADA).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&user.metadata).unwrap(), json!({"beta": true, "size": 3}));
    let long = json!({"metadata": {"text": "x".repeat(60)}});
    put(&nauth, &token, &long).await.refuses(400, "VALIDATION_FAILED");
}

#[tokio::test]
async fn one_of_the_sessions_is_ended_and_nobody_elses() {
    let nauth = nauth(|_| {}).await;
    let first = nauth.ada().await.text("accessToken");
    let second = nauth.login(ADA, PASSWORD).await.text("accessToken");
    let bob = json!({"email": "bob@example.com", "password": PASSWORD});
    let bob = nauth.send(post("/auth/signup", &[], &bob)).await.text("accessToken");
    let listed = nauth.get_as(&second, "/auth/sessions").await.json()["sessions"].clone();
    let current = |is: bool| {
        let found = listed.as_array().unwrap().iter().find(|session| session["isCurrent"] == is);
        format!("/auth/sessions/{}", found.unwrap()["sessionId"].as_str().unwrap())
    };

    nauth.delete_as(&second, "/auth/sessions/x").await.refuses(400, "VALIDATION_FAILED");
    nauth.delete_as(&second, "/auth/sessions/1").await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    nauth.delete_as(&bob, &current(false)).await.refuses(403, "FORBIDDEN");
    let ended = nauth.delete_as(&second, &current(false)).await.expect(200);
    assert_eq!(ended.json(), json!({"success": true, "wasCurrentSession": false}));
    nauth.get_as(&first, "/auth/profile").await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    let own = nauth.delete_as(&second, &current(true)).await.expect(200);
    assert_eq!(own.json()["wasCurrentSession"], true);
}

#[tokio::test]
async fn sessions_are_bounded_as_configured() {
    let mut nauth = nauth(|settings| settings.session.max_concurrent = 2).await;
    nauth.ada().await;
    for _ in 0..3 {
        nauth.clock.advance(std::time::Duration::from_secs(1));
        nauth.login(ADA, PASSWORD).await.expect(200);
    }
    let count = async |nauth: &TestNauth, token: &str| {
        nauth.get_as(token, "/auth/sessions").await.json()["sessions"].as_array().unwrap().len()
    };
    let last = nauth.login(ADA, PASSWORD).await.text("accessToken");
    assert_eq!(count(&nauth, &last).await, 2);

    nauth.reload(|settings| settings.session.on_limit = OnSessionLimit::Deny);
    let denied = nauth.login(ADA, PASSWORD).await.refuses(403, "FORBIDDEN");
    assert_eq!(denied.json()["details"]["reason"], "session_limit");

    nauth.reload(|settings| (settings.session.max_concurrent, settings.session.single) = (0, true));
    let only = nauth.login(ADA, PASSWORD).await.text("accessToken");
    assert_eq!(count(&nauth, &only).await, 1);
}

#[tokio::test]
async fn an_idle_session_ends_and_an_active_one_does_not() {
    let nauth = nauth(|settings| settings.session.idle_timeout = std::time::Duration::from_mins(10)).await;
    let tokens = nauth.ada().await;
    let refresh = async |token: &str| nauth.send(post("/auth/refresh", &[], &json!({"refreshToken": token}))).await;
    nauth.clock.advance(std::time::Duration::from_mins(9));
    let tokens = refresh(&tokens.text("refreshToken")).await.expect(200);
    nauth.clock.advance(std::time::Duration::from_mins(9));
    let tokens = refresh(&tokens.text("refreshToken")).await.expect(200);

    nauth.clock.advance(std::time::Duration::from_mins(10));
    refresh(&tokens.text("refreshToken")).await.refuses(401, "AUTH_SESSION_EXPIRED");
}

#[tokio::test]
async fn a_trusted_device_is_known_by_a_token_that_changes_with_every_login() {
    let nauth = nauth(|_| {}).await;
    let token = nauth.ada().await.text("accessToken");
    let device = nauth.post_as(&token, "/auth/trust-device", &json!({})).await.expect(200).text("deviceToken");
    let login = async |device: &str| {
        nauth.send(post("/auth/login", &[("x-device-token", device)], &credentials("identifier"))).await.expect(200)
    };

    let first = login(&device).await;
    assert_eq!(first.json()["trusted"], true);
    let next = first.text("deviceToken");
    assert_ne!(next, device);
    nauth.get_as(&token, "/auth/profile").await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    let again = login(&device).await;
    assert_eq!(again.json()["trusted"], true, "who has lost the answer comes with the predecessor");
    let third = again.text("deviceToken");
    assert!(third != device && third != next, "and gets a token that lasts");
    let later = login(&next).await;
    assert_eq!(later.json()["trusted"], true);
    assert_eq!(login(&device).await.json()["trusted"], false, "two logins back it is not");
    let token = later.text("accessToken");
    let listed = nauth.get_as(&token, "/auth/trusted-devices").await.json()["trustedDevices"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1);

    let one = format!("/auth/trusted-devices/{}", listed[0]["id"]);
    nauth.delete_as(&token, "/auth/trusted-devices/7").await.refuses(404, "RESOURCE_NOT_FOUND");
    nauth.delete_as(&token, &one).await.expect(200);
    assert_eq!(login(&later.text("deviceToken")).await.json()["trusted"], false);
}

#[tokio::test]
async fn a_session_trusts_one_device_however_often_it_asks_and_its_former_tokens_do_not_last() {
    let nauth = nauth(|_| {}).await;
    let token = nauth.ada().await.text("accessToken");
    let trust = async || nauth.post_as(&token, "/auth/trust-device", &json!({})).await.expect(200).text("deviceToken");
    let is_trusted = async |device: &str| {
        let login = post("/auth/login", &[("x-device-token", device)], &credentials("identifier"));
        nauth.send(login).await.expect(200).json()["trusted"].as_bool().unwrap()
    };
    let is_listed = async || {
        let sessions = nauth.get_as(&token, "/auth/sessions").await.json()["sessions"].clone();
        sessions.as_array().unwrap().iter().any(|session| session["isTrustedDevice"] == true)
    };

    let (first, second) = (trust().await, trust().await);
    assert_ne!(first, second, "it is stored as a hash: it cannot be told again");
    let listed = nauth.get_as(&token, "/auth/trusted-devices").await.json()["trustedDevices"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert!(is_listed().await);
    nauth.delete_as(&token, &format!("/auth/trusted-devices/{}", listed[0]["id"])).await.expect(200);
    assert!(!is_listed().await, "what was trusted once is not now");

    let (first, second) = (trust().await, trust().await);
    nauth.clock.advance(std::time::Duration::from_mins(11));
    assert!(!is_trusted(&first).await);
    assert!(is_trusted(&second).await);
}

#[tokio::test]
async fn the_devices_unused_longest_give_way_to_new_ones() {
    let nauth = nauth(|settings| settings.mfa.trust.devices = TrustRule::Always).await;
    nauth.ada().await;
    let mut last = String::new();
    for _ in 0..22 {
        nauth.clock.advance(std::time::Duration::from_mins(2));
        last = nauth.login(ADA, PASSWORD).await.text("accessToken");
    }

    let listed = nauth.get_as(&last, "/auth/trusted-devices").await.json()["trustedDevices"].clone();

    assert_eq!(listed.as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn devices_become_strangers_with_a_new_password_and_for_somebody_else() {
    let mut nauth = nauth(|settings| settings.mfa.trust.devices = TrustRule::Always).await;
    nauth.ada().await;
    let first = nauth.login(ADA, PASSWORD).await;
    let device = first.text("deviceToken");
    let is_trusted = async |nauth: &TestNauth, token: &str, device: &str| {
        let lines = [("authorization", &*bearer(token)), ("x-device-token", device)];
        let answer = nauth.send(request("GET", "/auth/is-trusted-device", &lines, Bytes::new())).await;
        answer.expect(200).json()["trusted"].as_bool().unwrap()
    };
    assert!(is_trusted(&nauth, &first.text("accessToken"), &device).await);
    let bob = json!({"email": "bob@example.com", "password": PASSWORD});
    let bob = nauth.send(post("/auth/signup", &[], &bob)).await.text("accessToken");
    assert!(!is_trusted(&nauth, &bob, &device).await);

    let change = json!({"oldPassword": PASSWORD, "newPassword": NEXT});
    nauth.post_as(&first.text("accessToken"), "/auth/change-password", &change).await.expect(200);
    let after = nauth.login(ADA, NEXT).await.text("accessToken");
    assert!(!is_trusted(&nauth, &after, &device).await);

    nauth.reload(|settings| settings.mfa.trust.devices = TrustRule::Never);
    nauth.post_as(&after, "/auth/trust-device", &json!({})).await.refuses(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_browser_holds_its_device_token_in_a_cookie_and_gives_it_up_when_told() {
    let nauth = nauth(|settings| settings.mfa.trust.devices = TrustRule::Always).await;
    nauth.ada().await;
    let own = [("origin", ORIGIN)];
    let login = nauth.send(post("/auth/login", &own, &credentials("identifier"))).await.expect(200);
    assert!(login.json().get("deviceToken").is_none() && login.json()["trusted"] == true);
    let names = ["nauth_access_token", "nauth_csrf_token", "nauth_device_token"];
    let cookies = names.map(|name| format!("{name}={}", login.cookie(name).unwrap())).join("; ");

    let lines = [own[0], ("cookie", cookies.as_str())];
    let out = nauth.send(request("GET", "/auth/logout?forgetMe=true", &lines, Bytes::new())).await.expect(200);

    assert!(out.clears("nauth_device_token"), "{out:?}");
    let again = [own[0], ("x-device-token", login.cookie("nauth_device_token").unwrap())];
    let again = nauth.send(post("/auth/login", &again, &credentials("identifier"))).await.expect(200);
    assert_ne!(again.cookie("nauth_device_token"), None, "a stranger gets a token of its own");
}

#[tokio::test]
async fn setup_data_and_challenge_data_are_for_challenges_of_their_kind() {
    let nauth = nauth(with_email).await;
    let session = nauth.ada_unproven().await["session"].clone();
    for (path, expected) in [("setup-data", "MFA_SETUP_REQUIRED"), ("challenge-data", "MFA_REQUIRED")] {
        let path = format!("/auth/challenge/{path}");
        let refused = nauth.send(post(&path, &[], &json!({"session": session, "method": "totp"}))).await;
        let message = refused.refuses(400, "VALIDATION_FAILED").text("message");
        assert!(message.contains(expected) && message.ends_with("got VERIFY_EMAIL"), "{message}");
        let nobodys = json!({"session": "6f0b5f0e-6c5c-4c52-9a39-0d3c1f0a0b1c", "method": "totp"});
        nauth.send(post(&path, &[], &nobodys)).await.refuses(400, "CHALLENGE_INVALID");
    }
}

#[tokio::test]
async fn an_existing_account_is_hidden_where_that_is_asked_for() {
    let nauth = nauth(|settings| {
        with_email(settings);
        settings.security.hide_existing_accounts = true;
    })
    .await;
    let fresh = nauth.ada_unproven().await;
    let code = nauth.code_to(ADA).await;
    nauth.respond(&fresh["session"], "VERIFY_EMAIL", &code).await.expect(200);
    nauth.clock.advance(std::time::Duration::from_mins(2));

    let hidden = nauth.ada_unproven().await;

    let shape = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(shape(&hidden), shape(&fresh));
    assert_ne!(hidden["sub"], fresh["sub"]);
    for _ in 0..3 {
        nauth.respond(&hidden["session"], "VERIFY_EMAIL", &code).await.refuses(400, "VERIFY_CODE_INVALID");
    }
    nauth.respond(&hidden["session"], "VERIFY_EMAIL", &code).await.refuses(400, "CHALLENGE_MAX_ATTEMPTS");
    nauth.login(ADA, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn signup_is_open_to_whom_the_settings_say() {
    let mut nauth = nauth(|settings| {
        settings.signup.allow_email_domains = vec!["example.com".to_owned()];
        settings.signup.allow_emails = vec!["friend@elsewhere.example".parse().unwrap()];
    })
    .await;
    let signup = async |nauth: &TestNauth, email: &str, invitation: Option<&str>| {
        let body = json!({"email": email, "password": PASSWORD, "inviteCode": invitation});
        nauth.send(post("/auth/signup", &[], &body)).await
    };
    signup(&nauth, "eve@evil.example", None).await.refuses(400, "SIGNUP_NOT_ALLOWED");
    signup(&nauth, "eve@sub.example.com", None).await.refuses(400, "SIGNUP_NOT_ALLOWED");
    signup(&nauth, ADA, None).await.expect(201);
    signup(&nauth, "friend@elsewhere.example", None).await.expect(201);

    nauth.reload(|settings| {
        settings.signup.allow_email_domains.clear();
        settings.signup.allow_emails.clear();
        settings.signup.deny_email_domains = vec!["evil.example".to_owned()];
        settings.signup.deny_disposable = true;
        settings.signup.invite_only = true;
    });
    signup(&nauth, "mallory@mail.evil.example", None).await.refuses(400, "SIGNUP_NOT_ALLOWED");
    signup(&nauth, "mallory@mailinator.com", None).await.refuses(400, "SIGNUP_NOT_ALLOWED");
    let week = std::time::Duration::from_hours(7 * 24);
    let code = nauth.auth.invite(Some("bob@example.com".parse().unwrap()), 1, week).await.unwrap();
    signup(&nauth, "bob@example.com", None).await.refuses(400, "SIGNUP_NOT_ALLOWED");
    signup(&nauth, "carol@example.com", Some(code.expose())).await.refuses(400, "SIGNUP_NOT_ALLOWED");
    signup(&nauth, "bob@example.com", Some(code.expose())).await.expect(201);
    signup(&nauth, "bob@example.com", Some(code.expose())).await.refuses(400, "SIGNUP_NOT_ALLOWED");
}

#[tokio::test]
async fn a_hash_of_another_system_gives_way_to_our_own_at_the_first_login() {
    let nauth = nauth(|_| {}).await;
    let typed = "correct horse battery";
    let hashes = [
        "$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va",
        "{SSHA}+zgJCcduvLFhD+Rk7/v3C0FqyKpzYWx0c2FsdA==",
    ];
    for (n, hash) in hashes.into_iter().enumerate() {
        let email = format!("user{n}@example.com");
        let user = ImportedUser {
            id: None,
            email: email.parse().unwrap(),
            email_verified: true,
            username: None,
            phone: None,
            phone_verified: false,
            first_name: None,
            last_name: None,
            password: Some(ImportedHash::parse(hash).unwrap()),
            password_changed_at: None,
            roles: None,
            lock: None,
            mfa_exempt: None,
            metadata: serde_json::Map::new(),
            metadata_admin: serde_json::Map::new(),
            created_at: None,
            must_change_password: false,
            locale: None,
            timezone: None,
        };
        assert_eq!(nauth.auth.import(&[user], Writing::Store).await.unwrap(), [Ok(())]);
        let stored = async || nauth.auth.find_user(&email).await.unwrap().password_hash.unwrap().expose().clone();
        assert!(!stored().await.starts_with("$argon2id$"), "{hash}");

        nauth.login(&email, "a wrong guess").await.refuses(401, "AUTH_INVALID_CREDENTIALS");
        assert!(!stored().await.starts_with("$argon2id$"), "{hash}");
        nauth.login(&email, typed).await.expect(200);

        let ours = stored().await;
        assert!(ours.starts_with("$argon2id$"), "{ours}");
        nauth.login(&email, typed).await.expect(200);
        assert_eq!(stored().await, ours, "once is enough");
    }
}
