//! Trusted devices: a client that has shown it is the user's may be recognised for a while.

use crate::domain::clock::Time;
use crate::domain::id::UserId;
use crate::domain::session::Device;

/// One trusted device as stored, without its token.
#[derive(Debug, Clone)]
pub struct TrustedDevice {
    /// The number the wire shows.
    pub id: i64,
    /// Whose.
    pub user: UserId,
    /// The user's device epoch when trust began; void once the user has another one.
    pub device_epoch: i64,
    /// What it is.
    pub device: Device,
    /// The client's address when trust began.
    pub ip: String,
    /// When trust ends by itself.
    pub trusted_until: Time,
    /// When its token was last used.
    pub last_used_at: Option<Time>,
    /// When trust began.
    pub created_at: Time,
}
