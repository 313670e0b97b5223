//! Programs that are told or asked: `[[webhooks]]`, `[[hooks]]`.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::domain::secret::Secret;

/// The names of events `[[webhooks]]` can ask for.
pub const WEBHOOK_EVENTS: [&str; 13] = [
    "user.created",
    "user.onboarded",
    "user.updated",
    "password.changed",
    "account.disabled",
    "account.enabled",
    "email.changed",
    "phone.changed",
    "sessions.revoked",
    "mfa.enabled",
    "mfa.method_added",
    "mfa.device_removed",
    "risk.detected",
];

/// One of `[[webhooks]]`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Unique.
    pub name: String,
    /// Where events go.
    pub url: Url,
    /// Which ones.
    pub events: Vec<String>,
    /// Signs them; 32 characters or more.
    pub secret: Arc<Secret<String>>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Tries before an event is given up.
    pub max_attempts: u32,
    /// Whether addresses of private networks may be connected to.
    pub allow_private: bool,
    /// Whether events name people.
    pub include_pii: bool,
}

/// One of `[[hooks]]`.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Before what it is asked.
    pub event: HookEvent,
    /// Where the question goes.
    pub url: Url,
    /// Signs it; 32 characters or more.
    pub secret: Arc<Secret<String>>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// What no answer means.
    pub on_error: OnHookError,
}

/// `hooks.event`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEvent {
    /// Before an account is made.
    SignupPre,
    /// Before tokens are issued.
    LoginPreToken,
}

impl HookEvent {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignupPre => "signup.pre",
            Self::LoginPreToken => "login.pre_token",
        }
    }
}

/// `hooks.on_error`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHookError {
    /// It does not happen.
    Deny,
    /// It does.
    Allow,
}
