//! Raw bytes against a real edge: a bare proxy in front of a small upstream.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use pingora::proxy::{HttpProxy, ProxyHttp, Session as Proxied, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::settings::{Jwt, SigningAlgorithm};
use crate::domain::id::SessionId;
use crate::domain::session::{Delivery, Session};
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::decide::By;
use crate::gateway::inflight::LetIn;
use crate::gateway::inflight::{Holder, InFlight};
use crate::tokens::signing::Use;
use crate::tokens::{AccessMinter, KeyRing};

const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy that lets everything through, and says whose every request is.
struct Bare {
    upstream: SocketAddr,
    holder: Option<Holder>,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = Arc<InFlight>;

    fn new_ctx(&self) -> Arc<InFlight> {
        InFlight::current()
    }

    async fn early_request_filter(&self, _: &mut Proxied, request: &mut Arc<InFlight>) -> pingora::Result<()> {
        request.conn().admit();
        if let Some(holder) = &self.holder {
            request.hold(holder.clone());
        }
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Proxied, _: &mut Arc<InFlight>) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn response_filter(
        &self,
        session: &mut Proxied,
        response: &mut pingora::http::ResponseHeader,
        request: &mut Arc<InFlight>,
    ) -> pingora::Result<()> {
        assert!(request.answered());
        if response.status == 101 {
            request.conn().upgrade(Duration::from_mins(1));
        }
        if request.is_draining() {
            session.set_keepalive(None);
        }
        Ok(())
    }
}

struct Running {
    edge: Arc<Edge<HttpProxy<Bare>>>,
    at: SocketAddr,
    listening: tokio::task::JoinHandle<()>,
}

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(10),
        keepalive_requests: None,
        max_header: 32 * 1024,
        max_connections_per_ip: None,
        trusted_proxies: Vec::new(),
    }
}

async fn start(limits: Limits) -> Running {
    start_for(limits, None).await
}

async fn start_for(limits: Limits, holder: Option<Holder>) -> Running {
    let upstream = upstream().await;
    let conf = Arc::new(ServerConf::default());
    let metrics = crate::metrics::Metrics::new().connections(crate::metrics::Listener::Public);
    let edge = Edge::new(
        http_proxy(&conf, Bare { upstream, holder }),
        limits,
        metrics,
        Clock::system(),
        Box::new(|_, _, _| {}),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let listening = tokio::spawn(Arc::clone(&edge).listen(listener, Listener::plain(at)));
    Running { edge, at, listening }
}

/// Answers by path: `/slow` after a sign from the test, `/events` and `/endless` without end, `/ws` upgrades,
/// `/echo` the body as it comes, anything else `hello`.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(socket));
        }
    });
    at
}

async fn answer(mut socket: TcpStream) {
    loop {
        let Some(head) = head_of(&mut socket).await else { return };
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        match path.as_str() {
            "/events" => {
                let _ = socket.write_all(format!("{chunked}7\r\ndata: 1\r\n").as_bytes()).await;
                let mut rest = Vec::new();
                let _ = socket.read_to_end(&mut rest).await;
                return;
            }
            "/endless" => {
                let piece = format!("1000\r\n{}\r\n", "x".repeat(4096));
                let _ = socket.write_all(chunked.as_bytes()).await;
                while socket.write_all(piece.as_bytes()).await.is_ok() {}
                return;
            }
            "/ws" => {
                let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
                socket.write_all(upgraded.as_bytes()).await.unwrap();
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                return;
            }
            "/echo" => {
                socket.write_all(chunked.as_bytes()).await.unwrap();
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                return;
            }
            "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.is_err() {
            return;
        }
    }
}

async fn head_of(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Reads until `end` was seen.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        let byte = tokio::time::timeout(PATIENCE, socket.read_u8()).await;
        received.push(byte.unwrap_or_else(|_| panic!("`{}` in time", received.escape_ascii())).unwrap());
    }
    String::from_utf8(received).unwrap()
}

/// Reads to the end, which must be a clean one.
async fn read_all(socket: &mut TcpStream) -> String {
    let mut received = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut received)).await.expect("an end in time").unwrap();
    String::from_utf8_lossy(&received).into_owned()
}

async fn ask(socket: &mut TcpStream, path: &str) -> String {
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    read_until(socket, "hello").await
}

