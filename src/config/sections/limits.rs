//! `[lockout]`, `[rate_limit]`

use std::time::Duration;

use crate::config::reader::Section;
use crate::config::sections::server::{network, number};
use crate::config::settings::{Counted, DelayRule, LockRule, Lockout, RateLimits, Window};

pub(super) fn lockout(root: &mut Section<'_>) -> Lockout {
    let mut s = root.section("lockout");
    let lockout = Lockout {
        enabled: s.boolean("enabled", true, "Whether failed logins cause anything."),
        counts: counted(&mut s),
        ip: lock(&mut s, "ip", 20),
        account_ip: lock(&mut s, "account_ip", 5),
        account: delay(&mut s),
        reset_on_success: s.boolean(
            "reset_on_success",
            true,
            "Whether a login clears what was counted for its account.",
        ),
        ipv6_prefix: u8::try_from(s.integer(
            "ipv6_prefix",
            64,
            16..=128,
            "Bits of an IPv6 address that count as one client.",
        ))
        .expect("checked to be within 128"),
        allow_ips: s
            .list("allow_ips", "[]", "Addresses and networks whose failed logins are not counted by address.", network)
            .unwrap_or_default(),
    };
    s.finish();
    lockout
}

fn counted(s: &mut Section<'_>) -> Counted {
    let kinds = [("password", "password"), ("mfa", "mfa")];
    let doc = "What counts when it is wrong: `password`, `mfa` (second factors, by user and by client as \
               `attempt_limit` of `[signup.email_verification]` says; without it each challenge counts alone, and in a \
               session its user).";
    let counted = s.choices("count", "[\"password\", \"mfa\"]", &kinds, doc);
    let counts = |kind: &str| counted.as_ref().is_none_or(|kinds| kinds.contains(&kind));
    Counted { passwords: counts("password"), factors: counts("mfa") }
}

fn lock(parent: &mut Section<'_>, key: &'static str, max: i64) -> LockRule {
    let mut s = parent.section(key);
    let rule = LockRule {
        max: number(s.integer("max", max, 1..=1_000_000, "Failures.")),
        window: s.lasting("window", "1h", "In how long, from the first one."),
        duration: s.lasting("duration", "15m", "How long the door stays shut then."),
    };
    s.finish();
    rule
}

fn delay(parent: &mut Section<'_>) -> DelayRule {
    let mut s = parent.section("account");
    let rule = DelayRule {
        max: number(s.integer("max", 30, 1..=1_000_000, "Failures with one account, whoever makes them.")),
        window: s.lasting("window", "1h", "In how long, from the first one."),
        max_delay: s.lasting(
            "max_delay",
            "30s",
            "How long each further attempt waits at most. Trusted devices of the account have a counter of their own.",
        ),
    };
    s.finish();
    rule
}

pub(super) fn rates(root: &mut Section<'_>) -> RateLimits {
    let mut s = root.section("rate_limit");
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    let limit = |max, window| Window { max, window };
    let (refresh, refresh_by_session) = refresh(&mut s);
    let rates = RateLimits {
        login: s.window(
            "login",
            limit(30, minute),
            "Logins of one address. A `max` of 0 means no limit, here and below.",
        ),
        signup: s.window("signup", limit(10, hour), "Signups of one address."),
        refresh,
        refresh_by_session,
        forgot_password: s.window("forgot_password", limit(10, hour), "Password resets of one address."),
        challenge: s.window("challenge", limit(30, minute), "Answers to challenges of one address."),
        default: s.window("default", limit(300, minute), "Every other request of one address to the auth API."),
    };
    s.finish();
    rates
}

fn refresh(parent: &mut Section<'_>) -> (Window, bool) {
    let mut s = parent.section("refresh");
    let window = Window {
        max: number(s.integer("max", 60, 0..=1_000_000, "Refreshes.")),
        window: s.lasting("window", "1m", "In how long."),
    };
    let by_session =
        s.choice("key", "session", &[("session", true), ("ip", false)], "Whose: of one session, or of one address.");
    s.finish();
    (window, by_session)
}
