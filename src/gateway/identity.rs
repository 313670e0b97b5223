//! Who the user is, in headers no client can forge: what clients say is dropped first
//! ([`super::managed`]), and what nauth says is set last.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::settings::{IDENTITY_TRUNCATED, Identity, IdentityUser, Says};
use crate::domain::claims::{AccessClaims, Words};
use crate::domain::template::{Piece, Template, Variable};
use crate::gateway::credentials::CookieNames;

/// Longest list of groups an upstream gets, in bytes.
const MAX_GROUPS: usize = 4 * 1024;

/// Longest value of any header, in bytes.
const MAX_VALUE: usize = 4 * 1024;
/// Most bytes of all of them, names and values.
const MAX_ALL: usize = 16 * 1024;

/// What percent-encoding leaves alone: printable ASCII without the blank, `%` and `,`.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// What an upstream that believes no header alone is shown.
#[derive(Debug, Clone)]
pub struct Proof<'a> {
    /// The signed identity.
    pub assertion: HeaderValue,
    /// Where the keys are that verify it.
    pub keys: Option<&'a HeaderValue>,
}

/// Sets every header that tells an upstream who the user is; what is not known sets none.
pub fn tell(
    claims: &AccessClaims,
    identity: &Identity,
    proof: Option<&Proof<'_>>,
    set: impl FnMut(&HeaderName, HeaderValue),
) {
    let mut upstream = Upstream { set, bytes: 0, is_cut: false };
    let known = Known { claims, allow_unverified: identity.allow_unverified };
    for header in &identity.headers {
        let said = match &header.says {
            Says::User => match identity.user {
                IdentityUser::Sub => Some(claims.sub.as_str()),
                IdentityUser::Email => known.email(),
                IdentityUser::Username => known.username(),
            },
            Says::Sub => Some(claims.sub.as_str()),
            Says::Email => known.email(),
            Says::Username => known.username(),
            Says::Groups { separator, truncated } => {
                let (list, is_whole) = groups(&claims.roles, *separator);
                upstream.hears(&header.name, list);
                if !is_whole {
                    upstream.hears(truncated, "1".to_owned());
                }
                continue;
            }
            Says::Assertion | Says::Bearer | Says::Keys => {
                if let Some(value) = proof.and_then(|proof| shown(proof, &header.says)) {
                    upstream.gets(&header.name, value);
                }
                continue;
            }
            Says::Template(template) => {
                if let Some(text) = known.rendered(template) {
                    upstream.hears(&header.name, text);
                }
                continue;
            }
        };
        if let Some(said) = said {
            upstream.hears(&header.name, encoded(said));
        }
    }
    if upstream.is_cut {
        (upstream.set)(&IDENTITY_TRUNCATED, HeaderValue::from_static("1"));
    }
}

/// What an upstream is told, as long as it is no more than it can take.
struct Upstream<S> {
    set: S,
    /// Of all headers so far.
    bytes: usize,
    /// Whether something was left out.
    is_cut: bool,
}

impl<S: FnMut(&HeaderName, HeaderValue)> Upstream<S> {
    fn hears(&mut self, name: &HeaderName, text: String) {
        if !text.is_empty()
            && let Ok(value) = HeaderValue::try_from(text)
        {
            self.gets(name, value);
        }
    }

    fn gets(&mut self, name: &HeaderName, value: HeaderValue) {
        let bytes = self.bytes + name.as_str().len() + value.len();
        if value.len() > MAX_VALUE || bytes > MAX_ALL {
            self.is_cut = true;
        } else {
            self.bytes = bytes;
            (self.set)(name, value);
        }
    }
}

/// A proof as a header has it.
fn shown(proof: &Proof<'_>, says: &Says) -> Option<HeaderValue> {
    match says {
        Says::Bearer => {
            let bearer = [b"Bearer ", proof.assertion.as_bytes()].concat();
            HeaderValue::from_maybe_shared(Bytes::from(bearer)).ok()
        }
        Says::Keys => proof.keys.cloned(),
        _ => Some(proof.assertion.clone()),
    }
}

/// What a token says about its user.
struct Known<'a> {
    claims: &'a AccessClaims,
    allow_unverified: bool,
}