fn ada() -> Holder {
    let now = Clock::system().now();
    let user = crate::domain::user::tests_support::ada();
    let session = Session {
        id: SessionId::random(),
        user: user.id,
        family: "ab".repeat(32),
        generation: 1,
        rotated_at: now,
        refresh_expires_at: now,
        refresh_kid: String::new(),
        seen: None,
        auth_epoch: 1,
        latest_exp: now,
        amr: Vec::new(),
        acr: String::new(),
        auth_time: now,
        dialect: "nauth".to_owned(),
        delivery: Delivery::Cookies,
        auth_method: "password".to_owned(),
        ip: String::new(),
        location: crate::domain::location::Location::default(),
        user_agent: String::new(),
        device: crate::domain::session::Device::default(),
        trusted_device: None,
        claims: None,
        created_at: now,
        last_activity_at: now,
        expires_at: now,
        revoked_at: None,
    };
    let jwt = Jwt {
        algorithm: SigningAlgorithm::Hs256,
        issuer: String::new(),
        audience: Vec::new(),
        access_ttl: PATIENCE,
        refresh_ttl: PATIENCE,
        refresh_grace: PATIENCE,
        leeway: PATIENCE,
        key_rotation: Duration::ZERO,
        publish_jwks: true,
        private_key: None,
        access_secret: None,
        refresh_secret: None,
        claims: Vec::new(),
        told: Vec::new(),
    };
    let minter = AccessMinter::new(KeyRing::ephemeral().signing(Use::Access), &jwt);
    let host = Host::parse(b"localhost").unwrap();
    let target = Canonical::parse(b"/", &host).unwrap();
    Holder {
        token: Some(minter.mint(&user, &session, 1, now, now).1),
        by: Some(By::Cookie),
        until: None,
        asked: LetIn {
            host: Arc::new(host),
            target: Arc::new(target),
            method: http::Method::GET,
            client: IpAddr::from([127, 0, 0, 1]),
            is_upgrade: false,
            rules: 1,
        },
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_a_connection() {
    let running = start(limits()).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();

    let first = ask(&mut client, "/").await;
    let second = ask(&mut client, "/").await;

    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("keep-alive"), "{first}");
    assert!(second.starts_with("HTTP/1.1 200 OK\r\n"), "{second}");
}

#[tokio::test]
async fn a_connection_closes_after_its_last_request() {
    let running = start(Limits { keepalive_requests: Some(2), ..limits() }).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();

    let first = ask(&mut client, "/").await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let second = read_all(&mut client).await;

    assert!(first.contains("keep-alive"), "{first}");
    assert!(second.contains("Connection: close") && second.ends_with("hello"), "{second}");
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_is_refused_at_its_deadline() {
    let running = start(Limits { header_timeout: Duration::from_millis(500), ..limits() }).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();
    let (mut read, mut write) = client.split();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();

    tokio::select! {
        () = drip => {}
        _ = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)) => {}
    }

    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed() {
    let short = Duration::from_millis(300);
    let running = start(Limits { header_timeout: short, keepalive_timeout: short, ..limits() }).await;
    let mut silent = TcpStream::connect(running.at).await.unwrap();
    let mut idle = TcpStream::connect(running.at).await.unwrap();
    ask(&mut idle, "/").await;

    assert_eq!(read_all(&mut silent).await, "");
    assert_eq!(read_all(&mut idle).await, "");
}

#[tokio::test]
async fn a_head_above_the_limit_is_refused_readably() {
    let running = start(limits()).await;
    for _ in 0..20 {
        let mut client = TcpStream::connect(running.at).await.unwrap();
        let (mut read, mut write) = client.split();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000));
        let mut answer = Vec::new();

        let (_, end) = tokio::join!(write.write_all(head.as_bytes()), read.read_to_end(&mut answer));

        end.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn what_pingora_cannot_parse_is_answered_in_our_words() {
    let running = start(limits()).await;
    let bad = ["GET / HTTP/1.1\r\nHost: a\r\nbad header: x\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n"];
    for request in bad {
        let mut client = TcpStream::connect(running.at).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();

        let answer = read_all(&mut client).await;

        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("BAD_REQUEST"), "{answer}");
        assert!(!answer.contains("Pingora"), "{answer}");
    }
    let mut client = TcpStream::connect(running.at).await.unwrap();
    client.write_all(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_all(&mut client).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn an_address_at_its_cap_is_turned_away() {
    let running = start(Limits { max_connections_per_ip: Some(1), ..limits() }).await;
    let mut first = TcpStream::connect(running.at).await.unwrap();
    ask(&mut first, "/").await;

    let mut second = TcpStream::connect(running.at).await.unwrap();

    let end = tokio::time::timeout(PATIENCE, second.read_u8()).await.expect("an end in time");
    assert!(end.is_err());
}

#[tokio::test]
async fn draining_is_immediate_when_nothing_is_in_flight() {
    let running = start(limits()).await;
    let mut idle = TcpStream::connect(running.at).await.unwrap();
    ask(&mut idle, "/").await;
    let _silent = TcpStream::connect(running.at).await.unwrap();

    tokio::time::timeout(Duration::from_millis(500), running.edge.drain(PATIENCE)).await.expect("at once");

    assert_eq!(read_all(&mut idle).await, "");
    running.listening.await.unwrap();
    assert!(TcpStream::connect(running.at).await.is_err());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_draining() {
    let running = start(limits()).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    let (answer, ()) = tokio::join!(read_all(&mut client), running.edge.drain(PATIENCE));

    assert!(answer.contains("Connection: close") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_ended() {
    let running = start(limits()).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut client, "data: 1\r\n").await;

    tokio::time::timeout(PATIENCE, running.edge.drain(Duration::from_millis(100))).await.expect("an end in time");

    assert!(client.read_u8().await.is_err());
    assert_eq!(running.edge.connections().count(), 0);
}

#[tokio::test]
async fn events_pass_as_they_come() {
    let running = start(limits()).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();

    assert!(read_until(&mut client, "data: 1\r\n").await.contains("200 OK"));
}

#[tokio::test]
async fn an_upload_passes_as_it_comes() {
    let running = start(limits()).await;
    let mut client = TcpStream::connect(running.at).await.unwrap();
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    client.write_all(b"3\r\none\r\n").await.unwrap();
    read_until(&mut client, "one\r\n").await;
    client.write_all(b"3\r\ntwo\r\n").await.unwrap();

    read_until(&mut client, "two\r\n").await;
}

async fn websocket(at: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(at).await.unwrap();
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    client
}

#[tokio::test]
async fn a_websocket_of_an_ended_session_closes_with_4401() {
    let running = start_for(limits(), Some(ada())).await;
    let mut client = websocket(running.at).await;
    client.write_all(b"\x81\x02hi").await.unwrap();
    let mut echo = [0; 4];
    client.read_exact(&mut echo).await.unwrap();

    assert_eq!(running.edge.connections().recheck(Clock::system().now(), |_| true), 0);
    assert_eq!(running.edge.connections().recheck(Clock::system().now(), |_| false), 1);

    let mut end = Vec::new();
    tokio::time::timeout(Duration::from_secs(1), client.read_to_end(&mut end)).await.expect("within 1 s").unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
    assert_eq!(end, b"\x88\x0f\x11\x31session ended");
}

#[tokio::test]
async fn a_websocket_cut_inside_a_frame_gets_no_close_frame() {
    let running = start_for(limits(), Some(ada())).await;
    let mut client = websocket(running.at).await;
    client.write_all(b"\x81\x05hi").await.unwrap();
    let mut echo = [0; 4];
    client.read_exact(&mut echo).await.unwrap();

    running.edge.connections().recheck(Clock::system().now(), |_| false);

    let mut end = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(1), client.read_to_end(&mut end)).await.expect("within 1 s");
    assert_eq!(end, b"");
}

#[tokio::test]
async fn a_websocket_is_told_that_the_server_goes_away() {
    let running = start(limits()).await;
    let mut client = websocket(running.at).await;

    tokio::time::timeout(Duration::from_millis(500), running.edge.drain(PATIENCE)).await.expect("at once");

    let mut end = Vec::new();
    client.read_to_end(&mut end).await.unwrap();
    assert_eq!(end, b"\x88\x0c\x03\xe9going away");
}

#[tokio::test]
async fn a_download_of_an_ended_session_does_not_end_cleanly() {
    let running = start_for(limits(), Some(ada())).await;
    for path in ["/events", "/endless"] {
        let mut client = TcpStream::connect(running.at).await.unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        read_until(&mut client, "\r\n\r\n").await;

        running.edge.connections().recheck(Clock::system().now(), |_| false);

        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(2), client.read_to_end(&mut rest)).await.expect("an end");
        assert!(end.is_err() && !rest.ends_with(b"0\r\n\r\n"), "{path}");
    }
}

#[tokio::test]
async fn a_bearer_stream_ends_with_its_token() {
    let now = Clock::system().now();
    let until = Some(now + Duration::from_mins(1));
    let running = start_for(limits(), Some(Holder { until, ..ada() })).await;
    let _client = websocket(running.at).await;

    assert_eq!(running.edge.connections().recheck(now, |_| true), 0);
    assert_eq!(running.edge.connections().recheck(now + Duration::from_mins(1), |_| true), 1);
}
