//! `[tracing]`

use url::Url;

/// `[tracing]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Where the collector takes spans; `None` = they are not sent. Only with the feature `otel`.
    pub collector: Option<Url>,
    /// The share of the traces beginning here that are recorded, from 0 to 1.
    pub sample: f64,
}
