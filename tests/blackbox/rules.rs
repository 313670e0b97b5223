//! Rules, asked before they count: `[[tests]]`, `nauth explain`, `nauth diff`, and the report of a reload.

use crate::support::{Config, Echo, Finished, Nauth, Request, Seen, eventually, secs};

const SUCCESSFUL: &str = "nauth_config_last_reload_successful";

fn config(echo: &Echo, admin: &str) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("reload.debounce", "50ms")
        .route(&format!("name = \"admin\"\npath = \"/admin\"\n{admin}"))
        .route("name = \"app\"\npath = \"/\"")
}

/// What the operator wants of `/admin`.
fn with_tests(config: Config) -> Config {
    config
        .table("[[tests]]\nrequest = \"GET /admin/users\"\nexpect = \"login\"")
        .table(
            "[[tests]]\nrequest = \"GET /admin/users\"\nas = { roles = [\"user\"], aal = 1 }\nexpect = \"deny:role\"",
        )
        .table("[[tests]]\nrequest = \"POST /admin/users\"\nas = { roles = [\"admin\"] }\nexpect = \"allow\"")
}

#[tokio::test]
async fn a_failing_test_refuses_check_start_and_reload_with_its_line_and_the_route() {
    let echo = Echo::start().await;
    let good = with_tests(config(&echo, "roles = [\"admin\"]"));
    let bad = with_tests(config(&echo, "access = \"optional\""));
    let nauth = Nauth::start(good.clone()).await;
    nauth.command(&["check"]).await.expect(0).says("3 tests");

    nauth.reconfigure(&bad);

    nauth.metric_becomes(SUCCESSFUL, 0.0).await;
    let line =
        1 + std::fs::read_to_string(nauth.config_path()).unwrap().lines().position(|line| line == "[[tests]]").unwrap();
    for wanted in [
        &format!("nauth.toml:{line}:"),
        "test `GET /admin/users` fails: `login` is expected, it gets `allow`",
        "`deny:role` is expected",
        "route `admin` (nauth.toml:",
        "roles=[user], aal1",
    ] {
        nauth.writes(wanted).await;
    }
    nauth.send(&Request::get("/admin")).await.expect(401);
    nauth.command(&["check"]).await.expect(2).says("`deny:role` is expected");
    Nauth::start_refused(bad).await.expect(2).says("`login` is expected");

    nauth.reconfigure(&good.route("path = \"/open\"\naccess = \"public\""));
    nauth.metric_becomes(SUCCESSFUL, 1.0).await;
    let reloaded = eventually(secs(5), async || (nauth.send(&Request::get("/open")).await.status == 200).then_some(()));
    assert!(reloaded.await.is_some());
}

#[tokio::test]
async fn what_cannot_be_a_test_is_reported_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        ("request = \"/x\"\nexpect = \"allow\"", "is not `METHOD URL`"),
        ("request = \"get /x\"\nexpect = \"allow\"", "is not a method"),
        ("request = \"GET /x\"", "a test needs `expect`"),
        ("expect = \"allow\"", "a test needs `request`"),
        ("request = \"GET /x\"\nexpect = \"deny\"", "`deny:role`"),
        ("request = \"GET /x\"\nexpect = \"allow\"\nas = { roles = [\"wizard\"] }", "is not a known role"),
        ("request = \"GET /x\"\nexpect = \"allow\"\nas = { aal = 4 }", "must be from 1 to"),
        ("request = \"GET /x\"\nexpect = \"allow\"\nas = { role = [\"user\"] }", "unknown key `role`"),
        ("request = \"GET /x\"\nexpect = \"allow\"\nexcept = \"allow\"", "did you mean `expect`?"),
    ];
    for (test, wanted) in cases {
        let text = Config::whoami().table(&format!("[[tests]]\n{test}")).to_toml();
        std::fs::write(directory.path().join("nauth.toml"), text).unwrap();
        Finished::of(directory.path(), &["check"]).await.expect(2).says(wanted).says("nauth.toml:");
    }
}

