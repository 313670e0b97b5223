//! How many connections a listener has, by what is spoken on them.

use prometheus::{IntGauge, IntGaugeVec};

use super::labels::{Listener, Protocol};
use super::route::InFlight;

/// The gauges of one kind of listener.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    http1: IntGauge,
    http2: IntGauge,
}

impl ConnectionMetrics {
    pub(super) fn new(gauges: &IntGaugeVec, listener: Listener) -> Self {
        let gauge = |protocol: Protocol| gauges.with_label_values(&[listener.as_str(), protocol.as_str()]);
        Self { http1: gauge(Protocol::Http1), http2: gauge(Protocol::Http2) }
    }

    /// A connection, counted until what is returned is dropped.
    #[must_use]
    pub fn open(&self, protocol: Protocol) -> InFlight {
        InFlight::new(match protocol {
            Protocol::Http1 => self.http1.clone(),
            Protocol::Http2 => self.http2.clone(),
        })
    }
}
