//! Limits, named by what they guard. The use cases ask here first and never touch a counter.
//!
//! Requests are counted by what they ask for, messages by where they go, attempts by what they try
//! (`guard/attempt.rs`), failed logins by account and address (`guard/lockout.rs`).

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::code::Destination;
use crate::auth::guard::attempt::Held;
use crate::config::settings::{OnError, Verification, Window};
use crate::domain::contact::Identifier;
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::User;
use crate::metrics::{RateKey, RateScope, Uncounted};
use crate::transient::{Hit, Penalty, Tally, TransientError};

mod attempt;
mod key;
mod lockout;

pub(super) use attempt::Attempt;
pub(super) use key::{key, name_of};

/// Wrong codes on the whole site in a minute that are no accident any more.
const SITE_WRONG_CODES: u32 = 600;
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
        match to {
            Destination::Email(email) => {
                let name = |count, max| Limit::EmailSend { count, max };
                let counted = (RateScope::Email, RateKey::Recipient);
                self.hit(&key("mail", &[email.as_str()]), rules.send_limit, counted, name).await
            }
            Destination::Phone(phone) => {
                let name = |count, max| Limit::SmsSend { count, max };
                let counted = (RateScope::Sms, RateKey::Recipient);
                self.hit(&key("sms", &[phone.as_str()]), rules.send_limit, counted, name).await?;
                let everybody = self.settings.signup.global_sms_limit;
                self.hit("sms/all", everybody, (RateScope::Sms, RateKey::Site), name).await
            }
        }
    }

    /// Counts a request for a reset, by what was asked for.
    pub(super) async fn count_reset(&self, identifier: &Identifier) -> Result<(), Error> {
        let key = key("reset", &[identifier.as_str()]);
        let counted = (RateScope::ForgotPassword, RateKey::Identifier);
        self.hit(&key, self.settings.password.reset.send_limit, counted, |_, _| Limit::PasswordReset).await
    }

    /// Begins to check a code that proves an address.
    ///
    /// # Errors
    /// [`Error::CodeExhausted`] after too many wrong codes of this user, this client, or everybody.
    pub(super) async fn begin_code_attempt(
        &self,
        user: &User,
        rules: &Verification,
        ctx: &RequestContext,
    ) -> Result<Attempt, Error> {
        let limit = rules.attempt_limit;
        let counters = vec![
            wrong_codes(key("code/user", &[&name_of(user)]), RateKey::User, limit.per_user, limit.window),
            wrong_codes(key("code/client", &[&self.client_key(ctx)]), RateKey::Ip, limit.per_ip, limit.window),
            site_breaker(),
        ];
        self.begin_attempt(counters, CODE_PATIENCE).await?.map_err(|_| Error::CodeExhausted)
    }

    /// Begins to check a second factor.
    ///
    /// The limits are those of codes that prove an address, in counters of their own; a device the user
    /// trusts has one to itself, so that nobody who guesses elsewhere keeps its owner out.
    ///
    /// # Errors
    /// [`Error::CodeExhausted`] after too many wrong ones of this user, this client, or everybody.
    pub(super) async fn begin_factor_attempt(&self, user: &User, ctx: &RequestContext) -> Result<Attempt, Error> {
        let limit = self.settings.signup.email_verification.attempt_limit;
        let mut counters = vec![site_breaker()];
        if self.settings.lockout.counts.factors {
            let name = name_of(user);
            let whose = match self.device_of(Some(user), ctx).await? {
                Some(device) => format!("{name}/{device}"),
                None => name,
            };
            counters.extend([
                wrong_codes(key("factor/user", &[&whose]), RateKey::User, limit.per_user, limit.window),
                wrong_codes(key("factor/client", &[&self.client_key(ctx)]), RateKey::Ip, limit.per_ip, limit.window),
            ]);
        }
        self.begin_attempt(counters, CODE_PATIENCE).await?.map_err(|_| Error::CodeExhausted)
    }

    /// Begins to check a reset code. The account's own limit is that of the code.
    pub(super) async fn begin_reset_attempt(&self, ctx: &RequestContext) -> Result<Attempt, Error> {
        let limit = self.settings.signup.email_verification.attempt_limit;
        let counters = vec![
            wrong_codes(key("reset/client", &[&self.client_key(ctx)]), RateKey::Ip, limit.per_ip, limit.window),
            site_breaker(),
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

/// So many wrong codes in a minute are an attack, whoever sends them.
fn site_breaker() -> Held {
    wrong_codes("code/site".to_owned(), RateKey::Site, SITE_WRONG_CODES, Duration::from_mins(1))
}
