//! The settings as the program uses them: resolved, checked, immutable.
//!
//! Nothing here is optional in the sense of "default": every default is applied, every secret is
//! read, every duration is parsed. A reload makes a whole new [`Settings`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use crate::domain::secret::Secret;
use crate::domain::user::Role;

/// All of `nauth.toml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every file the settings came from, the main one first.
    pub files: Vec<PathBuf>,
    /// `[server]`
    pub server: Server,
    /// `[server.management]`
    pub management: Management,
    /// `[reload]`
    pub reload: Reload,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[database]`
    pub database: Database,
    /// `[jwt]`
    pub jwt: Jwt,
    /// `[session]`
    pub session: Session,
    /// `[token_delivery]`
    pub delivery: Delivery,
    /// `[security]`
    pub security: Security,
    /// `[signup]`
    pub signup: Signup,
    /// `[login]`
    pub login: Login,
    /// `[password]`
    pub password: Password,
    /// `[challenge]`
    pub challenge: Challenge,
    /// `[email]`
    pub email: Email,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[api]`
    pub api: Api,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[[upstreams]]`, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// `[[routes]]`, in file order.
    pub routes: Vec<Arc<Route>>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Scheme, host and port that browsers see, without a trailing slash.
    pub public_url: PublicUrl,
    /// Where the public listener binds.
    pub listen: SocketAddr,
    /// Database, master key.
    pub data_dir: PathBuf,
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

/// `server.public_url`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: String,
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

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The SQLite file.
    pub path: PathBuf,
    /// Reading connections; writing has one of its own.
    pub max_connections: u32,
    /// Longest wait for a connection, then 503.
    pub acquire_timeout: Duration,
    /// Whether `run` applies pending migrations.
    pub migrate: bool,
}

/// `[jwt]`
#[derive(Debug, Clone)]
pub struct Jwt {
    /// How access tokens are signed.
    pub algorithm: HmacAlgorithm,
    /// `iss` of access tokens.
    pub issuer: String,
    /// `aud` of access tokens; at least one.
    pub audience: Vec<String>,
    /// Life of an access token.
    pub access_ttl: Duration,
    /// Life of a refresh token.
    pub refresh_ttl: Duration,
    /// How long the previous refresh token still answers once the current one was seen.
    pub refresh_grace: Duration,
    /// Clock difference allowed when `exp` is checked.
    pub leeway: Duration,
    /// A fixed key instead of a derived one; 32 bytes or more.
    pub access_secret: Option<Secret<String>>,
    /// A fixed key instead of a derived one; 32 bytes or more.
    pub refresh_secret: Option<Secret<String>>,
}

/// `jwt.algorithm`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HmacAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A session ends this long after login, whatever happens.
    pub max_lifetime: Duration,
    /// How often new revocations are read.
    pub revocation_poll: Duration,
    /// Without a successful poll for this long, routes with roles answer 503.
    pub revocation_max_stale: Duration,
}

/// `[token_delivery]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Cookies, JSON or both.
    pub method: DeliveryMethod,
    /// What a request gets that shows no credential and no listed origin.
    pub hybrid_default: HybridDefault,
    /// In front of every cookie name, `__Host-` included where configured.
    pub cookie_prefix: String,
    /// Flags of the token cookies.
    pub cookie: CookieFlags,
    /// Origins that get cookies and may send them cross-origin; never empty.
    pub web_origins: Vec<String>,
    /// Origins that get JSON.
    pub native_origins: Vec<String>,
    /// Life of refresh tokens in cookies.
    pub refresh_ttl_cookies: Duration,
    /// Life of refresh tokens in JSON.
    pub refresh_ttl_json: Duration,
}

/// `token_delivery.method`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMethod {
    /// Only cookies.
    Cookies,
    /// Only JSON bodies and bearer tokens.
    Json,
    /// Decided for each request.
    Hybrid,
}

/// `token_delivery.hybrid_default`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HybridDefault {
    /// Browser evidence (`Origin` or `Sec-Fetch-Site`) means cookies, else JSON.
    Auto,
    /// Cookies.
    Cookies,
    /// JSON.
    Json,
}

/// Flags of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieFlags {
    /// `Secure`.
    pub secure: bool,
    /// `SameSite`.
    pub same_site: SameSite,
    /// `Path`.
    pub path: String,
    /// `Domain`; `None` = host-only.
    pub domain: Option<String>,
    /// `Priority`.
    pub priority: CookiePriority,
}

/// `SameSite` of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Also on navigations from other sites.
    Lax,
    /// Never from other sites.
    Strict,
    /// Always; needs `Secure`.
    None,
}

/// `Priority` of a cookie (Chromium).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookiePriority {
    /// Dropped first.
    Low,
    /// In between.
    Medium,
    /// Dropped last.
    High,
}

/// `[security]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// Whether addresses in challenges are masked.
    pub mask_sensitive: bool,
    /// Origins that `return_to` may name besides our own.
    pub return_to_origins: Vec<String>,
    /// Cost and capacity of password hashing.
    pub password_hash: PasswordHash,
    /// `[security.csrf]`
    pub csrf: Csrf,
    /// Origins that get CORS answers; default `token_delivery.web_origins`.
    pub cors_origins: Vec<String>,
    /// `Access-Control-Max-Age`.
    pub cors_max_age: Duration,
}

