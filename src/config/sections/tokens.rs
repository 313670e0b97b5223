//! `[jwt]`, `[session]`, `[token_delivery]`, `[security]`.

use std::time::Duration;

use http::HeaderName;

use crate::config::reader::Section;
use crate::config::sections::server::{number, origin};
use crate::config::settings::{
    CookieFlags, CookiePriority, Csrf, Delivery, DeliveryMethod, HmacAlgorithm, HybridDefault, Jwt, PasswordHash,
    PublicUrl, SameSite, Security, Server, Session,
};
use crate::config::values;
use crate::domain::secret::Secret;

/// Shortest fixed signing key, in bytes.
const SECRET_BYTES: usize = 32;

pub(super) fn jwt(root: &mut Section<'_>, public_url: &PublicUrl) -> Jwt {
    let mut s = root.section("jwt");
    let issuer = s.optional("issuer", "`iss` of access tokens. Empty means `server.public_url`.");
    let doc = "`aud` of access tokens. Empty means `server.public_url`.";
    let audience = s.list("audience", "[]", doc, |text| Ok(text.to_owned())).unwrap_or_default();
    let jwt = Jwt {
        algorithm: s.choice(
            "algorithm",
            "HS256",
            &[("HS256", HmacAlgorithm::Hs256), ("HS384", HmacAlgorithm::Hs384), ("HS512", HmacAlgorithm::Hs512)],
            "How access tokens are signed. Only nauth reads them, so the cheapest to verify is the default.",
        ),
        issuer: issuer.unwrap_or_else(|| public_url.origin.clone()),
        audience: if audience.is_empty() { vec![public_url.origin.clone()] } else { audience },
        access_ttl: s.duration("access_ttl", "15m", "Life of an access token."),
        refresh_ttl: s.duration("refresh_ttl", "7d", "Life of a refresh token; each refresh starts it anew."),
        refresh_grace: s.duration(
            "refresh_grace",
            "10s",
            "How long the previous refresh token still answers once the current one was seen in use. After that \
             it counts as stolen and its session ends.",
        ),
        leeway: s.duration("leeway", "30s", "Clock difference allowed when expiry is checked."),
        access_secret: secret(
            &mut s,
            "access_secret",
            "A fixed key for access tokens, 32 bytes or more. Empty means a derived one.",
        ),
        refresh_secret: secret(
            &mut s,
            "refresh_secret",
            "A fixed key for refresh tokens, 32 bytes or more. Empty means a derived one.",
        ),
    };
    if jwt.access_ttl.is_zero() {
        s.error("access_ttl", "`jwt.access_ttl` must be longer than nothing", "access tokens usually live 5m to 1h");
    }
    if jwt.access_ttl >= jwt.refresh_ttl {
        let (access, refresh) = (shown(jwt.access_ttl), shown(jwt.refresh_ttl));
        let message = format!("`jwt.access_ttl` ({access}) must be shorter than `jwt.refresh_ttl` ({refresh})");
        let key = if s.has("access_ttl") { "access_ttl" } else { "refresh_ttl" };
        s.error(key, message, "access tokens usually live 5m to 1h");
    }
    if let (Some(access), Some(refresh)) = (&jwt.access_secret, &jwt.refresh_secret)
        && access.expose() == refresh.expose()
    {
        s.error("refresh_secret", "access and refresh tokens must not share a key", "leave both empty to derive them");
    }
    s.finish();
    jwt
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
        max_lifetime: s.duration("max_lifetime", "30d", "A session ends this long after login, whatever happens."),
        revocation_poll: s.duration("revocation_poll", "500ms", "How often changes of other processes are read."),
        revocation_max_stale: s.duration(
            "revocation_max_stale",
            "60s",
            "When the database was out of reach for longer, routes with roles answer 503.",
        ),
    };
    if session.max_lifetime.is_zero() || session.revocation_poll.is_zero() {
        s.error(
            "max_lifetime",
            "`session.max_lifetime` and `session.revocation_poll` must not be 0",
            "remove the line",
        );
    }
    s.finish();
    session
}

pub(super) fn delivery(root: &mut Section<'_>, public_url: &PublicUrl) -> Delivery {
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
    let prefix = s.text("cookie_prefix", "nauth_", "In front of every cookie name.");
    let (cookie, host_prefix) = cookie(&mut s, SameSite::Lax, public_url);
    let origins = |text: &str| origin(text);
    let doc = "Origins whose pages use cookies, besides our own. Empty means `server.public_url`.";
    let web_origins = s.list("web_origins", "[]", doc, origins).unwrap_or_default();
    let doc = "Origins that always get JSON: native shells with a web view.";
    let native_origins = s.list("native_origins", "[]", doc, origins).unwrap_or_default();
    let refresh_ttl_cookies = optional_duration(
        &mut s,
        "refresh_ttl_cookies",
        "Life of refresh tokens in cookies. Empty means `jwt.refresh_ttl`.",
    );
    let refresh_ttl_json =
        optional_duration(&mut s, "refresh_ttl_json", "Life of refresh tokens in JSON. Empty means `jwt.refresh_ttl`.");
    s.finish();
    let refresh_ttl = refresh_ttl(root);
    Delivery {
        method,
        hybrid_default,
        cookie_prefix: if host_prefix { format!("__Host-{prefix}") } else { prefix },
        cookie,
        web_origins: if web_origins.is_empty() { vec![public_url.origin.clone()] } else { web_origins },
        native_origins,
        refresh_ttl_cookies: refresh_ttl_cookies.unwrap_or(refresh_ttl),
        refresh_ttl_json: refresh_ttl_json.unwrap_or(refresh_ttl),
    }
}

