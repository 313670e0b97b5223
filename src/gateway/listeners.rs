//! Who is served: the public, by the gateway, and the operator.

use std::collections::HashSet;
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
use crate::config::settings::{Listener, Server};
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::domain::id::SessionId;
use crate::gateway::conn::Conn;
use crate::gateway::edge::{Edge, Limits};
use crate::gateway::inflight::{Holder, InFlight};
use crate::gateway::tls::ServerTls;
use crate::gateway::upstream::MAX_TRIES;
use crate::gateway::{Gateway, Runtime};
use crate::metrics::{self, Metrics};
use crate::revocation::Standing;

/// Idle connections to upstreams that are kept, in all.
const UPSTREAM_POOL: usize = 1024;
/// How often open streams are looked up where no route takes `WebSocket`s.
const DEFAULT_RECHECK: Duration = Duration::from_secs(30);
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
    pub fn new(
        runtime: Runtime,
        server: &Server,
        tls: Option<ServerTls>,
        metrics: &Metrics,
        clock: Clock,
    ) -> Arc<Self> {
        let conf =
            ServerConf { max_retries: MAX_TRIES, upstream_keepalive_pool_size: UPSTREAM_POOL, ..ServerConf::default() };
        let gateway = Gateway::new(runtime, metrics, clock.clone());
        let proxy = http_proxy(&Arc::new(conf), gateway.clone());
        let open = metrics.connections(metrics::Listener::Public);
        let told = gateway.clone();
        let refused = Box::new(move |conn: &Arc<Conn>, status, id| told.note_refused(conn, status, id));
        let edge = Edge::new(proxy, Limits::from(server), open, clock.clone(), refused);
        edge.set_tls(tls);
        Arc::new(Self { edge, gateway, clock })
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Accepts connections until drained.
    pub async fn listen(self: Arc<Self>, socket: TcpListener, listener: Listener) {
        Arc::clone(&self.edge).listen(socket, listener).await;
    }

    /// See [`Edge::drain`].
    pub async fn drain(&self, grace: Duration) {
        self.edge.drain(grace).await;
    }

    /// See [`Edge::end_all`].
    pub fn end_all(&self) {
        self.edge.end_all();
    }

    /// Takes over new limits and what new TLS handshakes go by.
    pub fn set_limits(&self, server: &Server, tls: Option<ServerTls>) {
        self.edge.set_limits(Limits::from(server));
        self.edge.set_tls(tls);
    }

    /// Looks the sessions behind open requests up and ends the requests of those that are over: a
    /// session that has simply lapsed is told by nobody.
    ///
    /// # Errors
    /// When they cannot be looked up.
    pub async fn recheck_sessions(&self) -> Result<(), Error> {
        // Nothing in a cookie's token says when its session ends.
        let held = self.edge.connections().held().into_iter().filter(|(_, holder)| holder.until.is_none());
        let held: HashSet<SessionId> = held.filter_map(|(_, holder)| Some(holder.token?.session)).collect();
        if held.is_empty() {
            return Ok(());
        }
        let ids: Vec<SessionId> = held.iter().copied().collect();
        let living: HashSet<SessionId> = self.gateway().runtime().auth.living(&ids).await?.into_iter().collect();
        let is_over = |id: &SessionId| held.contains(id) && !living.contains(id);
        let allowed = |holder: &Holder| holder.token.as_ref().is_none_or(|token| !is_over(&token.session));
        self.edge.connections().recheck(self.clock.now(), allowed);
        Ok(())
    }

    /// How often [`PublicEdge::recheck_sessions`] is wanted: as often as the most impatient route says.
    #[must_use]
    pub fn recheck_interval(&self) -> Duration {
        let runtime = self.gateway().runtime();
        let intervals = runtime.settings.routes.iter().filter(|route| route.websocket).map(|route| route.ws.recheck);
        intervals.min().unwrap_or(DEFAULT_RECHECK).max(Duration::from_secs(1))
    }

    /// Waits until there are other rules.
    pub async fn rules_change(&self) {
        self.gateway.renewed().await;
    }

    /// Ends every request whose session has ended, or that the rules of now would not let in. The others
    /// are signs of life of their sessions.
    pub fn recheck_streams(&self) {
        let (runtime, now) = (self.gateway().runtime(), self.clock.now());
        let revocations = runtime.auth.revocations();
        for (request, mut holder) in self.edge.connections().held() {
            if request.was_cut() {
                continue;
            }
            let are_rules_known = holder.asked.rules == runtime.generation;
            let known = holder.token.as_ref().zip(holder.by);
            let may_go_on = if holder.until.is_some_and(|until| now >= until) {
                Err(Error::TokenExpired)
            } else if holder.token.as_ref().is_some_and(|token| revocations.standing(token) == Standing::Revoked) {
                Err(Error::SessionNotFound("Session has been revoked"))
            } else if are_rules_known {
                Ok(())
            } else {
                runtime.policy.let_go_on(&holder.asked, known, now)
            };
            if let Err(why) = may_go_on {
                request.lose(why);
                continue;
            }
            if let Some(token) = &holder.token {
                runtime.auth.note_activity(token);
            }
            // Only what was judged just now: a request that the former rules let in meanwhile has its turn next.
            if !are_rules_known {
                holder.asked.rules = runtime.generation;
                request.hold(holder);
            }
        }
    }

    /// Looks up what is true now of users of whom something has changed, and ends the requests that they
    /// would no longer be let in to.
    ///
    /// # Errors
    /// When they cannot be looked up.
    pub async fn recheck_claims(&self) -> Result<(), Error> {
        let (runtime, now) = (self.gateway().runtime(), self.clock.now());
        for (request, mut holder) in self.edge.connections().held() {
            let Some((token, by)) = holder.token.as_ref().zip(holder.by) else { continue };
            if request.was_cut() || runtime.auth.revocations().standing(token) != Standing::StaleClaims {
                continue;
            }
            let fresh = match runtime.auth.as_of_now(token).await {
                Ok(fresh) => fresh,
                Err(error @ Error::Unavailable(_)) => return Err(error),
                Err(error) => {
                    request.lose(error);
                    continue;
                }
            };
            match runtime.policy.let_go_on(&holder.asked, Some((&fresh, by)), now) {
                Ok(()) => {
                    holder.token = Some(fresh);
                    request.hold(holder);
                }
                Err(why) => request.lose(why),
            }
        }
        Ok(())
    }
}

/// The operator's listener.
pub struct ManagementEdge {
    edge: Arc<Edge<Operator>>,
}

impl ManagementEdge {
    /// A listener in front of the management API.
    #[must_use]
    pub fn new(ops: Ops, server: &Server, metrics: &Metrics, clock: Clock) -> Arc<Self> {
        let open = metrics.connections(metrics::Listener::Management);
        let refused = Box::new(|_: &Arc<Conn>, _, _| {});
        Arc::new(Self { edge: Edge::new(Operator(Arc::new(ops)), Limits::from(server), open, clock, refused) })
    }

    /// Accepts connections until drained.
    pub async fn listen(self: Arc<Self>, socket: TcpListener, listener: Listener) {
        Arc::clone(&self.edge).listen(socket, listener).await;
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
        let answer = match bridge::read_body(&mut session, bridge::MAX_BODY, OPS_BODY).await {
            Ok(body) => self.0.answer(bridge::whole_request(&session, body)).await,
            Err(error) => {
                session.set_keepalive(None);
                self.0.refused(&error, session.req_header().uri.path())
            }
        };
        if request.is_draining() {
            session.set_keepalive(None);
        }
        bridge::answer(&mut session, answer).await.ok()?;
        let settings = pingora::apps::HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}
