//! Passkeys on the built-in pages, in a real browser, and what is left of them without JavaScript.

use serde_json::json;

use super::support::{
    Account, Answer, App, Authenticator, Browser, Chromium, Config, Form, Nauth, PASSWORD, Request, eventually, secs,
};

const ADA: &str = "ada@example.com";
/// Where everybody wants to go, and what shows that they came there.
const WANTED: &str = "/reports?year=1843";
const ARRIVED: &str = "GET /reports?year=1843";

/// How long a code of an app is good, in seconds.
const STEP: u64 = 2;

fn config() -> Config {
    Config::whoami().without_verification().set("mfa.totp.step", format!("{STEP}s")).set("mfa.totp.window", 3)
}

fn passwordless() -> Config {
    config().set("mfa.passkey.passwordless", true)
}

/// Sets a passkey up that lives in the browser, in a session the browser knows nothing of.
async fn set_up(nauth: &Nauth, account: &Account, browser: &mut Chromium) {
    let wish = json!({ "methodName": "passkey" });
    let setup = nauth.post_as(account, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    let create = format!(
        "const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON({});
         return (await navigator.credentials.create({{ publicKey }})).toJSON();",
        setup["setupData"]["options"],
    );
    let credential = browser.run(&create).await;
    let body = json!({ "methodName": "passkey", "setupData": { "credential": credential } });
    nauth.post_as(account, "/auth/mfa/verify-setup", &body).await.expect(200);
}

/// A browser on the login page, on the way to somewhere else.
async fn at_the_door(nauth: &Nauth) -> Chromium {
    let mut browser = Chromium::open(&format!("{}{WANTED}", nauth.origin())).await;
    browser.shows("Log in").await;
    browser
}

async fn type_password(browser: &mut Chromium) {
    browser.fill("#identifier", ADA).await;
    browser.fill("#password", PASSWORD).await;
    browser.press("Log in").await;
}

/// Lets the browser's page be as old as a forgotten one.
async fn age(browser: &mut Chromium) {
    browser.run("performance.now = () => 3_600_000;").await;
}

/// What went wrong, once it is there and has the focus.
async fn told(browser: &mut Chromium, words: &str) {
    browser.shows(words).await;
    let focused = browser.run("return document.activeElement.getAttribute('role') ?? ''").await;
    assert_eq!(focused, "alert", "`{words}` has the focus");
}

#[tokio::test]
async fn a_passkey_that_is_all_there_is_is_asked_for_at_once() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup(ADA).await;
    let mut browser = at_the_door(&nauth).await;
    set_up(&nauth, &ada, &mut browser).await;

    type_password(&mut browser).await;

    let page = browser.shows(ARRIVED).await;
    assert!(page.to_lowercase().contains(&format!("x-forwarded-user: {}", ada.sub)), "{page}");
}

#[tokio::test]
async fn a_passkey_beside_an_app_waits_for_its_button_and_the_app_is_good_when_it_is_gone() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup(ADA).await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let mut browser = at_the_door(&nauth).await;
    set_up(&nauth, &ada, &mut browser).await;

    type_password(&mut browser).await;
    browser.shows("Use a passkey").await;
    browser.press("Use a passkey").await;
    browser.shows(ARRIVED).await;

    browser.forget_passkeys().await;
    let mut browser = leave(browser, &nauth).await;
    type_password(&mut browser).await;
    browser.shows("Use a passkey").await;
    browser.press("Use a passkey").await;
    told(&mut browser, "No passkey was used").await;
    browser.press("Use a passkey").await;
    told(&mut browser, "No passkey was used").await;
    app.next_step().await;
    browser.fill("#code", &app.code()).await;
    browser.press("Go on").await;
    browser.shows(ARRIVED).await;
}

