//! `[gateway]`

use crate::config::settings::{Assertion, Identity};

/// `[gateway]`
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Path prefixes on segment boundaries that never get a redirect.
    pub api_prefixes: Vec<String>,
    /// Further headers dropped from every request, lower case with `-`.
    pub strip_request_headers: Vec<String>,
    /// Whether nauth's cookies and a consumed Authorization stay here.
    pub strip_credentials: bool,
    /// Whether `X-Forwarded-*` and `Forwarded` are sent upstream.
    pub forwarded_headers: bool,
    /// Whether expired access cookies are refreshed on the way.
    pub auto_refresh: bool,
    /// `[gateway.identity]`
    pub identity: Identity,
    /// `gateway.identity.assertion*`
    pub assertion: Assertion,
}
