//! Whether a page of ours made the browser send a request.

use http::{HeaderMap, HeaderName, Method, header};

use crate::config::settings::SameSite;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const PURPOSE: HeaderName = HeaderName::from_static("purpose");

/// What a request shows of the page behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ours, or of a listed origin.
    Ours,
    /// Another site's.
    Foreign,
    /// Nothing at all.
    Silent,
}

/// Judges by `Sec-Fetch-Site`, else `Origin`, else `Referer`. `listed` are origins as good as ours.
#[must_use]
pub fn judge(headers: &HeaderMap, own_origin: &str, listed: &[&[String]]) -> Verdict {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let site = text(FETCH_SITE);
    if let Some("same-origin" | "none") = site {
        return Verdict::Ours;
    }
    if let Some(origin) = text(header::ORIGIN) {
        let ours = origin == own_origin || listed.iter().copied().flatten().any(|known| known == origin);
        return if ours { Verdict::Ours } else { Verdict::Foreign };
    }
    if let Some(referer) = text(header::REFERER) {
        let rest = referer.strip_prefix(own_origin);
        let ours = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        return if ours { Verdict::Ours } else { Verdict::Foreign };
    }
    if site.is_some() { Verdict::Foreign } else { Verdict::Silent }
}

/// Whether the browser fetches ahead of its user.
#[must_use]
pub fn is_prefetch(headers: &HeaderMap) -> bool {
    [SEC_PURPOSE, PURPOSE].into_iter().any(|name| {
        let purpose = headers.get(name).and_then(|value| value.to_str().ok());
        purpose.is_some_and(|purpose| purpose.to_ascii_lowercase().contains("prefetch"))
    })
}

/// Whether a person moves to another page, who can be sent to a login page (Fetch Metadata; for
/// clients without it, a `GET` that wants HTML).
#[must_use]
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if let Some(mode) = headers.get(FETCH_MODE) {
        return mode == "navigate";
    }
    let has_metadata = headers.contains_key(FETCH_SITE) || headers.contains_key(FETCH_DEST);
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    !has_metadata && matches!(*method, Method::GET | Method::HEAD) && accepts.contains("text/html")
}

/// Whether the client wants another protocol on this connection.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// Whether a browser asks if another site's page may make the real request.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a cookie may speak for its user in a request that changes something or opens a socket.
///
/// A request that shows nothing of its page passes only while browsers by themselves keep the
/// cookies from other sites' requests, and never for an Upgrade, which `SameSite` does not cover.
#[must_use]
pub fn may_act(
    headers: &HeaderMap,
    own_origin: &str,
    listed: &[&[String]],
    same_site: SameSite,
    is_upgrade: bool,
) -> bool {
    match judge(headers, own_origin, listed) {
        Verdict::Ours => true,
        Verdict::Foreign => false,
        Verdict::Silent => !is_upgrade && matches!(same_site, SameSite::Lax | SameSite::Strict),
    }
}

/// Whether a session may be refreshed on the way of this request: not for preflights and
/// prefetches, and not for what another site's page asks for, unless a person moves there or the
/// site is listed.
#[must_use]
pub fn may_refresh(method: &Method, headers: &HeaderMap, own_origin: &str, web_origins: &[String]) -> bool {
    if is_preflight(method, headers) || is_prefetch(headers) {
        return false;
    }
    if is_navigation(method, headers) {
        return true;
    }
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_listed =
        origin.is_some_and(|origin| origin == own_origin || web_origins.iter().any(|known| known == origin));
    match headers.get(FETCH_SITE).map(http::HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => true,
        Some(_) => is_listed,
        None => origin.is_none() || is_listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_ours_by_fetch_metadata_origin_or_referer() {
        use Verdict::{Foreign, Ours, Silent};
        const OWN: &str = "http://localhost:8080";
        let cross = ("sec-fetch-site", "cross-site");
        let cases: [(&[(&str, &str)], Verdict); 13] = [
            (&[], Silent),
            (&[("sec-fetch-site", "same-origin")], Ours),
            (&[("sec-fetch-site", "none")], Ours),
            (&[("sec-fetch-site", "same-site")], Foreign),
            (&[cross], Foreign),
            (&[cross, ("origin", "http://spa.local")], Ours),
            (&[cross, ("origin", "https://evil.example")], Foreign),
            (&[("origin", OWN)], Ours),
            (&[("origin", "https://localhost:8080")], Foreign),
            (&[("origin", "null"), ("referer", "http://localhost:8080/")], Foreign),
            (&[("referer", "http://localhost:8080/account")], Ours),
            (&[("referer", "http://localhost:80801/")], Foreign),
            (&[("referer", "https://evil.example/http://localhost:8080/")], Foreign),
        ];
        for (lines, expected) in cases {
            let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(judge(&headers, OWN, &[&["http://spa.local".to_owned()]]), expected, "{lines:?}");
        }
    }
}
