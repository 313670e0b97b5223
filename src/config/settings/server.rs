//! The process: `[server]`, `[reload]`, `[secrets]`, `[log]`, `[metrics]`.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::settings::Listener;
use crate::domain::secret::Secret;

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Scheme, host and port that browsers see, without a trailing slash.
    pub public_url: PublicUrl,
    /// Where the public listeners bind, and what for; never empty.
    pub listeners: Vec<Listener>,
    /// Database, master key.
    pub data_dir: PathBuf,
    /// Whether other nodes share the database.
    pub instances: Instances,
    /// Worker threads of the runtime; never 0.
    pub threads: usize,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which header a trusted proxy names the client in.
    pub client_ip_header: ClientIpHeader,
    /// Largest request body towards an upstream, bytes; 0 = unlimited.
    pub max_body: u64,
    /// A whole request head must arrive within this.
    pub header_timeout: Duration,
    /// Longest wait for a client to take a piece of an answer.
    pub write_timeout: Duration,
    /// A whole body for the auth API must arrive within this.
    pub body_read_timeout: Duration,
    /// An idle connection is closed after this.
    pub keepalive_timeout: Duration,
    /// A connection is closed after this many requests; 0 = unlimited.
    pub keepalive_requests: u32,
    /// Connections of one address (IPv6: /64); 0 = unlimited.
    pub max_connections_per_ip: usize,
    /// Largest request head, bytes.
    pub max_header: usize,
    /// An upstream's response head must arrive within this.
    pub request_timeout: Duration,
    /// Longest wait for requests in flight at shutdown.
    pub shutdown_grace: Duration,
}

/// How many nodes there are on one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// This one.
    Single,
    /// Several: what they count, they count together.
    Multi,
}

/// One of the two schemes that browsers know pages by; `None` for any other.
#[must_use]
pub fn web_scheme(name: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|scheme| *scheme == name)
}

/// `server.public_url`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Lower case, without port, IPv6 in brackets.
    pub host: String,
    /// `host` or `host:port` as browsers put it into `Host`.
    pub authority: String,
    /// `scheme://authority`: the value of `Origin` for our own pages.
    pub origin: String,
}

impl PublicUrl {
    /// Whether browsers reach nauth by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether the host is `localhost`, a name below it, or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

/// Whether a host (without port, IPv6 in brackets or not) can only mean this machine.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = bare.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// `server.client_ip_header`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIpHeader {
    /// `X-Forwarded-For`, right-most untrusted entry.
    XForwardedFor,
    /// `X-Real-IP`.
    XRealIp,
    /// `CF-Connecting-IP`.
    CfConnectingIp,
    /// `Forwarded` (RFC 7239), right-most untrusted `for`.
    Forwarded,
}

/// `[server.management]`
#[derive(Debug, Clone)]
pub struct Management {
    /// Where the management listener binds.
    pub addr: SocketAddr,
    /// What `POST /reload` needs as `Authorization: Bearer`; without one that path answers 404.
    pub token: Option<Secret<String>>,
}

/// `[reload]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// Whether the directories of the files are watched.
    pub watch: bool,
    /// Files must be unchanged for two of these.
    pub debounce: Duration,
}

/// `[secrets]`
#[derive(Debug, Clone)]
pub struct Secrets {
    /// 32 bytes or more; `None` = generated into `data_dir`.
    pub master_key: Option<Secret<Vec<u8>>>,
    /// Old master keys: decrypt and verify only.
    pub previous: Vec<Secret<Vec<u8>>>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// JSON or text.
    pub format: LogFormat,
    /// A level, or filter directives of `tracing`.
    pub level: String,
    /// Whether client addresses are cut in the access log.
    pub redact_pii: bool,
    /// Whether each request is logged.
    pub access_log: bool,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Whether `path` answers.
    pub enabled: bool,
    /// Where Prometheus scrapes, on the management listener.
    pub path: String,
    /// Whether the `route` label names routes; else it is `_all`.
    pub per_route_labels: bool,
}

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether there is an audit trail.
    pub enabled: bool,
    /// Whether what belongs to no change, such as a failed login, is written by a bounded queue
    /// instead of before its answer.
    pub queued: bool,
    /// How long entries are kept.
    pub retention: Duration,
    /// How long logins, good and bad, are kept.
    pub login_attempt_retention: Duration,
    /// Where entries go besides the database.
    pub sinks: Vec<AuditSink>,
}

/// One of `audit.sink`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditSink {
    /// A line of JSON on standard output.
    Stdout,
    /// A line of JSON at the end of a file.
    File(PathBuf),
    /// A delivery to the webhook of this name.
    Webhook(String),
}
