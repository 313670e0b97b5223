//! Signup: a new account, and what becomes of an unfinished one with the same address.

use crate::auth::code::{Destination, NewCode};
use crate::auth::entry::Proof;
use crate::auth::{Auth, Challenged, Operation, Outcome, Signup};
use crate::config::settings::{MetadataKeys, UsernameRule, VerificationMethod};
use crate::domain::challenge::{Challenge, Step};
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::context::RequestContext;
use crate::domain::disposable;
use crate::domain::error::{Error, FieldError};
use crate::domain::event::{Actor, Event};
use crate::domain::hex::hex;
use crate::domain::id::UserId;
use crate::domain::mfa::Entry;
use crate::domain::password_policy::About;
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;
use crate::metrics::AuthEvent;
use crate::store::StoreError;
use crate::store::one_time_secrets::Purpose;
use crate::webhooks::hooks::Changes;

const INVITATION_INVALID: Error = Error::SignupNotAllowed("This invitation is not valid");

/// From when on a number stands in the way of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Since it was given.
    Given,
    /// Since somebody has proven to read messages there.
    Proven,
}

/// Whether nobody else may have the number of this account.
fn holds(holder: &User, counts: Counts) -> bool {
    holder.completed_at.is_some() && (holder.phone_verified || counts == Counts::Given)
}

/// Somebody was faster, on another node.
pub(super) fn phone_taken(error: StoreError) -> Error {
    match error {
        StoreError::Taken(_) => Error::PhoneTaken,
        other => other.into(),
    }
}

impl Auth {
    /// Makes an account and lets its owner in as far as they have come.
    ///
    /// An account that never completed its verification holds no claim to its address: this
    /// signup replaces it, with everything that hung on it.
    ///
    /// # Errors
    /// [`Error::SignupDisabled`], [`Error::SignupNotAllowed`], [`Error::EmailTaken`],
    /// [`Error::UsernameTaken`], [`Error::PhoneTaken`], [`Error::WeakPassword`],
    /// [`Error::SignupDenied`], [`Error::PhoneRequired`], and the limits of the message that goes out.
    pub async fn signup(&self, input: Signup, ctx: &RequestContext) -> Result<Outcome, Error> {
        let outcome = self.sign_up(input, ctx).await;
        if let Err(error) = &outcome {
            self.parts.metrics.refused(AuthEvent::Signup, error);
        }
        outcome
    }

    async fn sign_up(&self, input: Signup, ctx: &RequestContext) -> Result<Outcome, Error> {
        self.check_rate(Operation::Signup, ctx).await?;
        if !self.settings.signup.enabled {
            return Err(Error::SignupDisabled);
        }
        self.check_domain(&input.email)?;
        let username = self.check_username(input.username.clone())?;
        let metadata = self.check_metadata(input.metadata.as_ref())?;
        if let Some(phone) = &input.phone {
            self.check_phone(phone)?;
        }
        self.refuse_uninvited(&input).await?;
        self.refuse_taken(&input, username.as_ref()).await?;
        let about = About {
            email: input.email.as_str(),
            username: username.as_ref().map(Username::as_str),
            first_name: input.first_name.as_deref(),
            last_name: input.last_name.as_deref(),
        };
        self.check_password(&input.password, &about)?;
        let changes = self.ask_before_signup(&input, ctx).await?;
        let method = self.settings.signup.verification_method;
        if method.asks_phone() && input.phone.is_none() {
            return Err(Error::PhoneRequired { verification_method: method.as_str() });
        }
        let hash = self.parts.hasher.load_full().hash(input.password.clone(), ctx.ip).await?;

        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        self.redeem_invitation(&mut change, &input).await?;
        if let Some(owner) = self.make_room_for(&mut change, &input).await? {
            return self.hide_account(change, &owner, ctx).await;
        }
        if let Some(username) = &username {
            self.claim_username(&mut change, username).await?;
        }
        let claims_phone = match &input.phone {
            Some(phone) => self.make_room_for_phone(&mut change, phone, self.phone_counts()).await?,
            None => false,
        };
        let user = changed_by(changes, self.new_user(&input, username, metadata, hash));
        // Somebody else may have been faster, on another node.
        change.users().insert(&user, claims_phone, "signup").await.map_err(|error| match error {
            StoreError::Taken(_) => Error::EmailTaken,
            other => other.into(),
        })?;
        change.record(Event::AccountCreated { user: user.id, by: Actor::Owner });
        if user.completed_at.is_some() {
            change.record(Event::AccountCompleted { user: user.id });
            self.welcome(&mut change, &user);
        }
        let proof = Proof { entry: Entry::Signup, ..Proof::password() };
        self.admit(change, user, proof, input.client, ctx).await
    }

