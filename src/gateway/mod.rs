//! Floor 6, the gateway: everything that is not the auth API is proxied from here.
//!
//! pingora calls the phases below in this order; each says what it does and calls the module that
//! knows how. A request holds one [`Runtime`] from its first byte to its last.

pub mod admit;
pub mod canonical;
pub mod conn;
pub mod context;
pub mod credentials;
pub mod decide;
pub mod edge;
pub mod forward;
pub mod frames;
pub mod framing;
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
pub mod refresh;
pub mod respond;
pub mod rewrite;
pub mod routes;
pub mod runtime;
pub mod sweeper;
mod upgrade;
pub mod upstream;
pub mod verify;
pub mod vouch;
pub mod whoami;

mod answering;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error as PingoraError, ErrorType};

use crate::domain::clock::Clock;
use crate::domain::error::Error;
use crate::gateway::context::RequestContext;
use crate::gateway::inflight::InFlight;
use crate::gateway::refresh::Refreshes;
use crate::gateway::vouch::Vouched;
use crate::metrics::{ConnectError, Metrics, RetryOutcome, StreamKind};

pub use listeners::{ManagementEdge, PublicEdge};
pub use runtime::Runtime;

/// The gateway: what outlives a reload. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    runtime: Arc<ArcSwap<Runtime>>,
    refreshes: Arc<Refreshes>,
    vouched: Arc<Vouched>,
    metrics: Metrics,
    clock: Clock,
}

impl Gateway {
    /// A gateway that begins with this runtime.
    #[must_use]
    pub fn new(runtime: Runtime, metrics: &Metrics, clock: Clock) -> Self {
        let refreshes = Arc::new(Refreshes::new(metrics.clone()));
        let vouched = Arc::default();
        Self { runtime: Arc::new(ArcSwap::from_pointee(runtime)), refreshes, vouched, metrics: metrics.clone(), clock }
    }

    /// The runtime new requests get.
    #[must_use]
    pub fn runtime(&self) -> Arc<Runtime> {
        self.runtime.load_full()
    }

    /// Gives new requests another runtime.
    pub fn set_runtime(&self, runtime: Runtime) {
        self.runtime.store(Arc::new(runtime));
    }

    /// Leaves a refusal to [`ProxyHttp::fail_to_proxy`].
    fn refuse<T>(ctx: &mut RequestContext, error: Error) -> pingora::Result<T> {
        ctx.refusal = Some(error);
        PingoraError::err(ErrorType::HTTPStatus(400))
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext::new(self.runtime(), InFlight::current())
    }

    // No compression: what upstreams send is passed on as it is.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    /// One canonical target, one admitted Host, no forged header.
    async fn early_request_filter(&self, session: &mut Session, ctx: &mut RequestContext) -> pingora::Result<()> {
        ctx.request.conn().admit();
        if ctx.request.is_draining() {
            session.set_keepalive(None);
        }
        match admit::admit(session, ctx, &self.metrics) {
            Ok(()) => Ok(()),
            Err(error) => Self::refuse(ctx, error),
        }
    }

    /// The auth API, the decision, and everything answered here.
    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestContext) -> pingora::Result<bool> {
        let answer = match self.respond(session, ctx).await {
            Ok(None) => return Ok(false),
            Ok(Some(answer)) => answer,
            Err(error) => self.refusal(session, ctx, &error),
        };
        self.write(session, ctx, answer).await?;
        Ok(true)
    }

    /// Whose turn it is.
    async fn upstream_peer(&self, session: &mut Session, ctx: &mut RequestContext) -> pingora::Result<Box<HttpPeer>> {
        let Some((route, upstream)) = ctx.route.clone() else { return Self::refuse(ctx, Error::NotFound) };
        ctx.asked_at.get_or_insert_with(Instant::now);
        ctx.request.expect_answer(route.timeout);
        loop {
            let attempt = ctx.attempts;
            ctx.attempts += 1;
            let target = upstream.target(ctx.turn, attempt);
            match upstream.peer(target, attempt, route.timeout, session.is_upgrade_req()).await {
                Ok(peer) => return Ok(Box::new(peer)),
                Err(_) if ctx.attempts <= upstream.settings.retries => {
                    upstream.metrics.connect_error(ConnectError::Dns);
                }
                Err(error) => {
                    upstream.metrics.connect_error(ConnectError::Dns);
                    tracing::warn!(upstream.name = upstream.settings.name, %error, "upstream has no address");
                    return Self::refuse(ctx, Error::BadGateway);
                }
            }
        }
    }

    /// The next target, while there is one to try and nothing has been sent.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        ctx: &mut RequestContext,
        mut error: Box<PingoraError>,
    ) -> Box<PingoraError> {
        let Some((_, upstream)) = &ctx.route else { return error };
        upstream.metrics.connect_error(connect_error(error.etype()));
        let again = ctx.attempts <= upstream.settings.retries;
        let (name, target) = (&upstream.settings.name, &peer._address);
        // Said once: what comes next is either an answer or the last word.
        if !again {
            tracing::warn!(upstream.name = name, target_addr = %target, error = error.etype().as_str(), "upstream cannot be connected to");
        }
        if again {
            upstream.metrics.retried(RetryOutcome::Failed);
        }
        error.set_retry(again);
        error
    }

    /// Strip our own, inject the identity: the last thing before the request leaves.
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut RequestContext,
    ) -> pingora::Result<()> {
        forward::prepare(upstream, ctx);
        Ok(())
    }

    /// Bodies are counted as they pass.
    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut RequestContext,
    ) -> pingora::Result<()> {
        ctx.received += body.as_ref().map_or(0, |piece| piece.len() as u64);
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
        ctx: &mut RequestContext,
    ) -> pingora::Result<()> {
        if response.status.is_informational() && response.status != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        ctx.request.answered();
        ctx.status = response.status.as_u16();
        ctx.upstream_took = ctx.asked_at.map(|at| at.elapsed()).unwrap_or_default();
        if let Some((route, upstream)) = ctx.route.clone() {
            upstream.metrics.answered(ctx.status, ctx.upstream_took);
            if ctx.attempts > 1 {
                upstream.metrics.retried(RetryOutcome::Succeeded);
            }
            if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
                ctx.request.conn().upgrade(route.ws.idle_timeout);
                ctx.stream = Some((StreamKind::Ws, ctx.metrics.stream_opened(StreamKind::Ws)));
            } else if forward::is_event_stream(response) {
                ctx.stream = Some((StreamKind::Sse, ctx.metrics.stream_opened(StreamKind::Sse)));
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
        _: bool,
        ctx: &mut RequestContext,
    ) -> pingora::Result<Option<std::time::Duration>> {
        ctx.sent += body.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(None)
    }

    /// The last word on a request that could not be proxied.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &PingoraError,
        ctx: &mut RequestContext,
    ) -> FailToProxy {
        ctx.request.answered();
        let refusal = ctx.refusal.take().or_else(|| answering::failure(ctx, error));
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
    fn suppress_error_log(&self, _: &Session, _: &RequestContext, _: &PingoraError) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &RequestContext,
        _: &PingoraError,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

fn connect_error(kind: &ErrorType) -> ConnectError {
    match kind {
        ErrorType::ConnectRefused => ConnectError::Refused,
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => ConnectError::Timeout,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => ConnectError::Tls,
        _ => ConnectError::Other,
    }
}
