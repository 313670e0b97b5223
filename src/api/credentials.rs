//! What a request shows to say who it is: a bearer token or cookies.
//!
//! A browser may hold several cookies of one name (host-only and with a domain), so every value of
//! a name is looked at; taking the first one would let whoever can set a cookie choose the session.

use http::{HeaderMap, header};

use crate::api::cookies::cookie_values;
use crate::api::dialect::CookieNames;
use crate::config::settings::DeliveryMethod;
use crate::domain::error::Error;
use crate::domain::session::Delivery;

/// The credential of a request, unchecked.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented {
    /// `Authorization: Bearer`.
    Bearer(String),
    /// The session cookies; at least one value.
    Cookies(SessionCookies),
}

impl Presented {
    /// How an answer to it travels: back the way it came.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Bearer(_) => Delivery::Json,
            Self::Cookies(_) => Delivery::Cookies,
        }
    }
}

/// Every value of the session cookies.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SessionCookies {
    /// Access tokens.
    pub access: Vec<String>,
    /// Refresh tokens.
    pub refresh: Vec<String>,
}

impl SessionCookies {
    /// Reads them from a request.
    #[must_use]
    pub fn of(headers: &HeaderMap, names: &CookieNames) -> Self {
        Self { access: cookie_values(headers, &names.access), refresh: cookie_values(headers, &names.refresh) }
    }

    /// Whether the request carries none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.access.is_empty() && self.refresh.is_empty()
    }
}

/// The credential of a request, as far as `method` accepts it. A bearer token, where accepted, is the only one.
///
/// # Errors
/// - [`Error::TokenMissing`] without a credential.
/// - [`Error::BearerNotAllowed`], [`Error::CookiesNotAllowed`] when the only one is of the other kind.
pub fn presented(headers: &HeaderMap, names: &CookieNames, method: DeliveryMethod) -> Result<Presented, Error> {
    let bearer = bearer(headers);
    let cookies = SessionCookies::of(headers, names);
    match (method, bearer, cookies.is_empty()) {
        (DeliveryMethod::Json | DeliveryMethod::Hybrid, Some(token), _) => Ok(Presented::Bearer(token)),
        (DeliveryMethod::Cookies | DeliveryMethod::Hybrid, _, false) => Ok(Presented::Cookies(cookies)),
        (DeliveryMethod::Cookies, Some(_), true) => Err(Error::BearerNotAllowed),
        (DeliveryMethod::Json, None, false) => Err(Error::CookiesNotAllowed),
        (_, None, true) => Err(Error::TokenMissing),
    }
}

/// The bearer token of a request, empty when none follows the scheme. Other schemes are none of ours.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn names() -> CookieNames {
        let name = |name: &str| format!("nauth_{name}");
        CookieNames {
            access: name("access_token"),
            refresh: name("refresh_token"),
            device: name("device_token"),
            csrf: name("csrf_token"),
        }
    }

    #[test]
    fn the_method_decides_which_credential_counts() {
        use DeliveryMethod::{Cookies, Hybrid, Json};
        type Headers = Vec<(&'static str, &'static str)>;
        let bearer = ("authorization", "Bearer aaa");
        let cookie = ("cookie", "nauth_access_token=bbb");
        let cases: Vec<(DeliveryMethod, Headers, &str)> = vec![
            (Hybrid, vec![bearer], "bearer"),
            (Hybrid, vec![cookie], "cookies"),
            (Hybrid, vec![bearer, cookie], "bearer"),
            (Hybrid, vec![], "no token provided"),
            (Json, vec![bearer, cookie], "bearer"),
            (Json, vec![cookie], "cookies are not accepted here"),
            (Cookies, vec![bearer, cookie], "cookies"),
            (Cookies, vec![bearer], "bearer tokens are not accepted here"),
            (Cookies, vec![], "no token provided"),
        ];
        for (method, lines, expected) in cases {
            let found = match presented(&headers(&lines), &names(), method) {
                Ok(Presented::Bearer(_)) => "bearer".to_owned(),
                Ok(Presented::Cookies(_)) => "cookies".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{method:?} {lines:?}");
        }
    }

    #[test]
    fn only_bearer_tokens_are_read_from_authorization() {
        let cases =
            [("bearer abc", Some("abc")), ("Bearer  abc ", Some("abc")), ("Basic abc", None), ("Bearer", Some(""))];
        for (value, expected) in cases {
            assert_eq!(bearer(&headers(&[("authorization", value)])).as_deref(), expected, "{value}");
        }
    }
}
