//! Streams pass as they come, and end with the session they were opened by.

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Account, Config, Connection, Echo, Nauth, Request, Seen, eventually, secs};

fn routes(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .route("path = \"/ws\"\naccess = \"required\"\nwebsocket = true")
        .route("path = \"/\"\naccess = \"required\"")
}

#[tokio::test]
async fn messages_pass_both_ways_with_the_identity_at_the_handshake() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let mut socket = open(&nauth, &[("authorization", &bearer(&ada))]).await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }

    let seen: Seen = echo.seen().pop().unwrap();
    assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("Authorization"), None);
}

#[tokio::test]
async fn an_upgrade_passes_only_where_the_route_says_so() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification();
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    let (status, body) = refused(open(&nauth, &[("authorization", &bearer(&ada))]).await);

    assert_eq!(status, 403);
    assert!(body.contains("FORBIDDEN") && body.contains("upgrade"), "{body}");
    assert_eq!(echo.seen().len(), 0);
}

#[tokio::test]
async fn an_anonymous_upgrade_is_refused_and_never_redirected() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;

    let (status, _) = refused(open(&nauth, &[("sec-fetch-mode", "websocket"), ("accept", "text/html")]).await);

    assert_eq!(status, 401);
}

#[tokio::test]
async fn other_sites_cannot_open_a_socket_with_a_browsers_cookies() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let cookies = ada.cookies();

    for headers in [
        vec![],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("sec-fetch-site", "same-site")],
    ] {
        let headers = [vec![("cookie", cookies.as_str())], headers].concat();
        let (status, body) = refused(open(&nauth, &headers).await);
        assert_eq!(status, 403, "{headers:?}: {body}");
    }
    let own = nauth.origin();
    open(&nauth, &[("cookie", &cookies), ("origin", &own)]).await.unwrap();
}

#[tokio::test]
async fn a_listed_origin_may_open_a_socket() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .route("path = \"/ws\"\naccess = \"required\"\nwebsocket = true\nws = { origins = [\"http://spa.local\"] }");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    open(&nauth, &[("cookie", &ada.cookies()), ("origin", "http://spa.local")]).await.unwrap();
}

#[tokio::test]
async fn a_socket_is_closed_with_4401_within_a_second_of_its_logout() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let other = nauth.login("ada@example.com").await;
    let mut socket = open(&nauth, &[("authorization", &bearer(&ada))]).await.unwrap();
    let mut others = open(&nauth, &[("authorization", &bearer(&other))]).await.unwrap();
    echoes(&mut socket).await;

    nauth.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);

    assert_eq!(closed_within(&mut socket, secs(1)).await, Some(CloseCode::from(4401)));
    echoes(&mut others).await;
    nauth.send(&Request::post("/auth/logout/all").bearer(&other.access_token)).await.expect(200);
    assert_eq!(closed_within(&mut others, secs(1)).await, Some(CloseCode::from(4401)));
    let upstream_ended = eventually(secs(2), async || (echo.open_streams() == 0).then_some(())).await;
    assert!(upstream_ended.is_some(), "the upstream still holds a socket");
}

#[tokio::test]
async fn events_and_downloads_end_within_a_second_of_their_logout() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;

    nauth.signup("ada@example.com").await;
    for (path, logout) in [
        ("/sse", "/auth/logout"),
        ("/sse-quiet", "/auth/logout/all"),
        ("/download", "/auth/logout"),
        ("/download", "/auth/logout/all"),
    ] {
        let ada = nauth.login("ada@example.com").await;
        let mut stream = Connection::open(nauth.public()).await;
        stream.send(&Request::get(path).cookies(&ada.cookies())).await;
        assert_eq!(stream.head().await.status, 200);
        stream.piece().await;

        nauth.send(&Request::post(logout).bearer(&ada.access_token)).await.expect(200);

        assert!(stream.ends_within(secs(1)).await, "{path} goes on after {logout}");
    }
}

#[tokio::test]
async fn a_stream_ends_within_a_second_of_the_role_it_needs() {
    let echo = Echo::start().await;
    let config = routes(&echo).route("path = \"/sse\"\naccess = \"required\"\nroles = [\"admin\"]");
    let nauth = Nauth::start(config).await;
    nauth.signup("ada@example.com").await;
    nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);
    let ada = nauth.login("ada@example.com").await;
    let mut admins = Connection::open(nauth.public()).await;
    admins.send(&Request::get("/sse").bearer(&ada.access_token)).await;
    assert_eq!(admins.head().await.status, 200);
    let mut users = open(&nauth, &[("cookie", &ada.cookies()), ("origin", &nauth.origin())]).await.unwrap();
    admins.piece().await;

    nauth.command(&["user", "revoke-role", "ada@example.com", "admin"]).await.expect(0);

    assert!(admins.ends_within(secs(2)).await, "events for admins go on without the role");
    echoes(&mut users).await;
}

