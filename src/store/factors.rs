//! Factors beside the password.

use crate::domain::clock::Time;
use crate::domain::factor::{Factor, Method};
use crate::domain::id::UserId;
use crate::store::db::{On, Row, StoreError, sql};

/// The factors, outside or inside a transaction.
#[derive(Debug)]
pub struct Factors<'a> {
    on: On<'a>,
}

/// What proves a factor.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The secret, sealed for the factor's number.
    pub sealed: Option<String>,
    /// Hash of the id of a passkey's credential.
    pub credential_hash: Option<String>,
    /// The last time step or signature counter seen.
    pub counter: i64,
}

/// A passkey as it is found by its credential.
#[derive(Debug, Clone)]
pub struct Held {
    /// Whose.
    pub user: UserId,
    /// The factor's number.
    pub factor: i64,
    /// What proves it.
    pub proof: Proof,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, user_id, method, name, address, sealed, credential_hash, counter, preferred, created_at, \
             last_used_at FROM nauth_factors ",
            $tail
        )
    };
}

impl<'a> Factors<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// A user's factors in the order they were set up.
    pub async fn of_user(&mut self, user: UserId) -> Result<Vec<Factor>, StoreError> {
        let rows = sql(select!("WHERE user_id = ? ORDER BY created_at, id")).bind(user).fetch_all(&mut self.on).await?;
        rows.iter().map(read).collect()
    }

    /// What proves one of a user's factors.
    pub async fn proof(&mut self, user: UserId, id: i64) -> Result<Option<Proof>, StoreError> {
        let row = sql(select!("WHERE user_id = ? AND id = ?")).bind(user).bind(id).fetch_optional(&mut self.on).await?;
        row.map(|row| read_proof(&row)).transpose()
    }

    /// The passkey whose credential's id has this hash, whosever it is.
    pub async fn by_credential(&mut self, hash: &str) -> Result<Option<Held>, StoreError> {
        let row = sql(select!("WHERE credential_hash = ?")).bind(hash).fetch_optional(&mut self.on).await?;
        row.map(|row| Ok(Held { user: row.parsed("user_id")?, factor: row.int("id")?, proof: read_proof(&row)? }))
            .transpose()
    }

    /// Stores a new factor.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the passkey is somebody's already.
    pub async fn insert(&mut self, factor: &Factor, proof: &Proof) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_factors (id, user_id, method, name, address, sealed, credential_hash, counter, \
             preferred, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(factor.id)
        .bind(factor.user)
        .bind(factor.method.as_str())
        .bind(factor.name.as_str())
        .bind(factor.address.as_deref())
        .bind(proof.sealed.as_deref())
        .bind(proof.credential_hash.as_deref())
        .bind(proof.counter)
        .bind(factor.preferred)
        .bind(factor.created_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Notes that a factor proved its user.
    pub async fn used(&mut self, id: i64, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_factors SET last_used_at = ? WHERE id = ?").bind(now).bind(id).execute(&mut self.on).await?;
        Ok(())
    }

    /// Moves a counter forward; answers whether it stood below. What was seen once is never seen again.
    pub async fn advance(&mut self, id: i64, counter: i64) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_factors SET counter = ? WHERE id = ? AND counter < ?")
            .bind(counter)
            .bind(id)
            .bind(counter)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Makes one factor of a user the one that is asked for first; answers whether it is theirs.
    pub async fn prefer(&mut self, user: UserId, id: i64) -> Result<bool, StoreError> {
        let rows = sql("SELECT id FROM nauth_factors WHERE user_id = ? AND id = ?")
            .bind(user)
            .bind(id)
            .fetch_optional(&mut self.on)
            .await?;
        if rows.is_none() {
            return Ok(false);
        }
        sql("UPDATE nauth_factors SET preferred = CASE WHEN id = ? THEN 1 ELSE 0 END WHERE user_id = ?")
            .bind(id)
            .bind(user)
            .execute(&mut self.on)
            .await?;
        Ok(true)
    }

    /// Removes one factor of a user; answers whether it was theirs.
    pub async fn delete(&mut self, user: UserId, id: i64) -> Result<bool, StoreError> {
        let rows = sql("DELETE FROM nauth_factors WHERE user_id = ? AND id = ?")
            .bind(user)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Removes every factor of a user; answers how many.
    pub async fn delete_all(&mut self, user: UserId) -> Result<u64, StoreError> {
        sql("DELETE FROM nauth_factors WHERE user_id = ?").bind(user).execute(&mut self.on).await
    }
}

fn read_proof(row: &Row) -> Result<Proof, StoreError> {
    Ok(Proof {
        sealed: row.opt_text("sealed")?,
        credential_hash: row.opt_text("credential_hash")?,
        counter: row.int("counter")?,
    })
}

fn read(row: &Row) -> Result<Factor, StoreError> {
    Ok(Factor {
        id: row.int("id")?,
        user: row.parsed("user_id")?,
        method: Method::from_name(&row.text("method")?).ok_or(StoreError::Corrupt("method"))?,
        name: row.text("name")?,
        address: row.opt_text("address")?,
        preferred: row.bool("preferred")?,
        created_at: row.time("created_at")?,
        last_used_at: row.opt_time("last_used_at")?,
    })
}
