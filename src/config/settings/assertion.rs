//! `gateway.identity.assertion*`

use std::time::Duration;

use http::HeaderName;

use crate::config::settings::SigningAlgorithm;

/// `gateway.identity.assertion*`: the signed identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The header that carries it; `None`: it is not sent by itself.
    pub header: Option<HeaderName>,
    /// How it is signed.
    pub algorithm: SigningAlgorithm,
    /// How long it is good.
    pub ttl: Duration,
}
