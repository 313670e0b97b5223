//! The user's own account: what they say of themselves, and the addresses they are reached at.
//!
//! A new address or number is pending until somebody has proven to read messages there; the old
//! one stays in force and is told.

use crate::auth::code::{Destination, NewCode, Wrong};
use crate::auth::guard::{Verdict, name_of};
use crate::auth::own::OwnChange;
use crate::auth::signup::{Counts, phone_taken};
use crate::auth::{Auth, Caller, Grant, ProfileUpdate};
use crate::config::settings::ContactChange;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, FieldError};
use crate::domain::event::Event;
use crate::domain::factor::Method;
use crate::domain::secret::Secret;
use crate::domain::template::Source;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::StoreError;
use crate::store::one_time_secrets::Purpose;

/// The sentences clients know.
const EMAIL_EXISTS: &str = "Email already exists";
const PHONE_EXISTS: &str = "Phone number already exists";
const USERNAME_EXISTS: &str = "Username already exists";

impl Auth {
    /// Changes what is given and leaves the rest; answers the account as it is then.
    ///
    /// # Errors
    /// [`Error::Conflicts`] names everything that is somebody else's already, [`Error::Forbidden`] a change of
    /// address or of the factor that is asked for first unless the user was just proven.
    pub async fn update_profile(
        &self,
        caller: &Caller,
        update: ProfileUpdate,
        ctx: &RequestContext,
    ) -> Result<User, Error> {
        let claims = update.email.is_some() || update.phone.is_some() || update.username.is_some();
        let mut own = if claims { self.lone_change_of(caller).await? } else { self.change_of(caller).await? };
        let user = own.user.clone();
        let email = update.email.clone().filter(|email| *email != user.email);
        let phone = update.phone.clone().filter(|phone| user.phone.as_ref() != Some(phone));
        let username = update.username.clone().filter(|name| user.username.as_ref() != Some(name));
        if email.is_some() || phone.is_some() || update.preferred_method.is_some() {
            self.require_authority(&mut own).await?;
        }
        let mut change = own.change;
        if let Some(phone) = &phone {
            self.check_phone(phone)?;
        }
        self.refuse_conflicts(&mut change, &user, email.as_ref(), phone.as_ref(), username.as_ref()).await?;
        let fields = self.write_profile(&mut change, &user, &update, username).await?;
        if let Some(email) = &email {
            self.change_email(&mut change, &user, email).await?;
        }
        if let Some(phone) = &phone {
            self.change_phone(&mut change, &user, phone).await?;
        }
        if let Some(method) = update.preferred_method {
            self.prefer_method(&mut change, &user, method).await?;
        }
        if fields.contains(&"username") {
            change.record(Event::UsernameChanged { user: user.id });
        }
        if !fields.is_empty() {
            change.record(Event::ProfileUpdated { user: user.id, fields });
        }
        let user = change.users().by_id(user.id).await?.ok_or(Error::NotFound)?;
        self.parts.events.commit(change, ctx).await?;
        Ok(user)
    }

    /// Puts a pending address or number in force with the code that was sent there.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`] also when nothing is pending; [`Error::EmailTaken`] and [`Error::PhoneTaken`] when
    /// somebody else was faster; [`Error::Forbidden`] without the second factor there is.
    pub async fn verify_contact(
        &self,
        caller: &Caller,
        code: &Secret<String>,
        ctx: &RequestContext,
    ) -> Result<User, Error> {
        let (whose, rules) = (name_of(&caller.user), &self.settings.signup.email_verification);
        let attempt = self.begin_code_attempt(&whose, rules, ctx).await?;
        attempt.around(Some(caller.user.id), ctx, self.check_contact(caller, code, ctx)).await
    }