#[tokio::test]
async fn explain_says_what_becomes_of_a_request_and_which_line_decides() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "roles = [\"admin\"]\nmin_aal = 2\nstrip_prefix = true")).await;
    let explain = async |arguments: &[&str]| {
        let finished = nauth.command(&[&["explain"], arguments].concat()).await.expect(0);
        serde_json::from_str::<serde_json::Value>(&finished.output).unwrap_or(finished.output.into())
    };

    let denied = explain(&["GET", "/admin/../x", "--json"]).await;
    assert_eq!((&denied["decision"], &denied["route"]), (&"deny:bad_request".into(), &serde_json::Value::Null));

    let denied = explain(&["POST", "//%61dmin/users?page=2", "--as", "role=user", "--json"]).await;
    assert_eq!(denied["decision"], "deny:role");
    assert_eq!(denied["canonical"], "/admin/users?page=2");
    assert_eq!(denied["route"]["name"], "admin");
    assert_eq!(denied["upstream"], serde_json::Value::Null);
    let line = denied["route"]["line"].as_str().unwrap().strip_prefix("nauth.toml:").unwrap().parse::<usize>().unwrap();
    let file = std::fs::read_to_string(nauth.config_path()).unwrap();
    assert_eq!(file.lines().nth(line - 1), Some("[[routes]]"));
    assert!(file.lines().skip(line).take(3).any(|line| line == "name = \"admin\""), "{file}");

    assert_eq!(explain(&["GET", "/admin", "--as", "role=admin", "--json"]).await["decision"], "step_up");
    assert_eq!(explain(&["GET", "/admin", "--json"]).await["decision"], "login");
    let told = "x-forwarded-user: root";
    let arguments = ["GET", "/admin/x", "--as", "role=admin,aal=2", "--header", told, "--json"];
    let allowed = explain(&arguments).await;
    assert_eq!(allowed["decision"], "allow");
    assert_eq!(allowed["upstream"]["target"], "/x");
    assert!(allowed["upstream"]["targets"][0].as_str().unwrap().contains(&echo.url()), "{allowed}");
    assert!(allowed["upstream"]["strips"].as_array().unwrap().contains(&"x-forwarded-user".into()), "{allowed}");

    let text = nauth.command(&["explain", "GET", "/"]).await.expect(0).says("as anonymous").says("route `app`");
    assert!(text.output.contains("decision   login"), "{}", text.output);
    nauth.command(&["explain", "GET", "/", "--as", "rank=1"]).await.expect(2).says("is not one of");
    nauth.command(&["explain", "get", "/"]).await.expect(1).says("is not a method");
}

#[tokio::test]
async fn explain_agrees_with_the_gateway_about_a_user_of_the_database() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "roles = [\"admin\"]")).await;
    let ada = nauth.signup("ada@example.com").await;
    let explained = async |url: &str| {
        let finished = nauth.command(&["explain", "GET", url, "--as", "ada@example.com", "--json"]).await.expect(0);
        serde_json::from_str::<serde_json::Value>(&finished.output).unwrap()
    };

    assert_eq!(explained("/admin").await["decision"], "deny:role");
    let answer = nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    let seen = Seen::in_answer(&answer);
    let explained = explained("/").await;
    assert_eq!(explained["decision"], "allow");
    let set = explained["upstream"]["sets"].as_array().unwrap();
    assert!(set.len() >= 2, "{explained}");
    for header in set {
        let (sent, told) = (seen.header(header["name"].as_str().unwrap()), header["value"].as_str());
        // What is signed is another at every look.
        let is_signed = told == Some("<assertion>") && sent.is_some_and(|token| token.starts_with("eyJ"));
        assert!(sent == told || is_signed, "{sent:?}: {explained}");
    }
    nauth.command(&["explain", "GET", "/", "--as", "eve@example.com"]).await.expect(1).says("is no user");
}

