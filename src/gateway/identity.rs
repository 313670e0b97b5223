//! Who the user is, in headers no client can forge: strip first, inject last.
//!
//! Every name by which any gateway is known to tell an upstream who its user is is dropped from
//! every request on every route, in any spelling an upstream may read as the same: CGI and its
//! descendants fold `-`, `_`, `.` and letter case together.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::settings::{Identity, IdentityPreset, IdentityUser};
use crate::domain::claims::AccessClaims;
use crate::gateway::credentials::CookieNames;
use crate::metrics::HeaderClass;

/// Longer names are nobody's identity header.
const MAX_NAME: usize = 64;
/// Longest list of groups an upstream gets.
const MAX_GROUPS: usize = 4096;

const NAMES: &[(&str, HeaderClass)] = &[
    ("x-forwarded-user", HeaderClass::Forwarded),
    ("x-forwarded-email", HeaderClass::Forwarded),
    ("x-forwarded-groups", HeaderClass::Forwarded),
    ("x-forwarded-groups-truncated", HeaderClass::Forwarded),
    ("x-forwarded-preferred-username", HeaderClass::Forwarded),
    ("x-forwarded-access-token", HeaderClass::Forwarded),
    ("remote-user", HeaderClass::Remote),
    ("remote-email", HeaderClass::Remote),
    ("remote-name", HeaderClass::Remote),
    ("remote-groups", HeaderClass::Remote),
    ("remote-sub", HeaderClass::Remote),
    ("x-auth-subject", HeaderClass::Auth),
    ("x-auth-userid", HeaderClass::Auth),
    ("x-auth-username", HeaderClass::Auth),
    ("x-auth-email", HeaderClass::Auth),
    ("x-auth-groups", HeaderClass::Auth),
    ("x-auth-roles", HeaderClass::Auth),
    ("x-auth-token", HeaderClass::Auth),
    ("x-webauth-user", HeaderClass::Vendor),
    ("x-jwt-assertion", HeaderClass::Vendor),
    ("x-original-url", HeaderClass::Rewrite),
    ("x-rewrite-url", HeaderClass::Rewrite),
];

const PREFIXES: &[(&str, HeaderClass)] = &[
    ("x-nauth-", HeaderClass::Nauth),
    ("x-auth-request-", HeaderClass::Auth),
    ("x-authentik-", HeaderClass::Vendor),
    ("x-pomerium-", HeaderClass::Vendor),
    ("x-goog-iap-", HeaderClass::Vendor),
    ("x-goog-authenticated-", HeaderClass::Vendor),
    ("cf-access-", HeaderClass::Vendor),
    ("x-amzn-oidc-", HeaderClass::Vendor),
    ("x-token-", HeaderClass::Vendor),
];

/// Names whose proper spelling is rewritten towards the upstream, and whose other spellings are dropped.
const FORWARDING: &[&str] =
    &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded", "x-real-ip"];

/// What percent-encoding leaves alone: printable ASCII without the blank, `%` and `,`.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// The names that clients may not send.
#[derive(Debug, Clone)]
pub struct Managed {
    configured: HashSet<String>,
}

impl Managed {
    /// The built-in names and the operator's.
    #[must_use]
    pub fn new(configured: &[String]) -> Self {
        Self {
            configured: configured.iter().map(|name| name.replace(['_', '.', ' '], "-").to_ascii_lowercase()).collect(),
        }
    }

    /// The family of a name that clients may not send.
    #[must_use]
    pub fn class_of(&self, name: &HeaderName) -> Option<HeaderClass> {
        let raw = name.as_str();
        let mut buffer = [0; MAX_NAME];
        let folded = fold(raw, &mut buffer)?;
        if let Some((_, class)) = NAMES.iter().find(|(known, _)| *known == folded) {
            return Some(*class);
        }
        if let Some((_, class)) = PREFIXES.iter().find(|(prefix, _)| folded.starts_with(prefix)) {
            return Some(*class);
        }
        if self.configured.contains(folded) {
            return Some(HeaderClass::Configured);
        }
        (raw != folded && FORWARDING.contains(&folded)).then_some(HeaderClass::Forwarded)
    }
}

/// Lower case, with `-` for what is read as the same; `None` for names that are too long to matter.
fn fold<'a>(name: &str, buffer: &'a mut [u8; MAX_NAME]) -> Option<&'a str> {
    // A longer name is looked at as far as a prefix could reach.
    let bytes = &name.as_bytes()[..name.len().min(MAX_NAME)];
    for (to, from) in buffer.iter_mut().zip(bytes) {
        *to = match from {
            b'_' | b'.' | b' ' => b'-',
            byte => byte.to_ascii_lowercase(),
        };
    }
    std::str::from_utf8(&buffer[..bytes.len()]).ok()
}

/// The headers that tell an upstream who the user is.
#[must_use]
pub fn headers(claims: &AccessClaims, settings: &Identity) -> Vec<(HeaderName, HeaderValue)> {
    if settings.preset == IdentityPreset::None {
        return Vec::new();
    }
    let email = (claims.email_verified || settings.allow_unverified).then_some(claims.email.as_str());
    let user = match settings.user {
        IdentityUser::Sub => Some(claims.sub.as_str()),
        IdentityUser::Email => email,
        IdentityUser::Username => claims.username.as_deref(),
    };
    let mut headers = Vec::with_capacity(4);
    let mut add = |name: &'static str, value: Option<&str>| {
        let value = value.map(encoded).and_then(|value| HeaderValue::try_from(value).ok());
        headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
    };
    add("x-forwarded-user", user);
    add("x-forwarded-email", email);
    add("x-forwarded-preferred-username", claims.username.as_deref());
    let (groups, truncated) = groups(&claims.roles);
    if let Ok(value) = HeaderValue::try_from(groups) {
        headers.push((HeaderName::from_static("x-forwarded-groups"), value));
    }
    if truncated {
        headers.push((HeaderName::from_static("x-forwarded-groups-truncated"), HeaderValue::from_static("1")));
    }
    headers
}

