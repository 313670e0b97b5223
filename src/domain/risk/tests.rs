//! What is unusual, sign by sign, and what it adds up to.

use super::tests_support::policy;
use super::*;
use crate::domain::location::Point;

const NOW: Time = Time::from_secs(1_000_000);

fn place(country: &str, city: &str, point: Option<(f64, f64)>) -> Location {
    let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let point = point.and_then(|(latitude, longitude)| Point::of_degrees(latitude, longitude));
    Location { country: named(country), city: named(city), point }
}

fn zurich() -> Location {
    place("CH", "Zürich", Some((47.3667, 8.55)))
}

fn tokyo() -> Location {
    place("JP", "Tokyo", Some((35.6895, 139.6917)))
}

fn visit(hours_ago: u64, ip: &str, user_agent: &str, location: Location) -> Visit {
    let at = Time::from_secs(NOW.secs() - i64::try_from(hours_ago * 3600).unwrap());
    Visit { at, address: ip.parse().unwrap(), user_agent: user_agent.to_owned(), location }
}

fn facts<'a>(location: &'a Location, earlier: &'a [Visit]) -> Facts<'a> {
    Facts {
        now: NOW,
        address: "192.0.2.1".parse().unwrap(),
        location,
        user_agent: "browser",
        trusted_device: false,
        earlier,
        failed_logins: 0,
        suspicious_events: 0,
        password_changed_at: None,
        last_login_at: None,
    }
}

