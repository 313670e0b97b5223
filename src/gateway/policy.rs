//! The rules of one generation of settings: which Hosts are served, which route a request takes, and
//! what `decide.rs` is asked about it.
//!
//! The gateway asks about requests that came. `nauth explain`, `[[tests]]`, `nauth diff` and the
//! report of a reload ask about requests that somebody describes. All of them ask here, so that none
//! of them can be told something else.

mod changes;
mod representative;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};

use crate::api::{cors, evidence};
use crate::config::settings::{Access, DeliveryMethod, Described, OnUnauthenticated, Route, Settings};
use crate::domain::clock::Time;
use crate::domain::error::{Denial, Error};
use crate::domain::outcome::{Outcome, Persona};
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::decide::{By, Decision, Identified, Question, decide};
use crate::gateway::hosts::Admission;
use crate::gateway::inflight::LetIn;
use crate::gateway::routes::{Match, Table};
use crate::revocation::Freshness;
use crate::tokens::AccessToken;

pub use changes::{Change, changes};
pub use representative::Representative;

/// The rules.
#[derive(Debug)]
pub struct Policy {
    settings: Arc<Settings>,
    admission: Admission,
    table: Table,
}

/// A request that reads in one way, as far as the rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// What it is for.
    pub target: &'a Canonical,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// `scheme://host[:port]` as the client addressed us.
    pub own_origin: &'a str,
    /// Where it came from; `None` = nobody says, so no rule about addresses refuses it.
    pub client: Option<IpAddr>,
}

/// Who sent a request.
#[derive(Debug)]
pub struct Sender {
    /// What the credentials amount to.
    pub identified: Identified,
    /// Whether a good refresh cookie came.
    pub has_refresh: bool,
    /// How far the revocation set can be trusted.
    pub freshness: Freshness,
}

