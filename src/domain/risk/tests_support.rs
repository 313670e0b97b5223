//! A policy with the defaults of `nauth.toml`.

use super::*;

pub(crate) fn policy() -> RiskPolicy {
    let rule = |max, action, notify| LevelRule { max, action, notify };
    RiskPolicy {
        triggers: Sign::ALL.into_iter().filter(|sign| *sign != Sign::IncompleteLocation).collect(),
        weights: Sign::ALL.into_iter().zip([25, 15, 25, 40, 30, 20, 40]).collect(),
        low: rule(20, Action::Allow, false),
        medium: rule(50, Action::RequireMfa, true),
        high: rule(100, Action::RequireMfa, true),
        block: Block { scope: BlockScope::Ip, duration: Duration::from_mins(15), message: "no".to_owned() },
        max_speed_kmh: 900,
        country_change_min: Duration::from_hours(2),
        suspicious_window: Duration::from_hours(1),
        on_error: Action::RequireMfa,
    }
}
