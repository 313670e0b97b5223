//! Signup: a new account, and what becomes of an unfinished one with the same address.

use crate::auth::entry::Proof;
use crate::auth::{Auth, Outcome, Signup};
use crate::config::settings::{MetadataKeys, UsernameRule, VerificationMethod};
use crate::domain::contact::Username;
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, FieldError};
use crate::domain::event::{Actor, Event};
use crate::domain::id::{UserId, random_number};
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;

impl Auth {
    /// Makes an account and lets its owner in as far as they have come.
    ///
    /// An account that never completed its verification holds no claim to its address: this
    /// signup replaces it, with everything that hung on it.
    ///
    /// # Errors
    /// [`Error::EmailTaken`], [`Error::UsernameTaken`], [`Error::WeakPassword`],
    /// [`Error::SignupDisabled`], and the limits of the mail that goes out.
    pub async fn signup(&self, input: Signup, ctx: &RequestContext) -> Result<Outcome, Error> {
        if !self.settings.signup.enabled {
            return Err(Error::SignupDisabled);
        }
        self.check_password(input.password.expose())?;
        let username = self.check_username(input.username.clone())?;
        let metadata = self.check_metadata(input.metadata.as_ref())?;
        let hash = self.parts.hasher.load_full().hash(input.password.clone(), ctx.ip).await?;

        let mut change = self.parts.events.begin().await?;
        self.make_room_for(&mut change, &input).await?;
        if let Some(username) = &username {
            self.claim_username(&mut change, username).await?;
        }
        let user = self.new_user(&input, username, metadata, hash);
        change.users().insert(&user, "signup").await?;
        change.record(Event::AccountCreated { user: user.id, by: Actor::Owner });
        self.admit(change, user, Proof::password(), input.client, ctx).await
    }

    async fn make_room_for(&self, change: &mut Change, input: &Signup) -> Result<(), Error> {
        let Some(holder) = change.users().by_email(&input.email).await? else { return Ok(()) };
        if holder.completed_at.is_some() {
            return Err(Error::EmailTaken);
        }
        // Its challenges, codes and sessions go with it.
        change.users().delete(holder.id).await?;
        change.record(Event::SignupReplaced { user: holder.id });
        Ok(())
    }

    async fn claim_username(&self, change: &mut Change, username: &Username) -> Result<(), Error> {
        let Some(holder) = change.users().by_username(username).await? else { return Ok(()) };
        if holder.completed_at.is_some() {
            return Err(Error::UsernameTaken);
        }
        change.users().release_username(username, self.now()).await?;
        Ok(())
    }

    fn new_user(&self, input: &Signup, username: Option<Username>, metadata: String, hash: Secret<String>) -> User {
        let now = self.now();
        let completed_at = match self.settings.signup.verification_method {
            VerificationMethod::None => Some(now),
            VerificationMethod::Email => None,
        };
        let mut roles = self.settings.signup.default_roles.clone();
        roles.sort();
        roles.dedup();
        User {
            id: UserId::random(),
            number: random_number(),
            email: input.email.clone(),
            email_verified: false,
            username,
            first_name: input.first_name.clone(),
            last_name: input.last_name.clone(),
            password_hash: Some(hash),
            lock: None,
            auth_epoch: 1,
            claims_version: 1,
            completed_at,
            timezone: input.timezone.clone(),
            locale: input.locale.clone(),
            metadata,
            roles,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether a password may be used (length in characters, NIST SP 800-63B).
    pub(super) fn check_password(&self, password: &str) -> Result<(), Error> {
        let rules = self.settings.password;
        let length = password.chars().count();
        let mut missed = Vec::new();
        if length < rules.min_length {
            missed.push(format!("Password must be at least {} characters long", rules.min_length));
        }
        if length > rules.max_length {
            missed.push(format!("Password must be at most {} characters long", rules.max_length));
        }
        if missed.is_empty() { Ok(()) } else { Err(Error::WeakPassword(missed)) }
    }

    fn check_username(&self, username: Option<Username>) -> Result<Option<Username>, Error> {
        match (self.settings.signup.username, username) {
            (UsernameRule::Off, _) => Ok(None),
            (UsernameRule::Required, None) => {
                Err(Error::Validation(vec![FieldError::new("username", "username is required")]))
            }
            (_, username) => Ok(username),
        }
    }

    fn check_metadata(&self, metadata: Option<&serde_json::Map<String, serde_json::Value>>) -> Result<String, Error> {
        let Some(metadata) = metadata else { return Ok("{}".to_owned()) };
        let rules = &self.settings.signup;
        let forbidden = match &rules.metadata_keys {
            MetadataKeys::Any => None,
            MetadataKeys::Only(allowed) => metadata.keys().find(|key| !allowed.contains(key)),
        };
        if let Some(key) = forbidden {
            let message = format!("metadata key `{key}` is not allowed");
            return Err(Error::Validation(vec![FieldError::new("metadata", message)]));
        }
        let text = serde_json::to_string(metadata).map_err(|error| Error::Internal(Box::new(error)))?;
        if text.len() > rules.metadata_max {
            let message = format!("metadata must be at most {} bytes", rules.metadata_max);
            return Err(Error::Validation(vec![FieldError::new("metadata", message)]));
        }
        Ok(text)
    }
}
