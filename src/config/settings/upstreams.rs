//! `[[upstreams]]`

use std::time::Duration;

/// One of `[[upstreams]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Unique.
    pub name: String,
    /// Where requests go, in turn; never empty.
    pub targets: Vec<Target>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest silence while reading.
    pub read_timeout: Duration,
    /// Longest silence while writing.
    pub write_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Further targets tried when one cannot be connected to.
    pub retries: usize,
    /// `Host` towards the upstream.
    pub host_header: HostHeader,
}

/// One of `upstreams.targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `whoami:`, the built-in page.
    Whoami,
    /// `http://` or `https://`, host and port.
    Http {
        /// Whether by TLS.
        tls: bool,
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// `upstreams.host_header`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client sent.
    Preserve,
    /// The target's.
    Upstream,
    /// This.
    Fixed(String),
}