/// The roles, comma separated, as many as fit.
fn groups(roles: &[String]) -> (String, bool) {
    let mut list = String::new();
    for role in roles {
        let role = encoded(role);
        if list.len() + role.len() + 1 > MAX_GROUPS {
            return (list, true);
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&role);
    }
    (list, false)
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, VALUE).to_string()
}

/// Whether `Connection` names only what belongs to the connection. A client that nominates other
/// headers could have them removed on the way.
#[must_use]
pub fn connection_is_acceptable(headers: &HeaderMap) -> bool {
    const KNOWN: [&str; 6] = ["close", "keep-alive", "upgrade", "te", "http2-settings", "proxy-connection"];
    headers.get_all(header::CONNECTION).iter().all(|value| {
        let Ok(value) = value.to_str() else { return false };
        let mut named = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        named.all(|name| KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known)))
    })
}

/// Whether a `Set-Cookie` of an upstream sets a cookie of ours.
#[must_use]
pub fn sets_own_cookie(value: &HeaderValue, names: &CookieNames) -> bool {
    let bytes = value.as_bytes();
    let end = bytes.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..end]);
    names.is_own(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> Option<HeaderClass> {
        Managed::new(&["x-tenant".to_owned()]).class_of(&name.parse().unwrap())
    }

    #[test]
    fn identity_headers_are_recognised_in_every_spelling() {
        for name in [
            "X-Forwarded-User",
            "x_forwarded_user",
            "X.Forwarded.Email",
            "x-forwarded_groups",
            "X-Nauth-Anything",
            "x_nauth_x",
            "REMOTE_USER",
            "Remote-Groups",
            "X-Auth-Request-User",
            "X-authentik-username",
            "CF_Access_Jwt_Assertion",
            "X-Tenant",
            "x_tenant",
            "X_Forwarded_For",
            "x.real.ip",
            "X-Original-URL",
            "X-Token-User-Email",
        ] {
            assert!(class(name).is_some(), "{name}");
        }
        for name in ["x-forwarded-for", "forwarded", "host", "cookie", "x-auth", "x-authority", "remote", "accept"] {
            assert!(class(name).is_none(), "{name}");
        }
    }

    fn claims() -> AccessClaims {
        let mut claims = crate::tokens::access::tests_support::token(1, 1, 0).claims;
        claims.email_verified = true;
        claims.username = Some("ada".to_owned());
        claims.roles = vec!["admin".to_owned(), "user".to_owned()];
        claims
    }

    fn settings(user: IdentityUser, allow_unverified: bool) -> Identity {
        Identity { allow_unverified, user, preset: IdentityPreset::Standard }
    }

    fn value(headers: &[(HeaderName, HeaderValue)], name: &str) -> Option<String> {
        headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn upstreams_are_told_who_the_user_is() {
        let claims = claims();
        let told = headers(&claims, &settings(IdentityUser::Sub, false));

        assert_eq!(value(&told, "x-forwarded-user"), Some(claims.sub.clone()));
        assert_eq!(value(&told, "x-forwarded-email").as_deref(), Some("ada@example.com"));
        assert_eq!(value(&told, "x-forwarded-groups").as_deref(), Some("admin,user"));
    }

    #[test]
    fn an_unproven_address_stays_here() {
        let claims = AccessClaims { email_verified: false, ..claims() };

        let told = headers(&claims, &settings(IdentityUser::Email, false));
        assert!(value(&told, "x-forwarded-email").is_none() && value(&told, "x-forwarded-user").is_none());
        let told = headers(&claims, &settings(IdentityUser::Email, true));
        assert_eq!(value(&told, "x-forwarded-user").as_deref(), Some("ada@example.com"));
    }

    #[test]
    fn values_are_plain_and_bounded() {
        assert_eq!(encoded("ä,b c%"), "%C3%A4%2Cb%20c%25");
        let many: Vec<String> = (0..1000).map(|n| format!("role-{n}")).collect();
        let (list, truncated) = groups(&many);
        assert!(truncated && list.len() <= MAX_GROUPS && !list.ends_with(','));
    }

    #[test]
    fn a_connection_header_names_nothing_but_the_connection() {
        let acceptable = |value: &'static str| {
            connection_is_acceptable(&HeaderMap::from_iter([(header::CONNECTION, HeaderValue::from_static(value))]))
        };
        assert!(acceptable("keep-alive, Upgrade") && acceptable("") && acceptable("close"));
        assert!(!acceptable("close, x-forwarded-user") && !acceptable("authorization") && !acceptable("cookie"));
    }

    #[test]
    fn upstreams_do_not_set_our_cookies() {
        let names = CookieNames::new("nauth_", "nauth_csrf_token");
        for (value, own) in [
            ("nauth_access_token=x", true),
            (" nauth_csrf_token = x", true),
            ("nauth_theme=x", false),
            ("a=nauth_access_token", false),
        ] {
            assert_eq!(sets_own_cookie(&HeaderValue::from_static(value), &names), own, "{value}");
        }
    }
}
