//! `[mfa.adaptive]`

use std::collections::BTreeMap;

use crate::config::reader::Section;
use crate::config::sections::server::number;
use crate::domain::mfa::Unenrolled;
use crate::domain::risk::{Action, Block, BlockScope, LevelRule, MOST, RiskPolicy, Sign};

/// What can be looked for, and in which order it is told.
const TRIGGERS: [Sign; 6] = [
    Sign::NewDevice,
    Sign::NewIp,
    Sign::NewCountry,
    Sign::ImpossibleTravel,
    Sign::SuspiciousActivity,
    Sign::RecentPasswordReset,
];
const ALL: &str = "[\"new_device\", \"new_ip\", \"new_country\", \"impossible_travel\", \"suspicious_activity\", \
                   \"recent_password_reset\"]";
/// What each sign counts unless the file says otherwise.
const WEIGHTS: [(Sign, i64, &str); 7] = [
    (Sign::NewDevice, 25, "A client this user has not come with before, and no device they trust."),
    (
        Sign::NewIp,
        15,
        "An address this user has not come from before (IPv6: a /64), where neither country nor travel counts already.",
    ),
    (Sign::NewCountry, 25, "A country this user has not come from before."),
    (Sign::ImpossibleTravel, 40, "Farther from the last login than `max_speed_kmh` lets anybody travel."),
    (
        Sign::SuspiciousActivity,
        30,
        "Three failed logins, or anything suspicious in the audit trail, within `suspicious_window`.",
    ),
    (Sign::IncompleteLocation, 20, "A country is known of the address, a city or its place is not."),
    (Sign::RecentPasswordReset, 40, "The password was set after the last login."),
];

pub(super) fn adaptive(parent: &mut Section<'_>) -> (RiskPolicy, Unenrolled) {
    let mut s = parent.section("adaptive");
    let triggers = TRIGGERS.map(|sign| (sign.as_str(), sign));
    let doc = "What makes a login unusual, while `mfa.enforcement` is \"adaptive\". The first login of an account has \
               nothing to be compared with. `new_country` and `impossible_travel` need `[geoip]`.";
    let triggers = s.choices("triggers", ALL, &triggers, doc).unwrap_or_else(|| TRIGGERS.to_vec());
    let weights = weights(&mut s);
    let low = level(&mut s, "low", (0, 20), "allow", false);
    let medium = level(&mut s, "medium", (0, 50), "require_mfa", true);
    let high = level(&mut s, "high", (MOST.into(), MOST.into()), "require_mfa", true);
    if !(low.max < medium.max && medium.max < high.max) {
        let message = "the levels do not rise: `low.max` < `medium.max` < `high.max` = 100";
        s.error("medium.max", message, "the defaults are 20, 50 and 100");
    }
    let block = block(&mut s);
    let doc = "Kilometres an hour; faster than this nobody travels.";
    let max_speed_kmh = number(s.integer("max_speed_kmh", 900, 1..=100_000, doc));
    let doc =
        "A change of countries in less than this counts as `impossible_travel` where of one of them no city is known.";
    let country_change_min = s.duration("country_change_min", "2h", doc);
    let doc = "How far back failed logins and suspicious entries of the audit trail count. The same alert is mailed once \
               in this time.";
    let suspicious_window = s.lasting("suspicious_window", "1h", doc);
    let actions = [("allow", Action::Allow), ("require_mfa", Action::RequireMfa)];
    let doc = "What follows when nobody can tell how unusual a login is, because a database or a counter fails.";
    let on_error = s.choice("on_error", "require_mfa", &actions, doc);
    let stand_ins = [("email", Unenrolled::Mail), ("allow", Unenrolled::Allow), ("deny", Unenrolled::Deny)];
    let doc = "What `require_mfa` means for whoever has no second factor yet, while `mfa.grace` lasts: a code by mail \
               (which does not raise the session to aal2), nothing, or a refusal.";
    let unenrolled = s.choice("unenrolled_fallback", "email", &stand_ins, doc);
    s.finish();
    let triggers = triggers.into_iter().collect();
    let policy = RiskPolicy {
        triggers,
        weights,
        low,
        medium,
        high,
        block,
        max_speed_kmh,
        country_change_min,
        suspicious_window,
        on_error,
    };
    (policy, unenrolled)
}

fn weights(parent: &mut Section<'_>) -> BTreeMap<Sign, u32> {
    let mut s = parent.section("weights");
    let read =
        WEIGHTS.map(|(sign, default, doc)| (sign, number(s.integer(sign.as_str(), default, 0..=i64::from(MOST), doc))));
    s.finish();
    read.into_iter().collect()
}

fn level(
    parent: &mut Section<'_>,
    name: &'static str,
    (least, max): (i64, i64),
    action: &'static str,
    notify: bool,
) -> LevelRule {
    let mut s = parent.section(name);
    let actions = [("allow", Action::Allow), ("require_mfa", Action::RequireMfa), ("block_signin", Action::Block)];
    let rule = LevelRule {
        max: number(s.integer("max", max, least..=i64::from(MOST), "The highest score of this level.")),
        action: s.choice(
            "action",
            action,
            &actions,
            "What follows: nothing (`allow`), a second factor, or a refusal for a while (`block_signin`).",
        ),
        notify: s.boolean("notify", notify, "Whether the user is told by mail (`notifications.adaptive_risk`)."),
    };
    s.finish();
    rule
}

fn block(parent: &mut Section<'_>) -> Block {
    let mut s = parent.section("block");
    let scopes = [("user", BlockScope::User), ("device", BlockScope::Device), ("ip", BlockScope::Ip)];
    let block = Block {
        scope: s.choice(
            "scope",
            "ip",
            &scopes,
            "Who is kept out after a refusal: the user altogether, the user on that device (whatever shows no token of a \
             trusted device is one device), or the user from that address.",
        ),
        duration: s.lasting("duration", "15m", "How long."),
        message: s.text("message", "Sign-in blocked due to suspicious activity.", "What they are told."),
    };
    s.finish();
    block
}
