//! The commands, beside a running nauth and without one.

use std::path::Path;

use crate::support::{Account, Config, Echo, Finished, Nauth, PASSWORD, Request, Seen, eventually, secs};

fn routes(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .route("name = \"admin\"\npath = \"/admin\"\naccess = \"required\"\nroles = [\"admin\"]")
        .route("name = \"everything\"\npath = \"/\"\naccess = \"required\"")
}

#[tokio::test]
async fn help_names_every_command() {
    let empty = tempfile::tempdir().unwrap();

    let help = Finished::of(empty.path(), &["--help"]).await.expect(0);
    for command in ["run", "check", "diff", "explain", "routes", "schema", "migrate", "copy", "health", "keys", "user"]
    {
        assert!(help.output.contains(command), "{command} is not in:\n{}", help.output);
    }
    let help = Finished::of(empty.path(), &["user", "--help"]).await.expect(0);
    for command in
        ["create", "list", "show", "set-password", "grant-role", "revoke-role", "disable", "enable", "delete"]
    {
        assert!(help.output.contains(command), "{command} is not in:\n{}", help.output);
    }
    Finished::of(empty.path(), &["--version"]).await.expect(0).says(env!("CARGO_PKG_VERSION"));
    Finished::of(empty.path(), &["chekc"]).await.expect(2).says("check");
}

#[tokio::test]
async fn check_tells_a_sound_file_from_an_unsound_one() {
    let directory = tempfile::tempdir().unwrap();
    let write = |config: &Config| std::fs::write(directory.path().join("nauth.toml"), config.to_toml()).unwrap();

    write(&Config::whoami());
    Finished::of(directory.path(), &["check"]).await.expect(0);
    assert!(!directory.path().join("data").exists(), "check changes nothing");

    write(
        &Config::whoami()
            .set("jwt.acess_ttl", "2s")
            .set("server.max_body", "ten")
            .route("path = \"/x\"\naccess = \"no\""),
    );
    let report = Finished::of(directory.path(), &["check", "--config", "nauth.toml"]).await.expect(2);
    for wanted in ["nauth.toml:", "^", "acess_ttl", "access_ttl", "max_body", "required"] {
        assert!(report.output.contains(wanted), "`{wanted}` is not in:\n{}", report.output);
    }
}

#[tokio::test]
async fn contradictions_are_found() {
    let echo = Echo::start().await;
    let contradictions = [
        (
            "an upstream nobody declared",
            routes(&echo).route("name = \"x\"\npath = \"/x\"\nupstream = \"ap\"").to_toml().replacen(
                "upstream = \"app\"\nname = \"x\"",
                "name = \"x\"",
                1,
            ),
        ),
        (
            "a role nobody has",
            routes(&echo).route("path = \"/x\"\naccess = \"required\"\nroles = [\"wizard\"]").to_toml(),
        ),
        (
            "roles for everybody",
            routes(&echo).route("path = \"/x\"\naccess = \"public\"\nroles = [\"admin\"]").to_toml(),
        ),
        ("one route twice", routes(&echo).route("path = \"/admin\"\naccess = \"public\"").to_toml()),
        ("a route where the API lives", routes(&echo).route("path = \"/auth/x\"\naccess = \"public\"").to_toml()),
        ("console mail in public", routes(&echo).set("server.public_url", "https://app.example.com").to_toml()),
        (
            "an insecure cookie over https",
            routes(&echo)
                .set("server.public_url", "https://app.example.com")
                .set("token_delivery.cookie.secure", false)
                .to_toml(),
        ),
        ("a whole number as duration", routes(&echo).set("jwt.refresh_grace", 10).to_toml()),
        ("an access token that outlives its refresh token", routes(&echo).set("jwt.access_ttl", "8d").to_toml()),
        ("a short secret", routes(&echo).set("jwt.access_secret", "short").to_toml()),
        ("a password that cannot be", routes(&echo).set("password.min_length", 200).to_toml()),
        ("an unset variable", routes(&echo).set("email.from", "${env:NOBODY_SETS_THIS}").to_toml()),
        ("a table twice", format!("{}\n[log]\nlevel = \"info\"\n", routes(&echo).to_toml())),
    ];

    let directory = tempfile::tempdir().unwrap();
    for (contradiction, text) in contradictions {
        std::fs::write(directory.path().join("nauth.toml"), &text).unwrap();
        let report = Finished::of(directory.path(), &["check"]).await;
        assert_eq!(report.code, Some(2), "{contradiction}:\n{}\n---\n{text}", report.output);
        assert!(report.output.contains("nauth.toml:"), "{contradiction}:\n{}", report.output);
    }
}

#[tokio::test]
async fn routes_shows_who_may_what() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;

    let table = nauth.command(&["routes"]).await.expect(0);

    for wanted in ["admin", "/admin", "everything", "required", "app"] {
        assert!(table.output.contains(wanted), "`{wanted}` is not in:\n{}", table.output);
    }
}

