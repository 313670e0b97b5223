//! The auth API from request to answer, on a real database.

use bytes::Bytes;
use http::header;
use serde_json::json;

use crate::api::tests_support::{ORIGIN, TestNauth, bearer, credentials, get, post, request, settings};
use crate::config::settings::{ApiGroup, DeliveryMethod, Settings, VerificationMethod};
use crate::domain::session::Delivery;

const COOKIES: [&str; 3] = ["nauth_access_token", "nauth_refresh_token", "nauth_csrf_token"];
const OWN: (&str, &str) = ("origin", ORIGIN);

/// Ada's browser after a login: its `Cookie` line.
async fn login_by_cookie(api: &TestNauth) -> String {
    let answer = api.send(post("/auth/login", &[OWN], &credentials("identifier"))).await.expect(200);
    COOKIES.map(|name| format!("{name}={}", answer.cookie(name).unwrap())).join("; ")
}

fn part<'a>(cookies: &'a str, name: &str) -> &'a str {
    cookies.split("; ").find(|cookie| cookie.starts_with(name)).unwrap()
}

#[tokio::test]
async fn a_signup_without_verification_brings_tokens_and_the_user() {
    let api = TestNauth::start(settings()).await;

    let answer = api.ada().await;

    let body = answer.json();
    assert_eq!((&body["authMethod"], &body["user"]["sub"]), (&json!("password"), &body["sub"]));
    assert_eq!(body["accessTokenExpiresAt"], 1_800_000_900);
    assert_eq!(body["refreshTokenExpiresAt"], 1_800_000_000 + 7 * 24 * 3600);
    assert!(answer.cookies().is_empty());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_signup_with_verification_brings_a_challenge_and_no_cookies() {
    let mut settings = settings();
    settings.signup.verification_method = VerificationMethod::Email;
    let api = TestNauth::start(settings).await;

    let answer = api.send(post("/auth/signup", &[OWN], &credentials("email"))).await.expect(201);

    let body = answer.json();
    assert_eq!(body["challengeName"], "VERIFY_EMAIL");
    assert_eq!(
        body["challengeParameters"],
        json!({"email": "ada@example.com", "codeDeliveryDestination": "a***@example.com"})
    );
    assert!(body["sub"].is_string() && answer.cookies().is_empty());

    let wrong = json!({"session": body["session"], "type": "VERIFY_EMAIL", "code": "xxxx"});
    api.send(post("/auth/respond-challenge", &[OWN], &wrong)).await.refuses(400, "VERIFY_CODE_INVALID");
    let resend = json!({"session": body["session"]});
    api.send(post("/auth/challenge/resend", &[], &resend)).await.refuses(429, "RATE_LIMIT_RESEND");
}

#[tokio::test]
async fn a_browser_gets_cookies_and_a_body_without_tokens() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;

    let answer = api.send(post("/auth/login", &[OWN], &credentials("identifier"))).await.expect(200);

    assert!(COOKIES.iter().all(|name| answer.cookie(name).is_some()), "{answer:?}");
    let body = answer.json();
    let tokens = ["accessToken", "refreshToken", "accessTokenExpiresAt", "refreshTokenExpiresAt"];
    assert!(tokens.iter().all(|token| body.get(token).is_none()) && body["user"].is_object(), "{answer:?}");
}

#[tokio::test]
async fn other_sites_cannot_log_their_visitors_in_or_refresh_them() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;
    let cookies = login_by_cookie(&api).await;
    let evil = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let with_cookies = [evil[0], evil[1], ("cookie", cookies.as_str())];

    for answer in [
        api.send(post("/auth/login", &evil, &credentials("identifier"))).await,
        api.send(post("/auth/signup", &evil, &credentials("email"))).await,
        api.send(post("/auth/refresh", &with_cookies, &json!({}))).await,
    ] {
        let answer = answer.refuses(403, "FORBIDDEN");
        assert_eq!(answer.json()["details"]["reason"], "cross_site");
        assert!(answer.cookies().is_empty());
    }
}

