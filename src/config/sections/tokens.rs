//! `[jwt]`, `[session]`, `[token_delivery]`, `[security]`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::reader::Section;
use crate::config::sections::private_key;
use crate::config::sections::routes::path;
use crate::config::sections::server::{number, origin};
use crate::config::settings::{
    ContactChange, CookieFlags, CookiePriority, Csrf, Delivery, DeliveryMethod, FrameOptions, HybridDefault, Jwt,
    OnSessionLimit, PageHeaders, PasswordHash, PublicUrl, SameSite, Security, Server, Session, SigningAlgorithm,
};
use crate::config::values;
use crate::domain::claims::{OWN, may_be_added};
use crate::domain::secret::Secret;
use crate::domain::template::{Source, Template, Variable};

/// Most claims of `jwt.claims`.
const MAX_CLAIMS: usize = 32;
/// Shortest fixed signing key, in bytes.
const SECRET_BYTES: usize = 32;
/// A node that has not read for ten seconds is not ready.
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// A key is published for ten minutes before it signs, and others keep it for a while.
const SHORTEST_ROTATION: Duration = Duration::from_hours(1);
/// Memory times passes of the cheapest setting that OWASP's password storage cheat sheet lists (7 MiB, 5 passes).
const OWASP_KIB_PASSES: u64 = 7 * 1024 * 5;
const SAME_SITE: [(&str, SameSite); 3] =
    [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
/// Those of the Referrer Policy specification, but for `unsafe-url`.
const REFERRER_POLICIES: [&str; 7] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
];
const PRIORITY: [(&str, CookiePriority); 3] =
    [("low", CookiePriority::Low), ("medium", CookiePriority::Medium), ("high", CookiePriority::High)];

pub(super) fn jwt(root: &mut Section<'_>, public_url: &PublicUrl) -> Jwt {
    let algorithms = SigningAlgorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    let mut s = root.section("jwt");
    let issuer = s.optional("issuer", "`iss` of access tokens. Empty means `server.public_url`.");
    let doc = "`aud` of access tokens. Empty means `server.public_url`.";
    let audience = s.list("audience", "[]", doc, |text| Ok(text.to_owned())).unwrap_or_default();
    let doc = "How access tokens are signed: `HS256`, `HS384`, `HS512`, `RS256`, `RS384`, `RS512`, `ES256` or `EdDSA`. \
               Only nauth reads them, so the cheapest to verify is the default; upstreams have the assertion. What was \
               signed before a change is accepted until it expires.";
    let algorithm = s.choice("algorithm", "HS256", &algorithms, doc);
    let jwt = Jwt {
        algorithm,
        private_key: private_key::private_key(&mut s, algorithm),
        issuer: issuer.unwrap_or_else(|| public_url.origin.clone()),
        audience: if audience.is_empty() { vec![public_url.origin.clone()] } else { audience },
        access_ttl: s.lasting("access_ttl", "15m", "Life of an access token."),
        refresh_ttl: s.lasting("refresh_ttl", "7d", "Life of a refresh token; each refresh starts it anew."),
        refresh_grace: s.duration(
            "refresh_grace",
            "10s",
            "How long the previous refresh token still answers once the current one was seen in use. After that \
             it counts as stolen and its session ends.",
        ),
        leeway: s.duration("leeway", "30s", "Clock difference allowed when expiry is checked."),
        key_rotation: key_rotation(&mut s),
        publish_jwks: s.boolean(
            "publish_jwks",
            true,
            "Whether the public keys stand under `{api.prefix}/.well-known/`: `jwks.json` for assertions, \
             `access-jwks.json` for access tokens.",
        ),
        access_secret: secret(
            &mut s,
            "access_secret",
            "A fixed key for access tokens, 32 bytes or more. Empty means a derived one. With RS*, ES256 and EdDSA it \
             signs no more, but what it signed before is accepted.",
        ),
        refresh_secret: secret(
            &mut s,
            "refresh_secret",
            "A fixed key for refresh tokens, 32 bytes or more. Empty means a derived one.",
        ),
        claims: claims(&mut s),
        told: Vec::new(),
    };
    if let (Some(access), Some(refresh)) = (&jwt.access_secret, &jwt.refresh_secret)
        && access.expose() == refresh.expose()
    {
        s.error("refresh_secret", "access and refresh tokens must not share a key", "leave both empty to derive them");
    }
    s.finish();
    jwt
}

