//! The first look at a request: is it one, is it ours, does it read in one way only?
//!
//! Whatever passes carries one canonical target, one Host, and no header a client could have forged.

use std::net::IpAddr;
use std::sync::{Arc, Once};

use http::{HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::api::client;
use crate::config::settings::Route;
use crate::domain::error::Error;
use crate::gateway::addressed::Addressed;
use crate::gateway::canonical::Canonical;
use crate::gateway::context::{RequestContext, RequestId};
use crate::gateway::respond::REQUEST_ID;
use crate::gateway::{framing, managed, verify};
use crate::metrics::{HeaderClass, Metrics, Rejection};

/// Most header fields in one request.
const MAX_FIELDS: usize = 100;

/// Admits a request, or says why not.
pub fn admit(session: &mut Session, ctx: &mut RequestContext, metrics: &Metrics) -> Result<(), Error> {
    if session.as_downstream().is_http2() {
        one_form(session)?;
    }
    let head = session.req_header();
    ctx.method = head.method.clone();
    let (peer, is_tls) = (ctx.request.conn().peer(), ctx.request.conn().listener().tls);
    let client = client::client(peer, is_tls, &head.headers, &ctx.runtime.settings.server);
    let trusted = client.peer_is_trusted;
    ctx.client = Some(client);
    if let Some(id) = trusted.then(|| head.headers.get(&REQUEST_ID)).flatten().and_then(RequestId::given) {
        ctx.id = id;
    }
    if let Some(trace) = trusted.then(|| ctx.runtime.continued(&head.headers)).flatten() {
        ctx.trace = trace;
    }
    if let Some(raw) =
        session.as_downstream().as_http1().map(pingora::protocols::http::v1::server::HttpSession::get_headers_raw_bytes)
        && let Some(reason) = framing::ambiguity(&raw)
    {
        metrics.rejected(if reason.contains("fragment") { Rejection::Path } else { Rejection::Header });
        return Err(Error::BadRequest(reason));
    }
    verify::take_place(session, ctx, metrics)?;
    let head = session.req_header();
    if matches!(head.method, Method::TRACE | Method::CONNECT) {
        return Err(Error::MethodNotAllowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned()));
    }
    if head.headers.len() > MAX_FIELDS {
        metrics.rejected(Rejection::Size);
        return Err(Error::HeaderTooLarge);
    }
    if !managed::connection_is_acceptable(&head.headers) {
        metrics.rejected(Rejection::Header);
        return Err(Error::BadRequest("Connection names a header that does not belong to the connection"));
    }
    // What a proxy asks about has a client of its own.
    let scheme = ctx.client.as_ref().map_or("http", |client| client.scheme);
    let addressed = Addressed::read(&head.headers, scheme, ctx.request.conn(), &ctx.runtime)
        .inspect_err(|_| metrics.rejected(Rejection::Host))?;
    let target =
        Canonical::parse(head.raw_path(), &addressed.host).inspect_err(|_| metrics.rejected(Rejection::Path))?;
    let is_canonical = head.raw_path() == target.target().as_bytes();

    let head = session.req_header_mut();
    shed_letter_case(head);
    if !is_canonical {
        let written = head.set_raw_path(target.target().as_bytes());
        written.map_err(|_| Error::BadRequest("the request target is malformed"))?;
    }
    ctx.addressed = Some(addressed);
    ctx.target = Some(Arc::new(target));
    strip(session, ctx, metrics);
    Ok(())
}

/// pingora keeps the letter case of every name beside its map, which doubles what each look at a header costs.
/// Names have none (RFC 9110, section 5.1), so that goes; common ones are written as everybody writes them.
fn shed_letter_case(head: &mut RequestHeader) {
    let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
    *head = http::request::Parts::from(std::mem::replace(head, nothing)).into();
}

/// Gives a request of HTTP/2 the form of one of HTTP/1.1: a Host, one line of cookies, one length.
fn one_form(session: &mut Session) -> Result<(), Error> {
    let head = session.req_header_mut();
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority().map(|authority| authority.as_str().to_owned())
    {
        head.insert_header(header::HOST, authority).map_err(|_| Error::BadRequest("the authority is malformed"))?;
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|length| !length.as_bytes().iter().all(u8::is_ascii_digit))
        || lengths.next().is_some()
    {
        return Err(Error::BadRequest("the request has more than one Content-Length"));
    }
    if head.headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        // Clients split them, so that the compression of headers finds more to do (RFC 9113, section 8.2.3).
        let crumbs: Vec<&[u8]> = head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        let whole = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
        head.remove_header(&header::COOKIE);
        head.insert_header(header::COOKIE, whole.map_err(|_| Error::BadRequest("the cookies are malformed"))?)
            .map_err(|_| Error::BadRequest("the cookies are malformed"))?;
    }
    Ok(())
}

/// Drops every header by which an upstream could be told who the user is.
fn strip(session: &mut Session, ctx: &mut RequestContext, metrics: &Metrics) {
    let untrusted = !ctx.client.as_ref().is_some_and(|client| client.peer_is_trusted);
    // A proxy that asks has a list of its own, and what it says goes to no upstream.
    let is_stranger = untrusted && ctx.verify.is_none();
    let names = session.req_header().headers.keys();
    let managed = &ctx.runtime.managed;
    let find = |name: &HeaderName| if is_stranger { managed.class_of_strangers(name) } else { managed.class_of(name) };
    let class_of = |name: &HeaderName| Some((name.clone(), find(name)?));
    // Honest clients send none: then nothing is allocated, and no route looked for.
    let managed: Vec<(HeaderName, HeaderClass)> = names.filter_map(class_of).collect();
    if !managed.is_empty() {
        let route = route(ctx, &session.req_header().method);
        let keeps = |name: &HeaderName| route.is_some_and(|route| route.keep_request_headers.contains(name));
        for (name, class) in managed.iter().filter(|(name, _)| !keeps(name)) {
            session.req_header_mut().remove_header(name);
            metrics.spoofed_header_stripped(*class);
        }
    }
    if untrusted && client::is_forwarded(&session.req_header().headers) {
        metrics.rejected(Rejection::ProxyUntrusted);
        ctx.address_is_certain = !is_behind_unknown_proxy(ctx);
    }
}

/// Forwarding headers from a private peer are most likely those of a proxy nobody told us about:
/// says so once.
fn is_behind_unknown_proxy(ctx: &RequestContext) -> bool {
    static TOLD: Once = Once::new();
    let peer = ctx.request.conn().peer().ip().to_canonical();
    let is_private = match peer {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    };
    let is_unknown = is_private && ctx.runtime.settings.server.trusted_proxies.is_empty();
    if is_unknown {
        TOLD.call_once(|| {
            tracing::warn!(
                "forwarding headers of {peer} are not believed; if it is your proxy, set `server.trusted_proxies = [\"{peer}\"]`"
            );
        });
    }
    is_unknown
}

/// The route this request is going to take.
fn route<'a>(ctx: &'a RequestContext, method: &Method) -> Option<&'a Route> {
    ctx.runtime.policy.route(ctx.host()?, ctx.target.as_ref()?, method).ok().map(AsRef::as_ref)
}
