//! Limits, named by what they guard. The use cases ask here first and never touch a counter.
//!
//! Requests are counted by what they ask for, messages by where they go, attempts by what they try
//! (`guard/attempt.rs`), failed logins by account and address (`guard/lockout.rs`).

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::code::Destination;
use crate::auth::guard::attempt::Held;
use crate::auth::guard::lockout::guessed_at;
use crate::config::settings::{OnError, Verification, Window};
use crate::domain::contact::Identifier;
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::factor::Method;
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::domain::user::User;
use crate::metrics::{RateKey, RateScope, Uncounted};
use crate::store::one_time_secrets::Purpose;
use crate::transient::{Hit, Penalty, Tally, TransientError};

mod attempt;
mod key;
mod lockout;

pub(super) use attempt::{Attempt, Verdict};
pub(super) use key::{key, name_of};

/// Wrong codes of one kind on the whole site in a minute that are no accident any more.
const SITE_WRONG_CODES: u32 = 600;
/// What wrong codes that prove addresses and reset passwords count in, whoever sends them.
const WRONG_CODES: &str = "code/site";
/// What wrong second factors count in, so that strangers who guess codes stop nobody on the way in.
const WRONG_FACTORS: &str = "factor/site";
/// How long a code or a second factor waits for others of the same user or the same address.
const CODE_PATIENCE: Duration = Duration::from_secs(2);

/// What is limited by client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Logging in.
    Login,
    /// Signing up.
    Signup,
    /// Asking for a reset and confirming it.
    ForgotPassword,
    /// Answering a challenge.
    Challenge,
    /// Anything else.
    Other,
}

impl Auth {
    /// Counts a request of this kind from this client.
    pub fn check_rate(&self, operation: Operation, ctx: &RequestContext) -> impl Future<Output = Result<(), Error>> {
        let rates = &self.settings.rate_limit;
        let (scope, window, limit) = match operation {
            Operation::Login => (RateScope::Login, rates.login, Limit::Login),
            Operation::Signup => (RateScope::Signup, rates.signup, Limit::Requests),
            Operation::ForgotPassword => (RateScope::ForgotPassword, rates.forgot_password, Limit::PasswordReset),
            Operation::Challenge => (RateScope::Challenge, rates.challenge, Limit::Requests),
            Operation::Other => (RateScope::Default, rates.default, Limit::Requests),
        };
        let key = key("rate", &[scope.as_str(), &self.client_key(ctx)]);
        async move { self.hit(&key, window, (scope, RateKey::Ip), |_, _| limit).await }
    }

    /// Counts a request that takes a route, by its user or its client.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when there were too many.
    pub async fn check_route_rate(
        &self,
        route: &str,
        window: Window,
        user: Option<UserId>,
        ctx: &RequestContext,
    ) -> Result<(), Error> {
        let whose = user.map_or_else(|| self.client_key(ctx), |user| format!("user/{user}"));
        let by = if user.is_some() { RateKey::User } else { RateKey::Ip };
        self.hit(&key("route", &[route, &whose]), window, (RateScope::Route, by), |_, _| Limit::Requests).await
    }

    /// Counts a refresh, by its session or its client.
    pub async fn check_refresh_rate(&self, session: Option<SessionId>, ctx: &RequestContext) -> Result<(), Error> {
        let rates = &self.settings.rate_limit;
        let (whose, by) = match session.filter(|_| rates.refresh_by_session) {
            Some(session) => (format!("session/{session}"), RateKey::Session),
            None => (self.client_key(ctx), RateKey::Ip),
        };
        let key = key("rate", &["refresh", &whose]);
        self.hit(&key, rates.refresh, (RateScope::Refresh, by), |_, _| Limit::Requests).await
    }

