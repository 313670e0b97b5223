//! Accounts: `[signup]`, `[login]`, `[challenge]`, `[api]`.

use std::time::Duration;

use crate::config::settings::Window;
use crate::domain::user::Role;

/// `[signup]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signup {
    /// Whether anybody may sign up.
    pub enabled: bool,
    /// What must be proven before tokens are issued.
    pub verification_method: VerificationMethod,
    /// Whether user names exist.
    pub username: UsernameRule,
    /// Roles of new accounts.
    pub default_roles: Vec<Role>,
    /// Keys of `metadata` that users may write.
    pub metadata_keys: MetadataKeys,
    /// Largest `metadata`, bytes of JSON.
    pub metadata_max: usize,
    /// `[signup.email_verification]`
    pub email_verification: EmailVerification,
}

/// `signup.verification_method`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerificationMethod {
    /// Nothing.
    None,
    /// The e-mail address, by a code.
    Email,
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

/// `[signup.email_verification]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailVerification {
    /// Digits, 4 to 10.
    pub code_length: usize,
    /// Life of a code.
    pub ttl: Duration,
    /// Wrong tries for one code.
    pub max_attempts: u32,
    /// Shortest time between two mails.
    pub resend_delay: Duration,
    /// Mails to one address in a window.
    pub send_limit: Window,
}

/// `[login]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Whether an e-mail address logs in.
    pub email: bool,
    /// Whether a user name logs in.
    pub username: bool,
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
    /// The user's sessions.
    Device,
}
