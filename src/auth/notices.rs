//! What users are told: every message that leaves is put together here.

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::code::{Destination, NewCode};
use crate::auth::entry::truncated_agent;
use crate::domain::client_hints;
use crate::domain::clock::Time;
use crate::domain::contact::{Email, Username};
use crate::domain::context::RequestContext;
use crate::domain::event::{Actor, Event};
use crate::domain::factor::Factor;
use crate::domain::location::Location;
use crate::domain::risk::Assessment;
use crate::domain::secret::Secret;
use crate::domain::session::{Device, Session};
use crate::domain::user::User;
use crate::events::Change;
use crate::mail::{About, Code, Content, Message, Recipient};
use crate::store::one_time_secrets::Purpose;

/// How long news is worth reading.
const NEWS_TTL: Duration = Duration::from_hours(3 * 24);

impl Auth {
    /// Sends a code and says so.
    pub(super) fn announce_code(
        &self,
        change: &mut Change,
        user: &User,
        new: &NewCode<'_>,
        code: Secret<String>,
        link: Option<Secret<String>>,
    ) {
        match (&new.to, new.purpose) {
            (Destination::Email(email), Purpose::VerifyEmail | Purpose::ChangeEmail) => {
                change.record(Event::EmailVerificationRequested { user: user.id, email: email.clone() });
            }
            (Destination::Phone(phone), Purpose::VerifyPhone | Purpose::ChangePhone) => {
                change.record(Event::PhoneVerificationRequested { user: user.id, phone: phone.clone() });
            }
            _ => {}
        }
        let code = Code { code, link, ttl: new.rules.ttl };
        let content = match new.purpose {
            Purpose::MfaEmail | Purpose::MfaSms | Purpose::EnrolEmail | Purpose::EnrolSms => Content::MfaCode(code),
            Purpose::PasswordReset => Content::PasswordReset(code),
            Purpose::AdminReset => Content::AdminPasswordReset(code),
            Purpose::VerifyEmail | Purpose::VerifyPhone | Purpose::ChangeEmail | Purpose::ChangePhone => {
                Content::Verification(code)
            }
            Purpose::Decoy => return,
        };
        let to = match &new.to {
            Destination::Email(email) => Recipient::Email(email.clone()),
            Destination::Phone(phone) => Recipient::Phone(phone.clone()),
        };
        let about = about(user, &to);
        change.send(Message { to, about, content }, self.now() + new.rules.ttl);
    }

    /// Tells the owner of an account that somebody signed up with its address.
    pub(super) fn announce_signup(&self, change: &mut Change, owner: &User) {
        self.tell(change, owner, Content::AccountExists);
    }

    /// Greets whoever has completed an account.
    pub(super) fn welcome(&self, change: &mut Change, user: &User) {
        self.tell(change, user, Content::Welcome);
    }

    /// Tells the user that the password is another one.
    pub(super) fn tell_password_changed(&self, change: &mut Change, user: &User, by: Option<Actor>, sessions: u64) {
        self.tell(change, user, Content::PasswordChanged { by, sessions_revoked: sessions, at: self.now() });
    }

    /// Tells the user that every session has ended.
    pub(super) fn tell_sessions_revoked(&self, change: &mut Change, user: &User, count: u64, reason: &str) {
        self.tell(change, user, Content::SessionsRevoked { count, reason: reason.to_owned(), at: self.now() });
    }

    /// Tells the user that the account is disabled.
    pub(super) fn tell_disabled(&self, change: &mut Change, user: &User, reason: &str) {
        self.tell(change, user, Content::AccountDisabled { reason: reason.to_owned(), at: self.now() });
    }

    /// Tells the user that the account is enabled again.
    pub(super) fn tell_enabled(&self, change: &mut Change, user: &User) {
        self.tell(change, user, Content::AccountEnabled { at: self.now() });
    }

    /// Tells the user that there is another second factor.
    pub(super) fn tell_factor_added(&self, change: &mut Change, user: &User, factor: &Factor, is_first: bool) {
        let (method, at) = (factor.name.clone(), self.now());
        let content =
            if is_first { Content::MfaEnabled { method, at } } else { Content::MfaMethodAdded { method, at } };
        self.tell(change, user, content);
    }

