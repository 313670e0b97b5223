//! HTTP/1.1 as bytes: a client that says exactly what a test wants said.
//!
//! Real clients normalise (header case, paths, repeated headers), which is what these suites must
//! be able to get wrong.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{secs, server_name};

/// No answer of a test takes longer.
const PATIENCE: Duration = secs(20);

/// A request, before it is bytes.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// Any method, any target.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// `GET target`
    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `POST target` without a body.
    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// Adds a header line, as spelt.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer token`
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// One `Cookie` line; nothing when `cookies` is empty.
    pub(crate) fn cookies(self, cookies: &str) -> Self {
        if cookies.is_empty() { self } else { self.header("Cookie", cookies) }
    }

    /// A JSON body with its type.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// A form body with its type.
    pub(crate) fn form(self, fields: &[(String, String)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.header("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    /// A body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The bytes; `Host` and `Content-Length` are added unless the test gave them.
    pub(crate) fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has("host") {
            write!(head, "Host: {host}\r\n").unwrap();
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let sends_body = !self.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&self.method.as_str());
        if sends_body && !self.has("content-length") && !self.has("transfer-encoding") {
            write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// The head of a request of HTTP/2 to this origin. A `Host` of the test's own stands beside the authority.
    pub(crate) fn to_http2(&self, origin: &str) -> http::Request<()> {
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(format!("{origin}{}", self.target))
            .version(http::Version::HTTP_2);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap()
    }

    /// The body.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(present, _)| present.eq_ignore_ascii_case(name))
    }

    /// Sends it over a connection of its own.
    pub(crate) async fn send_to(&self, address: SocketAddr) -> Answer {
        let mut connection = Connection::open(address).await;
        connection.send(self).await;
        connection.answer_to(&self.method).await
    }
}

/// Sends bytes over a connection of their own and reads one answer.
///
/// `None` when the connection ended without one.
pub(crate) async fn send_raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    let mut connection = Connection::open(address).await;
    connection.write(bytes.as_ref()).await;
    connection.try_answer("GET").await
}

/// What bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection, kept open as long as the test likes.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    host: String,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("connect {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        Self::over(stream, address.port())
    }

    /// Connects by TLS, asking for `localhost`.
    pub(crate) async fn open_tls(address: SocketAddr, client: Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("connect {address}: {error}"));
        let stream = TlsConnector::from(client).connect(server_name("localhost"), stream).await;
        Self::over(stream.expect("a TLS handshake"), address.port())
    }

    /// Speaks over what is there already.
    pub(crate) fn over(stream: impl Stream + 'static, port: u16) -> Self {
        Self { stream: Box::new(stream), host: format!("localhost:{port}"), unread: Vec::new() }
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &Request) {
        let bytes = request.to_bytes(&self.host);
        self.write(&bytes).await;
    }

    /// Sends bytes. A peer that has already answered and gone is no error: its answer tells.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
        drop(self.stream.flush().await);
    }

    /// Whether the peer still takes bytes.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Sends and reads the answer, on the same connection.
    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        self.send(request).await;
        self.answer_to(&request.method).await
    }

    /// Sends and reads the answer; `None` when the connection ended instead.
    pub(crate) async fn try_ask(&mut self, request: &Request) -> Option<Answer> {
        self.send(request).await;
        self.try_answer(&request.method).await
    }

    /// The next answer, body included.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    async fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method).await.expect("the connection ended without an answer")
    }

    /// The next answer, or `None` when the connection ended without one.
    pub(crate) async fn try_answer(&mut self, method: &str) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer(method)).await.expect("no answer in time")
    }

    /// The next answer's head; what follows is read piece by piece.
    pub(crate) async fn head(&mut self) -> Answer {
        let head = tokio::time::timeout(PATIENCE, self.read_head()).await.expect("no answer in time");
        head.expect("the connection ended without an answer")
    }

    /// Whatever arrives next; empty when the connection ended.
    pub(crate) async fn piece(&mut self) -> Vec<u8> {
        if self.unread.is_empty() && !tokio::time::timeout(PATIENCE, self.fill()).await.expect("nothing came") {
            return Vec::new();
        }
        std::mem::take(&mut self.unread)
    }

    /// Reads on until `wanted` was seen; false when the connection ended before.
    pub(crate) async fn reads(&mut self, wanted: &str) -> bool {
        loop {
            let found = self.unread.windows(wanted.len()).position(|window| window == wanted.as_bytes());
            if let Some(at) = found {
                self.unread.drain(..at + wanted.len());
                return true;
            }
            if !tokio::time::timeout(PATIENCE, self.fill()).await.expect("nothing came") {
                return false;
            }
        }
    }

    /// Whether the peer ends the connection within `within`; what it still sends is dropped.
    pub(crate) async fn ends_within(&mut self, within: Duration) -> bool {
        let drain = async {
            while self.fill().await {
                self.unread.clear();
            }
        };
        tokio::time::timeout(within, drain).await.is_ok()
    }

    async fn read_answer(&mut self, method: &str) -> Option<Answer> {
        let mut answer = self.read_head().await?;
        while (100..200).contains(&answer.status) && answer.status != 101 {
            answer = self.read_head().await?;
        }
        let bodiless = method == "HEAD" || [101, 204, 304].contains(&answer.status);
        answer.body = if bodiless {
            Vec::new()
        } else if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            self.read_chunks().await
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a Content-Length is a number");
            self.read_exactly(length).await
        } else {
            while self.fill().await {}
            std::mem::take(&mut self.unread)
        };
        Some(answer)
    }

    async fn read_head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.trim_end().split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let headers = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Answer { status, headers, body: Vec::new() })
    }

    async fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
            if size == 0 {
                while !self.read_line().await.is_empty() {}
                return body;
            }
            body.extend(self.read_exactly(size).await);
            assert_eq!(self.read_line().await, "", "a chunk ends with its line");
        }
    }

    async fn read_line(&mut self) -> String {
        loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return String::from_utf8_lossy(&line[..at]).into_owned();
            }
            assert!(self.fill().await, "the connection ended within a body");
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            assert!(self.fill().await, "the connection ended within a body");
        }
        self.unread.drain(..length).collect()
    }

    /// Reads once; false at the end of the connection, clean or not.
    async fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Decoded from its transfer coding.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).next()
    }

    /// Every value of a header.
    pub(crate) fn headers_named(&self, name: &str) -> impl Iterator<Item = &str> {
        let name = name.to_ascii_lowercase();
        let lines = self.headers.iter().filter(move |(present, _)| *present == name);
        lines.map(|(_, value)| value.as_str())
    }

    /// The `Set-Cookie` line of one cookie.
    pub(crate) fn set_cookie(&self, name: &str) -> Option<&str> {
        self.headers_named("set-cookie").find(|line| line.split('=').next() == Some(name))
    }

    /// The value a cookie is set to; `None` when it is absent or being cleared.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let line = self.set_cookie(name)?;
        let value = line.split(';').next()?.split_once('=')?.1;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Whether a cookie is being cleared.
    pub(crate) fn clears_cookie(&self, name: &str) -> bool {
        let line = self.set_cookie(name).unwrap_or_default().to_ascii_lowercase();
        line.contains("max-age=0") || line.contains("1970")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self}"))
    }

    /// The `code` of an error body; empty when it is none.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Demands a status, and shows the answer when it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Demands an error as the contract shapes it.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self}");
        let body = self.json();
        assert_eq!(body["statusCode"], status, "{self}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{self}");
        assert!(body["timestamp"].as_str().is_some_and(|time| time.contains('T')), "{self}");
        assert!(body["path"].is_string(), "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", self.text())
    }
}
