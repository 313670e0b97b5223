//! The built-in upstream: a page that shows what an upstream receives.

use std::fmt::Write;

use http::{HeaderMap, Method, header};

/// The page: the request line, then each header on its line.
#[must_use]
pub fn page(method: &Method, target: &str, headers: &HeaderMap) -> String {
    let mut text = format!("{method} {}\n\n", escaped(target.as_bytes()));
    for (name, value) in headers {
        let shown = match *name {
            header::AUTHORIZATION => masked_authorization(value.as_bytes()),
            _ => without_signature(escaped(value.as_bytes())),
        };
        writeln!(text, "{}: {shown}", title_case(name.as_str())).expect("writing to a string");
    }
    text
}

/// `x-forwarded-user` as people write it: `X-Forwarded-User`.
fn title_case(name: &str) -> String {
    let mut up = true;
    name.chars()
        .map(|c| {
            let shown = if up { c.to_ascii_uppercase() } else { c };
            up = c == '-';
            shown
        })
        .collect()
}

/// Printable ASCII as it is, everything else as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn masked_authorization(bytes: &[u8]) -> String {
    let text = escaped(bytes);
    text.split_once(' ').map_or_else(|| "***".to_owned(), |(scheme, _)| format!("{scheme} ***"))
}

/// Whoever sees the page must not be able to use what it shows: a token, under whatever name, is
/// shown without its signature.
fn without_signature(text: String) -> String {
    let is_encoded = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    // A JWT's first part is an object, and `{"` is `eyJ` in base64.
    match text.rsplit_once('.') {
        Some((signed, signature)) if signed.starts_with("eyJ") && is_encoded(signature) => format!("{signed}.***"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_page_shows_headers_and_hides_secrets() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-user", HeaderValue::from_static("ada"));
        headers.insert("authorization", HeaderValue::from_static("Basic c2VjcmV0"));
        headers.insert("x-nauth-assertion", HeaderValue::from_static("eyJh.eyJi.signature"));
        headers.insert("x-jwt-assertion", HeaderValue::from_static("eyJh.eyJi.signature"));
        headers.insert("x-version", HeaderValue::from_static("1.2.3"));
        headers.insert("x-odd", HeaderValue::from_bytes(b"\xff<").unwrap());

        let page = page(&Method::GET, "/a?b", &headers);

        assert!(page.starts_with("GET /a?b\n"), "{page}");
        assert!(page.contains("X-Forwarded-User: ada\n") && page.contains("X-Odd: \\xff<\n"), "{page}");
        assert!(page.contains("X-Nauth-Assertion: eyJh.eyJi.***\n") && page.contains("X-Version: 1.2.3\n"), "{page}");
        assert!(!page.contains("c2VjcmV0") && !page.contains("signature"), "{page}");
    }
}
