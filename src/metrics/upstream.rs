//! The handles of one upstream.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntGauge};

use super::labels::{ConnectError, RetryOutcome};
use super::{Series, StatusCounters};

/// What is counted for one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    series: Arc<Series>,
    name: String,
    requests: StatusCounters,
    duration: Histogram,
}

impl UpstreamMetrics {
    pub(super) fn new(series: &Arc<Series>, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            requests: StatusCounters::new(),
            duration: series.upstream_request_duration.with_label_values(&[name]),
            series: Arc::clone(series),
        }
    }

    /// The upstream answered; the head of its answer took this long.
    pub fn answered(&self, status: u16, time_to_head: Duration) {
        self.requests.inc(status, |code| self.series.upstream_requests.with_label_values(&[self.name.as_str(), code]));
        self.duration.observe(time_to_head.as_secs_f64());
    }

    /// A connection to one of its targets failed.
    pub fn connect_error(&self, reason: ConnectError) {
        self.series.upstream_connect_errors.with_label_values(&[self.name.as_str(), reason.as_str()]).inc();
    }

    /// A further target was tried.
    pub fn retried(&self, outcome: RetryOutcome) {
        self.series.upstream_retries.with_label_values(&[self.name.as_str(), outcome.as_str()]).inc();
    }

    /// Whether requests go to one of its targets.
    #[must_use]
    pub fn healthy(&self, target: &str) -> IntGauge {
        self.series.upstream_healthy.with_label_values(&[self.name.as_str(), target])
    }

    /// A target is no longer configured.
    pub fn forget_target(&self, target: &str) {
        // Nothing to remove is removed already.
        let _ = self.series.upstream_healthy.remove_label_values(&[self.name.as_str(), target]);
    }

    /// Whether there is no room for another request.
    #[must_use]
    pub fn breaker(&self) -> IntGauge {
        self.series.upstream_breaker_open.with_label_values(&[self.name.as_str()])
    }

    /// There is room for any number from here on.
    pub fn forget_breaker(&self) {
        let _ = self.series.upstream_breaker_open.remove_label_values(&[self.name.as_str()]);
    }
}