    /// Counts a code on its way to an address.
    ///
    /// The counter belongs to the address, not to the account: an account that gives way to
    /// another signup does not bring a new quota.
    pub(super) async fn count_message(&self, to: &Destination, rules: &Verification) -> Result<(), Error> {
        let key = match to {
            Destination::Email(email) => key("mail", &[email.as_str()]),
            Destination::Phone(phone) => key("sms", &[phone.as_str()]),
        };
        self.count_sent(to, (&key, RateKey::Recipient), "sms/all", rules).await
    }

    /// Counts a code of this kind on its way to a user: for the user, and for the address unless it is a second
    /// factor's.
    ///
    /// A second factor costs a right password, so it counts apart: strangers, who have others' addresses mailed
    /// to as they like, keep nobody from it. Who sets another password leaves the messages behind that whoever
    /// knew the old one had sent.
    pub(super) async fn count_code(
        &self,
        user: &User,
        purpose: Purpose,
        to: &Destination,
        rules: &Verification,
    ) -> Result<(), Error> {
        if purpose.is_of_factor() {
            let key = key(purpose.as_str(), &[&guessed_at(user)]);
            return self.count_sent(to, (&key, RateKey::User), "mfa_sms/all", rules).await;
        }
        // Addresses and numbers are without end, and whoever wants one proven names it.
        let key = key(purpose.as_str(), &[&user.id.to_string()]);
        let (scope, name): (_, fn(u64, u64) -> Limit) = match to {
            Destination::Email(_) => (RateScope::Email, |count, max| Limit::EmailSend { count, max }),
            Destination::Phone(_) => (RateScope::Sms, |count, max| Limit::SmsSend { count, max }),
        };
        self.hit(&key, rules.send_limit, (scope, RateKey::User), name).await?;
        self.count_message(to, rules).await
    }

    async fn count_sent(
        &self,
        to: &Destination,
        (key, by): (&str, RateKey),
        everybodys: &str,
        rules: &Verification,
    ) -> Result<(), Error> {
        if let Destination::Email(_) = to {
            let name = |count, max| Limit::EmailSend { count, max };
            return self.hit(key, rules.send_limit, (RateScope::Email, by), name).await;
        }
        let name = |count, max| Limit::SmsSend { count, max };
        self.hit(key, rules.send_limit, (RateScope::Sms, by), name).await?;
        let everybody = self.settings.signup.global_sms_limit;
        self.hit(everybodys, everybody, (RateScope::Sms, RateKey::Site), name).await
    }

    /// Counts a request for a reset, by what was asked for.
    pub(super) async fn count_reset(&self, identifier: &Identifier) -> Result<(), Error> {
        let key = key("reset", &[identifier.as_str()]);
        let counted = (RateScope::ForgotPassword, RateKey::Identifier);
        self.hit(&key, self.settings.password.reset.send_limit, counted, |_, _| Limit::PasswordReset).await
    }

    /// Begins to check a code that proves an address, of whomever these tries are counted for.
    ///
    /// # Errors
    /// [`Error::CodeExhausted`] after too many wrong codes of this user, this client, or everybody.
    pub(super) async fn begin_code_attempt(
        &self,
        whose: &str,
        rules: &Verification,
        ctx: &RequestContext,
    ) -> Result<Attempt, Error> {
        let limit = rules.attempt_limit;
        let counters = vec![
            wrong_codes(key("code/user", &[whose]), RateKey::User, limit.per_user, limit.window),
            wrong_codes(key("code/client", &[&self.client_key(ctx)]), RateKey::Ip, limit.per_ip, limit.window),
            site_breaker(WRONG_CODES),
        ];
        self.begin_attempt(counters, CODE_PATIENCE).await?.map_err(|_| Error::CodeExhausted)
    }

