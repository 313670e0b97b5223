//! `[signup]`, `[login]`, `[challenge]`, `[api]`, `[authorization]`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::reader::{Section, nearest, pick};
use crate::config::sections::server::number;
use crate::config::settings::{
    Api, ApiGroup, Challenge, EmailVerification, Login, MetadataKeys, Signup, UsernameRule, VerificationMethod, Window,
};
use crate::domain::user::Role;

/// Role names that are known without being listed.
const BUILT_IN_ROLES: [&str; 3] = ["admin", "support", "user"];
/// The routes of the auth API, by key, for `api.exclude`.
const ROUTE_KEYS: [&str; 9] =
    ["signup", "login", "refresh", "logout", "logoutAll", "respondChallenge", "resendCode", "profile", "sessions"];

pub(super) fn signup(root: &mut Section<'_>, known_roles: &BTreeSet<Role>) -> Signup {
    let mut s = root.section("signup");
    let enabled = s.boolean("enabled", true, "Whether anybody may sign up.");
    let verification_method = s.choice(
        "verification_method",
        "email",
        &[("none", VerificationMethod::None), ("email", VerificationMethod::Email)],
        "What must be proven before tokens are issued: nothing, or the e-mail address by a code.",
    );
    let username = s.choice(
        "username",
        "optional",
        &[("off", UsernameRule::Off), ("optional", UsernameRule::Optional), ("required", UsernameRule::Required)],
        "Whether accounts have a user name.",
    );
    let doc = "Roles of new accounts.";
    let default_roles = s.list("default_roles", "[\"user\"]", doc, |text| role(text, known_roles));
    let doc = "Keys of `metadata` that users may write; `[\"*\"]` means any, `[]` none. Never a source of authority.";
    let keys = s.list("metadata_keys", "[\"*\"]", doc, |text| Ok(text.to_owned()));
    let metadata_keys = match keys {
        None => MetadataKeys::Any,
        Some(keys) if keys.iter().any(|key| key == "*") => MetadataKeys::Any,
        Some(keys) => MetadataKeys::Only(keys),
    };
    let metadata_max = s.size("metadata_max", "4KiB", "Largest `metadata`, as JSON.");
    let email_verification = email_verification(&mut s);
    s.finish();
    Signup {
        enabled,
        verification_method,
        username,
        default_roles: default_roles.unwrap_or_else(|| vec!["user".parse().expect("a role's name")]),
        metadata_keys,
        metadata_max: usize::try_from(metadata_max).unwrap_or(usize::MAX),
        email_verification,
    }
}

fn email_verification(parent: &mut Section<'_>) -> EmailVerification {
    let mut s = parent.section("email_verification");
    let hour = Duration::from_hours(1);
    let verification = EmailVerification {
        code_length: number(s.integer("code_length", 6, 4..=10, "Digits of a code.")) as usize,
        ttl: s.lasting("ttl", "10m", "Life of a code."),
        max_attempts: number(s.integer("max_attempts", 3, 1..=100, "Wrong tries for one code.")),
        resend_delay: s.duration("resend_delay", "1m", "Shortest time between two mails to one user."),
        send_limit: s.window("send_limit", Window { max: 3, window: hour }, "Mails to one address in a window."),
    };
    if verification.resend_delay >= verification.ttl {
        s.error(
            "resend_delay",
            "`resend_delay` must be shorter than `ttl`",
            "else a code ends before another can be asked for",
        );
    }
    s.finish();
    verification
}

pub(super) fn login(root: &mut Section<'_>, api: &Api) -> Login {
    let mut s = root.section("login");
    let kinds = [("email", true), ("username", false)];
    let doc = "What users may log in with: `email`, `username`.";
    let identifiers = s.list("identifiers", "[\"email\", \"username\"]", doc, |text| pick(text, &kinds));
    let identifiers = identifiers.unwrap_or_else(|| vec![true, false]);
    if identifiers.is_empty() {
        s.error("identifiers", "nobody could log in", "name at least one of `email`, `username`");
    }
    let doc = "Where browsers are sent to log in: a path of this host or a URL. Empty means the built-in page, \
               `{api.prefix}/ui/login`.";
    let login_url = s.optional("login_url", doc);
    if let Some(url) = &login_url {
        let is_path = url.starts_with('/') && !url.starts_with("//");
        let is_url = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_path && !is_url {
            s.error("login_url", format!("`{url}` is neither a path nor a URL"), "write /login or https://…");
        }
    }
    s.finish();
    Login {
        email: identifiers.contains(&true),
        username: identifiers.contains(&false),
        login_url: login_url.unwrap_or_else(|| format!("{}/ui/login", api.prefix)),
    }
}

pub(super) fn challenge(root: &mut Section<'_>) -> Challenge {
    let mut s = root.section("challenge");
    let challenge = Challenge {
        ttl: s.lasting("ttl", "15m", "Life of a challenge."),
        max_attempts: number(s.integer("max_attempts", 3, 1..=100, "Wrong answers to one challenge.")),
    };
    s.finish();
    challenge
}

pub(super) fn api(root: &mut Section<'_>) -> Api {
    let mut s = root.section("api");
    let prefix = s.parsed("prefix", "/auth", "Where the auth API lives.", |text| {
        let path = text.strip_suffix('/').unwrap_or(text);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
        let good = path.len() > 1
            && path.starts_with('/')
            && path.chars().all(plain)
            && !path.contains("//")
            && !path.contains("..");
        if good { Ok(path.to_owned()) } else { Err(format!("`{text}` is not a path such as /auth")) }
    });
    let names = [("core", ApiGroup::Core), ("profile", ApiGroup::Profile), ("device", ApiGroup::Device)];
    let doc = "Which groups of routes are mounted.";
    let groups = s.list("groups", "[\"core\", \"profile\", \"device\"]", doc, |text| pick(text, &names));
    let doc = "Single routes that are not mounted, by key: signup, login, refresh, logout, logoutAll, \
               respondChallenge, resendCode, profile, sessions.";
    let exclude = s.list("exclude", "[]", doc, |text| {
        if ROUTE_KEYS.contains(&text) {
            return Ok(text.to_owned());
        }
        let near = nearest(text, ROUTE_KEYS.into_iter()).map(|near| format!("; did you mean `{near}`?"));
        Err(format!("`{text}` is not a route key{}", near.unwrap_or_default()))
    });
    s.finish();
    Api {
        prefix,
        groups: groups.unwrap_or_else(|| vec![ApiGroup::Core, ApiGroup::Profile, ApiGroup::Device]),
        exclude: exclude.unwrap_or_default(),
    }
}

pub(super) fn known_roles(root: &mut Section<'_>) -> BTreeSet<Role> {
    let mut s = root.section("authorization");
    let doc = "Role names that routes may use, besides admin, support and user.";
    let listed =
        s.list("known_roles", "[]", doc, |text| text.parse::<Role>().map_err(|error| format!("`{text}`: {error}")));
    s.finish();
    let built_in = BUILT_IN_ROLES.iter().map(|name| name.parse().expect("a role's name"));
    built_in.chain(listed.unwrap_or_default()).collect()
}

/// A role's name that is known.
pub(super) fn role(text: &str, known: &BTreeSet<Role>) -> Result<Role, String> {
    let role: Role = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    if known.contains(&role) {
        return Ok(role);
    }
    let near = nearest(text, known.iter().map(Role::as_str)).map(|near| format!("; did you mean `{near}`?"));
    Err(format!("`{text}` is not a known role{}; add it to `authorization.known_roles`", near.unwrap_or_default()))
}
