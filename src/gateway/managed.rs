//! Names by which an upstream could be told who its user is: nauth's to say, and no client's.
//!
//! With them go the names that would make an app do something else than was decided about, and, unless a
//! trusted proxy sends them, those that proxies write about where a request came from.
//!
//! Every name of any gateway known to do that is dropped from every request on every route, in any
//! spelling an upstream may read as the same: CGI and its descendants fold `-`, `_`, `.` and letter
//! case together.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, header};

use crate::config::settings::{Identity, IdentityPreset, Settings};
use crate::metrics::HeaderClass;

/// Longer names are nobody's identity header.
pub const MAX_NAME: usize = 64;

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
    ("remote-groups-truncated", HeaderClass::Remote),
    ("remote-sub", HeaderClass::Remote),
    ("x-auth-subject", HeaderClass::Auth),
    ("x-auth-userid", HeaderClass::Auth),
    ("x-auth-username", HeaderClass::Auth),
    ("x-auth-email", HeaderClass::Auth),
    ("x-auth-groups", HeaderClass::Auth),
    ("x-auth-roles", HeaderClass::Auth),
    ("x-auth-token", HeaderClass::Auth),
    ("x-jwt-assertion", HeaderClass::Vendor),
    // The app would do something else than what was decided about.
    ("x-original-url", HeaderClass::Rewrite),
    ("x-rewrite-url", HeaderClass::Rewrite),
    ("x-http-method-override", HeaderClass::Rewrite),
    ("x-http-method", HeaderClass::Rewrite),
    ("x-method-override", HeaderClass::Rewrite),
    // CGI makes `HTTP_PROXY` of it, and many libraries send what they ask there (CVE-2016-5385).
    ("proxy", HeaderClass::Rewrite),
];

/// What only a proxy has to say, about where a request came from and how. A trusted one may.
const CLAIMS: &[&str] = &[
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-forwarded-path",
    "x-forwarded-method",
    "x-forwarded-client-cert",
    "x-original-uri",
    "x-original-host",
    "x-original-method",
    "x-client-cert",
    "front-end-https",
];
/// The same, of whoever ends TLS and looks at the client's certificate.
const CLAIM_PREFIXES: &[&str] = &["x-ssl-client-", "ssl-client-", "x-tls-client-"];

const PREFIXES: &[(&str, HeaderClass)] = &[
    ("x-nauth-", HeaderClass::Nauth),
    ("x-auth-request-", HeaderClass::Auth),
    ("x-authentik-", HeaderClass::Vendor),
    ("x-pomerium-", HeaderClass::Vendor),
    ("x-webauth-", HeaderClass::Vendor),
    ("x-goog-iap-", HeaderClass::Vendor),
    ("x-goog-authenticated-", HeaderClass::Vendor),
    ("cf-access-", HeaderClass::Vendor),
    ("x-amzn-oidc-", HeaderClass::Vendor),
    ("x-token-", HeaderClass::Vendor),
];

/// Names whose proper spelling is rewritten towards the upstream, and whose other spellings are dropped.
const FORWARDING: &[&str] =
    &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded", "x-real-ip"];

/// The names that clients may not send.
#[derive(Debug, Clone)]
pub struct Managed {
    names: HashMap<String, HeaderClass>,
    /// What managed names begin with, and most of all names do not.
    beginnings: Vec<[u8; 2]>,
}

/// Whom a name is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptFrom {
    Everybody,
    Strangers,
}

impl Managed {
    /// The built-in names, what any route tells its upstream, and the operator's.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let gateway = &settings.gateway;
        let told = settings.routes.iter().map(|route| &route.identity).chain([&gateway.identity]);
        let told = told.flat_map(Identity::header_names).map(HeaderName::as_str);
        let told = told.chain(gateway.assertion.header.as_ref().map(HeaderName::as_str));
        let configured = gateway.strip_request_headers.iter().map(String::as_str).chain(told);
        let mut names: HashMap<String, HeaderClass> =
            configured.map(|name| (folded(name), HeaderClass::Configured)).collect();
        for header in IdentityPreset::ALL.into_iter().flat_map(IdentityPreset::headers) {
            names.insert(folded(header.name.as_str()), HeaderClass::Vendor);
        }
        // A client's own credentials; where nauth sets it, nothing of a client's is left when it does.
        names.remove(header::AUTHORIZATION.as_str());
        names.extend(NAMES.iter().map(|(name, class)| ((*name).to_owned(), *class)));
        let prefixes = PREFIXES.iter().map(|(prefix, _)| prefix).chain(CLAIM_PREFIXES);
        let others = prefixes.chain(CLAIMS).chain(FORWARDING).copied();
        let mut beginnings: Vec<[u8; 2]> = names.keys().map(String::as_str).chain(others).map(beginning).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        Self { names, beginnings }
    }

    /// The family of a name that no client may send.
    #[must_use]
    pub fn class_of(&self, name: &HeaderName) -> Option<HeaderClass> {
        self.find(name).filter(|(_, from)| *from == KeptFrom::Everybody).map(|(class, _)| class)
    }

    /// The family of a name that a client may not send, or only by a proxy that is trusted.
    #[must_use]
    pub fn class_of_strangers(&self, name: &HeaderName) -> Option<HeaderClass> {
        self.find(name).map(|(class, _)| class)
    }

    fn find(&self, name: &HeaderName) -> Option<(HeaderClass, KeptFrom)> {
        let raw = name.as_str();
        if !self.beginnings.contains(&beginning(raw)) {
            return None;
        }
        let mut buffer = [0; MAX_NAME];
        let folded = fold(raw, &mut buffer)?;
        if let Some((_, class)) = PREFIXES.iter().find(|(prefix, _)| folded.starts_with(prefix)) {
            return Some((*class, KeptFrom::Everybody));
        }
        if CLAIM_PREFIXES.iter().any(|prefix| folded.starts_with(prefix)) {
            return Some((HeaderClass::Forwarded, KeptFrom::Strangers));
        }
        if raw.len() > MAX_NAME {
            return None;
        }
        if let Some(class) = self.names.get(folded) {
            return Some((*class, KeptFrom::Everybody));
        }
        if raw != folded && FORWARDING.contains(&folded) {
            return Some((HeaderClass::Forwarded, KeptFrom::Everybody));
        }
        CLAIMS.contains(&folded).then_some((HeaderClass::Forwarded, KeptFrom::Strangers))
    }
}