    /// Tells the user that a second factor is gone.
    pub(super) fn tell_factor_removed(&self, change: &mut Change, user: &User, factor: &Factor, remaining: u64) {
        let device = factor.name.clone();
        self.tell(change, user, Content::MfaDeviceRemoved { device, remaining, at: self.now() });
    }

    /// Tells the user of a login from a device not seen before.
    pub(super) fn tell_new_device(&self, change: &mut Change, user: &User, session: &Session, ctx: &RequestContext) {
        let device = words_for(&session.device);
        self.tell(change, user, Content::NewDevice { device, ip: ctx.ip.to_string(), at: self.now() });
    }

    /// Tells the user of an unusual login.
    pub(super) fn tell_risk(&self, change: &mut Change, user: &User, risk: &Assessment, ctx: &RequestContext) {
        let factors = risk.signs.iter().map(|sign| sign.as_str().replace('_', " ")).collect();
        let level = risk.level.as_str().to_owned();
        let device = words_for(&client_hints::device(truncated_agent(ctx)));
        let Location { city, country, .. } = self.locate(ctx.ip);
        let place: Vec<String> = [city, country].into_iter().flatten().collect();
        let place = (!place.is_empty()).then(|| place.join(", "));
        let (ip, at) = (ctx.ip.to_string(), self.now());
        self.tell(change, user, Content::RiskAlert { level, factors, device, ip, place, at });
    }

    /// Tells the present address that another one is to take its place.
    pub(super) fn tell_email_change(&self, change: &mut Change, user: &User, new: &Email) {
        self.tell(change, user, Content::EmailChangedOld { new: new.masked(), pending: true, at: self.now() });
    }

    /// Tells both addresses that one has taken the place of the other.
    pub(super) fn tell_email_changed(&self, change: &mut Change, user: &User, new: &Email) {
        let at = self.now();
        self.tell(change, user, Content::EmailChangedOld { new: new.masked(), pending: false, at });
        let moved = User { email: new.clone(), email_verified: true, ..user.clone() };
        self.tell(change, &moved, Content::EmailChangedNew { old: user.email.masked(), at });
    }

    /// Tells the user that another number is in force.
    pub(super) fn tell_phone_changed(&self, change: &mut Change, user: &User) {
        self.tell(change, user, Content::PhoneChanged { at: self.now() });
    }

    /// Mails news to a user, if the address is theirs as far as anybody here asks for proof.
    fn tell(&self, change: &mut Change, user: &User, content: Content) {
        if user.email_verified || !self.settings.signup.verification_method.asks_email() {
            let to = Recipient::Email(user.email.clone());
            let about = about(user, &to);
            change.send(Message { to, about, content }, self.news_expire_at());
        }
    }

    fn news_expire_at(&self) -> Time {
        self.now() + NEWS_TTL
    }
}

/// A user as messages speak of them. Whoever reads at an address that is not proven may be somebody
/// else: they are not greeted with words a stranger chose.
fn about(user: &User, to: &Recipient) -> About {
    let is_theirs = match to {
        Recipient::Email(email) => user.email_verified && *email == user.email,
        Recipient::Phone(phone) => user.phone_verified && user.phone.as_ref() == Some(phone),
    };
    let name = user.first_name.clone().or(user.username.as_ref().map(Username::to_string));
    let address = match to {
        Recipient::Email(email) => email.to_string(),
        Recipient::Phone(_) => String::new(),
    };
    About {
        name: name.filter(|_| is_theirs).unwrap_or(address),
        email: user.email.to_string(),
        locale: user.locale.clone(),
        timezone: user.timezone.clone(),
    }
}

/// A device in words: what it is called, its browser, its platform, as far as they are known.
fn words_for(device: &Device) -> String {
    let name = device.name.as_deref();
    // A name made of the others says them already.
    let others = [device.browser.as_deref(), device.platform.as_deref()].into_iter().flatten();
    let others = others.filter(|part| name.is_none_or(|name| !name.contains(part)));
    let known: Vec<&str> = name.into_iter().chain(others).collect();
    if known.is_empty() { "an unknown device".to_owned() } else { known.join(", ") }
}
