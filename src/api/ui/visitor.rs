//! Somebody who is logged in already: whether that is enough for what they asked, and what they get to see.
//!
//! What was asked, the gateway says in the words of `OpenID` Connect. It looks at the token; here the session's row
//! is looked at, which may say more. Then the token is made anew and the visit goes on, with one look between
//! at whether the browser has taken it: a redirect without that might never end.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;

use crate::api::answer::append_cookies;
use crate::api::credentials::SessionCookies;
use crate::api::nauth::error as wire;
use crate::api::ui::form::Fields;
use crate::api::ui::page::Page;
use crate::api::ui::{Desk, PATH, see_other};
use crate::auth::Caller;
use crate::domain::assurance::Aal;
use crate::domain::clock::Time;
use crate::tokens::AccessToken;

/// Who holds the browser's session, and what the browser shows for it.
pub(super) struct Visitor {
    caller: Caller,
    token: Arc<AccessToken>,
}

/// How sure and how fresh a login has to be.
struct Wanted {
    aal: Option<Aal>,
    max_age: Option<Duration>,
}

impl Wanted {
    /// What a query says; nothing, where it asks for no more than a login.
    fn read(query: &Fields) -> Self {
        let aal = query.get("acr_values").split(' ').filter_map(Aal::from_acr).min();
        let max_age = query.get("max_age").parse().ok().map(Duration::from_secs);
        Self { aal: aal.filter(|aal| *aal > Aal::One), max_age }
    }

    fn is_something(&self) -> bool {
        self.aal.is_some() || self.max_age.is_some()
    }

    fn is_sure(&self, acr: &str) -> bool {
        self.aal.is_none() || Aal::from_acr(acr) >= self.aal
    }

    /// Counted like the gateway does it, in whole seconds from the login's.
    fn is_fresh(&self, auth_time_secs: i64, now: Time) -> bool {
        self.max_age.is_none_or(|max| now.since(Time::from_secs(auth_time_secs)) <= max)
    }
}

impl Desk {
    /// Who holds the browser's session, if it lives.
    pub(super) async fn visitor(&self) -> Option<Visitor> {
        let cookies = SessionCookies::of(&self.asked.headers, &self.api.names);
        for shown in &cookies.access {
            if let Ok(caller) = self.api.auth.authenticate(shown, &self.asked.ctx).await
                && let Ok(token) = self.api.auth.verifier().verify(shown)
            {
                return Some(Visitor { caller, token });
            }
        }
        None
    }

    /// The same, where it is no matter what the browser shows.
    pub(super) async fn caller(&self) -> Option<Caller> {
        self.visitor().await.map(|visitor| visitor.caller)
    }

    /// What somebody who is logged in gets to see, or where they go on to.
    pub(super) async fn receive(&self, visitor: &Visitor) -> Response {
        let query = Fields::read(self.asked.query().as_bytes());
        let (wanted, now) = (Wanted::read(&query), self.api.auth.clock().now());
        let Visitor { caller, token } = visitor;
        let session = &caller.session;
        let is_sure = wanted.is_sure(&session.acr);
        let is_enough = is_sure && wanted.is_fresh(session.auth_time.secs(), now);
        let is_shown = wanted.is_sure(&token.claims.acr) && wanted.is_fresh(token.claims.auth_time, now);
        let was_renewed = !query.get("renewed").is_empty();
        match (is_enough, is_shown) {
            (true, false) if !was_renewed => return self.renew(caller).await,
            (true, true) if was_renewed && wanted.is_something() => return see_other(&self.return_to(&query)),
            _ => {}
        }
        let page = match (is_sure, is_enough) {
            (_, true) => Page::SignedIn,
            (true, false) => Page::Confirm,
            (false, false) if caller.user.mfa_enabled && self.api.settings.mfa.enabled => Page::StepUp,
            (false, false) => Page::TooWeak,
        };
        let fields = self.fields_for(caller, &Fields::default()).await;
        self.show(StatusCode::OK, page, &fields, None)
    }

    /// Hands the browser a token that says what the session's row says, and looks at what comes back.
    async fn renew(&self, caller: &Caller) -> Response {
        match self.api.auth.restate(caller).await {
            Ok(grant) => {
                let page = format!("{}{PATH}/login", self.api.settings.api.prefix);
                let mut response = see_other(&format!("{page}?{}&renewed=true", self.asked.query()));
                append_cookies(&mut response, self.api.access_cookie_for(&self.asked, &grant));
                response
            }
            Err(error) => {
                wire::report(&error, &self.asked.ctx.request_id);
                self.show(self.status_of(&error), Page::SignedIn, &Fields::default(), Some(&error))
            }
        }
    }
}
