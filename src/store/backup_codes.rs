//! Backup codes: each is good once.

use crate::domain::clock::Time;
use crate::domain::id::{UserId, random_number};
use crate::store::db::{On, StoreError, sql};

/// The codes, outside or inside a transaction.
#[derive(Debug)]
pub struct BackupCodes<'a> {
    on: On<'a>,
}

impl<'a> BackupCodes<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Replaces all codes of a user by others, given as keyed hashes.
    pub async fn replace(&mut self, user: UserId, hashes: &[String], now: Time) -> Result<(), StoreError> {
        self.delete_all(user).await?;
        for hash in hashes {
            sql("INSERT INTO nauth_backup_codes (id, user_id, code_hash, created_at) VALUES (?, ?, ?, ?)")
                .bind(random_number())
                .bind(user)
                .bind(hash.as_str())
                .bind(now)
                .execute(&mut self.on)
                .await?;
        }
        Ok(())
    }

    /// Uses a code up, if it is one of the user's and unused; answers whether it did.
    pub async fn consume(&mut self, user: UserId, hash: &str, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_backup_codes SET used_at = ? \
             WHERE user_id = ? AND code_hash = ? AND used_at IS NULL")
        .bind(now)
        .bind(user)
        .bind(hash)
        .execute(&mut self.on)
        .await?;
        Ok(rows > 0)
    }

    /// Uses every code of everybody up; answers how many were unused.
    pub async fn void_all(&mut self, now: Time) -> Result<u64, StoreError> {
        sql("UPDATE nauth_backup_codes SET used_at = ? WHERE used_at IS NULL").bind(now).execute(&mut self.on).await
    }

    /// How many codes of a user are unused.
    pub async fn left(&mut self, user: UserId) -> Result<i64, StoreError> {
        let row = sql("SELECT COUNT(*) AS unused FROM nauth_backup_codes WHERE user_id = ? AND used_at IS NULL")
            .bind(user)
            .fetch_optional(&mut self.on)
            .await?;
        row.map_or(Ok(0), |row| row.int("unused"))
    }

    /// Removes every code of a user.
    pub async fn delete_all(&mut self, user: UserId) -> Result<u64, StoreError> {
        sql("DELETE FROM nauth_backup_codes WHERE user_id = ?").bind(user).execute(&mut self.on).await
    }
}
