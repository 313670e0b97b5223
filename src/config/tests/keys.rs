//! The keys of access tokens: what may be configured, and what a reload does with it.

use super::*;
use crate::config::settings::SigningAlgorithm;

/// A key pair in PEM: private, public.
fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    (pair.serialize_pem(), pair.public_key_pem())
}

fn jwt(algorithm: &str, private: &str, public: &str) -> String {
    format!(
        "[jwt]\nalgorithm = \"{algorithm}\"\nprivate_key = \"\"\"{private}\"\"\"\npublic_key = \"\"\"{public}\"\"\"\n{SMALL}"
    )
}

#[test]
fn a_private_key_is_of_the_kind_the_algorithm_asks_for() {
    let keys = [
        (&["RS256", "RS384", "RS512"][..], pem(&rcgen::PKCS_RSA_SHA256)),
        (&["ES256"][..], pem(&rcgen::PKCS_ECDSA_P256_SHA256)),
        (&["EdDSA"][..], pem(&rcgen::PKCS_ED25519)),
        (&[][..], pem(&rcgen::PKCS_ECDSA_P384_SHA384)),
    ];

    for (algorithms, (private, public)) in &keys {
        for algorithm in SigningAlgorithm::ALL.map(SigningAlgorithm::as_str) {
            let loaded = load_text(&jwt(algorithm, private, public));
            assert_eq!(loaded.is_ok(), algorithms.contains(&algorithm), "{algorithm} {algorithms:?}");
            assert_eq!(load_text(&jwt(algorithm, private, "")).is_ok(), algorithms.contains(&algorithm));
        }
    }
}

#[test]
fn keys_that_do_not_fit_are_pointed_at_and_never_shown() {
    let (private, public) = pem(&rcgen::PKCS_ED25519);
    let (_, other) = pem(&rcgen::PKCS_ED25519);
    let cases = [
        (jwt("EdDSA", "secret stuff", ""), "`jwt.private_key` is not a private key in PEM"),
        (jwt("EdDSA", &public, ""), "`jwt.private_key` is not a private key in PEM"),
        (jwt("ES256", &private, ""), "`jwt.private_key` is not a key for ES256"),
        (jwt("HS256", &private, ""), "`jwt.private_key` is for RS*, ES256 and EdDSA, not for HS256"),
        (jwt("EdDSA", &private, &other), "`jwt.public_key` is not the public half of `jwt.private_key`"),
        (jwt("EdDSA", &private, "no key"), "`jwt.public_key` is not the public half of `jwt.private_key`"),
        (jwt("EdDSA", "", &public), "`jwt.public_key` belongs to a private one"),
    ];

    for (text, message) in cases {
        assert_eq!(messages(&text), [message]);
        let report = load_text(&text).unwrap_err().to_string();
        assert!(report.contains("nauth.toml:"), "{report}");
        assert!(!report.contains(private.lines().nth(1).unwrap()), "{report}");
    }
}

#[test]
fn a_short_rsa_key_is_refused() {
    // `openssl genrsa 1024`
    let short = include_str!("rsa1024.pem");

    assert_eq!(messages(&jwt("RS256", short, "")), ["`jwt.private_key` is not a key for RS256"]);
}

#[test]
fn the_algorithm_changes_with_a_reload_and_a_configured_key_with_a_restart() {
    let load = |text: &str| load_text(text).unwrap().settings;
    let (private, _) = pem(&rcgen::PKCS_ED25519);
    let (plain, other) = (load(SMALL), load(&format!("[jwt]\nalgorithm = \"ES256\"\n{SMALL}")));
    let fixed = load(&jwt("EdDSA", &private, ""));

    assert_eq!(changes(&plain, &other).applied, ["jwt"]);
    let found = changes(&plain, &fixed);
    assert_eq!((found.applied, found.restart_required), (vec![], vec!["jwt.private_key"]));
    let kept = without_restart_keys(&plain, &fixed);
    assert_eq!(kept.jwt.algorithm, SigningAlgorithm::Hs256, "a key is of one kind");
    assert!(kept.jwt.private_key.is_none());
    let shown = format!("{:?}", fixed.jwt);
    assert!(!shown.contains("48, 46"), "{shown}");
}

#[test]
fn keys_are_not_rotated_faster_than_they_are_published() {
    for (every, is_good) in [("0s", true), ("1h", true), ("90d", true), ("59m", false), ("often", false)] {
        let loaded = load_text(&format!("[jwt]\nkey_rotation = \"{every}\"\n{SMALL}"));
        assert_eq!(loaded.is_ok(), is_good, "{every}");
    }
}
