//! Refresh cookies at forward-auth: they stand for their session, and stay as they are.
//!
//! A proxy that asks cannot be relied on to hand new cookies to the browser, so none are made. The
//! session is looked up instead; for a moment the answer is remembered, and measured against the
//! revocation set every time, as an access token would be.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::auth::Auth;
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::revocation::Standing;
use crate::tokens::AccessToken;

/// How long an answer is remembered: shorter than the revocation set keeps any entry.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Answers remembered.
const CAPACITY: usize = 8 * 1024;

/// Who refresh tokens stand for, as the database said a moment ago.
#[derive(Debug)]
pub struct Vouched {
    // Hashed with a random key, so nobody can aim at one bucket; compared in full, so a hit is the token.
    cache: Cache<Box<str>, (Arc<AccessToken>, Time), UnitWeighter, RandomState>,
}

impl Default for Vouched {
    fn default() -> Self {
        let lifecycle = DefaultLifecycle::default();
        Self { cache: Cache::with(CAPACITY, CAPACITY as u64, UnitWeighter, RandomState::new(), lifecycle) }
    }
}

impl Vouched {
    /// Who a refresh token with a good signature stands for.
    ///
    /// # Errors
    /// Those of [`Auth::vouch`].
    pub async fn ask(&self, token: &str, auth: &Auth, ctx: &RequestContext) -> Result<Arc<AccessToken>, Error> {
        let now = auth.clock().now();
        if let Some((known, at)) = self.cache.get(token)
            && now.since(at) < REMEMBERED
            && now < known.expires_at
            && auth.revocations().standing(&known) == Standing::Live
        {
            return Ok(known);
        }
        let found = auth.vouch(token, ctx).await?;
        // Whether a former generation is still good depends on who comes with it.
        let presented = auth.verifier().verify_refresh(token);
        if presented.is_ok_and(|presented| presented.claims.generation >= found.claims.generation) {
            self.cache.insert(token.into(), (Arc::clone(&found), now));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests_support::{TestNauth, settings};
    use crate::auth::NamedSession;

    /// Ada's refresh token, and who it stands for.
    async fn ada(nauth: &TestNauth, vouched: &Vouched) -> (String, Arc<AccessToken>) {
        let refresh = nauth.ada().await.text("refreshToken");
        let token = vouched.ask(&refresh, &nauth.auth, &RequestContext::local()).await.unwrap();
        (refresh, token)
    }

    #[tokio::test]
    async fn an_answer_is_remembered_for_a_moment() {
        let (nauth, vouched) = (TestNauth::start(settings()).await, Vouched::default());
        let (refresh, first) = ada(&nauth, &vouched).await;
        let ask = || async { vouched.ask(&refresh, &nauth.auth, &RequestContext::local()).await.unwrap() };

        nauth.clock.advance(REMEMBERED / 2);
        assert!(Arc::ptr_eq(&first, &ask().await));
        nauth.clock.advance(REMEMBERED / 2);
        assert!(!Arc::ptr_eq(&first, &ask().await), "the database is asked again");
    }

    #[tokio::test]
    async fn what_ended_or_changed_is_not_remembered() {
        let (nauth, vouched) = (TestNauth::start(settings()).await, Vouched::default());
        let (refresh, token) = ada(&nauth, &vouched).await;
        let ctx = RequestContext::local();
        let ask = || vouched.ask(&refresh, &nauth.auth, &ctx);

        nauth.auth.grant_role(token.user, "admin".parse().unwrap()).await.unwrap();
        assert!(ask().await.unwrap().claims.roles.contains(&"admin".to_owned()));

        let session = NamedSession { user: token.user, session: token.session };
        nauth.auth.logout(&[session], false, &ctx).await.unwrap();
        assert!(matches!(ask().await, Err(Error::SessionNotFound(_))));
    }

    #[tokio::test]
    async fn a_former_generation_is_looked_at_every_time() {
        let (nauth, vouched) = (TestNauth::start(settings()).await, Vouched::default());
        let (refresh, first) = ada(&nauth, &vouched).await;
        let ctx = RequestContext::local();
        nauth.auth.refresh(&refresh, crate::domain::session::Delivery::Json, &ctx).await.unwrap();
        nauth.clock.advance(REMEMBERED);

        let (second, third) =
            (vouched.ask(&refresh, &nauth.auth, &ctx).await, vouched.ask(&refresh, &nauth.auth, &ctx).await);

        assert!(!Arc::ptr_eq(&second.unwrap(), &third.unwrap()), "whether it is good depends on who comes with it");
        assert_eq!(first.claims.generation, 1);
    }
}
