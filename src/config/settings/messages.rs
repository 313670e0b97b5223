//! Messages to users: `[email]`.

use std::time::Duration;

use crate::domain::secret::Secret;

/// `[email]`
#[derive(Debug, Clone)]
pub struct Email {
    /// How mail leaves.
    pub provider: EmailProvider,
    /// `From`.
    pub from: String,
    /// `Reply-To`; `None` = absent.
    pub reply_to: Option<String>,
    /// `email.vars`: what templates may say about the application.
    pub vars: EmailVars,
}

/// `email.provider`
#[derive(Debug, Clone)]
pub enum EmailProvider {
    /// Printed readably on the terminal; only while `public_url` is loopback.
    Console,
    /// Delivered to a mail server.
    Smtp {
        /// `smtp://` or `smtps://`, credentials included.
        url: Secret<String>,
        /// Longest wait for the server.
        timeout: Duration,
    },
}

/// `[email.vars]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailVars {
    /// The application's name.
    pub app_name: String,
    /// Where users get help; empty = not mentioned.
    pub support_email: String,
    /// `#rrggbb`
    pub brand_color: String,
}
