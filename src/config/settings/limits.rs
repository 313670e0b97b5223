//! Limits: `[lockout]`, `[rate_limit]`.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::settings::Window;

/// `[lockout]`: what failed logins cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockout {
    /// Whether they cause anything.
    pub enabled: bool,
    /// What counts when it is wrong.
    pub counts: Counted,
    /// Failures of one client address.
    pub ip: LockRule,
    /// Failures of one client address with one account.
    pub account_ip: LockRule,
    /// Failures with one account, whoever makes them.
    pub account: DelayRule,
    /// Whether a login clears the counters of its account.
    pub reset_on_success: bool,
    /// How much of an IPv6 address counts as one client, bits.
    pub ipv6_prefix: u8,
    /// Clients whose address is not counted.
    pub allow_ips: Vec<IpNet>,
}

/// `lockout.count`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Passwords.
    pub passwords: bool,
    /// Second factors.
    pub factors: bool,
}

/// So many failures in so long lock for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRule {
    /// How many.
    pub max: u32,
    /// In how long.
    pub window: Duration,
    /// For how long.
    pub duration: Duration,
}

/// So many failures in so long make each further attempt wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayRule {
    /// How many.
    pub max: u32,
    /// In how long.
    pub window: Duration,
    /// How long at most.
    pub max_delay: Duration,
}

/// `[rate_limit]`: requests of one client to the auth API. A limit of 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Logins.
    pub login: Window,
    /// Signups.
    pub signup: Window,
    /// Refreshes.
    pub refresh: Window,
    /// Whether refreshes are counted by session rather than by address.
    pub refresh_by_session: bool,
    /// Requests and confirmations of resets.
    pub forgot_password: Window,
    /// Answers to challenges, and resends.
    pub challenge: Window,
    /// Everything else.
    pub default: Window,
}
