//! Messages to users: `[email]`, `[notifications]`, `[sms]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

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
    /// Where templates are that replace the built-in ones.
    pub templates_dir: Option<PathBuf>,
    /// IANA time zone of users who have named none.
    pub default_timezone: String,
    /// BCP 47 tag of users who have named none.
    pub default_locale: String,
    /// How time zones are told.
    pub timezone_style: TimezoneStyle,
    /// `email.vars`: what templates may say about the application.
    pub vars: EmailVars,
}

/// `email.provider`
#[derive(Debug, Clone)]
pub enum EmailProvider {
    /// Printed readably on the terminal; only while `public_url` is loopback.
    Console,
    /// Written as `.eml` files; only while `public_url` is loopback.
    File {
        /// Where to.
        directory: PathBuf,
    },
    /// Delivered to a mail server.
    Smtp {
        /// `smtp://` or `smtps://`, credentials included.
        url: Secret<String>,
        /// Longest wait for the server.
        timeout: Duration,
    },
    /// Posted to a program of the operator's.
    Webhook(MessageHook),
}

/// A program of the operator's that sends messages.
#[derive(Debug, Clone)]
pub struct MessageHook {
    /// Where messages go.
    pub url: Url,
    /// Signs them; 32 characters or more.
    pub secret: Arc<Secret<String>>,
}

/// `email.timezone_style`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimezoneStyle {
    /// `Europe/Zurich`
    Long,
    /// `CET`
    Short,
    /// `GMT+1`
    ShortOffset,
    /// `GMT+01:00`
    LongOffset,
    /// As `Short`.
    ShortGeneric,
    /// As `Long`.
    LongGeneric,
}

/// `[email.vars]`; what is empty is not mentioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailVars {
    /// The application's name.
    pub app_name: String,
    /// Who runs it.
    pub company_name: String,
    /// Where they are.
    pub company_address: String,
    /// Where users get help.
    pub support_email: String,
    /// `#rrggbb`
    pub brand_color: String,
    /// A picture.
    pub logo_url: String,
    /// Where users look after their account.
    pub dashboard_url: String,
    /// The last words of a mail.
    pub footer_disclaimer: String,
}

/// `[notifications]`: which messages are sent that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub struct Notifications {
    /// Whether any are.
    pub enabled: bool,
    /// The account is complete.
    pub welcome: bool,
    /// The password is another one.
    pub password_changed: bool,
    /// A login from a device not seen before.
    pub new_device: bool,
    /// Sessions ended.
    pub sessions_revoked: bool,
    /// The account is disabled.
    pub account_disabled: bool,
    /// The account is enabled again.
    pub account_enabled: bool,
    /// To the old address: there is, or is to be, another one.
    pub email_changed_old: bool,
    /// To the new address: it is in force.
    pub email_changed_new: bool,
    /// Another phone number is in force.
    pub phone_changed: bool,
    /// The first factor beside the password.
    pub mfa_enabled: bool,
    /// A further factor.
    pub mfa_method_added: bool,
    /// A factor is gone.
    pub mfa_device_removed: bool,
    /// A login looked unusual.
    pub adaptive_risk: bool,
}

/// `[sms]`
#[derive(Debug, Clone)]
pub struct Sms {
    /// How text messages leave.
    pub provider: SmsProvider,
    /// What messages say about the application.
    pub vars: SmsVars,
    /// What messages say.
    pub templates: SmsTemplates,
}

/// `sms.provider`
#[derive(Debug, Clone)]
pub enum SmsProvider {
    /// Printed on the terminal.
    Console,
    /// Sent by Twilio.
    Twilio {
        /// The account.
        account_sid: String,
        /// Its password.
        auth_token: Secret<String>,
        /// Who messages come from.
        sender: SmsSender,
        /// Where Twilio answers; another place only for tests and proxies.
        api: Url,
    },
    /// Posted to a program of the operator's.
    Webhook(MessageHook),
}

/// Who a text message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmsSender {
    /// A number.
    From(String),
    /// A messaging service of Twilio's, which picks one.
    MessagingService(String),
}

/// `sms.vars`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsVars {
    /// The application's name.
    pub app_name: String,
    /// Where users get help.
    pub support_phone: String,
}

/// `[sms.templates]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsTemplates {
    /// Proves a number.
    pub verification: String,
    /// A second factor.
    pub mfa: String,
    /// Resets a password.
    pub password_reset: String,
}
