//! Cross-origin requests: pages of listed origins may call the auth API with credentials.
//!
//! Origins are compared byte for byte with the configured ones and never answered with `*`, which
//! browsers refuse beside credentials anyway.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::config::settings::Security;

/// What a page may send along.
const ALLOWED_HEADERS: &str = "content-type, authorization, x-csrf-token, x-device-token";
/// What a page may ask with.
const ALLOWED_METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// What a page may read beyond the headers every page may.
const EXPOSED_HEADERS: &str = "retry-after, www-authenticate, x-nauth-intercepted, x-request-id";

/// Whether a request is a preflight, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// It is an ordinary request.
    Not,
    /// A browser asks for a listed origin.
    Listed,
    /// A browser asks for another one.
    Unlisted,
}

/// What the pages of listed origins may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// The auth API, with what it reads.
    Api,
    /// An app behind the gateway. Which methods and headers it takes the app knows; they are not held back.
    App,
}

/// Reads a preflight (Fetch, section 3.3.1): `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
#[must_use]
pub fn preflight(security: &Security, method: &Method, headers: &HeaderMap) -> Preflight {
    let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if *method != Method::OPTIONS || !asks || !headers.contains_key(header::ORIGIN) {
        return Preflight::Not;
    }
    if listed_origin(security, headers).is_some() { Preflight::Listed } else { Preflight::Unlisted }
}

/// The head of the answer to a preflight of a listed origin.
#[must_use]
pub fn preflight_answer(security: &Security, headers: &HeaderMap, called: Called) -> Vec<(HeaderName, HeaderValue)> {
    let asked = |name: HeaderName| headers.get(name).filter(|_| called == Called::App).cloned();
    let methods = asked(header::ACCESS_CONTROL_REQUEST_METHOD).or(Some(HeaderValue::from_static(ALLOWED_METHODS)));
    let names = match called {
        Called::Api => Some(HeaderValue::from_static(ALLOWED_HEADERS)),
        Called::App => asked(header::ACCESS_CONTROL_REQUEST_HEADERS),
    };
    let mut answer = listed_origin(security, headers).map(admission).unwrap_or_default();
    answer.extend(methods.map(|value| (header::ACCESS_CONTROL_ALLOW_METHODS, value)));
    answer.extend(names.map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value)));
    answer.push((header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(security.cors_max_age.as_secs())));
    answer
}

/// The headers every answer to a listed origin carries; `Vary` alone for all others.
#[must_use]
pub fn answer_headers(security: &Security, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let Some(origin) = listed_origin(security, headers) else {
        return vec![vary()];
    };
    let mut answer = admission(origin);
    answer.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS)));
    answer
}

fn admission(origin: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
        vary(),
    ]
}

fn vary() -> (HeaderName, HeaderValue) {
    (header::VARY, HeaderValue::from_static("Origin"))
}

fn listed_origin<'a>(security: &Security, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    security.cors_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests_support::settings;

    #[test]
    fn only_a_browsers_question_for_another_method_is_a_preflight() {
        type Lines<'a> = &'a [(&'a str, &'a str)];
        let security = settings().security;
        let asks = ("access-control-request-method", "POST");
        let cases: [(Method, Lines<'_>, &str); 5] = [
            (Method::OPTIONS, &[("origin", "http://spa.local"), asks], "listed"),
            (Method::OPTIONS, &[("origin", "http://spa.local.evil.example"), asks], "unlisted"),
            (Method::OPTIONS, &[("origin", "http://spa.local")], "not"),
            (Method::OPTIONS, &[asks], "not"),
            (Method::POST, &[("origin", "http://spa.local"), asks], "not"),
        ];
        for (method, lines, expected) in cases {
            let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let found = match preflight(&security, &method, &headers) {
                Preflight::Not => "not",
                Preflight::Listed => "listed",
                Preflight::Unlisted => "unlisted",
            };
            assert_eq!(found, expected, "{method} {lines:?}");
        }
    }

    #[test]
    fn a_listed_origin_is_named_never_a_star() {
        let origin = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("http://spa.local"))]);

        let answer: HeaderMap = answer_headers(&settings().security, &origin).into_iter().collect();

        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://spa.local");
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer[header::VARY], "Origin");
    }
}