    async fn check_contact(
        &self,
        caller: &Caller,
        code: &Secret<String>,
        ctx: &RequestContext,
    ) -> Result<Verdict<User>, Error> {
        let mut own = self.lone_change_of(caller).await?;
        // It may have been asked for before there was a factor, and by somebody else.
        self.require_sure(&mut own).await?;
        let OwnChange { mut change, user, .. } = own;
        let mut wrong = Wrong::Absent;
        for purpose in [Purpose::ChangeEmail, Purpose::ChangePhone] {
            let Some(sent) = change.one_time_secrets().unused_of(user.id, purpose).await? else { continue };
            match self.use_code(&mut change, Some(&sent), &user, code).await? {
                Ok(_) => {
                    self.put_in_force(&mut change, &user, &sent.destination, purpose).await?;
                    let user = change.users().by_id(user.id).await?.ok_or(Error::NotFound)?;
                    self.parts.events.commit(change, ctx).await?;
                    return Ok(Verdict::Right(user));
                }
                Err(problem) => {
                    let of_phone = purpose == Purpose::ChangePhone;
                    change.record(Event::VerificationFailed { user: user.id, of_phone });
                    // One that had no try left says nothing of one that was compared.
                    wrong = if problem.is_miss() && wrong != Wrong::Absent { wrong } else { problem };
                }
            }
        }
        // The tries count, even where they cannot be noted.
        let unnoted = self.parts.events.commit(change, ctx).await.err();
        Ok(wrong.verdict(unnoted.unwrap_or_else(|| wrong.of_verification())))
    }

    /// Sends the code of what is pending again; answers where it went.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when nothing is pending.
    pub async fn resend_contact(&self, caller: &Caller, ctx: &RequestContext) -> Result<String, Error> {
        let OwnChange { mut change, user, .. } = self.change_of(caller).await?;
        let email = user.pending_email.clone().map(Destination::Email);
        let Some(to) = email.or(user.pending_phone.clone().map(Destination::Phone)) else {
            return Err(Error::InvalidInput("Nothing waits to be verified".to_owned()));
        };
        let (purpose, rules) = self.contact_rules(&to);
        self.refuse_too_soon(&mut change, &user, (purpose, None), &to, rules).await?;
        let masked = to.masked();
        self.send_contact_code(&mut change, &user, to).await?;
        self.parts.events.commit(change, ctx).await?;
        Ok(masked)
    }

    /// Compares the caller's password once more; from then on the login counts as fresh.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] when it is another one.
    pub async fn reauthenticate(
        &self,
        caller: &Caller,
        password: Secret<String>,
        ctx: &RequestContext,
    ) -> Result<Grant, Error> {
        self.confirm_password(&caller.user, password, ctx).await?;
        let own = self.change_of(caller).await?;
        self.renew(own, &["pwd"], ctx).await
    }

    async fn refuse_conflicts(
        &self,
        change: &mut Change,
        user: &User,
        email: Option<&Email>,
        phone: Option<&Phone>,
        username: Option<&Username>,
    ) -> Result<(), Error> {
        let mut conflicts = Vec::new();
        // An unfinished account holds no claim to anything.
        let is_anothers = |holder: &User| holder.id != user.id && holder.completed_at.is_some();
        if let Some(email) = email
            && !self.settings.security.hide_existing_accounts
            && change.users().by_email(email).await?.as_ref().is_some_and(is_anothers)
        {
            conflicts.push(EMAIL_EXISTS);
        }
        if let Some(phone) = phone
            && !self.settings.signup.allow_duplicate_phones
            && change.users().by_phone(phone).await?.as_ref().is_some_and(|holder| {
                let is_to_be_proven = self.settings.security.contact_change == ContactChange::Pending;
                is_anothers(holder) && (holder.phone_verified || !is_to_be_proven)
            })
        {
            conflicts.push(PHONE_EXISTS);
        }
        if let Some(username) = username
            && change.users().by_username(username).await?.as_ref().is_some_and(is_anothers)
        {
            conflicts.push(USERNAME_EXISTS);
        }
        if conflicts.is_empty() { Ok(()) } else { Err(Error::Conflicts(conflicts)) }
    }