/// `security.password_hash`: argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashing threads; never 0.
    pub threads: usize,
    /// Longest queue in front of them; a full one answers 503.
    pub max_queue: usize,
}

/// `[security.csrf]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csrf {
    /// The readable cookie.
    pub cookie_name: String,
    /// The header that must repeat it.
    pub header_name: HeaderName,
    /// Path prefixes on segment boundaries that need no token.
    pub excluded_paths: Vec<String>,
    /// Flags of the cookie.
    pub cookie: CookieFlags,
}

/// `[signup]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signup {
    /// Whether anybody may sign up.
    pub enabled: bool,
    /// What must be proven before tokens are issued.
    pub verification_method: VerificationMethod,
    /// Whether user names exist.
    pub username: UsernameRule,
    /// Roles of new accounts.
    pub default_roles: Vec<Role>,
    /// Keys of `metadata` that users may write.
    pub metadata_keys: MetadataKeys,
    /// Largest `metadata`, bytes of JSON.
    pub metadata_max: usize,
    /// `[signup.email_verification]`
    pub email_verification: EmailVerification,
}

/// `signup.verification_method`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationMethod {
    /// Nothing.
    None,
    /// The e-mail address, by a code.
    Email,
}

/// `signup.username`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsernameRule {
    /// A given one is ignored.
    Off,
    /// A given one counts.
    Optional,
    /// One must be given.
    Required,
}

/// `signup.metadata_keys`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataKeys {
    /// `["*"]`
    Any,
    /// Only these.
    Only(Vec<String>),
}

/// `[signup.email_verification]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailVerification {
    /// Digits, 4 to 10.
    pub code_length: usize,
    /// Life of a code.
    pub ttl: Duration,
    /// Wrong tries for one code.
    pub max_attempts: u32,
    /// Shortest time between two mails.
    pub resend_delay: Duration,
    /// Mails to one address in a window.
    pub send_limit: Window,
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub max: u32,
    /// In how long.
    pub window: Duration,
}

/// `[login]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Whether an e-mail address logs in.
    pub email: bool,
    /// Whether a user name logs in.
    pub username: bool,
    /// Where browsers are sent to log in: a path of ours, or an absolute URL.
    pub login_url: String,
}

/// `[password]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Password {
    /// Fewest characters.
    pub min_length: usize,
    /// Most characters.
    pub max_length: usize,
}

/// `[challenge]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Life of a challenge.
    pub ttl: Duration,
    /// Wrong answers to one challenge.
    pub max_attempts: u32,
}

/// `[email]`
#[derive(Debug, Clone)]
pub struct Email {
    /// How mail leaves.
    pub provider: EmailProvider,
    /// `From`.
    pub from: String,
    /// `Reply-To`; `None` = absent.
    pub reply_to: Option<String>,
    /// `email.vars`: what templates may say about the application.
    pub vars: EmailVars,
}

/// `email.provider`
#[derive(Debug, Clone)]
pub enum EmailProvider {
    /// Printed readably on the terminal; only while `public_url` is loopback.
    Console,
    /// Delivered to a mail server.
    Smtp {
        /// `smtp://` or `smtps://`, credentials included.
        url: Secret<String>,
        /// Longest wait for the server.
        timeout: Duration,
    },
}

/// `[email.vars]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailVars {
    /// The application's name.
    pub app_name: String,
    /// Where users get help; empty = not mentioned.
    pub support_email: String,
    /// `#rrggbb`
    pub brand_color: String,
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

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Where the auth API lives, without a trailing slash.
    pub prefix: String,
    /// The groups mounted.
    pub groups: Vec<ApiGroup>,
    /// Route keys that are not mounted.
    pub exclude: Vec<String>,
}

/// `api.groups`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiGroup {
    /// Signup, login, challenges, refresh, logout.
    Core,
    /// The user's profile.
    Profile,
    /// The user's sessions.
    Device,
}

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
}

/// `[gateway.identity]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whether unproven addresses are told to upstreams.
    pub allow_unverified: bool,
    /// What the user header carries.
    pub user: IdentityUser,
    /// Which headers are sent.
    pub preset: IdentityPreset,
}

/// `gateway.identity.user`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityUser {
    /// The stable identifier.
    Sub,
    /// The proven e-mail address.
    Email,
    /// The user name.
    Username,
}

/// `gateway.identity.preset`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityPreset {
    /// `X-Forwarded-User`, `-Email`, `-Preferred-Username`, `-Groups`.
    Standard,
    /// Nothing.
    None,
}

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
    /// Whether the address must be proven.
    pub verified_email: bool,
    /// Which credentials are looked at.
    pub credentials: Credentials,
    /// Names, lower case, that pass although they would be stripped.
    pub keep_request_headers: Vec<HeaderName>,
    /// Whether `%2F` passes.
    pub encoded_slash: EncodedSlash,
    /// Clients that may; empty = all.
    pub allow_ips: Vec<IpNet>,
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
    /// Set on the answer.
    pub set_response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Removed from the answer.
    pub remove_response_headers: Vec<HeaderName>,
}

/// `routes.path`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathRule {
    /// `"=/x"`: this path and no other.
    Exact(String),
    /// `"/x"`: this path and what is below it.
    Prefix(String),
}

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
