//! Whether a page of ours made the browser send a request.

use http::{HeaderMap, header};

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

/// Judges by `Sec-Fetch-Site`, else `Origin`, else `Referer`.
#[must_use]
pub fn judge(headers: &HeaderMap, own_origin: &str, listed: &[String]) -> Verdict {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if let Some("same-origin" | "none") = text("sec-fetch-site") {
        return Verdict::Ours;
    }
    if let Some(origin) = text(header::ORIGIN.as_str()) {
        let ours = origin == own_origin || listed.iter().any(|known| known == origin);
        return if ours { Verdict::Ours } else { Verdict::Foreign };
    }
    if let Some(referer) = text(header::REFERER.as_str()) {
        let rest = referer.strip_prefix(own_origin);
        let ours = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        return if ours { Verdict::Ours } else { Verdict::Foreign };
    }
    if text("sec-fetch-site").is_some() { Verdict::Foreign } else { Verdict::Silent }
}

/// Whether the browser fetches ahead of its user.
#[must_use]
pub fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose"].iter().any(|name| {
        let purpose = headers.get(*name).and_then(|value| value.to_str().ok());
        purpose.is_some_and(|purpose| purpose.to_ascii_lowercase().contains("prefetch"))
    })
}
