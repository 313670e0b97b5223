//! Routes that want a login surer or fresher than the one there is (RFC 9470).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::support::{Account, Browser, Config, Echo, Form, Nauth, PASSWORD, Request, Seen};

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
