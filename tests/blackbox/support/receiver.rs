//! Somebody else's HTTP service: keeps what is posted to it, and answers as the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{eventually, secs};

/// What is answered to a request: a status and a body.
type Answering = dyn Fn(&Posted) -> (u16, String) + Send + Sync;

/// The service; it ends with its owner.
pub(crate) struct Receiver {
    address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    accepting: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    /// `POST /path`
    pub(crate) line: String,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
    /// The body, where it is no text.
    #[cfg(feature = "otel")]
    pub(crate) bytes: Vec<u8>,
}

impl Posted {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header; absent is empty.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(present, _)| present == name).map_or("", |(_, value)| value)
    }

    /// Checks the signature the way the documentation tells receivers to.
    #[track_caller]
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let signature = self.header("nauth-signature");
        let (time, mac) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect(signature);
        let now = u64::try_from(nauth::domain::clock::Clock::system().now().secs()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let expected = hmac::sign(&key, format!("{time}.{}", self.body).as_bytes());
        let expected = nauth::domain::hex::hex(expected.as_ref());
        now.abs_diff(time.parse().unwrap()) <= 300 && expected == mac
    }
}

impl Receiver {
    /// Answers 200 and an empty object to everything.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| (200, "{}".to_owned())).await
    }

    /// Answers what `answer` says.
    pub(crate) async fn answering(answer: impl Fn(&Posted) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answering> = Arc::new(answer);
        let accepting = tokio::spawn({
            let posted = posted.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, posted.clone(), answer.clone()));
                }
            }
        });
        Self { address, posted, accepting }
    }

    /// Its address with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request so far.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// Waits for a request like this.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(&Posted) -> bool) -> Posted {
        let found = eventually(secs(15), async || self.posted().into_iter().find(&wanted)).await;
        found.unwrap_or_else(|| panic!("it did not come; there came {:#?}", self.posted()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, posted: Arc<Mutex<Vec<Posted>>>, answer: Arc<Answering>) {
    let mut unread = Vec::new();
    while let Some(request) = read(&mut stream, &mut unread).await {
        let (status, body) = answer(&request);
        posted.lock().unwrap().push(request);
        // The body of a redirect is where it leads.
        let location = if (300..400).contains(&status) { format!("Location: {body}\r\n") } else { String::new() };
        let head = format!("HTTP/1.1 {status} x\r\n{location}Content-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request with a body of known length.
async fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Posted> {
    let end = loop {
        match unread.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if stream.read_buf(unread).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&unread[..end]).into_owned();
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let length: usize = length.parse().ok()?;
    while unread.len() < end + length {
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&unread[end..end + length]).into_owned();
    #[cfg(feature = "otel")]
    let bytes = unread[end..end + length].to_vec();
    unread.drain(..end + length);
    Some(Posted {
        line,
        headers,
        body,
        #[cfg(feature = "otel")]
        bytes,
    })
}
