//! Hashes of earlier passwords.

use crate::domain::clock::Time;
use crate::domain::id::{UserId, random_number};
use crate::domain::secret::Secret;
use crate::store::db::{On, StoreError, sql};

/// The hashes, outside or inside a transaction.
#[derive(Debug)]
pub struct PasswordHistory<'a> {
    on: On<'a>,
}

impl<'a> PasswordHistory<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// The latest hashes of a user, at most `limit`.
    pub async fn of(&mut self, user: UserId, limit: i64) -> Result<Vec<Secret<String>>, StoreError> {
        let rows = sql("SELECT password_hash FROM nauth_password_history WHERE user_id = ? \
             ORDER BY created_at DESC, id LIMIT ?")
        .bind(user)
        .bind(limit)
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(|row| Ok(Secret::new(row.text("password_hash")?))).collect()
    }

    /// Remembers a hash and forgets all but the latest `keep`.
    pub async fn push(&mut self, user: UserId, hash: &Secret<String>, keep: i64, now: Time) -> Result<(), StoreError> {
        if keep > 0 {
            sql("INSERT INTO nauth_password_history (id, user_id, password_hash, created_at) VALUES (?, ?, ?, ?)")
                .bind(random_number())
                .bind(user)
                .bind(hash.expose().as_str())
                .bind(now)
                .execute(&mut self.on)
                .await?;
        }
        // The inner query has a name of its own because MySQL does not read a table it deletes from.
        sql("DELETE FROM nauth_password_history WHERE user_id = ? AND id NOT IN (SELECT id FROM \
             (SELECT id FROM nauth_password_history WHERE user_id = ? ORDER BY created_at DESC, id LIMIT ?) AS kept)")
        .bind(user)
        .bind(user)
        .bind(keep)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }
}
