//! Headers that make browsers careful with an app's answers, where the app is silent.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::settings::SecurityHeaders;

/// What breaks no app that does not frame itself elsewhere.
static BASIC: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
];

/// What the OWASP Secure Headers Project proposes, but for what only https can carry.
static STRICT: [(HeaderName, HeaderValue); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'",
        ),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), HeaderValue::from_static("none")),
];

/// The headers of a preset that an answer does not have yet.
pub fn missing(
    preset: SecurityHeaders,
    answer: &HeaderMap,
) -> impl Iterator<Item = &'static (HeaderName, HeaderValue)> {
    let headers: &'static [(HeaderName, HeaderValue)] = match preset {
        SecurityHeaders::None => &[],
        SecurityHeaders::Basic => &BASIC,
        SecurityHeaders::Strict => &STRICT,
    };
    headers.iter().filter(|(name, _)| !answer.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_app_says_itself_stays() {
        let mut answer = HeaderMap::new();
        answer.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        let names = |preset| missing(preset, &answer).map(|(name, _)| name.as_str()).collect::<Vec<_>>();

        assert!(names(SecurityHeaders::None).is_empty());
        assert_eq!(names(SecurityHeaders::Basic), ["x-content-type-options", "referrer-policy"]);
        assert_eq!(names(SecurityHeaders::Strict).len(), STRICT.len() - 1);
    }
}
