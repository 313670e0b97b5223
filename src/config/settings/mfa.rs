//! Second factors and trusted devices: `[mfa]`.

use std::time::Duration;

use crate::config::settings::Verification;
use crate::domain::factor::Method;
use crate::domain::mfa::MfaPolicy;

/// `[mfa]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mfa {
    /// Whether there are second factors.
    pub enabled: bool,
    /// Who is asked for what.
    pub policy: MfaPolicy,
    /// What apps show an account under.
    pub issuer: String,
    /// `[mfa.trust]`
    pub trust: DeviceTrust,
    /// `[mfa.totp]`
    pub totp: Totp,
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