    /// Refuses what complete accounts hold, before anything is hashed or anybody asked. It is looked
    /// at once more when the account is made.
    async fn refuse_taken(&self, input: &Signup, username: Option<&Username>) -> Result<(), Error> {
        let mut users = self.parts.store.users();
        let is_complete = |holder: Option<User>| holder.is_some_and(|holder| holder.completed_at.is_some());
        if !self.hides_accounts() && is_complete(users.by_email(&input.email).await?) {
            return Err(Error::EmailTaken);
        }
        if let Some(username) = username
            && is_complete(users.by_username(username).await?)
        {
            return Err(Error::UsernameTaken);
        }
        if let Some(phone) = &input.phone
            && !self.settings.signup.allow_duplicate_phones
            && users.by_phone(phone).await?.is_some_and(|holder| holds(&holder, self.phone_counts()))
        {
            return Err(Error::PhoneTaken);
        }
        Ok(())
    }

    /// Whether nobody is told which addresses have accounts. Without a mail to tell its owner, that
    /// cannot be kept.
    fn hides_accounts(&self) -> bool {
        self.settings.security.hide_existing_accounts && self.settings.signup.verification_method.asks_email()
    }

    /// Removes an unfinished account with this address. Answers the owner of a complete one where
    /// that there is one must not be told.
    async fn make_room_for(&self, change: &mut Change, input: &Signup) -> Result<Option<User>, Error> {
        let Some(holder) = change.users().by_email(&input.email).await? else { return Ok(None) };
        // It may have been finished a moment ago. Its challenges, codes and sessions go with it.
        if holder.completed_at.is_none() && change.users().delete_unfinished(holder.id).await? {
            change.record(Event::SignupReplaced { user: holder.id });
            return Ok(None);
        }
        if self.hides_accounts() { Ok(Some(holder)) } else { Err(Error::EmailTaken) }
    }

    /// Answers as if the signup had gone well, with a challenge that nothing solves, and tells the owner.
    async fn hide_account(&self, mut change: Change, owner: &User, ctx: &RequestContext) -> Result<Outcome, Error> {
        let step = Step::VerifyEmail { email: owner.email.clone() };
        let binding = self.client_binding(ctx);
        let mut challenge = self.new_challenge(owner, &step, &Proof::password(), binding, self.now());
        challenge.decoy = true;
        change.challenges().insert(&challenge).await?;
        self.send_decoy(&mut change, owner, &challenge).await?;
        self.parts.events.commit(change, ctx).await?;
        // A new account would have an id nobody has seen.
        let user = UserId::random();
        Ok(Outcome::Challenged(Box::new(Challenged { user, challenge, step, sms_error: None })))
    }

    /// Tells the owner, where the challenge of a new account would send its code, and keeps what is no code:
    /// limits, delays and tries are those of a new account.
    pub(super) async fn send_decoy(
        &self,
        change: &mut Change,
        owner: &User,
        challenge: &Challenge,
    ) -> Result<(), Error> {
        let (to, rules) = (Destination::Email(owner.email.clone()), &self.settings.signup.email_verification);
        self.count_message(&to, rules).await?;
        self.announce_signup(change, owner);
        let new =
            NewCode { purpose: Purpose::Decoy, challenge: Some(challenge.id), session: None, to, rules: rules.into() };
        self.pretend_code(change, owner, new).await
    }

    async fn claim_username(&self, change: &mut Change, username: &Username) -> Result<(), Error> {
        let Some(holder) = change.users().by_username(username).await? else { return Ok(()) };
        if holder.completed_at.is_some() {
            return Err(Error::UsernameTaken);
        }
        change.users().release_username(username, self.now()).await?;
        Ok(())
    }

    /// Takes a number away from unfinished accounts, where it may have one holder only. Answers whether nobody
    /// has a claim to it then.
    ///
    /// # Errors
    /// [`Error::PhoneTaken`] when another account has proven it; also when one has given it, where that counts.
    pub(super) async fn make_room_for_phone(
        &self,
        change: &mut Change,
        phone: &Phone,
        counts: Counts,
    ) -> Result<bool, Error> {
        if self.settings.signup.allow_duplicate_phones {
            return Ok(false);
        }
        let Some(holder) = change.users().by_phone(phone).await? else { return Ok(true) };
        if holds(&holder, counts) {
            return Err(Error::PhoneTaken);
        }
        if holder.completed_at.is_none() {
            change.users().release_phone(phone, self.now()).await?;
        }
        Ok(holder.completed_at.is_none())
    }

