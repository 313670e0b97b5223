//! Passwords: `[password]`.

use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::Window;
use crate::domain::password_policy::PasswordPolicy;

/// `[password]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    /// What a new password must be.
    pub policy: Arc<PasswordPolicy>,
    /// Earlier passwords that may not come back.
    pub history: usize,
    /// A password older than this must be changed at the next login; zero = never.
    pub expiry: Duration,
    /// `[password.reset]`
    pub reset: PasswordReset,
    /// `[password.admin_reset]`
    pub admin_reset: ResetCode,
}

/// `[password.reset]`: what a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordReset {
    /// The code.
    pub code: ResetCode,
    /// Requests for one identifier in a window.
    pub send_limit: Window,
    /// Whether codes go out by mail.
    pub by_email: bool,
    /// Whether codes go out by text message.
    pub by_sms: bool,
    /// Whether every session ends with a reset.
    pub revoke_sessions: bool,
}

/// A code that resets a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetCode {
    /// Digits, 6 to 10.
    pub code_length: usize,
    /// Life of a code.
    pub ttl: Duration,
    /// Wrong tries for one code.
    pub max_attempts: u32,
    /// The page a mailed link leads to; `code` is appended. `None` = no link.
    pub link_url: Option<String>,
}
