//! What codes by mail and by text message have in common.
//!
//! The codes are those of [`code`](crate::auth::code), under purposes of their own. An address that was
//! proven before needs no code to become the first factor, nor to become one in a session; any other is proven on the
//! way. What a session asks
//! for is good in that session only.

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::code::{Destination, NewCode, Wrong};
use crate::auth::mfa::desk::{At, Desk, NewFactor};
use crate::auth::mfa::{FactorAnswer, ProofData, SetupAnswer, SetupData};
use crate::config::settings::Verification;
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::domain::mfa::mail_stands_in;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::{OneTimeSecret, Purpose};

/// A kind of code that is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) method: Method,
    /// Proves a factor.
    pub(super) proves: Purpose,
    /// Makes an address a factor.
    pub(super) enrols: Purpose,
}

impl Auth {
    /// The rules of codes that go there.
    pub(in crate::auth) fn factor_code_rules(&self, to: &Destination) -> &Verification {
        match to {
            Destination::Email(_) => &self.settings.mfa.email_codes,
            Destination::Phone(_) => &self.settings.mfa.sms_codes,
        }
    }

    /// Where the codes of a user's factor go.
    pub(in crate::auth) fn factor_destination(method: Method, user: &User) -> Option<Destination> {
        match method {
            Method::Email => Some(Destination::Email(user.email.clone())),
            Method::Sms => user.phone.clone().map(Destination::Phone),
            Method::Totp | Method::Passkey | Method::Backup => None,
        }
    }

    /// Notes that an address was proven on the way to becoming a factor.
    async fn mark_verified(&self, change: &mut Change, user: &User, to: &Destination) -> Result<(), Error> {
        let purpose = match to {
            Destination::Email(_) => Purpose::VerifyEmail,
            Destination::Phone(_) => Purpose::VerifyPhone,
        };
        let marked = self.mark_proven(change, user, to.as_str(), purpose).await?;
        if marked { Ok(()) } else { Err(Error::CodeInvalid) }
    }

    fn shown(&self, to: &Destination) -> String {
        if self.settings.security.mask_sensitive { to.masked() } else { to.as_str().to_owned() }
    }
}

