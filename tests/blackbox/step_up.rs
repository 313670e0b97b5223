//! Routes that want a login surer or fresher than the one there is (RFC 9470).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use serde_json::json;

use super::support::{Account, App, Browser, Config, Echo, Form, Nauth, PASSWORD, Request, Seen, claims_of};

/// Seconds a code of an app lives.
const STEP: u64 = 2;

fn vault(echo: &Echo, rule: &str) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .route("path = \"/\"\naccess = \"required\"")
        .route(&format!("path = \"/vault\"\naccess = \"required\"\n{rule}"))
}

fn asked_by(account: &Account, path: &str) -> Request {
    Request::get(path).bearer(&account.access_token)
}

#[tokio::test]
async fn an_old_login_is_told_how_fresh_it_must_be_and_a_fresh_one_passes() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(vault(&echo, "max_auth_age = \"2s\"")).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&asked_by(&ada, "/vault")).await.expect(200);

    tokio::time::sleep(Duration::from_millis(3_100)).await;

    let refused = nauth.send(&asked_by(&ada, "/vault")).await.expect_error(401, "AUTH_STEP_UP_REQUIRED");
    let challenge = r#"Bearer error="insufficient_user_authentication", max_age="2""#;
    assert_eq!(refused.header("www-authenticate"), Some(challenge));
    assert_eq!(refused.json()["details"]["maxAge"], 2);
    nauth.send(&asked_by(&ada, "/")).await.expect(200);

    let again = Request::post("/auth/reauthenticate").json(&serde_json::json!({ "password": PASSWORD }));
    let fresh = nauth.send(&again.bearer(&ada.access_token)).await.expect(200);
    let fresh = fresh.json()["accessToken"].as_str().unwrap().to_owned();
    nauth.send(&Request::get("/vault").bearer(&fresh)).await.expect(200);
}

#[tokio::test]
async fn a_browser_confirms_who_it_is_and_gets_what_it_asked_for() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(vault(&echo, "max_auth_age = \"2s\"")).await;
    nauth.signup("ada@example.com").await;
    let mut browser = Browser::new(&nauth);
    let page = browser.open("/").await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    browser.submit(&login.fill("identifier", "ada@example.com").fill("password", PASSWORD)).await.expect(200);
    let session = session_of(&browser);

    tokio::time::sleep(Duration::from_millis(3_100)).await;

    let page = browser.open("/vault/gold?bars=2").await.expect(200);
    assert!(page.text().contains("Confirm that it is you"), "{page}");
    let confirm = Form::with_fields(&page, &["identifier", "password"]);
    let landed = browser.submit(&confirm.fill("password", PASSWORD)).await.expect(200);
    let seen = Seen::in_answer(&landed);
    assert_eq!(seen.target, "/vault/gold?bars=2");
    assert!(seen.header("x-forwarded-user").is_some(), "{landed}");
    assert_eq!(session_of(&browser), session, "it is the same session");
}

/// The session whose access cookie a browser holds.
fn session_of(browser: &Browser<'_>) -> String {
    let token = browser.cookie("nauth_access_token").expect("logged in");
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["sessionId"].as_str().expect("a session").to_owned()
}

#[tokio::test]
async fn a_route_for_two_factors_refuses_one() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(vault(&echo, "min_aal = 2\nmax_auth_age = \"15m\"")).await;
    let ada = nauth.signup("ada@example.com").await;

    let refused = nauth.send(&asked_by(&ada, "/vault")).await.expect_error(401, "AUTH_STEP_UP_REQUIRED");

    let challenge = r#"Bearer error="insufficient_user_authentication", acr_values="aal2", max_age="900""#;
    assert_eq!(refused.header("www-authenticate"), Some(challenge));
    assert_eq!(refused.json()["details"]["requiredAcr"], "aal2");
    let labels = ["decision=\"step_up\"", "reason=\"acr\""];
    assert!((nauth.metric("nauth_authz_decisions_total", &labels).await - 1.0).abs() < f64::EPSILON);

    let mut browser = Browser::new(&nauth);
    let page = browser.open("/vault").await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    let page = browser.submit(&login.fill("identifier", "ada@example.com").fill("password", PASSWORD)).await;
    assert!(page.expect(200).text().contains("A second step is needed"), "and no circle of redirects");
}

#[tokio::test]
async fn a_route_for_a_scope_refuses_who_has_none() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(vault(&echo, "scopes = [\"vault:read\"]")).await;
    let ada = nauth.signup("ada@example.com").await;

    let refused = nauth.send(&asked_by(&ada, "/vault")).await.expect_error(403, "FORBIDDEN");

    assert_eq!(refused.json()["details"]["reason"], "scope");
}