    /// Takes a number that `user` has just proven away from whoever has not. Answers whether it becomes theirs
    /// alone.
    ///
    /// # Errors
    /// [`Error::PhoneTaken`] when another account has proven it before.
    pub(super) async fn claim_phone(&self, change: &mut Change, user: &User, phone: &Phone) -> Result<bool, Error> {
        if self.settings.signup.allow_duplicate_phones {
            return Ok(false);
        }
        let holder = change.users().by_phone(phone).await?.filter(|holder| holder.id != user.id);
        if holder.is_some_and(|holder| holds(&holder, Counts::Proven)) {
            return Err(Error::PhoneTaken);
        }
        change.users().yield_phone(phone, user.id, self.now()).await?;
        Ok(true)
    }

    /// From when on the number of a signup counts: where it has to be proven, not before.
    fn phone_counts(&self) -> Counts {
        if self.settings.signup.verification_method.asks_phone() { Counts::Proven } else { Counts::Given }
    }

    /// Refuses whoever has no invitation, before anything else is told. It is used up with the signup.
    async fn refuse_uninvited(&self, input: &Signup) -> Result<(), Error> {
        let Some(hash) = self.invitation_of(input)? else { return Ok(()) };
        let is_open = self.parts.store.invitations().is_open(&hash, &input.email, self.now()).await?;
        if is_open { Ok(()) } else { Err(INVITATION_INVALID) }
    }

    async fn redeem_invitation(&self, change: &mut Change, input: &Signup) -> Result<(), Error> {
        let Some(hash) = self.invitation_of(input)? else { return Ok(()) };
        let is_used = change.invitations().consume(&hash, &input.email, self.now()).await?;
        if is_used { Ok(()) } else { Err(INVITATION_INVALID) }
    }

    /// The stored form of the invitation somebody signs up with; `None` where none is needed.
    fn invitation_of(&self, input: &Signup) -> Result<Option<String>, Error> {
        if !self.settings.signup.invite_only {
            return Ok(None);
        }
        let code = input.invite_code.as_ref().ok_or(Error::SignupNotAllowed("Signing up takes an invitation"))?;
        Ok(Some(hash_of_invitation(code)))
    }

    fn new_user(&self, input: &Signup, username: Option<Username>, metadata: String, hash: Secret<String>) -> User {
        let now = self.now();
        let has_nothing_to_prove = self.settings.signup.verification_method == VerificationMethod::None;
        User {
            username,
            phone: input.phone.clone(),
            first_name: input.first_name.clone(),
            last_name: input.last_name.clone(),
            password_hash: Some(hash),
            password_changed_at: Some(now),
            completed_at: has_nothing_to_prove.then_some(now),
            timezone: input.timezone.clone(),
            locale: input.locale.clone(),
            metadata,
            ..User::new(input.email.clone(), self.settings.signup.default_roles.clone(), now)
        }
    }

    /// Whether this address may sign up.
    fn check_domain(&self, email: &Email) -> Result<(), Error> {
        let rules = &self.settings.signup;
        if rules.allow_emails.contains(email) {
            return Ok(());
        }
        let domain = email.as_str().rsplit_once('@').map_or("", |(_, domain)| domain);
        let is_in =
            |list: &[String]| list.iter().any(|known| domain == known || domain.ends_with(&format!(".{known}")));
        let is_allowed = (rules.allow_email_domains.is_empty() && rules.allow_emails.is_empty())
            || rules.allow_email_domains.iter().any(|known| known == domain);
        let is_disposable = rules.deny_disposable && disposable::is_disposable(domain);
        if !is_allowed || is_in(&rules.deny_email_domains) || is_disposable {
            return Err(Error::SignupNotAllowed("This e-mail address cannot be used to sign up"));
        }
        Ok(())
    }

    /// Whether this number may be used.
    pub(super) fn check_phone(&self, phone: &Phone) -> Result<(), Error> {
        let allowed = &self.settings.signup.allow_countries;
        if allowed.is_empty() || phone.country().is_some_and(|country| allowed.contains(&country)) {
            return Ok(());
        }
        Err(Error::PhoneInvalid("Phone numbers of this country cannot be used"))
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

    pub(super) fn check_metadata(
        &self,
        metadata: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Result<String, Error> {
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

/// A new account as a hook wants it.
fn changed_by(changes: Changes, mut user: User) -> User {
    if let Some(mut roles) = changes.roles {
        roles.sort();
        roles.dedup();
        user.roles = roles;
    }
    if let Some(metadata) = changes.metadata_admin {
        user.metadata_admin = serde_json::Value::Object(metadata).to_string();
    }
    user
}

/// How an invitation is stored. It is random enough to need no key.
pub(super) fn hash_of_invitation(code: &Secret<String>) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, code.expose().as_bytes()).as_ref())
}
