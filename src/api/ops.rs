//! The listener for operators: is it alive, is it ready, what does it count, and "reload now".
//!
//! It is not meant for browsers at all, and a page that finds it anyway (an open port on the
//! operator's own machine, a rebound DNS name) is refused: every request with an `Origin`, and,
//! while the listener is bound to loopback, every `Host` that is not a loopback name.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::api::credentials;
use crate::api::nauth::error;
use crate::config::settings::{Management, Metrics, is_loopback_host};
use crate::domain::clock::Clock;
use crate::domain::error::{Denial, Error};
use crate::domain::secret::Secret;

/// What the program above can be asked for.
pub struct Operations {
    /// What stands in the way of serving; checks that pass are listed too.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Every metric, in the text format of Prometheus.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Reads the files again; answers what changed, or the report of what is wrong.
    pub reload: Box<dyn Fn() -> BoxFuture<'static, Result<Value, String>> + Send + Sync>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operations")
    }
}

/// The checks made before traffic is welcome, by name; a check that fails says why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness(pub BTreeMap<&'static str, Result<(), String>>);

impl Readiness {
    /// Whether every check passes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.values().all(Result::is_ok)
    }
}

/// The management API under one set of settings.
#[derive(Debug)]
pub struct Ops {
    is_loopback: bool,
    token: Option<Secret<String>>,
    metrics_path: Option<String>,
    operations: Operations,
    clock: Clock,
}

impl Ops {
    /// Answers with what `operations` offer.
    #[must_use]
    pub fn new(management: &Management, metrics: &Metrics, operations: Operations, clock: Clock) -> Self {
        Self {
            is_loopback: management.addr.ip().to_canonical().is_loopback(),
            token: management.token.clone(),
            metrics_path: metrics.enabled.then(|| metrics.path.clone()),
            operations,
            clock,
        }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let answered = match self.admit(&request) {
            Ok(()) => self.route(&request).await,
            Err(refused) => Err(refused),
        };
        let mut response = answered.unwrap_or_else(|error| self.refused(&error, request.uri().path()));
        harden(response.headers_mut());
        if request.method() == Method::HEAD {
            response.body_mut().clear();
        }
        response
    }

    fn admit(&self, request: &Request<Bytes>) -> Result<(), Error> {
        if request.headers().contains_key(header::ORIGIN) {
            return Err(Error::Forbidden(Denial::Origin));
        }
        if self.is_loopback && !names_loopback(request.headers()) {
            return Err(Error::Misdirected("this listener answers to loopback names only".to_owned()));
        }
        Ok(())
    }

    async fn route(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let path = request.uri().path();
        if path == "/reload" {
            return self.reload(request).await;
        }
        let answer = match path {
            "/livez" | "/healthz" => json_response(StatusCode::OK, &json!({ "status": "alive" })),
            "/readyz" => readiness_response(&(self.operations.readiness)()),
            path if self.metrics_path.as_deref() == Some(path) => metrics_response((self.operations.metrics)()),
            _ => return Err(Error::NotFound),
        };
        match *request.method() {
            Method::GET | Method::HEAD => Ok(answer),
            _ => Err(Error::MethodNotAllowed("GET,HEAD".to_owned())),
        }
    }

    /// Without a configured token there is no such path.
    async fn reload(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let token = self.token.as_ref().ok_or(Error::NotFound)?;
        if request.method() != Method::POST {
            return Err(Error::MethodNotAllowed("POST".to_owned()));
        }
        let shown = credentials::bearer(request.headers()).ok_or(Error::TokenMissing)?;
        if verify_slices_are_equal(shown.as_bytes(), token.expose().as_bytes()).is_err() {
            return Err(Error::TokenInvalid("Invalid token"));
        }
        Ok(match (self.operations.reload)().await {
            Ok(report) => json_response(StatusCode::OK, &json!({ "reloaded": true, "report": report })),
            Err(report) => {
                json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "reloaded": false, "report": report }))
            }
        })
    }

    /// A refusal.
    #[must_use]
    pub fn refused(&self, error: &Error, path: &str) -> Response<Bytes> {
        let rendered = error::render(error, path, self.clock.now());
        let mut response = Response::new(Bytes::from(rendered.body));
        *response.status_mut() = rendered.status;
        response.headers_mut().extend(rendered.headers);
        response
    }
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| is_loopback_host(authority.host()))
}

