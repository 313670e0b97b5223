//! How an account stands with the operator: disabled or not, exempt or not, kept out or let in.

use crate::domain::clock::Time;
use crate::domain::id::UserId;
use crate::domain::user::Lock;
use crate::store::db::{StoreError, sql};
use crate::store::users::Users;

impl Users<'_> {
    /// Disables the account, unless it is already; answers whether it did.
    pub async fn lock(&mut self, id: UserId, lock: &Lock) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET locked_at = ?, lock_reason = ?, locked_until = ?, updated_at = ? \
             WHERE id = ? AND locked_at IS NULL")
        .bind(lock.at)
        .bind(lock.reason.as_str())
        .bind(lock.until)
        .bind(lock.at)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Enables the account, unless it is already; answers whether it did.
    pub async fn unlock(&mut self, id: UserId, now: Time) -> Result<bool, StoreError> {
        let rows =
            sql("UPDATE nauth_users SET locked_at = NULL, lock_reason = NULL, locked_until = NULL, updated_at = ? \
             WHERE id = ? AND locked_at IS NOT NULL")
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Notes that a user is asked for no second factor; answers whether that is new.
    pub async fn exempt(&mut self, id: UserId, reason: &str, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET mfa_exempt_at = ?, mfa_exempt_reason = ?, updated_at = ? \
             WHERE id = ? AND mfa_exempt_at IS NULL")
        .bind(now)
        .bind(reason)
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Notes that a user is asked for a second factor again; answers whether that is new.
    pub async fn end_exemption(&mut self, id: UserId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET mfa_exempt_at = NULL, mfa_exempt_reason = NULL, updated_at = ? \
             WHERE id = ? AND mfa_exempt_at IS NOT NULL")
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Ends the lockouts of a user, who is known by a later time from then on whatever the clock says; answers
    /// whether there is such a user.
    pub async fn end_lockouts(&mut self, id: UserId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET lockouts_ended_at = CASE WHEN lockouts_ended_at >= ? \
             THEN lockouts_ended_at + 1 ELSE ? END, updated_at = ? WHERE id = ?")
        .bind(now)
        .bind(now)
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }
}
