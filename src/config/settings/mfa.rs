//! Second factors and trusted devices: `[mfa]`.

use std::time::Duration;

use url::Url;

use crate::config::settings::Verification;
use crate::domain::factor::Method;
use crate::domain::mfa::MfaPolicy;
use crate::domain::risk::RiskPolicy;

/// `[mfa]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mfa {
    /// Whether there are second factors.
    pub enabled: bool,
    /// Who is asked for what.
    pub policy: MfaPolicy,
    /// `[mfa.adaptive]`
    pub risk: RiskPolicy,
    /// What apps show an account under.
    pub issuer: String,
    /// `[mfa.trust]`
    pub trust: DeviceTrust,
    /// `[mfa.totp]`
    pub totp: Totp,
    /// `[mfa.passkey]`; `None` where `server.public_url` allows no RP ID.
    pub passkey: Option<Passkey>,
    /// `[mfa.codes]`, with the limits of the verification of addresses.
    pub email_codes: Verification,
    /// `[mfa.codes]`, with the limits of the verification of numbers.
    pub sms_codes: Verification,
    /// `[mfa.backup]`
    pub backup: Backup,
}

impl Mfa {
    /// Whether this may be set up.
    #[must_use]
    pub fn allows(&self, method: Method) -> bool {
        self.enabled && self.policy.methods.contains(&method)
    }

    /// Whether a passkey is enough to log in.
    #[must_use]
    pub fn is_passwordless(&self) -> bool {
        self.enabled && self.passkey.as_ref().is_some_and(|passkey| passkey.passwordless)
    }
}

/// `[mfa.trust]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTrust {
    /// When a device is trusted.
    pub devices: TrustRule,
    /// How long trust lasts.
    pub ttl: Duration,
}

/// `mfa.trust.devices`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustRule {
    /// Never.
    Never,
    /// After every login.
    Always,
    /// When the user says so.
    UserOptIn,
}

/// `[mfa.totp]` (RFC 6238)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totp {
    /// Steps before and after the present one whose codes are taken.
    pub window: u16,
    /// Life of a code, whole seconds.
    pub step: Duration,
    /// Digits of a code, 6 to 8.
    pub digits: u8,
    /// What codes are computed with.
    pub algorithm: TotpAlgorithm,
    /// Whether a code is taken once only.
    pub prevent_replay: bool,
}

/// `mfa.totp.algorithm`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TotpAlgorithm {
    /// The only one every app knows.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// `[mfa.passkey]` (`WebAuthn`)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// What authenticators show the site under.
    pub rp_name: String,
    /// The domain passkeys are bound to.
    pub rp_id: String,
    /// Whose pages may use them. At least one; each is `rp_id` or below it.
    pub origins: Vec<Url>,
    /// How long a browser waits for its user.
    pub timeout: Duration,
    /// Whether the authenticator has to make sure who holds it.
    pub user_verification: UserVerification,
    /// Which authenticators are taken.
    pub attachment: Attachment,
    /// Whether one is enough to log in.
    pub passwordless: bool,
}

/// `mfa.passkey.user_verification`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserVerification {
    /// Nothing is taken without.
    Required,
    /// Where the authenticator can, and from then on always.
    Preferred,
    /// Not asked for.
    Discouraged,
}

/// `mfa.passkey.attachment`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// Every authenticator.
    Any,
    /// What is built into the device.
    Platform,
    /// What is carried from device to device.
    CrossPlatform,
}

/// `[mfa.backup]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Whether there are backup codes.
    pub enabled: bool,
    /// How many.
    pub count: usize,
    /// Characters of each.
    pub length: usize,
}