/// Further claims. That of roles and address, which every token has, may be written down.
fn claims(s: &mut Section<'_>) -> Vec<(String, Template)> {
    let doc = "Further claims of access tokens: `tenant = \"{{user.metadata_admin.tenant}}\"`. Known are the `user.…` and \
               `session.…` of `gateway.identity.extra`; a single variable keeps its type, and a claim of which something \
               is not known is left out. Whoever holds a token can read it: no secrets. They share 1 KiB with what \
               headers ask for; what does not fit is left out.";
    let mut claims = Vec::new();
    for (name, text, at) in s.pairs("claims", doc) {
        if matches!((name.as_str(), text.as_str()), ("roles", "{{user.roles}}") | ("email", "{{user.email}}")) {
            continue;
        }
        match claim(&name, &text) {
            Ok(template) => claims.push((name, template)),
            Err(message) => s.report_at(Some(at), message, "write tenant = \"{{user.metadata_admin.tenant}}\""),
        }
    }
    if claims.len() > MAX_CLAIMS {
        s.error("claims", format!("there are more than {MAX_CLAIMS} claims"), "put more into one of them");
    }
    claims
}

fn claim(name: &str, text: &str) -> Result<Template, String> {
    if OWN.contains(&name) {
        return Err(format!("the claim `{name}` is nauth's own"));
    }
    if !may_be_added(name) {
        return Err(format!("`{name}` is not a claim: 1 to 64 of A-Z a-z 0-9 _ . : / -"));
    }
    let template: Template = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    let is_claim =
        |variable: &Variable| matches!(variable, Variable::Told(told) if matches!(told.source(), Source::Claim(_)));
    if template.variables().any(is_claim) {
        return Err(format!("`{text}`: a claim cannot be made of claims"));
    }
    Ok(template)
}

fn key_rotation(s: &mut Section<'_>) -> Duration {
    let doc = "How long a private key of nauth's own (RS*, ES256, EdDSA; assertions) signs before another one does. The \
               next one is published ten minutes ahead, and what the last one signed is accepted until it expires. \
               `0s` means that keys change with `nauth keys rotate` only.";
    let every = s.duration("key_rotation", "90d", doc);
    if !every.is_zero() && every < SHORTEST_ROTATION {
        s.error("key_rotation", "`jwt.key_rotation` must be at least 1h", "the default is \"90d\"");
    }
    every
}

fn secret(s: &mut Section<'_>, key: &'static str, doc: &'static str) -> Option<Secret<String>> {
    let text = s.optional(key, doc)?;
    if text.len() < SECRET_BYTES {
        s.error(
            key,
            format!("`jwt.{key}` must be at least {SECRET_BYTES} bytes"),
            "make one with `openssl rand -base64 32`",
        );
        return None;
    }
    Some(Secret::new(text))
}

pub(super) fn session(root: &mut Section<'_>) -> Session {
    let mut s = root.section("session");
    let session = Session {
        max_concurrent: number(s.integer(
            "max_concurrent",
            0,
            0..=100_000,
            "Sessions of one user at a time. 0 means unlimited.",
        )),
        on_limit: s.choice(
            "on_limit",
            "evict_oldest",
            &[("evict_oldest", OnSessionLimit::EvictOldest), ("deny", OnSessionLimit::Deny)],
            "What a login beyond that does: end the session that was idle longest, or be refused.",
        ),
        single: s.boolean("single", false, "Whether a login ends every other session of the user."),
        idle_timeout: s.duration(
            "idle_timeout",
            "0s",
            "A session ends after this long without activity. `0s` means never.",
        ),
        one_per_device: s.boolean(
            "one_per_device",
            true,
            "Whether a login with the token of a trusted device ends the earlier session of that device.",
        ),
        max_lifetime: s.lasting("max_lifetime", "30d", "A session ends this long after login, whatever happens."),
        revocation_poll: s.lasting(
            "revocation_poll",
            "500ms",
            "How often changes of other processes are read: at most `5s`.",
        ),
        revocation_max_stale: s.lasting(
            "revocation_max_stale",
            "60s",
            "When the database was out of reach for longer, routes with roles answer 503.",
        ),
    };
    if session.single && session.max_concurrent > 1 {
        s.error("single", "`session.single` allows one session, `session.max_concurrent` more", "remove one of them");
    }
    if session.revocation_poll > LONGEST_POLL {
        s.error(
            "revocation_poll",
            "`session.revocation_poll` is longer than 5s",
            "a node that has not read for 10s is not ready",
        );
    }
    if session.idle_timeout > session.max_lifetime {
        s.error("idle_timeout", "`session.idle_timeout` is longer than `session.max_lifetime`", "it would never count");
    }
    s.finish();
    session
}

