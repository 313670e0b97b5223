//! From an admitted request to a decision, and to every answer the gateway gives itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error as PingoraError, ErrorSource, ErrorType};

use crate::api::context::Arrival;
use crate::api::cors::{Called, Preflight};
use crate::api::{bridge, cors, delivery, evidence, return_to};
use crate::auth::Grant;
use crate::config::settings::{Access, Route, Serves};
use crate::domain::context::RequestContext as AuthContext;
use crate::domain::error::{Denial, Error};
use crate::domain::event::DeniedAccess;
use crate::domain::session::Delivery;
use crate::gateway::canonical::Canonical;
use crate::gateway::context::RequestContext;
use crate::gateway::decide::{self, By, Decision, Identified, Question};
use crate::gateway::denials::Telling;
use crate::gateway::identify::{Findings, identify};
use crate::gateway::inflight::{Holder, LetIn};
use crate::gateway::policy::{self, Asked, Sender};
use crate::gateway::recent::Kind;
use crate::gateway::{Gateway, forward, refusal, respond, rewrite, verify, whoami};
use crate::metrics::{Decision as Decided, DecisionReason};
use crate::revocation::Standing;
use crate::tokens::AccessToken;

/// Most bytes kept of a user agent.
const MAX_USER_AGENT: usize = 512;
/// Most bytes kept of a path and of a method that were refused.
const MAX_PATH: usize = 512;
const MAX_METHOD: usize = 32;

/// Most that is read of a body nobody wants, and for how long.
const UNREAD_BYTES: usize = 4 << 20;
const UNREAD_TIME: Duration = Duration::from_secs(2);

