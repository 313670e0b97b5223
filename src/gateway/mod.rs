//! Floor 6, the gateway: everything that is not the auth API is proxied from here.
//!
//! pingora calls the phases below in this order; each says what it does and calls the module that
//! knows how. A request holds one [`Runtime`] from its first byte to its last.

pub mod addressed;
pub mod admit;
pub mod canonical;
pub mod conn;
pub mod connections;
pub mod context;
pub mod credentials;
pub mod decide;
pub mod denials;
pub mod edge;
pub mod forward;
pub mod frames;
pub mod framing;
pub mod grpc;
pub mod guarded;
pub mod hardening;
pub mod head;
pub mod hosts;
pub mod identify;
pub mod identity;
pub mod inflight;
pub mod listeners;
pub mod managed;
pub mod policy;
pub mod proxy_protocol;
mod received_frames;
pub mod recent;
pub mod refresh;
pub mod refusal;
pub mod respond;
pub mod rewrite;
pub mod routes;
pub mod runtime;
pub mod socket;
#[cfg(feature = "otel")]
pub mod spans;
pub mod sweeper;
pub mod tls;
pub mod trace;
mod upgrade;
pub mod upstream;
pub mod verify;
pub mod vouch;
pub mod whoami;

mod answering;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::ALPN;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error as PingoraError, ErrorSource, ErrorType, RetryType};
use tokio::sync::Notify;

use crate::config::settings::Route;
use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::gateway::conn::{Conn, Protocol};
use crate::gateway::context::{RequestContext, RequestId};
use crate::gateway::denials::Denials;
use crate::gateway::inflight::InFlight;
use crate::gateway::recent::Recent;
use crate::gateway::refresh::Refreshes;
use crate::gateway::upstream::{Balanced, Trip};
use crate::gateway::vouch::Vouched;
use crate::metrics::{ConnectError, Metrics, Rejection, StreamEnd, StreamKind};

pub use listeners::{ManagementEdge, PublicEdge};
pub use runtime::Runtime;

/// The gateway: what outlives a reload. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    runtime: Arc<ArcSwap<Runtime>>,
    refreshes: Arc<Refreshes>,
    vouched: Arc<Vouched>,
    recent: Arc<Recent>,
    denials: Arc<Denials>,
    renewed: Arc<Notify>,
    metrics: Metrics,
    clock: Clock,
}

impl Gateway {
    /// A gateway that begins with this runtime.
    #[must_use]
    pub fn new(runtime: Runtime, metrics: &Metrics, clock: Clock) -> Self {
        let refreshes = Arc::new(Refreshes::new(metrics.clone()));
        let runtime = Arc::new(ArcSwap::from_pointee(runtime));
        Self {
            runtime,
            refreshes,
            vouched: Arc::default(),
            recent: Arc::default(),
            denials: Arc::default(),
            renewed: Arc::default(),
            metrics: metrics.clone(),
            clock,
        }
    }

    /// The runtime new requests get.
    #[must_use]
    pub fn runtime(&self) -> Arc<Runtime> {
        self.runtime.load_full()
    }

    /// Requests of late.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Gives new requests another runtime.
    pub fn set_runtime(&self, runtime: Runtime) {
        self.runtime.store(Arc::new(runtime));
        self.renewed.notify_one();
    }

    /// Waits for [`Gateway::set_runtime`]; for one who waits.
    async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// Logs and counts a request that was refused before it could be read: all that is known of it.
    fn note_refused(&self, conn: &Arc<Conn>, status: u16, id: RequestId) {
        self.metrics.rejected(if status == 431 { Rejection::Size } else { Rejection::Header });
        let mut ctx = RequestContext::new(self.runtime(), Arc::new(InFlight::new(Arc::clone(conn))));
        (ctx.id, ctx.status, ctx.method) = (id, status, unknown_method());
    }

    /// Leaves a refusal to [`ProxyHttp::fail_to_proxy`].
    fn refuse<T>(ctx: &mut RequestContext, error: Error) -> pingora::Result<T> {
        ctx.refusal = Some(error);
        Self::give_up()
    }

    /// Leaves a request that is broken off to [`ProxyHttp::fail_to_proxy`], which knows what to say.
    fn give_up<T>() -> pingora::Result<T> {
        PingoraError::err(ErrorType::HTTPStatus(400))
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    // In a box: pingora moves it through several of its futures, each of which makes room for it.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestContext::new(self.runtime(), InFlight::current()))
    }

    // No compression: what upstreams send is passed on as it is.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    /// One canonical target, one admitted Host, no forged header.
    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<()> {
        ctx.request.conn().admit();
        session.set_write_timeout(Some(ctx.runtime.settings.server.write_timeout));
        if ctx.request.is_draining() {
            session.set_keepalive(None);
        }
        match admit::admit(session, ctx, &self.metrics) {
            Ok(()) => Ok(()),
            Err(error) => Self::refuse(ctx, error),
        }
    }