/// Logs the browser out and has it want the same again.
async fn leave(mut browser: Chromium, nauth: &Nauth) -> Chromium {
    browser.goto(&format!("{}/auth/ui/login", nauth.origin())).await;
    browser.shows("You are logged in").await;
    browser.press("Log out").await;
    browser.shows("user name or phone number").await;
    browser.goto(&format!("{}{WANTED}", nauth.origin())).await;
    browser.shows("Log in").await;
    browser
}

#[tokio::test]
async fn a_passkey_that_is_demanded_is_set_up_on_the_page_and_named() {
    let demanded = config().set("mfa.enforcement", "required").set("mfa.grace", "0s");
    let nauth = Nauth::start(demanded.set("mfa.methods", json!(["passkey", "totp"]))).await;
    let mut browser = at_the_door(&nauth).await;

    browser.fill("#email", ADA).await;
    browser.fill("#new-password", PASSWORD).await;
    browser.press("Sign up").await;
    let page = browser.shows("Set up a second step").await;
    assert!(page.contains("Code of your app"), "{page}");
    browser.press("Passkey").await;
    browser.shows("Name of the passkey").await;
    browser.fill("#name", "Ada's <b>laptop</b>").await;
    browser.press("Set up the passkey").await;
    browser.shows(ARRIVED).await;

    browser.goto(&format!("{}/auth/mfa/devices", nauth.origin())).await;
    browser.shows("Ada's <b>laptop</b>").await;
    let mut browser = leave(browser, &nauth).await;
    type_password(&mut browser).await;
    browser.shows(ARRIVED).await;
}

#[tokio::test]
async fn a_set_up_that_comes_to_nothing_leaves_the_other_ways() {
    let demanded = config().set("mfa.enforcement", "required").set("mfa.grace", "0s");
    let nauth = Nauth::start(demanded.set("mfa.methods", json!(["passkey", "totp"]))).await;
    let mut browser = at_the_door(&nauth).await;
    browser.fill("#email", ADA).await;
    browser.fill("#new-password", PASSWORD).await;
    browser.press("Sign up").await;
    browser.shows("Set up a second step").await;
    browser.press("Passkey").await;
    browser.shows("Name of the passkey").await;

    let wrong = "const form = document.querySelector('form'); form.elements.credential.value = '{}'; form.submit();";
    browser.run(wrong).await;
    browser.shows("This passkey was not accepted").await;
    browser.run("location.href = document.querySelector('.other a').href").await;
    browser.shows("Choose one").await;
    browser.press("Code of your app").await;
    let key = browser.shows("Scan this").await;
    let secret = key.lines().find(|line| line.len() >= 26 && line.chars().all(|c| c.is_ascii_alphanumeric()));
    let app = App::told(&json!({ "secret": secret.expect("the key is shown") }), STEP);
    browser.fill("#code", &app.code()).await;
    browser.press("Go on").await;
    browser.shows(ARRIVED).await;
}

#[tokio::test]
async fn a_passkey_alone_logs_in_on_the_page_and_its_failures_are_told() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup(ADA).await;
    let mut browser = at_the_door(&nauth).await;

    browser.press("Log in with a passkey").await;
    told(&mut browser, "No passkey was used").await;
    set_up(&nauth, &ada, &mut browser).await;
    browser.press("Log in with a passkey").await;
    browser.shows(ARRIVED).await;

    let mut browser = leave(browser, &nauth).await;
    let devices = nauth.get_as(&ada, "/auth/mfa/devices").await.expect(200).json();
    let path = format!("/auth/mfa/devices/{}", devices["devices"][0]["id"]);
    nauth.send(&Request::new("DELETE", &path).bearer(&ada.access_token)).await.expect(200);
    for _ in 0..2 {
        browser.press("Log in with a passkey").await;
        told(&mut browser, "This passkey was not accepted").await;
        browser.run("document.querySelector('main > [role=alert]').remove()").await;
    }
    type_password(&mut browser).await;
    browser.shows(ARRIVED).await;
}

