//! Refresh: one compare-and-set on the session's row, and who may still come with the old token.
//!
//! The row holds the current generation. Whoever presents it rotates, once; whoever presents the
//! one before is answered with the *current* token, without rotating, until the current one has
//! been seen in use and for the grace after that. Parallel requests of a browser therefore all end
//! with the same token, on whatever node they land, and a token that comes back later than that is
//! a stolen one: its whole family dies.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::auth::{Auth, Caller, Grant};
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::domain::id::{SessionId, UserId};
use crate::domain::session::{Delivery, EndReason, Session};
use crate::domain::user::User;
use crate::metrics::RefreshResult;
use crate::store::revocations::Revocation;
use crate::store::sessions::Rotation;
use crate::tokens::{AccessToken, RefreshToken, RefreshTokenError};

/// How often a lost race is looked at again. A second loss means yet another rotation in between.
const ROUNDS: usize = 4;

impl Auth {
    /// Exchanges a refresh token for the session's current tokens.
    ///
    /// # Errors
    /// - [`Error::TokenInvalid`] for what is not a refresh token of ours, or has expired: nothing is revoked.
    /// - [`Error::TokenReused`] after the grace; the family is revoked first.
    /// - [`Error::SessionNotFound`], [`Error::SessionExpired`] when the session has ended.
    /// - [`Error::Unavailable`] when the database cannot serve; the token stays good.
    pub async fn refresh(&self, token: &str, delivery: Delivery, ctx: &RequestContext) -> Result<Grant, Error> {
        let begun = std::time::Instant::now();
        let presented = self.presented(token)?;
        let outcome = self.refresh_presented(&presented, delivery, ctx).await;
        let result = match &outcome {
            Ok((_, result)) => *result,
            Err(Error::TokenReused) => RefreshResult::ReuseDetected,
            Err(Error::SessionExpired) => RefreshResult::Expired,
            Err(_) => RefreshResult::Error,
        };
        self.parts.metrics.session_refreshed(result, begun.elapsed());
        outcome.map(|(grant, _)| grant)
    }

    /// Who a refresh token stands for, as an access token that no client gets: nothing is rotated, so the
    /// client need not be told anything. The rules about former generations are those of [`Auth::refresh`].
    ///
    /// # Errors
    /// Those of [`Auth::refresh`].
    pub async fn vouch(&self, token: &str, ctx: &RequestContext) -> Result<Arc<AccessToken>, Error> {
        let presented = self.presented(token)?;
        let (user, session) =
            self.live_session(presented.session, presented.user, &presented.claims.token_family).await?;
        let behind = session.generation - presented.claims.generation;
        match behind {
            ..=0 => {}
            1 => self.check_previous(&session, ctx).await?,
            _ => return Err(self.end_family(&session, ctx).await?),
        }
        let is_first_sight = behind == 0 && session.seen.is_none();
        let token = self.grant(user, session, self.now())?.access;
        if is_first_sight {
            self.note_use(&token, || ctx.clone());
        } else {
            self.note_activity(&token);
        }
        Ok(token)
    }

    /// What is true now of whom a token was made for, as a token that no client gets.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] and [`Error::SessionExpired`] when the session has ended,
    /// [`Error::Unavailable`] when it cannot be looked up.
    pub async fn as_of_now(&self, token: &AccessToken) -> Result<Arc<AccessToken>, Error> {
        let (user, session) = self.live_session(token.session, token.user, &token.claims.token_family).await?;
        Ok(self.grant(user, session, self.now())?.access)
    }

    /// The tokens of the caller's session as it is now, for a client whose own say less. Nothing is rotated.
    ///
    /// # Errors
    /// Those of [`Auth::as_of_now`].
    pub async fn restate(&self, caller: &Caller) -> Result<Grant, Error> {
        let Caller { user, session } = caller;
        let (user, session) = self.live_session(session.id, user.id, &session.family).await?;
        let now = self.now();
        self.remember_expiry(&session, now).await?;
        self.grant(user, session, now)
    }

    fn presented(&self, token: &str) -> Result<RefreshToken, Error> {
        self.verifier.verify_refresh(token).map_err(|error| match error {
            RefreshTokenError::Invalid => Error::TokenInvalid("Invalid refresh token"),
            RefreshTokenError::Expired(_) => Error::TokenInvalid("Refresh token has expired"),
        })
    }

    async fn refresh_presented(
        &self,
        presented: &RefreshToken,
        delivery: Delivery,
        ctx: &RequestContext,
    ) -> Result<(Grant, RefreshResult), Error> {
        for _ in 0..ROUNDS {
            let (user, session) =
                self.live_session(presented.session, presented.user, &presented.claims.token_family).await?;
            let ahead = presented.claims.generation.cmp(&session.generation);
            let done = match (ahead, session.generation - presented.claims.generation) {
                // A validly signed generation above the row's is a write the database has lost: go on from there.
                (Ordering::Greater | Ordering::Equal, _) => self.rotate(presented, user, session, delivery).await?,
                (Ordering::Less, 1) => return self.answer_previous(user, session, ctx).await,
                (Ordering::Less, _) => return Err(self.end_family(&session, ctx).await?),
            };
            if let Some(grant) = done {
                return Ok((grant, RefreshResult::Rotated));
            }
        }
        Err(Error::Unavailable("the session is being refreshed over and over".into()))
    }