    /// Writes what nothing is decided by; answers which fields changed.
    async fn write_profile(
        &self,
        change: &mut Change,
        user: &User,
        update: &ProfileUpdate,
        username: Option<Username>,
    ) -> Result<Vec<&'static str>, Error> {
        let now = self.now();
        let mut new = user.clone();
        let mut fields = Vec::new();
        let mut set = |name: &'static str, old: &mut Option<String>, given: &Option<String>| {
            if given.is_some() && *given != *old {
                old.clone_from(given);
                fields.push(name);
            }
        };
        set("firstName", &mut new.first_name, &update.first_name);
        set("lastName", &mut new.last_name, &update.last_name);
        set("timezone", &mut new.timezone, &update.timezone);
        set("locale", &mut new.locale, &update.locale);
        if let Some(username) = username {
            self.check_rename(user)?;
            change.users().release_username(&username, now).await?;
            new.username = Some(username);
            fields.push("username");
        }
        if let Some(given) = &update.metadata {
            new.metadata = self.merge_metadata(&user.metadata, given)?;
            fields.push("metadata");
        }
        if fields.is_empty() {
            return Ok(fields);
        }
        change.users().set_profile(&new, now).await.map_err(|error| match error {
            StoreError::Taken(_) => Error::Conflicts(vec![USERNAME_EXISTS]),
            other => other.into(),
        })?;
        if fields.iter().any(|field| self.is_told(field)) {
            let version = change.users().raise_claims_version(user.id, now).await?.ok_or(Error::NotFound)?;
            self.outdate_claims(change, user, version).await?;
        }
        Ok(fields)
    }

    /// Whether tokens hold what this field of the profile says.
    fn is_told(&self, field: &str) -> bool {
        let asked = match field {
            "username" => return true,
            "firstName" => Source::FirstName,
            "lastName" => Source::LastName,
            _ => return false,
        };
        self.settings.jwt.tells(|source| *source == asked)
    }

    /// Where upstreams know users by their names, a name is nobody else's ever.
    fn check_rename(&self, user: &User) -> Result<(), Error> {
        if user.username.is_some() && self.settings.tells_usernames() {
            let message = "username cannot be changed here";
            return Err(Error::Validation(vec![FieldError::new("username", message)]));
        }
        Ok(())
    }

    /// What is given replaces what is there, key by key; `null` takes a key away.
    fn merge_metadata(
        &self,
        present: &str,
        given: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<String, Error> {
        self.check_metadata(Some(given))?;
        let mut merged: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(present).map_err(|error| Error::Internal(Box::new(error)))?;
        for (key, value) in given {
            if value.is_null() {
                merged.remove(key);
            } else {
                merged.insert(key.clone(), value.clone());
            }
        }
        let text = serde_json::to_string(&merged).map_err(|error| Error::Internal(Box::new(error)))?;
        if text.len() > self.settings.signup.metadata_max {
            let message = format!("metadata must be at most {} bytes", self.settings.signup.metadata_max);
            return Err(Error::Validation(vec![FieldError::new("metadata", message)]));
        }
        Ok(text)
    }

    async fn change_email(&self, change: &mut Change, user: &User, email: &Email) -> Result<(), Error> {
        let now = self.now();
        if self.settings.security.contact_change == ContactChange::Immediate {
            return self.replace_email(change, user, email, false).await;
        }
        change.users().set_pending_email(user.id, Some(email), now).await?;
        change.record(Event::ContactChangeRequested { user: user.id, what: "email" });
        self.tell_email_change(change, user, email);
        self.send_contact_code(change, user, Destination::Email(email.clone())).await
    }

    async fn change_phone(&self, change: &mut Change, user: &User, phone: &Phone) -> Result<(), Error> {
        if self.settings.security.contact_change == ContactChange::Immediate {
            return self.replace_phone(change, user, phone, false).await;
        }
        change.users().set_pending_phone(user.id, Some(phone), self.now()).await?;
        change.record(Event::ContactChangeRequested { user: user.id, what: "phone" });
        self.send_contact_code(change, user, Destination::Phone(phone.clone())).await
    }

    async fn put_in_force(
        &self,
        change: &mut Change,
        user: &User,
        destination: &str,
        purpose: Purpose,
    ) -> Result<(), Error> {
        if purpose == Purpose::ChangePhone {
            let phone = destination.parse().map_err(|_| Error::CodeInvalid)?;
            return self.replace_phone(change, user, &phone, true).await;
        }
        let email = destination.parse().map_err(|_| Error::CodeInvalid)?;
        self.replace_email(change, user, &email, true).await
    }

    async fn replace_email(
        &self,
        change: &mut Change,
        user: &User,
        email: &Email,
        verified: bool,
    ) -> Result<(), Error> {
        if let Some(holder) = change.users().by_email(email).await?.filter(|holder| holder.id != user.id) {
            if !change.users().delete_unfinished(holder.id).await? {
                return Err(Error::EmailTaken);
            }
            change.record(Event::SignupReplaced { user: holder.id });
        }
        let set = change.users().set_email(user.id, email, verified, self.now()).await;
        let version = set.map_err(|error| match error {
            StoreError::Taken(_) => Error::EmailTaken,
            other => other.into(),
        })?;
        self.forget_factors_of(change, user, Method::Email).await?;
        self.outdate_claims(change, user, version.ok_or(Error::NotFound)?).await?;
        change.record(Event::EmailChanged { user: user.id, old: user.email.clone(), new: email.clone() });
        if verified {
            change.record(Event::EmailVerified { user: user.id, email: email.clone() });
        } else if user.email_verified {
            change.record(Event::ContactUnverified { user: user.id, is_phone: false });
        }
        self.tell_email_changed(change, user, email);
        Ok(())
    }

    async fn replace_phone(
        &self,
        change: &mut Change,
        user: &User,
        phone: &Phone,
        verified: bool,
    ) -> Result<(), Error> {
        let claims = if verified {
            self.claim_phone(change, user, phone).await?
        } else {
            self.make_room_for_phone(change, phone, Counts::Given).await?
        };
        let set = change.users().set_phone(user.id, phone, verified, claims, self.now()).await;
        let version = set.map_err(phone_taken)?;
        self.forget_factors_of(change, user, Method::Sms).await?;
        self.outdate_claims(change, user, version.ok_or(Error::NotFound)?).await?;
        change.record(Event::PhoneChanged { user: user.id });
        if verified {
            change.record(Event::PhoneVerified { user: user.id, phone: phone.clone() });
        } else if user.phone_verified {
            change.record(Event::ContactUnverified { user: user.id, is_phone: true });
        }
        self.tell_phone_changed(change, user);
        Ok(())
    }

    async fn send_contact_code(&self, change: &mut Change, user: &User, to: Destination) -> Result<(), Error> {
        let (purpose, rules) = self.contact_rules(&to);
        self.count_code(user, purpose, &to, rules).await?;
        let holder = match &to {
            Destination::Email(email) => change.users().by_email(email).await?,
            Destination::Phone(_) => None,
        };
        let new = NewCode { purpose, challenge: None, session: None, to, rules: rules.into() };
        match holder.filter(|holder| holder.completed_at.is_some()) {
            // Only while that must not be told; whoever owns the address learns that somebody wanted it.
            Some(owner) => {
                self.announce_signup(change, &owner);
                self.pretend_code(change, user, new).await
            }
            None => self.send_code(change, user, new).await,
        }
    }

    fn contact_rules(&self, to: &Destination) -> (Purpose, &crate::config::settings::Verification) {
        match to {
            Destination::Email(_) => (Purpose::ChangeEmail, &self.settings.signup.email_verification),
            Destination::Phone(_) => (Purpose::ChangePhone, &self.settings.signup.phone_verification),
        }
    }
}
