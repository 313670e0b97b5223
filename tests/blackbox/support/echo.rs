//! An upstream that tells what it received.
//!
//! It reads the request itself instead of through a server library, so a test sees the header lines
//! as they arrived. The path says how it behaves: see [`behave`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Answer, millis};

/// The upstream; it ends with its owner.
pub(crate) struct Echo {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    body_bytes: AtomicU64,
    open_streams: AtomicUsize,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The method.
    pub(crate) method: String,
    /// The target of the request line.
    pub(crate) target: String,
    /// In order, as spelt.
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    /// Reads the description that [`Echo`] sends as its answer.
    #[track_caller]
    pub(crate) fn in_answer(answer: &Answer) -> Self {
        let body = answer.json();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("not the upstream's: {answer}")).to_owned();
        let headers = body["headers"].as_array().unwrap_or_else(|| panic!("not the upstream's: {answer}"));
        Self {
            method: text(&body["method"]),
            target: text(&body["target"]),
            headers: headers.iter().map(|line| (text(&line[0]), text(&line[1]))).collect(),
        }
    }

    /// The only value of a header; a repeated one is a failure.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.iter().filter(|(present, _)| present.eq_ignore_ascii_case(name));
        let first = lines.next();
        assert!(lines.next().is_none(), "`{name}` came more than once: {:?}", self.headers);
        first.map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn to_json(&self, body: &[u8]) -> Value {
        json!({
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "bodyLength": body.len(),
            "body": String::from_utf8_lossy(&body[..body.len().min(1024)]),
        })
    }
}

impl Echo {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener)
    }

    /// Listens on this port.
    pub(crate) async fn start_on(port: u16) -> Self {
        Self::start_at(&format!("127.0.0.1:{port}")).await
    }

    /// Listens at this address.
    pub(crate) async fn start_at(address: &str) -> Self {
        Self::on(TcpListener::bind(address).await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let accepting = tokio::spawn({
            let state = state.clone();
            async move {
                // Its connections end with it, as those of a process do.
                let mut serving = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    serving.spawn(serve(stream, state.clone()));
                    while serving.try_join_next().is_some() {}
                }
            }
        });
        Self { address, state, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a configuration calls it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Body bytes received so far, those of unfinished requests included.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.state.body_bytes.load(Ordering::SeqCst)
    }

    /// Streams (SSE, downloads, sockets) it is still feeding.
    pub(crate) fn open_streams(&self) -> usize {
        self.state.open_streams.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut peer = Peer { stream, unread: Vec::new(), state };
    while let Some(seen) = peer.head().await {
        peer.state.seen.lock().unwrap().push(seen.clone());
        if seen.path() == "/ws" && seen.header("upgrade").is_some() {
            return echo_messages(peer, &seen).await;
        }
        if seen.path() == "/unread" {
            return std::future::pending().await;
        }
        let Some(body) = peer.body(&seen).await else { return };
        let behaved = behave(&mut peer, &seen, &body).await;
        if !matches!(behaved, Ok(Next::KeepAlive)) {
            return;
        }
    }
}

enum Next {
    KeepAlive,
    Close,
}

/// What a path asks for.
///
/// | path | |
/// |---|---|
/// | `/sse` | an event every 50 ms, for ever |
/// | `/sse-quiet` | one event, then silence |
/// | `/download` | bytes, for ever |
/// | `/ws` | echoes WebSocket messages |
/// | `/slow/MS` | waits, then answers as usual |
/// | `/status/CODE` | that status |
/// | `/big/BYTES` | a body of that size |
/// | `/cookies` | cookies and headers an upstream has no business setting, beside its own |
/// | `/cacheable` | an answer shared caches would keep |
/// | `/stall/BYTES` | half of a body of that size, and then nothing |
/// | `/unread` | the body is never read and the request never answered |
/// | `/switch` | switches to a protocol that nobody asked for |
/// | `/hints` | hints that an upstream has no business giving, then answers as usual |
/// | `/close` | ends the connection without an answer |
/// | anything else | a description of the request, as JSON |
async fn behave(peer: &mut Peer, seen: &Seen, body: &[u8]) -> std::io::Result<Next> {
    let path = seen.path();
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match words[..] {
        ["sse"] => return peer.stream_events(Some(millis(50))).await,
        ["sse-quiet"] => return peer.stream_events(None).await,
        ["download"] => return peer.stream_bytes().await,
        ["close"] => return Ok(Next::Close),
        ["switch"] => {
            let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            peer.stream.write_all(head).await?;
            return peer.wait_for_the_end().await;
        }
        ["hints"] => {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Nauth-User: evil\r\n\
                         Set-Cookie: nauth_access_token=evil\r\n\r\n";
            peer.stream.write_all(hints.as_bytes()).await?;
        }
        ["stall", size] => {
            let size = size.parse().unwrap_or(0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            peer.stream.write_all(&[head.as_bytes(), &vec![b'x'; size / 2]].concat()).await?;
            return peer.wait_for_the_end().await;
        }
        ["slow", delay] => tokio::time::sleep(millis(delay.parse().unwrap_or(0))).await,
        ["big", size] => {
            let body = vec![b'x'; size.parse().unwrap_or(0)];
            return peer.reply("200 OK", "Content-Type: application/octet-stream\r\n", &body).await;
        }
        ["status", code] => return peer.reply(&format!("{code} As Asked"), "", b"").await,
        ["cookies"] => {
            let headers = "Set-Cookie: nauth_access_token=evil; Path=/\r\n\
                           Set-Cookie: app=1; Path=/\r\n\
                           Set-Cookie: NAUTH_REFRESH_TOKEN=evil\r\n\
                           Set-Cookie:  nauth_refresh_token = evil\r\n\
                           Set-Cookie: nauth_csrf_token=evil\r\n\
                           Set-Cookie: =nauth_access_token=evil; Path=/\r\n\
                           Set-Cookie: \t= nauth_refresh_token=evil\r\n\
                           X-Nauth-Assertion: evil\r\nX-Nauth-Intercepted: 1\r\nX-App: mine\r\n";
            return peer.reply("200 OK", headers, b"{}").await;
        }
        ["cacheable"] => {
            let headers = "Cache-Control: public, max-age=600\r\nExpires: Thu, 01 Jan 2099 00:00:00 GMT\r\n\
                           CDN-Cache-Control: max-age=600\r\nSurrogate-Control: max-age=600\r\n";
            return peer.reply("200 OK", headers, b"{}").await;
        }
        _ => {}
    }
    let description = seen.to_json(body).to_string();
    peer.reply("200 OK", "Content-Type: application/json\r\n", description.as_bytes()).await
}

async fn echo_messages(mut peer: Peer, seen: &Seen) {
    let key = seen.header("sec-websocket-key").unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if peer.stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let _open = OpenStream::begin(&peer.state);
    let mut socket = WebSocketStream::from_raw_socket(peer.stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() || socket.send(message).await.is_err() {
            return;
        }
    }
}

struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    state: Arc<State>,
}

impl Peer {
    async fn head(&mut self) -> Option<Seen> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.trim_end().split("\r\n");
        let mut words = lines.next()?.split(' ');
        Some(Seen {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        })
    }

    async fn body(&mut self, seen: &Seen) -> Option<Vec<u8>> {
        if seen.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        if seen.header("transfer-encoding").is_some() {
            return self.chunks().await;
        }
        let length: usize = seen.header("content-length").unwrap_or("0").parse().ok()?;
        self.take(length).await
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line().await?;
            let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Some(body);
            }
            body.extend(self.take(size).await?);
            self.line().await?;
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill().await?;
        }
    }

    /// Exactly so many body bytes, counted as they come.
    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < length {
            if self.unread.is_empty() {
                self.fill().await?;
            }
            let wanted = (length - body.len()).min(self.unread.len());
            body.extend(self.unread.drain(..wanted));
            self.state.body_bytes.fetch_add(wanted as u64, Ordering::SeqCst);
        }
        Some(body)
    }

    async fn fill(&mut self) -> Option<()> {
        let mut buffer = vec![0; 16 * 1024];
        let read = self.stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Some(())
    }

    async fn reply(&mut self, status: &str, headers: &str, body: &[u8]) -> std::io::Result<Next> {
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.stream.write_all(&[head.as_bytes(), body].concat()).await?;
        Ok(Next::KeepAlive)
    }

    async fn stream_events(&mut self, interval: Option<Duration>) -> std::io::Result<Next> {
        let _open = OpenStream::begin(&self.state);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await?;
        for number in 0_u64.. {
            self.write_chunk(format!("data: {number}\n\n").as_bytes()).await?;
            match interval {
                Some(interval) => tokio::time::sleep(interval).await,
                None => return self.wait_for_the_end().await,
            }
        }
        Ok(Next::Close)
    }

    async fn stream_bytes(&mut self) -> std::io::Result<Next> {
        let _open = OpenStream::begin(&self.state);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await?;
        loop {
            self.write_chunk(&vec![b'x'; 8 * 1024]).await?;
            tokio::time::sleep(millis(5)).await;
        }
    }

    async fn write_chunk(&mut self, piece: &[u8]) -> std::io::Result<()> {
        let size = format!("{:x}\r\n", piece.len());
        self.stream.write_all(&[size.as_bytes(), piece, b"\r\n"].concat()).await
    }

    async fn wait_for_the_end(&mut self) -> std::io::Result<Next> {
        while self.fill().await.is_some() {}
        Ok(Next::Close)
    }
}

