//! What nauth answers itself says so, and what an app answers never does.

use serde_json::json;

use crate::support::{Answer, Config, Connection, Echo, Nauth, Request, free_port, secs, send_raw};

const SPA: &str = "http://spa.localhost:3000";

fn config(echo: &Echo) -> Config {
    let dead = format!("[[upstreams]]\nname = \"dead\"\ntargets = [\"http://127.0.0.1:{}\"]", free_port());
    Config::in_front_of(echo)
        .without_verification()
        .set("server.header_timeout", "1s")
        .set("token_delivery.web_origins", json!([SPA]))
        .table(&dead)
        .table("[[routes]]\nupstream = \"dead\"\npath = \"/dead\"\naccess = \"public\"")
        .route("path = \"/app\"\naccess = \"required\"")
        .route("path = \"/admin\"\naccess = \"required\"\nroles = [\"admin\"]")
        .route("path = \"/read\"\naccess = \"public\"\nmethods = [\"GET\"]")
        .route("path = \"/small\"\naccess = \"public\"\nmax_body = \"1KiB\"")
        .route("path = \"/rare\"\naccess = \"public\"\nrate_limit = { max = 1, window = \"1h\" }")
        .route("path = \"/slow\"\naccess = \"public\"\ntimeout = \"200ms\"")
        .route("path = \"/close\"\naccess = \"public\"")
        .route("path = \"/status\"\naccess = \"public\"")
        .route("path = \"/open\"\naccess = \"public\"")
}

#[track_caller]
fn is_marked(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer}");
    assert_eq!(answer.header("x-nauth-intercepted"), Some("1"), "{answer}");
}

#[tokio::test]
async fn every_answer_of_the_gateway_is_marked() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&Request::get("/rare")).await.expect(200);
    let preflight = |path: &str| {
        let request = Request::new("OPTIONS", path).header("Access-Control-Request-Method", "PUT");
        move |origin: &str| request.clone().header("Origin", origin)
    };
    let navigation = Request::get("/app").header("Sec-Fetch-Mode", "navigate").header("Accept", "text/html");

    for (status, request) in [
        (204, preflight("/app")(SPA)),
        (302, navigation),
        (400, Request::get("/open/../app")),
        (401, Request::get("/app")),
        (401, Request::get("/app").bearer("no token")),
        (403, Request::get("/admin").bearer(&ada.access_token)),
        (403, preflight("/app")("http://evil.example")),
        (404, Request::get("/nowhere")),
        (405, Request::post("/read")),
        (405, Request::new("TRACE", "/read")),
        (413, Request::post("/small").body(vec![b'x'; 2000])),
        (421, Request::get("/open").header("Host", "evil.example")),
        (429, Request::get("/rare")),
        (431, Request::get("/open").header("X-Large", &"x".repeat(100 * 1024))),
        (502, Request::get("/dead")),
        (502, Request::get("/close")),
        (504, Request::get("/slow/5000")),
    ] {
        is_marked(&nauth.send(&request).await, status);
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_is_refused_by_the_gateway() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let mut connection = Connection::open(nauth.public()).await;

    connection.write(b"GET /open HTTP/1.1\r\nHost:").await;
    let answer = tokio::time::timeout(secs(10), connection.answer()).await.unwrap();

    is_marked(&answer, 408);
}

#[tokio::test]
async fn what_cannot_be_read_is_logged_and_counted_too() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let host = nauth.host();
    let large = format!("GET /open HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(100 * 1024));
    let cases = [
        (400, format!("GET /open HTTP/1.1\nHost: {host}\n\n")),
        (400, format!("GET /open HTTP/1.1\r\nHost: {host}\r\nBad Name: 1\r\n\r\n")),
        (405, format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        (431, large),
    ];

    for (status, bytes) in cases {
        let answer = send_raw(nauth.public(), &bytes).await.unwrap();
        is_marked(&answer, status);
        let id = answer.header("x-request-id").expect("a name to look for");
        nauth.writes(&format!("request.id=\"{id}\"")).await;
        let output = nauth.output();
        let line = output.lines().find(|line| line.contains(id)).unwrap();
        assert!(line.contains(&format!("status={status}")) && line.contains("client.ip=\"127.0.0"), "{line}");
    }

    let refused = nauth.metric("nauth_rejected_requests_total", &[]).await;
    let answered = nauth.metric("nauth_http_requests_total", &["route=\"_none\"", "method=\"other\""]).await;
    assert!((refused - 4.0).abs() < f64::EPSILON && (answered - 4.0).abs() < f64::EPSILON, "{refused} {answered}");
}

#[tokio::test]
async fn the_auth_api_and_its_pages_are_the_gateways() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let login = json!({ "identifier": "ada@example.com", "password": "wrong" });

    is_marked(&nauth.send(&Request::get("/auth/ui/login")).await, 200);
    is_marked(&nauth.try_signup("ada@example.com", "a long walk by the sea").await, 201);
    is_marked(&nauth.send(&Request::post("/auth/login").json(&login)).await, 401);
    is_marked(&nauth.send(&Request::get("/auth/nothing")).await, 404);
    is_marked(&nauth.send(&Request::post("/auth/login").body(vec![b'x'; 100 * 1024])).await, 413);
}

#[tokio::test]
async fn what_an_app_answers_is_not_marked() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    for (status, path) in [(200, "/open"), (401, "/status/401"), (404, "/status/404"), (503, "/status/503")] {
        let answer = nauth.send(&Request::get(path).bearer(&ada.access_token)).await;
        assert_eq!((answer.status, answer.header("x-nauth-intercepted")), (status, None), "{answer}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_who_answered() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;

    let answer = nauth.send(&Request::get("/app").header("Origin", SPA)).await;

    is_marked(&answer, 401);
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    assert!(exposed.split(", ").any(|name| name == "x-nauth-intercepted"), "{answer}");
}