impl Policy {
    /// Compiles the settings.
    #[must_use]
    pub fn new(settings: &Arc<Settings>) -> Self {
        Self {
            admission: Admission::new(settings),
            table: Table::new(&settings.routes),
            settings: Arc::clone(settings),
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether requests for a Host are served; the refusal names the line to add.
    pub fn admit(&self, host: &Host) -> Result<(), Error> {
        self.admission.admit(host)
    }

    /// Whether a path belongs to the auth API.
    #[must_use]
    pub fn is_api(&self, path: &str) -> bool {
        is_below(path, &self.settings.api.prefix)
    }

    /// Whether what lives at a path is asked for by programs, which read no pages.
    #[must_use]
    pub fn is_for_programs(&self, path: &str) -> bool {
        self.is_api(path) || self.settings.gateway.api_prefixes.iter().any(|prefix| is_below(path, prefix))
    }

    /// The route a request takes.
    pub fn route(&self, host: &Host, target: &Canonical, method: &Method) -> Result<&Arc<Route>, Error> {
        match self.table.find(host, target, method) {
            Match::Found(route) => Ok(route),
            Match::MethodNotAllowed(allowed) => Err(Error::MethodNotAllowed(allowed)),
            Match::EncodedSlash => Err(Error::BadRequest("the path holds an encoded slash")),
            Match::NotFound => Err(Error::NotFound),
        }
    }

    /// What is to be decided.
    #[must_use]
    pub fn question<'a>(&self, route: &'a Route, asked: &Asked<'_>, sender: Sender, now: Time) -> Question<'a> {
        let settings = &self.settings;
        let Asked { method, headers, own_origin, .. } = *asked;
        let is_upgrade = evidence::is_upgrade(headers);
        // A bearer token speaks for itself: no page is asked about, and no browser brings one where a person goes.
        let by_bearer = sender.identified.by() == Some(By::Bearer);
        let (delivery, further) = (&settings.delivery, if is_upgrade { route.ws.origins.as_slice() } else { &[] });
        let listed = [delivery.web_origins.as_slice(), further];
        let may_refresh = || evidence::may_refresh(method, headers, own_origin, &delivery.web_origins);
        let may_act = || evidence::may_act(headers, own_origin, &listed, delivery.cookie.same_site, is_upgrade);
        Question {
            route,
            has_refresh: sender.has_refresh,
            can_refresh: settings.gateway.auto_refresh && sender.has_refresh && may_refresh(),
            is_unsafe: !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS),
            is_upgrade,
            may_act: by_bearer || may_act(),
            can_redirect: !is_upgrade && self.can_redirect(route, asked, by_bearer),
            identified: sender.identified,
            freshness: sender.freshness,
            max_stale: settings.session.revocation_max_stale,
            now,
        }
    }

    fn can_redirect(&self, route: &Route, asked: &Asked<'_>, by_bearer: bool) -> bool {
        let settings = &self.settings;
        match route.on_unauthenticated {
            OnUnauthenticated::Status401 => false,
            OnUnauthenticated::Redirect => true,
            OnUnauthenticated::Auto => {
                !by_bearer
                    && settings.delivery.method != DeliveryMethod::Json
                    && route.credentials.session
                    && evidence::is_navigation(asked.method, asked.headers)
                    && !settings.gateway.api_prefixes.iter().any(|prefix| is_below(asked.target.path(), prefix))
            }
        }
    }

    /// Asks whether these rules would still let a request in that goes on: the route it takes, where it came
    /// from, and what is known of its user. What its page and its method were good for is not asked again.
    ///
    /// # Errors
    /// What it would be told if it came now.
    pub fn let_go_on(&self, asked: &LetIn, known: Option<(&Arc<AccessToken>, By)>, now: Time) -> Result<(), Error> {
        self.admit(&asked.host)?;
        let route = self.route(&asked.host, &asked.target, &asked.method)?;
        if !route.allow_ips.is_empty() && !route.allow_ips.iter().any(|net| net.contains(&asked.client)) {
            return Err(Error::Forbidden(Denial::Address));
        }
        if asked.is_upgrade && !route.websocket {
            return Err(Error::Forbidden(Denial::Upgrade));
        }
        let is_looked_at = known.filter(|(_, by)| match by {
            By::Cookie => route.credentials.session,
            By::Bearer => route.credentials.bearer,
        });
        let known = |(token, by): (&Arc<AccessToken>, By)| Identified::Known(Arc::clone(token), by);
        let question = Question {
            route,
            identified: is_looked_at.map_or(Identified::Anonymous, known),
            has_refresh: false,
            can_refresh: false,
            is_unsafe: false,
            is_upgrade: asked.is_upgrade,
            may_act: true,
            can_redirect: false,
            freshness: Freshness::Polled(Duration::ZERO),
            max_stale: Duration::MAX,
            now,
        };
        match decide(&question) {
            Decision::Pass(_) => Ok(()),
            Decision::Deny(error) | Decision::Login(error) => Err(error),
            Decision::Refresh => Err(Error::TokenExpired),
        }
    }

    /// What becomes of a request that somebody describes, in the order in which the gateway asks.
    ///
    /// Rates and the client's address are not asked about: nobody describes them.
    #[must_use]
    pub fn evaluate(&self, described: &Described, persona: Option<&Persona>, now: Time) -> Verdict<'_> {
        let mut verdict = Verdict { outcome: Outcome::Allow, error: None, target: None, answered_by: None };
        match self.weigh(described, persona, now, &mut verdict) {
            Ok(outcome) => verdict.outcome = outcome,
            Err(error) => {
                verdict.outcome = Outcome::from(&error);
                verdict.error = Some(error);
            }
        }
        verdict
    }

    fn weigh<'a>(
        &'a self,
        described: &Described,
        persona: Option<&Persona>,
        now: Time,
        verdict: &mut Verdict<'a>,
    ) -> Result<Outcome, Error> {
        let method = &described.method;
        if matches!(*method, Method::TRACE | Method::CONNECT) {
            return Err(Error::MethodNotAllowed(String::new()));
        }
        let public_url = &self.settings.server.public_url;
        let host = Host::parse(described.host.as_ref().unwrap_or(&public_url.authority).as_bytes())?;
        self.admit(&host)?;
        let target = &*verdict.target.insert(Canonical::parse(described.target.as_bytes(), &host)?);
        if self.is_api(target.path()) {
            verdict.answered_by = Some(AnsweredBy::Api);
            return Ok(Outcome::Allow);
        }
        let (headers, own_origin) = (typical(described), format!("{}://{}", public_url.scheme, host.authority()));
        let asked = Asked { method, target, headers: &headers, own_origin: &own_origin, client: None };
        let preflight = cors::preflight(&self.settings.security, method, &headers);
        if preflight == cors::Preflight::Listed {
            verdict.answered_by = Some(AnsweredBy::Gateway);
            return Ok(Outcome::Allow);
        }
        let route = self.route(&host, target, method)?;
        verdict.answered_by = Some(AnsweredBy::Route(route));
        check_surroundings(route, &asked)?;
        if preflight == cors::Preflight::Unlisted {
            return pass_preflight(route).map(|()| Outcome::Allow);
        }
        let by = if route.credentials.session { By::Cookie } else { By::Bearer };
        let identified = persona.map_or(Identified::Anonymous, |persona| {
            Identified::Known(Arc::new(AccessToken::described(persona, now)), by)
        });
        let sender = Sender { identified, has_refresh: false, freshness: Freshness::Polled(Duration::ZERO) };
        match decide(&self.question(route, &asked, sender, now)) {
            Decision::Pass(_) => Ok(Outcome::Allow),
            Decision::Login(Error::StepUpRequired(_)) => Ok(Outcome::StepUp),
            Decision::Login(_) => Ok(Outcome::Login),
            Decision::Deny(error) => Err(error),
            Decision::Refresh => Err(Error::Internal("nobody described a refresh cookie".into())),
        }
    }
}

