//! HTTP/2 as a client: whole requests, streams, and raw frames.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Answer, Request, secs, server_name};

/// What every client of HTTP/2 begins with, and an empty SETTINGS frame.
pub(crate) const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection; it is given up with its owner.
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
    origin: String,
}

/// One stream, with the answer's head.
pub(crate) struct Stream {
    /// The head.
    pub(crate) head: http::Response<()>,
    /// The answer's body.
    pub(crate) body: RecvStream,
}

impl Http2 {
    /// Without TLS, knowing that it is understood.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        Self::over(socket, format!("http://localhost:{}", address.port())).await
    }

    /// With TLS, which must agree on it.
    pub(crate) async fn open_tls(address: SocketAddr, client: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let stream = TlsConnector::from(client).connect(server_name("localhost"), socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, format!("https://localhost:{}", address.port())).await
    }

    async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, origin: String) -> Self {
        let (sender, connection) = h2::client::handshake(io).await.unwrap();
        Self { sender, driving: tokio::spawn(connection), origin }
    }

    /// Begins a request, whose body goes where the second part says.
    pub(crate) async fn begin(
        &mut self,
        request: &Request,
        has_body: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.sender = self.sender.clone().ready().await?;
        self.sender.send_request(request.to_http2(&self.origin), !has_body)
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn stream(&mut self, request: &Request) -> Result<Stream, h2::Error> {
        let body = request.body_bytes();
        let (answer, mut sending) = self.begin(request, !body.is_empty()).await?;
        let uploading = async {
            let mut rest = Bytes::copy_from_slice(body);
            while !rest.is_empty() {
                sending.reserve_capacity(rest.len().min(16 * 1024));
                let Some(Ok(capacity)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await else { return };
                let piece = rest.split_to(capacity.min(rest.len()));
                if sending.send_data(piece, rest.is_empty()).is_err() {
                    return;
                }
            }
        };
        let both = async { tokio::join!(answer, uploading).0 };
        let (head, body) = tokio::time::timeout(secs(20), both).await.expect("no answer in time")?.into_parts();
        Ok(Stream { head: http::Response::from_parts(head, ()), body })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        self.try_ask(request).await.expect("an answer")
    }

    /// The same, where there may be none.
    pub(crate) async fn try_ask(&mut self, request: &Request) -> Result<Answer, h2::Error> {
        let mut stream = self.stream(request).await?;
        let mut body = Vec::new();
        while let Some(piece) = stream.piece().await {
            body.extend_from_slice(&piece?);
        }
        let headers = stream.head.headers().iter();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(Answer { status: stream.head.status().as_u16(), headers, body })
    }

    /// The same connection, for a request beside others.
    pub(crate) fn again(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// From now on requests are for another origin.
    pub(crate) fn pretend(&mut self, origin: &str) {
        origin.clone_into(&mut self.origin);
    }

    /// How the connection ended, once it has.
    pub(crate) async fn end(&mut self) -> Result<(), h2::Error> {
        tokio::time::timeout(secs(20), &mut self.driving).await.expect("the connection is still open").unwrap()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Stream {
    /// The next piece of the body.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = tokio::time::timeout(secs(20), self.body.data()).await.expect("nothing came")?;
        if let Ok(piece) = &piece {
            let _ = self.body.flow_control().release_capacity(piece.len());
        }
        Some(piece)
    }

    /// Reads on until the stream is reset, and says why.
    pub(crate) async fn reset_reason(&mut self) -> Option<h2::Reason> {
        loop {
            match self.piece().await? {
                Ok(_) => {}
                Err(error) => return error.reason(),
            }
        }
    }
}
