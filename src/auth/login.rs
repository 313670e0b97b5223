//! Login by password: the whole rule.
//!
//! Find who is meant, compare the password, refuse whoever is disabled, and let the rest in as far
//! as they have come. Unknown identifiers cost the same hash and the same writes as known ones, and
//! get the same answer; that an account is disabled is told only to who knows its password.

use std::time::Instant;

use crate::auth::entry::Proof;
use crate::auth::guard::{Attempt, Verdict};
use crate::auth::{Auth, Login, Operation, Outcome};
use crate::domain::contact::Identifier;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event, LoginFailure, LoginWith};
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;
use crate::metrics::{AuthError, AuthEvent, AuthMethod, AuthResult};
use crate::password_hash::{Asker, Verified};

/// Kinds of hashes looked at when nauth starts.
const MAX_KINDS: i64 = 64;

impl Auth {
    /// Logs a user in.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] whether the identifier or the password is wrong,
    /// [`Error::AccountLocked`] after a right password, [`Error::RateLimited`] after too many
    /// failures, [`Error::Unavailable`] when hashing is saturated.
    pub async fn login(&self, input: Login, ctx: &RequestContext) -> Result<Outcome, Error> {
        let (begun, metrics) = (Instant::now(), &self.parts.metrics);
        let outcome = match self.check_rate(Operation::Login, ctx).await {
            Ok(()) => self.log_in(input, ctx).await,
            Err(error) => {
                metrics.refused(AuthEvent::Login, &error);
                Err(error)
            }
        };
        metrics.login_took(AuthMethod::Password, begun.elapsed());
        // Everything else is an event, and counted as one.
        match &outcome {
            Ok(Outcome::Challenged(_)) => {
                metrics.auth_event(AuthEvent::Login, AuthMethod::Password, AuthResult::Challenge, AuthError::None);
            }
            Err(error @ (Error::Unavailable(_) | Error::Internal(_))) => metrics.refused(AuthEvent::Login, error),
            Ok(Outcome::Authenticated(_)) | Err(_) => {}
        }
        outcome
    }

    async fn log_in(&self, input: Login, ctx: &RequestContext) -> Result<Outcome, Error> {
        let found = self.parts.store.users().by_identifier(&input.identifier).await?;
        let accepted = self.accepts(&input.identifier);
        let user = found.filter(|_| accepted);
        let (attempt, asker) = self.reserve_login(input.identifier.as_str(), user.as_ref(), ctx).await?;

        let whose = user.as_ref().map(|user| user.id);
        let entered = attempt.around(whose, ctx, async {
            let hash = user.as_ref().and_then(|user| user.password_hash.clone());
            let verified = self.parts.hasher.load_full().verify(input.password.clone(), hash, asker).await?;
            let (Some(user), Verified::Yes { upgrade }) = (user, verified) else {
                let reason = match (whose, accepted) {
                    (Some(_), _) => LoginFailure::WrongPassword,
                    (None, true) => LoginFailure::UnknownUser,
                    (None, false) => LoginFailure::IdentifierKind,
                };
                return Ok(Verdict::Wrong(self.refuse(whose, reason, LoginWith::Password, ctx).await));
            };
            let better = self.better_hash(upgrade, &input.password, asker).await;
            self.enter(user, better, input, ctx).await.map(Verdict::of_login)
        });
        entered.await
    }

    /// Lets in whoever has shown the password.
    async fn enter(
        &self,
        user: User,
        better: Option<Secret<String>>,
        input: Login,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let mut change = self.parts.events.begin().await?;
        let user = Self::upgrade_hash(&mut change, user, better).await?;
        let user = self.unlock_in_time(&mut change, user).await?;
        if let Err(locked) = self.refuse_locked(&user) {
            // What is told next may want a transaction of its own.
            drop(change);
            self.refuse(Some(user.id), LoginFailure::AccountLocked, LoginWith::Password, ctx).await;
            return Err(locked);
        }
        let user = self.expire_password(&mut change, user).await?;
        let proof = Proof { renews: input.renews, ..Proof::password() };
        self.admit(change, user, proof, input.client, ctx).await
    }

    /// Counts the attempt before anything is looked at closely.
    pub(super) async fn reserve_login(
        &self,
        identifier: &str,
        user: Option<&User>,
        ctx: &RequestContext,
    ) -> Result<(Attempt, Asker), Error> {
        let device = self.device_of(user, ctx).await?;
        let reserved = self.begin_login(identifier, user, device, ctx).await;
        if matches!(reserved, Err(Error::RateLimited { .. })) {
            self.parts.events.record(&Event::LoginBlocked { user: user.map(|user| user.id) }, ctx).await;
        }
        Ok((reserved?, Asker { ip: ctx.ip, known_device: device.is_some() }))
    }

