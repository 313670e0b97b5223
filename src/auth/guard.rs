//! Limits, named by what they guard. The use cases ask here first and never touch a counter.
//!
//! Attempts are counted before they are made: a thousand wrong passwords sent side by side are no
//! more than as many as allowed, and what turns out right is taken back.

use crate::auth::Auth;
use crate::auth::code::Destination;
use crate::auth::guard::key::key;
use crate::config::settings::{Verification, Window};
use crate::domain::contact::Identifier;
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::id::{SessionId, UserId};
use crate::transient::{Hit, Penalty, Reserved, Tally};

mod key;
mod lockout;

pub(super) use lockout::LoginAttempt;

/// Wrong codes on the whole site in a minute that are no accident any more.
const SITE_WRONG_CODES: u64 = 600;

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

/// Attempts that count as failed until they are taken back.
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt {
    auth: Auth,
    held: Vec<(String, Tally)>,
}

impl Attempt {
    /// It was none: takes everything back.
    pub(super) async fn succeeded(self) {
        for (key, rule) in &self.held {
            // What cannot be taken back ends by itself.
            let _ = self.auth.parts.transient.refund(key, rule).await;
        }
    }
}

impl Auth {
    /// Counts a request of this kind from this client.
    pub fn check_rate(&self, operation: Operation, ctx: &RequestContext) -> impl Future<Output = Result<(), Error>> {
        let rates = &self.settings.rate_limit;
        let (name, window, limit) = match operation {
            Operation::Login => ("login", rates.login, Limit::Login),
            Operation::Signup => ("signup", rates.signup, Limit::Requests),
            Operation::ForgotPassword => ("forgot", rates.forgot_password, Limit::PasswordReset),
            Operation::Challenge => ("challenge", rates.challenge, Limit::Requests),
            Operation::Other => ("other", rates.default, Limit::Requests),
        };
        let key = key("rate", &[name, &self.client_key(ctx)]);
        async move { self.hit(&key, window, |_, _| limit).await }
    }

    /// Counts a refresh, by its session or its client.
    pub async fn check_refresh_rate(&self, session: Option<SessionId>, ctx: &RequestContext) -> Result<(), Error> {
        let rates = &self.settings.rate_limit;
        let whose = match session.filter(|_| rates.refresh_by_session) {
            Some(session) => format!("session/{session}"),
            None => self.client_key(ctx),
        };
        self.hit(&key("rate", &["refresh", &whose]), rates.refresh, |_, _| Limit::Requests).await
    }

    /// Counts a code on its way to an address.
    ///
    /// The counter belongs to the address, not to the account: an account that gives way to
    /// another signup does not bring a new quota.
    pub(super) async fn count_message(&self, to: &Destination, rules: &Verification) -> Result<(), Error> {
        match to {
            Destination::Email(email) => {
                let name = |count, max| Limit::EmailSend { count, max };
                self.hit(&key("mail", &[email.as_str()]), rules.send_limit, name).await
            }
            Destination::Phone(phone) => {
                let name = |count, max| Limit::SmsSend { count, max };
                self.hit(&key("sms", &[phone.as_str()]), rules.send_limit, name).await?;
                self.hit("sms/all", self.settings.signup.global_sms_limit, name).await
            }
        }
    }

    /// Counts a request for a reset, by what was asked for.
    pub(super) async fn count_reset(&self, identifier: &Identifier) -> Result<(), Error> {
        let key = key("reset", &[identifier.as_str()]);
        self.hit(&key, self.settings.password.reset.send_limit, |_, _| Limit::PasswordReset).await
    }

    /// Begins to check a code that proves an address.
    ///
    /// # Errors
    /// [`Error::CodeExhausted`] after too many wrong codes of this user, this client, or everybody.
    pub(super) async fn begin_code_attempt(
        &self,
        user: UserId,
        rules: &Verification,
        ctx: &RequestContext,
    ) -> Result<Attempt, Error> {
        let limit = rules.attempt_limit;
        let lock = |max: u32| Tally { max: max.into(), window: limit.window, penalty: Penalty::Lock(limit.window) };
        let client = self.client_key(ctx);
        let counters = [
            (key("code/user", &[&user.to_string()]), lock(limit.per_user)),
            (key("code/client", &[&client]), lock(limit.per_ip)),
        ];
        self.reserve(counters.into()).await?.map_err(|_| Error::CodeExhausted)
    }

    /// Begins to check a reset code. The account's own limit is that of the code.
    pub(super) async fn begin_reset_attempt(&self, ctx: &RequestContext) -> Result<Attempt, Error> {
        let limit = self.settings.signup.email_verification.attempt_limit;
        let rule = Tally { max: limit.per_ip.into(), window: limit.window, penalty: Penalty::Lock(limit.window) };
        let counters = vec![(key("reset/client", &[&self.client_key(ctx)]), rule)];
        let limited = |retry_after| Error::RateLimited { limit: Limit::PasswordReset, retry_after };
        self.reserve(counters).await?.map_err(limited)
    }

    /// Counts attempts, all of them or none, beside a breaker for the whole site.
    async fn reserve(&self, mut counters: Vec<(String, Tally)>) -> Result<Result<Attempt, std::time::Duration>, Error> {
        let minute = std::time::Duration::from_mins(1);
        counters.push((
            "code/site".to_owned(),
            Tally { max: SITE_WRONG_CODES, window: minute, penalty: Penalty::Lock(minute) },
        ));
        let mut attempt = Attempt { auth: self.clone(), held: Vec::with_capacity(counters.len()) };
        for (key, rule) in counters {
            match self.parts.transient.reserve(&key, &rule).await? {
                Reserved::Granted => attempt.held.push((key, rule)),
                Reserved::Blocked { retry_after } => {
                    attempt.succeeded().await;
                    return Ok(Err(retry_after));
                }
            }
        }
        Ok(Ok(attempt))
    }

    /// The client, as far as its address tells: IPv6 by prefix.
    fn client_key(&self, ctx: &RequestContext) -> String {
        crate::domain::context::address_prefix_of(ctx.ip, self.settings.lockout.ipv6_prefix).to_string()
    }

    async fn hit(&self, key: &str, window: Window, name: impl Fn(u64, u64) -> Limit) -> Result<(), Error> {
        let max = u64::from(window.max);
        if max == 0 {
            return Ok(());
        }
        match self.parts.transient.hit(key, max, window.window).await? {
            Hit::Allowed => Ok(()),
            Hit::Refused { count, retry_after } => {
                Err(Error::RateLimited { limit: name(count.saturating_add(1), max), retry_after })
            }
        }
    }
}