#[tokio::test]
async fn a_refresh_is_answered_the_way_its_token_came() {
    let api = TestNauth::start(settings()).await;
    let ada = api.ada().await;
    let cookies = login_by_cookie(&api).await;

    let body = json!({"refreshToken": ada.text("refreshToken")});
    let by_body = api.send(post("/auth/refresh", &[OWN, ("cookie", &cookies)], &body)).await.expect(200);
    assert!(by_body.json()["accessToken"].is_string() && by_body.cookies().is_empty(), "{by_body:?}");

    let empty = json!({"refreshToken": " "});
    let by_cookie = api.send(post("/auth/refresh", &[("cookie", &cookies)], &empty)).await.expect(200);
    assert_eq!(by_cookie.json(), json!({}));
    assert!(COOKIES.iter().all(|name| by_cookie.cookie(name).is_some()), "{by_cookie:?}");

    let none = api.send(post("/auth/refresh", &[OWN], &json!({}))).await.refuses(401, "AUTH_TOKEN_INVALID");
    assert_eq!(none.json()["message"], "Refresh token is required");
}

#[tokio::test]
async fn a_refresh_clears_the_cookies_only_of_a_session_known_to_have_ended() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;
    let cookies = login_by_cookie(&api).await;
    let refresh = |cookies: &str| post("/auth/refresh", &[OWN, ("cookie", cookies)], &json!({}));

    let unknown = api.send(refresh("nauth_refresh_token=unknown")).await.refuses(401, "AUTH_TOKEN_INVALID");
    assert!(unknown.cookies().is_empty(), "{unknown:?}");

    api.send(post("/auth/logout/all", &[OWN, ("cookie", &cookies)], &json!({}))).await.expect(200);
    let ended = api.send(refresh(&cookies)).await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    assert!(COOKIES.iter().all(|name| ended.clears(name)), "{ended:?}");
}

#[tokio::test]
async fn a_session_shows_its_profile_and_itself() {
    let api = TestNauth::start(settings()).await;
    let ada = api.ada().await;
    let cookies = login_by_cookie(&api).await;
    let token = bearer(&ada.text("accessToken"));

    for line in [("authorization", token.as_str()), ("cookie", cookies.as_str())] {
        let profile = api.send(get("/auth/profile", &[line])).await.expect(200).json();
        assert_eq!((&profile["sub"], &profile["email"]), (&ada.json()["sub"], &json!("ada@example.com")));
        assert_eq!((&profile["username"], &profile["isActive"]), (&json!(null), &json!(true)));
    }

    let sessions = api.send(get("/auth/sessions", &[("authorization", &token)])).await.expect(200).json();
    let sessions = sessions["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["isCurrent"] == json!(true)).count(), 1);
    assert_eq!(sessions[0]["ipAddress"], "192.0.2.1");
    assert_eq!(sessions[0]["expiresAt"], "2027-02-14T08:00:00.000Z");
}

#[tokio::test]
async fn protected_routes_say_what_is_wrong_with_the_token() {
    let api = TestNauth::start(settings()).await;
    let ada = api.ada().await;
    let token = bearer(&ada.text("accessToken"));
    let profile = async |lines: &[(&str, &str)]| {
        let answer = api.send(get("/auth/profile", lines)).await.refuses(401, "AUTH_TOKEN_INVALID");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
        answer.text("message")
    };

    assert_eq!(profile(&[]).await, "No token provided");
    assert_eq!(profile(&[("authorization", "Bearer x")]).await, "Invalid token");
    assert_eq!(profile(&[("cookie", "nauth_access_token=x")]).await, "Invalid token");
    assert_eq!(profile(&[("cookie", "nauth_refresh_token=x")]).await, "No token provided");
    api.clock.advance(std::time::Duration::from_mins(16));
    assert_eq!(profile(&[("authorization", &token)]).await, "Token has expired");
}

#[tokio::test]
async fn a_logout_ends_its_session_and_takes_the_cookies() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;
    for method in ["GET", "POST"] {
        let cookies = login_by_cookie(&api).await;
        let refresh = part(&cookies, "nauth_refresh_token");
        let lines = [("sec-fetch-site", "same-origin"), ("cookie", refresh)];

        let answer = api.send(request(method, "/auth/logout", &lines, Bytes::new())).await.expect(200);

        assert_eq!(answer.json(), json!({"success": true}));
        assert!(COOKIES.iter().all(|name| answer.clears(name)), "{answer:?}");
        api.send(get("/auth/profile", &[("cookie", &cookies)])).await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    }
}

