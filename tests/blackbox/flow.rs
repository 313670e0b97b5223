//! The main job by JSON: sign up, prove the address, log in, reach the app, stay, leave.

use regex::Regex;
use serde_json::json;

use crate::support::{Account, Answer, Config, Echo, Nauth, PASSWORD, Request, Seen, eventually, secs};

#[tokio::test]
async fn a_person_signs_up_proves_the_address_and_reaches_the_app() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;

    let challenge = nauth.try_signup("Ada@Example.com", PASSWORD).await.expect(201).json();
    assert_eq!(challenge["challengeName"], "VERIFY_EMAIL");
    assert!(is_uuid_v4(challenge["session"].as_str().unwrap()), "{challenge}");
    assert!(is_uuid_v4(challenge["sub"].as_str().unwrap()), "{challenge}");
    assert_eq!(challenge["challengeParameters"]["email"], "ada@example.com");
    assert_eq!(challenge["challengeParameters"]["codeDeliveryDestination"], "a***@example.com");

    let code = nauth.code_for("ada@example.com").await;
    let answer = nauth.respond(challenge["session"].as_str().unwrap(), &code).await.expect(200);
    let ada = Account::in_answer(&answer);
    assert_eq!(ada.sub, challenge["sub"]);

    let seen = proxied(&nauth, &ada).await;
    assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("X-Forwarded-Email"), Some("ada@example.com"));
    assert_eq!(seen.header("X-Forwarded-Groups"), Some("user"));
    assert_eq!(seen.header("Authorization"), None);
}

#[tokio::test]
async fn the_built_in_page_shows_who_the_upstream_thinks_you_are() {
    let nauth = Nauth::start(Config::whoami()).await;
    let ada = nauth.signup("ada@example.com").await;

    let page = nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);

    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{page}");
    assert!(page.text().to_lowercase().contains(&format!("x-forwarded-user: {}", ada.sub)), "{page}");
    assert!(!page.text().contains(&ada.access_token), "{page}");
}

#[tokio::test]
async fn an_answered_challenge_brings_tokens_and_who_the_user_is() {
    let nauth = Nauth::start(Config::whoami()).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let code = nauth.code_for("ada@example.com").await;

    let answer = nauth.respond(challenge["session"].as_str().unwrap(), &code).await.expect(200);

    let body = answer.json();
    let (access, refresh) = (&body["accessTokenExpiresAt"], &body["refreshTokenExpiresAt"]);
    assert!(access.as_i64().unwrap() < refresh.as_i64().unwrap(), "{answer}");
    assert_eq!(body["authMethod"], "password");
    assert_eq!(body["user"]["sub"], body["sub"]);
    assert_eq!(body["user"]["email"], "ada@example.com");
    assert_eq!(body["user"]["isEmailVerified"], true);
    assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");
    assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-store")), "{answer}");
}

#[tokio::test]
async fn a_session_shows_its_profile_and_itself() {
    let nauth = Nauth::start(Config::whoami()).await;
    let ada = nauth.signup("ada@example.com").await;

    let profile = nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await.expect(200).json();
    assert_eq!((&profile["sub"], &profile["email"]), (&json!(ada.sub), &json!("ada@example.com")));
    assert_eq!((&profile["isEmailVerified"], &profile["isActive"]), (&json!(true), &json!(true)));
    assert_eq!((&profile["hasPasswordHash"], &profile["isLocked"]), (&json!(true), &json!(false)));
    assert!(profile["createdAt"].as_str().unwrap().contains('T'), "{profile}");

    let sessions = nauth.send(&Request::get("/auth/sessions").bearer(&ada.access_token)).await.expect(200).json();
    let [session] = &sessions["sessions"].as_array().unwrap()[..] else { panic!("one session: {sessions}") };
    assert!(session["sessionId"].as_str().unwrap().parse::<u64>().is_ok_and(|id| id < 1 << 53), "{session}");
    assert_eq!(session["isCurrent"], true);
}

#[tokio::test]
async fn a_refresh_brings_a_new_pair_that_works() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let refreshed = nauth.refresh(&ada).await;

    assert_ne!(refreshed.refresh_token, ada.refresh_token);
    assert_eq!(proxied(&nauth, &refreshed).await.header("X-Forwarded-User"), Some(ada.sub.as_str()));
}

