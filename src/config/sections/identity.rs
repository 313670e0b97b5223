//! `[gateway.identity]`, `[upstreams.identity]`, `[routes.identity]`

use std::collections::BTreeSet;

use http::HeaderName;

use crate::config::reader::Section;
use crate::config::sections::assertion;
use crate::config::sections::gateway::{MAX_NAME, header_name};
use crate::config::settings::{Assertion, Identity, IdentityHeader, IdentityPreset, IdentityUser, Says};
use crate::domain::template::{Piece, Template, Told};

/// The first word leaves it to what is written further out.
const USERS: [(&str, Option<IdentityUser>); 4] = [
    ("", None),
    ("sub", Some(IdentityUser::Sub)),
    ("email", Some(IdentityUser::Email)),
    ("username", Some(IdentityUser::Username)),
];
const PRESETS: [(&str, Option<IdentityPreset>); 9] = [
    ("", None),
    ("standard", Some(IdentityPreset::Standard)),
    ("remote", Some(IdentityPreset::Remote)),
    ("auth_request", Some(IdentityPreset::AuthRequest)),
    ("authentik", Some(IdentityPreset::Authentik)),
    ("pomerium", Some(IdentityPreset::Pomerium)),
    ("grafana", Some(IdentityPreset::Grafana)),
    ("bearer", Some(IdentityPreset::Bearer)),
    ("none", Some(IdentityPreset::None)),
];

/// Most headers of `extra` in one place.
const MAX_EXTRA: usize = 32;
/// Names that mean something of their own, or that nauth sets itself.
const TAKEN: [&str; 20] = [
    "authorization",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "via",
    "x-nauth-identity-truncated",
    "x-nauth-intercepted",
    "x-real-ip",
    "x-request-id",
];
/// What such names begin with.
const TAKEN_PREFIXES: [&str; 6] = ["accept-", "content-", "if-", "proxy-", "sec-", "x-forwarded-"];
/// Among these the preset `standard` has names that applications read.
const STANDARD: [&str; 4] =
    ["x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-groups"];

/// What is told about users, as it is written in one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    user: Option<IdentityUser>,
    preset: Option<IdentityPreset>,
    /// `None` takes away what is written further out.
    extra: Vec<(HeaderName, Option<Template>)>,
}

impl Written {
    /// The same with what is written nearer to the request.
    pub(super) fn with(&self, nearer: &Self) -> Self {
        let is_nearer = |name: &HeaderName| nearer.extra.iter().any(|(said, _)| said == name);
        let further = self.extra.iter().filter(|(name, _)| !is_nearer(name));
        Self {
            user: nearer.user.or(self.user),
            preset: nearer.preset.or(self.preset),
            extra: further.chain(&nearer.extra).cloned().collect(),
        }
    }