#[tokio::test]
async fn an_expired_access_token_still_says_which_session_to_end() {
    let api = TestNauth::start(settings()).await;
    let ada = api.ada().await;
    api.clock.advance(std::time::Duration::from_mins(16));

    let token = bearer(&ada.text("accessToken"));
    let answer = api.send(post("/auth/logout", &[("authorization", &token)], &json!({}))).await.expect(200);

    assert!(answer.cookies().is_empty(), "{answer:?}");
    let body = json!({"refreshToken": ada.text("refreshToken")});
    api.send(post("/auth/refresh", &[], &body)).await.refuses(401, "AUTH_SESSION_NOT_FOUND");
}

#[tokio::test]
async fn a_logout_by_cookie_needs_a_page_of_ours_and_a_user() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;
    let cookies = login_by_cookie(&api).await;
    let held = ("cookie", cookies.as_str());
    let same = ("sec-fetch-site", "same-origin");
    let refused: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![held], "cross_site"),
        (vec![held, ("sec-fetch-site", "cross-site")], "cross_site"),
        (vec![held, ("origin", "null")], "cross_site"),
        (vec![held, same, ("sec-purpose", "prefetch;prerender")], "prefetch"),
    ];

    for (lines, reason) in &refused {
        for (method, path) in [("GET", "/auth/logout"), ("POST", "/auth/logout"), ("POST", "/auth/logout/all")] {
            let answer = api.send(request(method, path, lines, Bytes::new())).await.refuses(403, "FORBIDDEN");
            assert_eq!(answer.json()["details"]["reason"], *reason, "{lines:?}");
        }
    }
    let head = api.send(request("HEAD", "/auth/logout", &[held, same], Bytes::new())).await.expect(405);
    assert!(head.0.body().is_empty() && head.header("allow") == Some("GET,POST"), "{head:?}");
    api.send(get("/auth/profile", &[held])).await.expect(200);
    api.send(get("/auth/logout", &[])).await.refuses(401, "AUTH_TOKEN_INVALID");
}

#[tokio::test]
async fn cookies_of_two_sessions_are_refused_and_taken_away() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;
    let (first, second) = (login_by_cookie(&api).await, login_by_cookie(&api).await);
    let mixed = format!("{}; {}", part(&first, "nauth_access_token"), part(&second, "nauth_refresh_token"));
    let held = [OWN, ("cookie", mixed.as_str())];

    for answer in
        [api.send(get("/auth/profile", &held)).await, api.send(post("/auth/refresh", &held, &json!({}))).await]
    {
        let answer = answer.refuses(401, "AUTH_TOKEN_INVALID");
        assert!(COOKIES.iter().all(|name| answer.clears(name)), "{answer:?}");
    }

    api.send(post("/auth/logout", &held, &json!({}))).await.expect(200);
    for ended in [first, second] {
        api.send(get("/auth/profile", &[("cookie", &ended)])).await.refuses(401, "AUTH_SESSION_NOT_FOUND");
    }
}

#[tokio::test]
async fn the_delivery_method_decides_which_credentials_count() {
    let json_only = TestNauth::start(with(|settings| settings.delivery.method = DeliveryMethod::Json)).await;
    let ada = json_only.ada().await;
    let held = format!("nauth_access_token={0}; nauth_refresh_token={0}", ada.text("accessToken"));
    json_only.send(get("/auth/profile", &[("cookie", &held)])).await.refuses(401, "AUTH_COOKIES_NOT_ALLOWED");
    let refresh = json_only.send(post("/auth/refresh", &[OWN, ("cookie", &held)], &json!({}))).await;
    assert_eq!(refresh.refuses(401, "AUTH_TOKEN_INVALID").text("message"), "Refresh token is required");

    let cookies_only = TestNauth::start(with(|settings| settings.delivery.method = DeliveryMethod::Cookies)).await;
    let ada = cookies_only.ada().await;
    let token = bearer(ada.cookie("nauth_access_token").unwrap());
    cookies_only.send(get("/auth/profile", &[("authorization", &token)])).await.refuses(401, "AUTH_BEARER_NOT_ALLOWED");
}