#[tokio::test]
async fn a_logout_ends_its_session_everywhere_within_a_second_and_no_other() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let phone = nauth.signup("ada@example.com").await;
    let laptop = nauth.login("ada@example.com").await;
    proxied(&nauth, &phone).await;

    let answer = nauth.send(&Request::post("/auth/logout").bearer(&phone.access_token)).await.expect(200);

    assert_eq!(answer.json(), json!({ "success": true }));
    refused_within_a_second(&nauth, "/", &phone).await;
    refused_within_a_second(&nauth, "/auth/profile", &phone).await;
    nauth.try_refresh(&phone.refresh_token).await.expect(401);
    proxied(&nauth, &laptop).await;
}

#[tokio::test]
async fn a_logout_by_get_works_for_clients_that_call_it() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.send(&Request::get("/auth/logout").bearer(&ada.access_token)).await.expect(200);

    refused_within_a_second(&nauth, "/auth/profile", &ada).await;
}

#[tokio::test]
async fn a_logout_from_everywhere_ends_every_session_and_a_login_begins_a_new_one() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let phone = nauth.signup("ada@example.com").await;
    let laptop = nauth.login("ada@example.com").await;

    let answer = nauth.send(&Request::post("/auth/logout/all").bearer(&phone.access_token)).await.expect(200);

    assert_eq!(answer.json()["revokedCount"], 2);
    for ended in [&phone, &laptop] {
        refused_within_a_second(&nauth, "/", ended).await;
        refused_within_a_second(&nauth, "/auth/profile", ended).await;
        nauth.try_refresh(&ended.refresh_token).await.expect(401);
    }
    let again = nauth.login("ada@example.com").await;
    proxied(&nauth, &again).await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    nauth.signup("ada@example.com").await;

    let wrong = nauth.try_login("ada@example.com", "not the password").await;
    let unknown = nauth.try_login("nobody@example.com", "not the password").await;

    let wrong = wrong.expect_error(401, "AUTH_INVALID_CREDENTIALS").json();
    let unknown = unknown.expect_error(401, "AUTH_INVALID_CREDENTIALS").json();
    assert_eq!((&wrong["message"], &wrong["details"]), (&unknown["message"], &unknown["details"]));
}

#[tokio::test]
async fn a_user_name_logs_in_too() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let body = json!({ "email": "ada@example.com", "username": "Ada_L", "password": PASSWORD });
    nauth.send(&Request::post("/auth/signup").json(&body)).await.expect(201);

    let by_name = Account::in_answer(&nauth.try_login("ada_l", PASSWORD).await.expect(200));

    assert_eq!(by_name.email, "ada@example.com");
    let again = json!({ "email": "bob@example.com", "username": "ADA_L", "password": PASSWORD });
    let answer = nauth.send(&Request::post("/auth/signup").json(&again)).await;
    answer.expect_error(409, "SIGNUP_USERNAME_EXISTS");
}

#[tokio::test]
async fn without_verification_a_signup_brings_tokens_at_once() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;

    let ada = Account::in_answer(&nauth.try_signup("ada@example.com", PASSWORD).await.expect(201));

    let seen = proxied(&nauth, &ada).await;
    assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("X-Forwarded-Email"), None, "an unproven address stays here");
}

#[tokio::test]
async fn a_login_before_the_address_is_proven_continues_the_challenge_without_another_mail() {
    let nauth = Nauth::start(Config::whoami()).await;
    let first = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();

    let second = nauth.try_login("ada@example.com", PASSWORD).await.expect(200).json();

    assert_eq!(second["challengeName"], "VERIFY_EMAIL");
    assert_eq!(second["session"], first["session"]);
    let code = nauth.code_for("ada@example.com").await;
    nauth.respond(second["session"].as_str().unwrap(), &code).await.expect(200);
    assert_eq!(nauth.codes_for("ada@example.com").len(), 1);
}

#[tokio::test]
async fn a_resend_waits_for_its_turn() {
    let nauth = Nauth::start(Config::whoami()).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();

    let answer = resend(&nauth, &challenge["session"]).await.expect_error(429, "RATE_LIMIT_RESEND");

    let seconds = answer.json()["details"]["retryAfter"].as_u64().unwrap();
    assert!((1..=60).contains(&seconds), "{answer}");
    assert_eq!(answer.header("retry-after"), Some(seconds.to_string().as_str()));
}

