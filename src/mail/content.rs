//! What messages say: a closed list, each with its templates.

use std::time::Duration;

use minijinja::context;
use minijinja::value::Value;

use crate::config::settings::Notifications;
use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone};
use crate::domain::event::Actor;
use crate::domain::secret::Secret;
use crate::metrics::MailTemplate;

/// A message to a user.
#[derive(Debug, Clone)]
pub struct Message {
    /// Whom it goes to.
    pub to: Recipient,
    /// Whom it is about.
    pub about: About,
    /// What it says.
    pub content: Content,
}

impl Message {
    /// What kind of message it is: what its template is called, or by text message its own name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.to, &self.content) {
            (Recipient::Phone(_), Content::MfaCode(_)) => "mfa_sms_code",
            (_, content) => content.template().as_str(),
        }
    }
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// By mail.
    Email(Email),
    /// By text message.
    Phone(Phone),
}

/// The user a message is about, in their own words: only ever values, never a template.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The name messages greet.
    pub name: String,
    /// The address of the account.
    pub email: String,
    /// BCP 47 tag; picks the templates.
    pub locale: Option<String>,
    /// IANA time zone; times are told in it.
    pub timezone: Option<String>,
}

/// A code on its way, and the page that takes it.
#[derive(Debug, Clone)]
pub struct Code {
    /// The code.
    pub code: Secret<String>,
    /// A page that carries a secret of its own.
    pub link: Option<Secret<String>>,
    /// How long they are good.
    pub ttl: Duration,
}

/// What messages say.
#[derive(Debug, Clone)]
pub enum Content {
    /// Proves an address or a number.
    Verification(Code),
    /// A second factor.
    MfaCode(Code),
    /// Resets a forgotten password.
    PasswordReset(Code),
    /// Resets a password at an operator's wish.
    AdminPasswordReset(Code),
    /// Somebody signed up with an address that has an account.
    AccountExists,
    /// The account is complete.
    Welcome,
    /// The password is another one.
    PasswordChanged {
        /// By whom; `None` = with a code.
        by: Option<Actor>,
        /// How many sessions ended.
        sessions_revoked: u64,
        /// When.
        at: Time,
    },
    /// A login from a device not seen before.
    NewDevice {
        /// What it calls itself.
        device: String,
        /// Where from.
        ip: String,
        /// When.
        at: Time,
    },
    /// Sessions ended.
    SessionsRevoked {
        /// How many.
        count: u64,
        /// Why.
        reason: String,
        /// When.
        at: Time,
    },
    /// A login looked unusual.
    RiskAlert {
        /// How unusual.
        level: String,
        /// In which ways.
        factors: Vec<String>,
        /// What the client calls itself.
        device: String,
        /// Where from.
        ip: String,
        /// Where on earth that is, if it is known.
        place: Option<String>,
        /// When.
        at: Time,
    },
    /// The account is disabled.
    AccountDisabled {
        /// In the operator's words.
        reason: String,
        /// When.
        at: Time,
    },
    /// The account is enabled again.
    AccountEnabled {
        /// When.
        at: Time,
    },
    /// To the old address: another one is to take its place, or has.
    EmailChangedOld {
        /// The other one, masked.
        new: String,
        /// Whether it still has to be proven.
        pending: bool,
        /// When.
        at: Time,
    },
    /// To the new address: it is in force.
    EmailChangedNew {
        /// The old one, masked.
        old: String,
        /// When.
        at: Time,
    },
    /// Another phone number is in force.
    PhoneChanged {
        /// When.
        at: Time,
    },
    /// The first factor beside the password.
    MfaEnabled {
        /// Which.
        method: String,
        /// When.
        at: Time,
    },
    /// A factor is gone.
    MfaDeviceRemoved {
        /// Its name.
        device: String,
        /// How many are left.
        remaining: u64,
        /// When.
        at: Time,
    },
    /// A further factor.
    MfaMethodAdded {
        /// Which.
        method: String,
        /// When.
        at: Time,
    },
}

impl Content {
    /// The templates it is written with.
    #[must_use]
    pub fn template(&self) -> MailTemplate {
        match self {
            Self::Verification(_) => MailTemplate::Verification,
            Self::MfaCode(_) => MailTemplate::MfaEmailCode,
            Self::PasswordReset(_) => MailTemplate::PasswordReset,
            Self::AdminPasswordReset(_) => MailTemplate::AdminPasswordReset,
            Self::AccountExists => MailTemplate::AccountExists,
            Self::Welcome => MailTemplate::Welcome,
            Self::PasswordChanged { .. } => MailTemplate::PasswordChanged,
            Self::NewDevice { .. } => MailTemplate::NewDevice,
            Self::SessionsRevoked { .. } => MailTemplate::SessionsRevoked,
            Self::RiskAlert { .. } => MailTemplate::AdaptiveMfaRiskAlert,
            Self::AccountDisabled { .. } => MailTemplate::AccountDisabled,
            Self::AccountEnabled { .. } => MailTemplate::AccountEnabled,
            Self::EmailChangedOld { .. } => MailTemplate::EmailChangedOld,
            Self::EmailChangedNew { .. } => MailTemplate::EmailChangedNew,
            Self::PhoneChanged { .. } => MailTemplate::PhoneChanged,
            Self::MfaEnabled { .. } => MailTemplate::MfaEnabled,
            Self::MfaDeviceRemoved { .. } => MailTemplate::MfaDeviceRemoved,
            Self::MfaMethodAdded { .. } => MailTemplate::MfaMethodAdded,
        }
    }

