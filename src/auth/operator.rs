//! What an operator does to accounts, at the command line beside a running server.
//!
//! The changes and their revocations stand in SQL; running nodes follow within a second.

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::signup::{Counts, hash_of_invitation};
use crate::domain::contact::{Email, Identifier, Phone, Username};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event};
use crate::domain::hex::hex;
use crate::domain::id::UserId;
use crate::domain::password_policy::About;
use crate::domain::secret::Secret;
use crate::domain::session::EndReason;
use crate::domain::user::{Lock, Role, User};
use crate::events::Change;
use crate::store::StoreError;
use crate::store::invitations::Invitation;
use crate::store::revocations::Revocation;

/// An account an operator makes: complete from the start.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The address, taken as proven.
    pub email: Email,
    /// The name.
    pub username: Option<Username>,
    /// The number, taken as proven.
    pub phone: Option<Phone>,
    /// The password.
    pub password: Secret<String>,
    /// Whether the first login must set another one.
    pub must_change_password: bool,
    /// The roles; `signup.default_roles` when empty.
    pub roles: Vec<Role>,
    /// What only operators and hooks write about the user: a JSON object.
    pub metadata_admin: serde_json::Map<String, serde_json::Value>,
}

impl Auth {
    /// Makes a complete account with a proven address.
    pub async fn create_user(&self, new: NewUser) -> Result<User, Error> {
        let username = new.username.as_ref().map(Username::as_str);
        self.check_password(&new.password, &About { email: new.email.as_str(), username, ..About::default() })?;
        let ctx = RequestContext::local();
        let hash = self.parts.hasher.load_full().hash(new.password, ctx.ip).await?;
        let now = self.now();
        let roles = if new.roles.is_empty() { self.settings.signup.default_roles.clone() } else { new.roles };
        let user = User {
            email_verified: true,
            username: new.username,
            phone_verified: new.phone.is_some(),
            phone: new.phone,
            password_hash: Some(hash),
            password_changed_at: Some(now),
            must_change_password: new.must_change_password,
            completed_at: Some(now),
            metadata_admin: serde_json::Value::Object(new.metadata_admin).to_string(),
            ..User::new(new.email, roles, now)
        };
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        if let Some(holder) = change.users().by_email(&user.email).await? {
            if !change.users().delete_unfinished(holder.id).await? {
                return Err(Error::EmailTaken);
            }
            change.record(Event::SignupReplaced { user: holder.id });
        }
        let claims_phone = match &user.phone {
            Some(phone) => self.make_room_for_phone(&mut change, phone, Counts::Given).await?,
            None => false,
        };
        match change.users().insert(&user, claims_phone, Actor::Operator.as_str()).await {
            Err(StoreError::Taken(_)) => return Err(Error::UsernameTaken),
            other => other?,
        }
        change.record(Event::AccountCreated { user: user.id, by: Actor::Operator });
        self.parts.events.commit(change, &ctx).await?;
        Ok(user)
    }

    /// The user somebody means, by id, address or name.
    pub async fn find_user(&self, text: &str) -> Result<User, Error> {
        let found = match text.parse() {
            Ok(id) => self.parts.store.users().by_id(id).await?,
            Err(_) => self.parts.store.users().by_identifier(&Identifier::read(text)).await?,
        };
        found.ok_or(Error::NotFound)
    }

    /// Users in the order they signed up, after `after`, at most `limit`.
    pub async fn list_users(&self, after: Option<&User>, limit: i64) -> Result<Vec<User>, Error> {
        let after = after.map(|user| (user.created_at, user.id));
        Ok(self.parts.store.users().page(after, limit).await?)
    }

