//! The edge: where connections come in, are kept alive, and are let go.
//!
//! pingora is used as a library. Its own server holds a whole request's memory for every idle
//! connection, has no deadline for a head, and at shutdown sleeps its grace period to the end. So
//! the accept loop and the HTTP/1 keep-alive loop are ours; what happens between a complete head
//! and the end of its answer is pingora's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::config::settings::{self, Listener};
use crate::domain::clock::Clock;
use crate::gateway::conn::{Conn, End, Entrance, Phase};
use crate::gateway::connections::{Connections, OpenConn};
use crate::gateway::context::RequestId;
use crate::gateway::guarded::{Guarded, Head};
use crate::gateway::inflight::REQUEST;
use crate::gateway::proxy_protocol;
use crate::gateway::socket::Socket;
use crate::gateway::sweeper::{self, Deadlines};
use crate::gateway::tls::ServerTls;
use crate::metrics::{ConnectionMetrics, Protocol};

/// How long to wait before accepting again when the system has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that has just connected has for its first bytes once no more connections are
/// wanted: it cannot know that, and nothing it sends is lost.
const FIRST_WORDS: Duration = Duration::from_millis(250);
/// How long connections may take to end once they are told to at the end of the grace.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// What the edge allows. A reload replaces it; open connections follow at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a whole request head.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub keepalive_timeout: Duration,
    /// Requests on one connection; `None` = any number.
    pub keepalive_requests: Option<u32>,
    /// Bytes of a request head.
    pub max_header: usize,
    /// Connections of one address (IPv6: /64); `None` = any number.
    pub max_connections_per_ip: Option<usize>,
    /// Peers that stand for many clients and are not counted.
    pub trusted_proxies: Vec<IpNet>,
}

impl Limits {
    /// Whether a peer stands for many clients.
    fn trusts(&self, peer: SocketAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer.ip().to_canonical()))
    }
}

impl From<&settings::Server> for Limits {
    fn from(server: &settings::Server) -> Self {
        Self {
            header_timeout: server.header_timeout,
            keepalive_timeout: server.keepalive_timeout,
            keepalive_requests: Some(server.keepalive_requests).filter(|requests| *requests > 0),
            max_header: server.max_header,
            max_connections_per_ip: Some(server.max_connections_per_ip).filter(|connections| *connections > 0),
            trusted_proxies: server.trusted_proxies.clone(),
        }
    }
}

/// Told of every request that was refused before the application could see it: its connection, the status,
/// and its name.
pub type Refused = Box<dyn Fn(&Arc<Conn>, u16, RequestId) + Send + Sync>;

/// A listener's connections, and the application that answers their requests.
pub struct Edge<A> {
    app: Arc<A>,
    clock: Clock,
    limits: Arc<ArcSwap<Limits>>,
    tls: ArcSwapOption<ServerTls>,
    metrics: ConnectionMetrics,
    refused: Refused,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    stop: watch::Sender<bool>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Edge<A> {
    /// An edge in front of `app`. Starts its sweeper, so a runtime must be there.
    #[must_use]
    pub fn new(app: A, limits: Limits, metrics: ConnectionMetrics, clock: Clock, refused: Refused) -> Arc<Self> {
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        let connections = Arc::new(Connections::default());
        let swept = Arc::clone(&limits);
        tokio::spawn(sweeper::sweep(Arc::downgrade(&connections), move || {
            let limits = swept.load();
            Deadlines { header: limits.header_timeout, idle: limits.keepalive_timeout }
        }));
        Arc::new(Self {
            app: Arc::new(app),
            clock,
            limits,
            tls: ArcSwapOption::empty(),
            metrics,
            refused,
            connections,
            tasks: TaskTracker::new(),
            stop: watch::Sender::new(false),
        })
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &A {
        &self.app
    }

    /// The open connections.
    #[must_use]
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Replaces the limits.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Replaces what TLS handshakes go by. Without it, listeners that speak TLS accept nobody.
    pub fn set_tls(&self, tls: Option<ServerTls>) {
        self.tls.store(tls.map(Arc::new));
    }

    /// Accepts connections until [`Edge::drain`] is called; then the socket is closed.
    pub async fn listen(self: Arc<Self>, socket: TcpListener, listener: Listener) {
        let mut stop = self.stop.subscribe();
        let mut exhausted = false;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    exhausted = false;
                    self.take_in(socket, peer, listener);
                }
                Err(error) if is_exhaustion(&error) => {
                    if !exhausted {
                        warn!(%error, "no connection can be accepted; trying again until one can");
                    }
                    exhausted = true;
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                Err(error) => debug!(%error, "a connection ended before it was accepted"),
            }
        }
    }

    /// Lets everything end: no new connections, idle ones close, `WebSocket`s are told, requests in
    /// flight have `grace` to finish. Answers once nothing is open.
    pub async fn drain(&self, grace: Duration) {
        self.stop.send_replace(true);
        self.tasks.close();
        self.connections.drain();
        let first_words = FIRST_WORDS.min(grace);
        if tokio::time::timeout(first_words, self.tasks.wait()).await.is_ok() {
            return;
        }
        self.connections.end_silent();
        if tokio::time::timeout(grace.saturating_sub(first_words), self.tasks.wait()).await.is_err() {
            self.end_all();
            let _ = tokio::time::timeout(LAST_MOMENT, self.tasks.wait()).await;
        }
    }

    /// Ends every connection, whatever it is doing.
    pub fn end_all(&self) {
        for conn in self.connections.all() {
            conn.end(End::GoingAway);
            conn.cut();
        }
    }

