//! `[[upstreams]]`

use std::time::Duration;

use http::HeaderName;

use crate::domain::secret::Secret;

/// One of `[[upstreams]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Unique.
    pub name: String,
    /// Where requests go; from one to [`Upstream::MAX_TARGETS`].
    pub targets: Vec<Target>,
    /// Which of them is next.
    pub balance: Balance,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest silence while reading.
    pub read_timeout: Duration,
    /// Longest silence while writing.
    pub write_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Further tries when one fails before its answer.
    pub retries: usize,
    /// Most requests under way at once; `None` = any number.
    pub max_connections: Option<usize>,
    /// `Host` towards the upstream.
    pub host_header: HostHeader,
    /// `upstreams.tls`
    pub tls: UpstreamTls,
    /// `upstreams.health`; `None` = targets are not asked how they are.
    pub health: Option<HealthCheck>,
}

impl Upstream {
    /// Most targets of one upstream.
    pub const MAX_TARGETS: usize = 64;

    /// Whether it is the built-in page, which has no other targets beside it.
    #[must_use]
    pub fn is_whoami(&self) -> bool {
        self.targets.iter().any(|target| target.to == Destination::Whoami)
    }
}

/// One of `upstreams.targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As written; names it in metrics and messages.
    pub url: String,
    /// Where it is.
    pub to: Destination,
    /// Its share among the others, from 1.
    pub weight: u32,
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `whoami:`, the built-in page.
    Whoami,
    /// `http://`, `https://` or `h2c://`, host and port.
    Http {
        /// What is spoken.
        scheme: Scheme,
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// What is spoken with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1.
    Http,
    /// TLS, and in it HTTP/2 or HTTP/1.1, as the target likes.
    Https,
    /// HTTP/2 without TLS, from the first byte.
    H2c,
}

/// `upstreams.balance`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// Where the fewest requests are under way, by weight.
    LeastConn,
    /// Always the same target for the same key.
    Hash(HashOn),
}

/// `upstreams.hash_on`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    Ip,
    /// The user.
    User,
    /// A request header.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
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

/// `upstreams.tls`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whether the target must prove who it is.
    pub verify: bool,
    /// The name it must prove, also sent to it; `None` = the target's host.
    pub sni: Option<String>,
    /// The authorities that may vouch for it, as DER; empty = the system's.
    pub ca: Vec<Vec<u8>>,
    /// What nauth shows of itself.
    pub client: Option<ClientCertificate>,
}

/// `upstreams.tls.client_cert` and `client_key`
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// As DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// As DER.
    pub key: Secret<Vec<u8>>,
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.expose() == other.key.expose()
    }
}

impl Eq for ClientCertificate {}

/// `upstreams.health`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// How long between two checks.
    pub interval: Duration,
    /// Longest wait for one.
    pub timeout: Duration,
    /// Good ones in a row that bring a target back.
    pub healthy: u32,
    /// Bad ones in a row that take it out.
    pub unhealthy: u32,
}

/// `upstreams.health.type`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Whether a connection is accepted.
    Tcp,
    /// Whether a GET is answered with a status.
    Http {
        /// Path and query.
        path: String,
        /// The status.
        expect: u16,
    },
}