/// `jwt.refresh_ttl` again, for what defaults to it; it is declared and checked with its section.
fn refresh_ttl(root: &mut Section<'_>) -> Duration {
    let mut jwt = root.section("jwt");
    let text = jwt.text("refresh_ttl", "7d", "");
    values::duration(&text).unwrap_or(Duration::from_hours(7 * 24))
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

/// `cookie = { … }`: the flags, and whether names get the `__Host-` prefix.
fn cookie(parent: &mut Section<'_>, same_site: SameSite, public_url: &PublicUrl) -> (CookieFlags, bool) {
    let mut s = parent.section("cookie");
    let secure = public_url.is_https();
    let doc = "`auto`: Secure when `server.public_url` is https. Anything else must say the same.";
    let written = s.text("secure", "auto", doc);
    if written != "auto" && written != secure.to_string() {
        let message = format!("`secure = \"{written}\"` contradicts `server.public_url` ({})", public_url.scheme);
        s.error("secure", message, "remove the line");
    }
    let default = if same_site == SameSite::Strict { "strict" } else { "lax" };
    let flags = CookieFlags {
        secure,
        same_site: s.choice(
            "same_site",
            default,
            &[("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)],
            "`lax`, `strict` or `none`.",
        ),
        path: s.text("path", "/", "`Path`."),
        domain: s.optional("domain", "`Domain`. Empty means the host that set the cookie, and no other."),
        priority: s.choice(
            "priority",
            "high",
            &[("low", CookiePriority::Low), ("medium", CookiePriority::Medium), ("high", CookiePriority::High)],
            "`Priority` (Chromium).",
        ),
    };
    let doc = "Whether cookie names begin with `__Host-`: bound to this host and to https.";
    let host_prefix = same_site == SameSite::Lax && s.boolean("host_prefix", false, doc);
    if flags.same_site == SameSite::None && !secure {
        s.error("same_site", "`same_site = \"none\"` needs an https `server.public_url`", "browsers drop such cookies");
    }
    if host_prefix && (!secure || flags.path != "/" || flags.domain.is_some()) {
        s.error("host_prefix", "`__Host-` cookies need https, path `/` and no domain", "remove the line");
    }
    s.finish();
    (flags, host_prefix)
}

pub(super) fn security(root: &mut Section<'_>, server: &Server, delivery: &Delivery) -> Security {
    let mut s = root.section("security");
    let origins = |text: &str| origin(text);
    let mask_sensitive = s.boolean("mask_sensitive", true, "Whether addresses in challenges are masked.");
    let doc = "Origins, besides our own, that a login may return to. A path on our own host is always allowed.";
    let return_to_origins = s.list("return_to_origins", "[]", doc, origins).unwrap_or_default();
    let password_hash = password_hash(&mut s);
    let csrf = csrf(&mut s, server, delivery);
    let mut cors = s.section("cors");
    let doc = "Origins whose pages may call the auth API. Empty means `token_delivery.web_origins`.";
    let cors_origins = cors.list("origins", "[]", doc, origins).unwrap_or_default();
    let cors_max_age = cors.duration("max_age", "10m", "How long browsers remember the answer to a preflight.");
    cors.finish();
    s.finish();
    Security {
        mask_sensitive,
        return_to_origins,
        password_hash,
        csrf,
        cors_origins: if cors_origins.is_empty() { delivery.web_origins.clone() } else { cors_origins },
        cors_max_age,
    }
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
    } else if u64::from(hash.memory_kib) * u64::from(hash.iterations) < 19 * 1024 {
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
    let excluded_paths = s.list("excluded_paths", "[]", doc, |text| Ok(text.to_owned())).unwrap_or_default();
    let (mut cookie, _) = cookie(&mut s, SameSite::Strict, &server.public_url);
    if cookie.domain.is_none() {
        cookie.domain.clone_from(&delivery.cookie.domain);
    }
    s.finish();
    Csrf {
        cookie_name: name.unwrap_or_else(|| format!("{}csrf_token", delivery.cookie_prefix)),
        header_name,
        excluded_paths,
        cookie,
    }
}

fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}
