//! May this request pass? One pure function over everything that is known about it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::{Access, Route};
use crate::domain::assurance::{Aal, StepUp};
use crate::domain::clock::Time;
use crate::domain::error::{Denial, Error};
use crate::domain::user::Role;
use crate::revocation::Freshness;
use crate::tokens::AccessToken;

/// What the credentials of a request amount to.
#[derive(Debug, Clone)]
pub enum Identified {
    /// None came.
    Anonymous,
    /// A good token of a living session.
    Known(Arc<AccessToken>, By),
    /// A token that was good once.
    Expired(By),
    /// A good token that says about its user what is no longer so.
    Stale(By),
    /// The token's session has ended.
    Revoked(By),
    /// What came is not a token of ours.
    Invalid(By),
    /// Cookies of more than one session.
    Conflict,
}

impl Identified {
    /// How the credential came; `None` when there is none, or more than one.
    #[must_use]
    pub fn by(&self) -> Option<By> {
        match self {
            Self::Known(_, by) | Self::Expired(by) | Self::Stale(by) | Self::Revoked(by) | Self::Invalid(by) => {
                Some(*by)
            }
            Self::Anonymous | Self::Conflict => None,
        }
    }
}

/// How a credential came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `Authorization: Bearer`.
    Bearer,
    /// A cookie, which browsers send by themselves.
    Cookie,
}

/// A request, as far as the decision needs it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each a column of the decision table")]
pub struct Question<'a> {
    /// The route it takes.
    pub route: &'a Route,
    /// Who asks.
    pub identified: Identified,
    /// Whether a good refresh cookie came.
    pub has_refresh: bool,
    /// Whether it did, and this kind of request may use it.
    pub can_refresh: bool,
    /// Whether the method changes something, or the connection is upgraded.
    pub is_unsafe: bool,
    /// Whether the connection is upgraded.
    pub is_upgrade: bool,
    /// Whether a cookie may speak for its user in a request like this.
    pub may_act: bool,
    /// Whether whoever is not known can be sent to a login page.
    pub can_redirect: bool,
    /// How far the revocation set can be trusted.
    pub freshness: Freshness,
    /// From when on it cannot be for routes with roles or `min_aal`.
    pub max_stale: Duration,
    /// When it is asked.
    pub now: Time,
}

/// What becomes of it.
#[derive(Debug)]
pub enum Decision {
    /// It goes on, with this identity.
    Pass(Option<Arc<AccessToken>>),
    /// The session is refreshed first; then [`known`] decides.
    Refresh,
    /// It is refused.
    Deny(Error),
    /// The browser is sent to the login page. Carries what others would be told.
    Login(Error),
}

/// Decides.
#[must_use]
pub fn decide(question: &Question<'_>) -> Decision {
    let route = question.route;
    if route.access == Access::Public {
        return Decision::Pass(None);
    }
    let is_anonymous = matches!(question.identified, Identified::Anonymous) && !question.can_refresh;
    if question.freshness == Freshness::Loading && !is_anonymous {
        return Decision::Deny(Error::Unavailable("revocations are not loaded yet".into()));
    }
    if is_forgeable(question) && !question.may_act {
        return Decision::Deny(Error::Forbidden(Denial::CrossSite));
    }
    match &question.identified {
        Identified::Known(token, by) => known(question, token, *by),
        Identified::Conflict => Decision::Deny(Error::CredentialConflict),
        Identified::Anonymous | Identified::Expired(By::Cookie) | Identified::Stale(By::Cookie)
            if question.can_refresh =>
        {
            Decision::Refresh
        }
        Identified::Anonymous => unknown(question, Error::TokenMissing),
        Identified::Expired(_) => unknown(question, Error::TokenExpired),
        Identified::Stale(_) => unknown(question, Error::TokenInvalid("Token is out of date")),
        Identified::Revoked(_) => unknown(question, Error::SessionNotFound("Session has been revoked")),
        Identified::Invalid(_) => unknown(question, Error::TokenInvalid("Invalid token")),
    }
}

/// Whether another site's page could have made the browser act with its user's cookies.
fn is_forgeable(question: &Question<'_>) -> bool {
    let by_cookie = match question.identified {
        Identified::Known(_, by) | Identified::Stale(by) | Identified::Expired(by) => by == By::Cookie,
        Identified::Anonymous => question.has_refresh,
        Identified::Revoked(_) | Identified::Invalid(_) | Identified::Conflict => false,
    };
    by_cookie && (question.is_upgrade || (question.is_unsafe && question.route.csrf))
}

/// What becomes of a request nobody is known for.
#[must_use]
pub fn unknown(question: &Question<'_>, error: Error) -> Decision {
    match question.route.access {
        Access::Public | Access::Optional => Decision::Pass(None),
        Access::Required if question.can_redirect => Decision::Login(error),
        Access::Required => Decision::Deny(error),
    }
}

/// What becomes of a request whose user is known.
#[must_use]
pub fn known(question: &Question<'_>, token: &Arc<AccessToken>, by: By) -> Decision {
    match authority(question, token) {
        Ok(()) => Decision::Pass(Some(Arc::clone(token))),
        // A login page is of no use to whoever brings a bearer token.
        Err(error @ Error::StepUpRequired(_)) if question.can_redirect && by == By::Cookie => Decision::Login(error),
        Err(error) => Decision::Deny(error),
    }
}

/// Whether a known user may take this route. What no login can change is asked first.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::StepUpRequired`], or [`Error::Unavailable`] when roles matter and
/// may have changed unseen.
fn authority(question: &Question<'_>, token: &AccessToken) -> Result<(), Error> {
    let route = question.route;
    let is_sensitive = !route.roles.is_empty() || !route.roles_all.is_empty() || route.min_aal > Aal::One;
    let is_stale = matches!(question.freshness, Freshness::Polled(ago) if ago > question.max_stale);
    if is_sensitive && is_stale {
        return Err(Error::Unavailable("revocations have not been read for too long".into()));
    }
    let has = |role: &Role| token.claims.roles.iter().any(|held| held == role.as_str());
    let any = route.roles.is_empty() || route.roles.iter().any(has);
    if !any || !route.roles_all.iter().all(has) {
        return Err(Error::Forbidden(Denial::Role));
    }
    let granted = |scope: &String| token.claims.scope.as_ref().is_some_and(|granted| granted.grants(scope));
    if !route.scopes.iter().all(granted) {
        return Err(Error::Forbidden(Denial::Scope));
    }
    if route.verified_email && !token.claims.email_verified {
        return Err(Error::Forbidden(Denial::VerifiedEmail));
    }
    assurance(route, token, question.now)
}

/// Whether the login behind a token is as sure and as fresh as the route wants it.
fn assurance(route: &Route, token: &AccessToken, now: Time) -> Result<(), Error> {
    let is_sure = route.min_aal == Aal::One || Aal::from_acr(&token.claims.acr) >= Some(route.min_aal);
    let age = now.since(Time::from_secs(token.claims.auth_time));
    let is_fresh = route.max_auth_age.is_none_or(|max| age <= max);
    if is_sure && is_fresh {
        return Ok(());
    }
    let aal = Some(route.min_aal).filter(|aal| *aal > Aal::One);
    Err(Error::StepUpRequired(StepUp { aal, max_age: route.max_auth_age }))
}

#[cfg(test)]
pub(crate) mod tests;
