//! `[mfa.trust]`

use crate::config::reader::Section;
use crate::config::settings::{DeviceTrust, TrustRule};

pub(super) fn trust(root: &mut Section<'_>) -> DeviceTrust {
    let mut mfa = root.section("mfa");
    let mut s = mfa.section("trust");
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
    s.finish();
    mfa.finish();
    trust
}
