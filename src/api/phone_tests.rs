//! Phone numbers over the native wire: proven at signup, collected at login, one holder each.

use serde_json::{Value, json};

use crate::api::tests_support::{Answer, PASSWORD, TestNauth, post, settings};
use crate::config::settings::{Settings, VerificationMethod, Window};

const ADA: &str = "ada@example.com";
const NUMBER: &str = "+41791234567";
const OTHER: &str = "+41797654321";

async fn nauth(method: VerificationMethod, change: impl FnOnce(&mut Settings)) -> TestNauth {
    let mut settings = settings();
    settings.signup.verification_method = method;
    change(&mut settings);
    TestNauth::start(settings).await
}

async fn signup(nauth: &TestNauth, email: &str, phone: Option<&str>) -> Answer {
    nauth.send(post("/auth/signup", &[], &json!({"email": email, "password": PASSWORD, "phone": phone}))).await
}

async fn respond(nauth: &TestNauth, session: &Value, key: &str, value: &str) -> Answer {
    let body = json!({"session": session, "type": "VERIFY_PHONE", key: value});
    nauth.send(post("/auth/respond-challenge", &[], &body)).await
}

#[tokio::test]
async fn a_number_is_proven_by_the_code_sent_there() {
    let nauth = nauth(VerificationMethod::Phone, |_| {}).await;
    let missing = signup(&nauth, ADA, None).await.refuses(400, "SIGNUP_PHONE_REQUIRED").json();
    assert_eq!(missing["details"], json!({"verificationMethod": "phone"}));

    // Spaces and brackets are how people write numbers.
    let challenge = signup(&nauth, ADA, Some("+41 79 123 45 67")).await.expect(201).json();

    assert_eq!(challenge["challengeName"], "VERIFY_PHONE");
    let parameters = &challenge["challengeParameters"];
    assert_eq!(
        (&parameters["phone"], &parameters["codeDeliveryDestination"]),
        (&json!(NUMBER), &json!("***-***-4567"))
    );
    let code = nauth.code_to(NUMBER).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    respond(&nauth, &challenge["session"], "code", wrong).await.refuses(400, "VERIFY_CODE_INVALID");
    let done = respond(&nauth, &challenge["session"], "code", &code).await.expect(200);
    let profile = nauth.get_as(&done.text("accessToken"), "/auth/profile").await.expect(200).json();
    assert_eq!((&profile["phone"], &profile["isPhoneVerified"]), (&json!(NUMBER), &json!(true)));
    nauth.login(NUMBER, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn where_both_are_asked_for_the_address_comes_first() {
    let nauth = nauth(VerificationMethod::Both, |_| {}).await;
    let first = signup(&nauth, ADA, Some(NUMBER)).await.expect(201).json();
    assert_eq!(first["challengeName"], "VERIFY_EMAIL");

    let code = nauth.code_to(ADA).await;
    let second = nauth.respond(&first["session"], "VERIFY_EMAIL", &code).await.expect(200).json();

    assert_eq!(second["challengeName"], "VERIFY_PHONE");
    assert_ne!(first["session"], second["session"]);
    let code = nauth.code_to(NUMBER).await;
    respond(&nauth, &first["session"], "code", &code).await.refuses(400, "CHALLENGE_ALREADY_COMPLETED");
    let done = respond(&nauth, &second["session"], "code", &code).await.expect(200).json();
    assert!(done["accessToken"].is_string() && done["user"]["isPhoneVerified"] == true, "{done}");
}

#[tokio::test]
async fn an_account_without_a_number_is_asked_for_one_at_its_next_login() {
    let mut nauth = nauth(VerificationMethod::None, |_| {}).await;
    signup(&nauth, ADA, None).await.expect(201);
    signup(&nauth, "bob@example.com", Some(OTHER)).await.expect(201);
    nauth.reload(|settings| settings.signup.verification_method = VerificationMethod::Phone);
    let bob = nauth.login("bob@example.com", PASSWORD).await.expect(200).json();
    respond(&nauth, &bob["session"], "code", &nauth.code_to(OTHER).await).await.expect(200);

    let challenge = nauth.login(ADA, PASSWORD).await.expect(200).json();

    assert_eq!(challenge["challengeName"], "VERIFY_PHONE");
    assert_eq!(challenge["challengeParameters"]["requiresPhoneCollection"], "true");
    let session = &challenge["session"];
    let early = respond(&nauth, session, "code", "123456").await.refuses(400, "VALIDATION_FAILED");
    assert_eq!(early.text("message"), "Phone number not yet provided. Submit phone number first.");
    let malformed = respond(&nauth, session, "phone", "0791234567").await.refuses(400, "VALIDATION_FAILED").json();
    assert_eq!(malformed["details"]["validationErrors"].as_object().unwrap().keys().collect::<Vec<_>>(), ["phone"]);
    respond(&nauth, session, "phone", OTHER).await.refuses(409, "SIGNUP_PHONE_EXISTS");
    let collected = respond(&nauth, session, "phone", NUMBER).await.expect(200).json();
    assert_eq!((&collected["session"], &collected["challengeName"]), (session, &json!("VERIFY_PHONE")));
    assert_eq!(collected["challengeParameters"]["phone"], NUMBER);
    let code = nauth.code_to(NUMBER).await;
    respond(&nauth, session, "code", &code).await.expect(200);
}

#[tokio::test]
async fn a_number_somebody_has_only_given_is_whoevers_proves_it() {
    let mut nauth = nauth(VerificationMethod::None, |_| {}).await;
    signup(&nauth, ADA, None).await.expect(201);
    signup(&nauth, "mallory@example.com", Some(NUMBER)).await.expect(201);
    signup(&nauth, "eve@example.com", None).await.expect(201);
    nauth.reload(|settings| settings.signup.verification_method = VerificationMethod::Phone);
    let eve = nauth.login("eve@example.com", PASSWORD).await.expect(200).json();
    respond(&nauth, &eve["session"], "phone", NUMBER).await.expect(200);
    let eves = nauth.code_to(NUMBER).await;

    let ada = nauth.login(ADA, PASSWORD).await.expect(200).json();
    respond(&nauth, &ada["session"], "phone", NUMBER).await.expect(200);
    let code = nauth.code_to(NUMBER).await;
    let proven = respond(&nauth, &ada["session"], "code", &code).await.expect(200);

    let profile = nauth.get_as(&nauth.login(NUMBER, PASSWORD).await.text("accessToken"), "/auth/profile").await;
    assert_eq!(profile.text("email"), ADA, "the number names whoever has proven it");
    respond(&nauth, &eve["session"], "code", &eves).await.refuses(409, "SIGNUP_PHONE_EXISTS");
    signup(&nauth, "bob@example.com", Some(NUMBER)).await.refuses(409, "SIGNUP_PHONE_EXISTS");
    let profile = nauth.get_as(&proven.text("accessToken"), "/auth/profile").await.json();
    assert_eq!((&profile["phone"], &profile["isPhoneVerified"]), (&json!(NUMBER), &json!(true)));
}

#[tokio::test]
async fn a_typing_error_in_the_number_can_be_put_right() {
    let nauth = nauth(VerificationMethod::Phone, |_| {}).await;
    let challenge = signup(&nauth, ADA, Some(OTHER)).await.expect(201).json();
    let old = nauth.code_to(OTHER).await;

    respond(&nauth, &challenge["session"], "phone", NUMBER).await.expect(200);

    let code = nauth.code_to(NUMBER).await;
    if old != code {
        respond(&nauth, &challenge["session"], "code", &old).await.refuses(400, "VERIFY_CODE_INVALID");
    }
    respond(&nauth, &challenge["session"], "code", &code).await.expect(200);
}

#[tokio::test]
async fn a_number_has_one_holder_unless_the_settings_say_otherwise() {
    let mut nauth = nauth(VerificationMethod::None, |_| {}).await;
    signup(&nauth, ADA, Some(NUMBER)).await.expect(201);
    signup(&nauth, "bob@example.com", Some(NUMBER)).await.refuses(409, "SIGNUP_PHONE_EXISTS");

    nauth.reload(|settings| settings.signup.allow_duplicate_phones = true);
    signup(&nauth, "bob@example.com", Some(NUMBER)).await.expect(201);
}

#[tokio::test]
async fn numbers_of_some_countries_only() {
    let nauth =
        nauth(VerificationMethod::Phone, |settings| settings.signup.allow_countries = vec!["CH".to_owned()]).await;

    signup(&nauth, ADA, Some("+12025550123")).await.refuses(400, "VALIDATION_INVALID_PHONE");
    signup(&nauth, ADA, Some(NUMBER)).await.expect(201);
}

#[tokio::test]
async fn messages_are_sent_no_faster_and_no_more_often_than_allowed() {
    let nauth = nauth(VerificationMethod::Phone, |settings| {
        settings.signup.global_sms_limit = Window { max: 4, window: std::time::Duration::from_hours(1) };
    })
    .await;
    let challenge = signup(&nauth, ADA, Some(NUMBER)).await.expect(201).json();
    let resend =
        async || nauth.send(post("/auth/challenge/resend", &[], &json!({"session": challenge["session"]}))).await;

    for _ in 0..5 {
        // Too early: refused, and it costs nothing of what may be sent.
        let early = resend().await.refuses(429, "RATE_LIMIT_RESEND").json();
        assert_eq!(early["details"], json!({"retryAfter": 60, "resendDelay": 60}));
    }
    for _ in 0..2 {
        nauth.clock.advance(std::time::Duration::from_mins(1));
        assert_eq!(resend().await.expect(200).json()["destination"], "***-***-4567");
    }
    nauth.clock.advance(std::time::Duration::from_mins(1));
    let details = resend().await.refuses(429, "RATE_LIMIT_SMS").json()["details"].clone();
    assert_eq!((&details["currentCount"], &details["maxAttempts"]), (&json!(4), &json!(3)));

    // Another number is one more of all numbers together; the next one is one too many.
    signup(&nauth, "bob@example.com", Some(OTHER)).await.expect(201);
    signup(&nauth, "carol@example.com", Some("+41791111111")).await.refuses(429, "RATE_LIMIT_SMS");
}

#[tokio::test]
async fn a_new_number_counts_once_it_is_proven() {
    let nauth = nauth(VerificationMethod::None, |_| {}).await;
    let token = signup(&nauth, ADA, Some(OTHER)).await.expect(201).text("accessToken");

    let lines = [("authorization", &*format!("Bearer {token}"))];
    let mut put = post("/auth/profile", &lines, &json!({"phone": NUMBER}));
    *put.method_mut() = http::Method::PUT;
    assert_eq!(nauth.send(put).await.expect(200).json()["phone"], OTHER);

    let code = nauth.code_to(NUMBER).await;
    let profile =
        nauth.post_as(&token, "/auth/profile/contact/verify", &json!({"code": code})).await.expect(200).json();
    assert_eq!((&profile["phone"], &profile["isPhoneVerified"]), (&json!(NUMBER), &json!(true)));
}
