//! Forward-auth: another proxy asks whether a request may pass, and does the proxying itself.
//!
//! The request it asks about takes the place of the question, so the gateway decides about it as if
//! it had come itself. Only the answer is made for the proxy, and before it is written the question
//! comes back into its place: it is what the connection waits for an answer to.

pub mod question;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::api::client::{self, ClientInfo};
use crate::config::settings::{ForwardAuth, Identity, LoginRedirect, QuestionHeaders, Route, Serves};
use crate::domain::error::{Denial, Error};
use crate::gateway::context::RequestContext;
use crate::gateway::credentials::without_own;
use crate::gateway::{identity, respond};
use crate::metrics::{Asker, Decision, Metrics, Rejection};
use question::Question;

/// Where the login page is, for a proxy that cannot pass a redirect on.
const REDIRECT: HeaderName = HeaderName::from_static("x-nauth-redirect");

/// A request in whose place another one is decided about.
#[derive(Debug, Default)]
pub struct Verify {
    received: Option<Box<RequestHeader>>,
    /// The route it takes.
    pub route: Option<Arc<Route>>,
}

/// Puts the request a proxy asks about into the place of its question.
///
/// # Errors
/// [`Error::Forbidden`] for whoever may not ask; nothing of the question is looked at then. What is wrong
/// with a question otherwise.
pub fn take_place(session: &mut Session, ctx: &mut RequestContext, metrics: &Metrics) -> Result<(), Error> {
    let runtime = Arc::clone(&ctx.runtime);
    let settings = &runtime.settings;
    let Some(forward_auth) = &settings.forward_auth else { return Ok(()) };
    if ctx.request.conn().listener().serves == Serves::HttpsElsewhere {
        return Ok(());
    }
    let head = session.req_header();
    let Some(rest) = Question::asked(head.raw_path(), &settings.api.prefix) else { return Ok(()) };
    ctx.verify = Some(Verify::default());

    let peer = ctx.request.conn().peer().ip().to_canonical();
    if !forward_auth.trusted.iter().any(|network| network.contains(&peer)) {
        metrics.rejected(Rejection::ProxyUntrusted);
        return Err(Error::Forbidden(Denial::Address));
    }
    let scheme = settings.server.public_url.scheme;
    let question = Question::read(head, rest, forward_auth.headers, &runtime.managed, scheme)
        .inspect_err(|_| metrics.rejected(Rejection::Header))?;
    let named = client::named_client(&head.headers, &forward_auth.trusted, &settings.server);
    // Without it the proxy's own address would count, and open what is meant for that one.
    let ip = named.ok_or(Error::BadRequest("the question does not name the client's address"))?;

    let described = described(head, &question)?;
    let received = std::mem::replace(session.req_header_mut(), described);
    ctx.verify = Some(Verify { received: Some(Box::new(received)), route: None });
    ctx.method = question.method;
    ctx.client = Some(ClientInfo { ip, scheme: question.scheme, forwarded_host: None, peer_is_trusted: true });
    Ok(())
}

/// The head of the request asked about: the question's, except for what it says otherwise.
fn described(question: &RequestHeader, asked: &Question) -> Result<RequestHeader, Error> {
    const MALFORMED: Error = Error::BadRequest("the target asked about is malformed");
    let mut head = question.clone();
    head.set_method(asked.method.clone());
    head.set_raw_path(&asked.target).map_err(|_| MALFORMED)?;
    head.insert_header(header::HOST, asked.host.authority()).map_err(|_| MALFORMED)?;
    // Some proxies keep `Upgrade` to themselves. A browser's page cannot leave this one out.
    if head.headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        head.insert_header(header::UPGRADE, "websocket").map_err(|_| MALFORMED)?;
    }
    Ok(head)
}

/// Marks a yes. A proxy takes every success for one, so no other success may leave.
#[derive(Debug, Clone, Copy)]
struct Passed;

