//! The request as the upstream gets it, and the answer as the client gets it.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::api::client;
use crate::api::cookies::cookie_values;
use crate::config::settings::HashOn;
use crate::gateway::context::RequestContext;
use crate::gateway::credentials::without_own;
use crate::gateway::hardening;
use crate::gateway::identity;
use crate::gateway::respond::REQUEST_ID;
use crate::gateway::{grpc, rewrite, upstream};
use crate::metrics::StreamKind;
use crate::revocation::Standing;

/// Where the app seems to live: what a route takes off the path.
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Caches between us and the browser must not keep what carries a session.
const CDN_CACHE: [HeaderName; 2] =
    [HeaderName::from_static("cdn-cache-control"), HeaderName::from_static("surrogate-control")];

/// Makes the request what the upstream is meant to see. The identity comes last: nothing a client
/// sends can remove it on the way.
pub fn prepare(upstream: &mut RequestHeader, ctx: &RequestContext) {
    // Its letter case went when it was admitted: this moves the map, and copies nothing.
    let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(upstream, nothing));
    fill(&mut parts.headers, ctx);
    *upstream = parts.into();
    let rewritten = ctx.route.as_ref().zip(ctx.target.as_ref()).and_then(|((route, _), to)| rewrite::target(route, to));
    if let Some(target) = rewritten {
        let _ = upstream.set_raw_path(target.as_bytes());
    }
}

fn fill(headers: &mut HeaderMap, ctx: &RequestContext) {
    let runtime = &ctx.runtime;
    let gateway = &runtime.settings.gateway;
    if gateway.strip_credentials {
        strip_credentials(headers, ctx);
    }
    if let Some(host) = ctx.trip.as_ref().and_then(|trip| trip.endpoint().host_header.as_ref()) {
        headers.insert(header::HOST, host.clone());
    }
    if let Some((route, _)) = &ctx.route {
        if route.identity.owns_authorization() {
            headers.remove(header::AUTHORIZATION);
        }
        for (name, value) in &route.set_request_headers {
            headers.insert(name, value.clone());
        }
        tell_prefix(headers, ctx, route.rewrite.is_some().then(|| rewrite::taken_off(route)).flatten());
    }
    tell_client(headers, ctx);
    headers.insert(REQUEST_ID, ctx.id.header());
    ctx.trace.tell(headers);
    tell_identity(headers, ctx);
}

/// Tells who asks for what, as far as addresses go.
fn tell_client(headers: &mut HeaderMap, ctx: &RequestContext) {
    let (Some(client), Some(addressed)) = (&ctx.client, &ctx.addressed) else {
        return client::forward_nothing(headers);
    };
    match &addressed.forwarding {
        _ if !ctx.runtime.settings.gateway.forwarded_headers => client::forward_nothing(headers),
        Some(forwarding) if !client.peer_is_trusted => forwarding.tell(headers),
        _ => client::forward(client, ctx.request.conn().peer().ip(), addressed.host.authority(), headers),
    }
}

fn tell_identity(headers: &mut HeaderMap, ctx: &RequestContext) {
    let (Some(token), Some((route, balanced))) = (&ctx.identity, &ctx.route) else { return };
    let by_itself = &ctx.runtime.settings.gateway.assertion.header;
    let is_signed = by_itself.is_some() || route.identity.is_signed();
    let proof = is_signed.then(|| ctx.runtime.proof(token, &balanced.settings.name));
    identity::tell(&token.claims, &route.identity, proof.as_ref(), |name, value| drop(headers.insert(name, value)));
    if let (Some(name), Some(proof)) = (by_itself, proof) {
        headers.insert(name, proof.assertion);
    }
}

/// What decides about a request's target among those of one upstream; `None` when it has nothing of the kind.
pub fn key(on: &HashOn, head: &RequestHeader, ctx: &RequestContext) -> Option<u64> {
    let of_cookie = |name: &str| {
        let values = cookie_values(&head.headers, name);
        values.first().map(|value| upstream::key_of(value.as_bytes()))
    };
    match on {
        HashOn::Ip => ctx.client.as_ref().map(|client| upstream::key_of(client.ip.to_string().as_bytes())),
        HashOn::User => ctx.identity.as_ref().map(|token| upstream::key_of(token.claims.sub.as_bytes())),
        HashOn::Header(name) => head.headers.get(name).map(|value| upstream::key_of(value.as_bytes())),
        HashOn::Cookie(name) => of_cookie(name),
    }
}

