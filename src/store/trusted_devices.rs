//! Trusted devices: who holds one of these tokens has been here before.
//!
//! Only hashes of tokens are stored. A token is replaced when it is used to log in; its predecessor
//! stays good until the new one is, and never longer than [`PREDECESSOR_LIFE`], because the answer may have been lost.

use std::time::Duration;

use crate::domain::clock::Time;
use crate::domain::device::TrustedDevice;
use crate::domain::id::UserId;
use crate::domain::session::Device;
use crate::store::db::{On, Row, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const LAPSED: Sweep = sweep!("nauth_trusted_devices", "id", "trusted_until < ?", "trusted_until");

/// How long a token that was replaced is good. Who lost the answer comes again at once; a copy comes later.
pub const PREDECESSOR_LIFE: Duration = Duration::from_mins(10);

/// The devices, outside or inside a transaction.
#[derive(Debug)]
pub struct TrustedDevices<'a> {
    on: On<'a>,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, user_id, device_epoch, device_id, device_name, device_type, platform, browser, ip, \
             trusted_until, last_used_at, created_at FROM nauth_trusted_devices ",
            $tail
        )
    };
}

impl<'a> TrustedDevices<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// The device of this user behind a token, trusted at `now` under the user's present epoch.
    pub async fn by_token(
        &mut self,
        user: UserId,
        token_hash: &str,
        device_epoch: i64,
        now: Time,
    ) -> Result<Option<TrustedDevice>, StoreError> {
        let row = sql(select!(
            "WHERE user_id = ? AND (token_hash = ? OR (previous_hash = ? AND last_used_at > ?)) \
             AND device_epoch = ? AND trusted_until > ?"
        ))
        .bind(user)
        .bind(token_hash)
        .bind(token_hash)
        .bind(now - PREDECESSOR_LIFE)
        .bind(device_epoch)
        .bind(now)
        .fetch_optional(&mut self.on)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// The device of this user with a number, trusted at `now` under the user's present epoch.
    pub async fn by_id(
        &mut self,
        user: UserId,
        id: i64,
        device_epoch: i64,
        now: Time,
    ) -> Result<Option<TrustedDevice>, StoreError> {
        let row = sql(select!("WHERE id = ? AND user_id = ? AND device_epoch = ? AND trusted_until > ?"))
            .bind(id)
            .bind(user)
            .bind(device_epoch)
            .bind(now)
            .fetch_optional(&mut self.on)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The devices a user trusts at `now`, the most recently used first.
    pub async fn of_user(
        &mut self,
        user: UserId,
        device_epoch: i64,
        now: Time,
    ) -> Result<Vec<TrustedDevice>, StoreError> {
        let rows = sql(select!(
            "WHERE user_id = ? AND device_epoch = ? AND trusted_until > ? \
             ORDER BY COALESCE(last_used_at, created_at) DESC, id"
        ))
        .bind(user)
        .bind(device_epoch)
        .bind(now)
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Stores a new device.
    pub async fn insert(
        &mut self,
        device: &TrustedDevice,
        token_hash: &str,
        user_agent: &str,
    ) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_trusted_devices (id, user_id, token_hash, device_epoch, device_id, device_name, \
             device_type, platform, browser, ip, user_agent, trusted_until, last_used_at, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(device.id)
        .bind(device.user)
        .bind(token_hash)
        .bind(device.device_epoch)
        .bind(device.device.id.as_str())
        .bind(device.device.name.as_deref())
        .bind(device.device.kind.as_deref())
        .bind(device.device.platform.as_deref())
        .bind(device.device.browser.as_deref())
        .bind(device.ip.as_str())
        .bind(user_agent)
        .bind(device.trusted_until)
        .bind(device.last_used_at)
        .bind(device.created_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Whether this is the present token of a device, and not the one before.
    pub async fn holds(&mut self, id: i64, token_hash: &str) -> Result<bool, StoreError> {
        let row = sql("SELECT id FROM nauth_trusted_devices WHERE id = ? AND token_hash = ?")
            .bind(id)
            .bind(token_hash)
            .fetch_optional(&mut self.on)
            .await?;
        Ok(row.is_some())
    }

    /// Replaces whatever token a device has by another one; answers whether it is there.
    pub async fn replace(&mut self, id: i64, to: &str, trusted_until: Time, now: Time) -> Result<bool, StoreError> {
        // In this order: MariaDB sets one after the other.
        let rows = sql("UPDATE nauth_trusted_devices SET previous_hash = token_hash, token_hash = ?, \
             trusted_until = ?, last_used_at = ? WHERE id = ?")
        .bind(to)
        .bind(trusted_until)
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Forgets one device of a user; answers whether there was one.
    pub async fn delete(&mut self, user: UserId, id: i64) -> Result<bool, StoreError> {
        let rows = sql("DELETE FROM nauth_trusted_devices WHERE user_id = ? AND id = ?")
            .bind(user)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Forgets every device of a user; answers how many.
    pub async fn delete_all(&mut self, user: UserId) -> Result<u64, StoreError> {
        sql("DELETE FROM nauth_trusted_devices WHERE user_id = ?").bind(user).execute(&mut self.on).await
    }

    /// Removes devices whose trust ended before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        LAPSED.run(&mut self.on, before).await
    }
}

fn read(row: &Row) -> Result<TrustedDevice, StoreError> {
    Ok(TrustedDevice {
        id: row.int("id")?,
        user: row.parsed("user_id")?,
        device_epoch: row.int("device_epoch")?,
        device: Device {
            id: row.text("device_id")?,
            name: row.opt_text("device_name")?,
            kind: row.opt_text("device_type")?,
            platform: row.opt_text("platform")?,
            browser: row.opt_text("browser")?,
        },
        ip: row.text("ip")?,
        trusted_until: row.time("trusted_until")?,
        last_used_at: row.opt_time("last_used_at")?,
        created_at: row.time("created_at")?,
    })
}
