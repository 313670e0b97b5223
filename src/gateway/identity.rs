//! Who the user is, in headers no client can forge: what clients say is dropped first
//! ([`super::managed`]), and what nauth says is set last.

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::settings::{Identity, IdentityUser, Says};
use crate::domain::claims::AccessClaims;
use crate::gateway::credentials::CookieNames;

/// Longest list of groups an upstream gets, in bytes.
const MAX_GROUPS: usize = 4 * 1024;

/// What percent-encoding leaves alone: printable ASCII without the blank, `%` and `,`.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b',');

/// Sets every header that tells an upstream who the user is; what is not known sets none.
pub fn tell(claims: &AccessClaims, identity: &Identity, mut set: impl FnMut(&HeaderName, HeaderValue)) {
    let email = (claims.email_verified || identity.allow_unverified).then_some(claims.email.as_str());
    let username = claims.username.as_deref();
    for header in &identity.headers {
        let said = match &header.says {
            Says::User => match identity.user {
                IdentityUser::Sub => Some(claims.sub.as_str()),
                IdentityUser::Email => email,
                IdentityUser::Username => username,
            },
            Says::Sub => Some(claims.sub.as_str()),
            Says::Email => email,
            Says::Username => username,
            Says::Groups { separator, truncated } => {
                let (list, is_whole) = groups(&claims.roles, *separator);
                set_text(&header.name, list, &mut set);
                if !is_whole {
                    set(truncated, HeaderValue::from_static("1"));
                }
                continue;
            }
        };
        if let Some(said) = said {
            set_text(&header.name, encoded(said), &mut set);
        }
    }
}

fn set_text(name: &HeaderName, text: String, set: &mut impl FnMut(&HeaderName, HeaderValue)) {
    if text.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        set(name, value);
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
        list.extend(utf8_percent_encode(role, VALUE));
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

/// Whether a `Set-Cookie` of an upstream sets a cookie of ours.
#[must_use]
pub fn sets_own_cookie(value: &HeaderValue, names: &CookieNames) -> bool {
    let bytes = value.as_bytes();
    let end = bytes.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..end]);
    names.is_own(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::IdentityPreset;

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

    fn told(claims: &AccessClaims, identity: &Identity) -> Vec<String> {
        let mut lines = Vec::new();
        tell(claims, identity, |name, value| lines.push(format!("{name}: {}", value.to_str().unwrap())));
        lines
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
                ],
            ),
            (
                IdentityPreset::Grafana,
                vec![
                    "x-webauth-user: 0b5c",
                    "x-webauth-email: ada@example.com",
                    "x-webauth-name: ada",
                    "x-webauth-groups: admin,user",
                ],
            ),
            (IdentityPreset::None, vec![]),
        ];
        assert_eq!(cases.len(), IdentityPreset::ALL.len());
        for (preset, expected) in cases {
            assert_eq!(told(&claims(), &identity(preset, IdentityUser::Sub)), expected, "{preset:?}");
        }
    }

    #[test]
    fn the_user_header_carries_what_is_asked_for() {
        for preset in IdentityPreset::ALL.into_iter().filter(|preset| *preset != IdentityPreset::None) {
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
        for preset in IdentityPreset::ALL.into_iter().filter(|preset| *preset != IdentityPreset::None) {
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
        for preset in IdentityPreset::ALL.into_iter().filter(|preset| *preset != IdentityPreset::None) {
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
        for preset in IdentityPreset::ALL.into_iter().filter(|preset| *preset != IdentityPreset::None) {
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

    #[test]
    fn upstreams_do_not_set_our_cookies() {
        let names = CookieNames::new("nauth_", "nauth_csrf_token");
        for (value, own) in [
            ("nauth_access_token=x", true),
            (" nauth_csrf_token = x", true),
            ("nauth_theme=x", false),
            ("a=nauth_access_token", false),
        ] {
            assert_eq!(sets_own_cookie(&HeaderValue::from_static(value), &names), own, "{value}");
        }
    }
}