#[tokio::test]
async fn a_resent_code_answers_the_challenge() {
    let nauth = Nauth::start(Config::whoami().set("signup.email_verification.resend_delay", "0s")).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    nauth.code_for("ada@example.com").await;

    let resent = resend(&nauth, &challenge["session"]).await.expect(200);

    assert_eq!(resent.json()["destination"], "a***@example.com");
    let code = nauth.code_for("ada@example.com").await;
    nauth.respond(challenge["session"].as_str().unwrap(), &code).await.expect(200);
}

#[tokio::test]
async fn an_address_gets_no_more_mail_than_the_limit() {
    let limit = json!({ "max": 2, "window": "1h" });
    let nauth = Nauth::start(Config::whoami().set("signup.email_verification.send_limit", limit)).await;
    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);
    let second = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();

    let third = nauth.try_signup("ada@example.com", "a third password").await;

    let third = third.expect_error(429, "RATE_LIMIT_EMAIL");
    assert!(third.json()["details"]["retryAfter"].as_u64().unwrap() > 0, "{third}");
    nauth.code_for("ada@example.com").await;
    let code = nauth.code_for("ada@example.com").await;
    nauth.respond(second["session"].as_str().unwrap(), &code).await.expect(200);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn three_wrong_codes_end_a_challenge_even_for_the_right_one() {
    let nauth = Nauth::start(Config::whoami()).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let session = challenge["session"].as_str().unwrap();
    let code = nauth.code_for("ada@example.com").await;
    let wrong = if code == "000000" { "111111" } else { "000000" };

    for _ in 0..3 {
        nauth.respond(session, wrong).await.expect_error(400, "VERIFY_CODE_INVALID");
    }

    nauth.respond(session, &code).await.expect_error(400, "CHALLENGE_MAX_ATTEMPTS");
    resend(&nauth, &challenge["session"]).await.expect_error(400, "CHALLENGE_MAX_ATTEMPTS");
}

#[tokio::test]
async fn a_challenge_is_answered_once() {
    let nauth = Nauth::start(Config::whoami()).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let code = nauth.code_for("ada@example.com").await;
    nauth.respond(challenge["session"].as_str().unwrap(), &code).await.expect(200);

    let again = nauth.respond(challenge["session"].as_str().unwrap(), &code).await;

    again.expect_error(400, "CHALLENGE_ALREADY_COMPLETED");
}

#[tokio::test]
async fn a_challenge_nobody_has_is_invalid() {
    let nauth = Nauth::start(Config::whoami()).await;
    let nobody = json!("6f9619ff-8b86-4011-b42d-00c04fc964ff");

    nauth.respond(nobody.as_str().unwrap(), "123456").await.expect_error(400, "CHALLENGE_INVALID");
    resend(&nauth, &nobody).await.expect_error(400, "CHALLENGE_INVALID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_parallel_answers_with_the_right_code_exactly_one_succeeds() {
    let nauth = Nauth::start(Config::whoami()).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let session = challenge["session"].as_str().unwrap();
    let code = nauth.code_for("ada@example.com").await;

    let answers = futures_util::future::join_all((0..50).map(|_| nauth.respond(session, &code))).await;

    let succeeded: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    let [winner] = succeeded[..] else { panic!("{} answers succeeded", succeeded.len()) };
    // What comes too often is refused before it is looked at.
    assert!(answers.iter().all(|answer| [200, 400, 429].contains(&answer.status)), "{answers:?}");
    let ada = Account::in_answer(winner);
    let sessions = nauth.send(&Request::get("/auth/sessions").bearer(&ada.access_token)).await.expect(200).json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "{sessions}");
}