/// What a route asks of a request whoever sends it.
pub fn check_surroundings(route: &Route, asked: &Asked<'_>) -> Result<(), Error> {
    let is_listed = |ip: IpAddr| route.allow_ips.iter().any(|net| net.contains(&ip));
    if !route.allow_ips.is_empty() && asked.client.is_some_and(|client| !is_listed(client)) {
        return Err(Error::Forbidden(Denial::Address));
    }
    if evidence::is_upgrade(asked.headers) && !route.websocket {
        return Err(Error::Forbidden(Denial::Upgrade));
    }
    let announced = asked.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced: u64 = announced.and_then(|length| length.parse().ok()).unwrap_or(0);
    if route.max_body > 0 && announced > route.max_body {
        return Err(Error::PayloadTooLarge);
    }
    Ok(())
}

/// Whether a preflight of an origin that is not listed reaches the app. It never carries
/// credentials, so where they are required it cannot be meant for it.
pub fn pass_preflight(route: &Route) -> Result<(), Error> {
    match route.access {
        Access::Required => Err(Error::Forbidden(Denial::Origin)),
        Access::Public | Access::Optional => Ok(()),
    }
}

/// What the rules make of a described request.
#[derive(Debug)]
pub struct Verdict<'a> {
    /// In one word.
    pub outcome: Outcome,
    /// What the client would be told.
    pub error: Option<Error>,
    /// Its canonical form, when it has one.
    pub target: Option<Canonical>,
    /// Whose turn it is, as far as that is known.
    pub answered_by: Option<AnsweredBy<'a>>,
}

/// Who answers a request.
#[derive(Debug, Clone, Copy)]
pub enum AnsweredBy<'a> {
    /// The auth API.
    Api,
    /// The gateway itself: a preflight of a listed origin.
    Gateway,
    /// The upstream of a route, if the rules let the request through.
    Route(&'a Arc<Route>),
}

impl<'a> Verdict<'a> {
    /// The route it takes.
    #[must_use]
    pub fn route(&self) -> Option<&'a Route> {
        match self.answered_by {
            Some(AnsweredBy::Route(route)) => Some(route),
            _ => None,
        }
    }

    /// Who decides, in words: a route with its line, or nauth itself.
    #[must_use]
    pub fn decided_by(&self) -> String {
        match self.answered_by {
            Some(AnsweredBy::Route(route)) => format!("route `{}` ({})", route.name, route.origin),
            Some(AnsweredBy::Api) => "the auth API".to_owned(),
            Some(AnsweredBy::Gateway) => "the gateway, which answers preflights of listed origins".to_owned(),
            None => "no route".to_owned(),
        }
    }
}

/// The header fields described, and those by which a browser says that its user opens a page (`GET`),
/// or that a page of the same origin asks (every other method).
fn typical(described: &Described) -> HeaderMap {
    let mut headers = described.headers.clone();
    let is_said = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    if !is_said {
        let is_page = described.method == Method::GET && !evidence::is_upgrade(&headers);
        let (site, mode) = if is_page { ("none", "navigate") } else { ("same-origin", "cors") };
        headers.insert("sec-fetch-site", HeaderValue::from_static(site));
        headers.entry("sec-fetch-mode").or_insert(HeaderValue::from_static(mode));
    }
    headers
}

/// Whether a path is a prefix or lies below it, on a segment boundary.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
