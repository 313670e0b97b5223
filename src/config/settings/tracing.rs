//! `[tracing]`

/// `[tracing]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// The share of the traces beginning here that are recorded, from 0 to 1.
    pub sample: f64,
}
