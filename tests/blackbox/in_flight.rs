//! What a client is told of a request that is under way when the right to it ends.

use std::time::Instant;

use crate::support::{Account, Config, Connection, Echo, Http2, Nauth, Request, eventually, millis, secs};

fn config(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .route("path = \"/\"\naccess = \"required\"")
        .route("path = \"/slow/8000\"\naccess = \"required\"\nroles = [\"admin\"]")
}

/// Sends a request and waits until the upstream has it.
async fn begin(nauth: &Nauth, echo: &Echo, request: &Request) -> Connection {
    let before = echo.seen().len();
    let mut connection = Connection::open(nauth.public()).await;
    connection.send(request).await;
    let arrived = eventually(secs(5), async || (echo.seen().len() > before).then_some(())).await;
    assert!(arrived.is_some(), "the upstream was not asked:\n{}", nauth.output());
    connection
}

async fn log_out(nauth: &Nauth, ada: &Account) {
    nauth.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);
}

#[tokio::test]
async fn who_is_logged_out_meanwhile_is_told_so() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    nauth.signup("ada@example.com").await;
    let requests: [fn(&Account) -> Request; 3] = [
        |ada| Request::get("/slow/9000").bearer(&ada.access_token),
        |ada| Request::get("/slow/9000").cookies(&ada.cookies()),
        |ada| Request::new("PUT", "/slow/9000").bearer(&ada.access_token).body("again and again"),
    ];

    for request in requests {
        let ada = nauth.login("ada@example.com").await;
        let mut connection = begin(&nauth, &echo, &request(&ada)).await;
        let began = Instant::now();

        log_out(&nauth, &ada).await;

        let answer = connection.answer().await.expect_error(401, "AUTH_SESSION_NOT_FOUND");
        assert!(began.elapsed() < secs(1), "{:?}", began.elapsed());
        assert_eq!(answer.header("x-nauth-intercepted"), Some("1"), "{answer}");
        assert!(answer.header("www-authenticate").is_some(), "{answer}");
        let id = answer.header("x-request-id").unwrap();
        nauth.writes(id).await;
    }
    assert!(!nauth.output().contains("a bug"), "{}", nauth.output());
}

#[tokio::test]
async fn who_is_still_sending_is_told_so_as_well() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let upload = Request::new("PUT", "/up").bearer(&ada.access_token).header("Content-Length", "1000000").body("begun");
    let mut connection = Connection::open(nauth.public()).await;
    connection.send(&upload).await;
    let arrived = eventually(secs(5), async || (echo.body_bytes() == 5).then_some(())).await;
    assert!(arrived.is_some());

    log_out(&nauth, &ada).await;
    for _ in 0..10 {
        connection.write(&[b'x'; 10_000]).await;
        tokio::time::sleep(millis(5)).await;
    }

    connection.answer().await.expect_error(401, "AUTH_SESSION_NOT_FOUND");
    assert!(echo.body_bytes() < 1_000_000);
}

#[tokio::test]
async fn who_loses_the_role_meanwhile_is_told_so() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    nauth.signup("ada@example.com").await;
    nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);
    let ada = nauth.login("ada@example.com").await;
    let request = Request::get("/slow/8000").bearer(&ada.access_token);
    let mut connection = begin(&nauth, &echo, &request).await;

    nauth.command(&["user", "revoke-role", "ada@example.com", "admin"]).await.expect(0);

    let answer = connection.answer().await.expect_error(403, "FORBIDDEN");
    assert_eq!(answer.json()["details"]["reason"], "role");
}

#[tokio::test]
async fn what_an_upstream_may_have_done_is_cut_and_not_said_to_be_undone() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut connection = begin(&nauth, &echo, &Request::post("/slow/9000").bearer(&ada.access_token)).await;

    log_out(&nauth, &ada).await;

    let ended = tokio::time::timeout(secs(1), connection.try_answer("POST")).await.expect("it goes on");
    assert!(ended.is_none(), "{}", ended.unwrap());
    assert!(!nauth.output().contains("a bug"), "{}", nauth.output());
}

#[tokio::test]
async fn what_waits_for_its_turn_never_reaches_the_upstream() {
    let echo = Echo::start().await;
    let busy = "max_connections = 1\nconnect_timeout = \"20s\"";
    let nauth = Nauth::start(config(&echo).upstream(busy)).await;
    nauth.signup("ada@example.com").await;
    let (ada, other) = (nauth.login("ada@example.com").await, nauth.login("ada@example.com").await);
    let open = begin(&nauth, &echo, &Request::get("/sse-quiet").bearer(&other.access_token)).await;
    let mut waiting = Connection::open(nauth.public()).await;
    waiting.send(&Request::post("/late").bearer(&ada.access_token).body("x")).await;
    nauth.metric_becomes("nauth_http_requests_in_flight", 2.0).await;

    log_out(&nauth, &ada).await;

    assert!(waiting.ends_within(secs(1)).await);
    drop(open);
    nauth.metric_becomes("nauth_http_requests_in_flight", 0.0).await;
    assert_eq!(echo.seen().len(), 1, "{:?}", echo.seen());
}

#[tokio::test]
async fn a_stream_of_http_2_is_reset_and_its_siblings_go_on() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo).listener("addr = \"{public}\"\nhttp2 = true")).await;
    nauth.signup("ada@example.com").await;
    let (ada, other) = (nauth.login("ada@example.com").await, nauth.login("ada@example.com").await);
    let mut client = Http2::open(nauth.public()).await;
    let slow = |account: &Account, time: &str| Request::get(&format!("/slow/{time}")).bearer(&account.access_token);
    let (lost, _) = client.begin(&slow(&ada, "9000"), false).await.unwrap();
    let (kept, _) = client.begin(&slow(&other, "1500"), false).await.unwrap();
    let arrived = eventually(secs(5), async || (echo.seen().len() == 2).then_some(())).await;
    assert!(arrived.is_some());

    log_out(&nauth, &ada).await;

    let lost = tokio::time::timeout(secs(1), lost).await.expect("it goes on");
    assert_eq!(lost.unwrap_err().reason(), Some(h2::Reason::CANCEL));
    assert_eq!(kept.await.unwrap().status(), 200);
}