/// The first two bytes as [`fold`] makes them.
fn beginning(name: &str) -> [u8; 2] {
    let byte = |at: usize| name.as_bytes().get(at).map_or(0, |byte| folded_byte(*byte));
    [byte(0), byte(1)]
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.', ' '], "-")
}

/// Lower case, with `-` for what is read as the same. Of a longer name as much as a prefix could reach.
fn fold<'a>(name: &str, buffer: &'a mut [u8; MAX_NAME]) -> Option<&'a str> {
    let bytes = &name.as_bytes()[..name.len().min(MAX_NAME)];
    for (to, from) in buffer.iter_mut().zip(bytes) {
        *to = folded_byte(*from);
    }
    std::str::from_utf8(&buffer[..bytes.len()]).ok()
}

fn folded_byte(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' | b' ' => b'-',
        byte => byte.to_ascii_lowercase(),
    }
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::defaults;

    fn class(name: &str) -> Option<HeaderClass> {
        let mut settings = defaults();
        settings.gateway.strip_request_headers = vec!["x-tenant".to_owned(), "acme.user".to_owned()];
        Managed::new(&settings).class_of(&name.parse().unwrap())
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
            "X_WEBAUTH_ROLE",
            "CF_Access_Jwt_Assertion",
            "X-Tenant",
            "x_tenant",
            "Acme-User",
            "X_Forwarded_For",
            "x.real.ip",
            "X-Original-URL",
            "X-HTTP-Method-Override",
            "Proxy",
            "X-Token-User-Email",
        ] {
            assert!(class(name).is_some(), "{name}");
        }
        for name in ["x-forwarded-for", "forwarded", "host", "cookie", "x-auth", "x-authority", "remote", "accept"] {
            assert!(class(name).is_none(), "{name}");
        }
    }

    #[test]
    fn what_proxies_say_is_believed_of_no_stranger() {
        let managed = Managed::new(&defaults());
        for name in
            ["x-real-ip", "X_Client_IP", "true-client-ip", "X-Forwarded-Port", "x-ssl-client-verify", "SSL_CLIENT_CERT"]
        {
            let name: HeaderName = name.parse().unwrap();
            assert_eq!(managed.class_of_strangers(&name), Some(HeaderClass::Forwarded), "{name}");
            assert_eq!(managed.class_of(&name), None, "{name}");
        }
        for name in ["x-forwarded-for", "x-forwarded-proto", "host", "sec-fetch-site", "te", "x-requested-with", "x"] {
            assert_eq!(managed.class_of_strangers(&name.parse().unwrap()), None, "{name}");
        }
    }

    #[test]
    fn what_any_preset_says_no_client_says() {
        for preset in IdentityPreset::ALL {
            for header in preset.headers().into_iter().filter(|header| header.name != header::AUTHORIZATION) {
                for name in [header.name.to_string(), header.name.as_str().replace('-', "_")] {
                    assert!(class(&name).is_some(), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_long_name_is_managed_by_its_prefix_alone() {
        let tail = "x".repeat(MAX_NAME);
        assert_eq!(class(&format!("x_nauth_{tail}")), Some(HeaderClass::Nauth));
        assert_eq!(class(&format!("x-tenant{tail}")), None);
    }

    #[test]
    fn a_connection_header_names_nothing_but_the_connection() {
        let acceptable = |value: &'static str| {
            connection_is_acceptable(&HeaderMap::from_iter([(header::CONNECTION, HeaderValue::from_static(value))]))
        };
        assert!(acceptable("keep-alive, Upgrade") && acceptable("") && acceptable("close"));
        assert!(!acceptable("close, x-forwarded-user") && !acceptable("authorization") && !acceptable("cookie"));
    }
}