    /// Sets a password and ends every session. `must_change` makes the next login set another one.
    pub async fn set_password(&self, user: &User, password: Secret<String>, must_change: bool) -> Result<(), Error> {
        let ctx = RequestContext::local();
        let hash = self.new_password(user, &password, &ctx).await?;
        let mut change = self.parts.events.begin().await?;
        self.replace_password(&mut change, user, &hash, Actor::Operator, EndReason::PasswordChanged).await?;
        if must_change && change.users().force_password_change(user.id, self.now()).await? {
            change.record(Event::PasswordChangeForced { user: user.id, by: Actor::Operator });
        }
        self.parts.events.commit(change, &ctx).await
    }

    /// Makes an invitation; answers its code, which is shown once and stored nowhere.
    pub async fn invite(&self, email: Option<Email>, max_uses: u32, ttl: Duration) -> Result<Secret<String>, Error> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
        let code = Secret::new(hex(&random));
        let now = self.now();
        let invitation = Invitation {
            code_hash: hash_of_invitation(&code),
            email,
            max_uses: i64::from(max_uses),
            expires_at: now + ttl,
        };
        let mut change = self.parts.events.begin().await?;
        change.invitations().insert(&invitation, now).await?;
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(code)
    }

    /// Disables an account and ends every session; answers whether it was enabled.
    pub async fn disable(&self, user: UserId, reason: String) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().lock(user, &Lock { at: self.now(), reason: reason.clone(), until: None }).await? {
            return Ok(false);
        }
        self.end_all(&mut change, user, EndReason::AccountDisabled).await?;
        change.users().raise_device_epoch(user).await?;
        if let Some(user) = change.users().by_id(user).await? {
            self.tell_disabled(&mut change, &user, &reason);
        }
        change.record(Event::AccountDisabled { user, reason, by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }

    /// Enables an account; answers whether it was disabled.
    pub async fn enable(&self, user: UserId) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().unlock(user, self.now()).await? {
            return Ok(false);
        }
        if let Some(user) = change.users().by_id(user).await? {
            self.tell_enabled(&mut change, &user);
        }
        change.record(Event::AccountEnabled { user, by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }

    /// Ends everything that failed tries and unusual logins have brought upon a user: nothing of it counts any
    /// more, at once and on every node. What was counted for an address alone stays, and so does a disabled
    /// account.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such user.
    pub async fn end_lockouts(&self, user: UserId) -> Result<(), Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().end_lockouts(user, self.now()).await? {
            return Err(Error::NotFound);
        }
        change.record(Event::LockoutCleared { user, by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await
    }

    /// Deletes an account and everything that hangs on it; answers whether it was there. Its sessions end, and
    /// its audit trail stays.
    pub async fn delete(&self, user: UserId) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if change.users().by_id(user).await?.is_none() {
            return Ok(false);
        }
        // Tokens that are about outlive the row.
        self.end_all(&mut change, user, EndReason::AccountDeleted).await?;
        change.users().delete(user).await?;
        change.record(Event::AccountDeleted { user, by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }

    /// Grants a role; answers whether it was missing.
    pub async fn grant_role(&self, user: UserId, role: Role) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().grant_role(user, &role, Actor::Operator.as_str(), self.now()).await? {
            return Ok(false);
        }
        self.refresh_claims(&mut change, user).await?;
        change.record(Event::RoleGranted { user, role, by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }

    /// Takes a role away; answers whether it was there.
    pub async fn revoke_role(&self, user: UserId, role: Role) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().revoke_role(user, &role).await? {
            return Ok(false);
        }
        self.refresh_claims(&mut change, user).await?;
        change.record(Event::RoleRevoked { user, role, by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }

    /// Makes every access token of the user that is about be refreshed.
    pub(super) async fn refresh_claims(&self, change: &mut Change, user: UserId) -> Result<(), Error> {
        let version = change.users().raise_claims_version(user, self.now()).await?.ok_or(Error::NotFound)?;
        if let Some(latest_exp) = change.sessions().latest_exp_of(user).await? {
            change.revoke(Revocation::UserClaims(user, version), latest_exp);
        }
        Ok(())
    }
}
