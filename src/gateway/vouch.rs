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