    /// The auth API, the decision, and everything answered here.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<bool> {
        let answer = match self.respond(session, ctx).await {
            Ok(None) => return Ok(false),
            Ok(Some(answer)) => answer,
            Err(error) => self.refusal(session, ctx, &error),
        };
        self.write(session, ctx, answer).await?;
        Ok(true)
    }

    /// How the chosen target is connected to.
    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        let (Some((route, upstream)), Some(trip)) = (ctx.route.clone(), ctx.trip.as_mut()) else {
            return Self::refuse(ctx, Error::NotFound);
        };
        if ctx.asked_at.is_none() {
            ctx.asked_at = Some(Instant::now());
            ctx.request.expect_answer(route.timeout);
        }
        // What was read of the body before is sent again from the start.
        ctx.received = 0;
        match trip.next_address().await {
            // Whoever has lost it meanwhile is told so.
            Ok(_) if ctx.request.is_broken_off() => Self::give_up(),
            Ok(address) => Ok(Box::new(peer(&address.peer, &route, session))),
            Err(error) => {
                tracing::warn!(upstream.name = upstream.settings.name, %error, "upstream has no address");
                Self::refuse(ctx, Error::BadGateway)
            }
        }
    }

    /// The next target, while there is one to try: nothing has been sent.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<PingoraError>,
    ) -> Box<PingoraError> {
        let (Some((_, upstream)), Some(trip)) = (&ctx.route, ctx.trip.as_mut()) else { return error };
        let again = trip.not_connected(connect_error(error.etype()));
        // Said once: what comes next is either an answer or the last word.
        if !again {
            let (name, target) = (&upstream.settings.name, &peer._address);
            tracing::warn!(upstream.name = name, target_addr = %target, error = error.etype().as_str(), "upstream cannot be connected to");
        }
        error.set_retry(again);
        error
    }

    /// Again, when the target broke off before a word of its answer and the request may be sent twice.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<PingoraError>,
        ctx: &mut Self::CTX,
        _: bool,
    ) -> Box<PingoraError> {
        // What an HTTP/2 target says it has not looked at was not sent at all (RFC 9113, section 8.7).
        let was_refused = *error.etype() == ErrorType::H2Error && matches!(error.retry, RetryType::Decided(true));
        let may_be_sent_twice = (session.req_header().method.is_idempotent() || was_refused)
            && !session.is_upgrade_req()
            && !session.as_ref().retry_buffer_truncated();
        let is_unanswered = ctx.status == 0 && session.response_written().is_none();
        let again = may_be_sent_twice && is_unanswered && is_broken_off(&error) && !ctx.request.is_broken_off();
        error.set_retry(again && ctx.trip.as_mut().is_some_and(Trip::broken_off));
        error
    }

    /// Strip our own, inject the identity: the last thing before the request leaves.
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        if !ctx.request.sends(upstream.method.is_idempotent()) {
            return Self::give_up();
        }
        forward::prepare(upstream, ctx);
        Ok(())
    }

    /// Bodies are counted as they pass.
    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        ctx.received += body.as_ref().map_or(0, |piece| piece.len() as u64);
        // Only a WebSocket's client goes on after the head of the answer.
        if is_last && ctx.stream.is_some() {
            ctx.ended_by.get_or_insert(StreamEnd::Client);
        }
        let Some((route, _)) = &ctx.route else { return Ok(()) };
        // An upload that moves is not late.
        ctx.request.expect_answer(route.timeout);
        if route.max_body > 0 && ctx.received > route.max_body {
            return Self::refuse(ctx, Error::PayloadTooLarge);
        }
        Ok(())
    }

    /// What the client sees of the upstream's answer.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let is_switching = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
        if response.status.is_informational() && !is_switching {
            forward::finish_hint(response, ctx);
            return Ok(());
        }
        // pingora would take the rest of the connection for what the client asked to switch to.
        if is_switching && !session.is_upgrade_req() {
            return Self::refuse(ctx, Error::BadGateway);
        }
        if !ctx.request.answered() {
            return Self::give_up();
        }
        ctx.status = response.status.as_u16();
        ctx.upstream_took = ctx.asked_at.map(|at| at.elapsed()).unwrap_or_default();
        if let Some((route, upstream)) = ctx.route.clone() {
            upstream.metrics.answered(ctx.status, ctx.upstream_took);
            if let Some(trip) = &ctx.trip {
                trip.answered();
            }
            watch_silence(ctx, response, &upstream);
            if is_switching {
                ctx.request.conn().upgrade(route.ws.idle_timeout);
                ctx.stream = Some((StreamKind::Ws, ctx.metrics.stream_opened(StreamKind::Ws)));
            } else if let Some(kind) = forward::stream_kind(response) {
                ctx.stream = Some((kind, ctx.metrics.stream_opened(kind)));
            }
        }
        if ctx.request.is_draining() {
            session.set_keepalive(None);
        }
        forward::finish(response, ctx);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        is_last: bool,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<Option<std::time::Duration>> {
        ctx.sent += body.as_ref().map_or(0, |piece| piece.len() as u64);
        if is_last {
            ctx.request.is_complete();
            if ctx.stream.is_some() {
                ctx.ended_by.get_or_insert(StreamEnd::Upstream);
            }
        } else {
            ctx.request.has_moved();
        }
        Ok(None)
    }

    /// The last word on a request that could not be proxied.
    async fn fail_to_proxy(&self, session: &mut Session, error: &PingoraError, ctx: &mut Self::CTX) -> FailToProxy {
        ctx.request.answered();
        if *error.esource() == ErrorSource::Upstream {
            ctx.ended_by.get_or_insert(StreamEnd::Upstream);
        }
        if *error.etype() == ErrorType::WriteTimedout && *error.esource() == ErrorSource::Downstream {
            // Who takes nothing is not waited for with what is left either.
            ctx.request.give_up_client();
        }
        let refusal = ctx.refusal.take().or_else(|| answering::failure(ctx, error));
        if let (Some(Error::GatewayTimeout), Some(trip)) = (&refusal, &ctx.trip) {
            trip.timed_out();
        }
        let Some(refusal) = refusal.filter(|_| session.response_written().is_none()) else {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        session.set_keepalive(None);
        let answer = self.refusal(session, ctx, &refusal);
        let error_code = answer.status().as_u16();
        // A client that is gone has no use for the answer.
        let _ = self.write(session, ctx, answer).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    // Everything worth a line has one by now.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &PingoraError) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &PingoraError, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// Stands in the log where a method was not read.
fn unknown_method() -> Method {
    Method::from_bytes(b"-").expect("a hyphen is a token")
}

/// The peer as this one request needs it.
fn peer(of: &HttpPeer, route: &Route, session: &mut Session) -> HttpPeer {
    let mut peer = of.clone();
    let options = &mut peer.options;
    let is_http1 = !session.as_downstream().is_http2();
    if session.is_upgrade_req() {
        let timeout = options.connection_timeout.unwrap_or(route.timeout);
        options.custom_l4 = Some(Arc::new(upgrade::Connector { timeout }));
        options.alpn = ALPN::H1;
        // A socket may be silent for long.
        options.read_timeout = None;
        // Neither a connection that was made in another way, nor one for anything else later.
        options.idle_timeout = Some(Duration::ZERO);
        peer.group_key = upstream::new_group();
    } else if is_http1 && session.is_body_empty() {
        // A connection of HTTP/1.1 is told when its time is up, without a timer for each read (`watch_silence`).
        options.read_timeout = None;
    } else if is_http1 || forward::asks_for_stream(&session.req_header().headers) {
        // It also runs before the head, which has the route's time. When a body cannot be sent on, pingora waits
        // for what the upstream may have to say about it; nothing but this ends that.
        options.read_timeout = options.read_timeout.map(|limit| limit.max(route.timeout));
    } else {
        // A stream among others cannot be told.
        options.read_timeout = Some(route.timeout);
    }
    peer
}

/// Looks after the silences of an upstream once its head is there. Only on HTTP/1.1: of a stream among others
/// nobody knows whether its client takes what the upstream says.
fn watch_silence(ctx: &RequestContext, response: &ResponseHeader, upstream: &Balanced) {
    let is_http1 = ctx.request.conn().protocol() == Protocol::Http1;
    if is_http1 && response.status != http::StatusCode::SWITCHING_PROTOCOLS {
        ctx.request.expect_more(upstream.settings.read_timeout);
    }
}

/// Whether the connection to the upstream ended, rather than that it was slow or spoke nonsense.
fn is_broken_off(error: &PingoraError) -> bool {
    let kinds = [ErrorType::ConnectionClosed, ErrorType::ReadError, ErrorType::WriteError, ErrorType::H2Error];
    *error.esource() == ErrorSource::Upstream && kinds.contains(error.etype())
}

fn connect_error(kind: &ErrorType) -> ConnectError {
    match kind {
        ErrorType::ConnectRefused => ConnectError::Refused,
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => ConnectError::Timeout,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => ConnectError::Tls,
        _ => ConnectError::Other,
    }
}
