//! Ceremonies: what the server gave out while something is set up or asked, and expects back once.

use crate::domain::clock::Time;
use crate::domain::id::{UserId, random_number};
use crate::store::db::{On, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const LAPSED: Sweep = sweep!("nauth_ceremonies", "id", "expires_at < ?", "expires_at");

/// One ceremony.
#[derive(Debug, Clone)]
pub struct Ceremony {
    /// What for. One begun for one purpose is nothing for another.
    pub purpose: &'static str,
    /// Whose; `None` while nobody is known.
    pub user: Option<UserId>,
    /// The challenge or session it belongs to.
    pub bound_to: String,
    /// Hash of what was given out.
    pub handle: String,
    /// What is remembered for the end, sealed.
    pub sealed: String,
    /// When it lapses.
    pub expires_at: Time,
}

/// The ceremonies, outside or inside a transaction.
#[derive(Debug)]
pub struct Ceremonies<'a> {
    on: On<'a>,
}

impl<'a> Ceremonies<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Begins a ceremony in the place of another one of its purpose in the same challenge or session.
    pub async fn begin(&mut self, ceremony: &Ceremony) -> Result<(), StoreError> {
        sql("DELETE FROM nauth_ceremonies WHERE bound_to = ? AND purpose = ?")
            .bind(ceremony.bound_to.as_str())
            .bind(ceremony.purpose)
            .execute(&mut self.on)
            .await?;
        sql("INSERT INTO nauth_ceremonies (id, purpose, user_id, bound_to, handle, sealed, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(random_number())
        .bind(ceremony.purpose)
        .bind(ceremony.user.map(|user| user.to_string()))
        .bind(ceremony.bound_to.as_str())
        .bind(ceremony.handle.as_str())
        .bind(ceremony.sealed.as_str())
        .bind(ceremony.expires_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// What is remembered of a ceremony that has not lapsed.
    pub async fn find(
        &mut self,
        purpose: &'static str,
        bound_to: &str,
        handle: &str,
        now: Time,
    ) -> Result<Option<String>, StoreError> {
        let row = sql("SELECT sealed FROM nauth_ceremonies \
             WHERE handle = ? AND purpose = ? AND bound_to = ? AND expires_at > ?")
        .bind(handle)
        .bind(purpose)
        .bind(bound_to)
        .bind(now)
        .fetch_optional(&mut self.on)
        .await?;
        row.map(|row| row.text("sealed")).transpose()
    }

    /// Whether a ceremony of this purpose has begun here and not lapsed.
    pub async fn is_open(&mut self, purpose: &'static str, bound_to: &str, now: Time) -> Result<bool, StoreError> {
        let row = sql("SELECT id FROM nauth_ceremonies WHERE bound_to = ? AND purpose = ? AND expires_at > ?")
            .bind(bound_to)
            .bind(purpose)
            .bind(now)
            .fetch_optional(&mut self.on)
            .await?;
        Ok(row.is_some())
    }

    /// Whether anybody anywhere was asked this, and it has not lapsed.
    pub async fn is_open_anywhere(&mut self, handle: &str, now: Time) -> Result<bool, StoreError> {
        let row = sql("SELECT id FROM nauth_ceremonies WHERE handle = ? AND expires_at > ?")
            .bind(handle)
            .bind(now)
            .fetch_optional(&mut self.on)
            .await?;
        Ok(row.is_some())
    }

    /// Ends a ceremony; answers whether it was there: of several who end it, one does.
    pub async fn end(&mut self, purpose: &'static str, handle: &str) -> Result<bool, StoreError> {
        let rows = sql("DELETE FROM nauth_ceremonies WHERE handle = ? AND purpose = ?")
            .bind(handle)
            .bind(purpose)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Ends every ceremony.
    pub async fn end_all(&mut self) -> Result<u64, StoreError> {
        sql("DELETE FROM nauth_ceremonies").execute(&mut self.on).await
    }

    /// Removes ceremonies that lapsed before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        LAPSED.run(&mut self.on, before).await
    }
}
