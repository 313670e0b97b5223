//! `[signup]`, `[login]`, `[challenge]`, `[api]`, `[authorization]`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::reader::{Section, nearest};
use crate::config::sections::server::number;
use crate::config::settings::{
    Api, ApiGroup, AttemptLimit, Challenge, ChallengeBinding, Login, MetadataKeys, Signup, UsernameRule, Verification,
    VerificationMethod, Window,
};
use crate::domain::contact::Email;
use crate::domain::user::Role;

/// Role names that are known without being listed.
const BUILT_IN_ROLES: [&str; 3] = ["admin", "support", "user"];
/// The routes of the auth API, by key, for `api.exclude`.
const ROUTE_KEYS: &[&str] = &[
    "signup",
    "login",
    "refresh",
    "logout",
    "logoutAll",
    "respondChallenge",
    "resendCode",
    "getSetupData",
    "getChallengeData",
    "passkeyOptions",
    "passkeyLogin",
    "forgotPassword",
    "confirmForgotPassword",
    "confirmAdminResetPassword",
    "reauthenticate",
    "profile",
    "updateProfile",
    "changePassword",
    "verifyContact",
    "resendContact",
    "sessions",
    "logoutSession",
    "trustDevice",
    "isTrustedDevice",
    "trustedDevices",
    "revokeAllTrustedDevices",
    "revokeTrustedDevice",
    "mfaStatus",
    "mfaAvailableMethods",
    "mfaSetupData",
    "mfaVerifySetup",
    "mfaChallengeData",
    "mfaBackupCodes",
    "mfaDevices",
    "mfaPreferred",
    "mfaRemoveDevice",
    "auditHistory",
];

pub(super) fn signup(root: &mut Section<'_>, known_roles: &BTreeSet<Role>) -> Signup {
    let mut s = root.section("signup");
    let enabled = s.boolean("enabled", true, "Whether anybody may sign up.");
    let methods = [
        ("none", VerificationMethod::None),
        ("email", VerificationMethod::Email),
        ("phone", VerificationMethod::Phone),
        ("both", VerificationMethod::Both),
    ];
    let doc = "What must be proven before tokens are issued: nothing, the e-mail address or the phone number by a \
               code, or both, the address first.";
    let verification_method = s.choice("verification_method", "email", &methods, doc);
    let doc = "Whether several accounts may have one phone number. Then nobody logs in with a number.";
    let allow_duplicate_phones = s.boolean("allow_duplicate_phones", false, doc);
    let rules =
        [("off", UsernameRule::Off), ("optional", UsernameRule::Optional), ("required", UsernameRule::Required)];
    let username = s.choice("username", "optional", &rules, "Whether accounts have a user name.");
    let doc = "Domains of e-mail addresses that may sign up; empty means all.";
    let allow_email_domains = s.list("allow_email_domains", "[]", doc, domain).unwrap_or_default();
    let doc = "Domains of e-mail addresses that may not sign up. Names below a domain are meant too.";
    let deny_email_domains = s.list("deny_email_domains", "[]", doc, domain).unwrap_or_default();
    let doc = "Refuse domains that hand out addresses for some minutes, by a list of 10,000 that comes with nauth.";
    let deny_disposable = s.boolean("deny_disposable", false, doc);
    let doc = "Addresses that may sign up whatever their domain.";
    let allow_emails = s
        .list("allow_emails", "[]", doc, |text| text.parse().map_err(|_| format!("`{text}` is not an e-mail address")));
    let doc = "Whether signing up takes an invitation: `nauth user create --invite`.";
    let invite_only = s.boolean("invite_only", false, doc);
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
    let (phone_verification, global_sms_limit, allow_countries) = phone_verification(&mut s);
    s.finish();
    Signup {
        enabled,
        verification_method,
        allow_duplicate_phones,
        username,
        allow_email_domains,
        deny_email_domains,
        deny_disposable,
        allow_emails: allow_emails.unwrap_or_default(),
        invite_only,
        default_roles: default_roles.unwrap_or_else(|| vec!["user".parse().expect("a role's name")]),
        metadata_keys,
        metadata_max: usize::try_from(metadata_max).unwrap_or(usize::MAX),
        email_verification,
        phone_verification,
        global_sms_limit,
        allow_countries,
    }
}

fn email_verification(parent: &mut Section<'_>) -> Verification {
    let mut s = parent.section("email_verification");
    let mut verification = verification(&mut s, "10m", "Mails to one address in a window.");
    verification.link_url =
        link(&mut s, "The page a mailed link leads to; `code` and `session` are appended. Empty means no link.");
    s.finish();
    verification
}

fn phone_verification(parent: &mut Section<'_>) -> (Verification, Window, Vec<String>) {
    let mut s = parent.section("phone_verification");
    let verification = verification(&mut s, "5m", "Messages to one number in a window.");
    let doc = "Messages to all numbers together in a window, those of second factors apart: a guard against paid \
               numbers being called en masse.";
    let limit = s.window("global_send_limit", Window { max: 500, window: Duration::from_hours(1) }, doc);
    let doc = "Countries (ISO 3166-1, two letters) whose numbers are taken; empty means all.";
    let countries = s.list("allow_countries", "[]", doc, |text| {
        let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_code { Ok(text.to_ascii_uppercase()) } else { Err(format!("`{text}` is not a country such as CH")) }
    });
    s.finish();
    (verification, limit, countries.unwrap_or_default())
}

