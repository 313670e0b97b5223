//! Transparent refresh: a page's burst of requests is one rotation, and a stolen token ends its family.

use serde_json::json;

use crate::support::{Account, Answer, Config, Echo, Nauth, PASSWORD, Request, Seen, eventually, millis, secs};

/// Tokens that expire while a test can wait for it.
fn short_lived(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("jwt.access_ttl", "1s")
        .set("jwt.leeway", "0s")
        .set("jwt.refresh_grace", "1s")
}

/// Access tokens that outlive the test, and a grace that does not.
fn short_grace(echo: &Echo) -> Config {
    Config::in_front_of(echo).without_verification().set("jwt.refresh_grace", "1s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_parallel_requests_with_one_refresh_cookie_are_one_rotation() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let answers = burst(&nauth, &ada.refresh_cookie()).await;

    assert_one_rotation(&nauth, &answers, &ada).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_parallel_requests_with_an_expired_access_cookie_are_one_rotation() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_lived(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    expired(&nauth, &ada).await;

    let answers = burst(&nauth, &ada.cookies()).await;

    assert_one_rotation(&nauth, &answers, &ada).await;
}

#[tokio::test]
async fn a_refreshed_request_reaches_the_upstream_with_the_identity_and_without_the_cookies() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let request = Request::post("/orders").cookies(&ada.refresh_cookie()).header("Sec-Fetch-Site", "same-origin");
    let answer = nauth.send(&request.body("three apples")).await.expect(200);

    let seen = Seen::in_answer(&answer);
    assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("Cookie"), None);
    assert_eq!(answer.json()["body"], "three apples");
    assert!(answer.cookie("nauth_access_token").is_some(), "{answer}");
}

#[tokio::test]
async fn the_new_cookies_ride_on_every_kind_of_answer() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    nauth.signup("ada@example.com").await;

    for path in ["/status/204", "/status/304", "/status/404", "/status/500", "/close"] {
        let ada = nauth.login("ada@example.com").await;
        let answer = nauth.send(&Request::get(path).cookies(&ada.refresh_cookie())).await;
        assert!(answer.cookie("nauth_refresh_token").is_some(), "{path}: {answer}");
        assert_ne!(answer.status, 401, "{path}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_with_new_cookies_is_kept_by_no_cache() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let refreshed = nauth.send(&Request::get("/cacheable").cookies(&ada.refresh_cookie())).await.expect(200);
    let values: Vec<&str> = refreshed.headers_named("cache-control").collect();
    assert_eq!(values, ["private, no-store"], "{refreshed}");
    for gone in ["expires", "cdn-cache-control", "surrogate-control"] {
        assert_eq!(refreshed.header(gone), None, "{refreshed}");
    }

    let plain = nauth.send(&Request::get("/cacheable").bearer(&ada.access_token)).await.expect(200);
    assert_eq!(plain.header("cache-control"), Some("public, max-age=600"));
}

#[tokio::test]
async fn a_good_access_cookie_is_not_refreshed() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let answer = nauth.send(&Request::get("/").cookies(&ada.cookies())).await.expect(200);

    assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");
    assert_no_rotation(&nauth).await;
}

#[tokio::test]
async fn a_bad_access_cookie_is_refused_even_beside_a_good_refresh_cookie() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let forged = format!("{}x", ada.access_token);

    for bad in ["garbage", forged.as_str()] {
        let cookies = format!("nauth_access_token={bad}; {}", ada.refresh_cookie());
        nauth.send(&Request::get("/").cookies(&cookies)).await.expect_error(401, "AUTH_TOKEN_INVALID");
    }

    assert_no_rotation(&nauth).await;
}

#[tokio::test]
async fn prefetches_and_other_sites_refresh_nothing() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let request = || Request::get("/").cookies(&ada.refresh_cookie());
    let refused = [
        request().header("Sec-Purpose", "prefetch").header("Sec-Fetch-Site", "same-origin"),
        request().header("Sec-Purpose", "prefetch;prerender").header("Sec-Fetch-Site", "none"),
        request().header("Purpose", "prefetch"),
        request().header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "no-cors"),
        request()
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "cors")
            .header("Origin", "https://evil.example"),
    ];

    for request in refused {
        let answer = nauth.send(&request).await;
        assert!([401, 302].contains(&answer.status), "{request:?}\n{answer}");
        assert_eq!(answer.cookie("nauth_refresh_token"), None, "{request:?}\n{answer}");
    }
    assert_no_rotation(&nauth).await;

    let followed_link = request().header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "navigate");
    let answer = nauth.send(&followed_link).await.expect(200);
    assert!(answer.cookie("nauth_refresh_token").is_some(), "{answer}");
}

