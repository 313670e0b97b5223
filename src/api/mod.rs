//! Floor 6, the auth API: everything under `api.prefix`, answered here and never proxied.
//!
//! The listener hands over a whole request and gets a whole answer; routing and reading is axum's
//! work, in process. A dialect (for now [`nauth`]) owns the routes, the rest of this module is
//! what all dialects share: who asks ([`context`]), what they show ([`credentials`], [`named`]),
//! how tokens travel ([`delivery`]), and what other sites' pages may do ([`csrf`], [`cors`]).

#[cfg(test)]
mod account_tests;
pub mod answer;
pub mod bridge;
mod caller;
pub mod client;
pub mod context;
pub mod cookies;
pub mod cors;
pub mod credentials;
pub mod csrf;
#[cfg(test)]
mod decoy_tests;
pub mod delivery;
pub mod dialect;
mod entering;
pub mod evidence;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod job_tests;
pub mod json;
pub mod jwks;
mod leaving;
pub mod named;
pub mod nauth;
#[cfg(test)]
mod notice_tests;
pub mod ops;
#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod phone_tests;
mod qr;
pub mod return_to;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;
pub mod ui;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use tower::ServiceExt;

use crate::api::answer::Refusal;
use crate::api::context::Arrival;
use crate::api::cors::{Called, Preflight};
use crate::api::dialect::{CookieNames, Dialect};
use crate::api::nauth::Nauth;
use crate::auth::Auth;
use crate::config::settings::Settings;
use crate::domain::error::{Denial, Error};

/// What every handler works with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

/// See [`Api`].
#[derive(Debug)]
pub struct Inner {
    /// The settings this API was built for.
    pub settings: Arc<Settings>,
    /// The use cases.
    pub auth: Auth,
    /// Our cookies.
    pub names: CookieNames,
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The auth API, built once for one set of settings.
#[derive(Debug)]
pub struct AuthApi {
    api: Api,
    router: Router,
}

impl AuthApi {
    /// Mounts the API as the settings of `auth` say.
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        let settings = Arc::clone(auth.settings());
        let names = Nauth::cookie_names(&settings);
        let routes = Nauth::routes(&settings).merge(jwks::routes(&auth));
        let pages = if ui::is_mounted(&settings) { ui::routes() } else { ui::style_alone() };
        let routes = routes.nest(ui::PATH, pages);
        let router = Router::new()
            .nest(&settings.api.prefix, routes)
            .fallback(async || Refusal::from(Error::NotFound))
            .method_not_allowed_fallback(async || Refusal::from(Error::MethodNotAllowed(String::new())));
        let api = Api(Arc::new(Inner { settings, auth, names }));
        Self { router: router.with_state(api.clone()), api }
    }

    /// Answers one request. Its extensions must hold an [`Arrival`].
    pub async fn answer(&self, request: Request<Bytes>) -> http::Response<Bytes> {
        let (asked, is_head) = (request.headers().clone(), request.method() == Method::HEAD);
        let security = &self.api.settings.security;
        let response = match cors::preflight(security, request.method(), &asked) {
            Preflight::Not => self.route(request).await,
            Preflight::Listed => return no_content(cors::preflight_answer(security, &asked, Called::Api)),
            Preflight::Unlisted => {
                let refusal = Refusal::from(Error::Forbidden(Denial::Origin));
                self.rendered(&request_facts(&request), &refusal)
            }
        };
        let mut response = into_bytes(self.finished(response, &asked)).await;
        if is_head {
            response.body_mut().clear();
        }
        response
    }

    async fn route(&self, request: Request<Bytes>) -> Response {
        let facts = request_facts(&request);
        let answer = self.router.clone().oneshot(request.map(Body::from)).await;
        let mut response = answer.expect("the router is infallible");
        match response.extensions_mut().remove::<Refusal>() {
            None => response,
            Some(refusal) => self.rendered(&facts, &with_allowed(refusal, response.headers())),
        }
    }

    /// Writes a refusal, and tells the operator when it is not the client's fault.
    fn rendered(&self, facts: &Facts, refusal: &Refusal) -> Response {
        nauth::error::report(&refusal.error, &facts.request_id);
        let rendered = Nauth::error(&refusal.error, &facts.path, self.api.auth.clock().now());
        let mut response = Response::new(Body::from(rendered.body));
        *response.status_mut() = rendered.status;
        response.headers_mut().extend(rendered.headers);
        if refusal.clear_cookies {
            answer::append_cookies(&mut response, delivery::clear_cookies(&self.api.settings));
        }
        response
    }

    /// What every answer carries, good or bad.
    fn finished(&self, mut response: Response, asked: &HeaderMap) -> Response {
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        let page = &self.api.settings.security.headers;
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static(page.frame_options.as_str()));
        headers.insert(header::REFERRER_POLICY, page.referrer_policy.clone());
        headers.extend(cors::answer_headers(&self.api.settings.security, asked));
        response
    }
}

/// What of a request is still needed when it is gone.
struct Facts {
    path: String,
    request_id: Arc<str>,
}

fn request_facts(request: &Request<Bytes>) -> Facts {
    let arrival = request.extensions().get::<Arrival>();
    Facts {
        path: request.uri().path().to_owned(),
        request_id: arrival.map_or_else(|| Arc::from(""), |arrival| Arc::clone(&arrival.request_id)),
    }
}

/// The router knows the allowed methods; the refusal, made before it told them, does not.
fn with_allowed(refusal: Refusal, headers: &HeaderMap) -> Refusal {
    let allowed = headers.get(header::ALLOW).and_then(|allowed| allowed.to_str().ok());
    match (&*refusal.error, allowed) {
        (Error::MethodNotAllowed(_), Some(allowed)) => Error::MethodNotAllowed(allowed.to_owned()).into(),
        _ => refusal,
    }
}

fn no_content(headers: Vec<(http::HeaderName, HeaderValue)>) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().extend(headers);
    response
}

async fn into_bytes(response: Response) -> http::Response<Bytes> {
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    http::Response::from_parts(head, body.expect("our bodies are in memory and cannot break off"))
}