pub(super) fn delivery(root: &mut Section<'_>, public_url: &PublicUrl, refresh_ttl: Duration) -> Delivery {
    let mut s = root.section("token_delivery");
    let method = s.choice(
        "method",
        "hybrid",
        &[("cookies", DeliveryMethod::Cookies), ("json", DeliveryMethod::Json), ("hybrid", DeliveryMethod::Hybrid)],
        "How tokens travel: cookies for browsers, JSON for everything else, or hybrid: decided for each request.",
    );
    let hybrid_default = s.choice(
        "hybrid_default",
        "auto",
        &[("auto", HybridDefault::Auto), ("cookies", HybridDefault::Cookies), ("json", HybridDefault::Json)],
        "What a client without a credential gets in hybrid when its origin is on no list. auto: cookies when it \
         looks like a browser (Origin or Sec-Fetch-Site), else JSON.",
    );
    let prefix = s.parsed("cookie_prefix", "nauth_", "In front of every cookie name.", cookie_name);
    let (cookie, host_prefix) = token_cookie(&mut s, public_url);
    let prefix = if host_prefix { format!("__Host-{prefix}") } else { prefix };
    keeps_name_rules(&s, if host_prefix { "cookie" } else { "cookie_prefix" }, &prefix, &cookie);
    let origins = |text: &str| origin(text);
    let doc = "Origins whose pages use cookies, besides our own. Empty means `server.public_url`.";
    let web_origins = s.list("web_origins", "[]", doc, origins).unwrap_or_default();
    let doc = "Origins that always get JSON: native shells with a web view.";
    let native_origins = s.list("native_origins", "[]", doc, origins).unwrap_or_default();
    if let Some(both) = native_origins.iter().find(|origin| web_origins.contains(origin)) {
        s.error("native_origins", format!("`{both}` is on both lists"), "pages get cookies or JSON, not both");
    }
    let refresh_ttl_cookies = optional_duration(
        &mut s,
        "refresh_ttl_cookies",
        "Life of refresh tokens in cookies. Empty means `jwt.refresh_ttl`.",
    );
    let refresh_ttl_json =
        optional_duration(&mut s, "refresh_ttl_json", "Life of refresh tokens in JSON. Empty means `jwt.refresh_ttl`.");
    s.finish();
    Delivery {
        method,
        hybrid_default,
        cookie_prefix: prefix,
        cookie,
        web_origins: if web_origins.is_empty() { vec![public_url.origin.clone()] } else { web_origins },
        native_origins,
        refresh_ttl_cookies: refresh_ttl_cookies.unwrap_or(refresh_ttl),
        refresh_ttl_json: refresh_ttl_json.unwrap_or(refresh_ttl),
    }
}

/// `token_delivery.cookie`: the flags, and whether names get the `__Host-` prefix.
fn token_cookie(parent: &mut Section<'_>, public_url: &PublicUrl) -> (CookieFlags, bool) {
    let mut s = parent.section("cookie");
    let default = CookieFlags {
        secure: public_url.is_https(),
        same_site: SameSite::Lax,
        path: "/".to_owned(),
        domain: None,
        priority: CookiePriority::High,
    };
    let flags = cookie(
        &mut s,
        public_url,
        &default,
        [
            "`lax`, `strict` or `none`.",
            "`Path`.",
            "`Domain`. Empty means the host that set the cookie, and no other.",
            "`Priority` (Chromium): `low`, `medium` or `high`.",
        ],
    );
    let doc = "Whether cookie names begin with `__Host-`: bound to this host and to https.";
    let host_prefix = s.boolean("host_prefix", false, doc);
    s.finish();
    (flags, host_prefix)
}

fn optional_duration(s: &mut Section<'_>, key: &'static str, doc: &'static str) -> Option<Duration> {
    let text = s.optional(key, doc)?;
    match values::duration(&text) {
        Ok(duration) => Some(duration),
        Err(message) => {
            s.error(key, message, "leave it empty for `jwt.refresh_ttl`");
            None
        }
    }
}

