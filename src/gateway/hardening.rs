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

/// Adds the headers of a preset that an answer does not have yet.
pub fn fill(preset: SecurityHeaders, answer: &mut HeaderMap) {
    let headers: &'static [(HeaderName, HeaderValue)] = match preset {
        SecurityHeaders::None => &[],
        SecurityHeaders::Basic => &BASIC,
        SecurityHeaders::Strict => &STRICT,
    };
    for (name, value) in headers {
        answer.entry(name).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_app_says_itself_stays() {
        let filled = |preset| {
            let mut answer = HeaderMap::from_iter([(header::X_FRAME_OPTIONS, HeaderValue::from_static("ALLOWALL"))]);
            fill(preset, &mut answer);
            assert_eq!(answer[header::X_FRAME_OPTIONS], "ALLOWALL");
            answer.len()
        };

        let lengths = [SecurityHeaders::None, SecurityHeaders::Basic, SecurityHeaders::Strict].map(filled);
        assert_eq!(lengths, [1, BASIC.len(), STRICT.len()]);
    }
}
