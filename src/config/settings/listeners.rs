//! The public listeners: `server.listen`, or `[[server.listeners]]`.

use std::net::SocketAddr;

/// One public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Where it binds.
    pub addr: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether HTTP/2 is spoken beside HTTP/1.1: as TLS agrees, or with clients that begin with it.
    pub http2: bool,
    /// Whether each connection begins with a PROXY header that names its client.
    pub proxy_protocol: bool,
    /// What is answered.
    pub serves: Serves,
}

/// What a listener answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// The auth API and everything that is proxied.
    Everything,
    /// The way to the same address by https, and nothing else.
    HttpsElsewhere,
}

impl Listener {
    /// A listener that speaks plain HTTP/1.1 and serves everything.
    #[must_use]
    pub fn plain(addr: SocketAddr) -> Self {
        Self { addr, tls: false, http2: false, proxy_protocol: false, serves: Serves::Everything }
    }
}

/// The key that says where to listen, in the form that was written.
#[must_use]
pub fn listening_key(listeners: &[Listener]) -> &'static str {
    match listeners {
        [listener] if *listener == Listener::plain(listener.addr) => "server.listen",
        _ => "server.listeners",
    }
}

/// The origin of nauth's pages when `server.public_url` says nothing: the first listener that serves any.
#[must_use]
pub fn default_origin(listeners: &[Listener]) -> String {
    let first = listeners.iter().find(|listener| listener.serves == Serves::Everything).or(listeners.first());
    let scheme = if first.is_some_and(|listener| listener.tls) { "https" } else { "http" };
    format!("{scheme}://localhost:{}", first.map_or(0, |listener| listener.addr.port()))
}