/// `cookie = { … }`: the flags.
///
/// What is not written follows `default`; `docs` tells about `same_site`, `path`, `domain`, `priority`.
fn cookie(s: &mut Section<'_>, url: &PublicUrl, default: &CookieFlags, docs: [&'static str; 4]) -> CookieFlags {
    let [same_site, path, domain, priority] = docs;
    let secure = default.secure;
    let doc = "`auto`: Secure when `server.public_url` is https. Anything else must say the same.";
    let written = s.word("secure", "auto", doc);
    if written != "auto" && written != secure.to_string() {
        let message = format!("`secure = {written}` contradicts `server.public_url` ({})", url.scheme);
        s.error("secure", message, "remove the line");
    }
    let own_domain = s.optional("domain", domain).map(|domain| domain.to_ascii_lowercase());
    if let Some(domain) = own_domain.as_ref().filter(|domain| !is_of(&url.host, domain)) {
        let message = format!("`{domain}` is not `{}` or a domain above it", url.host);
        s.error("domain", message, "browsers drop cookies of other domains");
    }
    let flags = CookieFlags {
        secure,
        same_site: s.choice("same_site", word_of(&SAME_SITE, default.same_site), &SAME_SITE, same_site),
        path: s.parsed("path", &default.path, path, cookie_path),
        domain: own_domain.or_else(|| default.domain.clone()),
        priority: s.choice("priority", word_of(&PRIORITY, default.priority), &PRIORITY, priority),
    };
    if flags.same_site == SameSite::None && !secure {
        s.error("same_site", "`same_site = \"none\"` needs an https `server.public_url`", "browsers drop such cookies");
    }
    flags
}

fn word_of<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

/// Browsers take `__Host-` names only for this very host, by https, on every path (RFC 6265bis, 4.1.3).
fn keeps_name_rules(s: &Section<'_>, key: &str, name: &str, flags: &CookieFlags) {
    if name.starts_with("__Host-") && (!flags.secure || flags.path != "/" || flags.domain.is_some()) {
        s.error(key, "a `__Host-` cookie needs https, path `/` and no domain", "browsers drop it otherwise");
    }
    if name.starts_with("__Secure-") && !flags.secure {
        s.error(key, "a `__Secure-` cookie needs https", "browsers drop it otherwise");
    }
}

