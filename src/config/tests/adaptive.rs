//! Unusual logins: what the file may say of them.

use super::*;
use crate::domain::mfa::{Enforcement, Unenrolled};
use crate::domain::risk::tests_support::policy;
use crate::domain::risk::{Action, BlockScope, Sign};

fn with(extra: &str) -> Result<Loaded, Report> {
    load_text(&format!("{SMALL}\n{extra}"))
}

const NO_PLACES: &str =
    "[mfa]\nenforcement = \"adaptive\"\n[mfa.adaptive]\ntriggers = [\"new_device\", \"suspicious_activity\"]\n";

#[test]
fn the_defaults_are_those_of_the_contract() {
    let mut risk = with("").unwrap().settings.mfa.risk.clone();
    assert_eq!(risk.block.message, "Sign-in blocked due to suspicious activity.");
    risk.block.message = policy().block.message;
    assert_eq!(risk, policy());
}

#[test]
fn what_is_written_counts_and_a_change_is_one_of_mfa() {
    let old = with(NO_PLACES).unwrap().settings;
    let written = "weights = { new_device = 7 }\nlow = { max = 5 }\nhigh = { action = \"block_signin\" }\n\
                   block = { scope = \"device\" }\non_error = \"allow\"\nunenrolled_fallback = \"deny\"";
    let new = with(&format!("{NO_PLACES}{written}")).unwrap().settings;

    let risk = &new.mfa.risk;
    assert_eq!((risk.weights[&Sign::NewDevice], risk.weights[&Sign::NewIp]), (7, 15));
    assert_eq!((risk.low.max, risk.low.action, risk.high.action), (5, Action::Allow, Action::Block));
    assert_eq!((risk.block.scope, risk.on_error), (BlockScope::Device, Action::Allow));
    assert_eq!((new.mfa.policy.enforcement, new.mfa.policy.unenrolled), (Enforcement::Adaptive, Unenrolled::Deny));
    assert_eq!(changes(&old, &new).applied, ["mfa"]);
}

#[test]
fn what_could_not_be_is_refused() {
    let adaptive = "[mfa]\nenforcement = \"adaptive\"\n";
    let cases = [
        (adaptive.to_owned(), "`geoip.enabled` is false"),
        (format!("{adaptive}[geoip]\nenabled = true\ndir = \"nowhere\""), "nowhere/GeoLite2-City.mmdb` is not there"),
        (format!("{NO_PLACES}[audit]\nenabled = false"), "read from the audit trail"),
        (format!("{NO_PLACES}low = {{ max = 50 }}"), "the levels do not rise"),
        (format!("{NO_PLACES}high = {{ max = 90 }}"), "must be from 100 to 100"),
        (format!("{NO_PLACES}weights = {{ new_device = 101 }}"), "must be from 0 to 100"),
        (format!("{NO_PLACES}weights = {{ new_moon = 1 }}"), "unknown key `new_moon`"),
        (format!("{NO_PLACES}block = {{ duration = \"0s\" }}"), "longer than nothing"),
        (format!("{NO_PLACES}on_error = \"block_signin\""), "is not one of"),
    ];
    for (text, says) in cases {
        let refused = with(&text).unwrap_err().to_string();
        assert!(refused.contains(says), "{says}\n{refused}");
    }
    let spared = with(&format!("{NO_PLACES}[mfa.trust]\nbypass = true")).unwrap().warnings.to_string();
    assert!(spared.contains("has no effect while `mfa.enforcement` is \"adaptive\""), "{spared}");
}