impl<'a> Known<'a> {
    fn email(&self) -> Option<&'a str> {
        (self.claims.email_verified || self.allow_unverified).then_some(self.claims.email.as_str())
    }

    fn username(&self) -> Option<&'a str> {
        self.claims.username.as_deref()
    }

    /// A template filled in; `None` when something in it is not known.
    fn rendered(&self, template: &Template) -> Option<String> {
        let mut text = String::new();
        for piece in template.pieces() {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Value(variable) => {
                    let before = text.len();
                    self.push(&mut text, variable);
                    if text.len() == before {
                        return None;
                    }
                }
            }
        }
        Some(text)
    }

    fn push(&self, text: &mut String, variable: &Variable) {
        let claims = self.claims;
        match variable {
            Variable::UserId => push(text, &claims.sub),
            Variable::Email => push(text, self.email().unwrap_or_default()),
            Variable::Username => push(text, self.username().unwrap_or_default()),
            Variable::Roles => push_list(text, &claims.roles),
            Variable::SessionId => push(text, &claims.session_id),
            Variable::Acr => push(text, &claims.acr),
            Variable::Amr => push_list(text, &claims.amr),
            Variable::AuthTime => push(text, &claims.auth_time.to_string()),
            Variable::Told(told) => match claims.told.get(told.key()) {
                Some(Words::One(word)) => push(text, word),
                Some(Words::Many(words)) => push_list(text, words),
                None => {}
            },
        }
    }
}

fn push(text: &mut String, value: &str) {
    text.extend(utf8_percent_encode(value, VALUE));
}

fn push_list(text: &mut String, values: &[String]) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        push(text, value);
    }
}

/// The roles, as many as fit, and whether that is all of them.
fn groups(roles: &[String], separator: char) -> (String, bool) {
    let mut list = String::new();
    for role in roles {
        let before = list.len();
        if before > 0 {
            list.push(separator);
        }
        push(&mut list, role);
        if list.len() > MAX_GROUPS {
            list.truncate(before);
            return (list, false);
        }
    }
    (list, true)
}

fn encoded(value: &str) -> String {
    utf8_percent_encode(value, VALUE).collect()
}

