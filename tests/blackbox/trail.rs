//! What the audit trail learns beside logins: refused requests, lost deliveries, a restored database.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::audit::{lines, written};
use super::support::{Account, Config, Echo, Nauth, PASSWORD, Receiver, Request, eventually, secs};

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

/// The first page of somebody's history, with the entries of one type alone.
async fn history_of(nauth: &Nauth, account: &Account, kind: &str) -> Vec<Value> {
    let page = nauth.history(account, &format!("?eventTypes={kind}")).await;
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn entries_say_from_which_device_where_that_is_known_and_in_a_sentence_what_happened() {
    let (echo, siem, (_directory, path)) = (Echo::start().await, Receiver::start().await, sink());
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("security.contact_change", "immediate")
        .set("audit.sink", json!([format!("file:{}", path.display()), "webhook:siem"]))
        .table(&webhook("siem", &siem, "include_pii = false"))
        .route("name = \"office\"\npath = \"/office\"\naccess = \"required\"\nroles = [\"admin\"]");
    let nauth = Nauth::start(config).await;
    nauth.command_reading(&["user", "create", "ada@example.com"], PASSWORD).await.expect(0);
    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD, "deviceName": "Ada's phone" });
    let ada = Account::in_answer(&nauth.send(&Request::post("/auth/login").json(&body)).await.expect(200));
    let token = nauth.post_as(&ada, "/auth/trust-device", &json!({})).await.expect(200).json()["deviceToken"].clone();
    let device = nauth.get_as(&ada, "/auth/sessions").await.expect(200).json()["sessions"][0]["deviceId"].clone();
    assert!(device.is_string());

    nauth.send(&Request::get("/office").bearer(&ada.access_token)).await.expect(403);
    let change = json!({ "email": "ada@example.org" });
    nauth.send(&Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&change)).await.expect(200);
    let wrong = json!({ "identifier": "ada@example.org", "password": "another one entirely" });
    let wrong = Request::post("/auth/login").json(&wrong);
    nauth.send(&wrong).await.expect(401);
    nauth.send(&wrong.header("X-Device-Token", token.as_str().unwrap())).await.expect(401);

    for (kind, sentence) in [
        ("LOGIN_SUCCESS", "Signed in with a password"),
        ("SESSION_CREATED", "A session was opened"),
        ("DEVICE_TRUSTED", "A device is trusted"),
        ("GATEWAY_ACCESS_DENIED", "A request was refused because a role is missing"),
        ("EMAIL_CHANGED", "The e-mail address was changed"),
        ("EMAIL_VERIFICATION_STATUS_UPDATED", "The new e-mail address is not proven yet"),
    ] {
        let entry = nauth.entry(&ada, kind).await;
        assert_eq!((&entry["deviceId"], &entry["deviceName"]), (&device, &json!("Ada's phone")), "{entry}");
        assert_eq!(entry["description"], sentence);
        let line = written(&path, kind).await;
        assert_eq!((&line["deviceId"], &line["deviceName"]), (&device, &json!("Ada's phone")), "{line}");
        let bare = told(&siem, kind).await;
        assert_eq!((&bare["deviceId"], bare.get("deviceName")), (&device, None), "a name is a person's own");
    }
    let made = nauth.entry(&ada, "ACCOUNT_CREATED").await;
    assert_eq!((&made["deviceId"], &made["performedBy"]), (&Value::Null, &json!("operator")));
    let failed = eventually(secs(10), async || {
        Some(history_of(&nauth, &ada, "LOGIN_FAILED").await).filter(|entries| entries.len() == 2)
    });
    let failed = failed.await.unwrap();
    assert_eq!(failed[0]["deviceId"], device, "a trusted device is known before anybody has logged in");
    assert_eq!((&failed[1]["deviceId"], &failed[1]["deviceName"]), (&Value::Null, &Value::Null));
    assert_eq!(failed[1]["description"], "A sign-in with a wrong password was refused");

    nauth.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);
    let line = written(&path, "SESSION_REVOKED").await;
    assert_eq!(line["deviceId"], device);
}

#[tokio::test]
async fn a_question_of_another_proxy_that_is_refused_is_kept_as_the_request_it_is_about() {
    let config = Config::whoami()
        .without_verification()
        .set("forward_auth.enabled", true)
        .set("forward_auth.trusted", json!(["127.0.0.1"]))
        .set("forward_auth.headers", "x-forwarded")
        .route("name = \"office\"\npath = \"/office\"\nroles = [\"admin\"]");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let question = Request::get("/auth/verify")
        .header("X-Forwarded-Method", "DELETE")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", &nauth.host())
        .header("X-Forwarded-Uri", "/office/desk?token=hidden")
        .header("X-Forwarded-For", "203.0.113.9");

    nauth.send(&question.cookies(&ada.refresh_cookie())).await.expect(403);

    let entry = nauth.entry(&ada, "GATEWAY_ACCESS_DENIED").await;
    assert_eq!(entry["metadata"], json!({ "route": "office", "method": "DELETE", "path": "/office/desk" }));
    assert_eq!((&entry["reason"], &entry["ipAddress"]), (&json!("role"), &json!("203.0.113.9")));
    assert!(entry["deviceId"].is_string(), "{entry}");
}

#[tokio::test]
async fn nothing_is_kept_of_refusals_where_there_is_no_trail() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("audit.enabled", false)
        .route("path = \"/\"\naccess = \"required\"\nroles = [\"admin\"]");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(403);

    nauth.get_as(&ada, "/auth/audit/history").await.expect_error(404, "RESOURCE_NOT_FOUND");
    assert!(nauth.metric("nauth_audit_dropped_total", &[]).await < 1.0);
}
