//! `[[routes]]`

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use crate::config::settings::{Identity, Window};
use crate::domain::assurance::Aal;
use crate::domain::user::Role;

/// One of `[[routes]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Unique; the `route` label of metrics.
    pub name: String,
    /// Where it stands: `nauth.toml:LINE`.
    pub origin: String,
    /// Lower case; `*.example.com` matches any name below; empty = every host.
    pub hosts: Vec<String>,
    /// What paths it takes.
    pub path: PathRule,
    /// What takes the place of the part that `path` names, towards the upstream; `None` = it stays.
    pub rewrite: Option<String>,
    /// Empty = every method.
    pub methods: Vec<Method>,
    /// Where requests go.
    pub upstream: String,
    /// Who may.
    pub access: Access,
    /// Any of these roles.
    pub roles: Vec<Role>,
    /// All of these roles.
    pub roles_all: Vec<Role>,
    /// All of these scopes are needed of the credential.
    pub scopes: Vec<String>,
    /// How sure the login must be.
    pub min_aal: Aal,
    /// How long ago it may be at most; `None` = as long as the session lives.
    pub max_auth_age: Option<Duration>,
    /// Whether the address must be proven.
    pub verified_email: bool,
    /// Which credentials are looked at.
    pub credentials: Credentials,
    /// What the upstream is told about the user.
    pub identity: Identity,
    /// What another proxy is told that asks about its requests.
    pub asked_identity: Identity,
    /// Names, lower case, that pass although they would be stripped.
    pub keep_request_headers: Vec<HeaderName>,
    /// Whether `%2F` passes.
    pub encoded_slash: EncodedSlash,
    /// Clients that may; empty = all.
    pub allow_ips: Vec<IpNet>,
    /// How many requests it takes of one client; `None` = as many as come.
    pub rate_limit: Option<RouteRate>,
    /// The upstream's response head must arrive within this.
    pub timeout: Duration,
    /// Largest request body, bytes; 0 = unlimited.
    pub max_body: u64,
    /// Whether an Upgrade to WebSocket passes.
    pub websocket: bool,
    /// `routes.ws`
    pub ws: WebSocket,
    /// Whether cookie-authenticated unsafe methods must come from our own pages.
    pub csrf: bool,
    /// What an anonymous client gets.
    pub on_unauthenticated: OnUnauthenticated,
    /// Set on the request towards the upstream.
    pub set_request_headers: Vec<(HeaderName, HeaderValue)>,
    /// `Cache-Control` of the answer; `None` = the upstream's.
    pub cache_control: Option<HeaderValue>,
    /// Added to the answer where the upstream is silent.
    pub security_headers: SecurityHeaders,
    /// Set on the answer.
    pub set_response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Removed from the answer.
    pub remove_response_headers: Vec<HeaderName>,
}

/// `routes.rate_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRate {
    /// How many in how long.
    pub window: Window,
    /// Whether the requests of one user are counted together, wherever they come from; else those of
    /// one address. Whoever is not known counts by address.
    pub by_user: bool,
}

/// Largest compiled expression, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// `routes.path`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRule {
    /// `"=/x"`: this path and no other.
    Exact(String),
    /// `"/x"`: this path and what is below it.
    Prefix(String),
    /// `"~^/x"`: what this expression matches.
    Pattern(Pattern),
}

/// A regular expression over paths, in time linear to their length.
#[derive(Debug, Clone)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Compiles an expression. It must begin with `^/`, so that it is plain where it matches.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        if !text.starts_with("^/") {
            return Err(format!("`{text}` must begin with `^/`"));
        }
        regex::RegexBuilder::new(text).size_limit(MAX_PATTERN).build().map(Self).map_err(|error| error.to_string())
    }

    /// As written, without the `~`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether a path in canonical form matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

/// `routes.access`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody; no credential is looked at.
    Public,
    /// Everybody; who is known is told to the upstream.
    Optional,
    /// Only who is known.
    Required,
}

/// `routes.credentials`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The session cookies.
    pub session: bool,
    /// `Authorization: Bearer`.
    pub bearer: bool,
}

/// `routes.security_headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityHeaders {
    /// The upstream's word alone.
    None,
    /// No sniffing, no frames of other sites, no whole addresses to them.
    Basic,
    /// All that OWASP proposes.
    Strict,
}

/// `routes.encoded_slash`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodedSlash {
    /// 400.
    Reject,
    /// Passed on, never equal to `/`.
    Keep,
}

/// `routes.ws`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// Origins besides our own that may open one.
    pub origins: Vec<String>,
    /// An upgraded connection without traffic is closed after this.
    pub idle_timeout: Duration,
    /// How often the session of an open stream is looked up.
    pub recheck: Duration,
}

/// `routes.on_unauthenticated`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnauthenticated {
    /// Browsers are sent to the login page, others get 401.
    Auto,
    /// Always 401.
    Status401,
    /// Always to the login page.
    Redirect,
}
