//! Metrics (its own branch fills this file).

/// The metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics;

impl Metrics {
    /// New metrics.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// From the change that revokes to the moment it is enforced here.
    pub fn revocation_lag(&self, _lag: std::time::Duration) {}
}
