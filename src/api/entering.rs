//! The ways into nauth, as far as they are the same on every wire: signup, login, an answered
//! challenge, and a refresh.

use axum::response::Response;
use http::{HeaderValue, StatusCode};

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::context::Asked;
use crate::api::credentials::{Presented, SessionCookies};
use crate::api::delivery;
use crate::api::dialect::Dialect;
use crate::api::evidence::{self, Verdict};
use crate::api::named;
use crate::auth::{Caller, Client, Grant, Outcome};
use crate::config::settings::{DeliveryMethod, SameSite};
use crate::domain::error::{Denial, Error};
use crate::domain::id::SessionId;
use crate::domain::session::Delivery;

impl Api {
    /// How the tokens of somebody who brings none will travel.
    ///
    /// Cookies are set only for pages of ours: else another site could log its visitors into an
    /// account of its choice.
    pub(crate) fn welcome<D: Dialect>(&self, asked: &Asked) -> Result<Client, Error> {
        let delivery = delivery::for_newcomer(&self.settings, &asked.headers);
        if delivery == Delivery::Cookies {
            self.admit_cookie_change(asked)?;
        }
        Ok(Client::new(D::NAME, delivery))
    }

    /// Writes what a way in ended with, cookies included.
    pub(crate) fn entered<D: Dialect>(
        &self,
        status: StatusCode,
        asked: &Asked,
        outcome: &Outcome,
        client: &Client,
    ) -> Response {
        let body = D::encode(outcome, client.delivery, &self.settings);
        let cookies = match (outcome, client.delivery) {
            (Outcome::Authenticated(grant), Delivery::Cookies) => self.cookies_for(asked, grant),
            (Outcome::Authenticated(_), Delivery::Json) | (Outcome::Challenged(_), _) => vec![],
        };
        answer::json(status, &body, cookies)
    }

    /// The session whose good access token the request carries, if it carries one. Whether it still
    /// lives, and whose it is, is for the use case to find out.
    pub(crate) fn session_shown(&self, asked: &Asked) -> Option<SessionId> {
        let verifier = self.auth.verifier();
        let readings = match self.presented(asked).ok()? {
            Presented::Bearer(token) => vec![named::access(verifier, &token)],
            Presented::Cookies(cookies) => self.readings(&cookies).0,
        };
        let position = named::agreed(&readings, &[]).ok()??;
        readings[position].good().map(|named| named.session)
    }

    /// How the credential of a request came, and so how its answer goes.
    pub(crate) fn delivery_of(&self, asked: &Asked) -> Result<Delivery, Error> {
        Ok(match self.presented(asked)? {
            Presented::Bearer(_) => Delivery::Json,
            Presented::Cookies(_) => Delivery::Cookies,
        })
    }

    /// Rotates a refresh token that came in a body.
    pub(crate) async fn refresh_json(&self, token: &str, asked: &Asked) -> Result<Grant, Refusal> {
        let session = named::refresh(self.auth.verifier(), token).named().map(|named| named.session);
        self.auth.check_refresh_rate(session, &asked.ctx).await?;
        Ok(self.auth.refresh(token, Delivery::Json, &asked.ctx).await?)
    }

    /// Rotates the refresh cookie; answers the cookies to set.
    ///
    /// A refusal takes the cookies away only when their session is known to have ended. Anything
    /// else may be our trouble, or a key this node does not know yet.
    pub(crate) async fn refresh_cookies(&self, asked: &Asked) -> Result<Vec<HeaderValue>, Refusal> {
        let missing = || Error::TokenInvalid("Refresh token is required");
        if self.settings.delivery.method == DeliveryMethod::Json {
            return Err(missing().into());
        }
        let cookies = SessionCookies::of(&asked.headers, &self.names);
        let first = cookies.refresh.first().ok_or_else(missing)?;
        self.admit_cookie_change(asked)?;
        let (access, refresh) = self.readings(&cookies);
        let token = self.agreed(asked, &refresh, &access)?.map_or(first, |position| &cookies.refresh[position]);
        let session = named::refresh(self.auth.verifier(), token).named().map(|named| named.session);
        self.auth.check_refresh_rate(session, &asked.ctx).await?;
        match self.auth.refresh(token, Delivery::Cookies, &asked.ctx).await {
            Ok(grant) => Ok(self.cookies_for(asked, &grant)),
            Err(error) if has_ended_the_session(&error) => Err(Refusal::clearing(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a request change cookies only when a page of ours or of a listed origin made it.
    ///
    /// What shows no evidence at all is no current browser; it passes while browsers by
    /// themselves keep our cookies out of other sites' requests.
    fn admit_cookie_change(&self, asked: &Asked) -> Result<(), Error> {
        let keeps_out = self.settings.delivery.cookie.same_site != SameSite::None;
        match self.evidence(asked) {
            Verdict::Ours => Ok(()),
            Verdict::Silent if keeps_out => Ok(()),
            Verdict::Silent | Verdict::Foreign => Err(Error::Forbidden(Denial::CrossSite)),
        }
    }

    /// What the request shows of the page behind it.
    pub(crate) fn evidence(&self, asked: &Asked) -> Verdict {
        evidence::judge(&asked.headers, &asked.own_origin, &[&self.settings.delivery.web_origins])
    }

    /// The cookies of a grant, after those that would stand in their way.
    pub(crate) fn cookies_for(&self, asked: &Asked, grant: &Grant) -> Vec<HeaderValue> {
        let csrf_token = self.auth.csrf_token(grant.session.id);
        let set = delivery::set_cookies(&self.settings, grant, &csrf_token, self.auth.clock().now());
        let device = grant.device_token.as_ref().filter(|device| device.renewed);
        let device = device.map(|device| delivery::device_cookie(&self.settings, device.value.expose()));
        let shadows = delivery::clear_shadows(&self.settings, &SessionCookies::of(&asked.headers, &self.names));
        shadows.into_iter().chain(set).chain(device).collect()
    }

    /// The access cookie of the caller's session as it is now, after those that would stand in its way; nothing
    /// when it would say the same as `caller`. The refresh token stays what it is: who shows an access token
    /// alone does not get one for it.
    ///
    /// # Errors
    /// Those of [`crate::auth::Auth::restate`].
    pub(crate) async fn raised_cookie(&self, asked: &Asked, caller: &Caller) -> Result<Vec<HeaderValue>, Error> {
        let grant = self.auth.restate(caller).await?;
        if (&grant.session.acr, &grant.session.amr) == (&caller.session.acr, &caller.session.amr) {
            return Ok(vec![]);
        }
        Ok(self.access_cookie_for(asked, &grant))
    }

    /// The access cookie alone of a grant, after those that would stand in its way.
    pub(crate) fn access_cookie_for(&self, asked: &Asked, grant: &Grant) -> Vec<HeaderValue> {
        let held = SessionCookies::of(&asked.headers, &self.names);
        delivery::set_access_cookie(&self.settings, grant, &held, self.auth.clock().now())
    }
}

fn has_ended_the_session(error: &Error) -> bool {
    matches!(error, Error::SessionNotFound(_) | Error::SessionExpired | Error::TokenReused)
}
