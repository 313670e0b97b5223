//! The public keys, for upstreams that verify what nauth signs.
//!
//! Every key that verifies is told: the one that signs, those that signed and may still be met.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header;
use jsonwebtoken::jwk::JwkSet;

use crate::api::Api;
use crate::auth::Auth;
use crate::config::settings::Settings;
use crate::tokens::signing::Use;

/// Where the keys of assertions are, below `api.prefix`.
const ASSERTIONS: &str = "/.well-known/jwks.json";
/// Where the keys of access tokens are, when they have public halves.
const ACCESS: &str = "/.well-known/access-jwks.json";
/// Short enough for a new key to be known everywhere before it signs.
const CACHE: &str = "public, max-age=300";

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
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, CACHE)];
    (headers, document).into_response()
}
