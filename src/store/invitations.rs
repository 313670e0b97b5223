//! Invitations: codes that open signup while it is invite-only.

use crate::domain::clock::Time;
use crate::domain::contact::Email;
use crate::domain::id::random_number;
use crate::store::db::{On, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const LAPSED: Sweep = sweep!("nauth_invitations", "id", "expires_at < ?", "expires_at");

/// The invitations, outside or inside a transaction.
#[derive(Debug)]
pub struct Invitations<'a> {
    on: On<'a>,
}

/// A new invitation.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Hash of the code.
    pub code_hash: String,
    /// The only address it is good for; `None` = any.
    pub email: Option<Email>,
    /// How many signups it opens.
    pub max_uses: i64,
    /// When it lapses.
    pub expires_at: Time,
}

impl<'a> Invitations<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Stores an invitation.
    pub async fn insert(&mut self, invitation: &Invitation, now: Time) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_invitations (id, code_hash, email, uses, max_uses, created_at, expires_at) \
             VALUES (?, ?, ?, 0, ?, ?, ?)")
        .bind(random_number())
        .bind(invitation.code_hash.as_str())
        .bind(invitation.email.as_ref().map(Email::as_str))
        .bind(invitation.max_uses)
        .bind(now)
        .bind(invitation.expires_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Whether an invitation is good for this address.
    pub async fn is_open(&mut self, code_hash: &str, email: &Email, now: Time) -> Result<bool, StoreError> {
        let row = sql("SELECT id FROM nauth_invitations \
             WHERE code_hash = ? AND (email IS NULL OR email = ?) AND uses < max_uses AND expires_at > ?")
        .bind(code_hash)
        .bind(email)
        .bind(now)
        .fetch_optional(&mut self.on)
        .await?;
        Ok(row.is_some())
    }

    /// Uses an invitation once, if it is good for this address; answers whether it did.
    pub async fn consume(&mut self, code_hash: &str, email: &Email, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_invitations SET uses = uses + 1 \
             WHERE code_hash = ? AND (email IS NULL OR email = ?) AND uses < max_uses AND expires_at > ?")
        .bind(code_hash)
        .bind(email)
        .bind(now)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Voids every open invitation; answers how many.
    pub async fn void_all(&mut self, now: Time) -> Result<u64, StoreError> {
        sql("UPDATE nauth_invitations SET expires_at = ? WHERE expires_at > ?")
            .bind(now)
            .bind(now)
            .execute(&mut self.on)
            .await
    }

    /// Removes invitations that lapsed before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        LAPSED.run(&mut self.on, before).await
    }
}
