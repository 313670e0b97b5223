//! Spans, as a collector gets them: only with the feature `otel`.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Config, Echo, Nauth, Receiver, Request, Seen, eventually, free_port, secs};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced(echo: &Echo, collector: &str) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("tracing.otlp_endpoint", collector)
        .set("tracing.sample", 1)
        .route("name = \"app\"\npath = \"/app\"\naccess = \"public\"")
        .route("path = \"/status\"\naccess = \"public\"")
        .route("path = \"/\"\naccess = \"required\"")
}

/// Everything that has come, with who sent it.
fn received(collector: &Receiver) -> Vec<(Vec<KeyValue>, Span)> {
    let mut spans = Vec::new();
    for posted in collector.posted() {
        assert_eq!((&*posted.line, posted.header("content-type")), ("POST /v1/traces", "application/x-protobuf"));
        for of_one in ExportTraceServiceRequest::decode(&*posted.bytes).unwrap().resource_spans {
            let sender = of_one.resource.unwrap().attributes;
            let all = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| (sender.clone(), span)));
        }
    }
    spans
}

async fn wait_for(collector: &Receiver, count: usize) -> Vec<Span> {
    let came = eventually(secs(10), async || {
        let spans = received(collector);
        (spans.len() >= count).then_some(spans)
    });
    let came = came.await.unwrap_or_else(|| panic!("not {count}: {:?}", received(collector)));
    assert_eq!(came.len(), count, "{came:?}");
    came.into_iter().map(|(_, span)| span).collect()
}

