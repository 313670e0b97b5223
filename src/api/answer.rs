//! What handlers answer with.
//!
//! A handler says *what* it refuses; how that looks on the wire, and for which path and moment, is
//! added once, outside all handlers, by [`crate::api::AuthApi`].

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::domain::error::Error;

/// A refused request.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Why.
    pub error: Arc<Error>,
    /// Whether the client's session cookies are taken away with it.
    pub clear_cookies: bool,
}

impl Refusal {
    /// A refusal after which the client's cookies are worth nothing.
    #[must_use]
    pub fn clearing(error: Error) -> Self {
        Self { error: Arc::new(error), clear_cookies: true }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // Cookies of several sessions refuse every further request until they are gone.
        let clear_cookies = matches!(error, Error::CredentialConflict);
        Self { error: Arc::new(error), clear_cookies }
    }
}

/// An empty response that carries the refusal in its extensions.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// A JSON body with cookies.
pub(crate) fn json(status: StatusCode, body: &impl Serialize, cookies: Vec<HeaderValue>) -> Response {
    let mut response = (status, Json(body)).into_response();
    append_cookies(&mut response, cookies);
    response
}

/// Adds `Set-Cookie` lines, each a line of its own.
pub(crate) fn append_cookies(response: &mut Response, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
