//! Who calls a protected route.

use crate::api::Api;
use crate::api::answer::Refusal;
use crate::api::context::Asked;
use crate::api::credentials::{self, Presented, SessionCookies};
use crate::api::csrf;
use crate::api::named::{self, Reading};
use crate::auth::Caller;
use crate::domain::error::Error;

/// How a route makes sure that a page of ours sent its cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CsrfRule {
    /// The double submit, where the method changes something.
    Token,
    /// By itself, before it asks who calls.
    Judged,
}

impl Api {
    /// Who calls a protected route, by a bearer token or by cookies that agree.
    ///
    /// The CSRF token is looked for before the session is: a forged request is refused without
    /// telling whether its cookies are any good.
    pub(crate) async fn caller(&self, asked: &Asked, rule: CsrfRule) -> Result<Caller, Refusal> {
        let cookies = match self.presented(asked)? {
            Presented::Bearer(token) => return Ok(self.auth.authenticate(&token, &asked.ctx).await?),
            Presented::Cookies(cookies) => cookies,
        };
        let submitted = self.submitted_csrf_token(asked, rule)?;
        let caller = self.auth.authenticate(self.access_token(asked, &cookies)?, &asked.ctx).await?;
        let is_forged = submitted.is_some_and(|token| !self.auth.csrf_matches(caller.session.id, token));
        if is_forged { Err(Error::CsrfInvalid.into()) } else { Ok(caller) }
    }

    /// The credential of a request, as far as the settings accept its kind.
    pub(crate) fn presented(&self, asked: &Asked) -> Result<Presented, Error> {
        credentials::presented(&asked.headers, &self.names, self.settings.delivery.method)
    }

    /// What each of the cookies names: access tokens, refresh tokens.
    pub(crate) fn readings(&self, cookies: &SessionCookies) -> (Vec<Reading>, Vec<Reading>) {
        let verifier = self.auth.verifier();
        let access = cookies.access.iter().map(|token| named::access(verifier, token)).collect();
        let refresh = cookies.refresh.iter().map(|token| named::refresh(verifier, token)).collect();
        (access, refresh)
    }

    /// The position of a good token among `candidates`. Cookies that disagree are written down.
    pub(crate) fn agreed(
        &self,
        asked: &Asked,
        candidates: &[Reading],
        beside: &[Reading],
    ) -> Result<Option<usize>, Error> {
        let agreed = named::agreed(candidates, beside);
        if agreed.is_err() {
            let first = candidates.iter().chain(beside).find_map(|reading| reading.good());
            self.auth.note_conflict(first, &asked.ctx);
        }
        agreed
    }

    fn access_token<'a>(&self, asked: &Asked, cookies: &'a SessionCookies) -> Result<&'a str, Error> {
        let (access, refresh) = self.readings(cookies);
        match self.agreed(asked, &access, &refresh)? {
            Some(position) => Ok(&cookies.access[position]),
            None => Err(named::reason(&access)),
        }
    }

    fn submitted_csrf_token<'a>(&self, asked: &'a Asked, rule: CsrfRule) -> Result<Option<&'a str>, Error> {
        let is_needed = rule == CsrfRule::Token
            && csrf::is_needed(&self.settings, &asked.method, &asked.path, &asked.headers, &asked.own_origin);
        if is_needed { csrf::submitted(&self.settings, &asked.headers).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::tests_support::{ORIGIN, TestNauth, credentials, post, settings};

    #[tokio::test]
    async fn a_change_by_cookie_needs_the_csrf_token_of_its_session() {
        let api = TestNauth::start(settings()).await;
        api.ada().await;
        let login = async || {
            let answer = api.send(post("/auth/login", &[("origin", ORIGIN)], &credentials("identifier"))).await;
            ["nauth_access_token", "nauth_csrf_token"].map(|name| answer.cookie(name).unwrap().to_owned())
        };
        let ([access, token], [_, foreign]) = (login().await, login().await);
        let held = format!("nauth_access_token={access}; nauth_csrf_token={token}");
        let planted = format!("nauth_access_token={access}; nauth_csrf_token={foreign}");
        let bare = format!("nauth_access_token={access}");
        let cases = [
            (&held, Some(&token), ORIGIN, "ok"),
            (&held, None, ORIGIN, "CSRF token missing"),
            (&bare, Some(&token), ORIGIN, "CSRF token missing"),
            (&held, Some(&foreign), ORIGIN, "CSRF token invalid"),
            (&planted, Some(&foreign), ORIGIN, "CSRF token invalid"),
            (&held, None, "http://spa.local", "ok"),
            (&held, None, "https://evil.example", "CSRF token missing"),
        ];
        for (cookies, submitted, origin, expected) in cases {
            let mut lines = vec![("cookie", cookies.as_str()), ("origin", origin)];
            lines.extend(submitted.map(|token| ("x-csrf-token", token.as_str())));
            let (inner, asked) = api.asked(post("/auth/change", &lines, &json!({}))).await;
            let found = inner.caller(&asked, CsrfRule::Token).await;
            let found = found.map_or_else(|refusal| refusal.error.to_string(), |_| "ok".to_owned());
            assert_eq!(found, expected, "{lines:?}");
        }
    }
}
