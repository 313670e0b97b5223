//! Signing keys by id and purpose, and the check values of master keys.
//!
//! No key material is stored: a key is derived from a master key, its purpose and its id.

use crate::domain::clock::Time;
use crate::store::db::{On, StoreError, sql};

/// One key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id, in the header of what it signs.
    pub kid: String,
    /// What it is for; a key of one purpose is nothing for another.
    pub purpose: String,
    /// The check value of the master key it is derived from.
    pub master: String,
    /// `active` signs and verifies, `retired` only verifies.
    pub state: String,
    /// When it was made.
    pub created_at: Time,
}

/// The keys, outside or inside a transaction.
#[derive(Debug)]
pub struct Keys<'a> {
    on: On<'a>,
}

impl<'a> Keys<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Every key, oldest first.
    pub async fn all(&mut self) -> Result<Vec<KeyRow>, StoreError> {
        let rows =
            sql("SELECT kid, purpose, master, state, created_at FROM nauth_signing_keys ORDER BY created_at, kid")
                .fetch_all(&mut self.on)
                .await?;
        rows.iter()
            .map(|row| {
                Ok(KeyRow {
                    kid: row.text("kid")?,
                    purpose: row.text("purpose")?,
                    master: row.text("master")?,
                    state: row.text("state")?,
                    created_at: row.time("created_at")?,
                })
            })
            .collect()
    }

    /// Stores a new key.
    pub async fn insert(&mut self, key: &KeyRow, alg: &str) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_signing_keys (kid, purpose, alg, master, state, created_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(key.kid.as_str())
            .bind(key.purpose.as_str())
            .bind(alg)
            .bind(key.master.as_str())
            .bind(key.state.as_str())
            .bind(key.created_at)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Lets a key verify but no longer sign.
    pub async fn retire(&mut self, kid: &str) -> Result<(), StoreError> {
        sql("UPDATE nauth_signing_keys SET state = 'retired' WHERE kid = ?").bind(kid).execute(&mut self.on).await?;
        Ok(())
    }

    /// The check values of every master key this database was ever used with.
    pub async fn master_checks(&mut self) -> Result<Vec<String>, StoreError> {
        let rows = sql("SELECT check_value FROM nauth_master_keys").fetch_all(&mut self.on).await?;
        rows.iter().map(|row| row.text("check_value")).collect()
    }

    /// Remembers a master key by its check value.
    pub async fn insert_master_check(&mut self, check_value: &str, now: Time) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_master_keys (check_value, created_at) VALUES (?, ?)")
            .bind(check_value)
            .bind(now)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }
}