/// Whether a `Set-Cookie` of an upstream sets a cookie of ours, or one without a name that browsers would send
/// back as one: of `=name=value` they keep `name=value`.
#[must_use]
pub fn sets_own_cookie(value: &HeaderValue, names: &CookieNames) -> bool {
    let bytes = value.as_bytes();
    let begins = bytes.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b'=').unwrap_or(bytes.len());
    let bytes = &bytes[begins..];
    let end = bytes.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..end]);
    names.is_own(name.trim())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::settings::{IdentityHeader, IdentityPreset};

    fn claims() -> AccessClaims {
        let mut claims = crate::tokens::access::tests_support::token(1, 1, 0).claims;
        claims.sub = "0b5c".to_owned();
        claims.username = Some("ada".to_owned());
        claims.roles = vec!["admin".to_owned(), "user".to_owned()];
        claims
    }

    fn identity(preset: IdentityPreset, user: IdentityUser) -> Identity {
        Identity { allow_unverified: false, user, preset, headers: preset.headers() }
    }

    /// The presets that tell something in words.
    const IN_WORDS: [IdentityPreset; 5] = [
        IdentityPreset::Standard,
        IdentityPreset::Remote,
        IdentityPreset::AuthRequest,
        IdentityPreset::Authentik,
        IdentityPreset::Grafana,
    ];

    fn shown(claims: &AccessClaims, identity: &Identity, proof: Option<&Proof<'_>>) -> Vec<String> {
        let mut lines = Vec::new();
        tell(claims, identity, proof, |name, value| lines.push(format!("{name}: {}", value.to_str().unwrap())));
        lines
    }

    fn told(claims: &AccessClaims, identity: &Identity) -> Vec<String> {
        shown(claims, identity, None)
    }

    #[test]
    fn every_preset_tells_who_the_user_is_in_its_own_words() {
        let cases = [
            (
                IdentityPreset::Standard,
                vec![
                    "x-forwarded-user: 0b5c",
                    "x-forwarded-email: ada@example.com",
                    "x-forwarded-preferred-username: ada",
                    "x-forwarded-groups: admin,user",
                ],
            ),
            (
                IdentityPreset::Remote,
                vec![
                    "remote-user: 0b5c",
                    "remote-email: ada@example.com",
                    "remote-name: ada",
                    "remote-groups: admin,user",
                ],
            ),
            (
                IdentityPreset::AuthRequest,
                vec![
                    "x-auth-request-user: 0b5c",
                    "x-auth-request-email: ada@example.com",
                    "x-auth-request-preferred-username: ada",
                    "x-auth-request-groups: admin,user",
                ],
            ),
            (
                IdentityPreset::Authentik,
                vec![
                    "x-authentik-username: 0b5c",
                    "x-authentik-email: ada@example.com",
                    "x-authentik-name: ada",
                    "x-authentik-uid: 0b5c",
                    "x-authentik-groups: admin|user",
                    "x-authentik-jwt: a.b.c",
                    "x-authentik-meta-jwks: https://app.example.com/jwks.json",
                ],
            ),
            (IdentityPreset::Pomerium, vec!["x-pomerium-jwt-assertion: a.b.c"]),
            (IdentityPreset::Bearer, vec!["authorization: Bearer a.b.c"]),
            (
                IdentityPreset::Grafana,
                vec![
                    "x-webauth-user: 0b5c",
                    "x-webauth-email: ada@example.com",
                    "x-webauth-name: ada",
                    "x-webauth-groups: admin,user",
                    "x-jwt-assertion: a.b.c",
                ],
            ),
            (IdentityPreset::None, vec![]),
        ];
        assert_eq!(cases.len(), IdentityPreset::ALL.len());
        let keys = HeaderValue::from_static("https://app.example.com/jwks.json");
        let proof = Proof { assertion: HeaderValue::from_static("a.b.c"), keys: Some(&keys) };
        for (preset, expected) in cases {
            let identity = identity(preset, IdentityUser::Sub);
            assert_eq!(shown(&claims(), &identity, Some(&proof)), expected, "{preset:?}");
            assert_eq!(identity.is_signed(), expected.iter().any(|line| line.ends_with("a.b.c")), "{preset:?}");
        }
    }

    #[test]
    fn the_user_header_carries_what_is_asked_for() {
        for preset in IN_WORDS {
            for (user, expected) in
                [(IdentityUser::Sub, "0b5c"), (IdentityUser::Email, "ada@example.com"), (IdentityUser::Username, "ada")]
            {
                let told = told(&claims(), &identity(preset, user));
                assert!(told[0].ends_with(&format!(": {expected}")), "{preset:?} {user:?}: {told:?}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let nameless = AccessClaims { username: None, roles: Vec::new(), ..claims() };
        for preset in IN_WORDS {
            let told = told(&nameless, &identity(preset, IdentityUser::Username));
            let names: Vec<&str> = told.iter().filter_map(|line| line.split(':').next()).collect();
            let rest: Vec<&&str> = names.iter().filter(|name| !name.ends_with("-email")).collect();
            let is_authentik = preset == IdentityPreset::Authentik;
            assert_eq!(rest.len(), usize::from(is_authentik), "{preset:?} still tells its uid at most: {told:?}");
        }
    }

    #[test]
    fn an_unproven_address_stays_here() {
        let unproven = AccessClaims { email_verified: false, ..claims() };
        for preset in IN_WORDS {
            let closed = identity(preset, IdentityUser::Email);
            assert!(!told(&unproven, &closed).iter().any(|line| line.contains("ada@")), "{preset:?}");

            let open = Identity { allow_unverified: true, ..closed };
            assert_eq!(told(&unproven, &open).iter().filter(|line| line.contains("ada@")).count(), 2, "{preset:?}");
        }
    }

    #[test]
    fn values_are_printable_ascii_and_bounded() {
        let odd = AccessClaims {
            username: Some("ä,b c%\r\n".to_owned()),
            roles: (0..1000).map(|n| format!("role-{n}")).collect(),
            ..claims()
        };
        for preset in IN_WORDS {
            let told = told(&odd, &identity(preset, IdentityUser::Username));
            assert!(told[0].ends_with(": %C3%A4%2Cb%20c%25%0D%0A"), "{preset:?}: {told:?}");
            let [.., groups, truncated] = &told[..] else { panic!("{told:?}") };
            let (name, list) = groups.split_once(": ").unwrap();
            assert!(list.len() <= MAX_GROUPS && list.len() > MAX_GROUPS - 20, "{preset:?}: {}", list.len());
            let last = list.rsplit([',', '|']).next().unwrap();
            assert!(odd.roles.iter().any(|role| role == last), "{preset:?} cuts `{last}`");
            assert_eq!(*truncated, format!("{name}-truncated: 1"));
        }
    }

    fn extra(preset: IdentityPreset, extra: &[(&'static str, &str)]) -> Identity {
        let mut identity = identity(preset, IdentityUser::Sub);
        identity.headers.extend(extra.iter().map(|(name, template)| IdentityHeader {
            name: HeaderName::from_static(name),
            says: Says::Template(template.parse().unwrap()),
        }));
        identity
    }

    #[test]
    fn a_template_says_what_is_known() {
        let claims = AccessClaims {
            session_id: "42".to_owned(),
            amr: vec!["pwd".to_owned(), "otp".to_owned()],
            acr: "aal2".to_owned(),
            auth_time: 1_700_000_000,
            told: BTreeMap::from([
                ("metadata_admin.tenant".to_owned(), Words::One("Zürich, 100%".to_owned())),
                ("metadata_admin.teams".to_owned(), Words::Many(vec!["a,b".to_owned(), "c".to_owned()])),
                ("claims.plan".to_owned(), Words::One("pro".to_owned())),
            ]),
            ..claims()
        };
        for (template, expected) in [
            ("{{user.id}}", Some("0b5c")),
            ("{{user.email}}", Some("ada@example.com")),
            ("{{user.username}}/{{user.roles}}", Some("ada/admin,user")),
            (
                "{{session.id}} {{session.acr}} {{session.amr}} {{session.auth_time}}",
                Some("42 aal2 pwd,otp 1700000000"),
            ),
            ("{{user.metadata_admin.tenant}}", Some("Z%C3%BCrich%2C%20100%25")),
            ("{{user.metadata_admin.teams}}", Some("a%2Cb,c")),
            ("plan={{claims.plan}}", Some("plan=pro")),
            ("constant", Some("constant")),
            ("{{user.metadata_admin.gone}}", None),
            ("t-{{user.first_name}}", None),
            ("{{user.id}}{{claims.gone}}", None),
        ] {
            let told = told(&claims, &extra(IdentityPreset::None, &[("x-said", template)]));
            let expected: Vec<String> = expected.map(|value| format!("x-said: {value}")).into_iter().collect();
            assert_eq!(told, expected, "{template}");
        }
    }

    #[test]
    fn a_template_tells_no_unproven_address() {
        let unproven = AccessClaims { email_verified: false, ..claims() };
        let closed = extra(IdentityPreset::None, &[("x-mail", "mailto:{{user.email}}")]);
        assert!(told(&unproven, &closed).is_empty());

        let open = Identity { allow_unverified: true, ..closed };
        assert_eq!(told(&unproven, &open), ["x-mail: mailto:ada@example.com"]);
    }

    #[test]
    fn what_is_too_long_is_left_out_whole_and_that_is_said() {
        let claims = AccessClaims {
            told: BTreeMap::from([("claims.long".to_owned(), Words::One("ä".repeat(MAX_VALUE / 6 - 10)))]),
            ..claims()
        };
        let is_cut = |told: &[String]| told.last().is_some_and(|last| last == "x-nauth-identity-truncated: 1");

        let fits = told(&claims, &extra(IdentityPreset::None, &[("x-a", "{{claims.long}}")]));
        assert!(fits.len() == 1 && !is_cut(&fits), "{fits:?}");

        let long =
            told(&claims, &extra(IdentityPreset::None, &[("x-a", "{{claims.long}}{{claims.long}}"), ("x-b", "b")]));
        assert!(long.len() == 2 && long[0] == "x-b: b" && is_cut(&long), "{long:?}");

        let names = ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f"].map(|name| (name, "{{claims.long}}"));
        let many = told(&claims, &extra(IdentityPreset::Standard, &names));
        let names: Vec<&str> = many.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(names[4..], ["x-a", "x-b", "x-c", "x-d", "x-nauth-identity-truncated"]);
        let bytes: usize = many.iter().map(String::len).sum();
        assert!(bytes < MAX_ALL + 100, "{bytes}");
    }

    #[test]
    fn upstreams_do_not_set_our_cookies() {
        let names = CookieNames::new("nauth_", "nauth_csrf_token");
        for (value, own) in [
            ("nauth_access_token=x", true),
            (" nauth_csrf_token = x", true),
            ("nauth_theme=x", false),
            ("a=nauth_access_token", false),
            ("=nauth_access_token=x", true),
            ("\t =; nauth_access_token=x", false),
            (" = nauth_access_token=x", true),
            ("", false),
        ] {
            assert_eq!(sets_own_cookie(&HeaderValue::from_static(value), &names), own, "{value}");
        }
    }
}