fn verification(s: &mut Section<'_>, ttl: &'static str, send_doc: &'static str) -> Verification {
    let hour = Duration::from_hours(1);
    let verification = Verification {
        code_length: number(s.integer("code_length", 6, 4..=10, "Digits of a code.")) as usize,
        ttl: s.lasting("ttl", ttl, "Life of a code."),
        max_attempts: number(s.integer("max_attempts", 3, 1..=100, "Wrong tries for one code.")),
        resend_delay: s.duration("resend_delay", "1m", "Shortest time between two messages to one user."),
        send_limit: s.window("send_limit", Window { max: 3, window: hour }, send_doc),
        attempt_limit: attempt_limit(s),
        link_url: None,
    };
    if verification.resend_delay >= verification.ttl {
        s.error(
            "resend_delay",
            "`resend_delay` must be shorter than `ttl`",
            "else a code ends before another can be asked for",
        );
    }
    verification
}

fn attempt_limit(parent: &mut Section<'_>) -> AttemptLimit {
    let mut s = parent.section("attempt_limit");
    let limit = AttemptLimit {
        per_user: number(s.integer("per_user", 10, 1..=1_000_000, "Wrong codes of one user in a window.")),
        per_ip: number(s.integer("per_ip", 20, 1..=1_000_000, "Wrong codes of one client address in a window.")),
        window: s.lasting("window", "1h", "The window."),
    };
    s.finish();
    limit
}

/// The address of a page that links in mails lead to.
pub(super) fn link(s: &mut Section<'_>, doc: &'static str) -> Option<String> {
    let link = s.optional("link_url", doc)?;
    let is_url = url::Url::parse(&link)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none());
    if !is_url || link.len() > 2048 {
        s.error("link_url", format!("`{link}` is not the URL of a page"), "write https://app.example.com/verify");
    }
    Some(link)
}

fn domain(text: &str) -> Result<String, String> {
    let domain = text.trim().trim_start_matches('@').to_lowercase();
    let is_domain = domain.contains('.') && format!("a@{domain}").parse::<Email>().is_ok();
    if is_domain { Ok(domain) } else { Err(format!("`{text}` is not a domain such as example.com")) }
}

pub(super) fn login(root: &mut Section<'_>, api: &Api) -> Login {
    let mut s = root.section("login");
    let kinds = [("email", "email"), ("username", "username"), ("phone", "phone")];
    let doc = "What users may log in with: `email`, `username`, `phone`.";
    let default = "[\"email\", \"username\", \"phone\"]";
    let identifiers = s.choices("identifiers", default, &kinds, doc);
    let identifiers = identifiers.unwrap_or_else(|| vec!["email", "username", "phone"]);
    if identifiers.is_empty() {
        s.error("identifiers", "nobody could log in", "name at least one of `email`, `username`, `phone`");
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
        email: identifiers.contains(&"email"),
        username: identifiers.contains(&"username"),
        phone: identifiers.contains(&"phone"),
        login_url: login_url.unwrap_or_else(|| format!("{}/ui/login", api.prefix)),
    }
}

pub(super) fn challenge(root: &mut Section<'_>) -> Challenge {
    let mut s = root.section("challenge");
    let challenge = Challenge {
        ttl: s.lasting("ttl", "15m", "Life of a challenge."),
        max_attempts: number(s.integer("max_attempts", 3, 1..=100, "Wrong answers to one challenge.")),
        bind: s.choice(
            "bind",
            "device",
            &[("none", ChallengeBinding::None), ("ip", ChallengeBinding::Ip), ("device", ChallengeBinding::Device)],
            "Who gets the same challenge again when logging in while one is open: the same device token, else the \
             same address and user agent (device); the same address (ip); nobody (none).",
        ),
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
    let names = [
        ("core", ApiGroup::Core),
        ("profile", ApiGroup::Profile),
        ("mfa", ApiGroup::Mfa),
        ("device", ApiGroup::Device),
        ("audit", ApiGroup::Audit),
    ];
    let doc = "Which groups of routes are mounted.";
    let groups = s.choices("groups", "[\"core\", \"profile\", \"mfa\", \"device\", \"audit\"]", &names, doc);
    let doc = "Single routes that are not mounted, by key: signup, login, refresh, logout, logoutAll, \
               respondChallenge, resendCode, getSetupData, getChallengeData, passkeyOptions, passkeyLogin, \
               forgotPassword, confirmForgotPassword, \
               confirmAdminResetPassword, reauthenticate, profile, updateProfile, changePassword, verifyContact, \
               resendContact, sessions, logoutSession, trustDevice, isTrustedDevice, trustedDevices, \
               revokeAllTrustedDevices, revokeTrustedDevice, mfaStatus, mfaAvailableMethods, mfaSetupData, \
               mfaVerifySetup, mfaChallengeData, mfaBackupCodes, mfaDevices, mfaPreferred, mfaRemoveDevice, auditHistory.";
    let exclude = s.list("exclude", "[]", doc, |text| {
        if ROUTE_KEYS.contains(&text) {
            return Ok(text.to_owned());
        }
        let near = nearest(text, ROUTE_KEYS.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        Err(format!("`{text}` is not a route key{}", near.unwrap_or_default()))
    });
    s.finish();
    Api {
        prefix,
        groups: groups.unwrap_or_else(|| names.iter().map(|(_, group)| *group).collect()),
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