#[tokio::test]
async fn a_cross_site_post_is_refused_before_anything_is_refreshed() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let forged = Request::post("/").cookies(&ada.refresh_cookie()).header("Sec-Fetch-Site", "cross-site");
    nauth.send(&forged).await.expect(403);

    assert_no_rotation(&nauth).await;
}

#[tokio::test]
async fn a_public_route_refreshes_nothing_and_an_optional_one_does() {
    let echo = Echo::start().await;
    let config = short_grace(&echo)
        .route("path = \"/open\"\naccess = \"public\"")
        .route("path = \"/maybe\"\naccess = \"optional\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    let open = nauth.send(&Request::get("/open").cookies(&ada.refresh_cookie())).await.expect(200);
    assert_eq!(open.headers_named("set-cookie").count(), 0, "{open}");
    assert_eq!(Seen::in_answer(&open).header("X-Forwarded-User"), None);
    assert_no_rotation(&nauth).await;

    let maybe = nauth.send(&Request::get("/maybe").cookies(&ada.refresh_cookie())).await.expect(200);
    assert!(maybe.cookie("nauth_refresh_token").is_some(), "{maybe}");
    assert_eq!(Seen::in_answer(&maybe).header("X-Forwarded-User"), Some(ada.sub.as_str()));
}

#[tokio::test]
async fn the_gateway_refreshes_nothing_where_it_is_told_not_to() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo).set("gateway.auto_refresh", false)).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.send(&Request::get("/").cookies(&ada.refresh_cookie())).await.expect(401);

    assert_no_rotation(&nauth).await;
}

#[tokio::test]
async fn the_previous_token_gets_the_current_one_within_the_grace() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let first = nauth.refresh(&ada).await;
    let second = nauth.refresh(&ada).await;
    nauth.send(&Request::get("/").bearer(&first.access_token)).await.expect(200);
    let third = nauth.refresh(&ada).await;

    assert_eq!(first.refresh_token, second.refresh_token);
    assert_eq!(first.refresh_token, third.refresh_token);
}

#[tokio::test]
async fn a_client_that_lost_the_answer_is_not_a_thief() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let lost = nauth.refresh(&ada).await;

    // Longer than the grace, but nobody has shown the new tokens.
    tokio::time::sleep(millis(1500)).await;
    let again = nauth.refresh(&ada).await;

    assert_eq!(again.refresh_token, lost.refresh_token);
}

#[tokio::test]
async fn a_browser_that_lost_the_answer_is_not_a_thief_either() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let request = Request::get("/").cookies(&ada.refresh_cookie());
    let lost = nauth.send(&request).await.expect(200);

    // Longer than the grace and than the burst; passing the fresh token upstream is not its client's use of it.
    tokio::time::sleep(millis(2500)).await;
    let again = nauth.send(&request).await.expect(200);

    assert_eq!(again.cookie("nauth_refresh_token"), lost.cookie("nauth_refresh_token"));
}

#[tokio::test]
async fn reuse_after_the_grace_ends_the_whole_family() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let elsewhere = nauth.login("ada@example.com").await;
    let current = nauth.refresh(&ada).await;
    nauth.send(&Request::get("/").bearer(&current.access_token)).await.expect(200);

    let refused = eventually(secs(10), async || {
        Some(nauth.try_refresh(&ada.refresh_token).await).filter(|answer| answer.status != 200)
    });

    refused.await.expect("the grace ends").expect_error(401, "AUTH_TOKEN_REUSE_DETECTED");
    family_is_dead(&nauth, &current).await;
    nauth.send(&Request::get("/").bearer(&elsewhere.access_token)).await.expect(200);
}