    /// Begins to check a second factor; `challenge` asks for it, or a session without one.
    ///
    /// The limits are those of codes that prove an address, in counters of their own; a device the user
    /// trusts has one to itself, so that nobody who guesses elsewhere keeps its owner out. In a session
    /// there is no challenge that counts, so the user's own counter always does.
    ///
    /// # Errors
    /// [`Error::CodeExhausted`] after too many wrong ones of this user, this client, or everybody.
    pub(super) async fn begin_factor_attempt(
        &self,
        user: &User,
        method: Method,
        challenge: Option<ChallengeId>,
        ctx: &RequestContext,
    ) -> Result<Attempt, Error> {
        let limit = self.settings.signup.email_verification.attempt_limit;
        let (counts, device) = (self.settings.lockout.counts.factors, self.device_of(Some(user), ctx).await?);
        let mut counters = Vec::with_capacity(3);
        // A passkey cannot be guessed, and a trusted device is none that many guess from.
        if method != Method::Passkey && device.is_none() {
            counters.push(site_breaker(WRONG_FACTORS));
        }
        if counts || challenge.is_none() {
            let name = name_of(user);
            let whose = device.map_or_else(|| name.clone(), |device| format!("{name}/{device}"));
            counters.push(wrong_codes(key("factor/user", &[&whose]), RateKey::User, limit.per_user, limit.window));
        }
        if counts {
            let key = key("factor/client", &[&self.client_key(ctx)]);
            counters.push(wrong_codes(key, RateKey::Ip, limit.per_ip, limit.window));
        }
        self.begin_attempt(counters, CODE_PATIENCE).await?.map_err(|_| Error::CodeExhausted)
    }

    /// Begins to check a reset code, be it anybody's or not. The account's own limit is that of the code.
    pub(super) async fn begin_reset_attempt(&self, ctx: &RequestContext) -> Result<Attempt, Error> {
        let limit = self.settings.signup.email_verification.attempt_limit;
        let counters = vec![
            wrong_codes(key("reset/client", &[&self.client_key(ctx)]), RateKey::Ip, limit.per_ip, limit.window),
            site_breaker(WRONG_CODES),
        ];
        let begun = self.begin_attempt(counters, CODE_PATIENCE).await?;
        begun.map_err(|retry_after| Error::RateLimited { limit: Limit::PasswordReset, retry_after })
    }

    /// The client, as far as its address tells: IPv6 by prefix.
    pub(super) fn client_key(&self, ctx: &RequestContext) -> String {
        crate::domain::context::address_prefix_of(ctx.ip, self.settings.lockout.ipv6_prefix).to_string()
    }

    async fn hit(
        &self,
        key: &str,
        window: Window,
        (scope, by): (RateScope, RateKey),
        name: impl Fn(u64, u64) -> Limit,
    ) -> Result<(), Error> {
        let max = u64::from(window.max);
        if max == 0 {
            return Ok(());
        }
        match self.parts.transient.hit(key, max, window.window).await {
            Err(error) => self.uncounted(scope, error),
            Ok(Hit::Allowed) => Ok(()),
            Ok(Hit::Refused { count, retry_after }) => {
                self.parts.metrics.rate_limited(scope, by);
                Err(Error::RateLimited { limit: name(count.saturating_add(1), max), retry_after })
            }
        }
    }

    /// What becomes of whom a counter cannot be asked about: as `[transient]` says.
    fn uncounted(&self, scope: RateScope, error: TransientError) -> Result<(), Error> {
        let rules = &self.settings.transient;
        let rule = if scope == RateScope::Route { rules.on_error_proxy } else { rules.on_error_auth };
        let (outcome, became) = match rule {
            OnError::Closed => (Uncounted::Refused, Err(error.into())),
            OnError::Open => (Uncounted::Passed, Ok(())),
        };
        self.parts.metrics.uncounted(scope, outcome);
        became
    }
}

fn wrong_codes(key: String, by: RateKey, max: u32, window: Duration) -> Held {
    Held { key, rule: Tally { max: max.into(), window, penalty: Penalty::Lock(window) }, by, scope: None }
}

/// So many wrong ones in a minute are an attack, whoever sends them.
fn site_breaker(key: &str) -> Held {
    wrong_codes(key.to_owned(), RateKey::Site, SITE_WRONG_CODES, Duration::from_mins(1))
}
