//! What a session may do to its own account.
//!
//! Every such change begins here. It takes the rows of the user and of the session first, so that whatever
//! ends the session (another password, a logout, an operator) comes before it and refuses it, or after it
//! and finds all of it.

use crate::auth::{Auth, Caller, Grant};
use crate::domain::assurance::Aal;
use crate::domain::context::RequestContext;
use crate::domain::error::{Denial, Error};
use crate::domain::event::Event;
use crate::domain::mfa::is_guarded;
use crate::domain::session::Session;
use crate::domain::user::User;
use crate::events::Change;

/// A change a session makes to its own account, with both as they are while it lasts.
#[derive(Debug)]
pub(super) struct OwnChange {
    pub(super) change: Change,
    pub(super) user: User,
    pub(super) session: Session,
}

impl Auth {
    /// Begins a change of the caller's account.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when the session has ended since the caller was recognised, or an epoch of
    /// its user was raised.
    pub(super) async fn change_of(&self, caller: &Caller) -> Result<OwnChange, Error> {
        self.hold(self.parts.events.begin().await?, caller).await
    }

    /// The same for what depends on what others have: see [`Tx::one_at_a_time`](crate::store::Tx::one_at_a_time).
    pub(super) async fn lone_change_of(&self, caller: &Caller) -> Result<OwnChange, Error> {
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        self.hold(change, caller).await
    }

    async fn hold(&self, mut change: Change, caller: &Caller) -> Result<OwnChange, Error> {
        let ended = || Error::SessionNotFound("Session has been revoked");
        let Caller { user, session } = caller;
        if !change.users().hold(user.id, user.auth_epoch, user.device_epoch).await?
            || !change.sessions().hold(session.id, self.now()).await?
        {
            return Err(ended());
        }
        // Read when nobody else can write them any more.
        let user = change.users().by_id(user.id).await?.filter(User::is_active).ok_or_else(ended)?;
        let session = change.sessions().by_id(session.id).await?.ok_or_else(ended)?;
        Ok(OwnChange { change, user, session })
    }

    /// Refuses what an account is proven or reached by to a session whose user has not just shown everything
    /// the account can be asked for: a login that is too long ago, or one without the second factor there is.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with [`Denial::Reauth`] either way: the same answer of the client helps.
    pub(super) async fn require_authority(&self, own: &mut OwnChange) -> Result<(), Error> {
        self.require_fresh(&own.session)?;
        self.require_sure(own).await
    }

    /// The half of it that does not grow old.
    pub(super) async fn require_sure(&self, own: &mut OwnChange) -> Result<(), Error> {
        let Some(policy) = self.policy().mfa else { return Ok(()) };
        if Aal::from_acr(&own.session.acr) == Some(Aal::Two) {
            return Ok(());
        }
        let factors = own.change.factors().of_user(own.user.id).await?;
        let has_backup_codes = self.has_backup_codes(&mut own.change, own.user.id).await?;
        let is_guarded = is_guarded(&own.user, &factors, has_backup_codes, policy);
        if is_guarded { Err(Error::Forbidden(Denial::Reauth)) } else { Ok(()) }
    }

    /// Refuses a sensitive change when the last login is too long ago.
    pub(super) fn require_fresh(&self, session: &Session) -> Result<(), Error> {
        let age = self.now().since(session.auth_time);
        if age <= self.settings.security.reauth_age { Ok(()) } else { Err(Error::Forbidden(Denial::Reauth)) }
    }

    /// Renews a session whose user has just shown `proofs`: it is fresh from now on, and as sure as all it was
    /// ever shown makes it. It is never lowered.
    pub(super) async fn renew(&self, own: OwnChange, proofs: &[&str], ctx: &RequestContext) -> Result<Grant, Error> {
        let OwnChange { mut change, user, mut session } = own;
        let now = self.now();
        session.prove(proofs);
        let access_exp = self.access_expiry(&session, now);
        if !change.sessions().renew_auth(session.id, &session.amr, &session.acr, now, access_exp).await? {
            return Err(Error::SessionNotFound("Session has been revoked"));
        }
        change.record(Event::Reauthenticated { user: user.id, session: session.id });
        self.parts.events.commit(change, ctx).await?;
        (session.auth_time, session.last_activity_at) = (now, now);
        self.grant(user, session, now)
    }
}
