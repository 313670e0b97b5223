//! Passwords: changed, forgotten, reset.
//!
//! Whatever sets a password ends every session and every trusted device with it, voids every code
//! that is about, and remembers the old hash.

use crate::auth::code::{CodeRules, Destination, NewCode, Wrong};
use crate::auth::guard::Verdict;
use crate::auth::signup::phone_taken;
use crate::auth::{Auth, Caller, ForgotPassword, ForgottenPassword, Operation, ResetPassword};
use crate::config::settings::VerificationMethod;
use crate::domain::contact::{Identifier, Username};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event};
use crate::domain::id::UserId;
use crate::domain::password_policy::About;
use crate::domain::secret::Secret;
use crate::domain::session::EndReason;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::{OneTimeSecret, Purpose};
use crate::store::revocations::Revocation;

impl Auth {
    /// Changes the caller's password. Every session ends, the caller's own included.
    ///
    /// # Errors
    /// [`Error::PasswordIncorrect`], [`Error::PasswordChangeNotAllowed`] for an account without a
    /// password when one is given, [`Error::WeakPassword`], [`Error::PasswordReused`].
    pub async fn change_password(
        &self,
        caller: &Caller,
        old: Secret<String>,
        new: Secret<String>,
        ctx: &RequestContext,
    ) -> Result<(), Error> {
        let user = &caller.user;
        match (&user.password_hash, old.expose().is_empty()) {
            (None, false) => {
                return Err(Error::PasswordChangeNotAllowed("This account has no password; send an empty old one"));
            }
            (None, true) => self.require_fresh(&caller.session)?,
            (Some(_), _) => {
                self.confirm_password(user, old, ctx).await.map_err(|error| match error {
                    Error::InvalidCredentials => Error::PasswordIncorrect,
                    other => other,
                })?;
            }
        }
        let hash = self.new_password(user, &new, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        self.replace_password(&mut change, user, &hash, Actor::Owner, EndReason::PasswordChanged).await?;
        self.parts.events.commit(change, ctx).await
    }

    /// Sends a code that resets a password, if the identifier is somebody's who may have one.
    ///
    /// The answer is made from what was asked, never from what was found.
    ///
    /// # Errors
    /// [`Error::RateLimited`], counted by identifier whether it is known or not.
    pub async fn forgot_password(
        &self,
        input: ForgotPassword,
        ctx: &RequestContext,
    ) -> Result<ForgottenPassword, Error> {
        self.check_rate(Operation::ForgotPassword, ctx).await?;
        self.count_reset(&input.identifier).await?;
        let found = self.parts.store.users().by_identifier(&input.identifier).await?;
        let reachable = found.and_then(|user| Some((self.reset_destination(&user)?, user)));
        // Known or not, one transaction is committed: its time tells nothing.
        let mut change = self.parts.events.begin().await?;
        let user = reachable.as_ref().map(|(_, user)| user.id);
        if let Some((to, user)) = reachable {
            let rules = CodeRules::from(&self.settings.password.reset.code);
            let new = NewCode { purpose: Purpose::PasswordReset, challenge: None, session: None, to, rules };
            self.send_code(&mut change, &user, new).await?;
        }
        change.record(Event::PasswordResetRequested { user, by: Actor::Owner });
        self.parts.events.commit(change, ctx).await?;
        Ok(ForgottenPassword {
            destination: input.identifier.masked(),
            by_sms: matches!(input.identifier, Identifier::Phone(_)),
            expires_in: self.settings.password.reset.code.ttl,
        })
    }

    /// Sends a code at an operator's wish; answers where it went.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no message can reach the user.
    pub async fn send_admin_reset(&self, user: &User) -> Result<String, Error> {
        let to = self.reset_destination(user).ok_or(Error::NotFound)?;
        let masked = to.masked();
        let rules = CodeRules::from(&self.settings.password.admin_reset);
        let mut change = self.parts.events.begin().await?;
        let new = NewCode { purpose: Purpose::AdminReset, challenge: None, session: None, to, rules };
        self.send_code(&mut change, user, new).await?;
        change.record(Event::PasswordResetRequested { user: Some(user.id), by: Actor::Operator });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(masked)
    }

    /// Sets a password with a code that was sent for exactly this purpose.
    ///
    /// # Errors
    /// [`Error::ResetCodeInvalid`] for unknown users and wrong codes alike, then
    /// [`Error::AccountLocked`], [`Error::WeakPassword`] and [`Error::PasswordReused`], which leave
    /// the code usable.
    pub async fn reset_password(&self, input: ResetPassword, ctx: &RequestContext) -> Result<(), Error> {
        self.check_rate(Operation::ForgotPassword, ctx).await?;
        let (purpose, by) = if input.by_operator {
            (Purpose::AdminReset, Actor::Operator)
        } else {
            (Purpose::PasswordReset, Actor::Owner)
        };
        let found = self.parts.store.users().by_identifier(&input.identifier).await?;
        let attempt = self.begin_reset_attempt(ctx).await?;
        let whose = found.map(|user| user.id);
        let proven = self.prove_reset(whose, (purpose, by), &input.code, ctx);
        let (user, sent) = attempt.around(whose, ctx, proven).await?;
        self.refuse_locked(&user)?;
        let hash = self.new_password(&user, &input.password, ctx).await?;

        let mut change = self.parts.events.begin().await?;
        if !change.one_time_secrets().consume(sent.id, user.auth_epoch, self.now()).await? {
            return Err(Error::ResetCodeExpired);
        }
        let user = self.claim_by_reset(&mut change, user, &sent.destination).await?;
        let reason = EndReason::PasswordReset;
        if input.by_operator || self.settings.password.reset.revoke_sessions {
            self.replace_password(&mut change, &user, &hash, by, reason).await?;
        } else {
            self.store_password(&mut change, &user, &hash, by).await?;
            change.record(Event::PasswordChanged { user: user.id, by, sessions_revoked: 0 });
            self.tell_password_changed(&mut change, &user, None, 0);
        }
        change.record(Event::PasswordResetCompleted { user: user.id, by });
        self.parts.events.commit(change, ctx).await
    }

    /// Checks a reset code without using it up: what is wrong with the new password must not cost the code.
    /// Nobody's is looked for alike.
    async fn prove_reset(
        &self,
        whose: Option<UserId>,
        (purpose, by): (Purpose, Actor),
        code: &Secret<String>,
        ctx: &RequestContext,
    ) -> Result<Verdict<(User, OneTimeSecret)>, Error> {
        let mut change = self.parts.events.begin().await?;
        let id = whose.unwrap_or_else(UserId::random);
        let user = change.users().by_id(id).await?;
        let sent = change.one_time_secrets().unused_of(id, purpose).await?;
        let wrong = match (user, sent) {
            (Some(user), Some(sent)) => match self.try_code(&mut change, Some(&sent), &user, code).await? {
                Ok(()) => {
                    self.parts.events.commit(change, ctx).await?;
                    return Ok(Verdict::Right((user, sent)));
                }
                Err(wrong) => wrong,
            },
            _ => Wrong::Absent,
        };
        change.record(Event::PasswordResetFailed { user: whose, by });
        // It counts even where it cannot be noted.
        let unnoted = self.parts.events.commit(change, ctx).await.err();
        Ok(wrong.verdict(unnoted.unwrap_or_else(|| wrong.of_reset())))
    }

    /// A reset proves the address its code went to; what strangers set on an unfinished account goes.
    async fn claim_by_reset(&self, change: &mut Change, user: User, destination: &str) -> Result<User, Error> {
        let now = self.now();
        if user.completed_at.is_none() {
            change.users().strip_unfinished(user.id, now).await?;
            change.trusted_devices().delete_all(user.id).await?;
            change.factors().delete_all(user.id).await?;
            change.backup_codes().delete_all(user.id).await?;
        }
        match user.phone.as_ref().filter(|phone| phone.as_str() == destination) {
            Some(phone) => {
                let claims = self.claim_phone(change, &user, phone).await?;
                change.users().set_phone(user.id, phone, true, claims, now).await.map_err(phone_taken)?;
                if !user.phone_verified {
                    change.record(Event::PhoneVerified { user: user.id, phone: phone.clone() });
                }
            }
            None if user.email_verified || user.email.as_str() != destination => {}
            None => {
                if change.users().verify_email(user.id, &user.email, user.auth_epoch, now).await?.is_some() {
                    change.record(Event::EmailVerified { user: user.id, email: user.email.clone() });
                }
            }
        }
        let user = change.users().by_id(user.id).await?.ok_or(Error::ResetCodeInvalid)?;
        self.complete_if_proven(change, user, true).await
    }

    /// Where a reset code may go: to a proven address, or to one that nobody has to prove. An
    /// unfinished account has one too: whoever reads it there is its owner.
    fn reset_destination(&self, user: &User) -> Option<Destination> {
        let (reset, method) = (&self.settings.password.reset, self.settings.signup.verification_method);
        if self.refuse_locked(user).is_err() {
            return None;
        }
        let is_open = method == VerificationMethod::None || user.completed_at.is_none();
        let email = (reset.by_email && (user.email_verified || is_open)).then(|| user.email.clone());
        let phone = user.phone.clone().filter(|_| reset.by_sms && (user.phone_verified || is_open));
        let (email, phone) = (email.map(Destination::Email), phone.map(Destination::Phone));
        if method == VerificationMethod::Phone { phone.or(email) } else { email.or(phone) }
    }

    /// Checks a new password against the policy and the history, and hashes it.
    pub(super) async fn new_password(
        &self,
        user: &User,
        password: &Secret<String>,
        ctx: &RequestContext,
    ) -> Result<Secret<String>, Error> {
        let about = About {
            email: user.email.as_str(),
            username: user.username.as_ref().map(Username::as_str),
            first_name: user.first_name.as_deref(),
            last_name: user.last_name.as_deref(),
        };
        self.check_password(password, &about)?;
        let rules = &self.settings.password;
        if rules.history > 0 {
            let keep = i64::try_from(rules.history).unwrap_or(i64::MAX);
            let mut earlier: Vec<_> = user.password_hash.clone().into_iter().collect();
            earlier.extend(self.parts.store.password_history().of(user.id, keep).await?);
            if self.parts.hasher.load_full().verify_any(password.clone(), earlier, ctx.ip).await? {
                return Err(Error::PasswordReused);
            }
        }
        Ok(self.parts.hasher.load_full().hash(password.clone(), ctx.ip).await?)
    }

    /// Whether a password may be chosen by this user.
    pub(super) fn check_password(&self, password: &Secret<String>, about: &About<'_>) -> Result<(), Error> {
        self.settings.password.policy.check(password.expose(), about).map_err(Error::WeakPassword)
    }

    /// Sets a password within a change and ends everything that stood on the old one; answers how
    /// many sessions.
    pub(super) async fn replace_password(
        &self,
        change: &mut Change,
        user: &User,
        hash: &Secret<String>,
        by: Actor,
        reason: EndReason,
    ) -> Result<u64, Error> {
        self.store_password(change, user, hash, by).await?;
        let sessions_revoked = self.end_all(change, user.id, reason).await?;
        change.record(Event::PasswordChanged { user: user.id, by, sessions_revoked });
        let told = (reason != EndReason::PasswordReset).then_some(by);
        self.tell_password_changed(change, user, told, sessions_revoked);
        Ok(sessions_revoked)
    }

    /// Puts a password in the place of the old one. Devices that were trusted with that are strangers.
    async fn store_password(
        &self,
        change: &mut Change,
        user: &User,
        hash: &Secret<String>,
        by: Actor,
    ) -> Result<(), Error> {
        let now = self.now();
        let keep = i64::try_from(self.settings.password.history).unwrap_or(i64::MAX);
        if let Some(old) = &user.password_hash {
            change.password_history().push(user.id, old, keep, now).await?;
        }
        // Somebody else's change came first: what was checked is not what is there.
        if !change.users().set_password(user.id, user.auth_epoch, hash, now).await? {
            return Err(Error::SessionNotFound("the account has changed meanwhile; log in again"));
        }
        for purpose in [Purpose::PasswordReset, Purpose::AdminReset] {
            change.one_time_secrets().void(user.id, purpose, now).await?;
        }
        change.users().raise_device_epoch(user.id).await?;
        if user.must_change_password && by == Actor::Owner {
            change.record(Event::ForcedPasswordChanged { user: user.id });
        }
        Ok(())
    }

    /// Makes every access token of the user that is about be refreshed, within a change.
    pub(super) async fn outdate_claims(&self, change: &mut Change, user: &User, version: i64) -> Result<(), Error> {
        if let Some(latest_exp) = change.sessions().latest_exp_of(user.id).await? {
            change.revoke(Revocation::UserClaims(user.id, version), latest_exp);
        }
        Ok(())
    }
}