#[tokio::test]
async fn a_question_that_has_grown_old_is_asked_anew_before_anybody_answers_it() {
    let nauth = Nauth::start(config()).await;
    let ada = nauth.signup(ADA).await;
    let mut browser = at_the_door(&nauth).await;
    set_up(&nauth, &ada, &mut browser).await;
    browser.forget_passkeys().await;
    type_password(&mut browser).await;
    told(&mut browser, "No passkey was used").await;

    // The question of the page knows nothing of this one.
    set_up(&nauth, &ada, &mut browser).await;
    age(&mut browser).await;
    browser.press("Use a passkey").await;

    browser.shows(ARRIVED).await;
}

#[tokio::test]
async fn a_set_up_that_has_grown_old_goes_on_with_the_name_that_was_typed() {
    let demanded = config().set("mfa.enforcement", "required").set("mfa.grace", "0s");
    let nauth = Nauth::start(demanded.set("mfa.methods", json!(["passkey"]))).await;
    let mut browser = at_the_door(&nauth).await;
    browser.fill("#email", ADA).await;
    browser.fill("#new-password", PASSWORD).await;
    browser.press("Sign up").await;
    browser.shows("Set up a second step").await;
    browser.press("Passkey").await;
    browser.shows("Name of the passkey").await;

    browser.fill("#name", "Laptop").await;
    age(&mut browser).await;
    browser.press("Set up the passkey").await;

    browser.shows(ARRIVED).await;
    browser.goto(&format!("{}/auth/mfa/devices", nauth.origin())).await;
    browser.shows("Laptop").await;
    let output = nauth.output();
    let posts = output.lines().filter(|line| line.contains("method=POST path=\"/auth/ui/code\""));
    assert_eq!(posts.count(), 3, "asked, asked anew, answered");
}

#[tokio::test]
async fn a_passkey_alone_does_not_pass_by_what_else_is_asked() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup(ADA).await;
    let mut browser = at_the_door(&nauth).await;
    set_up(&nauth, &ada, &mut browser).await;
    nauth.command_reading(&["user", "set-password", ADA, "--must-change"], "another long walk\n").await.expect(0);

    browser.press("Log in with a passkey").await;

    browser.shows("Choose a new password").await;
    browser.fill("#password", "yet another long walk").await;
    browser.press("Go on").await;
    browser.shows(ARRIVED).await;
}

#[tokio::test]
async fn a_page_at_another_address_says_that_passkeys_do_not_work_there() {
    let nauth = Nauth::start(passwordless()).await;
    let elsewhere = nauth.origin().replace("localhost", "127.0.0.1");
    let mut browser = Chromium::open(&format!("{elsewhere}/auth/ui/login")).await;

    browser.press("Log in with a passkey").await;

    told(&mut browser, "Passkeys do not work at this address").await;
}

#[tokio::test]
async fn a_session_is_raised_and_made_fresh_by_a_passkey() {
    let routes = config()
        .route("path = \"/\"\naccess = \"required\"")
        .route("path = \"/vault\"\naccess = \"required\"\nmin_aal = 2")
        .route("path = \"/fresh\"\naccess = \"required\"\nmax_auth_age = \"2s\"");
    let nauth = Nauth::start(routes).await;
    let ada = nauth.signup(ADA).await;
    let mut browser = at_the_door(&nauth).await;
    type_password(&mut browser).await;
    browser.shows(ARRIVED).await;
    browser.goto(&format!("{}/auth/ui/login", nauth.origin())).await;
    set_up(&nauth, &ada, &mut browser).await;

    browser.goto(&format!("{}/vault?gold=1", nauth.origin())).await;
    browser.shows("A second step is needed").await;
    browser.press("Use a passkey").await;
    browser.shows("GET /vault?gold=1").await;

    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    browser.goto(&format!("{}/fresh?milk=1", nauth.origin())).await;
    browser.shows("Confirm that it is you").await;
    browser.press("Use a passkey").await;
    browser.shows("GET /fresh?milk=1").await;
}