#[tokio::test]
async fn schema_prints_what_editors_need_without_a_configuration() {
    let empty = tempfile::tempdir().unwrap();
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nauth.schema.json");

    let printed = Finished::of(empty.path(), &["schema"]).await.expect(0);

    assert_eq!(printed.output, std::fs::read_to_string(published).unwrap());
    let schema: serde_json::Value = serde_json::from_str(&printed.output).unwrap();
    assert_eq!(schema["properties"]["jwt"]["properties"]["access_ttl"]["default"], "15m");
}

#[tokio::test]
async fn migrate_prepares_a_database_and_tells_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("nauth.toml"), Config::whoami().to_toml()).unwrap();

    let before = Finished::of(directory.path(), &["migrate", "status"]).await;
    assert!(before.code.is_some(), "{before:?}");
    Finished::of(directory.path(), &["migrate"]).await.expect(0);
    Finished::of(directory.path(), &["migrate", "status"]).await.expect(0).says("init");
    Finished::of(directory.path(), &["migrate"]).await.expect(0);
    assert!(directory.path().join("data/nauth.db").exists());
}

#[tokio::test]
async fn health_tells_whether_a_nauth_runs() {
    let mut nauth = Nauth::start(Config::whoami()).await;

    nauth.command(&["health"]).await.expect(0);
    nauth.kill();
    assert_ne!(nauth.command(&["health"]).await.code, Some(0));
}

#[tokio::test]
async fn an_operators_user_is_complete_and_logs_in() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;

    nauth.command_reading(&["user", "create", "ada@example.com"], PASSWORD).await.expect(0);

    let ada = nauth.login("ada@example.com").await;
    let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200));
    assert_eq!(seen.header("X-Forwarded-Email"), Some("ada@example.com"));
    nauth.command(&["user", "list"]).await.expect(0).says("ada@example.com");
    let shown = nauth.command(&["user", "show", "ada@example.com"]).await.expect(0).says(&ada.sub);
    assert!(!shown.output.contains("argon2"), "{}", shown.output);
    nauth.command_reading(&["user", "create", "ada@example.com"], PASSWORD).await.expect(1).says("ada@example.com");
    nauth.command(&["user", "show", "nobody@example.com"]).await.expect(1).says("nobody@example.com");
}

#[tokio::test]
async fn a_disabled_user_is_out_within_a_second_and_back_when_enabled() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let bob = nauth.signup("bob@example.com").await;

    nauth.command(&["user", "disable", "ada@example.com", "--reason", "left the company"]).await.expect(0);

    answers_within_a_second(&nauth, "/", &ada, 401).await;
    nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await.expect(401);
    nauth.try_refresh(&ada.refresh_token).await.expect(401);
    nauth.try_login("ada@example.com", PASSWORD).await.expect_error(403, "AUTH_ACCOUNT_LOCKED");
    nauth.try_login("ada@example.com", "a wrong password").await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    nauth.send(&Request::get("/").bearer(&bob.access_token)).await.expect(200);

    nauth.command(&["user", "enable", "ada@example.com"]).await.expect(0);
    let again = nauth.login("ada@example.com").await;
    nauth.send(&Request::get("/").bearer(&again.access_token)).await.expect(200);
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(401);
}

#[tokio::test]
async fn a_granted_role_reaches_a_browser_by_itself_and_a_bearer_after_its_refresh() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let browser = nauth.login("ada@example.com").await;
    nauth.send(&Request::get("/admin").bearer(&ada.access_token)).await.expect(403);

    nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);

    answers_within_a_second(&nauth, "/", &ada, 401).await;
    nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await.expect(200);
    let ada = nauth.refresh(&ada).await;
    nauth.send(&Request::get("/admin").bearer(&ada.access_token)).await.expect(200);
    let answer = nauth.send(&Request::get("/admin").cookies(&browser.cookies())).await.expect(200);
    assert_eq!(Seen::in_answer(&answer).header("X-Forwarded-Groups"), Some("admin,user"));
    assert!(answer.cookie("nauth_access_token").is_some(), "{answer}");

    nauth.command(&["user", "revoke-role", "ada@example.com", "admin"]).await.expect(0);
    answers_within_a_second(&nauth, "/admin", &ada, 401).await;
    let ada = nauth.refresh(&ada).await;
    nauth.send(&Request::get("/admin").bearer(&ada.access_token)).await.expect(403);
    assert_ne!(nauth.command(&["user", "grant-role", "ada@example.com", "no such role"]).await.code, Some(0));
}

#[tokio::test]
async fn a_new_password_ends_every_session() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let new = "another walk by another sea";

    nauth.command_reading(&["user", "set-password", "ada@example.com"], new).await.expect(0);

    answers_within_a_second(&nauth, "/", &ada, 401).await;
    nauth.try_refresh(&ada.refresh_token).await.expect(401);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(401);
    nauth.try_login("ada@example.com", new).await.expect(200);
    assert_ne!(nauth.command_reading(&["user", "set-password", "ada@example.com"], "short").await.code, Some(0));
}

async fn answers_within_a_second(nauth: &Nauth, path: &str, account: &Account, status: u16) {
    let request = Request::get(path).bearer(&account.access_token);
    let answered = eventually(secs(1), async || (nauth.send(&request).await.status == status).then_some(()));
    assert!(answered.await.is_some(), "{path} is not answered with {status}");
}
