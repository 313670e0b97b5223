//! What a request presents as proof of who it is, before anything is verified.
//!
//! A cookie name may occur several times (another path, a parent domain, an attacker's subdomain), and
//! the order says nothing about which one is ours. So every value is considered (RFC 6265, section 8.6).

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::api::cookies::{cookies, pairs};
use crate::config::settings::Credentials;
use crate::domain::error::Error;

/// More values than this of one cookie name are an attack or a broken client.
const MAX_VALUES: usize = 16;

/// The names of nauth's cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieNames {
    /// The prefix all of them begin with.
    pub prefix: String,
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
    /// The CSRF token, whose name need not have the prefix.
    pub csrf: String,
}

impl CookieNames {
    /// The names under a prefix that includes its separator.
    #[must_use]
    pub fn new(prefix: &str, csrf: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            access: format!("{prefix}access_token"),
            refresh: format!("{prefix}refresh_token"),
            csrf: csrf.to_owned(),
        }
    }

    /// Whether a cookie is one of nauth's.
    #[must_use]
    pub fn is_own(&self, name: &str) -> bool {
        name == self.csrf
            || name.strip_prefix(self.prefix.as_str()).is_some_and(|rest| {
                matches!(rest, "access_token" | "refresh_token" | "device_token" | "csrf_token" | "challenge")
            })
    }
}

/// What was presented, of the kinds the route looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The bearer token; when there is one, the cookies are not looked at.
    pub bearer: Option<&'a str>,
    /// Every different access cookie.
    pub access: Vec<&'a str>,
    /// Every different refresh cookie.
    pub refresh: Vec<&'a str>,
}

impl<'a> Presented<'a> {
    /// Reads the credentials a route looks at.
    pub fn read(headers: &'a HeaderMap, names: &CookieNames, credentials: Credentials) -> Result<Self, Error> {
        if credentials.bearer
            && let Some(bearer) = bearer(headers)?
        {
            return Ok(Self { bearer: Some(bearer), ..Self::default() });
        }
        let mut presented = Self::default();
        if !credentials.session {
            return Ok(presented);
        }
        for (name, value) in cookies(headers) {
            if name == names.access {
                keep(&mut presented.access, value)?;
            } else if name == names.refresh {
                keep(&mut presented.refresh, value)?;
            }
        }
        Ok(presented)
    }

    /// Whether there is nothing to verify.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bearer.is_none() && self.access.is_empty() && self.refresh.is_empty()
    }
}

/// The bearer token. Other schemes belong to the upstream; two Authorization lines to nobody.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut found = None;
    for value in headers.get_all(AUTHORIZATION) {
        let Some(token) = bearer_of(value) else { continue };
        if found.is_some_and(|known| known != token) {
            return Err(Error::CredentialConflict);
        }
        found = Some(token);
    }
    Ok(found)
}

fn bearer_of(value: &HeaderValue) -> Option<&str> {
    // What is not ASCII still claims to be a bearer token; it is then one that cannot be verified.
    let scheme = value.as_bytes().get(..6)?;
    let after = value.as_bytes().get(6);
    if !scheme.eq_ignore_ascii_case(b"bearer") || !matches!(after, None | Some(b' ' | b'\t')) {
        return None;
    }
    Some(value.to_str().map_or("", |text| text[6..].trim()))
}

fn keep<'a>(values: &mut Vec<&'a str>, value: &'a str) -> Result<(), Error> {
    if value.is_empty() || values.contains(&value) {
        return Ok(());
    }
    if values.len() == MAX_VALUES {
        return Err(Error::CredentialConflict);
    }
    values.push(value);
    Ok(())
}

/// The cookies that are not nauth's, as one line; `None` when none are left.
#[must_use]
pub fn without_own(headers: &HeaderMap, names: &CookieNames) -> Option<HeaderValue> {
    let mut line = Vec::new();
    for pair in headers.get_all(COOKIE).iter().flat_map(|line| pairs(line.as_bytes())) {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or(pair).trim_ascii();
        if std::str::from_utf8(name).is_ok_and(|name| names.is_own(name)) {
            continue;
        }
        if !line.is_empty() {
            line.extend_from_slice(b"; ");
        }
        line.extend_from_slice(pair);
    }
    if line.is_empty() { None } else { HeaderValue::from_bytes(&line).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Credentials = Credentials { session: true, bearer: true };

    fn names() -> CookieNames {
        CookieNames::new("nauth_", "nauth_csrf_token")
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_value_of_every_line_is_considered_once() {
        let headers = headers(&[
            ("cookie", "a=1; nauth_access_token=x;nauth_access_token=\"y\"; junk; =v"),
            ("cookie", "nauth_access_token=x; nauth_refresh_token=r; xnauth_access_token=z"),
        ]);
        let presented = Presented::read(&headers, &names(), BOTH).unwrap();
        assert_eq!(presented.access, ["x", "y"]);
        assert_eq!(presented.refresh, ["r"]);
    }

    #[test]
    fn a_bearer_is_the_only_credential() {
        let headers = headers(&[("authorization", "bEaReR  t "), ("cookie", "nauth_access_token=x")]);
        let presented = Presented::read(&headers, &names(), BOTH).unwrap();
        assert_eq!(presented, Presented { bearer: Some("t"), ..Presented::default() });

        let session = Credentials { session: true, bearer: false };
        assert_eq!(Presented::read(&headers, &names(), session).unwrap().access, ["x"]);
    }

    #[test]
    fn other_schemes_are_not_ours() {
        for value in ["Basic abc", "Bearerx y", "Bear"] {
            let headers = headers(&[("authorization", value), ("cookie", "nauth_access_token=x")]);
            assert_eq!(Presented::read(&headers, &names(), BOTH).unwrap().access, ["x"], "{value}");
        }
    }

    #[test]
    fn an_empty_bearer_does_not_fall_back_to_cookies() {
        let headers = headers(&[("authorization", "Bearer"), ("cookie", "nauth_access_token=x")]);
        assert_eq!(Presented::read(&headers, &names(), BOTH).unwrap().bearer, Some(""));
    }

    #[test]
    fn too_many_values_are_a_conflict() {
        let line: Vec<String> = (0..17).map(|number| format!("nauth_access_token={number}")).collect();
        let headers = headers(&[("cookie", &line.join("; "))]);
        assert!(matches!(Presented::read(&headers, &names(), BOTH), Err(Error::CredentialConflict)));
    }

    #[test]
    fn our_cookies_stay_here() {
        let mixed = headers(&[
            ("cookie", "a=1; nauth_access_token=x; b=\"2;"),
            ("cookie", "nauth_csrf_token=c; nauth_theme=d"),
        ]);
        assert_eq!(without_own(&mixed, &names()).unwrap(), "a=1; b=\"2; nauth_theme=d");
        assert_eq!(without_own(&headers(&[("cookie", "nauth_refresh_token=x")]), &names()), None);
    }
}
