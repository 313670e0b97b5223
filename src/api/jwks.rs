//! The public keys, for upstreams that verify what nauth signs.
//!
//! Every key that verifies is told: the one that signs, the one that will, and those that did while what
//! they signed lives.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header;
use jsonwebtoken::jwk::JwkSet;

use crate::api::Api;
use crate::auth::Auth;
use crate::config::settings::Settings;
use crate::tokens::rotation::PUBLISHED_FOR;
use crate::tokens::signing::Use;

/// Where the keys of assertions are, below `api.prefix`.
const ASSERTIONS: &str = "/.well-known/jwks.json";
/// Where the keys of access tokens are, when they have public halves.
const ACCESS: &str = "/.well-known/access-jwks.json";

/// Where upstreams find the keys of assertions, when they are published.
#[must_use]
pub fn address(settings: &Settings) -> Option<String> {
    let address = || format!("{}{}{ASSERTIONS}", settings.server.public_url.origin, settings.api.prefix);
    settings.jwt.publish_jwks.then(address)
}

/// What is published, as the settings of `auth` say.
pub(super) fn routes(auth: &Auth) -> Router<Api> {
    if !auth.settings().jwt.publish_jwks {
        return Router::new();
    }
    let published = [(ASSERTIONS, Use::Assertion), (ACCESS, Use::Access)];
    published.into_iter().fold(Router::new(), |router, (path, of)| {
        let keys = auth.keys().signing(of).jwks();
        if keys.is_empty() {
            return router;
        }
        let document = serde_json::to_vec(&JwkSet { keys }).expect("keys of plain values serialise");
        let document = Bytes::from(document);
        router.route(path, get(async move || answer(document.clone())))
    })
}

fn answer(document: Bytes) -> Response {
    let cache = format!("public, max-age={}", PUBLISHED_FOR.as_secs());
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json".to_owned()), (header::CACHE_CONTROL, cache)];
    (headers, document).into_response()
}
