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
const EXPOSED_HEADERS: &str = "retry-after, www-authenticate";

/// Whether a request is a preflight, and whose.
#[derive(Debug, PartialEq, Eq)]
pub enum Preflight {
    /// It is an ordinary request.
    Not,
    /// A browser asks for a listed origin: this is the answer's head.
    Listed(Vec<(HeaderName, HeaderValue)>),
    /// A browser asks for another one.
    Unlisted,
}

/// Reads a preflight (Fetch, section 3.3.1): `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
#[must_use]
pub fn preflight(security: &Security, method: &Method, headers: &HeaderMap) -> Preflight {
    let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if *method != Method::OPTIONS || !asks || !headers.contains_key(header::ORIGIN) {
        return Preflight::Not;
    }
    let Some(origin) = listed_origin(security, headers) else {
        return Preflight::Unlisted;
    };
    let mut answer = admission(origin);
    answer.extend([
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(security.cors_max_age.as_secs())),
    ]);
    Preflight::Listed(answer)
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
