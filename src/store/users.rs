//! Users and their roles.

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Identifier, Username};
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::domain::user::{Lock, Role, User};
use crate::store::db::{On, Row, StoreError, sql};

/// The users, outside or inside a transaction.
#[derive(Debug)]
pub struct Users<'a> {
    on: On<'a>,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, number, email, email_verified, username, first_name, last_name, password_hash, locked_at, \
             lock_reason, auth_epoch, claims_version, completed_at, timezone, locale, metadata, created_at, updated_at \
             FROM nauth_users ",
            $tail
        )
    };
}

impl<'a> Users<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// The user with this id.
    pub async fn by_id(&mut self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = sql(select!("WHERE id = ?")).bind(id).fetch_optional(&mut self.on).await?;
        self.with_roles(row).await
    }

    /// The user with this address.
    pub async fn by_email(&mut self, email: &Email) -> Result<Option<User>, StoreError> {
        let row = sql(select!("WHERE email = ?")).bind(email).fetch_optional(&mut self.on).await?;
        self.with_roles(row).await
    }

    /// The user with this name.
    pub async fn by_username(&mut self, username: &Username) -> Result<Option<User>, StoreError> {
        let row = sql(select!("WHERE username = ?")).bind(username).fetch_optional(&mut self.on).await?;
        self.with_roles(row).await
    }

    /// The user somebody means. What can be nobody's identifier is looked up all the same.
    pub async fn by_identifier(&mut self, identifier: &Identifier) -> Result<Option<User>, StoreError> {
        match identifier {
            Identifier::Email(email) => self.by_email(email).await,
            Identifier::Username(username) => self.by_username(username).await,
            Identifier::Unknown(text) => {
                let row = sql(select!("WHERE email = ?")).bind(text.as_str()).fetch_optional(&mut self.on).await?;
                self.with_roles(row).await
            }
        }
    }

    /// Users in the order they signed up, after `after`, at most `limit`.
    pub async fn page(&mut self, after: Option<(Time, UserId)>, limit: i64) -> Result<Vec<User>, StoreError> {
        let (created_at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.micros(), id.to_string()));
        let rows = sql(select!("WHERE created_at > ? OR (created_at = ? AND id > ?) ORDER BY created_at, id LIMIT ?"))
            .bind(created_at)
            .bind(created_at)
            .bind(id)
            .bind(limit)
            .fetch_all(&mut self.on)
            .await?;
        let mut users = Vec::with_capacity(rows.len());
        for row in rows {
            users.extend(self.with_roles(Some(row)).await?);
        }
        Ok(users)
    }

    /// Stores a new user and its roles.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the address or the name is somebody's already.
    pub async fn insert(&mut self, user: &User, granted_by: &str) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_users (id, number, email, email_verified, username, first_name, last_name, \
             password_hash, locked_at, lock_reason, auth_epoch, claims_version, completed_at, timezone, locale, \
             metadata, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(user.id)
        .bind(user.number)
        .bind(&user.email)
        .bind(user.email_verified)
        .bind(user.username.as_ref().map(Username::as_str))
        .bind(user.first_name.as_deref())
        .bind(user.last_name.as_deref())
        .bind(user.password_hash.as_ref().map(|hash| hash.expose().as_str()))
        .bind(user.lock.as_ref().map(|lock| lock.at))
        .bind(user.lock.as_ref().map(|lock| lock.reason.as_str()))
        .bind(user.auth_epoch)
        .bind(user.claims_version)
        .bind(user.completed_at)
        .bind(user.timezone.as_deref())
        .bind(user.locale.as_deref())
        .bind(user.metadata.as_str())
        .bind(user.created_at)
        .bind(user.updated_at)
        .execute(&mut self.on)
        .await?;
        for role in &user.roles {
            self.grant_role(user.id, role, granted_by, user.created_at).await?;
        }
        Ok(())
    }

    /// Removes a user and everything that hangs on it.
    pub async fn delete(&mut self, id: UserId) -> Result<(), StoreError> {
        sql("DELETE FROM nauth_users WHERE id = ?").bind(id).execute(&mut self.on).await?;
        Ok(())
    }

    /// Takes the name away from an account that is not finished; answers whether there was one.
    pub async fn release_username(&mut self, username: &Username, now: Time) -> Result<bool, StoreError> {
        let rows =
            sql("UPDATE nauth_users SET username = NULL, updated_at = ? WHERE username = ? AND completed_at IS NULL")
                .bind(now)
                .bind(username)
                .execute(&mut self.on)
                .await?;
        Ok(rows > 0)
    }

    /// Marks the address proven and the account complete, if it still is this address and epoch.
    pub async fn verify_email(
        &mut self,
        id: UserId,
        email: &Email,
        auth_epoch: i64,
        now: Time,
    ) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET email_verified = 1, claims_version = claims_version + 1, \
             completed_at = COALESCE(completed_at, ?), updated_at = ? WHERE id = ? AND email = ? AND auth_epoch = ?")
        .bind(now)
        .bind(now)
        .bind(id)
        .bind(email)
        .bind(auth_epoch)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Marks the account complete, unless it is.
    pub async fn complete(&mut self, id: UserId, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET completed_at = ? WHERE id = ? AND completed_at IS NULL")
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Notes a login, if the user is active and still has the epoch read with the password.
    ///
    /// This is the guard in front of every new session: a password change, a disabling or a
    /// log-out-everywhere that commits first makes it answer `false`.
    pub async fn note_login(&mut self, id: UserId, auth_epoch: i64, now: Time) -> Result<bool, StoreError> {
        let rows =
            sql("UPDATE nauth_users SET last_login_at = ? WHERE id = ? AND auth_epoch = ? AND locked_at IS NULL")
                .bind(now)
                .bind(id)
                .bind(auth_epoch)
                .execute(&mut self.on)
                .await?;
        Ok(rows == 1)
    }

    /// Sets the password. The caller raises the epoch in the same transaction.
    pub async fn set_password(&mut self, id: UserId, hash: &Secret<String>, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET password_hash = ?, updated_at = ? WHERE id = ?")
            .bind(hash.expose().as_str())
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Raises the epoch: every session and token of the user is void. Answers the new epoch.
    pub async fn raise_epoch(&mut self, id: UserId, now: Time) -> Result<Option<i64>, StoreError> {
        sql("UPDATE nauth_users SET auth_epoch = auth_epoch + 1, updated_at = ? WHERE id = ?")
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        self.epoch(id).await
    }

    /// Disables the account, unless it is already; answers whether it did.
    pub async fn lock(&mut self, id: UserId, lock: &Lock) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET locked_at = ?, lock_reason = ?, updated_at = ? \
             WHERE id = ? AND locked_at IS NULL")
        .bind(lock.at)
        .bind(lock.reason.as_str())
        .bind(lock.at)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Enables the account, unless it is already; answers whether it did.
    pub async fn unlock(&mut self, id: UserId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET locked_at = NULL, lock_reason = NULL, updated_at = ? \
             WHERE id = ? AND locked_at IS NOT NULL")
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Grants a role, unless it is granted already; answers whether it did.
    pub async fn grant_role(
        &mut self,
        id: UserId,
        role: &Role,
        granted_by: &str,
        now: Time,
    ) -> Result<bool, StoreError> {
        let inserted = sql("INSERT INTO nauth_user_roles (user_id, role, granted_by, granted_at) SELECT ?, ?, ?, ? \
                 WHERE NOT EXISTS (SELECT 1 FROM nauth_user_roles WHERE user_id = ? AND role = ?)")
        .bind(id)
        .bind(role.as_str())
        .bind(granted_by)
        .bind(now)
        .bind(id)
        .bind(role.as_str())
        .execute(&mut self.on)
        .await?;
        Ok(inserted == 1)
    }

    /// Takes a role away; answers whether it was there.
    pub async fn revoke_role(&mut self, id: UserId, role: &Role) -> Result<bool, StoreError> {
        let removed = sql("DELETE FROM nauth_user_roles WHERE user_id = ? AND role = ?")
            .bind(id)
            .bind(role.as_str())
            .execute(&mut self.on)
            .await?;
        Ok(removed == 1)
    }

    /// Raises the version of what tokens say about the user; answers the new one.
    pub async fn raise_claims_version(&mut self, id: UserId, now: Time) -> Result<Option<i64>, StoreError> {
        sql("UPDATE nauth_users SET claims_version = claims_version + 1, updated_at = ? WHERE id = ?")
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        let row =
            sql("SELECT claims_version FROM nauth_users WHERE id = ?").bind(id).fetch_optional(&mut self.on).await?;
        row.map(|row| row.int("claims_version")).transpose()
    }

    /// Removes accounts that were never finished and are older than `before`; answers how many.
    pub async fn purge_unfinished(&mut self, before: Time) -> Result<u64, StoreError> {
        sql("DELETE FROM nauth_users WHERE completed_at IS NULL AND created_at < ?")
            .bind(before)
            .execute(&mut self.on)
            .await
    }

    async fn epoch(&mut self, id: UserId) -> Result<Option<i64>, StoreError> {
        let row = sql("SELECT auth_epoch FROM nauth_users WHERE id = ?").bind(id).fetch_optional(&mut self.on).await?;
        row.map(|row| row.int("auth_epoch")).transpose()
    }

    async fn with_roles(&mut self, row: Option<Row>) -> Result<Option<User>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let mut user = read(&row)?;
        let roles = sql("SELECT role FROM nauth_user_roles WHERE user_id = ? ORDER BY role")
            .bind(user.id)
            .fetch_all(&mut self.on)
            .await?;
        user.roles = roles.iter().map(|row| row.parsed("role")).collect::<Result<_, _>>()?;
        Ok(Some(user))
    }
}

fn read(row: &Row) -> Result<User, StoreError> {
    let lock = match (row.opt_time("locked_at")?, row.opt_text("lock_reason")?) {
        (Some(at), reason) => Some(Lock { at, reason: reason.unwrap_or_default() }),
        (None, _) => None,
    };
    let username = row.opt_text("username")?;
    Ok(User {
        id: row.parsed("id")?,
        number: row.int("number")?,
        email: row.parsed("email")?,
        email_verified: row.bool("email_verified")?,
        username: username.map(|name| name.parse().map_err(|_| StoreError::Corrupt("username"))).transpose()?,
        first_name: row.opt_text("first_name")?,
        last_name: row.opt_text("last_name")?,
        password_hash: row.opt_text("password_hash")?.map(Secret::new),
        lock,
        auth_epoch: row.int("auth_epoch")?,
        claims_version: row.int("claims_version")?,
        completed_at: row.opt_time("completed_at")?,
        timezone: row.opt_text("timezone")?,
        locale: row.opt_text("locale")?,
        metadata: row.text("metadata")?,
        roles: Vec::new(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