fn told(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let shown = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (&*attribute.key, shown(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    nauth::domain::hex::hex(bytes)
}

#[tokio::test]
async fn each_recorded_request_leaves_a_span() {
    let (echo, collector) = (Echo::start().await, Receiver::start().await);
    let nauth = Nauth::start(traced(&echo, &collector.url("/"))).await;

    let seen = Seen::in_answer(&nauth.send(&Request::get("/app/list?secret=1")).await.expect(200));
    wait_for(&collector, 1).await;
    nauth.send(&Request::new("BREW", "/status/503")).await.expect(503);
    wait_for(&collector, 2).await;
    nauth.send(&Request::get("/secret")).await.expect(401);
    wait_for(&collector, 3).await;
    nauth.send(&Request::get("/auth/profile")).await.expect(401);
    let spans = wait_for(&collector, 4).await;

    let parent = format!("00-{}-{}-01", hex(&spans[0].trace_id), hex(&spans[0].span_id));
    assert_eq!(seen.header("traceparent"), Some(&*parent), "the upstream's spans are part of ours");
    assert!(spans.iter().all(|span| span.kind == 2 && span.parent_span_id.is_empty()), "{spans:?}");
    assert!(spans.iter().all(|span| span.end_time_unix_nano > span.start_time_unix_nano), "{spans:?}");
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /app/*", "HTTP /status/*", "GET /*", "GET"]);
    let codes: Vec<i32> = spans.iter().map(|span| span.status.as_ref().map_or(0, |status| status.code)).collect();
    assert_eq!(codes, [0, 2, 0, 0], "only what the server did wrong is an error");
    let expected = [
        ("client.address", "127.0.0.0"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/app/*"),
        ("network.protocol.version", "1.1"),
        ("server.address", "localhost"),
        ("url.path", "/app/list"),
        ("url.scheme", "http"),
    ];
    let all = told(&spans[0].attributes);
    assert_eq!(all, expected.map(|(name, value)| (name, value.to_owned())).into());
    let failed = told(&spans[1].attributes);
    assert_eq!((&*failed["error.type"], &*failed["http.request.method"]), ("503", "_OTHER"));
    let senders = received(&collector);
    let sender = told(&senders[0].0);
    assert_eq!((&*sender["service.name"], &*sender["service.version"]), ("nauth", env!("CARGO_PKG_VERSION")));
    nauth.writes(&format!("trace_id={}", hex(&spans[3].trace_id))).await;
}

#[tokio::test]
async fn a_trusted_proxys_trace_goes_on_with_our_span_in_it_if_it_is_recorded() {
    let (echo, collector) = (Echo::start().await, Receiver::start().await);
    let config = traced(&echo, &collector.url("/otlp/")).set("server.trusted_proxies", json!(["127.0.0.1"]));
    // What is recorded of a trace, whoever began it decided.
    let nauth = Nauth::start(config.set("tracing.sample", 0)).await;
    let unrecorded = PARENT.replace("-01", "-00");

    for parent in [PARENT, &unrecorded] {
        nauth.send(&Request::get("/app").header("traceparent", parent).header("tracestate", "a=b")).await.expect(200);
    }
    nauth.send(&Request::get("/app")).await.expect(200);

    let posted = collector.wait_for(|posted| posted.line == "POST /otlp/v1/traces").await;
    let sent = ExportTraceServiceRequest::decode(&*posted.bytes).unwrap();
    let [span] = &sent.resource_spans[0].scope_spans[0].spans[..] else { panic!("{sent:?}") };
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    let seen = echo.seen();
    let ours = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", hex(&span.span_id));
    assert_eq!((seen[0].header("traceparent"), seen[0].header("tracestate")), (Some(&*ours), Some("a=b")));
    assert_eq!(seen[1].header("traceparent"), Some(&*unrecorded));
    assert!(seen[2].header("traceparent").unwrap().ends_with("-00"));
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let (echo, collector) = (Echo::start().await, Receiver::start().await);
    let mut nauth = Nauth::start(traced(&echo, &collector.url(""))).await;
    for _ in 0..3 {
        nauth.send(&Request::get("/app")).await.expect(200);
    }

    nauth.signal(Signal::TERM);
    assert_eq!(nauth.finished_within(secs(10)).await.code, Some(0));

    assert_eq!(received(&collector).len(), 3);
}

#[tokio::test]
async fn a_collector_that_is_away_is_tried_again_and_holds_up_nobody() {
    let echo = Echo::start().await;
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let collector = Receiver::answering(move |_| {
        let count = answers.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        ([503, 200, 400].get(count).copied().unwrap_or(200), String::new())
    });
    let collector = collector.await;
    let config = traced(&echo, &collector.url("")).set("reload.debounce", "50ms");
    let nauth = Nauth::start(config).await;

    nauth.send(&Request::get("/app")).await.expect(200);
    let spans = wait_for(&collector, 2).await;
    assert_eq!(spans[0].span_id, spans[1].span_id, "the same one again");

    nauth.send(&Request::get("/app")).await.expect(200);
    nauth.writes("the collector does not take spans; they are dropped").await;
    nauth.send(&Request::get("/app")).await.expect(200);
    nauth.writes("the collector takes spans again spans.dropped=1").await;

    let mut nowhere =
        Nauth::start(traced(&echo, &format!("http://127.0.0.1:{}", free_port())).set("reload.debounce", "50ms")).await;
    nowhere.send(&Request::get("/app")).await.expect(200);
    nowhere.writes("the collector does not take spans; they are dropped").await;
    nowhere.send(&Request::get("/app")).await.expect(200);
    nowhere.signal(Signal::TERM);
    assert_eq!(nowhere.finished_within(secs(10)).await.code, Some(0));
}

async fn reloaded(nauth: &Nauth, times: f64) {
    let applied = async || nauth.metric("nauth_config_reloads_total", &["applied"]).await;
    let reached = eventually(secs(5), async || ((applied().await - times).abs() < f64::EPSILON).then_some(()));
    assert!(reached.await.is_some(), "{}", nauth.output());
}

#[tokio::test]
async fn a_reload_sends_spans_elsewhere_or_nowhere() {
    let echo = Echo::start().await;
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let config = |url: &str| traced(&echo, url).set("reload.debounce", "50ms");
    let nauth = Nauth::start(config(&first.url(""))).await;
    nauth.send(&Request::get("/app")).await.expect(200);
    wait_for(&first, 1).await;

    nauth.reconfigure(&config(&second.url("")));
    reloaded(&nauth, 1.0).await;
    nauth.send(&Request::get("/app")).await.expect(200);
    wait_for(&second, 1).await;

    nauth.reconfigure(&config(""));
    reloaded(&nauth, 2.0).await;
    nauth.send(&Request::get("/app")).await.expect(200);
    nauth.reconfigure(&config(&second.url("")));
    reloaded(&nauth, 3.0).await;
    nauth.send(&Request::get("/app")).await.expect(200);
    wait_for(&second, 2).await;
    assert_eq!(received(&first).len(), 1);
}
