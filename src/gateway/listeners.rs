//! The two listeners: the public one in front of the gateway, and the operator's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use tokio::net::TcpListener;

use crate::api::bridge;
use crate::api::ops::Ops;
use crate::config::settings::Server;
use crate::domain::clock::Clock;
use crate::gateway::edge::{Edge, Limits};
use crate::gateway::inflight::InFlight;
use crate::gateway::{Gateway, Runtime};
use crate::metrics::Metrics;
use crate::revocation::Standing;

/// Idle connections to upstreams that are kept, in all.
const UPSTREAM_POOL: usize = 1024;
/// A whole body for the operator's listener must arrive within this.
const OPS_BODY: Duration = Duration::from_secs(10);

/// The public listener.
pub struct PublicEdge {
    edge: Arc<Edge<HttpProxy<Gateway>>>,
    gateway: Gateway,
    clock: Clock,
}

impl PublicEdge {
    /// A listener in front of a gateway that begins with `runtime`.
    #[must_use]
    pub fn new(runtime: Runtime, server: &Server, metrics: &Metrics, clock: Clock) -> Arc<Self> {
        let conf = ServerConf { max_retries: 11, upstream_keepalive_pool_size: UPSTREAM_POOL, ..ServerConf::default() };
        let gateway = Gateway::new(runtime, metrics, clock.clone());
        let proxy = http_proxy(&Arc::new(conf), gateway.clone());
        let edge = Edge::new(proxy, Limits::from(server), clock.clone());
        Arc::new(Self { edge, gateway, clock })
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Accepts connections until drained.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        Arc::clone(&self.edge).listen(listener).await;
    }

    /// See [`Edge::drain`].
    pub async fn drain(&self, grace: Duration) {
        self.edge.drain(grace).await;
    }

    /// See [`Edge::end_all`].
    pub fn end_all(&self) {
        self.edge.end_all();
    }

    /// Takes over new limits.
    pub fn set_limits(&self, server: &Server) {
        self.edge.set_limits(Limits::from(server));
    }

    /// Ends every request whose session has ended.
    pub fn recheck_streams(&self) {
        let runtime = self.gateway().runtime();
        let revocations = runtime.auth.revocations();
        self.edge.connections().recheck(self.clock.now(), |token| revocations.standing(token) != Standing::Revoked);
    }
}

/// The operator's listener.
pub struct ManagementEdge {
    edge: Arc<Edge<Operator>>,
}

impl ManagementEdge {
    /// A listener in front of the management API.
    #[must_use]
    pub fn new(ops: Ops, server: &Server, clock: Clock) -> Arc<Self> {
        Arc::new(Self { edge: Edge::new(Operator(Arc::new(ops)), Limits::from(server), clock) })
    }

    /// Accepts connections until drained.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        Arc::clone(&self.edge).listen(listener).await;
    }

    /// See [`Edge::drain`].
    pub async fn drain(&self, grace: Duration) {
        self.edge.drain(grace).await;
    }
}

/// The management API as an application of the edge.
struct Operator(Arc<Ops>);

#[async_trait]
impl HttpServerApp for Operator {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let request = InFlight::current();
        request.conn().admit();
        let body = bridge::read_body(&mut session, bridge::MAX_BODY, OPS_BODY).await.unwrap_or_default();
        let whole = bridge::whole_request(&session, body).ok()?;
        let answer = self.0.answer(whole).await;
        if request.is_draining() {
            session.set_keepalive(None);
        }
        bridge::answer(&mut session, answer).await.ok()?;
        let settings = pingora::apps::HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}
