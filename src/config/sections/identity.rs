//! `[gateway.identity]`

use crate::config::reader::Section;
use crate::config::settings::{Identity, IdentityPreset, IdentityUser};

pub(super) fn identity(parent: &mut Section<'_>) -> Identity {
    let mut s = parent.section("identity");
    let identity = Identity {
        allow_unverified: s.boolean(
            "allow_unverified",
            false,
            "Whether addresses nobody has proven are told to upstreams.",
        ),
        user: s.choice(
            "user",
            "sub",
            &[("sub", IdentityUser::Sub), ("email", IdentityUser::Email), ("username", IdentityUser::Username)],
            "What the user header carries: the stable id, the proven address, or the user name.",
        ),
        preset: s.choice(
            "preset",
            "standard",
            &[("standard", IdentityPreset::Standard), ("none", IdentityPreset::None)],
            "Which headers carry the identity. standard: X-Forwarded-User, -Email, -Preferred-Username, -Groups.",
        ),
    };
    if identity.allow_unverified {
        s.warning("allow_unverified", "upstreams are told addresses that anybody can claim", "remove the line");
    }
    s.finish();
    identity
}