/// Whether a host may set cookies for a domain: it is the host, or above it.
fn is_of(host: &str, domain: &str) -> bool {
    let name = domain.strip_prefix('.').unwrap_or(domain);
    host == name || name.contains('.') && host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// A cookie's name: a token (RFC 6265, 4.1.1).
fn cookie_name(text: &str) -> Result<String, String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.chars().all(token) { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot stand in a cookie's name")) }
}

fn cookie_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` must begin with `/`"));
    }
    let plain = |c: char| (' '..='~').contains(&c) && c != ';';
    if text.chars().all(plain) { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot stand in a cookie's path")) }
}

pub(super) fn security(root: &mut Section<'_>, server: &Server, delivery: &Delivery) -> Security {
    let mut s = root.section("security");
    let origins = |text: &str| origin(text);
    let mask_sensitive = s.boolean("mask_sensitive", true, "Whether addresses in challenges are masked.");
    let contact_change = s.choice(
        "contact_change",
        "pending",
        &[("pending", ContactChange::Pending), ("immediate", ContactChange::Immediate)],
        "When a new e-mail address or phone number takes the place of the old one: once it is proven, or at once \
         as an unproven one.",
    );
    let reauth_age = s.lasting("reauth_age", "15m", "Sensitive changes need a login this fresh.");
    let doc = "Whether signup hides that an address has an account: the answer is the same, and the owner gets a \
               mail. Login and password reset never tell.";
    let hide_existing_accounts = s.boolean("hide_existing_accounts", false, doc);
    let doc = "Origins, besides our own, that a login may return to. A path on our own host is always allowed.";
    let return_to_origins = s.list("return_to_origins", "[]", doc, origins).unwrap_or_default();
    let password_hash = password_hash(&mut s);
    let csrf = csrf(&mut s, server, delivery);
    let mut cors = s.section("cors");
    let doc = "Origins whose pages may call the auth API. Empty means `token_delivery.web_origins`.";
    let cors_origins = cors.list("origins", "[]", doc, origins).unwrap_or_default();
    let cors_max_age = cors.duration("max_age", "10m", "How long browsers remember the answer to a preflight.");
    cors.finish();
    let headers = page_headers(&mut s);
    s.finish();
    Security {
        mask_sensitive,
        contact_change,
        reauth_age,
        hide_existing_accounts,
        return_to_origins,
        password_hash,
        csrf,
        cors_origins: if cors_origins.is_empty() { delivery.web_origins.clone() } else { cors_origins },
        cors_max_age,
        headers,
    }
}

fn page_headers(parent: &mut Section<'_>) -> PageHeaders {
    let mut s = parent.section("headers");
    let doc = "`X-Frame-Options` of the built-in pages and the auth API, and the `frame-ancestors` that says the same: \
               nobody may put them into a frame, or pages of our own origin may.";
    let framing = [("DENY", FrameOptions::Deny), ("SAMEORIGIN", FrameOptions::SameOrigin)];
    let frame_options = s.choice("frame_options", "DENY", &framing, doc);
    let doc = "`Referrer-Policy` of the built-in pages and the auth API.";
    let policies = REFERRER_POLICIES.map(|policy| (policy, policy));
    let policy = s.choice("referrer_policy", "strict-origin-when-cross-origin", &policies, doc);
    s.finish();
    PageHeaders { frame_options, referrer_policy: HeaderValue::from_static(policy) }
}

fn password_hash(parent: &mut Section<'_>) -> PasswordHash {
    let mut s = parent.section("password_hash");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = s.size("memory", "19MiB", "Memory of one argon2id hash (OWASP recommends 19MiB with 2 iterations).");
    let threads = number(s.integer("max_concurrent", 0, 0..=256, "Hashing threads. 0 means cores - 1."));
    let queue = number(s.integer("max_queue", 0, 0..=1_000_000, "Hashes that may wait. 0 means 64 x cores."));
    let hash = PasswordHash {
        memory_kib: u32::try_from(memory / 1024).unwrap_or(u32::MAX),
        iterations: number(s.integer("iterations", 2, 1..=20, "Passes.")),
        parallelism: number(s.integer("parallelism", 1, 1..=16, "Lanes.")),
        threads: if threads == 0 { cores.saturating_sub(1).max(1) } else { threads as usize },
        max_queue: if queue == 0 { 64 * cores } else { queue as usize },
    };
    if hash.memory_kib < 8 * hash.parallelism || hash.memory_kib > 256 * 1024 {
        s.error("memory", "`memory` must be from 8KiB for each lane to 256MiB", "the default is \"19MiB\"");
    } else if u64::from(hash.memory_kib) * u64::from(hash.iterations) < OWASP_KIB_PASSES {
        s.warning(
            "memory",
            "passwords are hashed more cheaply than OWASP recommends",
            "the default is \"19MiB\" and 2",
        );
    }
    s.finish();
    hash
}

fn csrf(parent: &mut Section<'_>, server: &Server, delivery: &Delivery) -> Csrf {
    let mut s = parent.section("csrf");
    let name = s.optional("cookie_name", "The readable cookie. Empty means `{cookie_prefix}csrf_token`.");
    let header_name = s.parsed("header_name", "x-csrf-token", "The header that must repeat it.", |text| {
        text.parse::<HeaderName>().map_err(|_| format!("`{text}` is not a header name"))
    });
    let doc = "Path prefixes, on segment boundaries, of the auth API that need no token.";
    let excluded_paths = s.list("excluded_paths", "[]", doc, |text| path(text).map(|()| text.to_owned()));
    let cookie = csrf_cookie(&mut s, &server.public_url, delivery);
    let cookie_name = name.unwrap_or_else(|| format!("{}csrf_token", delivery.cookie_prefix));
    if let Err(message) = self::cookie_name(&cookie_name) {
        s.error("cookie_name", message, "letters, digits, `-` and `_`");
    }
    keeps_name_rules(&s, "cookie", &cookie_name, &cookie);
    s.finish();
    Csrf { cookie_name, header_name, excluded_paths: excluded_paths.unwrap_or_default(), cookie }
}

/// `security.csrf.cookie`: like the token cookies, but never sent along from other sites.
fn csrf_cookie(parent: &mut Section<'_>, public_url: &PublicUrl, delivery: &Delivery) -> CookieFlags {
    let mut s = parent.section("cookie");
    let default = CookieFlags { same_site: SameSite::Strict, ..delivery.cookie.clone() };
    let flags = cookie(
        &mut s,
        public_url,
        &default,
        [
            "`strict`, `lax` or `none`.",
            "`Path`. The default follows `token_delivery.cookie`.",
            "`Domain`. Empty follows `token_delivery.cookie`.",
            "`Priority`. The default follows `token_delivery.cookie`.",
        ],
    );
    s.finish();
    flags
}
