//! What an upstream is told about the user, in the words its kind of application reads.

use serde_json::json;

use crate::support::{
    Account, Answer, Config, Echo, Finished, Nauth, PASSWORD, Request, Seen, claims_of, eventually, secs,
};

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
                format!("x-authentik-meta-jwks: {}/auth/.well-known/jwks.json", nauth.origin()),
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
        // What is signed is another at every look.
        let told: Vec<String> =
            told(&answer, &FAMILIES).into_iter().filter(|line| !line.starts_with("x-authentik-jwt: ey")).collect();
        assert_eq!(told, expected, "{preset}");
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

/// Makes an account with what only operators write, and logs in.
async fn of_tenant(nauth: &Nauth, name: &str, metadata: &str) -> Account {
    let email = format!("{name}@example.com");
    let create = ["user", "create", &email, "--username", name, "--metadata-admin", metadata];
    nauth.command_reading(&create, PASSWORD).await.expect(0);
    nauth.login(&email).await
}

#[tokio::test]
async fn headers_say_what_operators_know_of_users_and_nothing_users_say_themselves() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .set("gateway.identity.preset", "none")
        .set("gateway.identity.extra.x-tenant", "{{user.metadata_admin.tenant}}")
        .set("gateway.identity.extra.x-org", "org-{{user.metadata_admin.org.id}}")
        .set("gateway.identity.extra.x-teams", "{{user.metadata_admin.teams}}")
        .set("gateway.identity.extra.x-session", "{{session.acr}} {{session.amr}}")
        .set("gateway.identity.extra.x-who", "{{user.username}} <{{user.email}}>")
        .set("gateway.identity.extra.x-plan", "{{claims.plan}}")
        .set("jwt.claims.plan", "{{user.metadata_admin.plan}}")
        .route("path = \"/\"")
        .route("path = \"/bare\"\nidentity = { extra = { x-tenant = \"\", x-plan = \"\", x-level = \"{{session.acr}}\" } }");
    let nauth = Nauth::start(config).await;
    let metadata = r#"{"tenant":"Zürich","org":{"id":7},"teams":["a","b"],"plan":"pro","secret":"not asked for"}"#;
    let ada = of_tenant(&nauth, "ada", metadata).await;
    let bob = of_tenant(&nauth, "bob", "{}").await;
    let claim = json!({ "metadata": { "tenant": "evil", "plan": "evil" } });
    nauth.send(&Request::new("PUT", "/auth/profile").bearer(&bob.access_token).json(&claim)).await.expect(200);
    let bob = nauth.refresh(&bob).await;
    let said = ["x-tenant", "x-org", "x-teams", "x-session", "x-who", "x-plan", "x-level"];
    let sent = |path: &str, token: &str| {
        let request = Request::get(path).bearer(token);
        said.iter().fold(request, |request, name| request.header(&name.replace('-', "_"), "evil").header(name, "evil"))
    };

    let answer = nauth.send(&sent("/", &ada.access_token)).await.expect(200);
    assert_eq!(
        told(&answer, &["x-tenant", "x-org", "x-teams", "x-session", "x-who", "x-plan", "x-level", "x_"]),
        [
            "x-org: org-7",
            "x-plan: pro",
            "x-session: aal1 pwd",
            "x-teams: a,b",
            "x-tenant: Z%C3%BCrich",
            "x-who: ada <ada@example.com>",
        ]
    );
    let answer = nauth.send(&sent("/bare", &ada.access_token)).await.expect(200);
    let bare = told(&answer, &said);
    assert!(bare.contains(&"x-level: aal1".to_owned()) && !bare.iter().any(|line| line.contains("pro")), "{bare:?}");
    let answer = nauth.send(&sent("/", &bob.access_token)).await.expect(200);
    let explain = ["explain", "GET", "/", "--as", "ada@example.com"];
    nauth.command(&explain).await.expect(0).says("x-tenant: Z%C3%BCrich").says("x-plan: pro");
    let strangers = ["x-session: aal1 pwd", "x-who: bob <bob@example.com>"];
    assert_eq!(told(&answer, &["x-tenant", "x-org", "x-teams", "x-session", "x-who", "x-plan", "x_"]), strangers);
}

#[tokio::test]
async fn tokens_hold_what_templates_ask_for_and_no_more() {
    let config =
        |template: &str| Config::whoami().without_verification().set("gateway.identity.extra.x-tenant", template);
    let nauth = Nauth::start(config("{{user.metadata_admin.tenant}}")).await;
    let ada = of_tenant(&nauth, "ada", r#"{"tenant":"acme","secret":"not asked for"}"#).await;

    let claims = claims_of(&ada.access_token);

    assert_eq!(claims["told"], json!({ "metadata_admin.tenant": "acme" }));
    assert!(!claims.to_string().contains("not asked for"), "{claims}");
    nauth.reconfigure(&config("{{user.id}}"));
    let told = eventually(secs(10), async || {
        let claims = claims_of(&nauth.login("ada@example.com").await.access_token);
        claims.get("told").is_none().then_some(())
    });
    told.await.expect("no header asks for it any more");
}

#[tokio::test]
async fn another_name_is_told_as_soon_as_the_next_request() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("gateway.identity.extra.remote-name", "{{user.first_name}}");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let by_cookies = || Request::get("/").cookies(&ada.cookies());
    let seen = Seen::in_answer(&nauth.send(&by_cookies()).await.expect(200));
    assert_eq!(seen.header("Remote-Name"), None);

    let rename = Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&json!({ "firstName": "Ada L." }));
    nauth.send(&rename).await.expect(200);

    let told = eventually(secs(5), async || {
        let seen = Seen::in_answer(&nauth.send(&by_cookies()).await.expect(200));
        seen.header("Remote-Name").map(str::to_owned)
    });
    assert_eq!(told.await.as_deref(), Some("Ada%20L."));
}

#[tokio::test]
async fn an_imported_account_brings_what_operators_know() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).set("gateway.identity.extra.x-tenant", "{{user.metadata_admin.tenant}}");
    let nauth = Nauth::start(config).await;
    let file = nauth.config_path().with_file_name("users.jsonl");
    let row = json!({ "email": "ada@example.com", "email_verified": true, "metadata_admin": { "tenant": "acme" } });
    std::fs::write(&file, row.to_string()).unwrap();

    nauth.command(&["user", "import", file.to_str().unwrap()]).await.expect(0);
    nauth.command_reading(&["user", "set-password", "ada@example.com"], PASSWORD).await.expect(0);
    nauth.command(&["user", "show", "ada@example.com"]).await.expect(0).says(r#"metadata  {"tenant":"acme"}"#);
    let ada = nauth.login("ada@example.com").await;

    let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200));
    assert_eq!(seen.header("X-Tenant"), Some("acme"));
    let too_much = format!(r#"{{"a":"{}"}}"#, "x".repeat(5000));
    for bad in ["[]", "acme", &too_much] {
        let create = ["user", "create", "eve@example.com", "--metadata-admin", bad];
        nauth.command_reading(&create, PASSWORD).await.expect(2);
    }
}

#[tokio::test]
async fn what_the_page_about_it_shows_is_a_configuration() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/identity.md")).unwrap();
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let shown = blocks.collect::<Vec<_>>().join("\n");
    assert!(shown.contains("[gateway.identity.extra]") && shown.contains("[jwt.claims]"), "{shown}");
    let directory = tempfile::tempdir().unwrap();

    std::fs::write(directory.path().join("nauth.toml"), shown + &Config::whoami().to_toml()).unwrap();

    Finished::of(directory.path(), &["check"]).await.expect(0);
}