#[tokio::test]
async fn without_javascript_the_pages_say_so_and_offer_the_rest() {
    let nauth = Nauth::start(passwordless()).await;
    let ada = nauth.signup(ADA).await;
    let app = nauth.set_up_app(&ada, STEP).await;
    let mut browser = at_the_door(&nauth).await;
    set_up(&nauth, &ada, &mut browser).await;
    browser.scripts(false).await;
    browser.goto(&format!("{}{WANTED}", nauth.origin())).await;
    let page = browser.shows("A passkey needs JavaScript").await;
    assert!(!page.contains("Log in with a passkey"), "{page}");

    browser.fill("#identifier", ADA).await;
    browser.fill("#password", PASSWORD).await;
    browser.press("Log in").await;
    let page = browser.shows("One more step").await;
    assert!(page.contains("A passkey needs JavaScript") && !page.contains("Use a passkey"), "{page}");
    app.next_step().await;
    browser.fill("#code", &app.code()).await;
    browser.press("Go on").await;
    browser.shows(ARRIVED).await;
}

#[tokio::test]
async fn a_page_runs_the_one_script_only_where_a_passkey_is_taken() {
    let nauth = Nauth::start(passwordless()).await;
    let page = nauth.send(&Request::get("/auth/ui/login")).await.expect(200);
    let policy = page.header("content-security-policy").unwrap();
    let nonce = nonce_of(&page);
    let expected = format!("default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; ");
    assert!(nonce.len() == 32 && policy.starts_with(&expected), "nothing else of this origin runs: {policy}");
    let html = page.text();
    assert!(html.contains(&format!(" nonce=\"{nonce}\" defer></script>")), "{html}");
    assert_ne!(nonce_of(&nauth.send(&Request::get("/auth/ui/login")).await), nonce);
    let address = html.split("<script src=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let signup = nauth.send(&Request::get("/auth/ui/signup")).await.expect(200);
    assert!(!signup.header("content-security-policy").unwrap().contains("script-src"), "{signup}");
    assert!(!signup.text().contains("<script"), "{signup}");

    let script = nauth.send(&Request::get(&address)).await.expect(200);
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(script.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let tag = script.header("etag").unwrap();
    let held =
        nauth.send(&Request::get(&address).header("If-None-Match", &format!("\"a\", W/{tag}"))).await.expect(304);
    assert_eq!((held.body.len(), held.header("etag")), (0, Some(tag)));
    let another = address.split('?').next().unwrap();
    let another = nauth.send(&Request::get(&format!("{another}?v=0"))).await.expect(200);
    assert_eq!(another.header("cache-control"), Some("no-cache"), "not what the address names");

    let nauth = Nauth::start(config()).await;
    let page = nauth.send(&Request::get("/auth/ui/login")).await.expect(200);
    assert!(!page.header("content-security-policy").unwrap().contains("script-src"), "{page}");
    assert!(!page.text().contains("<script") && !page.text().contains("passkey"), "{page}");
    nauth.send(&Request::post("/auth/ui/passkey").header("Origin", &nauth.origin())).await.expect(404);
}

/// What a page calls the one script that may run on it.
fn nonce_of(page: &Answer) -> String {
    let policy = page.header("content-security-policy").unwrap();
    policy.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0.to_owned()
}

#[tokio::test]
async fn another_site_gets_no_question_and_logs_nobody_in() {
    let nauth = Nauth::start(passwordless()).await;
    for path in ["passkey", "confirm/passkey", "step-up/passkey"] {
        let forged = Request::post(&format!("/auth/ui/{path}")).header("Origin", "https://evil.example");
        let refused = nauth.send(&forged).await.expect(403);
        assert!(!refused.text().contains("data-question"), "{refused}");
    }
}

/// Ada's passkey, her browser, and the page that asks her for it.
async fn asked_for_a_passkey(nauth: &Nauth) -> (Authenticator, Browser<'_>, Answer) {
    let ada = nauth.signup(ADA).await;
    let mut authenticator = Authenticator::at(nauth);
    let wish = json!({ "methodName": "passkey" });
    let setup = nauth.post_as(&ada, "/auth/mfa/setup-data", &wish).await.expect(200).json();
    let body = json!({ "methodName": "passkey", "setupData": {
        "credential": authenticator.create(&setup["setupData"]["options"]) } });
    nauth.post_as(&ada, "/auth/mfa/verify-setup", &body).await.expect(200);
    let mut browser = Browser::new(nauth);
    let page = browser.open(&format!("/auth/ui/login?return_to={WANTED}")).await.expect(200);
    let login = Form::with_fields(&page, &["identifier", "password"]);
    let page = browser.submit(&login.fill("identifier", ADA).fill("password", PASSWORD)).await.expect(200);
    (authenticator, browser, page)
}

/// The form for the passkey of a page, with the answer to its question.
fn answered(authenticator: &mut Authenticator, page: &Answer) -> Form {
    let form = Form::with_fields(page, &["credential"]);
    let question: serde_json::Value = serde_json::from_str(&form.data("question")).unwrap();
    let credential = authenticator.get(&question).to_string();
    form.fill("credential", &credential)
}

#[tokio::test]
async fn another_tab_only_makes_the_answer_of_the_first_one_late() {
    let nauth = Nauth::start(config()).await;
    let (mut authenticator, mut browser, first) = asked_for_a_passkey(&nauth).await;

    // More often than a challenge takes wrong answers.
    for _ in 0..5 {
        browser.open("/auth/ui/code").await.expect(200);
        let page = browser.submit(&answered(&mut authenticator, &first)).await.expect(400);
        assert!(page.text().contains("That took too long"), "{page}");
    }
    let page = browser.open(&format!("/auth/ui/code?return_to={WANTED}")).await.expect(200);
    let landed = browser.submit(&answered(&mut authenticator, &page)).await.expect(200);
    assert!(landed.text().contains(ARRIVED), "{landed}");
}

#[tokio::test]
async fn looks_at_a_challenge_are_counted_and_end_nothing() {
    let nauth = Nauth::start(config().set("rate_limit.default", json!({ "max": 12, "window": "5s" }))).await;
    let (mut authenticator, mut browser, _) = asked_for_a_passkey(&nauth).await;

    let mut refused = browser.visit("/auth/ui/code").await;
    for _ in 0..12 {
        refused = browser.visit("/auth/ui/code").await;
    }
    let refused = refused.expect(429);
    assert!(refused.text().contains("Too many tries"), "{refused}");
    let page = eventually(secs(15), async || {
        let page = browser.visit("/auth/ui/code").await;
        (page.status == 200).then_some(page)
    });
    let page = page.await.expect("the limit ends");
    browser.submit(&answered(&mut authenticator, &page)).await.expect(200);
}

#[tokio::test]
async fn a_factor_page_carries_a_fresh_question_after_a_wrong_answer() {
    let nauth = Nauth::start(config()).await;
    let (mut authenticator, mut browser, page) = asked_for_a_passkey(&nauth).await;
    assert!(page.text().contains(" data-starts"), "{page}");

    let form = Form::with_fields(&page, &["credential"]);
    let page = browser.submit(&form.fill("credential", "{\"id\":\"<b>\"}")).await.expect(400);
    assert!(page.text().contains("This passkey was not accepted") && !page.text().contains("<b>"), "{page}");
    assert!(!page.text().contains(" data-starts"), "{page}");
    let landed = browser.submit(&answered(&mut authenticator, &page)).await.expect(200);
    assert!(landed.text().contains(ARRIVED), "{landed}");
}