#[tokio::test]
async fn a_reload_that_takes_the_access_away_ends_streams_within_a_second() {
    let echo = Echo::start().await;
    let base = |rules: [&str; 3]| {
        let [socket, open, events] = rules;
        Config::in_front_of(&echo)
            .without_verification()
            .route(&format!("path = \"/ws\"\naccess = \"required\"\n{socket}"))
            .route(&format!("path = \"/download\"\n{open}"))
            .route(&format!("path = \"/sse\"\naccess = \"required\"\n{events}"))
    };
    let before = ["websocket = true", "access = \"public\"", "on_unauthenticated = \"401\""];
    let nauth = Nauth::start(base(before).set("reload.watch", false)).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut socket = open(&nauth, &[("cookie", &ada.cookies()), ("origin", &nauth.origin())]).await.unwrap();
    let mut download = Connection::open(nauth.public()).await;
    download.send(&Request::get("/download")).await;
    assert_eq!(download.head().await.status, 200);
    let mut events = Connection::open(nauth.public()).await;
    events.send(&Request::get("/sse").bearer(&ada.access_token)).await;
    assert_eq!(events.head().await.status, 200);
    let reload = async |rules: [&str; 3]| {
        nauth.reconfigure(&base(rules).set("reload.watch", false));
        nauth.signal(Signal::HUP);
    };

    reload(["websocket = true", "access = \"required\"", before[2]]).await;
    assert!(download.ends_within(secs(1)).await, "a stranger's download goes on where a login is needed");
    echoes(&mut socket).await;

    reload(["websocket = true\nverified_email = true", "access = \"required\"", before[2]]).await;
    assert_eq!(closed_within(&mut socket, secs(1)).await, Some(CloseCode::from(4401)));
    events.piece().await;

    reload(["websocket = true", "access = \"required\"", "allow_ips = [\"192.0.2.0/24\"]"]).await;
    assert!(events.ends_within(secs(1)).await, "events go on from an address that may not ask for them");
}

#[tokio::test]
async fn an_open_socket_is_a_sign_of_life() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo).set("session.idle_timeout", "3s").set("jwt.access_ttl", "1s")).await;
    nauth.signup("ada@example.com").await;
    let (open_one, idle) = (nauth.login("ada@example.com").await, nauth.login("ada@example.com").await);
    let mut socket = open(&nauth, &[("cookie", &open_one.cookies()), ("origin", &nauth.origin())]).await.unwrap();

    tokio::time::sleep(secs(5)).await;

    echoes(&mut socket).await;
    let refresh =
        |account: &Account| Request::post("/auth/refresh").json(&json!({ "refreshToken": account.refresh_token }));
    nauth.send(&refresh(&open_one)).await.expect(200);
    nauth.send(&refresh(&idle)).await.expect(401);
}

#[tokio::test]
async fn a_bearers_stream_ends_when_its_token_does() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo).set("jwt.access_ttl", "2s").set("jwt.leeway", "0s")).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut socket = open(&nauth, &[("authorization", &bearer(&ada))]).await.unwrap();

    assert_eq!(closed_within(&mut socket, secs(6)).await, Some(CloseCode::from(4401)));
    nauth.metric_becomes("nauth_streams_closed_total", 1.0).await;
    assert!(nauth.metric("nauth_streams_closed_total", &["reason=\"expired\""]).await > 0.0);
}

#[tokio::test]
async fn a_socket_is_told_when_nauth_goes_away() {
    let echo = Echo::start().await;
    let mut nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut socket = open(&nauth, &[("authorization", &bearer(&ada))]).await.unwrap();
    echoes(&mut socket).await;

    nauth.signal(Signal::TERM);

    assert_eq!(closed_within(&mut socket, secs(2)).await, Some(CloseCode::Away));
    nauth.finished_within(secs(2)).await;
}

#[tokio::test]
async fn an_idle_socket_is_closed_after_its_time() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .route("path = \"/ws\"\naccess = \"required\"\nwebsocket = true\nws = { idle_timeout = \"2s\" }");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut socket = open(&nauth, &[("authorization", &bearer(&ada))]).await.unwrap();
    echoes(&mut socket).await;

    let ended = tokio::time::timeout(secs(8), async { while let Some(Ok(_)) = socket.next().await {} }).await;

    assert!(ended.is_ok(), "the socket is still open");
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut stream = Connection::open(nauth.public()).await;

    stream.send(&Request::get("/sse-quiet").bearer(&ada.access_token)).await;
    let head = stream.head().await;

    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    // The upstream says nothing more: what is read here was not waiting for a full buffer.
    assert!(stream.reads("data: 0\n\n").await);
}

#[tokio::test]
async fn an_open_stream_outlives_the_timeout_for_its_head() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .route("path = \"/\"\naccess = \"required\"\ntimeout = \"500ms\"");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut stream = Connection::open(nauth.public()).await;

    stream.send(&Request::get("/sse").bearer(&ada.access_token)).await;
    stream.head().await;

    assert!(stream.reads("data: 20\n\n").await, "the stream was cut");
}

