//! `[mfa]`

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::reader::Section;
use crate::config::sections::accounts::role;
use crate::config::sections::adaptive::adaptive;
use crate::config::sections::passkey::passkey;
use crate::config::sections::server::number;
use crate::config::settings::{
    Backup, DeviceTrust, Mfa, PublicUrl, Signup, Totp, TotpAlgorithm, TrustRule, Verification,
};
use crate::domain::factor::Method;
use crate::domain::mfa::{Enforcement, MfaPolicy};
use crate::domain::user::Role;

pub(super) fn mfa(
    root: &mut Section<'_>,
    public_url: &PublicUrl,
    app_name: &str,
    known_roles: &BTreeSet<Role>,
    signup: &Signup,
) -> Mfa {
    let mut s = root.section("mfa");
    let doc = "Whether there are factors beside the password.";
    let enabled = s.boolean("enabled", true, doc);
    let doc = "Whom a second factor is demanded of: of whoever has set one up (optional), or of everybody, who has to \
               set one up (required), or must set one up and is asked for it when a login is unusual (adaptive).";
    let kinds =
        [("optional", Enforcement::Optional), ("required", Enforcement::Required), ("adaptive", Enforcement::Adaptive)];
    let enforcement = s.choice("enforcement", "optional", &kinds, doc);
    let methods = methods(&mut s);
    let doc = "How long a new account may do without a factor that is demanded. \"0s\" means not at all.";
    let grace = s.duration("grace", "7d", doc);
    let doc = "Whether nobody is made to set a factor up while signing up: the next login asks.";
    let grace_skip_signup = s.boolean("grace_skip_signup", false, doc);
    let doc = "Roles whose holders always pass a second factor: no grace, no exemption and no trusted device spares them. \
         In a session that has proven none, these roles do not count.";
    let roles = s.list("require_for_roles", "[]", doc, |text| role(text, known_roles)).unwrap_or_default();
    let doc = "What apps show an account under; empty means `email.vars.app_name`.";
    let issuer = s.optional("issuer", doc).unwrap_or_else(|| app_name.to_owned());
    if issuer.contains(':') {
        s.error("issuer", "`issuer` holds a colon", "apps split what they show at the first colon");
    }
    let (trust, trust_spares) = trust(&mut s);
    if trust_spares && enforcement == Enforcement::Adaptive {
        let hint = "a trusted device is no new device; leave `bypass` out";
        s.warning("trust.bypass", "`mfa.trust.bypass` has no effect while `mfa.enforcement` is \"adaptive\"", hint);
    }
    let (risk, unenrolled) = adaptive(&mut s);
    let totp = totp(&mut s);
    let passkey = passkey(&mut s, public_url, &issuer, enabled.then_some(&methods));
    let methods = without_passkeys_unless(passkey.is_some(), methods);
    if methods.is_empty() && (enforcement != Enforcement::Optional || !roles.is_empty()) {
        s.error("methods", "a second factor is demanded, and none can be set up", "name another method than `passkey`");
    }
    let codes = codes(&mut s, signup);
    let backup = backup(&mut s);
    s.finish();
    Mfa {
        enabled,
        policy: MfaPolicy {
            enforcement,
            methods,
            grace,
            grace_skip_signup,
            trust_spares,
            unenrolled,
            roles: roles.into_iter().collect(),
        },
        risk,
        issuer,
        trust,
        totp,
        passkey,
        email_codes: Verification { link_url: None, ..codes(&signup.email_verification) },
        sms_codes: codes(&signup.phone_verification),
        backup,
    }
}

fn methods(s: &mut Section<'_>) -> Vec<Method> {
    let kinds = [("totp", Method::Totp), ("passkey", Method::Passkey), ("email", Method::Email), ("sms", Method::Sms)];
    let doc = "What may be set up: `totp` (codes of an app), `passkey` (`WebAuthn`), `email` and `sms` (codes that are \
               sent). A factor of a method that is taken out of use is still asked for where its owner has no other.";
    let methods = s.choices("methods", "[\"totp\", \"passkey\", \"email\"]", &kinds, doc);
    let methods = methods.unwrap_or_else(|| vec![Method::Totp, Method::Passkey, Method::Email]);
    if methods.is_empty() {
        s.error("methods", "nobody could set up a second factor", "name one, or set `mfa.enabled = false`");
    }
    methods
}

