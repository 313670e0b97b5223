//! Passkeys: to what they are bound, and where there can be none.

use super::*;
use crate::config::settings::Passkey;
use crate::domain::factor::Method;

const PRODUCTION: &str = "[server]\npublic_url = \"https://app.example.com:8443\"\n[email]\nprovider = \"smtp\"\nfrom = \"no-reply@example.com\"\n";

fn behind(public_url: &str, lines: &str) -> Result<Loaded, Report> {
    let small = SMALL.replace("\"whoami:\"", "\"http://127.0.0.1:1\"");
    let production = PRODUCTION.replace("https://app.example.com:8443", public_url);
    load_text(&format!("{production}{lines}\n{small}"))
}

fn passkey(public_url: &str, lines: &str) -> Passkey {
    behind(public_url, lines).unwrap_or_else(|report| panic!("{report}")).settings.mfa.passkey.clone().unwrap()
}

#[test]
fn passkeys_are_bound_to_the_host_users_know_unless_the_file_says_more() {
    let own = passkey("https://app.example.com:8443", "");
    assert_eq!(own.rp_id, "app.example.com");
    assert_eq!(
        own.origins.iter().map(|it| it.origin().ascii_serialization()).collect::<Vec<_>>(),
        ["https://app.example.com:8443"]
    );

    let lines =
        "[mfa.passkey]\nrp_id = \"Example.com\"\norigins = [\"https://app.example.com\", \"https://example.com\"]";
    let wide = passkey("https://auth.example.com", lines);
    assert_eq!((wide.rp_id.as_str(), wide.origins.len()), ("example.com", 2));
}

#[test]
fn where_browsers_know_no_passkeys_they_are_left_out_with_a_warning() {
    for public_url in ["https://192.0.2.7", "http://192.0.2.7", "https://[2001:db8::1]", "http://app.example.com"] {
        let loaded = behind(public_url, "").unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.to_string().contains("passkeys are left out"), "{public_url}: {}", loaded.warnings);
        assert_eq!(loaded.settings.mfa.passkey, None, "{public_url}");
        assert_eq!(loaded.settings.mfa.policy.methods, [Method::Totp, Method::Email], "{public_url}");

        let quiet = behind(public_url, "[mfa]\nmethods = [\"totp\"]").unwrap();
        assert!(!quiet.warnings.to_string().contains("passkey"), "{public_url}: {}", quiet.warnings);
    }
    let nothing_left = "[mfa]\nmethods = [\"passkey\"]\nenforcement = \"required\"";
    let report = behind("https://192.0.2.7", nothing_left).unwrap_err().to_string();
    assert!(report.contains("a second factor is demanded, and none can be set up"), "{report}");
}

#[test]
fn what_no_browser_would_take_is_refused() {
    let cases = [
        ("rp_id = \"example.com\"", "neither the host of `server.public_url` nor a domain above it"),
        ("rp_id = \"example.com\"\norigins = [\"http://app.localhost\"]", "nor below it"),
        ("rp_id = \"com\"\norigins = [\"https://example.com\"]", "nor below it"),
        ("origins = [\"http://app.example.com\"]", "is not https"),
        ("origins = [\"app://localhost\"]", "is not https"),
        ("origins = [\"localhost\"]", "is not an origin"),
        ("timeout = \"11m\"", "must be from 10s to 10m"),
        ("timeout = \"1s\"", "must be from 10s to 10m"),
        ("user_verification = \"always\"", "`always` is not one of"),
        ("attachment = \"usb\"", "`usb` is not one of"),
    ];
    for (lines, expected) in cases {
        let report = load_text(&format!("[mfa.passkey]\n{lines}\n{SMALL}")).unwrap_err().to_string();
        assert!(report.contains(expected) && report.contains("nauth.toml:"), "{lines}: {report}");
    }
    for mfa in ["methods = [\"totp\"]", "enabled = false"] {
        let found = messages(&format!("[mfa]\n{mfa}\n[mfa.passkey]\npasswordless = true\n{SMALL}"));
        assert_eq!(found, ["nobody may set a passkey up to log in with"], "{mfa}");
    }
}

#[test]
fn passkeys_are_in_force_with_a_reload() {
    let with = |lines: &str| load_text(&format!("{lines}\n{SMALL}")).unwrap().settings;
    let changed = changes(&with(""), &with("[mfa.passkey]\npasswordless = true"));
    assert_eq!((changed.applied.as_slice(), changed.restart_required.len()), (&["mfa"][..], 0));
}