#[tokio::test]
async fn what_is_asked_of_the_known_needs_a_login() {
    let echo = Echo::start().await;
    for rule in ["min_aal = 2", "max_auth_age = \"1m\"", "scopes = [\"a\"]", "verified_email = true"] {
        let config = Config::in_front_of(&echo).route(&format!("path = \"/\"\naccess = \"optional\"\n{rule}"));
        let refused = Nauth::start_refused(config).await;
        let key = rule.split(' ').next().unwrap();
        assert!(refused.output.contains(&format!("`{key}` needs `access = \"required\"`")), "{}", refused.output);
    }
}

/// Ada's browser, logged in by the password alone.
async fn logged_in(nauth: &Nauth) -> Browser<'_> {
    nauth.signup("ada@example.com").await;
    let mut browser = Browser::new(nauth);
    let page = browser.open("/").await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    browser.submit(&login.fill("identifier", "ada@example.com").fill("password", PASSWORD)).await.expect(200);
    assert_eq!(claims_of(browser.cookie("nauth_access_token").unwrap())["acr"], "aal1");
    browser
}

fn sure_vault(echo: &Echo) -> Config {
    vault(echo, "min_aal = 2").set("mfa.totp.step", format!("{STEP}s")).set("mfa.totp.window", 3)
}

#[tokio::test]
async fn a_page_that_sets_a_factor_up_may_go_where_it_is_needed() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(sure_vault(&echo)).await;
    let mut browser = logged_in(&nauth).await;
    let refresh = browser.cookie("nauth_refresh_token").unwrap().to_owned();
    let csrf = browser.cookie("nauth_csrf_token").unwrap().to_owned();
    let send = |path: &str, body| Request::post(path).header("X-CSRF-Token", &csrf).json(&body);

    let wish = send("/auth/mfa/setup-data", json!({ "methodName": "totp" }));
    let setup = browser.fetch_with_origin(wish).await.expect(200).json();
    let app = App::told(&setup["setupData"], STEP);
    let data = json!({ "methodName": "totp", "setupData": { "secret": app.secret, "code": app.code() } });
    let done = browser.fetch_with_origin(send("/auth/mfa/verify-setup", data)).await.expect(200);

    assert!(done.json().get("accessToken").is_none(), "{done}");
    assert_eq!(claims_of(browser.cookie("nauth_access_token").unwrap())["acr"], "aal2");
    assert_eq!(done.cookie("nauth_refresh_token"), None, "who shows an access token alone gets no more: {done}");
    assert_eq!(browser.cookie("nauth_refresh_token"), Some(refresh.as_str()));
    let landed = browser.visit("/vault/gold").await.expect(200);
    assert_eq!(Seen::in_answer(&landed).target, "/vault/gold");
}

#[tokio::test]
async fn a_visit_whose_session_is_surer_than_its_cookie_goes_on_where_it_wanted() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(sure_vault(&echo)).await;
    let mut browser = logged_in(&nauth).await;
    let cookie = browser.cookie("nauth_access_token").unwrap().to_owned();
    // The same session, raised by somebody who gets no cookies.
    let program = Account { access_token: cookie.clone(), ..nauth.login("ada@example.com").await };
    nauth.set_up_app(&program, STEP).await;

    let landed = browser.open("/vault/gold?bars=2").await.expect(200);

    assert_eq!(Seen::in_answer(&landed).target, "/vault/gold?bars=2");
    assert_eq!(claims_of(browser.cookie("nauth_access_token").unwrap())["acr"], "aal2");

    // A browser that does not take the cookie is not sent in circles.
    browser.set_cookie("nauth_access_token", &cookie);
    let turned = browser.visit("/vault/gold").await.expect(302);
    let page = turned.header("location").unwrap().to_owned();
    let renewed = browser.visit(&page).await.expect(303);
    browser.set_cookie("nauth_access_token", &cookie);
    let page = browser.visit(renewed.header("location").unwrap()).await.expect(200);
    assert!(page.text().contains("You are logged in"), "{page}");
}

#[tokio::test]
async fn a_confirmed_login_is_enough_for_the_other_tab_too() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(vault(&echo, "max_auth_age = \"2s\"")).await;
    let mut browser = logged_in(&nauth).await;
    let cookie = browser.cookie("nauth_access_token").unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    let again = Request::post("/auth/reauthenticate").json(&json!({ "password": PASSWORD })).bearer(&cookie);
    nauth.send(&again).await.expect(200);

    let landed = browser.open("/vault/gold").await.expect(200);

    assert_eq!(Seen::in_answer(&landed).target, "/vault/gold");
}