#[tokio::test]
async fn diff_shows_which_decisions_change_and_for_whom() {
    let echo = Echo::start().await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, config: &Config| std::fs::write(directory.path().join(name), config.to_toml()).unwrap();
    let base = |admin: &str| {
        config(&echo, admin)
            .route("name = \"files\"\nhosts = [\"files.example.com\"]\npath = \"~^/v[0-9]+/\"\nmethods = [\"PUT\"]")
            .table("[[tests]]\nrequest = \"GET /far/away\"\nas = {}\nexpect = \"allow\"")
    };
    write("old.toml", &base("roles = [\"admin\"]"));
    write("same.toml", &base("roles = [\"admin\"]\ntimeout = \"5s\""));
    write("open.toml", &base("access = \"optional\""));
    write("sure.toml", &base("roles = [\"admin\"]\nmin_aal = 2"));
    write(
        "closed.toml",
        &base("roles = [\"admin\"]").table("[[routes]]\nupstream = \"app\"\npath = \"/far\"\nroles = [\"support\"]"),
    );
    write("bad.toml", &base("roles = [\"wizard\"]"));
    let diff = async |new: &str, code: i32| {
        let finished = Finished::of(directory.path(), &["diff", "old.toml", new, "--json"]).await.expect(code);
        serde_json::from_str::<serde_json::Value>(&finished.output).unwrap_or_default()["changes"].to_string()
    };

    assert_eq!(diff("same.toml", 0).await, "[]");
    let opened = diff("open.toml", 1).await;
    for wanted in ["/admin/below", r#""before":"login""#, r#""before":"deny:role""#, r#""after":"allow""#, "anonymous"]
    {
        assert!(opened.contains(wanted), "{wanted}: {opened}");
    }
    let surer = diff("sure.toml", 1).await;
    assert!(surer.contains("step_up") && surer.contains("roles=[admin], aal1") && !surer.contains("aal2"), "{surer}");
    assert!(diff("closed.toml", 1).await.contains("/far/away"), "what tests ask about is asked about too");
    Finished::of(directory.path(), &["diff", "old.toml", "bad.toml"]).await.expect(2).says("is not a known role");
    let text = Finished::of(directory.path(), &["diff", "old.toml", "open.toml"]).await.expect(1);
    text.says("as anonymous: login → allow, by route `admin` (open.toml:").says("questions are answered otherwise");
}

#[tokio::test]
async fn a_reload_reports_what_changed_and_what_it_changes_for_requests_of_late() {
    let token = "a token of the operator, long enough";
    let echo = Echo::start().await;
    let with = |admin: &str| {
        config(&echo, admin)
            .set("server.management.token", token)
            .set("reload.watch", false)
            .env("NAUTH__LOG__LEVEL", "info")
    };
    let nauth = Nauth::start(with("")).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&Request::get("/admin/x?secret=1").bearer(&ada.access_token)).await.expect(200);
    nauth.send(&Request::get("/admin/x")).await.expect(401);
    nauth.send(&Request::get("/far").bearer(&ada.access_token)).await.expect(200);
    let reload = async || nauth.manage(&Request::post("/reload").bearer(token)).await;

    nauth.reconfigure(&with("roles = [\"admin\"]").set("jwt.leeway", "10s").set("database.max_connections", 3));
    let answer = reload().await.expect(200).json();

    assert_eq!(answer["reloaded"], true, "{answer}");
    let report = &answer["report"];
    assert_eq!(report["applied"], serde_json::json!(["jwt", "routes"]));
    assert_eq!(report["restartRequired"], serde_json::json!(["database"]));
    assert_eq!(report["overriddenByEnvironment"], serde_json::json!(["NAUTH__LOG__LEVEL"]));
    let unchanged = report["unchanged"].as_array().unwrap();
    assert!(unchanged.contains(&"login".into()) && !unchanged.contains(&"jwt".into()), "{answer}");
    let decisions = &report["decisions"];
    assert_eq!((decisions["requests"].as_u64(), decisions["changed"].as_u64()), (Some(3), Some(1)), "{answer}");
    let shown = decisions["shown"][0].as_str().unwrap();
    let wanted = format!("GET {}/admin/x as roles=[user], aal1", nauth.host());
    assert!(
        shown.starts_with(&wanted) && shown.contains(": allow → deny:role, by route `admin` (nauth.toml:"),
        "{shown}"
    );
    assert!(!answer.to_string().contains("ada@") && !answer.to_string().contains("secret"), "{answer}");
    for wanted in ["applied=\"jwt, routes\"", "restart_required=\"database\"", "NAUTH__LOG__LEVEL", "allow → deny:role"]
    {
        nauth.writes(wanted).await;
    }

    nauth.reconfigure(&with("roles = [\"wizard\"]"));
    let answer = reload().await.expect(422).json();
    assert_eq!(answer["reloaded"], false);
    assert!(answer["report"].as_str().unwrap().contains("is not a known role"), "{answer}");
}
