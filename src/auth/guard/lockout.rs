//! Lockout: what failed logins cause.
//!
//! Three counters, each raised before the password is hashed: one for the client's address, one for
//! the address with the account, one for the account. The first two lock. The third slows down and
//! never locks, so nobody can lock somebody else out, and it does not concern a trusted device of
//! the account, which has a counter of its own. Identifiers that are nobody's count alike.

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::guard::attempt::{Attempt, Held};
use crate::auth::guard::key::{key, name_of};
use crate::config::settings::{DelayRule, LockRule};
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::event::LockoutScope;
use crate::domain::user::User;
use crate::metrics::RateKey;
use crate::transient::{Penalty, Tally};

/// How long a login waits for others that are under way with the same account or from the same
/// address. A burst of right passwords passes one after the other.
const PATIENCE: Duration = Duration::from_secs(2);

impl Auth {
    /// Begins a login. `known_device` is the number of a trusted device of the account.
    ///
    /// # Errors
    /// [`Error::RateLimited`] while one of the counters is blocked.
    pub(in crate::auth) async fn begin_login(
        &self,
        identifier: &str,
        user: Option<&User>,
        known_device: Option<i64>,
        ctx: &RequestContext,
    ) -> Result<Attempt, Error> {
        let counters = self.login_counters(identifier, user, known_device, ctx);
        let begun = self.begin_attempt(counters, PATIENCE).await?;
        begun.map_err(|retry_after| Error::RateLimited { limit: Limit::Login, retry_after })
    }

    /// Clears what wrong passwords have counted for an account, whose user has come in after all.
    pub(in crate::auth) async fn forgive(&self, user: &User, ctx: &RequestContext) -> Result<(), Error> {
        if !self.settings.lockout.reset_on_success {
            return Ok(());
        }
        let device = self.device_of(Some(user), ctx).await?;
        for held in self.login_counters(user.email.as_str(), Some(user), device, ctx) {
            if held.is_of_account() {
                // What cannot be cleared ends by itself.
                let _ = self.parts.transient.delete(&held.key).await;
            }
        }
        Ok(())
    }

    fn login_counters(
        &self,
        identifier: &str,
        user: Option<&User>,
        known_device: Option<i64>,
        ctx: &RequestContext,
    ) -> Vec<Held> {
        let rules = &self.settings.lockout;
        if !rules.enabled || !rules.counts.passwords {
            return Vec::new();
        }
        let account = user.map_or_else(|| format!("nobody/{identifier}"), guessed_at);
        let mut counters = Vec::with_capacity(3);
        let is_exempt = rules.allow_ips.iter().any(|net| net.contains(&ctx.ip.to_canonical()));
        let client = self.client_key(ctx);
        // Behind a proxy nobody declared everybody would share one address.
        if ctx.address_is_certain && !is_exempt {
            counters.push(Held {
                key: key("login/address", &[&client]),
                rule: lock(rules.ip),
                by: RateKey::Ip,
                scope: Some(LockoutScope::Address),
            });
        }
        if known_device.is_none() && !is_exempt {
            let key = key("login/account+address", &[&account, &client]);
            counters.push(of_client(key, rules.account_ip));
        }
        let own = known_device.map(|device| {
            let key = key("login/account+device", &[&account, &device.to_string()]);
            of_client(key, rules.account_ip)
        });
        counters.push(own.unwrap_or_else(|| {
            let DelayRule { max, window, max_delay } = rules.account;
            let rule = Tally { max: max.into(), window, penalty: Penalty::Delay(max_delay) };
            let key = key("login/account", &[&account]);
            Held { key, rule, by: RateKey::Account, scope: Some(LockoutScope::Account) }
        }));
        counters
    }
}

/// What guesses are counted for: an account, whichever of its identifiers is tried, with the password that was
/// not guessed. What was tried against another one than is in force tells nothing: whoever resets a forgotten
/// password is not kept out by the tries before.
pub(super) fn guessed_at(user: &User) -> String {
    let since = user.password_changed_at.map_or(0, Time::micros);
    format!("{}#{since}", name_of(user))
}

/// Tries of one client, by its address or its device.
fn of_client(key: String, rule: LockRule) -> Held {
    Held { key, rule: lock(rule), by: RateKey::AccountIp, scope: Some(LockoutScope::AccountAndClient) }
}

fn lock(rule: LockRule) -> Tally {
    Tally { max: rule.max.into(), window: rule.window, penalty: Penalty::Lock(rule.duration) }
}
