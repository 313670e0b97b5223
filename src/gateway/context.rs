//! What is known about a request while it is worked on, and the line it leaves behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method};
use tracing::info;

use crate::api::client::ClientInfo;
use crate::config::settings::Route;
use crate::domain::context::redacted;
use crate::domain::error::Error;
use crate::gateway::addressed::Addressed;
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::conn::uptime_ms;
use crate::gateway::inflight::InFlight;
use crate::gateway::runtime::Runtime;
use crate::gateway::trace::Trace;
use crate::gateway::upstream::{Balanced, Trip};
use crate::gateway::verify::Verify;
use crate::metrics::{
    Decision, DecisionReason, InFlight as InFlightGauge, RequestMethod, RouteMetrics, StreamEnd, StreamKind,
};
use crate::tokens::AccessToken;

/// A request's name, as it stands in headers, answers and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Longest name that is taken over from a trusted proxy, in bytes.
    const MAX_BYTES: usize = 128;

    /// A name nothing else has.
    #[must_use]
    pub fn fresh() -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).expect("a UUID is printable"))
    }

    /// The name a trusted proxy has given, if it can stand everywhere.
    #[must_use]
    pub fn given(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        (1..=Self::MAX_BYTES).contains(&text.len()).then(|| Self(value.clone()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }

    /// As a header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// One request. Dropped when it is over, however it ends; that is when it is logged and counted.
pub struct RequestContext {
    /// The snapshot it lives on.
    pub runtime: Arc<Runtime>,
    /// Its place among the requests in flight.
    pub request: Arc<InFlight>,
    /// Its name.
    pub id: RequestId,
    /// Its place in a trace.
    pub trace: Trace,
    /// Who stands at the other end; set once the head was admitted.
    pub client: Option<ClientInfo>,
    /// Whether its client's address is its own, as far as can be known.
    pub address_is_certain: bool,
    /// The Host it names.
    pub addressed: Option<Arc<Addressed>>,
    /// What it asks for.
    pub target: Option<Arc<Canonical>>,
    /// The route it takes, and where that goes.
    pub route: Option<(Arc<Route>, Arc<Balanced>)>,
    /// Set when a proxy only asks whether it may pass.
    pub verify: Option<Verify>,
    /// Whose it is.
    pub identity: Option<Arc<AccessToken>>,
    /// Whether `Authorization` was ours and stays here.
    pub bearer_consumed: bool,
    /// `Set-Cookie` values that ride on its answer.
    pub set_cookies: Vec<HeaderValue>,
    /// Why it is refused, when pingora is left to end it.
    pub refusal: Option<Error>,
    /// Its way to the upstream, once it is on it.
    pub trip: Option<Trip>,
    /// Bytes of the body seen so far.
    pub received: u64,
    /// Bytes of the answer sent so far.
    pub sent: u64,
    /// The status of the answer; 0 while there is none.
    pub status: u16,
    /// What it counts towards.
    pub metrics: Arc<RouteMetrics>,
    /// When the upstream was asked.
    pub asked_at: Option<Instant>,
    /// How long the upstream took.
    pub upstream_took: Duration,
    /// An open stream, while it is one.
    pub stream: Option<(StreamKind, InFlightGauge)>,
    /// Which of its two ends ended that stream first, as far as it ended in order.
    pub ended_by: Option<StreamEnd>,
    pub(super) method: Method,
    pub(super) arrived: Instant,
    pub(super) in_flight: Option<InFlightGauge>,
}

impl RequestContext {
    /// A request that has just arrived.
    #[must_use]
    pub fn new(runtime: Arc<Runtime>, request: Arc<InFlight>) -> Self {
        let metrics = Arc::clone(&runtime.unrouted);
        let trace = Trace::begin(runtime.sampling);
        Self {
            runtime,
            request,
            id: RequestId::fresh(),
            trace,
            client: None,
            address_is_certain: true,
            addressed: None,
            target: None,
            route: None,
            verify: None,
            identity: None,
            bearer_consumed: false,
            set_cookies: Vec::new(),
            refusal: None,
            trip: None,
            received: 0,
            sent: 0,
            status: 0,
            metrics,
            asked_at: None,
            upstream_took: Duration::ZERO,
            stream: None,
            ended_by: None,
            method: Method::GET,
            arrived: Instant::now(),
            in_flight: None,
        }
    }

    /// The canonical path; empty while there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.as_ref().map_or("", |target| target.path())
    }

    /// The route has decided about it.
    pub fn decided(&self, decision: Decision, reason: DecisionReason) {
        self.metrics.decided(decision, reason, self.arrived.elapsed());
    }

    /// `scheme://host[:port]` as the client addressed us.
    #[must_use]
    pub fn own_origin(&self) -> &str {
        self.addressed.as_ref().map_or("", |addressed| &addressed.origin)
    }

    /// The Host it names, once that was admitted.
    #[must_use]
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.addressed.as_ref().map(|addressed| &addressed.host)
    }

    fn route_name(&self) -> &str {
        let asked_about = || self.verify.as_ref()?.route.as_ref();
        self.route.as_ref().map(|(route, _)| route).or_else(asked_about).map_or("", |route| route.name.as_str())
    }

    /// The client's address as it may be told.
    #[must_use]
    pub fn client_ip(&self) -> String {
        let ip = self.client.as_ref().map_or_else(|| self.request.conn().peer().ip(), |client| client.ip);
        if self.runtime.settings.log.redact_pii { redacted(ip) } else { ip.to_string() }
    }

    fn log(&self, took: Duration) {
        info!(
            target: "nauth::access",
            { request.id = self.id.as_str(),
            trace_id = %self.trace.id,
            method = %self.method,
            path = self.path(),
            status = self.status,
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            received_bytes = self.received,
            sent_bytes = self.sent,
            client.ip = self.client_ip(),
            route = self.route_name(),
            user.id = self.identity.as_ref().map_or("", |token| token.claims.sub.as_str()) },
            "request"
        );
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        let took = self.arrived.elapsed();
        // Cut before any answer: nobody was told anything (nginx's 499).
        if self.status == 0 {
            // What we cut ourselves is not held against its client.
            if !self.request.was_cut() {
                self.request.conn().note_given_up();
            }
            self.status = if self.request.is_overdue(uptime_ms()) { 504 } else { 499 };
        }
        let method = RequestMethod::from(&self.method);
        self.metrics.finished(method, self.status, took, self.received, self.sent);
        // What follows the upstream's answer is as long as its body and its client.
        self.metrics.overhead(self.asked_at.map_or(took, |asked| asked.duration_since(self.arrived)));
        if let Some((kind, gauge)) = self.stream.take() {
            drop(gauge);
            let reason = self.request.ends_as_stream().or(self.ended_by).unwrap_or(StreamEnd::Client);
            self.metrics.stream_closed(kind, reason);
        }
        if self.runtime.settings.log.access_log {
            self.log(took);
        }
        #[cfg(feature = "otel")]
        crate::gateway::spans::record(self, took);
    }
}