    fn take_in(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, listener: Listener) {
        // Answers are written in whole pieces; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        let entrance = Entrance { peer, listener };
        let Some(open) = self.open(entrance) else { return };
        if listener.proxy_protocol {
            self.tasks.spawn(Arc::clone(self).introduce(socket, open, entrance));
        } else {
            self.tasks.spawn(Arc::clone(self).converse(socket, open));
        }
    }

    /// A place among the open connections, unless there are too many.
    fn open(&self, entrance: Entrance) -> Option<OpenConn> {
        let limits = self.limits.load();
        let cap = limits.max_connections_per_ip.filter(|_| !limits.trusts(entrance.peer));
        self.connections.open(entrance, cap)
    }

    /// A connection that begins with a PROXY header. Until that is read it counts as its peer's, then as its client's.
    async fn introduce(self: Arc<Self>, mut socket: TcpStream, unnamed: OpenConn, entrance: Entrance) {
        let limits = self.limits.load_full();
        if !limits.trusted_proxies.is_empty() && !limits.trusts(entrance.peer) {
            debug!(peer.addr = %entrance.peer, "only trusted proxies may connect here");
            return;
        }
        let named = tokio::select! {
            () = unnamed.conn().ends() => return,
            named = tokio::time::timeout(limits.header_timeout, proxy_protocol::read(&mut socket)) => named,
        };
        let client = match named {
            Ok(Ok(client)) => client.unwrap_or(entrance.peer),
            Ok(Err(error)) => return debug!(peer.addr = %entrance.peer, %error, "a PROXY header cannot be read"),
            Err(_) => return debug!(peer.addr = %entrance.peer, "a PROXY header did not arrive in time"),
        };
        drop(unnamed);
        let Some(open) = self.open(Entrance { peer: client, ..entrance }) else { return };
        Box::pin(self.converse(socket, open)).await;
    }

    /// One connection, from its first byte to its end.
    async fn converse(self: Arc<Self>, socket: TcpStream, open: OpenConn) {
        let conn = open.conn();
        let socket = if conn.listener().tls {
            let Some(socket) = Box::pin(self.shake_hands(socket, conn)).await else { return };
            socket
        } else {
            Socket::Plain(socket)
        };
        let agreed_on_http2 = socket.agreed_on_http2();
        let mut stream = Box::new(Guarded::new(socket, Arc::clone(conn), self.clock.clone()));
        if agreed_on_http2 {
            return Box::pin(Arc::clone(&self).converse_http2(stream)).await;
        }
        let counted = self.metrics.open(Protocol::Http1);
        let stopping = self.stop.subscribe();
        let mut answered: u32 = 0;
        loop {
            let (max_header, requests) = {
                let limits = self.limits.load();
                (limits.max_header, limits.keepalive_requests)
            };
            match stream.read_head(max_header).await {
                Head::Complete => {}
                Head::Http2 if answered == 0 && conn.listener().http2 => {
                    drop(counted);
                    return Box::pin(Arc::clone(&self).converse_http2(stream)).await;
                }
                Head::Http2 => return self.refuse(stream, 400).await,
                Head::Closed => return,
                Head::Refused(status) => return self.refuse(stream, status).await,
            }
            answered = answered.saturating_add(1);
            let left = requests.map(|requests| requests.saturating_sub(answered));
            let Some(reusable) = self.answer(stream, left, &stopping).await else { return };
            stream = reusable;
            conn.enter(Phase::Idle);
            if conn.is_draining() {
                return;
            }
        }
    }

    /// A request that nobody needs to parse to see that it is none.
    async fn refuse(&self, mut stream: Box<Guarded>, status: u16) {
        let id = RequestId::fresh();
        (self.refused)(stream.conn(), status, id.clone());
        stream.refuse(status, &id).await;
    }

    /// TLS. It has as long as the first request's head, which comes right after it.
    async fn shake_hands(&self, socket: TcpStream, conn: &Conn) -> Option<Socket> {
        let tls = self.tls.load_full()?;
        let shaken = tokio::select! {
            biased;
            () = conn.ends() => return None,
            shaken = TlsAcceptor::from(tls.config(conn.listener())).accept(socket) => shaken,
        };
        match shaken {
            Ok(stream) => Some(Socket::Tls(Box::new(stream))),
            Err(error) => {
                debug!(peer.addr = %conn.peer(), %error, "a TLS handshake did not succeed");
                None
            }
        }
    }

    /// One request. Gives the stream back when another may follow on it.
    ///
    /// What a request needs is in the box that pingora makes of its work. The rest of this, 0.8 KB, stays with an
    /// idle connection: a box of its own would be made for each request.
    async fn answer(
        &self,
        stream: Box<Guarded>,
        requests_left: Option<u32>,
        stopping: &ShutdownWatch,
    ) -> Option<Box<Guarded>> {
        let request = stream.conn().begin();
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(Some(0));
        session.set_keepalive_reuses_remaining(requests_left);
        let request = request.request();
        let reused = tokio::select! {
            biased;
            () = request.is_cut() => None,
            reused = REQUEST.scope(Arc::clone(request), self.app.process_new_http(session, stopping)) => reused,
        };
        if let Some((status, id)) = request.conn().refused() {
            (self.refused)(request.conn(), *status, id.clone());
        }
        reused?.consume().0.into_any().downcast().ok()
    }
}

/// Whether accepting fails for want of a resource, and would fail again at once.
fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

mod http2;

#[cfg(test)]
mod tests;
