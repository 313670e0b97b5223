//! An upstream behind TLS, or one that speaks HTTP/2: it answers every request with what it saw of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Authority;

/// The paths asked for.
type Seen = Arc<Mutex<Vec<String>>>;

/// What an upstream speaks once the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// TLS with HTTP/1.1 alone.
    Https1,
    /// TLS with HTTP/2, or HTTP/1.1 for those that do not.
    Https,
    /// HTTP/2 without TLS.
    H2c,
}

/// The upstream; it ends with its owner.
pub(crate) struct Secure {
    address: SocketAddr,
    seen: Seen,
    accepting: JoinHandle<()>,
}

impl Secure {
    /// HTTP/2 without TLS.
    pub(crate) async fn h2c() -> Self {
        Self::start(Spoken::H2c, None).await
    }

    /// With a certificate for `name`; clients must show one of `clients`, if there is such an authority.
    pub(crate) async fn tls(spoken: Spoken, by: &Authority, name: &str, clients: Option<&Authority>) -> Self {
        let (certificate, key) = by.sign(name);
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.unwrap().with_client_cert_verifier(verifier.unwrap())
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        let protocols: &[&[u8]] = if spoken == Spoken::Https { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self::start(spoken, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(spoken: Spoken, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let tell = seen.clone();
        let accepting = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let (tls, seen) = (tls.clone(), tell.clone());
                serving.spawn(async move {
                    let Some(tls) = tls else {
                        return serve_h2(stream, json!({ "connection": connection }), &seen).await;
                    };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let session = stream.get_ref().1;
                    let facts = json!({
                        "connection": connection,
                        "sni": session.server_name(),
                        "clientCertificates": session.peer_certificates().map_or(0, <[_]>::len),
                    });
                    if session.alpn_protocol() == Some(b"h2") && spoken == Spoken::Https {
                        serve_h2(stream, facts, &seen).await;
                    } else {
                        serve_h1(stream, facts, &seen).await;
                    }
                });
            }
        });
        Self { address, seen, accepting }
    }

    /// How often a path was asked for.
    pub(crate) fn asked_for(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }

    /// What a configuration calls it.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.address.port())
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers one request after the other, none of which may have a body.
async fn serve_h1(mut stream: impl AsyncRead + AsyncWrite + Unpin, facts: Value, seen: &Seen) {
    let mut unread = Vec::new();
    loop {
        while !unread.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut unread).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let head = String::from_utf8_lossy(&std::mem::take(&mut unread)).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push(target.clone());
        let field = |wanted: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        if let Some(key) = field("sec-websocket-key") {
            return echo_messages(stream, key).await;
        }
        let host = field("host");
        let body = described(&facts, "HTTP/1.1", &target, host.unwrap_or_default(), 0);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn echo_messages(mut stream: impl AsyncRead + AsyncWrite + Unpin, key: &str) {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() || socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Answers streams as they come. The first one of all is refused when it asks for `/refused`.
async fn serve_h2(stream: impl AsyncRead + AsyncWrite + Unpin, facts: Value, seen: &Seen) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let facts = facts.clone();
        seen.lock().unwrap().push(request.uri().path().to_owned());
        if request.uri().path() == "/refused" && seen.lock().unwrap().len() == 1 {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut received = 0;
            while let Some(Ok(piece)) = body.data().await {
                received += piece.len();
                let _ = body.flow_control().release_capacity(piece.len());
            }
            let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
            let described = described(&facts, "HTTP/2", head.uri.path(), &authority, received);
            let answer = http::Response::builder().status(200).body(()).unwrap();
            if let Ok(mut sending) = respond.send_response(answer, false) {
                let _ = sending.send_data(Bytes::from(described), true);
            }
        });
    }
}

fn described(facts: &Value, protocol: &str, path: &str, authority: &str, received: usize) -> String {
    let mut facts = facts.clone();
    facts["protocol"] = protocol.into();
    facts["path"] = path.into();
    facts["authority"] = authority.into();
    facts["received"] = received.into();
    facts.to_string()
}
