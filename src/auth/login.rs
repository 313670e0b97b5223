//! Login by password: the whole rule.
//!
//! Find who is meant, compare the password, refuse whoever is disabled, and let the rest in as far
//! as they have come. Unknown identifiers cost the same hash and the same writes as known ones, and
//! get the same answer; that an account is disabled is told only to who knows its password.

use crate::auth::entry::Proof;
use crate::auth::{Auth, Login, Outcome};
use crate::domain::contact::Identifier;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Event, LoginFailure};
use crate::domain::user::User;

impl Auth {
    /// Logs a user in.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] whether the identifier or the password is wrong,
    /// [`Error::AccountLocked`] after a right password, [`Error::Unavailable`] when hashing is saturated.
    pub async fn login(&self, input: Login, ctx: &RequestContext) -> Result<Outcome, Error> {
        let found = self.parts.store.users().by_identifier(&input.identifier).await?;
        let accepted = self.accepts(&input.identifier);
        let user = found.filter(|_| accepted);

        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let is_right = self.parts.hasher.load_full().verify(input.password, hash, ctx.ip).await?;
        let user = match user {
            Some(user) if is_right => user,
            Some(user) => return Err(self.refuse(Some(&user), LoginFailure::WrongPassword, ctx)),
            None if accepted => return Err(self.refuse(None, LoginFailure::UnknownUser, ctx)),
            None => return Err(self.refuse(None, LoginFailure::IdentifierKind, ctx)),
        };
        if let Some(lock) = &user.lock {
            self.refuse(Some(&user), LoginFailure::AccountLocked, ctx);
            return Err(Error::AccountLocked { reason: lock.reason.clone(), since: lock.at });
        }

        let change = self.parts.events.begin().await?;
        self.admit(change, user, Proof::password(), input.client, ctx).await
    }

    fn accepts(&self, identifier: &Identifier) -> bool {
        match identifier {
            Identifier::Email(_) => self.settings.login.email,
            Identifier::Username(_) => self.settings.login.username,
            Identifier::Unknown(_) => true,
        }
    }

    fn refuse(&self, user: Option<&User>, reason: LoginFailure, ctx: &RequestContext) -> Error {
        self.parts.events.record(&Event::LoginFailed { user: user.map(|user| user.id), reason }, ctx);
        Error::InvalidCredentials
    }
}