impl Gateway {
    /// Answers what is answered here; `None` lets the request through.
    pub(super) async fn respond(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<Option<Response<Bytes>>, Error> {
        if ctx.request.conn().listener().serves == Serves::HttpsElsewhere {
            return Ok(Some(to_https(ctx)));
        }
        if ctx.runtime.policy.is_api(ctx.path()) {
            if ctx.verify.is_some() {
                // It asks for itself who comes, and only proxies ask questions.
                return Err(Error::NotFound);
            }
            // Boxed, as is all that few proxied requests come to: each of them would make room for the whole of it.
            return Box::pin(self.auth_api(session, ctx))
                .await
                .map(|answer| Some(respond::marked(answer, ctx.id.as_str())));
        }
        let (Some(host), Some(target)) = (ctx.host().cloned(), ctx.target.clone()) else {
            return Err(Error::BadRequest("the request has no target"));
        };
        let runtime = Arc::clone(&ctx.runtime);
        let head = session.req_header();
        let security = &runtime.settings.security;
        let preflight = cors::preflight(security, &head.method, &head.headers);
        if preflight == Preflight::Listed {
            // Only the app can answer what comes through another proxy.
            if ctx.verify.is_some() {
                return Ok(Some(verify::passed(session, ctx)));
            }
            let headers = cors::preflight_answer(security, &head.headers, Called::App);
            return Ok(Some(respond::no_content(headers, ctx.id.as_str())));
        }
        let found = runtime.policy.route(&host, &target, &head.method);
        if found.as_ref().ok().is_none_or(|route| route.access == Access::Public) {
            let asked = asked(session, ctx, &target);
            self.recent.note(&host, &asked, Kind::of(&asked), None, self.clock.now());
        }
        let route = Arc::clone(found?);
        ctx.metrics = runtime.route_metrics(&route);
        ctx.in_flight = Some(ctx.metrics.begin());
        if let Some(verify) = &mut ctx.verify {
            verify.route = Some(Arc::clone(&route));
        } else {
            let upstream = runtime.upstream(&route).ok_or(Error::NotFound)?;
            ctx.route = Some((Arc::clone(&route), upstream));
        }
        if let Err(error) = check_surroundings(session, ctx, &route, &target) {
            self.note_kept_out(session, ctx, &route, &error);
            return Err(error);
        }
        if preflight == Preflight::Unlisted {
            policy::pass_preflight(&route)?;
            return Self::onward(session, ctx).await;
        }
        check_rate(session, ctx, &route, false).await?;
        if let Some(answer) = self.decide(session, ctx, &route, &target).await? {
            return Ok(Some(answer));
        }
        check_rate(session, ctx, &route, true).await?;
        Self::onward(session, ctx).await
    }

    async fn auth_api(&self, session: &mut Session, ctx: &mut RequestContext) -> Result<Response<Bytes>, Error> {
        ctx.metrics = Arc::clone(&ctx.runtime.auth_metrics);
        ctx.in_flight = Some(ctx.metrics.begin());
        let client_ip = ctx.client.as_ref().map_or(ctx.request.conn().peer().ip(), |client| client.ip);
        let arrival = Arrival {
            client_ip,
            address_is_certain: ctx.address_is_certain,
            own_origin: ctx.own_origin().to_owned(),
            request_id: ctx.id.as_str().into(),
        };
        let deadline = ctx.runtime.settings.server.body_read_timeout;
        let api = Arc::clone(&ctx.runtime.api);
        bridge::serve(session.as_downstream_mut(), api, arrival, deadline).await
    }

    /// Asks the pure decision and does what it says.
    async fn decide(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
        route: &Arc<Route>,
        target: &Canonical,
    ) -> Result<Option<Response<Bytes>>, Error> {
        let runtime = Arc::clone(&ctx.runtime);
        if route.access == Access::Public {
            hold(session, ctx, route, None);
            ctx.decided(Decided::Allow, DecisionReason::Anonymous);
            return Ok(None);
        }
        let head = session.req_header();
        let findings = identify(&head.headers, &runtime.names, route.credentials, &runtime.auth, &self.metrics);
        ctx.bearer_consumed = findings.bearer;
        let sender = Sender {
            identified: findings.identified.clone(),
            has_refresh: findings.refresh.is_some(),
            freshness: runtime.auth.revocations().freshness(),
        };
        let now = self.clock.now();
        let asked = asked(session, ctx, target);
        let question = runtime.policy.question(route, &asked, sender, now);
        self.note(ctx, &asked, &question, &findings);
        match decide::decide(&question) {
            Decision::Refresh => Box::pin(self.refresh(session, ctx, &question, findings)).await,
            decision => self.settle(session, ctx, route, decision, &findings),
        }
    }

    /// Remembers the request for the report of a reload. Who comes to be refreshed is somebody, but not yet
    /// known to be whom.
    fn note(&self, ctx: &RequestContext, asked: &Asked<'_>, question: &Question<'_>, findings: &Findings) {
        let known = match &findings.identified {
            Identified::Known(token, _) => Some(&token.claims),
            _ => None,
        };
        let Some(host) = ctx.host().filter(|_| known.is_some() || findings.refresh.is_none()) else { return };
        // Who brings a token of their own is never sent to a login page: the rules do not ask further.
        let kind = match question.identified.by() {
            Some(By::Bearer) if !question.is_upgrade => Kind::Call,
            _ => Kind::of(asked),
        };
        self.recent.note(host, asked, kind, known, question.now);
    }

    fn settle(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
        route: &Route,
        decision: Decision,
        findings: &Findings,
    ) -> Result<Option<Response<Bytes>>, Error> {
        match decision {
            Decision::Pass(Some(token)) => {
                hold(session, ctx, route, Some((&token, if findings.bearer { By::Bearer } else { By::Cookie })));
                // Asked again now that a revocation would find the request.
                if ctx.runtime.auth.revocations().standing(&token) == Standing::Revoked {
                    ctx.set_cookies.clear();
                    return Err(Error::SessionNotFound("Session has been revoked"));
                }
                // A token that was minted on the way has not been seen by its client yet.
                if matches!(findings.identified, Identified::Known(..)) {
                    ctx.runtime.auth.note_use(&token, || auth_context(session, ctx));
                }
                ctx.identity = Some(token);
                ctx.decided(Decided::Allow, DecisionReason::Ok);
                Ok(None)
            }
            Decision::Pass(None) => {
                hold(session, ctx, route, None);
                ctx.decided(Decided::Allow, DecisionReason::Anonymous);
                Ok(None)
            }
            Decision::Login(error) => {
                let decided = if is_step_up(&error) { Decided::StepUp } else { Decided::Challenge };
                ctx.decided(decided, reason(&error));
                let settings = &ctx.runtime.settings;
                let back = ctx.target.as_ref().map_or("/", |target| target.target());
                let location = return_to::login_location(&settings.login.login_url, ctx.own_origin(), back);
                let location = match error {
                    Error::StepUpRequired(wanted) => return_to::with_step_up(location, wanted),
                    _ => location,
                };
                Ok(Some(respond::redirect(&location, ctx.id.as_str())))
            }
            Decision::Deny(error) => {
                let decided = if is_step_up(&error) { Decided::StepUp } else { Decided::Deny };
                ctx.decided(decided, reason(&error));
                if let Some(token) = &findings.token {
                    self.note_denied(session, ctx, route, token, &error);
                }
                if matches!(findings.identified, Identified::Conflict) {
                    ctx.runtime.auth.note_conflict(findings.conflict, &auth_context(session, ctx));
                    ctx.set_cookies = delivery::clear_cookies(&ctx.runtime.settings);
                }
                Err(error)
            }
            Decision::Refresh => Err(Error::Internal("a refresh is not settled twice".into())),
        }
    }

    /// Leaves in the audit trail that a route refuses somebody known, once in a while.
    fn note_denied(&self, session: &Session, ctx: &RequestContext, route: &Route, token: &AccessToken, error: &Error) {
        let Some(reason) = kept_reason(error).filter(|_| ctx.runtime.settings.audit.enabled) else { return };
        match self.denials.note(token.user, &route.name, reason, self.clock.now()) {
            Telling::First => {
                let denied = DeniedAccess {
                    route: route.name.clone(),
                    method: beginning(session.req_header().method.as_str(), MAX_METHOD).to_owned(),
                    path: beginning(ctx.path(), MAX_PATH).to_owned(),
                    reason,
                };
                let client = AuthContext { session: Some(token.session), ..auth_context(session, ctx) };
                ctx.runtime.auth.note_denied(token, denied, &client);
            }
            Telling::Again => {}
            Telling::TooMany => self.metrics.audit_dropped(1),
        }
    }

    /// The same for who is kept out by where they are, which is asked before who they are.
    fn note_kept_out(&self, session: &Session, ctx: &RequestContext, route: &Route, error: &Error) {
        if route.access == Access::Public || !matches!(error, Error::Forbidden(Denial::Address)) {
            return;
        }
        let (runtime, headers) = (&ctx.runtime, &session.req_header().headers);
        let findings = identify(headers, &runtime.names, route.credentials, &runtime.auth, &self.metrics);
        if let Identified::Known(token, _) = &findings.identified {
            self.note_denied(session, ctx, route, token, error);
        }
    }

    /// Refreshes the session on the way, then lets the fresh token be judged like any other.
    async fn refresh(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
        question: &Question<'_>,
        mut findings: Findings,
    ) -> Result<Option<Response<Bytes>>, Error> {
        let token = findings.refresh.clone().unwrap_or_default();
        if ctx.verify.is_some() {
            let decision = self.vouched(session, ctx, question, &token, &mut findings).await;
            return self.settle(session, ctx, question.route, decision, &findings);
        }
        let (auth, client) = (ctx.runtime.auth.clone(), auth_context(session, ctx));
        let presented = token.clone();
        let rotate = async move { auth.refresh(&presented, Delivery::Cookies, &client).await };
        let decision = match self.refreshes.refresh(&token, rotate).await {
            Ok(grant) => {
                findings.token = Some(Arc::clone(&grant.access));
                self.refreshed(ctx, question, &grant)
            }
            Err(error) => not_refreshed(ctx, question, &error),
        };
        self.settle(session, ctx, question.route, decision, &findings)
    }

    /// Lets the session behind a refresh cookie be judged without refreshing it: a proxy that asks may lose
    /// the new cookies.
    async fn vouched(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
        question: &Question<'_>,
        token: &str,
        findings: &mut Findings,
    ) -> Decision {
        match self.vouched.ask(token, &ctx.runtime.auth, &auth_context(session, ctx)).await {
            Ok(token) => decide::known(question, findings.token.insert(token), By::Cookie),
            Err(error) => not_refreshed(ctx, question, &error),
        }
    }

    fn refreshed(&self, ctx: &mut RequestContext, question: &Question<'_>, grant: &Grant) -> Decision {
        let runtime = &ctx.runtime;
        let csrf = runtime.auth.csrf_token(grant.session.id);
        ctx.set_cookies = delivery::set_cookies(&runtime.settings, grant, &csrf, self.clock.now());
        decide::known(question, &grant.access, By::Cookie)
    }

    /// The request may pass. `None` when it goes to an upstream.
    async fn onward(session: &Session, ctx: &mut RequestContext) -> Result<Option<Response<Bytes>>, Error> {
        if ctx.verify.is_some() {
            return Ok(Some(verify::passed(session, ctx)));
        }
        let Some((route, upstream)) = ctx.route.clone() else { return Err(Error::NotFound) };
        let key = upstream.hash_on().and_then(|on| forward::key(on, session.req_header(), ctx));
        let trip = ctx.trip.insert(upstream.set_out(key).await?);
        if trip.is_whoami() { Ok(Self::whoami(session, ctx, &route)) } else { Ok(None) }
    }

    /// The built-in page.
    fn whoami(session: &Session, ctx: &RequestContext, route: &Route) -> Option<Response<Bytes>> {
        let mut received = session.req_header().clone();
        forward::prepare(&mut received, ctx);
        let asked = ctx.target.as_ref()?;
        let rewritten = rewrite::target(route, asked);
        let target = rewritten.as_deref().unwrap_or_else(|| asked.target());
        let page = whoami::page(&received.method, target, &received.headers);
        Some(respond::text(page, ctx.id.as_str()))
    }

    /// A refusal, readable for pages of listed origins too.
    pub(super) fn refusal(&self, session: &Session, ctx: &RequestContext, error: &Error) -> Response<Bytes> {
        let asked = &session.req_header().headers;
        let mut answer = refusal::refusal(error, asked, ctx, self.clock.now());
        answer.headers_mut().extend(cors::answer_headers(&ctx.runtime.settings.security, asked));
        answer
    }

    /// Writes an answer of ours, with the cookies that ride on it.
    pub(super) async fn write(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        mut answer: Response<Bytes>,
    ) -> pingora::Result<()> {
        for cookie in forward::cookies(ctx) {
            answer.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
        let mut answer = verify::answer(session, ctx, &self.metrics, answer);
        if let Some(hsts) = forward::hsts(ctx) {
            answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        ctx.status = answer.status().as_u16();
        ctx.sent = answer.body().len() as u64;
        if ctx.request.is_draining() {
            session.set_keepalive(None);
        }
        let downstream = session.as_downstream_mut();
        bridge::answer(downstream, answer).await?;
        // A client that waits to be asked for its body has none on the way.
        let waits = downstream.req_header().headers.contains_key(header::EXPECT);
        if downstream.is_http2() || !(waits || downstream.is_body_done()) {
            // How it went is seen by nobody but the client.
            let _ = tokio::time::timeout(UNREAD_TIME, end_kindly(downstream)).await;
        }
        Ok(())
    }
}

/// Ends a request whose answer is complete. Its client may still be sending; told to stop, many
/// forget the answer they have, so some of it is read and dropped.
async fn end_kindly(session: &mut ServerSession) -> pingora::Result<()> {
    session.finish_body().await?;
    let mut dropped = 0;
    while dropped < UNREAD_BYTES {
        let Some(piece) = session.read_request_body().await? else { break };
        dropped += piece.len();
    }
    Ok(())
}

/// The same address on the port where `server.public_url` speaks https. The Host was admitted, so it is one of ours.
fn to_https(ctx: &RequestContext) -> Response<Bytes> {
    let host = ctx.host().map_or("", |host| host.name());
    let public = &ctx.runtime.settings.server.public_url;
    let port = &public.authority[public.host.len()..];
    let target = ctx.target.as_ref().map_or("/", |target| target.target());
    respond::to_https(&format!("https://{host}{port}{target}"), ctx.id.as_str())
}

/// Counts the request where the route bounds them: of an address before anybody is known, of a user after.
async fn check_rate(session: &Session, ctx: &RequestContext, route: &Route, is_known: bool) -> Result<(), Error> {
    let Some(rate) = route.rate_limit.filter(|rate| rate.by_user == is_known) else { return Ok(()) };
    let user = ctx.identity.as_ref().filter(|_| is_known).map(|token| token.user);
    let client = auth_context(session, ctx);
    let counted = Box::pin(ctx.runtime.auth.check_route_rate(&route.name, rate.window, user, &client)).await;
    if counted.is_err() {
        ctx.decided(Decided::Deny, DecisionReason::Rate);
    }
    counted
}

/// What the route asks of a request whoever sends it.
fn check_surroundings(session: &Session, ctx: &RequestContext, route: &Route, target: &Canonical) -> Result<(), Error> {
    let checked = policy::check_surroundings(route, &asked(session, ctx, target));
    if matches!(checked, Err(Error::Forbidden(Denial::Address))) {
        ctx.decided(Decided::Deny, DecisionReason::Ip);
    }
    checked
}

/// Says whose request it is from now on, for whoever takes a right away while it goes on.
fn hold(session: &Session, ctx: &RequestContext, route: &Route, known: Option<(&Arc<AccessToken>, By)>) {
    let (Some(host), Some(target)) = (ctx.host(), &ctx.target) else { return };
    // Another proxy gets its answer at once: there is nothing to cut, and a cut would be no answer.
    if ctx.verify.is_some() {
        return;
    }
    let head = session.req_header();
    let by_bearer = known.filter(|(_, by)| *by == By::Bearer);
    ctx.request.hold(Holder {
        token: known.map(|(token, _)| Arc::clone(token)),
        by: known.map(|(_, by)| by),
        until: by_bearer.map(|(token, _)| token.expires_at + ctx.runtime.settings.jwt.leeway),
        asked: LetIn {
            host: Arc::clone(host),
            target: Arc::clone(target),
            method: head.method.clone(),
            client: ctx.client.as_ref().map_or_else(|| ctx.request.conn().peer().ip(), |client| client.ip),
            is_upgrade: route.websocket && evidence::is_upgrade(&head.headers),
            rules: ctx.runtime.generation,
        },
    });
}

/// The request as the rules look at it.
fn asked<'a>(session: &'a Session, ctx: &'a RequestContext, target: &'a Canonical) -> Asked<'a> {
    let head = session.req_header();
    let client = ctx.client.as_ref().map_or_else(|| ctx.request.conn().peer().ip(), |client| client.ip);
    let own_origin = ctx.own_origin();
    Asked { method: &head.method, target, headers: &head.headers, own_origin, client: Some(client) }
}

/// Cookies are cleared only when this very session is known to be dead.
fn not_refreshed(ctx: &mut RequestContext, question: &Question<'_>, error: &Error) -> Decision {
    let error = match error {
        Error::SessionNotFound(reason) => Error::SessionNotFound(reason),
        Error::SessionExpired => Error::SessionExpired,
        Error::TokenReused => Error::TokenReused,
        Error::TokenInvalid(reason) => return decide::unknown(question, Error::TokenInvalid(reason)),
        other => return Decision::Deny(Error::Unavailable(other.to_string().into())),
    };
    ctx.set_cookies = delivery::clear_cookies(&ctx.runtime.settings);
    decide::unknown(question, error)
}

/// Why an upstream did not answer; `None` when the client is gone and there is nobody to tell.
pub(super) fn failure(ctx: &RequestContext, error: &PingoraError) -> Option<Error> {
    if let Some(why) = ctx.request.broken_off() {
        ctx.request.conn().resume();
        return Some(why);
    }
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => Some(by_status(*status)),
        // What came is no body; whoever sent it is still there.
        (kind, ErrorSource::Downstream) if matches!(kind.as_str(), "InvalidChunk" | "InvalidTrailerEnd") => {
            Some(Error::BadRequest("the body is not chunked as it says"))
        }
        (_, ErrorSource::Downstream) => None,
        // pingora does not always say whose connection it was; of an upstream's it does.
        (
            ErrorType::WriteError | ErrorType::WriteTimedout | ErrorType::ReadError | ErrorType::ConnectionClosed,
            source,
        ) if *source != ErrorSource::Upstream => None,
        (ErrorType::ReadTimedout, _) => Some(Error::GatewayTimeout),
        (_, ErrorSource::Upstream) => Some(Error::BadGateway),
        (kind, _) => Some(Error::Internal(kind.as_str().to_owned().into())),
    }
}

