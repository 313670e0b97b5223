//! What the audit trail learns beside logins: refused requests, lost deliveries, a restored database.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::audit::{lines, written};
use super::support::{Config, Echo, Nauth, Receiver, Request, eventually, secs};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file of the audit trail, and the directory it goes with.
fn sink() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    (directory, path)
}

fn webhook(name: &str, at: &Receiver, further: &str) -> String {
    let url = at.url("/in");
    format!("[[webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private = true\n{further}")
}

/// The entry of a type as a webhook gets it.
async fn told(siem: &Receiver, kind: &'static str) -> Value {
    let posted = siem.wait_for(move |posted| posted.json()["data"]["entry"]["eventType"] == kind).await;
    posted.json()["data"]["entry"].clone()
}

fn of_type(path: &Path, kind: &str) -> Vec<Value> {
    lines(path).into_iter().filter(|entry| entry["eventType"] == kind).collect()
}

#[tokio::test]
async fn what_a_route_refuses_somebody_known_is_kept_once_and_not_a_hundred_times() {
    let (echo, siem, (_directory, path)) = (Echo::start().await, Receiver::start().await, sink());
    let route =
        |name: &str, rule: &str| format!("name = \"{name}\"\npath = \"/{name}\"\naccess = \"required\"\n{rule}");
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("audit.sink", json!([format!("file:{}", path.display()), "webhook:siem"]))
        .table(&webhook("siem", &siem, ""))
        .route(&route("role", "roles = [\"admin\"]"))
        .route(&route("scope", "scopes = [\"reports:read\"]"))
        .route(&route("verified_email", "verified_email = true"))
        .route(&route("address", "allow_ips = [\"192.0.2.0/24\"]"))
        .route(&route("step_up", "min_aal = 2"))
        .route("path = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let eve = nauth.signup("eve@example.com").await;

    for reason in ["role", "scope", "verified_email", "address", "step_up"] {
        let path = format!("/{reason}/of?token=hidden");
        for _ in 0..20 {
            let status = nauth.send(&Request::new("DELETE", &path).bearer(&ada.access_token)).await.status;
            assert_eq!(status, if reason == "step_up" { 401 } else { 403 }, "{reason}");
        }
        nauth.send(&Request::get(&path)).await;
    }
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    // Who is only known once a refresh cookie was good, and who is sent to log in again.
    nauth.send(&Request::get("/role").cookies(&eve.refresh_cookie())).await.expect(403);
    let page = Request::get("/step_up").header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document");
    nauth.send(&page.cookies(&eve.cookies()).header("Accept", "text/html")).await.expect(302);

    let page = eventually(secs(10), async || {
        let page = nauth.history(&ada, "?eventTypes=GATEWAY_ACCESS_DENIED").await;
        (page["total"] == 5).then_some(page)
    });
    let page = page.await.expect("five refusals");
    for entry in page["data"].as_array().unwrap() {
        let reason = entry["reason"].as_str().unwrap();
        assert_eq!(entry["eventStatus"], "FAILURE");
        let asked = json!({ "route": reason, "method": "DELETE", "path": format!("/{reason}/of") });
        assert_eq!(entry["metadata"], asked);
        assert!(entry["sessionId"].is_string() && !entry.to_string().contains("hidden"), "{entry}");
    }
    let hers = nauth.entry(&eve, "GATEWAY_ACCESS_DENIED").await;
    assert_eq!(hers["reason"], "role");
    assert_eq!(nauth.history(&eve, "?eventTypes=GATEWAY_ACCESS_DENIED").await["total"], 1);
    assert_eq!(told(&siem, "GATEWAY_ACCESS_DENIED").await["metadata"]["method"], "DELETE");
    assert_eq!(of_type(&path, "GATEWAY_ACCESS_DENIED").len(), 6, "anonymous requests are in no trail");
    let counted = nauth.metric("nauth_authz_decisions_total", &["route=\"role\"", "decision=\"deny\""]).await;
    assert!(counted >= 21.0, "each is counted: {counted}");
}

#[tokio::test]
async fn a_webhook_that_is_given_up_is_told_of_and_never_goes_round_in_circles() {
    let (siem, (_directory, path)) = (Receiver::start().await, sink());
    let dead = Receiver::answering(|_| (410, String::new())).await;
    let config = Config::whoami()
        .without_verification()
        .set("audit.sink", json!([format!("file:{}", path.display()), "webhook:siem", "webhook:dead"]))
        .table(&webhook("siem", &siem, ""))
        .table(&webhook("dead", &dead, ""))
        .table(&webhook("crm", &dead, "events = [\"user.created\"]"));
    let nauth = Nauth::start(config).await;
    nauth.signup("ada@example.com").await;

    let is_of_crm = |entry: &Value| entry["metadata"]["webhook"] == "crm";
    let failed = eventually(secs(10), async || of_type(&path, "WEBHOOK_FAILED").into_iter().find(is_of_crm)).await;
    let failed = failed.unwrap_or_else(|| panic!("{:?}\n{}", lines(&path), nauth.output()));
    assert_eq!(failed["metadata"], json!({ "webhook": "crm", "event": "user.created", "attempts": 1 }));
    assert_eq!(failed["reason"], "the endpoint is gone (410)");
    assert_eq!((&failed["performedBy"], &failed["sub"]), (&json!("system"), &Value::Null));
    assert_eq!(told(&siem, "WEBHOOK_FAILED").await["metadata"]["webhook"], "crm");

    // Every entry is lost once on the way to the dead one, and nobody is told of that but the trail itself.
    let settled = eventually(secs(15), async || {
        let (all, of_dead) = (lines(&path).len(), of_type(&path, "WEBHOOK_FAILED").len() - 1);
        (all == 2 * of_dead).then_some(all)
    });
    let all = settled.await.unwrap_or_else(|| panic!("{:#?}", lines(&path)));
    tokio::time::sleep(secs(3)).await;
    assert_eq!(lines(&path).len(), all);
    let of_entries =
        |posted: &super::support::Posted| posted.json()["data"]["entry"]["metadata"]["event"] == "audit.entry";
    assert!(!siem.posted().iter().chain(&dead.posted()).any(of_entries));
}

#[tokio::test]
async fn a_restored_database_is_told_of() {
    let (siem, (directory, path)) = (Receiver::start().await, sink());
    let config = Config::whoami()
        .without_verification()
        .on_a_file()
        .set("audit.sink", json!([format!("file:{}", path.display()), "webhook:siem", "stdout-json"]))
        .table(&webhook("siem", &siem, ""));
    let nauth = Nauth::start(config).await;

    let done = nauth.command(&["restored"]).await.expect(0).says("every access token must be refreshed");

    assert!(!done.output.contains("eventType"), "what a command prints is its answer: {}", done.output);
    let restored = written(&path, "STATE_RESTORED").await;
    assert_eq!((&restored["performedBy"], &restored["sub"]), (&json!("operator"), &Value::Null));
    assert_eq!(restored["metadata"], json!({ "sessionsEnded": false }));
    assert_eq!(told(&siem, "STATE_RESTORED").await["metadata"], restored["metadata"]);

    std::fs::rename(&path, directory.path().join("audit.1")).unwrap();
    nauth.signal(Signal::HUP);
    nauth.writes("settings reloaded").await;
    nauth.signup("ada@example.com").await;
    written(&path, "LOGIN_SUCCESS").await;
    assert!(of_type(&directory.path().join("audit.1"), "LOGIN_SUCCESS").is_empty(), "a file is rotated by a signal");
}
