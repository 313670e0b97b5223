//! HTTP/2 towards clients: whatever holds for HTTP/1.1 holds for every stream.

use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::Reason;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpListener;

use super::support::{
    Account, Authority, Config, Connection, Echo, Http2, Nauth, OPENING, PASSWORD, Request, Seen, eventually, millis,
    secs,
};

/// Speaks HTTP/2 without TLS.
fn spoken(config: Config) -> Config {
    config.listener("addr = \"{public}\"\nhttp2 = true")
}

fn public(config: Config) -> Config {
    config.route("path = \"/\"\naccess = \"public\"")
}

async fn in_front_of(echo: &Echo) -> (Nauth, Http2) {
    let nauth = Nauth::start(spoken(public(Config::in_front_of(echo)))).await;
    let client = Http2::open(nauth.public()).await;
    (nauth, client)
}

async fn sign_up(client: &mut Http2, email: &str) -> Account {
    let body = json!({ "email": email, "password": PASSWORD });
    Account::in_answer(&client.ask(&Request::post("/auth/signup").json(&body)).await.expect(201))
}

#[tokio::test]
async fn tls_clients_choose_it_and_get_the_same() {
    let (echo, authority) = (Echo::start().await, Authority::new());
    let (cert, key) = authority.sign("localhost");
    let certs = json!([{ "cert": cert.to_str().unwrap(), "key": key.to_str().unwrap() }]);
    let config = Config::in_front_of(&echo)
        .without_verification()
        .listener("addr = \"{public}\"\ntls = true")
        .set("server.tls.certs", certs);
    let nauth = Nauth::start(config).await;
    let mut client = Http2::open_tls(nauth.public(), authority.client(&["h2", "http/1.1"])).await;
    let ada = sign_up(&mut client, "ada@example.com").await;

    let answer = client.ask(&Request::get("/app?q=%2f").bearer(&ada.access_token)).await.expect(200);
    let seen = Seen::in_answer(&answer);
    let mut older = Connection::open_tls(nauth.public(), authority.client(&["http/1.1"])).await;
    older.ask(&Request::get("/app").bearer(&ada.access_token)).await.expect(200);

    assert_eq!(seen.target, "/app?q=%2f");
    assert_eq!(seen.header("x-forwarded-user"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some(nauth.host().as_str()));
    assert_eq!(seen.header("authorization"), None);
    assert!(answer.header("connection").is_none() && answer.header("transfer-encoding").is_none(), "{answer}");
    client.ask(&Request::get("/app")).await.expect_error(401, "AUTH_TOKEN_INVALID");
}

#[tokio::test]
async fn answers_without_a_body_end() {
    let echo = Echo::start().await;
    let (_nauth, mut client) = in_front_of(&echo).await;

    for (method, target, status, length) in [
        ("GET", "/status/204", 204, 0),
        ("GET", "/status/304", 304, 0),
        ("HEAD", "/big/1000", 200, 0),
        ("HEAD", "/a%00", 400, 0),
        ("GET", "/big/1000000", 200, 1_000_000),
    ] {
        let answer = client.ask(&Request::new(method, target)).await.expect(status);
        assert_eq!(answer.body.len(), length, "{method} {target}");
    }
    client.ask(&Request::new("TRACE", "/")).await.expect_error(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_session_may_come_in_crumbs() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(spoken(Config::in_front_of(&echo).without_verification())).await;
    let mut client = Http2::open(nauth.public()).await;
    let ada = sign_up(&mut client, "ada@example.com").await;
    let access = format!("nauth_access_token={}", ada.access_token);

    let request = Request::get("/").header("cookie", "theme=dark").header("cookie", &access).header("cookie", "b=2");
    let seen = Seen::in_answer(&client.ask(&request).await.expect(200));

    assert_eq!(seen.header("x-forwarded-user"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("cookie"), Some("theme=dark; b=2"));
}

#[tokio::test]
async fn forged_headers_are_dropped_and_targets_are_canonical() {
    let echo = Echo::start().await;
    let (nauth, mut client) = in_front_of(&echo).await;
    let forged = Request::get("/%61/b")
        .header("x-forwarded-user", "eve")
        .header("x_forwarded_email", "eve@example.com")
        .header("x-nauth-assertion", "x")
        .header("x-forwarded-for", "192.0.2.66");

    let seen = Seen::in_answer(&client.ask(&forged).await.expect(200));
    assert_eq!(seen.target, "/a/b");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    for name in ["x-forwarded-user", "x_forwarded_email", "x-nauth-assertion"] {
        assert_eq!(seen.header(name), None);
    }
    for target in ["/a/../b", "/a%2fb", "/%2e%2e/b", "/a%00", "/a%5cb"] {
        client.ask(&Request::get(target)).await.expect_error(400, "BAD_REQUEST");
    }
    client.ask(&Request::get("/").header("host", "evil.example")).await.expect(400);
    client.ask(&Request::get("/").header("host", &nauth.host())).await.expect(200);
    client.ask(&Request::get("/").header("host", "a").header("host", "a")).await.expect(400);
    let mut stranger = Http2::open(nauth.public()).await;
    stranger.pretend("http://evil.example");
    stranger.ask(&Request::get("/")).await.expect_error(421, "MISDIRECTED_REQUEST");
    assert_eq!(echo.seen().len(), 2);
}

#[tokio::test]
async fn a_tunnel_is_not_offered() {
    let echo = Echo::start().await;
    let (_nauth, mut client) = in_front_of(&echo).await;

    client.ask(&Request::get("/")).await.expect(200);

    assert!(!client.again().is_extended_connect_protocol_enabled(), "no WebSocket over HTTP/2");
    let connect = http::Request::builder().method("CONNECT").uri("localhost:1").body(()).unwrap();
    let answer = client.again().ready().await.unwrap().send_request(connect, true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn large_heads_and_bodies_are_refused_in_words_their_client_hears() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .route("path = \"/\"\naccess = \"public\"\nmax_body = \"10KiB\"")
        .route("path = \"/closed\"\naccess = \"required\"");
    let nauth = Nauth::start(spoken(config)).await;
    let mut client = Http2::open(nauth.public()).await;

    let many = (0..110).fold(Request::get("/"), |request, number| request.header(&format!("x-{number}"), "1"));
    client.ask(&many).await.expect_error(431, "HEADER_TOO_LARGE");
    client.ask(&Request::get("/").header("x-long", &"x".repeat(40_000))).await.expect(431);
    client.ask(&Request::get("/")).await.expect(200);
    for size in [100_000, 1_000_000] {
        let body = vec![b'x'; size];
        client.ask(&Request::post("/").body(body.clone())).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        client.ask(&Request::post("/closed").body(body.clone())).await.expect_error(401, "AUTH_TOKEN_INVALID");
        client.ask(&Request::post("/auth/login").json(&json!("x".repeat(size)))).await.expect(413);
    }
    client.ask(&Request::post("/").body(vec![b'x'; 10_000])).await.expect(200);
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let echo = Echo::start().await;
    let (nauth, mut client) = in_front_of(&echo).await;
    client.ask(&Request::get("/")).await.expect(200);

    let begun = Instant::now();
    let asked = join_all((0..50).map(|_| {
        let mut sender = client.again();
        async move {
            let request = Request::get("/slow/500").to_http2("http://localhost");
            std::future::poll_fn(|cx| sender.poll_ready(cx)).await.unwrap();
            sender.send_request(request, true).unwrap().0.await.unwrap().status()
        }
    }));

    assert!(asked.await.iter().all(|status| *status == 200));
    assert!(begun.elapsed() < secs(10), "{:?}", begun.elapsed());
    // A stream is counted and written down when it is over, which its client may see a little earlier.
    nauth.metric_becomes("nauth_http_requests_total", 51.0).await;
    let logged = || nauth.output().matches("path=\"/slow/500\" status=200").count();
    assert!(eventually(secs(5), async || (logged() == 50).then_some(())).await.is_some(), "{}", logged());
    let open = |protocol: &str| ["listener=\"public\"".to_owned(), format!("protocol=\"{protocol}\"")];
    for (protocol, count) in [("http2", 1.0), ("http1", 0.0)] {
        let labels = open(protocol);
        let found = nauth.metric("nauth_connections_open", &[&labels[0], &labels[1]]).await;
        assert!((found - count).abs() < f64::EPSILON, "{protocol}: {found}");
    }
    drop(client);
    let closed = eventually(secs(5), async || {
        (nauth.metric("nauth_connections_open", &["protocol=\"http2\""]).await < 0.5).then_some(())
    });
    assert!(closed.await.is_some());
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_its_siblings_live_on() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(spoken(Config::in_front_of(&echo).without_verification())).await;
    let mut client = Http2::open(nauth.public()).await;
    let (ada, bob) = (sign_up(&mut client, "ada@example.com").await, sign_up(&mut client, "bob@example.com").await);
    // Before the download, which nobody reads on, takes all that the connection may hold.
    let mut sibling = client.stream(&Request::get("/sse").bearer(&bob.access_token)).await.unwrap();
    sibling.piece().await.unwrap().unwrap();
    let mut streams = Vec::new();
    for path in ["/sse", "/sse-quiet", "/download"] {
        let mut stream = client.stream(&Request::get(path).bearer(&ada.access_token)).await.unwrap();
        stream.piece().await.unwrap().unwrap();
        streams.push(stream);
    }
    let mut upload = client.begin(&Request::post("/up").bearer(&ada.access_token), true).await.unwrap();
    upload.1.send_data(Bytes::from_static(b"some"), false).unwrap();
    assert!(eventually(secs(5), async || (echo.open_streams() == 4).then_some(())).await.is_some());

    client.ask(&Request::post("/auth/logout").bearer(&ada.access_token)).await;
    let ended = Instant::now();
    for mut stream in streams {
        assert_eq!(stream.reset_reason().await, Some(Reason::CANCEL));
    }
    assert_eq!(upload.0.await.unwrap_err().reason(), Some(Reason::CANCEL));
    assert!(ended.elapsed() < secs(1), "{:?}", ended.elapsed());

    let alone = eventually(secs(3), async || (echo.open_streams() == 1).then_some(())).await;
    assert!(alone.is_some(), "the upstream's halves end, and only theirs");
    sibling.piece().await.unwrap().unwrap();
    client.ask(&Request::get("/").bearer(&bob.access_token)).await.expect(200);
    client.ask(&Request::get("/").bearer(&ada.access_token)).await.expect(401);
}

#[tokio::test]
async fn a_slow_upstream_is_given_up() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).route("path = \"/\"\naccess = \"public\"\ntimeout = \"1s\"");
    let nauth = Nauth::start(spoken(config)).await;
    let mut client = Http2::open(nauth.public()).await;

    let begun = Instant::now();
    client.ask(&Request::get("/slow/20000")).await.expect_error(504, "GATEWAY_TIMEOUT");

    assert!(begun.elapsed() < secs(4), "{:?}", begun.elapsed());
    client.ask(&Request::get("/")).await.expect(200);
    let mut events = client.stream(&Request::get("/sse-quiet").header("accept", "text/event-stream")).await.unwrap();
    events.piece().await.unwrap().unwrap();
    let quiet = tokio::time::timeout(millis(2500), events.body.data()).await;
    assert!(quiet.is_err(), "a stream may be silent for longer than its head may take");
}

#[tokio::test]
async fn whoever_is_slow_is_let_go_at_every_step() {
    let echo = Echo::start().await;
    let config = spoken(public(Config::in_front_of(&echo)))
        .set("server.header_timeout", "1s")
        .set("server.keepalive_timeout", "1s");
    let nauth = Nauth::start(config).await;
    let half_block = b"\0\0\x05\x01\x04\0\0\0\x01\x82";

    let mut half_preface = Connection::open(nauth.public()).await;
    half_preface.write(&OPENING[..20]).await;
    let mut mute = Connection::open(nauth.public()).await;
    mute.write(OPENING).await;
    let mut dripping = Connection::open(nauth.public()).await;
    dripping.write(&[OPENING, half_block].concat()).await;
    let mut idle = Http2::open(nauth.public()).await;
    idle.ask(&Request::get("/")).await.expect(200);

    let begun = Instant::now();
    for connection in [&mut half_preface, &mut mute, &mut dripping] {
        assert!(connection.ends_within(secs(5)).await);
    }
    // Told to go elsewhere, not cut off.
    idle.end().await.unwrap();
    assert!(begun.elapsed() < secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_head_that_drips_beside_a_busy_stream_is_late_too() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(spoken(public(Config::in_front_of(&echo))).set("server.header_timeout", "1s")).await;
    let mut connection = Connection::open(nauth.public()).await;
    // GET /sse, its authority `localhost`; then half a block of another stream.
    let block = [&[0x82, 0x86, 0x44, 4][..], b"/sse", &[0x41, 9], b"localhost"].concat();
    let head = [&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1][..], &block].concat();
    connection.write(&[OPENING, &head].concat()).await;
    assert!(connection.reads("data: 1").await);

    connection.write(b"\0\0\x05\x01\x04\0\0\0\x03\x82").await;

    assert!(connection.ends_within(secs(5)).await);
}

#[tokio::test]
async fn streams_under_way_finish_at_the_end() {
    let echo = Echo::start().await;
    let (mut nauth, mut client) = in_front_of(&echo).await;
    let mut idle = Http2::open(nauth.public()).await;
    idle.ask(&Request::get("/")).await.expect(200);
    let (answer, _) = client.begin(&Request::get("/slow/1000"), false).await.unwrap();
    let arrived = eventually(secs(5), async || (echo.seen().len() == 2).then_some(())).await;
    assert!(arrived.is_some());

    nauth.signal(Signal::TERM);

    idle.end().await.unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    client.end().await.unwrap();
    assert_eq!(nauth.finished_within(secs(5)).await.code, Some(0));
}

#[tokio::test]
async fn a_connection_has_so_many_requests() {
    let echo = Echo::start().await;
    let config = spoken(public(Config::in_front_of(&echo))).set("server.keepalive_requests", 3);
    let nauth = Nauth::start(config).await;
    let mut client = Http2::open(nauth.public()).await;

    for _ in 0..3 {
        client.ask(&Request::get("/")).await.expect(200);
    }

    client.end().await.unwrap();
}

#[tokio::test]
async fn whoever_gives_up_what_was_asked_for_is_closed() {
    let echo = Echo::start().await;
    let (nauth, mut client) = in_front_of(&echo).await;
    let mut begun = 0;

    for _ in 0..1000 {
        let Ok((answer, mut sending)) = client.begin(&Request::get("/slow/5000"), true).await else { break };
        begun += 1;
        tokio::time::sleep(millis(2)).await;
        sending.send_reset(Reason::CANCEL);
        drop(answer);
    }

    assert!((100..300).contains(&begun), "{begun} requests were begun");
    assert!(client.end().await.is_err());
    let mut other = Http2::open(nauth.public()).await;
    other.ask(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn whoever_asks_for_nothing_all_the_time_is_closed() {
    let echo = Echo::start().await;
    let (nauth, _) = in_front_of(&echo).await;
    let ping = b"\0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08";

    let mut connection = Connection::open(nauth.public()).await;
    connection.write(&[OPENING, &ping.repeat(1500)[..]].concat()).await;

    assert!(connection.ends_within(secs(3)).await);
}

#[tokio::test]
async fn it_is_spoken_only_where_it_is_switched_on() {
    let (echo, authority) = (Echo::start().await, Authority::new());
    let (cert, key) = authority.sign("localhost");
    let certs = json!([{ "cert": cert.to_str().unwrap(), "key": key.to_str().unwrap() }]);
    let config = public(Config::in_front_of(&echo))
        .listener("addr = \"{public}\"\ntls = true\nhttp2 = false")
        .set("server.tls.certs", certs);
    let over_tls = Nauth::start(config).await;
    let plain = Nauth::start(public(Config::in_front_of(&echo))).await;

    let mut older = Connection::open_tls(over_tls.public(), authority.client(&["h2", "http/1.1"])).await;
    older.ask(&Request::get("/")).await.expect(200);
    let mut connection = Connection::open(plain.public()).await;
    connection.write(OPENING).await;
    connection.answer().await.expect_error(400, "BAD_REQUEST");

    let both = Nauth::start(spoken(public(Config::in_front_of(&echo)))).await;
    both.send(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn the_limit_of_an_address_counts_connections_and_not_streams() {
    let echo = Echo::start().await;
    let config = spoken(public(Config::in_front_of(&echo))).set("server.max_connections_per_ip", 1);
    let nauth = Nauth::start(config).await;
    let mut client = Http2::open(nauth.public()).await;

    for _ in 0..5 {
        client.ask(&Request::get("/")).await.expect(200);
    }
    let mut second = Connection::open(nauth.public()).await;
    second.write(OPENING).await;

    assert!(second.ends_within(secs(5)).await);
}

/// Sends every message back as it comes, then a status in trailers; a request without `te: trailers` is refused.
async fn grpc_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let has_te = request.headers().get("te").is_some_and(|te| te == "trailers");
                        let user = request.headers().get("x-forwarded-user").cloned();
                        let mut messages = request.into_body();
                        let head = http::Response::builder().header("content-type", "application/grpc").body(());
                        let mut answer = respond.send_response(head.unwrap(), false).unwrap();
                        while let Some(Ok(message)) = messages.data().await {
                            let _ = messages.flow_control().release_capacity(message.len());
                            answer.send_data(message, false).unwrap();
                        }
                        let sent = messages.trailers().await.ok().flatten().unwrap_or_default();
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", if has_te { "0" } else { "13" }.parse().unwrap());
                        trailers.insert("saw-user", user.unwrap_or_else(|| "nobody".parse().unwrap()));
                        trailers.extend(sent.into_iter().filter_map(|(name, value)| Some((name?, value))));
                        let _ = answer.send_trailers(trailers);
                    });
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn grpc_passes_both_ways_and_ends_with_its_session() {
    let config = Config::in_front_of_target(&grpc_upstream().await).without_verification();
    let nauth = Nauth::start(spoken(config)).await;
    let mut client = Http2::open(nauth.public()).await;
    let ada = sign_up(&mut client, "ada@example.com").await;
    let call = Request::post("/echo.Echo/Chat")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .bearer(&ada.access_token);

    let (answer, mut sending) = client.begin(&call, true).await.unwrap();
    sending.send_data(Bytes::from_static(b"\0\0\0\0\x05hello"), false).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), &b"\0\0\0\0\x05hello"[..]);
    sending.send_data(Bytes::from_static(b"\0\0\0\0\x05again"), true).unwrap();
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), &b"\0\0\0\0\x05again"[..]);
    let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["saw-user"], ada.sub.as_str());

    let (answer, mut sending) = client.begin(&call, true).await.unwrap();
    sending.send_data(Bytes::from_static(b"\0\0\0\0\x01x"), false).unwrap();
    let mut open = answer.await.unwrap();
    open.body_mut().data().await.unwrap().unwrap();
    client.ask(&Request::post("/auth/logout").bearer(&ada.access_token)).await;
    let ended = tokio::time::timeout(secs(1), open.body_mut().data()).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_stream_whose_upstream_is_late_says_nothing_about_its_siblings() {
    let echo = Echo::start().await;
    let config = spoken(public(Config::in_front_of(&echo)))
        .upstream("retries = 0")
        .route("path = \"/slow/9000\"\naccess = \"public\"\ntimeout = \"300ms\"");
    let nauth = Nauth::start(config).await;
    let mut client = Http2::open(nauth.public()).await;
    let (late, _) = client.begin(&Request::get("/slow/9000"), false).await.unwrap();
    let (slow, _) = client.begin(&Request::get("/slow/2000"), false).await.unwrap();
    assert_eq!(late.await.unwrap().status(), 504);

    client.ask(&Request::get("/close")).await.expect_error(502, "BAD_GATEWAY");

    assert_eq!(slow.await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_refused_while_it_is_taken_in_is_logged_and_counted() {
    let echo = Echo::start().await;
    let (nauth, mut client) = in_front_of(&echo).await;

    client.ask(&Request::get("/").header("host", "a").header("host", "a")).await.expect(400);
    client.ask(&Request::get("/")).await.expect(200);

    nauth.writes("method=- path=\"\" status=400").await;
    assert!((nauth.metric("nauth_rejected_requests_total", &["header"]).await - 1.0).abs() < f64::EPSILON);
    assert_eq!(echo.seen().len(), 1);
}