#[tokio::test]
async fn what_is_not_mounted_is_not_there() {
    let settings = with(|settings| {
        settings.api.groups = vec![ApiGroup::Core];
        settings.api.exclude = vec!["signup".to_owned()];
    });
    let api = TestNauth::start(settings).await;

    for path in ["/auth/profile", "/auth/sessions", "/auth/nothing", "/auth", "/auth/"] {
        let answer = api.send(get(path, &[])).await.refuses(404, "RESOURCE_NOT_FOUND");
        assert_eq!(answer.text("path"), path);
    }
    api.send(post("/auth/signup", &[], &credentials("email"))).await.refuses(404, "RESOURCE_NOT_FOUND");
    let answer = api.send(get("/auth/login", &[])).await.refuses(405, "METHOD_NOT_ALLOWED");
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn bodies_are_json_objects() {
    let api = TestNauth::start(settings()).await;
    let send = async |kind: &str, body: &'static str| {
        let mut login = request("POST", "/auth/login", &[], Bytes::from_static(body.as_bytes()));
        login.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        api.send(login).await
    };

    send("text/plain", "{}").await.refuses(415, "UNSUPPORTED_MEDIA_TYPE");
    send("application/json", "[1]").await.refuses(400, "VALIDATION_FAILED");
    let empty = send("application/json", "").await.refuses(400, "VALIDATION_FAILED").json();
    assert_eq!(
        empty["details"]["validationErrors"],
        json!({"identifier": ["identifier is required"], "password": ["password is required"]})
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let api = TestNauth::start(settings()).await;
    api.ada().await;
    let login =
        |identifier: &str| post("/auth/login", &[], &json!({"identifier": identifier, "password": "wrong one"}));

    let wrong = api.send(login("ada@example.com")).await.refuses(401, "AUTH_INVALID_CREDENTIALS");
    let unknown = api.send(login("nobody")).await.refuses(401, "AUTH_INVALID_CREDENTIALS");

    assert_eq!(wrong.json(), unknown.json());
    api.send(post("/auth/signup", &[], &credentials("email"))).await.refuses(409, "SIGNUP_EMAIL_EXISTS");
    let weak = json!({"email": "bob@example.com", "password": "short"});
    let weak = api.send(post("/auth/signup", &[], &weak)).await.refuses(400, "SIGNUP_WEAK_PASSWORD");
    assert!(weak.json()["details"]["errors"][0].is_string(), "{weak:?}");
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_the_answers() {
    let api = TestNauth::start(settings()).await;
    let preflight = |origin: &'static str| {
        let lines = [("origin", origin), ("access-control-request-method", "POST")];
        request("OPTIONS", "/auth/login", &lines, Bytes::new())
    };

    let listed = api.send(preflight("http://spa.local")).await.expect(204);
    assert_eq!(listed.header("access-control-allow-origin"), Some("http://spa.local"));
    api.send(preflight("https://evil.example")).await.refuses(403, "FORBIDDEN");

    let refused = api.send(get("/auth/profile", &[("origin", "http://spa.local")])).await.expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some("http://spa.local"));
    assert_eq!(refused.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(refused.header("vary"), Some("Origin"));
    let other = api.send(get("/auth/profile", &[("origin", "https://evil.example")])).await;
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_session_remembers_how_its_tokens_travel() {
    let api = TestNauth::start(settings()).await;
    let ada = api.ada().await;
    let cookies = login_by_cookie(&api).await;
    let delivery_of = async |token: &str| {
        let verified = api.auth.verifier().verify(token).unwrap();
        let (user, session) = (verified.user, verified.session);
        assert_eq!(user.to_string(), ada.text("sub"));
        let caller = api.auth.authenticate(token, &crate::domain::context::RequestContext::local()).await.unwrap();
        assert_eq!(caller.session.id, session);
        caller.session.delivery
    };

    let held = part(&cookies, "nauth_access_token").split_once('=').unwrap().1;
    assert_eq!(delivery_of(&ada.text("accessToken")).await, Delivery::Json);
    assert_eq!(delivery_of(held).await, Delivery::Cookies);
}

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}