    /// Whether the operator wants it sent. Codes always are.
    #[must_use]
    pub fn is_wanted(&self, switches: &Notifications) -> bool {
        let switch = match self {
            Self::Verification(_)
            | Self::MfaCode(_)
            | Self::PasswordReset(_)
            | Self::AdminPasswordReset(_)
            | Self::AccountExists => return true,
            Self::RiskAlert { .. } => switches.adaptive_risk,
            Self::MfaEnabled { .. } => switches.mfa_enabled,
            Self::MfaDeviceRemoved { .. } => switches.mfa_device_removed,
            Self::MfaMethodAdded { .. } => switches.mfa_method_added,
            Self::Welcome => switches.welcome,
            Self::PasswordChanged { .. } => switches.password_changed,
            Self::NewDevice { .. } => switches.new_device,
            Self::SessionsRevoked { .. } => switches.sessions_revoked,
            Self::AccountDisabled { .. } => switches.account_disabled,
            Self::AccountEnabled { .. } => switches.account_enabled,
            Self::EmailChangedOld { .. } => switches.email_changed_old,
            Self::EmailChangedNew { .. } => switches.email_changed_new,
            Self::PhoneChanged { .. } => switches.phone_changed,
        };
        switches.enabled && switch
    }

    /// When what it tells of happened.
    pub(super) fn at(&self) -> Option<Time> {
        match self {
            Self::Verification(_)
            | Self::MfaCode(_)
            | Self::PasswordReset(_)
            | Self::AdminPasswordReset(_)
            | Self::AccountExists
            | Self::Welcome => None,
            Self::PasswordChanged { at, .. }
            | Self::NewDevice { at, .. }
            | Self::SessionsRevoked { at, .. }
            | Self::RiskAlert { at, .. }
            | Self::AccountDisabled { at, .. }
            | Self::AccountEnabled { at }
            | Self::EmailChangedOld { at, .. }
            | Self::EmailChangedNew { at, .. }
            | Self::PhoneChanged { at }
            | Self::MfaEnabled { at, .. }
            | Self::MfaDeviceRemoved { at, .. }
            | Self::MfaMethodAdded { at, .. } => Some(*at),
        }
    }

    /// Its own values for the templates.
    pub(super) fn values(&self) -> Value {
        match self {
            Self::Verification(code)
            | Self::MfaCode(code)
            | Self::PasswordReset(code)
            | Self::AdminPasswordReset(code) => context! {
                code => code.code.expose(),
                link => code.link.as_ref().map(Secret::expose),
                expiry_minutes => code.ttl.as_secs().div_ceil(60),
            },
            Self::AccountExists | Self::Welcome | Self::AccountEnabled { .. } | Self::PhoneChanged { .. } => {
                context! {}
            }
            Self::PasswordChanged { by, sessions_revoked, .. } => context! {
                changed_by => by.map_or("reset", Actor::as_str),
                sessions_revoked => sessions_revoked,
            },
            Self::NewDevice { device, ip, .. } => context! {
                device_name => plain(device),
                ip_address => ip,
            },
            Self::SessionsRevoked { count, reason, .. } => context! { revoked_count => count, reason => plain(reason) },
            Self::RiskAlert { level, factors, device, ip, place, .. } => context! {
                risk_level => level,
                risk_factors => factors,
                device_name => plain(device),
                ip_address => ip,
                location => place.as_deref().map(plain),
            },
            Self::AccountDisabled { reason, .. } => context! { reason => plain(reason) },
            Self::EmailChangedOld { new, pending, .. } => context! { new_email => new, pending => pending },
            Self::EmailChangedNew { old, .. } => context! { old_email => old },
            Self::MfaEnabled { method, .. } => context! { first_method => plain(method) },
            Self::MfaDeviceRemoved { device, remaining, .. } => {
                context! { device_name => plain(device), remaining_device_count => remaining }
            }
            Self::MfaMethodAdded { method, .. } => context! { method => plain(method) },
        }
    }
}

/// Longest word of a user's in a message, in characters.
const MAX_WORDS: usize = 200;

/// What somebody wrote, as one line without anything a reader would obey.
pub(crate) fn plain(text: &str) -> String {
    one_line(&text.chars().take(MAX_WORDS).collect::<String>())
}

/// Text as one line, its control characters and invisible marks turned into spaces.
pub(super) fn one_line(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
    line.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Marks that turn the direction of text around, or show nothing.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
