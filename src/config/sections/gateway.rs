//! `[gateway]`

use http::HeaderName;

use crate::config::reader::Section;
use crate::config::sections::identity::Written;
use crate::config::sections::{identity, routes};
use crate::config::settings::{Access, Gateway};

/// `[gateway]`, `access` of routes that do not say, and what their upstreams are told unless they say.
pub(super) fn gateway(root: &mut Section<'_>) -> (Gateway, &'static str, Written) {
    let mut s = root.section("gateway");
    let default_access = s.choice("default_access", "required", &routes::ACCESS, "`access` of routes that do not say.");
    let doc = "Path prefixes, on segment boundaries, where nobody is redirected to a login page: 401 JSON instead.";
    let api_prefixes = s.list("api_prefixes", "[\"/api\"]", doc, |text| routes::path(text).map(|()| text.to_owned()));
    let doc = "Further headers that are dropped from every request. Every identity header nauth knows is always \
               dropped, in any spelling.";
    let strip = s.list("strip_request_headers", "[]", doc, |text| header_name(text).map(|name| name.to_string()));
    let strip_credentials =
        s.boolean("strip_credentials", true, "Whether nauth's cookies and a consumed Authorization stay here.");
    let forwarded_headers = s.boolean("forwarded_headers", true, "Whether upstreams get X-Forwarded-* and Forwarded.");
    let doc = "Whether a request with a good refresh cookie and an expired access cookie is refreshed on the way.";
    let auto_refresh = s.boolean("auto_refresh", true, doc);
    let (written, allow_unverified, assertion) = identity::identity(&mut s);
    s.finish();
    let default_access = match default_access {
        Access::Public => "public",
        Access::Optional => "optional",
        Access::Required => "required",
    };
    let gateway = Gateway {
        api_prefixes: api_prefixes.unwrap_or_else(|| vec!["/api".to_owned()]),
        strip_request_headers: strip.unwrap_or_default(),
        strip_credentials,
        forwarded_headers,
        auto_refresh,
        identity: written.resolved(allow_unverified),
        assertion,
    };
    (gateway, default_access, written)
}

/// Longest name of a header that is managed, in bytes.
pub(super) const MAX_NAME: usize = 64;

/// A header that may be set, kept or dropped by configuration.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let lower = text.to_ascii_lowercase();
    let forbidden = ["connection", "content-length", "host", "transfer-encoding", "upgrade"];
    match lower.parse::<HeaderName>() {
        Ok(_) if forbidden.contains(&lower.as_str()) => Err(format!("`{text}` belongs to the protocol")),
        Ok(name) => Ok(name),
        Err(_) => Err(format!("`{text}` is not a header name")),
    }
}
