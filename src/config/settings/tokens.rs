//! Tokens and how they travel: `[jwt]`, `[session]`, `[token_delivery]`, `[security]`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::domain::secret::Secret;
use crate::domain::template::{Source, Template, Told, Variable};

/// `[jwt]`
#[derive(Debug, Clone)]
pub struct Jwt {
    /// How access tokens are signed.
    pub algorithm: SigningAlgorithm,
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
    /// How long a private key signs before another one does; zero = until told.
    pub key_rotation: Duration,
    /// Whether public keys are told to everybody.
    pub publish_jwks: bool,
    /// A fixed private key instead of one of ours, PKCS #8, of the kind the algorithm asks for.
    pub private_key: Option<Secret<Vec<u8>>>,
    /// A fixed key instead of a derived one; 32 bytes or more.
    pub access_secret: Option<Secret<String>>,
    /// A fixed key instead of a derived one; 32 bytes or more.
    pub refresh_secret: Option<Secret<String>>,
    /// Further claims of access tokens, and what they say.
    pub claims: Vec<(String, Template)>,
    /// What access tokens hold because the headers of some route ask for it.
    pub told: Vec<Told>,
}

impl Jwt {
    /// Whether access tokens hold something that comes from there.
    #[must_use]
    pub fn tells(&self, wanted: impl Fn(&Source) -> bool) -> bool {
        let of_claims = self.claims.iter().flat_map(|(_, template)| template.variables());
        let of_claims = of_claims.filter_map(|variable| match variable {
            Variable::Told(told) => Some(told),
            _ => None,
        });
        of_claims.chain(&self.told).map(Told::source).any(wanted)
    }
}

/// How tokens are signed: `jwt.algorithm`, `gateway.identity.assertion_algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// RSA (PKCS #1 v1.5) with SHA-384.
    Rs384,
    /// RSA (PKCS #1 v1.5) with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SigningAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 8] =
        [Self::Hs256, Self::Hs384, Self::Hs512, Self::Rs256, Self::Rs384, Self::Rs512, Self::Es256, Self::EdDsa];

    /// The name in a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether whoever can verify can also sign.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Sessions of one user at a time; 0 = unlimited.
    pub max_concurrent: u32,
    /// What a login beyond that does.
    pub on_limit: OnSessionLimit,
    /// Whether a login ends every other session of the user.
    pub single: bool,
    /// A session ends this long after login, whatever happens.
    pub max_lifetime: Duration,
    /// A session ends after this long without activity; zero = never.
    pub idle_timeout: Duration,
    /// Whether a login ends the earlier session of the same device.
    pub one_per_device: bool,
    /// How often new revocations are read.
    pub revocation_poll: Duration,
    /// Without a successful poll for this long, routes with roles answer 503.
    pub revocation_max_stale: Duration,
}

/// `session.on_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSessionLimit {
    /// The session that was idle longest ends.
    EvictOldest,
    /// The login is refused.
    Deny,
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
    /// When a new address or number takes the place of the old one.
    pub contact_change: ContactChange,
    /// Sensitive changes need a login this fresh.
    pub reauth_age: Duration,
    /// Whether signup hides that an address has an account.
    pub hide_existing_accounts: bool,
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
    /// `[security.headers]`
    pub headers: PageHeaders,
}

/// `[security.headers]`: of the built-in pages and the auth API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageHeaders {
    /// `X-Frame-Options`, and `frame-ancestors` of the pages' Content-Security-Policy.
    pub frame_options: FrameOptions,
    /// `Referrer-Policy`.
    pub referrer_policy: HeaderValue,
}

/// `security.headers.frame_options`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameOptions {
    /// No page may frame ours.
    Deny,
    /// Our own origin's pages may.
    SameOrigin,
}

impl FrameOptions {
    /// The value of `X-Frame-Options`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "DENY",
            Self::SameOrigin => "SAMEORIGIN",
        }
    }

    /// The source of `frame-ancestors` that says the same.
    #[must_use]
    pub const fn ancestors(self) -> &'static str {
        match self {
            Self::Deny => "'none'",
            Self::SameOrigin => "'self'",
        }
    }
}

/// `security.contact_change`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactChange {
    /// Once it is proven.
    Pending,
    /// At once, as unproven.
    Immediate,
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