impl Desk<'_> {
    /// Begins to make an address a factor: without a code where it was proven, by one where it was not.
    pub(super) async fn enrol(&mut self, sent: Sent, to: Destination, verified: bool) -> Result<SetupData, Error> {
        if self.needs_no_code(sent, &to, verified).await? {
            // On the way in a factor is stored with the answer, and not before.
            let At::Session(_) = self.at else { return Ok(SetupData::Done { factor: None }) };
            let mut factor = NewFactor::new(sent.method);
            factor.address = Some(to.as_str().to_owned());
            factor.is_proven = false;
            return Ok(SetupData::Done { factor: Some(self.put(factor).await?) });
        }
        let destination = self.auth.shown(&to);
        self.send(sent.enrols, to).await?;
        Ok(SetupData::CodeSent { method: sent.method, destination })
    }

    /// Checks the code of an address that is to become a factor.
    pub(super) async fn enrolled(
        &mut self,
        sent: Sent,
        to: Destination,
        verified: bool,
        answer: &SetupAnswer,
    ) -> Result<Result<NewFactor, Error>, Error> {
        let mut factor = NewFactor::new(sent.method);
        factor.name.clone_from(&answer.name);
        factor.address = Some(to.as_str().to_owned());
        let stored = self.unused(sent.enrols).await?.filter(|stored| stored.destination == to.as_str());
        if stored.is_none() && self.needs_no_code(sent, &to, verified).await? {
            factor.is_proven = false;
            return Ok(Ok(factor));
        }
        if let Err(wrong) = self.auth.use_code(self.change, stored.as_ref(), &self.user, &answer.code).await? {
            return Ok(Err(wrong.of_verification()));
        }
        self.auth.mark_verified(self.change, &self.user, &to).await?;
        Ok(Ok(factor))
    }

    /// Whether an address is a factor already, or may become one for having been proven before: the first one, or
    /// in a session that may add others.
    async fn needs_no_code(&mut self, sent: Sent, to: &Destination, verified: bool) -> Result<bool, Error> {
        let present = self.present().await?;
        let is_there = present.iter().any(|factor| factor.is_at(sent.method, to.as_str()));
        let may_be_one = matches!(self.at, At::Session(_)) || present.is_empty();
        Ok(is_there || (verified && may_be_one))
    }

    /// Sends the code that proves a factor. One that is on its way does; a session, which has no other way to
    /// ask for the next, gets that as soon as it may be sent.
    pub(super) async fn begin_sent(&mut self, sent: Sent) -> Result<ProofData, Error> {
        if self.factors(sent.method, None).await?.is_empty() && !self.stands_in(sent).await? {
            return Err(Error::NoFactor(sent.method));
        }
        let to = Auth::factor_destination(sent.method, &self.user).ok_or(Error::NoFactor(sent.method))?;
        let destination = self.auth.shown(&to);
        let does = self.has_live(sent.proves, &to).await?
            && match self.at {
                At::Challenge(_) => true,
                At::Session(_) => self.wait_for(sent.proves, &to).await?.is_some(),
            };
        if let At::Challenge(challenge) = self.at {
            self.change.challenges().set_method(challenge, sent.method).await?;
        }
        if !does {
            self.send(sent.proves, to).await?;
        }
        Ok(ProofData::CodeSent { destination })
    }

    /// Checks the code that proves a factor.
    pub(super) async fn prove_sent(
        &mut self,
        sent: Sent,
        answer: &FactorAnswer,
    ) -> Result<Result<Option<i64>, Error>, Error> {
        let factor = self.factors(sent.method, answer.factor).await?.into_iter().next();
        let address = match &factor {
            Some(factor) => factor.address.clone(),
            None if self.stands_in(sent).await? => Some(self.user.email.to_string()),
            None => None,
        };
        // A code that went to an address is a proof of the factor with that address.
        let stored = self.unused(sent.proves).await?;
        let stored = stored.filter(|stored| address.as_ref() == Some(&stored.destination));
        let used = self.auth.use_code(self.change, stored.as_ref(), &self.user, &answer.code).await?;
        Ok(used.map(|_| factor.map(|factor| factor.id)).map_err(Wrong::of_verification))
    }

    /// Whether such codes stand in for factors that are not there: for an unusual login, never to raise a session.
    async fn stands_in(&mut self, sent: Sent) -> Result<bool, Error> {
        let At::Challenge(_) = self.at else { return Ok(false) };
        let factors = self.present().await?;
        Ok(sent.method == Method::Email && mail_stands_in(&factors, &self.auth.settings.mfa.policy))
    }

    async fn unused(&mut self, purpose: Purpose) -> Result<Option<OneTimeSecret>, Error> {
        let mut secrets = self.change.one_time_secrets();
        Ok(match self.at {
            At::Challenge(challenge) => secrets.unused_for(challenge, purpose).await?,
            At::Session(session) => secrets.unused_in(session, self.user.id, purpose).await?,
        })
    }

    async fn has_live(&mut self, purpose: Purpose, to: &Destination) -> Result<bool, Error> {
        let stored = self.unused(purpose).await?;
        Ok(stored.is_some_and(|code| {
            let is_left = code.attempts < code.max_attempts && code.expires_at > self.auth.now();
            is_left && code.destination == to.as_str()
        }))
    }

    /// How long until another code may go there, if not now.
    async fn wait_for(&mut self, purpose: Purpose, to: &Destination) -> Result<Option<Duration>, Error> {
        let rules = self.auth.factor_code_rules(to);
        let next = self.auth.next_send_at(self.change, &self.user, (purpose, self.at.challenge()), to, rules).await?;
        Ok(next.map(|at| at.since(self.auth.now())))
    }

    /// Sends a code, within its limits.
    async fn send(&mut self, purpose: Purpose, to: Destination) -> Result<(), Error> {
        let rules = self.auth.factor_code_rules(&to);
        let (challenge, session) = (self.at.challenge(), self.at.session());
        self.auth.refuse_too_soon(self.change, &self.user, (purpose, challenge), &to, rules).await?;
        self.auth.count_code(&self.user, purpose, &to, rules).await?;
        let new = NewCode { purpose, challenge, session, to, rules: rules.into() };
        self.auth.send_code(self.change, &self.user, new).await
    }
}
