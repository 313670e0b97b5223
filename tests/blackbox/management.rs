//! The listener for operators: health, metrics, reload.

use std::collections::BTreeSet;

use regex::Regex;

use crate::support::{Config, Echo, Nauth, Request, eventually, secs};

/// Labels with a closed set of values. Users, addresses, paths and keys are no labels.
const LABELS: &[&str] = &[
    "action",
    "algorithm",
    "api",
    "class",
    "code",
    "decision",
    "endpoint",
    "error",
    "event",
    "header_class",
    "key",
    "kind",
    "le",
    "listener",
    "method",
    "op",
    "operation",
    "outcome",
    "protocol",
    "quantile",
    "reason",
    "result",
    "revision",
    "route",
    "rustc",
    "scope",
    "sha256",
    "state",
    "template",
    "upstream",
    "use",
    "version",
];

#[tokio::test]
async fn health_is_open_to_whoever_reaches_the_listener() {
    let nauth = Nauth::start(Config::whoami()).await;

    for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
        nauth.manage(&Request::get(path)).await.expect(200);
    }
    nauth.manage(&Request::get("/nothing")).await.expect(404);
}

#[tokio::test]
async fn nothing_of_it_is_on_the_public_listener() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;

    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/reload"] {
        nauth.send(&Request::get(path)).await.expect(401);
    }
}

#[tokio::test]
async fn a_reload_needs_the_token() {
    let token = "a token of the operator, long enough";
    let nauth = Nauth::start(Config::whoami().set("server.management.token", token)).await;

    nauth.manage(&Request::post("/reload")).await.expect(401);
    nauth.manage(&Request::post("/reload").bearer("another")).await.expect(401);
    nauth.manage(&Request::get("/reload").bearer(token)).await.expect(405);
    nauth.manage(&Request::post("/reload").bearer(token)).await.expect(200);
}

#[tokio::test]
async fn without_a_token_nothing_can_be_reloaded_by_request() {
    let nauth = Nauth::start(Config::whoami()).await;

    nauth.manage(&Request::post("/reload")).await.expect(404);
    nauth.manage(&Request::post("/reload").bearer("")).await.expect(404);
}

#[tokio::test]
async fn a_reload_of_a_bad_file_says_why() {
    let token = "a token of the operator, long enough";
    let config = || Config::whoami().set("server.management.token", token).set("reload.watch", false);
    let nauth = Nauth::start(config()).await;

    nauth.reconfigure(&config().set("jwt.acess_ttl", "2s"));
    let answer = nauth.manage(&Request::post("/reload").bearer(token)).await;

    assert!((400..600).contains(&answer.status), "{answer}");
    assert!(answer.text().contains("acess_ttl"), "{answer}");
}

#[tokio::test]
async fn pages_of_other_sites_cannot_reach_it_through_a_browser() {
    let nauth = Nauth::start(Config::whoami()).await;

    for path in ["/livez", "/readyz", "/metrics"] {
        let with_origin = nauth.manage(&Request::get(path).header("Origin", "https://evil.example")).await;
        assert!([403, 421].contains(&with_origin.status), "{path}: {with_origin}");
        let rebound = nauth.manage(&Request::get(path).header("Host", "evil.example")).await;
        assert!([403, 421].contains(&rebound.status), "{path}: {rebound}");
        nauth.manage(&Request::get(path).header("Host", "127.0.0.1")).await.expect(200);
    }
}

#[tokio::test]
async fn metrics_are_well_formed_and_their_labels_bounded() {
    let echo = Echo::start().await;
    let config =
        Config::in_front_of(&echo).without_verification().route("name = \"app\"\npath = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    for path in ["/a", "/b/c?d=e", "/auth/profile", "/status/500"] {
        nauth.send(&Request::get(path).bearer(&ada.access_token)).await;
    }
    nauth.send(&Request::new("BREW", "/pot").bearer(&ada.access_token)).await;
    nauth.send(&Request::get("/secret-path")).await.expect(401);

    let metrics = nauth.manage(&Request::get("/metrics")).await.expect(200);

    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{metrics}");
    let line = Regex::new(r"^([a-zA-Z_:][\w:]*)(\{(.*)\})? (\S+)$").unwrap();
    let label = Regex::new(r#"(\w+)="((?:[^"\\]|\\.)*)""#).unwrap();
    let text = metrics.text();
    let mut names = BTreeSet::new();
    for sample in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts = line.captures(sample).unwrap_or_else(|| panic!("not a sample: {sample}"));
        let name = parts[1].to_owned();
        assert!(name.starts_with("nauth_") || name.starts_with("process_"), "{sample}");
        assert!(parts[4].parse::<f64>().is_ok(), "{sample}");
        for pair in label.captures_iter(parts.get(3).map_or("", |labels| labels.as_str())) {
            assert!(LABELS.contains(&&pair[1]), "the label of {sample}");
        }
        names.insert(name);
    }
    for secret in ["ada@example.com", ada.sub.as_str(), "secret-path", "127.0.0.1", "BREW", "/b/c"] {
        // Targets are named as the operator configured them.
        assert!(!text.replace(&echo.url(), "").contains(secret), "`{secret}` is in:\n{text}");
    }
    for wanted in [
        "nauth_http_requests_total",
        "nauth_http_request_duration_seconds_bucket",
        "nauth_authz_decisions_total",
        "nauth_auth_events_total",
        "nauth_config_last_reload_successful",
        "nauth_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(names.contains(wanted), "{wanted} is not among {names:?}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_outcome() {
    let echo = Echo::start().await;
    let config =
        Config::in_front_of(&echo).without_verification().route("name = \"app\"\npath = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    for _ in 0..3 {
        nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    }
    nauth.send(&Request::get("/")).await.expect(401);

    let count = async |labels: &[&str]| nauth.metric("nauth_http_requests_total", labels).await;
    let expected: [(&[&str], f64); 3] =
        [(&["route=\"app\"", "code=\"2"], 3.0), (&["route=\"app\"", "code=\"4"], 1.0), (&["route=\"_auth\""], 1.0)];
    for (labels, wanted) in expected {
        // A request is counted when it is over, which is a moment after its answer arrived.
        let counted = eventually(secs(5), async || ((count(labels).await - wanted).abs() < f64::EPSILON).then_some(()));
        assert!(counted.await.is_some(), "{labels:?} is {}", count(labels).await);
    }
}
