//! A refusal in the form its client reads: gRPC for calls, a page for whoever looks at a screen, and
//! JSON for all others.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::api::dialect::Rendered;
use crate::api::evidence;
use crate::api::nauth::error;
use crate::api::ui;
use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::gateway::context::RequestContext;
use crate::gateway::{grpc, respond};

/// The refusal of a request with these headers.
#[must_use]
pub fn refusal(refused: &Error, request: &HeaderMap, ctx: &RequestContext, now: Time) -> Response<Bytes> {
    error::report(refused, ctx.id.as_str());
    let rendered = error::render(refused, ctx.path(), now);
    // A proxy takes the 200 of a gRPC status for a yes.
    let answer = if grpc::is_call(request) && ctx.verify.is_none() {
        grpc::refusal(rendered.status, &refused.to_string(), request.get(header::CONTENT_TYPE))
    } else if is_looked_at(rendered.status, request, ctx) {
        page(refused, rendered, ctx)
    } else {
        json(rendered)
    };
    respond::marked(answer, ctx.id.as_str())
}

/// Whether a person would see it. Who has to log in first is told so in a way that programs read
/// (G7), and so is another proxy that asks.
fn is_looked_at(status: StatusCode, request: &HeaderMap, ctx: &RequestContext) -> bool {
    let path = ctx.path();
    status != StatusCode::UNAUTHORIZED
        && ctx.verify.is_none()
        && evidence::is_navigation(&ctx.method, request)
        && !ctx.runtime.policy.is_for_programs(path)
}

fn json(rendered: Rendered) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(rendered.body));
    *response.status_mut() = rendered.status;
    response.headers_mut().extend(rendered.headers);
    response
}

fn page(refused: &Error, rendered: Rendered, ctx: &RequestContext) -> Response<Bytes> {
    let settings = &ctx.runtime.settings;
    let html = ui::refusal_page(settings, rendered.status, refused, ctx.id.as_str());
    let mut response = json(Rendered { body: html, ..rendered });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.extend(ui::page_headers());
    response
}
