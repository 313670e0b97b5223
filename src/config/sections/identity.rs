//! `[gateway.identity]`, `[upstreams.identity]`, `[routes.identity]`

use crate::config::reader::Section;
use crate::config::sections::assertion;
use crate::config::settings::{Assertion, Identity, IdentityPreset, IdentityUser};

/// The first word leaves it to what is written further out.
const USERS: [(&str, Option<IdentityUser>); 4] = [
    ("", None),
    ("sub", Some(IdentityUser::Sub)),
    ("email", Some(IdentityUser::Email)),
    ("username", Some(IdentityUser::Username)),
];
const PRESETS: [(&str, Option<IdentityPreset>); 7] = [
    ("", None),
    ("standard", Some(IdentityPreset::Standard)),
    ("remote", Some(IdentityPreset::Remote)),
    ("auth_request", Some(IdentityPreset::AuthRequest)),
    ("authentik", Some(IdentityPreset::Authentik)),
    ("grafana", Some(IdentityPreset::Grafana)),
    ("none", Some(IdentityPreset::None)),
];

/// What is told about users, as it is written in one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    user: Option<IdentityUser>,
    preset: Option<IdentityPreset>,
}

impl Written {
    /// The same with what is written nearer to the request.
    pub(super) fn with(&self, nearer: &Self) -> Self {
        Self { user: nearer.user.or(self.user), preset: nearer.preset.or(self.preset) }
    }

    /// What upstreams are told then.
    pub(super) fn resolved(&self, allow_unverified: bool) -> Identity {
        let preset = self.preset.unwrap_or(IdentityPreset::Standard);
        let user = self.user.unwrap_or(IdentityUser::Sub);
        Identity { allow_unverified, user, preset, headers: preset.headers() }
    }
}

/// `[gateway.identity]`: what holds everywhere, whether unproven addresses are told, and the assertion.
pub(super) fn identity(parent: &mut Section<'_>) -> (Written, bool, Assertion) {
    let mut s = parent.section("identity");
    let allow_unverified =
        s.boolean("allow_unverified", false, "Whether addresses nobody has proven are told to upstreams.");
    let written = Written {
        user: s.choice(
            "user",
            "sub",
            &USERS[1..],
            "What the preset's user header carries: the stable id, the proven address, or the user name, which then \
             nobody can change.",
        ),
        preset: s.choice(
            "preset",
            "standard",
            &PRESETS[1..],
            "Which headers carry the identity; what is not known is left out. `standard`: X-Forwarded-User, -Email, \
             -Preferred-Username, -Groups. `remote`: Remote-User, -Email, -Name, -Groups. `auth_request`: \
             X-Auth-Request-User, -Email, -Preferred-Username, -Groups. `authentik`: X-authentik-username, -email, \
             -name, -uid (always the stable id), -groups (`|` between them). `grafana`: X-WEBAUTH-USER, -EMAIL, -NAME, \
             -GROUPS. `none`: no header. Names are user names, groups are the roles; where these are longer than 4 KiB \
             the rest is left out and a header of the same name with `-Truncated` says 1. In all values `%XX` stands \
             for a byte that is no printable ASCII, and for blank, `%` and `,`.",
        ),
    };
    let assertion = assertion::assertion(&mut s);
    if allow_unverified {
        s.warning("allow_unverified", "upstreams are told addresses that anybody can claim", "remove the line");
    }
    s.finish();
    (written, allow_unverified, assertion)
}

/// A preset by itself, where it is another one than `gateway.identity.preset`.
pub(super) fn preset(s: &mut Section<'_>, key: &'static str, default: &'static str, doc: &'static str) -> Written {
    Written { user: None, preset: s.choice(key, default, &PRESETS[1..], doc) }
}

/// What an upstream or a route says instead.
pub(super) fn overrides(parent: &mut Section<'_>) -> Written {
    let mut s = parent.section("identity");
    let doc = "`gateway.identity.user` of these requests. Empty leaves it as it is; a route's word counts before its \
               upstream's.";
    let user = s.choice("user", "", &USERS, doc);
    let doc = "`gateway.identity.preset` of these requests. Empty leaves it as it is.";
    let written = Written { user, preset: s.choice("preset", "", &PRESETS, doc) };
    s.finish();
    written
}