/// The request may pass: who its user is, and what is left of its credentials.
///
/// Every header is there, empty where there is nothing to say, so that the proxy overwrites
/// whatever the client sent under its name.
#[must_use]
pub fn passed(session: &Session, ctx: &RequestContext) -> Response<Bytes> {
    let mut answer = respond::text(String::new(), ctx.id.as_str());
    let headers = answer.headers_mut();
    let everywhere = ctx.runtime.settings.forward_auth.iter().map(|forward_auth| &forward_auth.identity);
    let route = ctx.verify.as_ref().and_then(|verify| verify.route.as_ref());
    let of_route = route.map(|route| &route.asked_identity);
    let by_itself = &ctx.runtime.settings.gateway.assertion.header;
    for name in everywhere.chain(of_route).flat_map(Identity::header_names).chain(by_itself) {
        headers.insert(name.clone(), HeaderValue::from_static(""));
    }
    if let (Some(token), Some(route)) = (&ctx.identity, route) {
        let told = &route.asked_identity;
        let is_signed = by_itself.is_some() || told.is_signed();
        let proof = is_signed.then(|| ctx.runtime.proof(token, audience(route)));
        identity::tell(&token.claims, told, proof.as_ref(), |name, value| drop(headers.insert(name.clone(), value)));
        if let (Some(name), Some(proof)) = (by_itself, proof) {
            headers.insert(name.clone(), proof.assertion);
        }
    }
    let asked = &session.req_header().headers;
    let strips = ctx.runtime.settings.gateway.strip_credentials;
    let cookies = if strips { without_own(asked, &ctx.runtime.names) } else { asked.get(header::COOKIE).cloned() };
    headers.insert(header::COOKIE, cookies.unwrap_or(HeaderValue::from_static("")));
    if !of_route.is_some_and(Identity::owns_authorization) {
        let is_used_up = strips && ctx.bearer_consumed;
        let authorization = asked.get(header::AUTHORIZATION).filter(|_| !is_used_up).cloned();
        headers.insert(header::AUTHORIZATION, authorization.unwrap_or(HeaderValue::from_static("")));
    }
    answer.extensions_mut().insert(Passed);
    respond::marked(answer, ctx.id.as_str())
}

/// Who an assertion is for, where no upstream of nauth's need be.
fn audience(route: &Arc<Route>) -> &str {
    if route.upstream.is_empty() { &route.name } else { &route.upstream }
}

/// Puts the question back into its place and makes the answer one for its proxy.
pub fn answer(
    session: &mut Session,
    ctx: &mut RequestContext,
    metrics: &Metrics,
    mut answer: Response<Bytes>,
) -> Response<Bytes> {
    let Some(verify) = &mut ctx.verify else { return answer };
    if let Some(received) = verify.received.take() {
        *session.req_header_mut() = *received;
    }
    if answer.extensions_mut().remove::<Passed>().is_none() {
        answer = no_success(answer);
    }
    // Somebody asked, so there are settings about it.
    let Some(forward_auth) = &ctx.runtime.settings.forward_auth else { return answer };
    metrics.asked(asker(forward_auth), decision(answer.status()));
    match forward_auth.redirect {
        LoginRedirect::Found => answer,
        LoginRedirect::Header => in_two_words(answer),
    }
}

fn asker(forward_auth: &ForwardAuth) -> Asker {
    match forward_auth.headers {
        QuestionHeaders::XForwarded => Asker::XForwarded,
        QuestionHeaders::XOriginal => Asker::XOriginal,
        QuestionHeaders::Envoy => Asker::Envoy,
    }
}

fn decision(status: StatusCode) -> Decision {
    match status {
        StatusCode::FOUND => Decision::Challenge,
        status if status.is_success() => Decision::Allow,
        _ => Decision::Deny,
    }
}

fn no_success(mut answer: Response<Bytes>) -> Response<Bytes> {
    if answer.status().is_success() {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    answer
}

/// nginx takes 401 and 403 for an answer, and whatever else is no success for a failure of its own.
fn in_two_words(mut answer: Response<Bytes>) -> Response<Bytes> {
    if let Some(place) = answer.headers_mut().remove(header::LOCATION) {
        answer.headers_mut().insert(REDIRECT, place);
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
    } else if answer.status().is_client_error() && answer.status() != StatusCode::UNAUTHORIZED {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, location: Option<&'static str>) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(location) = location {
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static(location));
        }
        answer
    }

    #[test]
    fn nginx_is_told_in_the_two_words_it_knows() {
        let cases = [(200, 200), (400, 403), (401, 401), (403, 403), (404, 403), (421, 403), (429, 403), (503, 503)];
        for (said, understood) in cases {
            assert_eq!(in_two_words(answer(said, None)).status(), understood, "{said}");
        }

        let login = in_two_words(answer(302, Some("/auth/ui/login")));
        assert_eq!(
            (login.status(), login.headers()[REDIRECT].as_bytes()),
            (StatusCode::UNAUTHORIZED, &b"/auth/ui/login"[..])
        );
        assert!(!login.headers().contains_key(header::LOCATION));
    }

    #[test]
    fn only_a_yes_is_a_success() {
        for (said, understood) in [(200, 403), (204, 403), (206, 403), (302, 302), (401, 401), (503, 503)] {
            assert_eq!(no_success(answer(said, None)).status(), understood, "{said}");
        }
    }

    #[test]
    fn answers_are_counted_by_what_they_mean() {
        for (status, meaning) in [(200, Decision::Allow), (302, Decision::Challenge), (401, Decision::Deny)] {
            assert_eq!(decision(StatusCode::from_u16(status).unwrap()), meaning);
        }
    }
}
