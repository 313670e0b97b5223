//! Cross-site request forgery: a signed double submit for cookie-authenticated changes.
//!
//! The CSRF cookie holds a random value and its MAC over the session. A page of ours reads it and
//! repeats it in a header; a foreign page can make the browser send the cookie, but cannot read
//! it, and a cookie planted from a sibling domain carries no MAC of this session (OWASP: signed
//! double-submit cookie).

use http::{HeaderMap, Method};

use crate::api::cookies::cookie_values;
use crate::config::settings::Settings;
use crate::domain::error::Error;

/// Whether a request with cookies must prove that a page of ours made it.
///
/// Not for methods that change nothing, not for excluded paths, and not for a listed foreign
/// origin: its pages cannot read our cookie, and the browser has vouched for the origin.
#[must_use]
pub fn is_needed(settings: &Settings, method: &Method, path: &str, headers: &HeaderMap, own_origin: &str) -> bool {
    let harmless = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !harmless && !is_excluded(&settings.security.csrf.excluded_paths, path) && !is_listed(settings, headers, own_origin)
}

/// The token the client submitted: the header, when it repeats one of the CSRF cookies.
///
/// Its MAC is for the caller to check, once the session is known.
///
/// # Errors
/// [`Error::CsrfMissing`] without header or cookie, [`Error::CsrfInvalid`] when they differ.
pub fn submitted<'a>(settings: &Settings, headers: &'a HeaderMap) -> Result<&'a str, Error> {
    let header = headers.get(&settings.security.csrf.header_name).and_then(|value| value.to_str().ok());
    let cookies = cookie_values(headers, &settings.security.csrf.cookie_name);
    let header = header.filter(|value| !value.is_empty() && !cookies.is_empty()).ok_or(Error::CsrfMissing)?;
    // An ordinary comparison: both sides come from the client. The MAC is what is secret.
    if cookies.iter().any(|cookie| cookie == header) { Ok(header) } else { Err(Error::CsrfInvalid) }
}

fn is_excluded(excluded: &[String], path: &str) -> bool {
    excluded.iter().any(|prefix| {
        let rest = path.strip_prefix(prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn is_listed(settings: &Settings, headers: &HeaderMap, own_origin: &str) -> bool {
    let origin = headers.get(http::header::ORIGIN).and_then(|value| value.to_str().ok());
    origin.is_some_and(|origin| {
        origin != own_origin && settings.delivery.web_origins.iter().any(|listed| listed == origin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests_support::{ORIGIN, settings};

    #[test]
    fn only_changes_on_paths_not_excluded_need_a_token() {
        let settings = settings();
        let cases = [
            (Method::GET, "/auth/profile", false),
            (Method::HEAD, "/auth/profile", false),
            (Method::PUT, "/auth/profile", true),
            (Method::DELETE, "/auth/sessions/1", true),
            (Method::POST, "/auth/hooks", false),
            (Method::POST, "/auth/hooks/one", false),
            (Method::POST, "/auth/hooksy", true),
        ];
        for (method, path, expected) in cases {
            assert_eq!(is_needed(&settings, &method, path, &HeaderMap::new(), ORIGIN), expected, "{method} {path}");
        }
    }
}
