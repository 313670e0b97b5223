//! How unusual a login is: one pure rule from facts to signs, a score, a level and what follows.
//!
//! Each sign has a weight; their sum, at most 100, is the score; the score has a level; the level has an
//! action. Nobody's first login is unusual, for there is nothing to compare it with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::domain::clock::Time;
use crate::domain::location::{Location, continent};

/// The highest score.
pub const MOST: u32 = 100;
/// Failed logins that are more than a slip.
pub const FAILED_LOGINS: usize = 3;

/// How far places are apart that no coordinates are known of, in kilometres.
const WITHIN_COUNTRY_KM: f64 = 500.0;
const WITHIN_CONTINENT_KM: f64 = 1500.0;
const ELSEWHERE_KM: f64 = 8000.0;

/// Something unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// A client the user has not come with before.
    NewDevice,
    /// An address the user has not come from before, when its country says nothing.
    NewIp,
    /// A country the user has not come from before.
    NewCountry,
    /// Farther from the last login than anybody travels in the time between.
    ImpossibleTravel,
    /// Failed logins or worse a little while ago.
    SuspiciousActivity,
    /// A country, and nothing more, is known of the address.
    IncompleteLocation,
    /// The password was set after the last login.
    RecentPasswordReset,
}

impl Sign {
    /// Every sign.
    pub const ALL: [Self; 7] = [
        Self::NewDevice,
        Self::NewIp,
        Self::NewCountry,
        Self::ImpossibleTravel,
        Self::SuspiciousActivity,
        Self::IncompleteLocation,
        Self::RecentPasswordReset,
    ];

    /// The name configured, stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewDevice => "new_device",
            Self::NewIp => "new_ip",
            Self::NewCountry => "new_country",
            Self::ImpossibleTravel => "impossible_travel",
            Self::SuspiciousActivity => "suspicious_activity",
            Self::IncompleteLocation => "incomplete_location",
            Self::RecentPasswordReset => "recent_password_reset",
        }
    }

    /// Whether it takes a database of places to see it.
    #[must_use]
    pub fn needs_locations(self) -> bool {
        matches!(self, Self::NewCountry | Self::ImpossibleTravel)
    }
}

/// How unusual, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As always, or nearly.
    Low,
    /// Unusual.
    Medium,
    /// Very unusual.
    High,
}

impl Level {
    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What follows; later is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing.
    Allow,
    /// Another factor is asked for.
    RequireMfa,
    /// The login is refused, and those that follow for a while.
    Block,
}

impl Action {
    /// The name configured and stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::RequireMfa => "require_mfa",
            Self::Block => "block_signin",
        }
    }
}

/// What one level means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelRule {
    /// The highest score of the level.
    pub max: u32,
    /// What follows.
    pub action: Action,
    /// Whether the user is told.
    pub notify: bool,
}

/// Who is kept out after a refused login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockScope {
    /// The user, whoever tries.
    User,
    /// The user on the device that tried. Those that show no token of a trusted device are one.
    Device,
    /// The user from the address that tried.
    Ip,
}

/// How long somebody is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whom it concerns.
    pub scope: BlockScope,
    /// How long.
    pub duration: Duration,
    /// What they are told.
    pub message: String,
}

/// What the operator makes of unusual logins: `[mfa.adaptive]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskPolicy {
    /// What is looked for.
    pub triggers: BTreeSet<Sign>,
    /// What each sign counts.
    pub weights: BTreeMap<Sign, u32>,
    /// Scores up to its `max`.
    pub low: LevelRule,
    /// Scores above those, up to its `max`.
    pub medium: LevelRule,
    /// The rest.
    pub high: LevelRule,
    /// What a refused login brings.
    pub block: Block,
    /// Faster than this nobody travels.
    pub max_speed_kmh: u32,
    /// A change of countries in less than this is travel nobody does, where no more is known of the places.
    pub country_change_min: Duration,
    /// How far back suspicious activity counts.
    pub suspicious_window: Duration,
    /// What follows when the facts cannot be had.
    pub on_error: Action,
}

impl RiskPolicy {
    /// Whether places matter.
    #[must_use]
    pub fn needs_locations(&self) -> bool {
        self.triggers.iter().any(|sign| sign.needs_locations())
    }
}

/// A login of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// When.
    pub at: Time,
    /// From which address prefix.
    pub address: IpAddr,
    /// With which client.
    pub user_agent: String,
    /// Where that was.
    pub location: Location,
}

/// What is known of a login and of those before it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Now.
    pub now: Time,
    /// The client's address prefix.
    pub address: IpAddr,
    /// Where that is.
    pub location: &'a Location,
    /// The client, as it calls itself.
    pub user_agent: &'a str,
    /// Whether it shows the token of a device the user trusts.
    pub trusted_device: bool,
    /// The logins of before, the latest first.
    pub earlier: &'a [Visit],
    /// Failed logins a little while ago.
    pub failed_logins: usize,
    /// Worse things a little while ago.
    pub suspicious_events: usize,
    /// When the password was set.
    pub password_changed_at: Option<Time>,
    /// When the user last logged in.
    pub last_login_at: Option<Time>,
}

/// How unusual a login is, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// What was unusual.
    pub signs: Vec<Sign>,
    /// How much, 0 to 100.
    pub score: u32,
    /// In one word.
    pub level: Level,
    /// What follows.
    pub action: Action,
    /// Whether the user is told.
    pub notify: bool,
}

