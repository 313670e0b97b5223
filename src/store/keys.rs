//! Signing keys by id and purpose, and the check values of master keys.
//!
//! No key material is stored in the clear: a secret is derived from a master key, its purpose and
//! its id; of a key with two halves the private one is sealed.

use crate::domain::clock::Time;
use crate::store::db::{On, Row, StoreError, sql};

/// One key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id, in the header of what it signs.
    pub kid: String,
    /// What it is for; a key of one purpose is nothing for another.
    pub purpose: String,
    /// The one algorithm it is used with; `HMAC` where the purpose says it.
    pub alg: String,
    /// The check value of the master key it is derived from or sealed with, or [`KeyRow::FIXED`].
    pub master: String,
    /// `upcoming` verifies and will sign, `active` signs and verifies, `retired` only verifies.
    pub state: String,
    /// When it was made.
    pub created_at: Time,
    /// The public half, base64; none of a secret.
    pub public_key: Option<String>,
    /// The private half, sealed; none of a secret.
    pub sealed: Option<String>,
    /// When nothing it signed lives any more; unknown while it signs.
    pub expires_at: Option<Time>,
}

impl KeyRow {
    /// Stands for the master key of a key that the configuration names.
    pub const FIXED: &'static str = "";

    /// Whether the configuration names the key.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.master == Self::FIXED
    }
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
        let rows = sql("SELECT kid, purpose, alg, master, state, created_at, public_key, sealed, expires_at \
             FROM nauth_signing_keys ORDER BY created_at, kid")
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(key).collect()
    }

    /// Stores a new key.
    pub async fn insert(&mut self, key: &KeyRow) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_signing_keys \
             (kid, purpose, alg, master, state, created_at, public_key, sealed, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(key.kid.as_str())
        .bind(key.purpose.as_str())
        .bind(key.alg.as_str())
        .bind(key.master.as_str())
        .bind(key.state.as_str())
        .bind(key.created_at)
        .bind(key.public_key.as_deref())
        .bind(key.sealed.as_deref())
        .bind(key.expires_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Seals a private half anew.
    pub async fn reseal(&mut self, kid: &str, master: &str, sealed: &str) -> Result<(), StoreError> {
        sql("UPDATE nauth_signing_keys SET master = ?, sealed = ? WHERE kid = ?")
            .bind(master)
            .bind(sealed)
            .bind(kid)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Lets a published key sign.
    pub async fn activate(&mut self, kid: &str) -> Result<(), StoreError> {
        self.set_state(kid, "active").await
    }

    /// Lets a key verify but no longer sign.
    pub async fn retire(&mut self, kid: &str) -> Result<(), StoreError> {
        self.set_state(kid, "retired").await
    }

    async fn set_state(&mut self, kid: &str, state: &str) -> Result<(), StoreError> {
        sql("UPDATE nauth_signing_keys SET state = ? WHERE kid = ?")
            .bind(state)
            .bind(kid)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Notes when nothing a retired key signed lives any more.
    pub async fn expire(&mut self, kid: &str, at: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_signing_keys SET expires_at = ? WHERE kid = ? AND state = 'retired'")
            .bind(at)
            .bind(kid)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Forgets a key.
    pub async fn remove(&mut self, kid: &str) -> Result<(), StoreError> {
        sql("DELETE FROM nauth_signing_keys WHERE kid = ?").bind(kid).execute(&mut self.on).await?;
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

fn key(row: &Row) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        kid: row.text("kid")?,
        purpose: row.text("purpose")?,
        alg: row.text("alg")?,
        master: row.text("master")?,
        state: row.text("state")?,
        created_at: row.time("created_at")?,
        public_key: row.opt_text("public_key")?,
        sealed: row.opt_text("sealed")?,
        expires_at: row.opt_time("expires_at")?,
    })
}
