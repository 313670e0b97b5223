//! What an upstream is told about the user, in the words its kind of application reads.

use serde_json::json;

use crate::support::{Account, Answer, Config, Echo, Nauth, PASSWORD, Request, Seen, eventually, secs};

/// A user with a proven address and a name.
async fn ada(nauth: &Nauth) -> Account {
    let body = json!({ "email": "ada@example.com", "username": "ada", "password": PASSWORD });
    let answer = nauth.send(&Request::post("/auth/signup").json(&body)).await.expect(201);
    let session = answer.json()["session"].as_str().unwrap_or_default().to_owned();
    let code = nauth.code_for("ada@example.com").await;
    Account::in_answer(&nauth.respond(&session, &code).await.expect(200))
}

/// What an upstream was told, by names that begin like this, sorted. The assertion comes beside every
/// preset and is tested with the keys.
fn told(answer: &Answer, prefixes: &[&str]) -> Vec<String> {
    let seen = Seen::in_answer(answer);
    let lines = seen.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut told: Vec<String> = lines
        .filter(|(name, _)| name != "x-nauth-assertion" && prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    told.sort();
    told
}

const FAMILIES: [&str; 9] = [
    "remote-",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred",
    "x-forwarded-groups",
    "x-auth-",
    "x-authentik-",
    "x-webauth-",
    "x-nauth-",
];

#[tokio::test]
async fn each_route_speaks_the_words_its_application_reads() {
    let echo = Echo::start().await;
    let route = |preset: &str| format!("path = \"/{preset}\"\nidentity = {{ preset = \"{preset}\" }}");
    let presets = ["standard", "remote", "auth_request", "authentik", "grafana", "none"];
    let config = presets.iter().fold(Config::in_front_of(&echo), |config, preset| config.route(&route(preset)));
    let nauth = Nauth::start(config).await;
    let ada = ada(&nauth).await;
    let sub = &ada.sub;

    for (preset, expected) in [
        (
            "standard",
            vec![
                "x-forwarded-email: ada@example.com".to_owned(),
                "x-forwarded-groups: user".to_owned(),
                "x-forwarded-preferred-username: ada".to_owned(),
                format!("x-forwarded-user: {sub}"),
            ],
        ),
        (
            "remote",
            vec![
                "remote-email: ada@example.com".to_owned(),
                "remote-groups: user".to_owned(),
                "remote-name: ada".to_owned(),
                format!("remote-user: {sub}"),
            ],
        ),
        (
            "auth_request",
            vec![
                "x-auth-request-email: ada@example.com".to_owned(),
                "x-auth-request-groups: user".to_owned(),
                "x-auth-request-preferred-username: ada".to_owned(),
                format!("x-auth-request-user: {sub}"),
            ],
        ),
        (
            "authentik",
            vec![
                "x-authentik-email: ada@example.com".to_owned(),
                "x-authentik-groups: user".to_owned(),
                "x-authentik-name: ada".to_owned(),
                format!("x-authentik-uid: {sub}"),
                format!("x-authentik-username: {sub}"),
            ],
        ),
        (
            "grafana",
            vec![
                "x-webauth-email: ada@example.com".to_owned(),
                "x-webauth-groups: user".to_owned(),
                "x-webauth-name: ada".to_owned(),
                format!("x-webauth-user: {sub}"),
            ],
        ),
        ("none", vec![]),
    ] {
        let request = Request::get(&format!("/{preset}")).bearer(&ada.access_token);
        let answer = nauth.send(&request).await.expect(200);
        assert_eq!(told(&answer, &FAMILIES), expected, "{preset}");
    }
}

#[tokio::test]
async fn the_word_nearest_to_the_request_counts() {
    let echo = Echo::start().await;
    let wiki = format!(
        "[[upstreams]]\nname = \"wiki\"\ntargets = [\"{}\"]\nidentity = {{ preset = \"remote\", user = \"email\" }}",
        echo.url()
    );
    let config = Config::in_front_of(&echo)
        .set("gateway.identity.user", "username")
        .table(&wiki)
        .route("path = \"/\"")
        .table("[[routes]]\nupstream = \"wiki\"\npath = \"/wiki\"")
        .table("[[routes]]\nupstream = \"wiki\"\npath = \"/wiki/api\"\nidentity = { preset = \"auth_request\" }");
    let nauth = Nauth::start(config).await;
    let ada = ada(&nauth).await;

    for (path, expected) in [
        ("/", "x-forwarded-user: ada"),
        ("/wiki", "remote-user: ada@example.com"),
        ("/wiki/api", "x-auth-request-user: ada@example.com"),
    ] {
        let answer = nauth.send(&Request::get(path).bearer(&ada.access_token)).await.expect(200);
        let told = told(&answer, &FAMILIES);
        assert!(told.iter().any(|line| line == expected), "{path}: {told:?}");
        assert_eq!(told.len(), 4, "{path}: {told:?}");
    }
    let rename = Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&json!({ "username": "eve" }));
    nauth.send(&rename).await.expect_error(400, "VALIDATION_FAILED");
}

#[tokio::test]
async fn another_preset_is_in_force_after_a_reload() {
    let echo = Echo::start().await;
    let config = |preset: &str| Config::in_front_of(&echo).set("gateway.identity.preset", preset);
    let nauth = Nauth::start(config("standard")).await;
    let ada = ada(&nauth).await;
    let request = Request::get("/").bearer(&ada.access_token).header("X-WEBAUTH-USER", "root");
    let before = told(&nauth.send(&request).await.expect(200), &FAMILIES);
    assert!(before.iter().all(|line| line.starts_with("x-forwarded-")), "{before:?}");

    nauth.reconfigure(&config("grafana"));

    let changed = eventually(secs(10), async || {
        let told = told(&nauth.send(&request).await.expect(200), &FAMILIES);
        told.contains(&format!("x-webauth-user: {}", ada.sub)).then_some(told)
    });
    let told = changed.await.expect("the reload changes what is told");
    assert!(told.iter().all(|line| line.starts_with("x-webauth-")), "{told:?}");
}

#[tokio::test]
async fn many_roles_are_told_as_far_as_they_fit_and_the_rest_is_admitted() {
    let echo = Echo::start().await;
    let roles: Vec<String> = (0..66).map(|n| format!("{}-{n:02}", "department".repeat(6))).collect();
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("authorization.known_roles", json!(roles))
        .set("signup.default_roles", json!(roles))
        .route("path = \"/authentik\"\nidentity = { preset = \"authentik\" }")
        .route("path = \"/\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    for (path, name, separator) in [("/", "X-Forwarded-Groups", ','), ("/authentik", "X-authentik-groups", '|')] {
        let seen = Seen::in_answer(&nauth.send(&Request::get(path).bearer(&ada.access_token)).await.expect(200));
        let groups = seen.header(name).unwrap_or_default();
        assert!((4000..=4096).contains(&groups.len()), "{}", groups.len());
        assert!(groups.split(separator).all(|group| roles.iter().any(|role| role == group)), "{groups}");
        assert_eq!(seen.header(&format!("{name}-Truncated")), Some("1"));
    }
}
