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

/// The `Set-Cookie` values that hand a browser another access token beside the refresh token it has.
#[must_use]
pub fn set_access_cookie(settings: &Settings, grant: &Grant, held: &SessionCookies, now: Time) -> Vec<HeaderValue> {
    let (name, flags) = (cookie_names(settings).access, &settings.delivery.cookie);
    let host_only = CookieFlags { domain: None, ..flags.clone() };
    let is_shadowed = flags.domain.is_some() && held.access.len() > 1;
    let shadow = is_shadowed.then(|| set_cookie(&name, "", &host_only, Reader::Server, Duration::ZERO));
    let life = grant.tokens.access_expires_at.since(now);
    let set = set_cookie(&name, grant.tokens.access.expose(), flags, Reader::Server, life);
    shadow.into_iter().chain([set]).collect()
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

/// The `Set-Cookie` value that hands a device its token.
#[must_use]
pub fn device_cookie(settings: &Settings, token: &str) -> HeaderValue {
    let name = cookie_names(settings).device;
    set_cookie(&name, token, &settings.delivery.cookie, Reader::Server, settings.mfa.trust.ttl)
}

/// The `Set-Cookie` values that take a device's token away again.
#[must_use]
pub fn clear_device_cookie(settings: &Settings) -> Vec<HeaderValue> {
    let (name, flags) = (cookie_names(settings).device, &settings.delivery.cookie);
    let host_only = CookieFlags { domain: None, ..flags.clone() };
    let mut cleared = vec![set_cookie(&name, "", &host_only, Reader::Server, Duration::ZERO)];
    if flags.domain.is_some() {
        cleared.push(set_cookie(&name, "", flags, Reader::Server, Duration::ZERO));
    }
    cleared
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests_support::{ORIGIN, settings};

    #[test]
    fn newcomers_are_judged_by_origin_then_by_signs_of_a_browser() {
        type Lines = &'static [(&'static str, &'static str)];
        use HybridDefault::Auto;
        const FETCH: (&str, &str) = ("sec-fetch-site", "same-origin");
        let cases: [(DeliveryMethod, HybridDefault, Lines, Delivery); 12] = [
            (DeliveryMethod::Cookies, Auto, &[], Delivery::Cookies),
            (DeliveryMethod::Json, Auto, &[("origin", ORIGIN)], Delivery::Json),
            (DeliveryMethod::Hybrid, Auto, &[], Delivery::Json),
            (DeliveryMethod::Hybrid, Auto, &[("origin", ORIGIN)], Delivery::Cookies),
            (DeliveryMethod::Hybrid, Auto, &[("origin", "http://spa.local")], Delivery::Cookies),
            (DeliveryMethod::Hybrid, Auto, &[("origin", "capacitor://localhost")], Delivery::Json),
            (DeliveryMethod::Hybrid, Auto, &[("origin", "capacitor://localhost"), FETCH], Delivery::Json),
            (DeliveryMethod::Hybrid, Auto, &[("origin", "https://else.example")], Delivery::Cookies),
            (DeliveryMethod::Hybrid, Auto, &[FETCH], Delivery::Cookies),
            (DeliveryMethod::Hybrid, HybridDefault::Cookies, &[], Delivery::Cookies),
            (DeliveryMethod::Hybrid, HybridDefault::Json, &[FETCH], Delivery::Json),
            (DeliveryMethod::Hybrid, HybridDefault::Json, &[("origin", ORIGIN)], Delivery::Cookies),
        ];
        for (method, hybrid_default, lines, expected) in cases {
            let mut settings = settings();
            (settings.delivery.method, settings.delivery.hybrid_default) = (method, hybrid_default);
            let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(for_newcomer(&settings, &headers), expected, "{method:?} {hybrid_default:?} {lines:?}");
        }
    }

    #[test]
    fn cookies_carry_every_flag() {
        let flags = CookieFlags {
            secure: true,
            same_site: SameSite::None,
            path: "/app".to_owned(),
            domain: Some("example.com".to_owned()),
            priority: CookiePriority::Low,
        };

        let token = set_cookie("nauth_access_token", "a.b.c", &flags, Reader::Server, Duration::from_mins(1));
        let readable = set_cookie("csrf", "x", &settings().security.csrf.cookie, Reader::Script, Duration::ZERO);

        assert_eq!(
            token,
            "nauth_access_token=a.b.c; Path=/app; Max-Age=60; Domain=example.com; HttpOnly; Secure; SameSite=None; Priority=Low"
        );
        assert_eq!(
            readable,
            "csrf=x; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Strict; Priority=High"
        );
    }

    #[test]
    fn cookies_are_cleared_with_the_domain_and_without() {
        let mut settings = settings();
        assert_eq!(clear_cookies(&settings).len(), 3);

        settings.delivery.cookie.domain = Some("example.com".to_owned());
        settings.security.csrf.cookie.domain = Some("example.com".to_owned());
        let cleared = clear_cookies(&settings);

        assert_eq!(cleared.len(), 6);
        let with_domain = cleared.iter().filter(|line| line.to_str().unwrap().contains("; Domain=example.com"));
        assert_eq!(with_domain.count(), 3);
    }

    #[test]
    fn new_cookies_come_after_the_ones_in_their_way_are_gone() {
        let mut settings = settings();
        let twice = SessionCookies { access: vec!["a".to_owned(), "b".to_owned()], refresh: vec![] };
        assert!(clear_shadows(&settings, &twice).is_empty(), "without a domain nothing can be named");

        settings.delivery.cookie.domain = Some("example.com".to_owned());
        assert_eq!(clear_shadows(&settings, &twice).len(), 2);
        assert!(clear_shadows(&settings, &SessionCookies::default()).is_empty());
    }
}
