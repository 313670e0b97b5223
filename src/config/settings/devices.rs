//! Trusted devices: `[mfa.trust]`.

use std::time::Duration;

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