impl Assessment {
    /// What follows when nothing is known.
    #[must_use]
    pub fn unknown(policy: &RiskPolicy) -> Self {
        Self { signs: Vec::new(), score: 0, level: Level::Low, action: policy.on_error, notify: false }
    }

    /// The names of what was unusual.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.signs.iter().map(|sign| sign.as_str()).collect()
    }

    /// Whether somebody should look at it: refused, or asked for good reason.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        let is_grave = |sign: &Sign| matches!(sign, Sign::SuspiciousActivity | Sign::ImpossibleTravel);
        match self.action {
            Action::Allow => false,
            Action::RequireMfa => self.level == Level::High || self.signs.iter().any(is_grave),
            Action::Block => true,
        }
    }
}

/// How unusual these facts are.
#[must_use]
pub fn assess(facts: &Facts<'_>, policy: &RiskPolicy) -> Assessment {
    let signs = signs(facts, policy);
    let sum: u32 = signs.iter().filter_map(|sign| policy.weights.get(sign)).sum();
    let score = sum.min(MOST);
    let (level, rule) = if score <= policy.low.max {
        (Level::Low, policy.low)
    } else if score <= policy.medium.max {
        (Level::Medium, policy.medium)
    } else {
        (Level::High, policy.high)
    };
    Assessment { signs, score, level, action: rule.action, notify: rule.notify }
}

fn signs(facts: &Facts<'_>, policy: &RiskPolicy) -> Vec<Sign> {
    let is_wanted = |sign: Sign| policy.triggers.contains(&sign);
    let new_country = is_wanted(Sign::NewCountry) && is_new_country(facts);
    let impossible_travel = is_wanted(Sign::ImpossibleTravel) && is_impossible_travel(facts, policy);
    let is_seen = |sign: Sign| match sign {
        Sign::NewDevice => is_wanted(sign) && is_new_device(facts),
        // A new country or a far place says the same, and more.
        Sign::NewIp => is_wanted(sign) && !new_country && !impossible_travel && is_new_address(facts),
        Sign::NewCountry => new_country,
        Sign::ImpossibleTravel => impossible_travel,
        Sign::SuspiciousActivity => {
            is_wanted(sign) && (facts.suspicious_events > 0 || facts.failed_logins >= FAILED_LOGINS)
        }
        Sign::IncompleteLocation => policy.needs_locations() && is_incomplete(facts),
        Sign::RecentPasswordReset => is_wanted(sign) && is_password_newer_than_login(facts),
    };
    Sign::ALL.into_iter().filter(|sign| is_seen(*sign)).collect()
}

fn is_new_device(facts: &Facts<'_>) -> bool {
    let is_known = facts.earlier.iter().any(|visit| visit.user_agent == facts.user_agent);
    has_been_here(facts) && !facts.trusted_device && !is_known
}

fn is_new_address(facts: &Facts<'_>) -> bool {
    has_been_here(facts) && facts.earlier.iter().all(|visit| visit.address != facts.address)
}

/// Whether this is not the first login. Those of long ago are forgotten one by one, but not that there were any:
/// to whom nothing is familiar any more, everything is new.
fn has_been_here(facts: &Facts<'_>) -> bool {
    !facts.earlier.is_empty() || facts.last_login_at.is_some()
}

fn is_new_country(facts: &Facts<'_>) -> bool {
    let Some(here) = &facts.location.country else { return false };
    let mut known = facts.earlier.iter().filter_map(|visit| visit.location.country.as_ref()).peekable();
    known.peek().is_some() && known.all(|country| country != here)
}

fn is_incomplete(facts: &Facts<'_>) -> bool {
    let here = facts.location;
    here.country.is_some() && (here.city.is_none() || here.point.is_none()) && has_been_here(facts)
}

fn is_password_newer_than_login(facts: &Facts<'_>) -> bool {
    facts.password_changed_at.zip(facts.last_login_at).is_some_and(|(changed, login)| changed > login)
}

/// Compares with the latest login of which a country is known.
fn is_impossible_travel(facts: &Facts<'_>, policy: &RiskPolicy) -> bool {
    let last = facts.earlier.iter().find(|visit| visit.location.country.is_some());
    let (Some(last), Some(_)) = (last, &facts.location.country) else { return false };
    let (there, here) = (&last.location, facts.location);
    let is_same_country = there.country == here.country;
    if is_same_country && there.city == here.city {
        return false;
    }
    let elapsed = facts.now.since(last.at);
    if !is_same_country && (there.city.is_none() || here.city.is_none()) {
        return elapsed < policy.country_change_min;
    }
    // In no time any distance is too far.
    distance_km(there, here) > f64::from(policy.max_speed_kmh) * elapsed.as_secs_f64() / 3600.0
}

/// How far two places are apart, measured or guessed.
fn distance_km(there: &Location, here: &Location) -> f64 {
    if let Some((there, here)) = there.point.zip(here.point) {
        return there.distance_km(here);
    }
    let continent = |location: &Location| location.country.as_deref().and_then(continent);
    if there.country == here.country {
        WITHIN_COUNTRY_KM
    } else if continent(there).is_some() && continent(there) == continent(here) {
        WITHIN_CONTINENT_KM
    } else {
        ELSEWHERE_KM
    }
}

#[cfg(test)]
pub(crate) mod tests_support;

#[cfg(test)]
mod tests;
