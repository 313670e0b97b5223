//! Where a login leads back to: our own host, or an origin the operator listed. Nowhere else.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use crate::domain::assurance::StepUp;

/// What must be escaped inside a query value.
const QUERY_VALUE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'&').add(b'+').add(b'%').add(b'=').add(b'\'');

/// The place to go, when it is a safe one: a path of ours, or a URL of a listed origin.
///
/// Parsed as a browser would, not matched by pattern: `//host`, `/\host` and the like are URLs of
/// other hosts to a browser.
#[must_use]
pub fn safe(return_to: &str, own_origin: &str, listed: &[String]) -> Option<String> {
    // Nor what the gateway would refuse anyway: separators and control characters in disguise.
    let lower = return_to.to_ascii_lowercase();
    let disguised = ["%5c", "%2f", "%00", "%0a", "%0d"].iter().any(|escape| lower.contains(escape));
    if disguised || return_to.contains('\\') || return_to.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let base = Url::parse(own_origin).ok()?;
    let url = base.join(return_to).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let origin = url.origin().ascii_serialization();
    if origin == base.origin().ascii_serialization() {
        let path = path_of(&url);
        // `/.//host` is a path of ours, but what is left of it without the dot is a URL of another host.
        let stays = return_to.starts_with('/') && base.join(&path).is_ok_and(|again| again == url);
        return stays.then_some(path);
    }
    listed.contains(&origin).then(|| url.to_string())
}

/// The login page's address, with the way back in it.
#[must_use]
pub fn login_location(login_url: &str, own_origin: &str, return_to: &str) -> String {
    let is_elsewhere = !login_url.starts_with('/');
    let back = if is_elsewhere { format!("{own_origin}{return_to}") } else { return_to.to_owned() };
    let separator = if login_url.contains('?') { '&' } else { '?' };
    format!("{login_url}{separator}return_to={}", utf8_percent_encode(&back, QUERY_VALUE))
}

/// The same, with what the login must bring, in the words of OpenID Connect.
#[must_use]
pub fn with_step_up(location: String, wanted: StepUp) -> String {
    wanted.parameters().fold(location, |location, (name, value)| format!("{location}&{name}={value}"))
}

fn path_of(url: &Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let fragment = url.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{}{query}{fragment}", url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://app.example.com";

    #[test]
    fn only_our_own_paths_and_listed_origins_are_safe() {
        let listed = ["https://other.example.com".to_owned()];
        let cases = [
            ("/.//evil.example", None),
            ("/a/..//evil.example", None),
            ("/.//evil.example/..//x", None),
            ("/", Some("/")),
            ("/a/b?x=1#y", Some("/a/b?x=1#y")),
            ("https://other.example.com/x", Some("https://other.example.com/x")),
            ("https://evil.example.com/", None),
            ("//evil.example.com/", None),
            ("/\\evil.example.com", None),
            ("/\t/evil.example.com", None),
            ("/%5Cevil.example.com", None),
            ("javascript:alert(1)", None),
            ("https://other.example.com@evil.example.com/", None),
            ("https://other.example.com.evil.example.com/", None),
            ("relative", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(safe(text, OWN, &listed).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_way_back_survives_in_the_query() {
        assert_eq!(login_location("/auth/ui/login", OWN, "/a?b=c&d"), "/auth/ui/login?return_to=/a?b%3Dc%26d");
        assert_eq!(
            login_location("https://id.example.com/?x=1", OWN, "/a"),
            "https://id.example.com/?x=1&return_to=https://app.example.com/a"
        );
    }
}