/// Counts a stream as open for as long as it is held.
struct OpenStream(Arc<State>);

impl OpenStream {
    fn begin(state: &Arc<State>) -> Self {
        state.open_streams.fetch_add(1, Ordering::SeqCst);
        Self(state.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_upstream_tells_what_it_received() {
    let echo = Echo::start().await;

    let request = super::Request::post("/a?b=%2f").header("X_Odd", "1").header("X-Odd", "2").body("four");
    let answer = request.send_to(echo.address()).await.expect(200);

    let seen = Seen::in_answer(&answer);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a?b=%2f"));
    assert_eq!(seen.header("X_Odd"), Some("1"));
    assert_eq!(seen.header("x-odd"), Some("2"));
    assert_eq!(answer.json()["bodyLength"], 4);
    assert_eq!(echo.seen().len(), 1);
}

#[tokio::test]
async fn the_upstream_reads_chunks_and_keeps_the_connection() {
    let echo = Echo::start().await;
    let mut connection = super::Connection::open(echo.address()).await;

    let chunked = super::Request::post("/up").header("Transfer-Encoding", "chunked").body("3\r\nabc\r\n0\r\n\r\n");
    let first = connection.ask(&chunked).await.expect(200);
    let second = connection.ask(&super::Request::get("/big/100000")).await.expect(200);

    assert_eq!(first.json()["body"], "abc");
    assert_eq!(second.body.len(), 100_000);
}

#[tokio::test]
async fn the_upstream_streams_until_the_client_leaves() {
    let echo = Echo::start().await;
    let mut connection = super::Connection::open(echo.address()).await;

    connection.send(&super::Request::get("/sse")).await;
    connection.head().await;
    assert!(connection.reads("data: 1").await);
    assert_eq!(echo.open_streams(), 1);
    drop(connection);

    let closed = super::eventually(super::secs(5), async || (echo.open_streams() == 0).then_some(())).await;
    assert!(closed.is_some());
}