fn seen(facts: &Facts<'_>) -> Vec<&'static str> {
    assess(facts, &policy()).names()
}

#[test]
fn nobody_is_a_stranger_at_first_and_whoever_comes_as_always_is_none() {
    let (zurich, unknown) = (zurich(), Location::default());
    assert!(seen(&facts(&zurich, &[])).is_empty());
    assert!(seen(&facts(&place("CH", "", None), &[])).is_empty());
    let same = [visit(1, "192.0.2.1", "browser", zurich.clone())];
    assert!(seen(&facts(&zurich, &same)).is_empty());
    assert!(seen(&facts(&unknown, &same)).is_empty(), "an address nobody knows is no place");
}

#[test]
fn clients_and_addresses_are_new_when_no_login_of_before_had_them() {
    let unknown = Location::default();
    let earlier =
        [visit(1, "192.0.2.7", "other", Location::default()), visit(99, "192.0.2.1", "browser", Location::default())];
    assert!(seen(&facts(&unknown, &earlier)).is_empty());
    assert_eq!(seen(&facts(&unknown, &earlier[..1])), ["new_device", "new_ip"]);
    let trusted = Facts { trusted_device: true, ..facts(&unknown, &earlier[..1]) };
    assert_eq!(seen(&trusted), ["new_ip"]);
}

#[test]
fn to_whom_nothing_is_familiar_any_more_everything_is_new() {
    let unknown = Location::default();
    let back = Facts { last_login_at: Some(Time::from_secs(1)), ..facts(&unknown, &[]) };
    assert_eq!(seen(&back), ["new_device", "new_ip"]);
    assert_eq!(seen(&Facts { trusted_device: true, ..back }), ["new_ip"]);
}

#[test]
fn a_country_is_new_among_those_that_are_known() {
    let earlier = [visit(9, "192.0.2.7", "browser", Location::default()), visit(90, "192.0.2.8", "browser", zurich())];
    assert_eq!(seen(&facts(&tokyo(), &earlier)), ["new_country"], "and the address goes without saying");
    assert_eq!(seen(&facts(&zurich(), &earlier)), ["new_ip"]);
    assert_eq!(seen(&facts(&tokyo(), &earlier[..1])), ["new_ip"], "of no login the country is known");
}

/// From where, to where, in how many hours, and whether anybody travels like that.
#[test]
fn nobody_travels_faster_than_an_airliner() {
    let geneva = place("CH", "Geneva", Some((46.2, 6.15)));
    let bare = |country: &str, city: &str| place(country, city, None);
    let cases = [
        (zurich(), zurich(), 0, false),
        (zurich(), geneva.clone(), 0, true),
        (zurich(), geneva, 1, false),
        (zurich(), tokyo(), 10, true),
        (zurich(), tokyo(), 11, false),
        // Of one place no more is known than its country.
        (zurich(), bare("JP", ""), 1, true),
        (zurich(), bare("JP", ""), 2, false),
        (bare("JP", ""), zurich(), 1, true),
        (bare("CH", ""), bare("CH", ""), 0, false),
        // Without coordinates the distance is guessed: 500, 1500 and 8000 km.
        (bare("CH", "Zürich"), bare("CH", "Geneva"), 0, true),
        (bare("CH", "Zürich"), bare("CH", "Geneva"), 1, false),
        (bare("CH", "Zürich"), bare("DE", "Berlin"), 1, true),
        (bare("CH", "Zürich"), bare("DE", "Berlin"), 2, false),
        (bare("CH", "Zürich"), bare("JP", "Tokyo"), 8, true),
        (bare("CH", "Zürich"), bare("JP", "Tokyo"), 9, false),
        // Of one of them nothing is known.
        (Location::default(), tokyo(), 0, false),
        (zurich(), Location::default(), 0, false),
    ];
    for (there, here, hours, expected) in cases {
        let earlier = [visit(hours, "192.0.2.1", "browser", there.clone())];
        let found = seen(&facts(&here, &earlier)).contains(&"impossible_travel");
        assert_eq!(found, expected, "{there:?} to {here:?} in {hours} h");
    }
}

#[test]
fn the_latest_login_with_a_country_is_where_travel_begins() {
    let earlier = [
        visit(1, "192.0.2.1", "browser", Location::default()),
        visit(30, "192.0.2.1", "browser", tokyo()),
        visit(31, "192.0.2.1", "browser", zurich()),
    ];
    assert!(seen(&facts(&zurich(), &earlier)).is_empty());
}

#[test]
fn a_country_alone_is_incomplete_where_places_matter() {
    let country = place("CH", "", Some((47.0, 8.0)));
    let earlier = [visit(9, "192.0.2.1", "browser", country.clone())];
    assert_eq!(seen(&facts(&country, &earlier)), ["incomplete_location"]);
    let mut policy = policy();
    policy.triggers.retain(|sign| !sign.needs_locations());
    assert!(assess(&facts(&country, &earlier), &policy).signs.is_empty());
}

#[test]
fn what_happened_to_the_account_counts() {
    let unknown = Location::default();
    let (before, after) = (Some(Time::from_secs(1)), Some(Time::from_secs(2)));
    let same = [visit(1, "192.0.2.1", "browser", Location::default())];
    let cases: [(Facts<'_>, &[&str]); 6] = [
        (Facts { failed_logins: 2, ..facts(&unknown, &same) }, &[]),
        (Facts { failed_logins: 3, ..facts(&unknown, &same) }, &["suspicious_activity"]),
        (Facts { suspicious_events: 1, ..facts(&unknown, &same) }, &["suspicious_activity"]),
        (
            Facts { password_changed_at: after, last_login_at: before, ..facts(&unknown, &same) },
            &["recent_password_reset"],
        ),
        (Facts { password_changed_at: before, last_login_at: after, ..facts(&unknown, &same) }, &[]),
        (Facts { password_changed_at: after, ..facts(&unknown, &same) }, &[]),
    ];
    for (facts, expected) in cases {
        assert_eq!(seen(&facts), expected, "{facts:?}");
    }
}

#[test]
fn only_what_is_looked_for_is_seen() {
    let (earlier, tokyo) = ([visit(0, "192.0.2.7", "other", zurich())], tokyo());
    let everything = Facts {
        failed_logins: 3,
        password_changed_at: Some(NOW),
        last_login_at: Some(Time::from_secs(1)),
        ..facts(&tokyo, &earlier)
    };
    let all = ["new_device", "new_country", "impossible_travel", "suspicious_activity", "recent_password_reset"];
    assert_eq!(seen(&everything), all);
    for sign in policy().triggers {
        let only = RiskPolicy { triggers: [sign].into(), ..policy() };
        assert_eq!(assess(&everything, &only).signs, [sign]);
    }
}

#[test]
fn weights_add_up_to_a_score_with_a_level_and_an_action() {
    let unknown = Location::default();
    let earlier = [visit(1, "192.0.2.7", "browser", Location::default())];
    let new_ip = facts(&unknown, &earlier);
    let cases = [
        (0, Level::Low, Action::Allow),
        (20, Level::Low, Action::Allow),
        (21, Level::Medium, Action::RequireMfa),
        (50, Level::Medium, Action::RequireMfa),
        (51, Level::High, Action::Block),
        (100, Level::High, Action::Block),
        (250, Level::High, Action::Block),
    ];
    for (weight, level, action) in cases {
        let mut policy = policy();
        policy.high.action = Action::Block;
        policy.weights.insert(Sign::NewIp, weight);
        let found = assess(&new_ip, &policy);
        assert_eq!((found.score, found.level, found.action), (weight.min(MOST), level, action), "{weight}");
        assert_eq!((found.notify, found.is_suspicious()), (level > Level::Low, action == Action::Block));
    }
}

#[test]
fn a_question_is_suspicious_for_grave_reasons_only() {
    let with =
        |signs: &[Sign], level, action| Assessment { signs: signs.to_vec(), score: 30, level, action, notify: true };
    assert!(!with(&[Sign::NewDevice], Level::Medium, Action::RequireMfa).is_suspicious());
    assert!(with(&[Sign::ImpossibleTravel], Level::Medium, Action::RequireMfa).is_suspicious());
    assert!(with(&[Sign::NewDevice], Level::High, Action::RequireMfa).is_suspicious());
    assert!(!with(&[Sign::ImpossibleTravel], Level::Medium, Action::Allow).is_suspicious());
    assert_eq!(Assessment::unknown(&policy()).action, Action::RequireMfa);
}