#[tokio::test]
async fn reuse_by_cookie_behind_the_gateway_ends_the_family_too() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let current = nauth.refresh(&ada).await;
    let current = nauth.refresh(&current).await;

    let answer = nauth.send(&Request::get("/").cookies(&ada.refresh_cookie())).await;

    let answer = answer.expect_error(401, "AUTH_TOKEN_REUSE_DETECTED");
    assert!(answer.clears_cookie("nauth_refresh_token"), "{answer}");
    family_is_dead(&nauth, &current).await;
}

#[tokio::test]
async fn a_token_two_generations_back_is_reuse_at_once() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let second = nauth.refresh(&ada).await;
    let third = nauth.refresh(&second).await;

    nauth.try_refresh(&ada.refresh_token).await.expect_error(401, "AUTH_TOKEN_REUSE_DETECTED");

    family_is_dead(&nauth, &third).await;
}

#[tokio::test]
async fn cookies_of_an_ended_session_are_cleared() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);

    let answer = nauth.send(&Request::get("/").cookies(&ada.refresh_cookie())).await;

    let answer = answer.expect_error(401, "AUTH_SESSION_NOT_FOUND");
    assert!(answer.clears_cookie("nauth_refresh_token"), "{answer}");
    assert!(answer.clears_cookie("nauth_access_token"), "{answer}");
}

#[tokio::test]
async fn an_expired_access_token_alone_is_told_to_refresh() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_lived(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let answer = expired(&nauth, &ada).await;

    answer.expect_error(401, "AUTH_TOKEN_INVALID");
    let answer = nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await;
    answer.expect_error(401, "AUTH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_refreshes_by_json_agree_on_one_token() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(short_grace(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let pairs = futures_util::future::join_all((0..30).map(|_| nauth.refresh(&ada))).await;

    assert!(pairs.iter().all(|pair| pair.refresh_token == pairs[0].refresh_token));
    assert!((nauth.metric("nauth_session_refreshes_total", &["rotated"]).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_refresh_without_a_token_says_so() {
    let nauth = Nauth::start(Config::whoami()).await;

    let answer = nauth.send(&Request::post("/auth/refresh").json(&json!({}))).await;

    answer.expect_error(401, "AUTH_TOKEN_INVALID");
    nauth.try_refresh(PASSWORD).await.expect_error(401, "AUTH_TOKEN_INVALID");
}

async fn burst(nauth: &Nauth, cookies: &str) -> Vec<Answer> {
    let request = Request::get("/page").cookies(cookies);
    futures_util::future::join_all((0..50).map(|_| nauth.send(&request))).await
}

async fn assert_one_rotation(nauth: &Nauth, answers: &[Answer], ada: &Account) {
    let mut refresh_tokens: Vec<String> = Vec::new();
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(Seen::in_answer(answer).header("X-Forwarded-User"), Some(ada.sub.as_str()));
        assert!(answer.cookie("nauth_access_token").is_some(), "{answer}");
        refresh_tokens.extend(answer.cookie("nauth_refresh_token"));
    }
    assert_eq!(refresh_tokens.len(), answers.len(), "every answer carries the new cookies");
    assert!(refresh_tokens.iter().all(|token| *token == refresh_tokens[0]), "one rotation");
    assert_ne!(refresh_tokens[0], ada.refresh_token);
    assert!((nauth.metric("nauth_session_refreshes_total", &["rotated"]).await - 1.0).abs() < f64::EPSILON);
}

async fn assert_no_rotation(nauth: &Nauth) {
    assert!(nauth.metric("nauth_session_refreshes_total", &["rotated"]).await.abs() < f64::EPSILON);
}

async fn family_is_dead(nauth: &Nauth, current: &Account) {
    nauth.try_refresh(&current.refresh_token).await.expect(401);
    let refused = eventually(secs(1), async || {
        let answer = nauth.send(&Request::get("/").bearer(&current.access_token)).await;
        (answer.status == 401).then_some(answer)
    });
    refused.await.expect("the current access token is refused").expect_error(401, "AUTH_SESSION_NOT_FOUND");
}

/// Waits until the access token has expired, and returns how that is told.
async fn expired(nauth: &Nauth, account: &Account) -> Answer {
    let request = Request::get("/").bearer(&account.access_token);
    let refused = eventually(secs(5), async || Some(nauth.send(&request).await).filter(|answer| answer.status == 401));
    refused.await.expect("an access token expires")
}