#[tokio::test]
async fn an_upload_reaches_the_upstream_as_it_is_sent() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut upload = Connection::open(nauth.public()).await;

    upload
        .send(&Request::post("/up").bearer(&ada.access_token).header("Content-Length", "20").body("0123456789"))
        .await;
    let half = eventually(secs(5), async || (echo.body_bytes() == 10).then_some(())).await;
    assert!(half.is_some(), "the upstream has {} bytes", echo.body_bytes());
    upload.write(b"0123456789").await;

    assert_eq!(upload.answer().await.expect(200).json()["bodyLength"], 20);
}

#[tokio::test]
async fn large_bodies_pass_whole() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let down = nauth.send(&Request::get("/big/3000000").bearer(&ada.access_token)).await.expect(200);
    assert_eq!(down.body.len(), 3_000_000);
    let up = nauth.send(&Request::post("/up").bearer(&ada.access_token).body(vec![b'x'; 3_000_000])).await.expect(200);
    assert_eq!(up.json()["bodyLength"], 3_000_000);
    let head = nauth.send(&Request::new("HEAD", "/big/1000").bearer(&ada.access_token)).await;
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn streams_are_counted_by_why_they_end() {
    let echo = Echo::start().await;
    let config = |sockets: &str| {
        Config::in_front_of(&echo)
            .without_verification()
            .set("reload.debounce", "50ms")
            .route(&format!("path = \"/ws\"\naccess = \"required\"\nwebsocket = true\n{sockets}"))
            .route("path = \"/\"\naccess = \"required\"")
    };
    let nauth = Nauth::start(config("ws = { idle_timeout = \"1s\" }")).await;
    let [ada, bob] = [nauth.signup("ada@example.com").await, nauth.signup("bob@example.com").await];
    let events = async |of: &Account| {
        let mut events = Connection::open(nauth.public()).await;
        events.send(&Request::get("/sse").bearer(&of.access_token)).await;
        assert_eq!(events.head().await.status, 200);
        events
    };
    let socket = async || open(&nauth, &[("authorization", &bearer(&ada))]).await.unwrap();
    let counted = async |kind: &str, reason: &str, times: f64| {
        let labels = [format!("kind=\"{kind}\""), format!("reason=\"{reason}\"")];
        let count = async || nauth.metric("nauth_streams_closed_total", &labels.each_ref().map(String::as_str)).await;
        let reached = eventually(secs(5), async || ((count().await - times).abs() < f64::EPSILON).then_some(())).await;
        assert!(reached.is_some(), "{kind} {reason}: {}", nauth.manage(&Request::get("/metrics")).await);
    };

    drop(events(&ada).await);
    counted("sse", "client", 1.0).await;
    let mut leaving = socket().await;
    echoes(&mut leaving).await;
    drop(leaving);
    counted("ws", "client", 1.0).await;
    let _silent = socket().await;
    counted("ws", "idle", 1.0).await;
    let _bobs = events(&bob).await;
    nauth.send(&Request::post("/auth/logout").bearer(&bob.access_token)).await.expect(200);
    counted("sse", "logout", 1.0).await;

    nauth.reconfigure(&config(""));
    nauth.writes("settings reloaded").await;
    let _unwanted = socket().await;
    nauth.reconfigure(&config("allow_ips = [\"192.0.2.0/24\"]"));
    counted("ws", "policy", 1.0).await;

    let _cut_off = events(&ada).await;
    drop(echo);
    counted("sse", "upstream", 1.0).await;
}

type Socket = WebSocketStream<TcpStream>;

async fn open(nauth: &Nauth, headers: &[(&str, &str)]) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://{}/ws", nauth.host()).into_client_request().unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        request.headers_mut().insert(name, http::HeaderValue::from_str(value).unwrap());
    }
    let stream = TcpStream::connect(nauth.public()).await.unwrap();
    let opened = tokio::time::timeout(secs(10), client_async(request, stream)).await.expect("a handshake ends");
    opened.map(|(socket, _)| socket)
}

#[track_caller]
fn refused(opened: Result<Socket, tungstenite::Error>) -> (u16, String) {
    let Err(tungstenite::Error::Http(answer)) = opened else { panic!("not refused: {opened:?}") };
    let body = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    (answer.status().as_u16(), body)
}

async fn echoes(socket: &mut Socket) {
    socket.send(Message::text("still there?")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still there?"));
}

/// The code of the close frame that ends a socket; `None` when it ends without one.
async fn closed_within(socket: &mut Socket, within: std::time::Duration) -> Option<CloseCode> {
    let closing = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return frame.map(|frame| frame.code);
            }
        }
        None
    };
    tokio::time::timeout(within, closing).await.expect("the socket is still open")
}

fn bearer(account: &Account) -> String {
    format!("Bearer {}", account.access_token)
}