    async fn live_session(&self, id: SessionId, user: UserId, family: &str) -> Result<(User, Session), Error> {
        let session = self.parts.store.sessions().by_id(id).await?;
        let session = session
            .filter(|session| session.user == user && session.family == family)
            .ok_or(Error::SessionNotFound("Session not found"))?;
        let user = self.parts.store.users().by_id(session.user).await?;
        let user = user.ok_or(Error::SessionNotFound("Session not found"))?;
        if session.revoked_at.is_some() || session.auth_epoch != user.auth_epoch || !user.is_active() {
            return Err(Error::SessionNotFound("Session has been revoked"));
        }
        if self.has_ended(&session, self.now()) {
            return Err(Error::SessionExpired);
        }
        Ok((user, session))
    }

    /// Rotates; `None` when somebody else did so first.
    async fn rotate(
        &self,
        presented: &RefreshToken,
        user: User,
        mut session: Session,
        delivery: Delivery,
    ) -> Result<Option<Grant>, Error> {
        let now = self.now();
        let rotation = Rotation {
            from: session.generation,
            to: presented.claims.generation + 1,
            at: now,
            refresh_expires_at: self.refresh_expiry(delivery, session.expires_at, now),
            refresh_kid: self.refresh_tokens().active_kid().to_owned(),
            access_exp: self.access_expiry(&session, now),
        };
        if !self.parts.store.sessions().rotate(session.id, &rotation).await? {
            return Ok(None);
        }
        session.generation = rotation.to;
        session.rotated_at = now;
        session.refresh_expires_at = rotation.refresh_expires_at;
        session.refresh_kid = rotation.refresh_kid;
        session.seen = None;
        session.last_activity_at = now;
        self.grant(user, session, now).map(Some)
    }

    /// Answers the previous generation with the current token, while that is allowed.
    async fn answer_previous(
        &self,
        user: User,
        session: Session,
        ctx: &RequestContext,
    ) -> Result<(Grant, RefreshResult), Error> {
        self.check_previous(&session, ctx).await?;
        let now = self.now();
        self.remember_expiry(&session, now).await?;
        let grant = self.grant(user, session, now)?;
        Ok((grant, RefreshResult::Grace))
    }

    /// Whether the previous generation is still answered; else its family may end here.
    async fn check_previous(&self, session: &Session, ctx: &RequestContext) -> Result<(), Error> {
        let Some(seen) = &session.seen else {
            if !ctx.resembles(&address_prefix_of(session), &session.user_agent) {
                self.note_foreign(session, true, ctx).await;
            }
            return Ok(());
        };
        if self.now() > seen.at + self.settings.jwt.refresh_grace {
            return Err(self.end_family(session, ctx).await?);
        }
        if !ctx.resembles(&seen.prefix, &seen.user_agent) {
            self.note_foreign(session, false, ctx).await;
            return Err(Error::TokenInvalid("Invalid refresh token"));
        }
        Ok(())
    }

    /// A revocation must outlive every access token, so a later expiry than ever before is noted first.
    async fn remember_expiry(&self, session: &Session, now: Time) -> Result<(), Error> {
        let exp = self.access_expiry(session, now);
        if exp <= session.latest_exp {
            return Ok(());
        }
        let alive = self.parts.store.sessions().extend_latest_exp(session.id, exp, now).await?;
        if alive { Ok(()) } else { Err(Error::SessionNotFound("Session has been revoked")) }
    }

    async fn note_foreign(&self, session: &Session, answered: bool, ctx: &RequestContext) {
        let event = Event::ForeignRefresh { user: session.user, session: session.id, answered };
        self.parts.events.record(&event, ctx).await;
    }

    /// Ends the session and everything derived from it; answers the error for whoever came.
    async fn end_family(&self, session: &Session, ctx: &RequestContext) -> Result<Error, Error> {
        let mut change = self.parts.events.begin().await?;
        if change.sessions().revoke(session.id, EndReason::TokenReuse, self.now()).await? {
            change.revoke(Revocation::Session(session.id), session.latest_exp);
            change.record(Event::TokenReuseDetected { user: session.user, session: session.id });
            let (user, session, reason) = (session.user, session.id, EndReason::TokenReuse);
            change.record(Event::SessionEnded { user, session, reason });
            self.parts.events.commit(change, ctx).await?;
        }
        Ok(Error::TokenReused)
    }
}

fn address_prefix_of(session: &Session) -> String {
    let prefix = session.ip.parse().map(crate::domain::context::address_prefix);
    prefix.map(|ip| ip.to_string()).unwrap_or_default()
}
