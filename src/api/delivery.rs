//! How tokens get to the client: in cookies for browsers, in the body for everything else.
//!
//! An answer goes back the way its credential came. Only a request that has none yet (signup,
//! login, a challenge) is judged by the settings and by what it shows of its client.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::api::credentials::SessionCookies;
use crate::api::dialect::CookieNames;
use crate::auth::Grant;
use crate::config::settings::{CookieFlags, CookiePriority, DeliveryMethod, HybridDefault, SameSite, Settings};
use crate::domain::clock::Time;
use crate::domain::session::Delivery;

/// How the tokens of a request without a credential will travel.
#[must_use]
pub fn for_newcomer(settings: &Settings, headers: &HeaderMap) -> Delivery {
    match settings.delivery.method {
        DeliveryMethod::Cookies => Delivery::Cookies,
        DeliveryMethod::Json => Delivery::Json,
        DeliveryMethod::Hybrid => hybrid(settings, headers),
    }
}

/// Listed origins first; then whether the client looks like a browser.
fn hybrid(settings: &Settings, headers: &HeaderMap) -> Delivery {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let listed = |origins: &[String]| origins.iter().any(|known| Some(known.as_str()) == origin);
    if listed(&settings.delivery.native_origins) {
        return Delivery::Json;
    }
    if listed(&settings.delivery.web_origins) || origin == Some(&settings.server.public_url.origin) {
        return Delivery::Cookies;
    }
    let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    match settings.delivery.hybrid_default {
        HybridDefault::Cookies => Delivery::Cookies,
        HybridDefault::Auto if is_browser => Delivery::Cookies,
        HybridDefault::Auto | HybridDefault::Json => Delivery::Json,
    }
}

/// The cookie names of the native wire.
#[must_use]
pub fn cookie_names(settings: &Settings) -> CookieNames {
    let named = |name: &str| format!("{}{name}", settings.delivery.cookie_prefix);
    CookieNames {
        access: named("access_token"),
        refresh: named("refresh_token"),
        device: named("device_token"),
        csrf: settings.security.csrf.cookie_name.clone(),
    }
}

/// The `Set-Cookie` values that hand `grant` to a browser: access, refresh and CSRF token.
///
/// The token cookies end with their tokens; the CSRF cookie ends with the refresh token, because
/// it is good for the whole session.
#[must_use]
pub fn set_cookies(settings: &Settings, grant: &Grant, csrf_token: &str, now: Time) -> Vec<HeaderValue> {
    let names = cookie_names(settings);
    let (flags, csrf_flags) = (&settings.delivery.cookie, &settings.security.csrf.cookie);
    let access_life = grant.tokens.access_expires_at.since(now);
    let refresh_life = grant.tokens.refresh_expires_at.since(now);
    vec![
        set_cookie(&names.access, grant.tokens.access.expose(), flags, Reader::Server, access_life),
        set_cookie(&names.refresh, grant.tokens.refresh.expose(), flags, Reader::Server, refresh_life),
        set_cookie(&names.csrf, csrf_token, csrf_flags, Reader::Script, refresh_life),
    ]
}

/// The `Set-Cookie` values that take access, refresh and CSRF token away again.
///
/// Where a domain is configured they are expired both with it and host-only: which of the two a
/// browser holds depends on what was configured when it got them.
#[must_use]
pub fn clear_cookies(settings: &Settings) -> Vec<HeaderValue> {
    let names = cookie_names(settings);
    let (flags, csrf_flags) = (&settings.delivery.cookie, &settings.security.csrf.cookie);
    let mut cleared = Vec::new();
    for (name, flags, reader) in [
        (&names.access, flags, Reader::Server),
        (&names.refresh, flags, Reader::Server),
        (&names.csrf, csrf_flags, Reader::Script),
    ] {
        if flags.domain.is_some() {
            let host_only = CookieFlags { domain: None, ..flags.clone() };
            cleared.push(set_cookie(name, "", &host_only, reader, Duration::ZERO));
        }
        cleared.push(set_cookie(name, "", flags, reader, Duration::ZERO));
    }
    cleared
}

/// The `Set-Cookie` values that take away what would stand beside new cookies.
///
/// A browser with several values of a name got them from different configurations. With a domain
/// configured the others are host-only, and these can be named; without one they cannot.
#[must_use]
pub fn clear_shadows(settings: &Settings, held: &SessionCookies) -> Vec<HeaderValue> {
    let names = cookie_names(settings);
    let host_only = CookieFlags { domain: None, ..settings.delivery.cookie.clone() };
    if settings.delivery.cookie.domain.is_none() || (held.access.len() <= 1 && held.refresh.len() <= 1) {
        return vec![];
    }
    [&names.access, &names.refresh]
        .map(|name| set_cookie(name, "", &host_only, Reader::Server, Duration::ZERO))
        .to_vec()
}

/// Who may read a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Only nauth: `HttpOnly`.
    Server,
    /// The page's script too.
    Script,
}

/// One `Set-Cookie` value (RFC 6265, section 4.1). Written by hand because the `cookie` crate does not know `Priority`.
fn set_cookie(name: &str, value: &str, flags: &CookieFlags, reader: Reader, life: Duration) -> HeaderValue {
    let mut text = format!("{name}={value}; Path={}; Max-Age={}", flags.path, life.as_secs());
    if life.is_zero() {
        text.push_str("; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    }
    if let Some(domain) = &flags.domain {
        text.push_str("; Domain=");
        text.push_str(domain);
    }
    if reader == Reader::Server {
        text.push_str("; HttpOnly");
    }
    if flags.secure {
        text.push_str("; Secure");
    }
    text.push_str(match flags.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    text.push_str(match flags.priority {
        CookiePriority::Low => "; Priority=Low",
        CookiePriority::Medium => "; Priority=Medium",
        CookiePriority::High => "; Priority=High",
    });
    HeaderValue::from_str(&text).expect("tokens and checked settings are visible ASCII")
}
