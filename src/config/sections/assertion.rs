//! `gateway.identity.assertion*`

use std::time::Duration;

use http::{HeaderName, header};

use crate::config::reader::Section;
use crate::config::sections::gateway::header_name;
use crate::config::settings::{Assertion, SigningAlgorithm};

/// Shorter is over before a slow upstream looks, longer is what sessions are for.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_hours(1);

/// The keys that stand in `[gateway.identity]`.
pub(super) fn assertion(s: &mut Section<'_>) -> Assertion {
    let doc = "The header with the signed identity: a JWT for this one upstream (`aud` is its name), to be verified \
               with the keys under `{api.prefix}/.well-known/jwks.json`. Empty means that it is not sent.";
    let header = s.unless_empty("assertion", "x-nauth-assertion", doc).and_then(|text| {
        let name = assertion_header(&text);
        name.map_err(|message| s.error("assertion", message, "the default is \"x-nauth-assertion\"")).ok()
    });
    let algorithms = [("ES256", SigningAlgorithm::Es256), ("EdDSA", SigningAlgorithm::EdDsa)];
    let algorithm = s.choice("assertion_algorithm", "ES256", &algorithms, "How it is signed: `ES256` or `EdDSA`.");
    let doc = "How long it is good. The same one is sent until half of that is over.";
    let ttl = s.duration("assertion_ttl", "60s", doc);
    if !TTL.contains(&ttl) {
        s.error("assertion_ttl", "`gateway.identity.assertion_ttl` must be from 2s to 1h", "the default is \"60s\"");
    }
    Assertion { header, algorithm, ttl }
}

/// A header of its own: not one that already means something to an upstream.
fn assertion_header(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    let taken = [header::COOKIE, header::AUTHORIZATION, header::CONTENT_TYPE, header::FORWARDED];
    if taken.contains(&name) || name.as_str().starts_with("x-forwarded-") || name.as_str().starts_with("sec-") {
        return Err(format!("`{text}` means something else to upstreams"));
    }
    Ok(name)
}