#[tokio::test]
async fn a_complete_account_keeps_its_address() {
    let nauth = Nauth::start(Config::whoami()).await;
    nauth.signup("ada@example.com").await;

    let duplicate = nauth.try_signup("ADA@example.com ", "another password").await;

    duplicate.expect_error(409, "SIGNUP_EMAIL_EXISTS");
    nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_signup_replaces_an_account_nobody_finished() {
    let nauth = Nauth::start(Config::whoami()).await;
    let squatter = nauth.try_signup("ada@example.com", "the password of a squatter").await.expect(201).json();
    let squatters_code = nauth.code_for("ada@example.com").await;

    let owner = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let owners_code = nauth.code_for("ada@example.com").await;

    let answer = nauth.respond(squatter["session"].as_str().unwrap(), &squatters_code).await;
    answer.expect_error(400, "CHALLENGE_INVALID");
    nauth.respond(owner["session"].as_str().unwrap(), &owners_code).await.expect(200);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    let squatter = nauth.try_login("ada@example.com", "the password of a squatter").await;
    squatter.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_weak_password_is_told_what_it_lacks() {
    let nauth = Nauth::start(Config::whoami()).await;

    let answer = nauth.try_signup("ada@example.com", "short").await.expect_error(400, "SIGNUP_WEAK_PASSWORD");

    let errors = answer.json()["details"]["errors"].clone();
    assert!(errors.as_array().is_some_and(|errors| errors.iter().any(serde_json::Value::is_string)), "{answer}");
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_by_field() {
    let nauth = Nauth::start(Config::whoami()).await;
    let cases = [
        ("/auth/signup", json!({ "email": "not an address", "password": PASSWORD }), "email"),
        ("/auth/signup", json!({ "password": PASSWORD }), "email"),
        ("/auth/signup", json!({ "email": "ada@example.com" }), "password"),
        ("/auth/signup", json!({ "email": "ada@example.com", "password": 12 }), "password"),
        ("/auth/signup", json!({ "email": "ada@example.com", "password": "x".repeat(1025) }), "password"),
        ("/auth/signup", json!({ "email": "ada@example.com", "password": PASSWORD, "username": "a b" }), "username"),
        ("/auth/login", json!({ "password": PASSWORD }), "identifier"),
        ("/auth/respond-challenge", json!({ "session": "x", "type": "VERIFY_EMAIL", "code": "123456" }), "session"),
        ("/auth/challenge/resend", json!({}), "session"),
    ];

    for (path, body, field) in cases {
        let answer = nauth.send(&Request::post(path).json(&body)).await.expect_error(400, "VALIDATION_FAILED");
        let messages = &answer.json()["details"]["validationErrors"][field];
        assert!(messages[0].is_string(), "{field} of {body}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_as_a_whole() {
    let nauth = Nauth::start(Config::whoami()).await;

    for body in [json!([1]), json!("text"), json!(7)] {
        let answer = nauth.send(&Request::post("/auth/login").json(&body)).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED");
        assert!(answer.json().get("details").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn unknown_properties_are_ignored() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let body = json!({
        "email": "ada@example.com", "password": PASSWORD, "isAdmin": true, "roles": ["admin"], "isEmailVerified": true, "sub": "x",
    });

    let ada = Account::in_answer(&nauth.send(&Request::post("/auth/signup").json(&body)).await.expect(201));

    let profile = nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await.expect(200).json();
    assert_eq!(profile["isEmailVerified"], false);
    let page = nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    assert!(!page.text().contains("admin"), "{page}");
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_is_there_for_another_method() {
    let nauth = Nauth::start(Config::whoami()).await;

    nauth.send(&Request::post("/auth/nothing").json(&json!({}))).await.expect_error(404, "RESOURCE_NOT_FOUND");
    nauth.send(&Request::get("/authority")).await.expect_error(401, "AUTH_TOKEN_INVALID");
    let answer = nauth.send(&Request::get("/auth/login")).await.expect_error(405, "METHOD_NOT_ALLOWED");
    assert!(answer.header("allow").is_some_and(|allowed| allowed.contains("POST")), "{answer}");
}

#[tokio::test]
async fn a_closed_signup_says_so() {
    let nauth = Nauth::start(Config::whoami().set("signup.enabled", false)).await;

    nauth.try_signup("ada@example.com", PASSWORD).await.expect_error(403, "SIGNUP_DISABLED");
}

async fn resend(nauth: &Nauth, session: &serde_json::Value) -> Answer {
    nauth.send(&Request::post("/auth/challenge/resend").json(&json!({ "session": session }))).await
}

async fn proxied(nauth: &Nauth, account: &Account) -> Seen {
    Seen::in_answer(&nauth.send(&Request::get("/").bearer(&account.access_token)).await.expect(200))
}

async fn refused_within_a_second(nauth: &Nauth, path: &str, account: &Account) {
    let request = Request::get(path).bearer(&account.access_token);
    let refused = eventually(secs(1), async || Some(nauth.send(&request).await).filter(|answer| answer.status == 401));
    let answer = refused.await.unwrap_or_else(|| panic!("{path} is still answered"));
    answer.expect_error(401, "AUTH_SESSION_NOT_FOUND");
}

fn is_uuid_v4(text: &str) -> bool {
    Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").unwrap().is_match(text)
}
