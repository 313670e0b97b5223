//! Accounts: `[signup]`, `[login]`, `[challenge]`, `[api]`.

use std::time::Duration;

use crate::config::settings::Window;
use crate::domain::contact::Email;
use crate::domain::user::Role;

/// `[signup]`
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub struct Signup {
    /// Whether anybody may sign up.
    pub enabled: bool,
    /// What must be proven before tokens are issued.
    pub verification_method: VerificationMethod,
    /// Whether several accounts may have one phone number.
    pub allow_duplicate_phones: bool,
    /// Whether user names exist.
    pub username: UsernameRule,
    /// Domains that may sign up, lower case; empty = all.
    pub allow_email_domains: Vec<String>,
    /// Domains that may not, lower case.
    pub deny_email_domains: Vec<String>,
    /// Whether domains that hand out addresses for some minutes may not sign up.
    pub deny_disposable: bool,
    /// Addresses that may sign up whatever their domain, normalised.
    pub allow_emails: Vec<Email>,
    /// Whether signing up takes an invitation.
    pub invite_only: bool,
    /// Roles of new accounts.
    pub default_roles: Vec<Role>,
    /// Keys of `metadata` that users may write.
    pub metadata_keys: MetadataKeys,
    /// Largest `metadata`, bytes of JSON.
    pub metadata_max: usize,
    /// `[signup.email_verification]`
    pub email_verification: Verification,
    /// `[signup.phone_verification]`
    pub phone_verification: Verification,
    /// `signup.phone_verification.global_send_limit`: messages to all numbers together.
    pub global_sms_limit: Window,
    /// `signup.phone_verification.allow_countries`: ISO 3166-1 alpha-2, upper case; empty = all.
    pub allow_countries: Vec<String>,
}

/// `signup.verification_method`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationMethod {
    /// Nothing.
    None,
    /// The e-mail address, by a code.
    Email,
    /// The phone number, by a code.
    Phone,
    /// First the address, then the number.
    Both,
}

impl VerificationMethod {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Both => "both",
        }
    }

    /// Whether the address must be proven.
    #[must_use]
    pub fn asks_email(self) -> bool {
        matches!(self, Self::Email | Self::Both)
    }

    /// Whether the number must be proven.
    #[must_use]
    pub fn asks_phone(self) -> bool {
        matches!(self, Self::Phone | Self::Both)
    }
}

/// `signup.username`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsernameRule {
    /// A given one is ignored.
    Off,
    /// A given one counts.
    Optional,
    /// One must be given.
    Required,
}

/// `signup.metadata_keys`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataKeys {
    /// `["*"]`
    Any,
    /// Only these.
    Only(Vec<String>),
}

/// `[signup.email_verification]`, `[signup.phone_verification]`: codes that prove an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Digits, 4 to 10.
    pub code_length: usize,
    /// Life of a code.
    pub ttl: Duration,
    /// Wrong tries for one code.
    pub max_attempts: u32,
    /// Shortest time between two messages.
    pub resend_delay: Duration,
    /// Messages to one address in a window.
    pub send_limit: Window,
    /// Wrong codes of one user or client in a window.
    pub attempt_limit: AttemptLimit,
    /// The page a mailed link leads to, `code` and `session` are appended; `None` = no link.
    pub link_url: Option<String>,
}

/// `attempt_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimit {
    /// Wrong codes of one user.
    pub per_user: u32,
    /// Wrong codes of one client address.
    pub per_ip: u32,
    /// In how long.
    pub window: Duration,
}

/// `[login]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Whether an e-mail address logs in.
    pub email: bool,
    /// Whether a user name logs in.
    pub username: bool,
    /// Whether a phone number logs in.
    pub phone: bool,
    /// Where browsers are sent to log in: a path of ours, or an absolute URL.
    pub login_url: String,
}

/// `[challenge]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Life of a challenge.
    pub ttl: Duration,
    /// Wrong answers to one challenge.
    pub max_attempts: u32,
    /// What recognises the client that began one.
    pub bind: ChallengeBinding,
}

/// `challenge.bind`: who gets the same challenge again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeBinding {
    /// Nobody: every login begins a new one.
    None,
    /// Whoever comes from the same address prefix.
    Ip,
    /// The same device token, else the same address prefix and user agent.
    Device,
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Where the auth API lives, without a trailing slash.
    pub prefix: String,
    /// The groups mounted.
    pub groups: Vec<ApiGroup>,
    /// Route keys that are not mounted.
    pub exclude: Vec<String>,
}

/// `api.groups`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiGroup {
    /// Signup, login, challenges, refresh, logout.
    Core,
    /// The user's profile.
    Profile,
    /// The user's second factors.
    Mfa,
    /// The user's sessions.
    Device,
    /// What happened to the user's account.
    Audit,
}