/// Tells the app under which prefix its clients see it. Of strangers nobody believes one.
fn tell_prefix(headers: &mut HeaderMap, ctx: &RequestContext, taken_off: Option<&str>) {
    let before = headers.remove(FORWARDED_PREFIX);
    let is_trusted = ctx.client.as_ref().is_some_and(|client| client.peer_is_trusted);
    let before = before.as_ref().filter(|_| is_trusted).and_then(|value| value.to_str().ok()).unwrap_or("");
    let taken_off = taken_off.filter(|_| ctx.runtime.settings.gateway.forwarded_headers).unwrap_or("");
    if before.is_empty() && taken_off.is_empty() {
        return;
    }
    if let Ok(prefix) = HeaderValue::try_from(format!("{}{taken_off}", before.trim_end_matches('/'))) {
        headers.insert(FORWARDED_PREFIX, prefix);
    }
}

fn strip_credentials(headers: &mut HeaderMap, ctx: &RequestContext) {
    if headers.contains_key(header::COOKIE) {
        let rest = without_own(headers, &ctx.runtime.names);
        headers.remove(header::COOKIE);
        if let Some(rest) = rest {
            headers.insert(header::COOKIE, rest);
        }
    }
    if ctx.bearer_consumed {
        headers.remove(header::AUTHORIZATION);
    }
}

/// Makes the answer what the client is meant to see.
pub fn finish(response: &mut ResponseHeader, ctx: &RequestContext) {
    change(response, |headers| fill_answer(headers, ctx));
}

/// Makes what an upstream says before its answer (103) what the client is meant to see.
pub fn finish_hint(response: &mut ResponseHeader, ctx: &RequestContext) {
    change(response, |headers| drop_ours(headers, ctx));
}

/// Changes an answer's headers. As with requests, the letter case of names goes; a reason of the upstream's own
/// does not.
fn change(response: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap)) {
    let usual = response.status.canonical_reason();
    let reason = response.get_reason_phrase().filter(|reason| Some(*reason) != usual).map(str::to_owned);
    let nothing = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut parts = http::response::Parts::from(std::mem::replace(response, nothing));
    change(&mut parts.headers);
    *response = parts.into();
    if let Some(reason) = reason {
        let _ = response.set_reason_phrase(Some(&reason));
    }
}

fn fill_answer(headers: &mut HeaderMap, ctx: &RequestContext) {
    drop_ours(headers, ctx);
    if let Some((route, _)) = &ctx.route {
        for name in &route.remove_response_headers {
            headers.remove(name);
        }
        if let Some(value) = &route.cache_control {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        hardening::fill(route.security_headers, headers);
        for (name, value) in &route.set_response_headers {
            headers.insert(name, value.clone());
        }
    }
    if let Some(hsts) = hsts(ctx) {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
    }
    headers.insert(REQUEST_ID, ctx.id.header());
    let cookies = cookies(ctx);
    if cookies.is_empty() {
        return;
    }
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.remove(header::EXPIRES);
    for name in &CDN_CACHE {
        headers.remove(name);
    }
}

/// What a browser is told on this connection about coming by https.
#[must_use]
pub fn hsts(ctx: &RequestContext) -> Option<&HeaderValue> {
    ctx.runtime.hsts.as_ref().filter(|_| ctx.request.conn().listener().tls)
}

/// The cookies that ride on an answer: none once their session has ended meanwhile.
#[must_use]
pub fn cookies(ctx: &RequestContext) -> &[HeaderValue] {
    if ctx.set_cookies.is_empty() {
        return &[];
    }
    let ended =
        ctx.identity.as_ref().is_some_and(|token| ctx.runtime.auth.revocations().standing(token) == Standing::Revoked);
    if ended { &[] } else { &ctx.set_cookies }
}

/// Whether a request is likely to be answered by a stream that may be silent for long.
#[must_use]
pub fn asks_for_stream(headers: &HeaderMap) -> bool {
    let accepts_events = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/event-stream"));
    headers.get_all(header::ACCEPT).iter().any(accepts_events) || grpc::is_call(headers)
}

/// What kind of stream an answer is, if it is one.
#[must_use]
pub fn stream_kind(response: &ResponseHeader) -> Option<StreamKind> {
    if grpc::is_call(&response.headers) {
        return Some(StreamKind::Grpc);
    }
    let kind = response.headers.get(header::CONTENT_TYPE)?;
    kind.as_bytes().starts_with(b"text/event-stream").then_some(StreamKind::Sse)
}

/// An upstream neither sets our cookies nor speaks in our name.
fn drop_ours(headers: &mut HeaderMap, ctx: &RequestContext) {
    let names = &ctx.runtime.names;
    let foreign: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-nauth-")).cloned().collect();
    for name in foreign {
        headers.remove(&name);
    }
    let cookies = headers.get_all(header::SET_COOKIE);
    if !cookies.iter().any(|value| identity::sets_own_cookie(value, names)) {
        return;
    }
    let kept: Vec<HeaderValue> =
        cookies.iter().filter(|value| !identity::sets_own_cookie(value, names)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}
