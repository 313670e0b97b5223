//! The handles of one route: found once, then only added to.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::labels::{Decision, DecisionReason, RequestMethod, StreamEnd, StreamKind};
use super::{Series, StatusCounters};

/// What is counted for one route.
#[derive(Debug)]
pub struct RouteMetrics {
    series: Arc<Series>,
    name: String,
    methods: Box<[MethodMetrics]>,
    in_flight: IntGauge,
    request_size: Histogram,
    response_size: Histogram,
    overhead: Histogram,
    /// By decision and reason; each made when it first occurs, so that no empty series appear.
    decisions: Box<[OnceLock<IntCounter>]>,
}

#[derive(Debug)]
struct MethodMetrics {
    requests: StatusCounters,
    duration: OnceLock<Histogram>,
}

impl RouteMetrics {
    pub(super) fn new(series: &Arc<Series>, name: &str) -> Self {
        let method = |_: &RequestMethod| MethodMetrics { requests: StatusCounters::new(), duration: OnceLock::new() };
        let decisions = Decision::ALL.len() * DecisionReason::ALL.len();
        Self {
            name: name.to_owned(),
            methods: RequestMethod::ALL.iter().map(method).collect(),
            in_flight: series.http_requests_in_flight.with_label_values(&[name]),
            request_size: series.http_request_size.with_label_values(&[name]),
            response_size: series.http_response_size.with_label_values(&[name]),
            overhead: series.gateway_overhead.with_label_values(&[name]),
            decisions: (0..decisions).map(|_| OnceLock::new()).collect(),
            series: Arc::clone(series),
        }
    }

    /// A request begins; it is in flight until the guard is dropped.
    #[must_use]
    pub fn begin(&self) -> InFlight {
        InFlight::new(self.in_flight.clone())
    }

    /// A request was answered, or given up, `took` after its head arrived.
    pub fn finished(
        &self,
        method: RequestMethod,
        status: u16,
        took: Duration,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let metrics = &self.methods[method as usize];
        metrics.requests.inc(status, |code| {
            self.series.http_requests.with_label_values(&[self.name.as_str(), method.as_str(), code])
        });
        let duration = metrics.duration.get_or_init(|| {
            self.series.http_request_duration.with_label_values(&[self.name.as_str(), method.as_str()])
        });
        duration.observe(took.as_secs_f64());
        self.request_size.observe(approximate(request_bytes));
        self.response_size.observe(approximate(response_bytes));
    }

    /// What passed before the upstream was asked; everything, where none was.
    pub fn overhead(&self, took: Duration) {
        self.overhead.observe(took.as_secs_f64());
    }

    /// The route decided about a request, `took` after its head arrived.
    pub fn decided(&self, decision: Decision, reason: DecisionReason, took: Duration) {
        self.series.authz_duration.observe(took.as_secs_f64());
        let slot = &self.decisions[(decision as usize) * DecisionReason::ALL.len() + (reason as usize)];
        let counter = slot.get_or_init(|| {
            let labels = [self.name.as_str(), decision.as_str(), reason.as_str()];
            self.series.authz_decisions.with_label_values(&labels)
        });
        counter.inc();
    }

    /// A stream opened; it is open until the guard is dropped.
    #[must_use]
    pub fn stream_opened(&self, kind: StreamKind) -> InFlight {
        InFlight::new(self.series.streams_open.with_label_values(&[self.name.as_str(), kind.as_str()]))
    }

    /// A stream ended.
    pub fn stream_closed(&self, kind: StreamKind, reason: StreamEnd) {
        let labels = [self.name.as_str(), kind.as_str(), reason.as_str()];
        self.series.streams_closed.with_label_values(&labels).inc();
    }
}

/// Counts as one until it is dropped.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl InFlight {
    pub(super) fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a histogram needs no more than 53 bits of a size")]
fn approximate(bytes: u64) -> f64 {
    bytes as f64
}
