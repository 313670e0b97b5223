//! Sessions: who calls, which sessions they have, and how sessions end.

use std::collections::HashSet;

use aws_lc_rs::hmac;

use crate::auth::{Auth, Caller, ListedSession, NamedSession, Operation};
use crate::domain::context::RequestContext;
use crate::domain::error::{Denial, Error};
use crate::domain::event::{DeniedAccess, Event};
use crate::domain::hex::hex;
use crate::domain::id::{SessionId, UserId};
use crate::domain::session::{EndReason, Session};
use crate::store::revocations::Revocation;
use crate::tokens::keys::Purpose;
use crate::tokens::{AccessToken, TokenError};

/// Random bytes in a CSRF token.
const CSRF_RANDOM_BYTES: usize = 16;

impl Auth {
    /// Who calls the auth API, as the database has it now. Claims that have gone stale are no
    /// matter here: the row is read.
    pub async fn authenticate(&self, token: &str, ctx: &RequestContext) -> Result<Caller, Error> {
        self.check_rate(Operation::Other, ctx).await?;
        let token = self.verifier.verify(token).map_err(|error| match error {
            TokenError::Invalid => Error::TokenInvalid("Invalid token"),
            TokenError::Expired(_) => Error::TokenExpired,
        })?;
        let session = self.parts.store.sessions().by_id(token.session).await?;
        let session =
            session.filter(|session| session.user == token.user).ok_or(Error::SessionNotFound("Session not found"))?;
        let user = self.parts.store.users().by_id(session.user).await?;
        let user = user.ok_or(Error::SessionNotFound("Session not found"))?;
        if session.revoked_at.is_some() || session.auth_epoch != user.auth_epoch || !user.is_active() {
            return Err(Error::SessionNotFound("Session has been revoked"));
        }
        if self.has_ended(&session, self.now()) {
            return Err(Error::SessionExpired);
        }
        self.note_use(&token, || ctx.clone());
        ctx.comes_from(&session.device);
        Ok(Caller { user, session })
    }

    /// The caller's sessions that live, latest first.
    pub async fn sessions(&self, caller: &Caller) -> Result<Vec<ListedSession>, Error> {
        let mut sessions = self.parts.store.sessions();
        let live = sessions.live_of(caller.user.id, caller.user.auth_epoch, self.now()).await?;
        // What was trusted when a session began may be trusted no longer.
        let trusted: HashSet<i64> = self.trusted_devices(caller).await?.iter().map(|device| device.id).collect();
        let listed = |session: Session| ListedSession {
            is_current: session.id == caller.session.id,
            on_trusted_device: session.trusted_device.is_some_and(|device| trusted.contains(&device)),
            session,
        };
        Ok(live.into_iter().filter(|session| !self.has_ended(session, self.now())).map(listed).collect())
    }

    /// Which of these sessions live, for whoever holds streams open on them.
    pub async fn living(&self, ids: &[SessionId]) -> Result<Vec<SessionId>, Error> {
        Ok(self.parts.store.sessions().living(ids, self.now()).await?)
    }

    /// Ends one of the caller's sessions; answers whether it was the caller's own.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when there is none, [`Error::Forbidden`] when it is somebody else's.
    pub async fn end_one(&self, caller: &Caller, id: SessionId, ctx: &RequestContext) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        let session = change.sessions().by_id(id).await?.ok_or(Error::SessionNotFound("Session not found"))?;
        if session.user != caller.user.id {
            return Err(Error::Forbidden(Denial::NotYours));
        }
        if !self.end_session(&mut change, &session, EndReason::Revoked).await? {
            return Err(Error::SessionNotFound("Session not found"));
        }
        self.parts.events.commit(change, ctx).await?;
        Ok(id == caller.session.id)
    }

    /// Ends the sessions named. Ones that have ended already are no error. `forget_device` makes
    /// the device whose token the client shows a stranger again.
    pub async fn logout(&self, named: &[NamedSession], forget_device: bool, ctx: &RequestContext) -> Result<(), Error> {
        let mut change = self.parts.events.begin().await?;
        let mut ended = false;
        for NamedSession { user, session: id } in named.iter().copied() {
            let Some(session) = change.sessions().by_id(id).await?.filter(|session| session.user == user) else {
                continue;
            };
            ctx.comes_from(&session.device);
            ended |= self.end_session(&mut change, &session, EndReason::Logout).await?;
            if forget_device {
                self.forget_this_device(&mut change, user, ctx).await?;
                ended = true;
            }
        }
        if ended { self.parts.events.commit(change, ctx).await } else { Ok(()) }
    }

    /// Ends every session of a user; answers how many lived. `forget_devices` makes every trusted
    /// device a stranger again.
    pub async fn logout_all(&self, user: UserId, forget_devices: bool, ctx: &RequestContext) -> Result<u64, Error> {
        let mut change = self.parts.events.begin().await?;
        let count = self.end_all(&mut change, user, EndReason::LogoutAll).await?;
        if let Some(user) = change.users().by_id(user).await? {
            self.tell_sessions_revoked(&mut change, &user, count, "everybody was logged out");
        }
        if forget_devices {
            self.forget_all_devices(&mut change, user).await?;
        }
        self.parts.events.commit(change, ctx).await?;
        Ok(count)
    }

    /// Ends every session of a user within a change, by raising the user's epoch.
    pub(super) async fn end_all(
        &self,
        change: &mut crate::events::Change,
        user: UserId,
        reason: EndReason,
    ) -> Result<u64, Error> {
        let now = self.now();
        let epoch = change.users().raise_epoch(user, now).await?.ok_or(Error::NotFound)?;
        let count = change.sessions().revoke_all(user, reason, now).await?;
        // Read when nothing can add to it any more.
        if let Some(latest_exp) = change.sessions().latest_exp_of(user).await? {
            change.revoke(Revocation::UserEpoch(user, epoch), latest_exp);
        }
        change.record(Event::AllSessionsEnded { user, count, reason });
        Ok(count)
    }

    /// Notes that one request carried cookies of more than one session.
    pub fn note_conflict(&self, named: Option<NamedSession>, ctx: &RequestContext) {
        self.parts.events.record_soon(&Event::CredentialConflict { user: named.map(|named| named.user) }, ctx);
    }

    /// Notes that a route refused somebody known. Never waits.
    pub fn note_denied(&self, token: &AccessToken, denied: DeniedAccess, ctx: &RequestContext) {
        let event = Event::AccessDenied { user: token.user, session: token.session, denied };
        self.parts.events.record_soon(&event, ctx);
    }

    /// A CSRF token for this session: `<random>.<HMAC(session, random)>`, good as long as the session
    /// (OWASP, signed double submit cookie).
    #[must_use]
    pub fn csrf_token(&self, session: SessionId) -> String {
        let mut random = [0; CSRF_RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
        let random = hex(&random);
        let mac = hmac::sign(&self.csrf_key(), bound(session, &random).as_bytes());
        format!("{random}.{}", hex(mac.as_ref()))
    }

    /// Whether this CSRF token was made for this session.
    #[must_use]
    pub fn csrf_matches(&self, session: SessionId, token: &str) -> bool {
        let Some((random, mac)) = token.split_once('.') else { return false };
        let expected = hmac::sign(&self.csrf_key(), bound(session, random).as_bytes());
        let expected = hex(expected.as_ref());
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), mac.as_bytes()).is_ok()
    }

    fn csrf_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.keys.purpose(Purpose::Csrf).active.bytes())
    }
}

fn bound(session: SessionId, random: &str) -> String {
    format!("{session}\0{random}")
}
