//! Traces: what the upstream is told of them, and whose are continued.

use serde_json::json;

use crate::support::{Answer, Config, Echo, Nauth, Request, Seen};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

fn open(echo: &Echo) -> Config {
    Config::in_front_of(echo).route("path = \"/\"\naccess = \"public\"")
}

fn traced() -> Request {
    Request::get("/").header("traceparent", PARENT).header("tracestate", STATE)
}

/// What an upstream was told, in its four parts.
#[track_caller]
fn parts(answer: &Answer) -> [String; 4] {
    let seen = Seen::in_answer(answer);
    let parent = seen.header("traceparent").unwrap_or_else(|| panic!("no trace: {answer}"));
    let parts: Vec<String> = parent.split('-').map(str::to_owned).collect();
    let parts: [String; 4] = parts.try_into().unwrap_or_else(|_| panic!("not four parts: {parent}"));
    assert_eq!(parts.each_ref().map(String::len), [2, 32, 16, 2], "{parent}");
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(parts.iter().all(|part| part.chars().all(is_digit)), "{parent}");
    parts
}

#[tokio::test]
async fn every_request_has_a_trace_that_stands_in_the_log_too() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(open(&echo).set("log.format", "json").set("tracing.sample", 1)).await;

    let [first, second] = [nauth.send(&Request::get("/")).await, nauth.send(&Request::get("/")).await];
    let [version, trace, span, flags] = parts(&first.expect(200));
    let [_, other, other_span, _] = parts(&second.expect(200));

    assert_eq!((version.as_str(), flags.as_str()), ("00", "01"));
    assert!(trace != other && span != other_span && trace != "0".repeat(32) && span != "0".repeat(16));
    nauth.writes(&format!("\"trace_id\":\"{trace}\"")).await;
    nauth.writes(&format!("\"trace_id\":\"{other}\"")).await;
}

#[tokio::test]
async fn strangers_do_not_name_the_trace() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(open(&echo).set("tracing.sample", 0.0)).await;

    let answer = nauth.send(&traced()).await.expect(200);

    let [_, trace, span, flags] = parts(&answer);
    assert!(!PARENT.contains(&trace) && !PARENT.contains(&span), "{answer}");
    assert_eq!(flags, "00", "nobody outside decides what is recorded");
    assert_eq!(Seen::in_answer(&answer).header("tracestate"), None);
}

#[tokio::test]
async fn the_trace_of_a_trusted_proxy_is_continued() {
    let echo = Echo::start().await;
    let config = open(&echo).set("server.trusted_proxies", json!(["127.0.0.1"])).set("log.format", "json");
    let nauth = Nauth::start(config).await;

    let seen = Seen::in_answer(&nauth.send(&traced()).await.expect(200));
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some(PARENT), Some(STATE)));
    nauth.writes("\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"").await;

    // What does not read as one is nothing, and what belongs to it goes with it.
    let broken = Request::get("/").header("traceparent", &PARENT[..54]).header("tracestate", STATE);
    let answer = nauth.send(&broken).await.expect(200);
    assert!(!PARENT.contains(&parts(&answer)[1]), "{answer}");
    assert_eq!(Seen::in_answer(&answer).header("tracestate"), None);

    let twice = traced().header("traceparent", PARENT);
    let answer = nauth.send(&twice).await.expect(200);
    assert!(!PARENT.contains(&parts(&answer)[1]), "{answer}");
}

#[tokio::test]
async fn how_many_are_recorded_changes_with_a_reload() {
    let echo = Echo::start().await;
    let config = open(&echo).set("reload.debounce", "50ms");
    let nauth = Nauth::start(config.clone().set("tracing.sample", 0)).await;
    assert_eq!(parts(&nauth.send(&Request::get("/")).await.expect(200))[3], "00");

    nauth.reconfigure(&config.clone().set("tracing.sample", 1.0));
    nauth.writes("settings reloaded").await;
    assert_eq!(parts(&nauth.send(&Request::get("/")).await.expect(200))[3], "01");

    nauth.reconfigure(&config.set("tracing.sample", 1.5));
    nauth.writes("`tracing.sample` must be from 0 to 1").await;
    assert_eq!(parts(&nauth.send(&Request::get("/")).await.expect(200))[3], "01");
}

#[cfg(not(feature = "otel"))]
#[tokio::test]
async fn a_collector_is_refused_by_a_nauth_that_cannot_send_to_it() {
    let config = Config::whoami().set("tracing.otlp_endpoint", "http://127.0.0.1:4318");

    let refused = Nauth::start_refused(config.clone()).await;

    assert_eq!(refused.code, Some(2), "{}", refused.output);
    for wanted in ["this nauth was built without `otel`", "nauth.toml:", "--features otel"] {
        assert!(refused.output.contains(wanted), "{}", refused.output);
    }
    Nauth::start(config.set("tracing.otlp_endpoint", "")).await;
}