fn without_passkeys_unless(possible: bool, mut methods: Vec<Method>) -> Vec<Method> {
    methods.retain(|method| possible || *method != Method::Passkey);
    methods
}

fn trust(parent: &mut Section<'_>) -> (DeviceTrust, bool) {
    let mut s = parent.section("trust");
    let trust = DeviceTrust {
        devices: s.choice(
            "devices",
            "user_opt_in",
            &[("never", TrustRule::Never), ("always", TrustRule::Always), ("user_opt_in", TrustRule::UserOptIn)],
            "When a device is trusted: never, after every login, or when the user says so (`POST /trust-device`). \
             A trusted device is not slowed down by failed logins elsewhere.",
        ),
        ttl: s.lasting("ttl", "30d", "How long trust lasts."),
    };
    let doc = "Whether a trusted device spares its user the second factor.";
    let bypass = s.boolean("bypass", false, doc);
    if bypass && trust.devices == TrustRule::Never {
        s.error("bypass", "no device is ever trusted", "set `mfa.trust.devices`, or leave `bypass` out");
    }
    s.finish();
    (trust, bypass)
}

fn totp(parent: &mut Section<'_>) -> Totp {
    let mut s = parent.section("totp");
    let algorithms =
        [("sha1", TotpAlgorithm::Sha1), ("sha256", TotpAlgorithm::Sha256), ("sha512", TotpAlgorithm::Sha512)];
    let totp = Totp {
        window: small(s.integer("window", 1, 0..=10, "Steps before and after the present one whose codes are taken.")),
        step: s.lasting("step", "30s", "Life of a code, whole seconds. Apps expect 30 s."),
        digits: small(s.integer("digits", 6, 6..=8, "Digits of a code. Apps expect 6.")),
        algorithm: s.choice(
            "algorithm",
            "sha1",
            &algorithms,
            "What codes are computed with (RFC 6238). Many apps know nothing but sha1. Changing it, `step` or `digits` \
             voids what is set up.",
        ),
        prevent_replay: s.boolean("prevent_replay", true, "Whether a code is taken once only (RFC 6238, 5.2)."),
    };
    if totp.step.subsec_nanos() != 0 || totp.step > Duration::from_mins(5) {
        s.error("step", "`step` must be whole seconds, 5m at most", "apps expect \"30s\"");
    }
    s.finish();
    totp
}

/// A number that was checked to be small.
fn small<T: TryFrom<i64>>(number: i64) -> T {
    T::try_from(number).ok().expect("checked to be small")
}

/// Codes that are sent: their own length and life, and the limits of what proves addresses.
fn codes(parent: &mut Section<'_>, signup: &Signup) -> impl Fn(&Verification) -> Verification + use<> {
    let mut s = parent.section("codes");
    let code_length = number(s.integer("length", 6, 6..=10, "Digits of a code that is sent.")) as usize;
    let ttl = s.lasting("ttl", "5m", "Life of a code that is sent.");
    let longest = signup.email_verification.resend_delay.max(signup.phone_verification.resend_delay);
    if ttl <= longest {
        let hint = "else a code ends before another can be asked for";
        s.error("ttl", "`mfa.codes.ttl` must be longer than every `resend_delay` of `[signup]`", hint);
    }
    s.finish();
    move |like: &Verification| Verification { code_length, ttl, ..like.clone() }
}

fn backup(parent: &mut Section<'_>) -> Backup {
    let mut s = parent.section("backup");
    let backup = Backup {
        enabled: s.boolean("enabled", true, "Whether users may have codes for the day their factors are lost."),
        count: number(s.integer("count", 10, 1..=100, "How many codes a user gets.")) as usize,
        length: number(s.integer("length", 10, 8..=10, "Letters and digits of a code.")) as usize,
    };
    s.finish();
    backup
}