fn by_status(status: u16) -> Error {
    match status {
        413 => Error::PayloadTooLarge,
        431 => Error::HeaderTooLarge,
        502 => Error::BadGateway,
        504 => Error::GatewayTimeout,
        _ => Error::BadRequest("the request cannot be parsed"),
    }
}

fn is_step_up(error: &Error) -> bool {
    matches!(error, Error::StepUpRequired(_))
}

fn reason(error: &Error) -> DecisionReason {
    match error {
        Error::StepUpRequired(_) => DecisionReason::Acr,
        Error::TokenExpired | Error::SessionExpired => DecisionReason::Expired,
        Error::SessionNotFound(_) | Error::TokenReused => DecisionReason::Revoked,
        Error::Forbidden(Denial::Role | Denial::Scope | Denial::VerifiedEmail) => DecisionReason::Role,
        Error::Forbidden(Denial::Address) => DecisionReason::Ip,
        Error::Forbidden(_) => DecisionReason::BadRequest,
        _ => DecisionReason::NoSession,
    }
}

/// Why somebody known is refused, where the audit trail keeps it.
fn kept_reason(error: &Error) -> Option<&'static str> {
    match error {
        Error::Forbidden(denial @ (Denial::Role | Denial::Scope | Denial::VerifiedEmail | Denial::Address)) => {
            Some(denial.as_str())
        }
        Error::StepUpRequired(_) => Some("step_up"),
        _ => None,
    }
}

/// The longest beginning of a text that fits, cut between characters.
fn beginning(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

fn auth_context(session: &Session, ctx: &RequestContext) -> AuthContext {
    let agent = session.req_header().headers.get(header::USER_AGENT);
    let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    let agent = agent.map(|mut agent| {
        agent.truncate(agent.floor_char_boundary(MAX_USER_AGENT));
        Arc::from(agent)
    });
    AuthContext {
        address_is_certain: ctx.address_is_certain,
        ip: ctx.client.as_ref().map_or(ctx.request.conn().peer().ip(), |client| client.ip),
        user_agent: agent,
        device_token: None,
        session: None,
        device: OnceLock::new(),
        request_id: ctx.id.as_str().into(),
    }
}
