//! Every metric that is described to operators is there, with the labels that are named, once there is something to count.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::support::{
    Authority, Config, Connection, Echo, Nauth, PASSWORD, Receiver, Request, described_metrics, eventually, free_port,
    secs,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What is scraped: the labels of each series, those of the format itself left out.
async fn scraped(nauth: &Nauth) -> BTreeMap<String, BTreeSet<String>> {
    let text = nauth.manage(&Request::get("/metrics")).await.expect(200).text();
    let sample = Regex::new(r"(?m)^(nauth_[a-z0-9_]+?)(_bucket|_sum|_count)?(?:\{(.*)\})? \S+$").unwrap();
    let histogram = Regex::new(r"(?m)^# TYPE (\S+) histogram$").unwrap();
    let label = Regex::new(r#"(\w+)="(?:[^"\\]|\\.)*""#).unwrap();
    let histograms: BTreeSet<&str> =
        histogram.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    let mut series = BTreeMap::new();
    for found in sample.captures_iter(&text) {
        let suffix = found.get(2).map_or("", |suffix| suffix.as_str());
        let is_part = histograms.contains(&found[1]);
        let name = if is_part { found[1].to_owned() } else { format!("{}{suffix}", &found[1]) };
        let labels: &mut BTreeSet<String> = series.entry(name).or_default();
        let named = label.captures_iter(found.get(3).map_or("", |labels| labels.as_str()));
        labels.extend(named.map(|label| label[1].to_owned()).filter(|label| label != "le"));
    }
    series
}

#[tokio::test]
async fn each_described_series_appears_with_its_labels() {
    let (echo, crm, authority) = (Echo::start().await, Receiver::start().await, Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = authority.issue(&["localhost"]).write(directory.path(), "one");
    let webhook = format!(
        "[[webhooks]]\nname = \"crm\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\nallow_private = true\nevents = [\"user.created\"]",
        crm.url("/in")
    );
    let config = Config::in_front_of(&echo)
        .targets(&[&echo.url(), &format!("http://127.0.0.1:{}", free_port())])
        .upstream("max_connections = 100\nretries = 2")
        .listener("addr = \"{public}\"")
        .listener(&format!("addr = \"127.0.0.1:{}\"\ntls = true", free_port()))
        .set("server.tls.certs", json!([{ "cert": cert.to_str().unwrap(), "key": key.to_str().unwrap() }]))
        .set("lockout.account_ip.max", 1)
        .set("forward_auth.enabled", true)
        .set("forward_auth.trusted", json!(["127.0.0.1"]))
        .set("reload.debounce", "50ms")
        .table(&webhook)
        .route("name = \"app\"\npath = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config.clone()).await;

    let ada = nauth.signup("ada@example.com").await;
    let get = |path: &str| Request::get(path).bearer(&ada.access_token);
    // Sooner or later the target where nobody listens has its turn.
    for _ in 0..4 {
        nauth.send(&get("/").header("X-Forwarded-User", "root")).await.expect(200);
    }
    nauth.send(&Request::get("/").header("Host", "elsewhere.example")).await.expect(421);
    nauth.refresh(&ada).await;
    let asked = Request::get("/auth/verify").header("X-Forwarded-For", "203.0.113.9");
    nauth.send(&asked.header("X-Forwarded-Method", "GET").header("X-Forwarded-Uri", "/")).await;
    nauth.try_login("ada@example.com", "a wrong password").await.expect(401);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(429);
    let mut stream = Connection::open(nauth.public()).await;
    stream.send(&get("/sse")).await;
    assert_eq!(stream.head().await.status, 200);
    nauth.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);
    assert!(stream.ends_within(secs(2)).await);
    nauth.reconfigure(&config.set("log.level", "debug"));

    let described = described_metrics();
    let same = eventually(secs(20), async || (scraped(&nauth).await == described).then_some(())).await;
    if same.is_none() {
        assert_eq!(scraped(&nauth).await, described);
    }
}

#[tokio::test]
async fn what_there_was_too_much_of_is_counted_by_what_and_whose() {
    let echo = Echo::start().await;
    let rare = "path = \"/rare\"\naccess = \"public\"\nrate_limit = { max = 1, window = \"1h\" }";
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("rate_limit.login", json!({ "max": 1, "window": "1h" }))
        .set("rate_limit.refresh", json!({ "max": 1, "window": "1h" }))
        .set("password.reset.send_limit", json!({ "max": 1, "window": "1h" }))
        .route(rare)
        .route("path = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    for status in [200, 429, 429] {
        nauth.send(&Request::get("/rare")).await.expect(status);
        nauth.try_login("ada@example.com", PASSWORD).await.expect(status);
        nauth.try_refresh(&ada.refresh_token).await.expect(status);
        let forgot = Request::post("/auth/forgot-password").json(&json!({ "identifier": "ada@example.com" }));
        nauth.send(&forgot).await.expect(status);
    }

    for labels in [
        ["scope=\"route\"", "key=\"ip\""],
        ["scope=\"login\"", "key=\"ip\""],
        ["scope=\"refresh\"", "key=\"session\""],
        ["scope=\"forgot_password\"", "key=\"identifier\""],
    ] {
        let counted = nauth.metric("nauth_rate_limited_total", &labels).await;
        assert!((counted - 2.0).abs() < f64::EPSILON, "{labels:?} is {counted}");
    }
}

#[tokio::test]
async fn sessions_and_waiting_events_are_counted_when_nauth_starts() {
    let echo = Echo::start().await;
    // Nobody takes the events, so they wait.
    let url = format!("http://127.0.0.1:{}/in", free_port());
    let webhook = format!(
        "[[webhooks]]\nname = \"crm\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private = true\nevents = [\"user.created\"]"
    );
    let mut nauth = Nauth::start(Config::in_front_of(&echo).without_verification().table(&webhook)).await;
    let [_ada, bob] = [nauth.signup("ada@example.com").await, nauth.signup("bob@example.com").await];
    nauth.login("ada@example.com").await;
    nauth.send(&Request::post("/auth/logout").bearer(&bob.access_token)).await.expect(200);

    nauth.kill();
    nauth.start_again().await;

    nauth.metric_becomes("nauth_sessions_active", 2.0).await;
    nauth.metric_becomes("nauth_webhook_queue_depth", 2.0).await;
}

#[tokio::test]
async fn what_nauth_adds_is_neither_the_upstreams_time_nor_the_answers_length() {
    let echo = Echo::start().await;
    let nauth =
        Nauth::start(Config::in_front_of(&echo).route("name = \"app\"\npath = \"/\"\naccess = \"public\"")).await;

    nauth.send(&Request::get("/slow/500")).await.expect(200);
    let mut stream = Connection::open(nauth.public()).await;
    stream.send(&Request::get("/sse")).await;
    assert_eq!(stream.head().await.status, 200);
    // An event comes every 50 ms.
    for _ in 0..10 {
        stream.piece().await;
    }
    drop(stream);

    nauth.metric_becomes("nauth_gateway_overhead_seconds_count", 2.0).await;
    let whole = nauth.metric("nauth_http_request_duration_seconds_sum", &["route=\"app\""]).await;
    let added = nauth.metric("nauth_gateway_overhead_seconds_sum", &["route=\"app\""]).await;
    assert!(whole > 0.9 && added < whole / 4.0, "{added} of {whole}");
}

#[tokio::test]
async fn a_database_that_does_not_do_what_it_is_asked_for_is_counted() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification().on_a_file();
    let config = config.set("database.statement_timeout", "200ms");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let failed = async || nauth.metric("nauth_db_errors_total", &["kind=\"unavailable\""]).await;
    let reads = async || nauth.metric("nauth_db_query_duration_seconds_count", &["operation=\"read\""]).await;
    assert!(failed().await < 1.0 && reads().await > 0.0);

    let database = format!("sqlite://{}", nauth.data_dir().join("nauth.db").display());
    let mut other = SqliteConnection::connect(&database).await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    nauth.try_refresh(&ada.refresh_token).await.expect(503);
    assert!(failed().await > 0.0);

    other.execute("ROLLBACK").await.unwrap();
    nauth.refresh(&ada).await;
}

#[tokio::test]
async fn what_users_try_is_counted_by_how_it_ends() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .set("rate_limit.login", json!({ "max": 3, "window": "1h" }))
        .set("rate_limit.signup", json!({ "max": 4, "window": "1h" }));
    let nauth = Nauth::start(config).await;
    nauth.signup("ada@example.com").await;

    nauth.try_signup("ada@example.com", PASSWORD).await.expect(409);
    nauth.try_signup("bob@example.com", "short").await.expect(400);
    nauth.try_signup("bob@example.com", PASSWORD).await.expect(201);
    nauth.try_signup("eve@example.com", PASSWORD).await.expect(429);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    nauth.try_login("bob@example.com", PASSWORD).await.expect(200);
    nauth.try_login("ada@example.com", "a wrong password").await.expect(401);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(429);

    for (event, result, error, times) in [
        ("signup", "success", "none", 2.0),
        ("signup", "failure", "taken", 1.0),
        ("signup", "failure", "weak_password", 1.0),
        ("signup", "failure", "limited", 1.0),
        ("login", "challenge", "none", 1.0),
        ("login", "failure", "credentials", 1.0),
        ("login", "failure", "limited", 1.0),
    ] {
        let labels = [("event", event), ("result", result), ("error", error)];
        let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
        let counted = nauth.metric("nauth_auth_events_total", &labels.each_ref().map(String::as_str)).await;
        assert!((counted - times).abs() < f64::EPSILON, "{labels:?} is {counted}");
    }
}
