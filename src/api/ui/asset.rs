//! What the pages load. Browsers keep it for good, under an address that changes with it.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::api::context::Asked;
use crate::api::ui::form::Fields;
use crate::domain::hex::hex;

/// How the pages look.
pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("templates/style.css")));

/// What asks browsers for passkeys.
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("templates/passkey.js")));

/// A file that is part of the program.
#[derive(Debug)]
pub(super) struct Asset {
    kind: &'static str,
    text: &'static str,
    version: String,
    tag: HeaderValue,
}

impl Asset {
    fn new(kind: &'static str, text: &'static str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let version = hex(&digest.as_ref()[..8]);
        let tag = HeaderValue::from_str(&format!("\"{version}\"")).expect("hexadecimal digits are printable");
        Self { kind, text, version, tag }
    }

    /// What its address says after `?v=`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The file, or that the browser has it.
    pub(super) fn answer(&self, asked: &Asked) -> Response {
        // While nodes of two versions run side by side, the address of one may lead to the other.
        let is_this = Fields::read(asked.query().as_bytes()).get("v") == self.version;
        let caching = if is_this { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
            (header::ETAG, self.tag.clone()),
        ];
        let held = asked.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let is_held = held.flat_map(|line| line.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == self.tag);
        if is_held { (StatusCode::NOT_MODIFIED, headers).into_response() } else { (headers, self.text).into_response() }
    }
}