    /// What upstreams are told then. A header of `extra` stands in place of the preset's of the same name.
    pub(super) fn resolved(&self, allow_unverified: bool) -> Identity {
        let preset = self.preset.unwrap_or(IdentityPreset::Standard);
        let user = self.user.unwrap_or(IdentityUser::Sub);
        let is_extra = |header: &IdentityHeader| self.extra.iter().any(|(name, _)| *name == header.name);
        let mut headers: Vec<IdentityHeader> =
            preset.headers().into_iter().filter(|header| !is_extra(header)).collect();
        headers.extend(self.extra.iter().filter_map(|(name, template)| {
            Some(IdentityHeader { name: name.clone(), says: Says::Template(template.clone()?) })
        }));
        Identity { allow_unverified, user, preset, headers }
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
             -name, -uid (always the stable id), -groups (`|` between them), -jwt (the assertion), -meta-jwks (where its \
             keys are). `pomerium`: X-Pomerium-Jwt-Assertion. `grafana`: X-WEBAUTH-USER, -EMAIL, -NAME, -GROUPS, and \
             X-JWT-Assertion for its `auth.jwt`. `bearer`: Authorization: Bearer and the assertion; no other \
             Authorization passes. `none`: no header. Names are user names, groups are the roles; where these are longer than 4 KiB \
             the rest is left out and a header of the same name with `-Truncated` says 1. In all values `%XX` stands \
             for a byte that is no printable ASCII, and for blank, `%` and `,`.",
        ),
        extra: extra(
            &mut s,
            "Further headers, or others in place of the preset's: `x-tenant = \"{{user.metadata_admin.tenant}}\"`. Known \
             are `user.id`, `.email` (proven), `.username`, `.first_name`, `.last_name`, `.roles`, `.metadata_admin.…` \
             (what only operators and hooks write); `session.id`, `.acr`, `.amr`, `.auth_time`; `claims.…`, those of \
             `jwt.claims` and of the hook `login.pre_token`. What a template reads is in the access token, so a change \
             of the templates counts once tokens are refreshed. A header of which something is not known is left out; \
             so is one above 4 KiB, or all of them above 16 KiB, and then `X-Nauth-Identity-Truncated` says 1.",
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
    Written { preset: s.choice(key, default, &PRESETS[1..], doc), ..Written::default() }
}

/// What an upstream or a route says instead.
pub(super) fn overrides(parent: &mut Section<'_>) -> Written {
    let mut s = parent.section("identity");
    let doc = "`gateway.identity.user` of these requests. Empty leaves it as it is; a route's word counts before its \
               upstream's.";
    let user = s.choice("user", "", &USERS, doc);
    let doc = "`gateway.identity.preset` of these requests. Empty leaves it as it is.";
    let preset = s.choice("preset", "", &PRESETS, doc);
    let doc = "`gateway.identity.extra` of these requests, beside what is said further out. An empty text takes a header \
               away.";
    let written = Written { user, preset, extra: extra(&mut s, doc) };
    s.finish();
    written
}

/// What tokens must hold for the headers of all routes.
pub(super) fn told<'a>(identities: impl Iterator<Item = &'a Identity>) -> Vec<Told> {
    let told: BTreeSet<&Told> = identities.flat_map(Identity::asks_for).map(|(_, told)| told).collect();
    told.into_iter().cloned().collect()
}

fn extra(s: &mut Section<'_>, doc: &'static str) -> Vec<(HeaderName, Option<Template>)> {
    let mut headers: Vec<(HeaderName, Option<Template>)> = Vec::new();
    for (name, text, at) in s.pairs("extra", doc) {
        let hint = "write x-tenant = \"{{user.metadata_admin.tenant}}\"";
        let is_known =
            |header: &HeaderName| headers.iter().any(|(known, _)| spelled(known.as_str()) == spelled(header.as_str()));
        match (extra_name(&name), template(&text)) {
            (Ok(header), _) if is_known(&header) => s.report_at(Some(at), format!("`{name}` is there twice"), hint),
            (Ok(header), Ok(template)) => headers.push((header, template)),
            (Err(message), _) | (_, Err(message)) => s.report_at(Some(at), message, hint),
        }
    }
    if headers.len() > MAX_EXTRA {
        s.error("extra", format!("there are more than {MAX_EXTRA} headers"), "put more into one of them");
    }
    headers
}

/// A header that may tell something about the user.
fn extra_name(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    let spelled = spelled(name.as_str());
    let means_something = TAKEN.contains(&spelled.as_str())
        || TAKEN_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix)) && !STANDARD.contains(&spelled.as_str());
    if spelled == "authorization" {
        return Err(format!("`{text}` carries credentials"));
    }
    if means_something {
        return Err(format!("`{text}` means something else to upstreams"));
    }
    if text.len() > MAX_NAME {
        return Err(format!("`{text}` is longer than {MAX_NAME} bytes"));
    }
    Ok(name)
}

/// What a header says; `None` for nothing.
fn template(text: &str) -> Result<Option<Template>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let template: Template = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    let is_printable = |piece: &Piece| match piece {
        Piece::Text(text) => text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
        Piece::Value(_) => true,
    };
    if !template.pieces().iter().all(is_printable) || text.trim() != text {
        return Err(format!("`{text}` cannot be sent: printable ASCII, no blanks at the ends"));
    }
    Ok(Some(template))
}

/// As upstreams that speak CGI or WSGI read it.
fn spelled(name: &str) -> String {
    name.replace(['_', '.'], "-")
}
