//! Rules, asked before they count: `[[tests]]` in the file.

use crate::support::{Config, Echo, Finished, Nauth, Request, eventually, secs};

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