    /// The password, while it is at hand, under a better hash than the one that is stored. There is
    /// another login when hashing is saturated.
    async fn better_hash(&self, upgrade: bool, password: &Secret<String>, asker: Asker) -> Option<Secret<String>> {
        if !upgrade {
            return None;
        }
        self.parts.hasher.load_full().hash(password.clone(), asker).await.ok()
    }

    async fn upgrade_hash(change: &mut Change, user: User, better: Option<Secret<String>>) -> Result<User, Error> {
        let (Some(better), Some(stored)) = (better, &user.password_hash) else { return Ok(user) };
        if !change.users().upgrade_hash(user.id, stored, &better).await? {
            return Ok(user);
        }
        change.record(Event::PasswordHashUpgraded { user: user.id });
        Ok(User { password_hash: Some(better), ..user })
    }

    fn accepts(&self, identifier: &Identifier) -> bool {
        match identifier {
            Identifier::Email(_) => self.settings.login.email,
            Identifier::Username(_) => self.settings.login.username,
            Identifier::Phone(_) => self.settings.login.phone,
            Identifier::Unknown(_) => true,
        }
    }

    pub(super) async fn refuse(
        &self,
        user: Option<UserId>,
        reason: LoginFailure,
        with: LoginWith,
        ctx: &RequestContext,
    ) -> Error {
        self.parts.events.record(&Event::LoginFailed { user, reason, with }, ctx).await;
        Error::InvalidCredentials
    }

    /// Tells the hasher which kinds of hashes accounts have, so that refusals take alike from the
    /// first one on. Reads every account: not for the path of a request.
    pub async fn learn_hash_kinds(&self) -> Result<(), Error> {
        let mut examples = self.parts.store.users().foreign_hashes(MAX_KINDS).await?;
        let nobody = RequestContext::local().ip;
        while !examples.is_empty() {
            // A few at a time: slow kinds hold up whoever logs in.
            let next = examples.split_off(examples.len().saturating_sub(2));
            self.parts.hasher.load_full().learn_kinds(next, nobody).await?;
        }
        Ok(())
    }

    /// The error for whoever has shown the password of a disabled account.
    pub(super) fn refuse_locked(&self, user: &User) -> Result<(), Error> {
        match &user.lock {
            Some(lock) if lock.until.is_none_or(|until| until > self.now()) => {
                Err(Error::AccountLocked { reason: lock.reason.clone(), since: lock.at, until: lock.until })
            }
            _ => Ok(()),
        }
    }

    /// Lifts a lock whose time is over.
    pub(super) async fn unlock_in_time(&self, change: &mut Change, user: User) -> Result<User, Error> {
        let now = self.now();
        let is_over = user.lock.as_ref().and_then(|lock| lock.until).is_some_and(|until| until <= now);
        if is_over && change.users().unlock(user.id, now).await? {
            change.record(Event::AccountEnabled { user: user.id, by: Actor::System });
            self.tell_enabled(change, &user);
            return Ok(User { lock: None, ..user });
        }
        Ok(user)
    }

    /// Asks for another password when this one is too old.
    async fn expire_password(&self, change: &mut Change, user: User) -> Result<User, Error> {
        let expiry = self.settings.password.expiry;
        let set_at = user.password_changed_at.unwrap_or(user.created_at);
        if expiry.is_zero() || user.must_change_password || set_at + expiry > self.now() {
            return Ok(user);
        }
        if change.users().force_password_change(user.id, self.now()).await? {
            change.record(Event::PasswordChangeForced { user: user.id, by: Actor::System });
        }
        Ok(User { must_change_password: true, ..user })
    }

    /// Compares a password with a known user's, outside of a login.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] when it is another one.
    pub(super) async fn confirm_password(
        &self,
        user: &User,
        password: Secret<String>,
        ctx: &RequestContext,
    ) -> Result<(), Error> {
        let device = self.device_of(Some(user), ctx).await?;
        let attempt = self.begin_login(user.email.as_str(), Some(user), device, ctx).await?;
        let asker = Asker { ip: ctx.ip, known_device: device.is_some() };
        let confirmed = attempt.around(Some(user.id), ctx, async {
            let verified = self.parts.hasher.load_full().verify(password, user.password_hash.clone(), asker).await?;
            Ok(match verified {
                Verified::Yes { .. } => Verdict::Right(()),
                Verified::No => Verdict::Wrong(
                    self.refuse(Some(user.id), LoginFailure::WrongPassword, LoginWith::Password, ctx).await,
                ),
            })
        });
        confirmed.await
    }
}
