//! The ways into nauth, as far as they are the same on every wire: signup, login, an answered
//! challenge, and a refresh.

use axum::response::Response;
use http::{HeaderValue, StatusCode};

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::context::Asked;
use crate::api::credentials::SessionCookies;
use crate::api::delivery;
use crate::api::dialect::Dialect;
use crate::api::evidence::{self, Verdict};
use crate::auth::{Client, Grant, Outcome};
use crate::config::settings::{DeliveryMethod, SameSite};
use crate::domain::error::{Denial, Error};
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
        Ok(Client { dialect: D::NAME, delivery })
    }

    /// Writes what a way in ended with, cookies included.
    pub(crate) fn entered<D: Dialect>(
        &self,
        status: StatusCode,
        asked: &Asked,
        outcome: &Outcome,
        client: Client,
    ) -> Response {
        let body = D::encode(outcome, client.delivery, &self.settings);
        let cookies = match (outcome, client.delivery) {
            (Outcome::Authenticated(grant), Delivery::Cookies) => self.cookies_for(asked, grant),
            (Outcome::Authenticated(_), Delivery::Json) | (Outcome::Challenged(_), _) => vec![],
        };
        answer::json(status, &body, cookies)
    }

    /// Rotates a refresh token that came in a body.
    pub(crate) async fn refresh_json(&self, token: &str, asked: &Asked) -> Result<Grant, Refusal> {
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
        evidence::judge(&asked.headers, &asked.own_origin, &self.settings.delivery.web_origins)
    }

    /// The cookies of a grant, after those that would stand in their way.
    pub(crate) fn cookies_for(&self, asked: &Asked, grant: &Grant) -> Vec<HeaderValue> {
        let csrf_token = self.auth.csrf_token(grant.session.id);
        let set = delivery::set_cookies(&self.settings, grant, &csrf_token, self.auth.clock().now());
        let shadows = delivery::clear_shadows(&self.settings, &SessionCookies::of(&asked.headers, &self.names));
        shadows.into_iter().chain(set).collect()
    }
}

fn has_ended_the_session(error: &Error) -> bool {
    matches!(error, Error::SessionNotFound(_) | Error::SessionExpired | Error::TokenReused)
}