fn readiness_response(readiness: &Readiness) -> Response<Bytes> {
    let said = |outcome: &Result<(), String>| outcome.as_ref().err().map_or_else(|| "ok".to_owned(), Clone::clone);
    let checks: BTreeMap<_, _> = readiness.0.iter().map(|(name, outcome)| (name, said(outcome))).collect();
    let (status, word) =
        if readiness.is_ready() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    json_response(status, &json!({ "status": word, "checks": checks }))
}

fn metrics_response(text: String) -> Response<Bytes> {
    response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Bytes::from(text))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    response(status, "application/json", Bytes::from(body.to_string()))
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Nothing here is a page, and nothing is to be kept.
fn harden(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Time;

    const TOKEN: &str = "a token of the operator, long enough";

    fn ops(addr: &str, token: Option<&str>, ready: bool) -> Ops {
        let management =
            Management { addr: addr.parse().unwrap(), token: token.map(|token| Secret::new(token.to_owned())) };
        let metrics = Metrics { enabled: true, path: "/metrics".to_owned(), per_route_labels: true };
        let database = if ready { Ok(()) } else { Err("no answer for 12 s".to_owned()) };
        let operations = Operations {
            readiness: Box::new(move || Readiness([("database", database.clone())].into())),
            metrics: Box::new(|| "nauth_up 1\n".to_owned()),
            reload: Box::new(|| Box::pin(async { Err("nauth.toml:3: unknown key".to_owned()) })),
        };
        Ops::new(&management, &metrics, operations, Clock::manual(Time::from_secs(0)))
    }

    async fn ask(ops: &Ops, method: &str, path: &str, lines: &[(&str, &str)]) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let response = ops.answer(request.body(Bytes::new()).unwrap()).await;
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_and_metrics_are_open_by_their_loopback_names() {
        let ops = ops("127.0.0.1:9901", None, true);
        for host in ["127.0.0.1:9901", "localhost", "[::1]:9901"] {
            for path in ["/livez", "/healthz", "/readyz", "/metrics"] {
                assert_eq!(ask(&ops, "GET", path, &[("host", host)]).await.0, 200, "{host}{path}");
            }
        }
        assert_eq!(ask(&ops, "GET", "/nothing", &[("host", "localhost")]).await.0, 404);
        assert_eq!(ask(&ops, "POST", "/livez", &[("host", "localhost")]).await.0, 405);
        assert_eq!(ask(&ops, "HEAD", "/livez", &[("host", "localhost")]).await, (200, String::new()));
    }

    #[tokio::test]
    async fn browsers_are_refused() {
        let loopback = ops("127.0.0.1:9901", None, true);
        let open = ops("0.0.0.0:9901", None, true);
        let origin = ("origin", "http://localhost");

        assert_eq!(ask(&loopback, "GET", "/livez", &[("host", "localhost"), origin]).await.0, 403);
        assert_eq!(ask(&loopback, "GET", "/livez", &[("host", "evil.example")]).await.0, 421);
        assert_eq!(ask(&loopback, "GET", "/livez", &[]).await.0, 421);
        assert_eq!(ask(&open, "GET", "/livez", &[("host", "nauth.internal")]).await.0, 200);
        assert_eq!(ask(&open, "GET", "/livez", &[("host", "nauth.internal"), origin]).await.0, 403);
    }

    #[tokio::test]
    async fn readiness_names_the_check_that_fails() {
        let (status, body) = ask(&ops("127.0.0.1:1", None, false), "GET", "/readyz", &[("host", "localhost")]).await;

        assert_eq!(status, 503);
        assert!(body.contains(r#""database":"no answer for 12 s""#), "{body}");
    }

    #[tokio::test]
    async fn a_reload_needs_the_configured_token_and_tells_what_is_wrong() {
        let host = ("host", "localhost");
        let bearer = format!("Bearer {TOKEN}");
        let (without, with) = (ops("127.0.0.1:1", None, true), ops("127.0.0.1:1", Some(TOKEN), true));

        assert_eq!(ask(&without, "POST", "/reload", &[host, ("authorization", "Bearer ")]).await.0, 404);
        assert_eq!(ask(&with, "POST", "/reload", &[host]).await.0, 401);
        assert_eq!(ask(&with, "POST", "/reload", &[host, ("authorization", "Bearer other")]).await.0, 401);
        assert_eq!(ask(&with, "GET", "/reload", &[host, ("authorization", &bearer)]).await.0, 405);

        let (status, body) = ask(&with, "POST", "/reload", &[host, ("authorization", &bearer)]).await;
        assert_eq!(status, 422);
        assert!(body.contains("unknown key"), "{body}");
    }
}
