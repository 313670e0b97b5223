//! Users and their roles.

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Identifier, Phone, Username};
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::domain::user::{Exemption, Lock, Role, User};
use crate::store::db::{On, Row, StoreError, sql};

/// The users, outside or inside a transaction.
#[derive(Debug)]
pub struct Users<'a> {
    pub(super) on: On<'a>,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, number, email, email_verified, pending_email, username, phone, phone_verified, pending_phone, \
             first_name, last_name, password_hash, password_changed_at, must_change_password, locked_at, lock_reason, \
             locked_until, lockouts_ended_at, mfa_exempt_at, mfa_exempt_reason, \
             (SELECT COUNT(*) FROM nauth_factors WHERE nauth_factors.user_id = nauth_users.id) AS factors, auth_epoch, device_epoch, claims_version, completed_at, timezone, locale, metadata, \
             metadata_admin, last_login_at, created_at, updated_at FROM nauth_users ",
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

    /// The user who alone has this number. A number that several share is nobody's identifier.
    pub async fn by_phone(&mut self, phone: &Phone) -> Result<Option<User>, StoreError> {
        let row = sql(select!("WHERE phone_claim = ?")).bind(phone).fetch_optional(&mut self.on).await?;
        self.with_roles(row).await
    }

    /// The user somebody means. What can be nobody's identifier is looked up all the same.
    pub async fn by_identifier(&mut self, identifier: &Identifier) -> Result<Option<User>, StoreError> {
        match identifier {
            Identifier::Email(email) => self.by_email(email).await,
            Identifier::Username(username) => self.by_username(username).await,
            Identifier::Phone(phone) => self.by_phone(phone).await,
            Identifier::Unknown(text) => {
                // Not every database takes this character, and nobody's address has it.
                let text = text.replace('\0', "\u{fffd}");
                let row = sql(select!("WHERE email = ?")).bind(text).fetch_optional(&mut self.on).await?;
                self.with_roles(row).await
            }
        }
    }

    /// Users in the order they signed up, after `after`, at most `limit`.
    pub async fn page(&mut self, after: Option<(Time, UserId)>, limit: i64) -> Result<Vec<User>, StoreError> {
        let (created_at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.micros(), id.to_string()));
        let rows = sql(select!("WHERE created_at >= ? AND (created_at > ? OR id > ?) ORDER BY created_at, id LIMIT ?"))
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

    /// Stores a new user and its roles. `claims_phone` makes the number this account's alone.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the address, the name or the number is somebody's already.
    pub async fn insert(&mut self, user: &User, claims_phone: bool, granted_by: &str) -> Result<(), StoreError> {
        let phone = user.phone.as_ref().map(Phone::as_str);
        sql("INSERT INTO nauth_users (id, number, email, email_verified, username, phone, phone_verified, \
             phone_claim, first_name, last_name, password_hash, password_changed_at, must_change_password, \
             locked_at, lock_reason, locked_until, mfa_exempt_at, mfa_exempt_reason, auth_epoch, device_epoch, claims_version, completed_at, timezone, \
             locale, metadata, metadata_admin, created_at, updated_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(user.id)
        .bind(user.number)
        .bind(&user.email)
        .bind(user.email_verified)
        .bind(user.username.as_ref().map(Username::as_str))
        .bind(phone)
        .bind(user.phone_verified)
        .bind(phone.filter(|_| claims_phone))
        .bind(user.first_name.as_deref())
        .bind(user.last_name.as_deref())
        .bind(user.password_hash.as_ref().map(|hash| hash.expose().as_str()))
        .bind(user.password_changed_at)
        .bind(user.must_change_password)
        .bind(user.lock.as_ref().map(|lock| lock.at))
        .bind(user.lock.as_ref().map(|lock| lock.reason.as_str()))
        .bind(user.lock.as_ref().and_then(|lock| lock.until))
        .bind(user.mfa_exempt.as_ref().map(|exempt| exempt.at))
        .bind(user.mfa_exempt.as_ref().and_then(|exempt| exempt.reason.as_deref()))
        .bind(user.auth_epoch)
        .bind(user.device_epoch)
        .bind(user.claims_version)
        .bind(user.completed_at)
        .bind(user.timezone.as_deref())
        .bind(user.locale.as_deref())
        .bind(user.metadata.as_str())
        .bind(user.metadata_admin.as_str())
        .bind(user.created_at)
        .bind(user.updated_at)
        .execute(&mut self.on)
        .await?;
        for role in &user.roles {
            self.grant_role(user.id, role, granted_by, user.created_at).await?;
        }
        Ok(())
    }

    /// Removes an account and everything that hangs on it; answers whether it was there.
    pub async fn delete(&mut self, id: UserId) -> Result<bool, StoreError> {
        let rows = sql("DELETE FROM nauth_users WHERE id = ?").bind(id).execute(&mut self.on).await?;
        Ok(rows == 1)
    }

    /// Removes an account that is not finished, and everything that hangs on it; answers whether it was one.
    pub async fn delete_unfinished(&mut self, id: UserId) -> Result<bool, StoreError> {
        let rows =
            sql("DELETE FROM nauth_users WHERE id = ? AND completed_at IS NULL").bind(id).execute(&mut self.on).await?;
        Ok(rows == 1)
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

    /// Marks the address as proven, if it still is this address and epoch; answers the claims version
    /// that says so, `None` when it is another address or epoch.
    pub async fn verify_email(
        &mut self,
        id: UserId,
        email: &Email,
        auth_epoch: i64,
        now: Time,
    ) -> Result<Option<i64>, StoreError> {
        let rows = sql("UPDATE nauth_users SET email_verified = 1, claims_version = claims_version + 1, \
             updated_at = ? WHERE id = ? AND email = ? AND auth_epoch = ?")
        .bind(now)
        .bind(id)
        .bind(email)
        .bind(auth_epoch)
        .execute(&mut self.on)
        .await?;
        if rows == 1 { self.claims_version(id).await } else { Ok(None) }
    }

    /// Marks the account complete, unless it is; answers whether it did.
    pub async fn complete(&mut self, id: UserId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET completed_at = ? WHERE id = ? AND completed_at IS NULL")
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
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

    /// Takes the user's row until the transaction ends, if neither epoch has been raised; answers whether it did.
    ///
    /// Whatever raises an epoch comes before, and makes it answer `false`, or after the whole change.
    pub async fn hold(&mut self, id: UserId, auth_epoch: i64, device_epoch: i64) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET auth_epoch = auth_epoch \
             WHERE id = ? AND auth_epoch = ? AND device_epoch = ?")
        .bind(id)
        .bind(auth_epoch)
        .bind(device_epoch)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Sets the password; answers whether the account still had `auth_epoch`. Nothing has to be changed any more.
    ///
    /// The caller raises the epoch in the same transaction.
    pub async fn set_password(
        &mut self,
        id: UserId,
        auth_epoch: i64,
        hash: &Secret<String>,
        now: Time,
    ) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET password_hash = ?, password_changed_at = ?, must_change_password = 0, \
             updated_at = ? WHERE id = ? AND auth_epoch = ?")
        .bind(hash.expose().as_str())
        .bind(now)
        .bind(now)
        .bind(id)
        .bind(auth_epoch)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// An example of each kind of password hash that another system made, as far as their first
    /// characters tell kinds apart; at most `limit`. Reads every account.
    pub async fn foreign_hashes(&mut self, limit: i64) -> Result<Vec<Secret<String>>, StoreError> {
        let rows = sql("SELECT MIN(password_hash) AS example FROM nauth_users \
             WHERE password_hash IS NOT NULL AND password_hash NOT LIKE '$argon2id$%' \
             GROUP BY SUBSTR(password_hash, 1, CASE WHEN password_hash LIKE 'nauth-wrap$%' THEN 16 ELSE 7 END) LIMIT ?")
        .bind(limit)
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(|row| row.text("example").map(Secret::new)).collect()
    }

    /// Stores the same password under a better hash, unless it was changed meanwhile.
    pub async fn upgrade_hash(
        &mut self,
        id: UserId,
        from: &Secret<String>,
        to: &Secret<String>,
    ) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET password_hash = ? WHERE id = ? AND password_hash = ?")
            .bind(to.expose().as_str())
            .bind(id)
            .bind(from.expose().as_str())
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Makes the next login set another password.
    pub async fn force_password_change(&mut self, id: UserId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_users SET must_change_password = 1, updated_at = ? \
             WHERE id = ? AND must_change_password = 0")
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Raises the device epoch: every trusted device of the user is a stranger again.
    pub async fn raise_device_epoch(&mut self, id: UserId) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET device_epoch = device_epoch + 1 WHERE id = ?")
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Marks the number as proven, if it still is the user's; answers like [`Users::verify_email`]. `claims`
    /// makes it this account's alone.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is somebody's already.
    pub async fn verify_phone(
        &mut self,
        id: UserId,
        phone: &Phone,
        auth_epoch: i64,
        claims: bool,
        now: Time,
    ) -> Result<Option<i64>, StoreError> {
        let rows = sql("UPDATE nauth_users SET phone_verified = 1, phone_claim = COALESCE(?, phone_claim), \
             claims_version = claims_version + 1, updated_at = ? WHERE id = ? AND phone = ? AND auth_epoch = ?")
        .bind(claims.then(|| phone.as_str()))
        .bind(now)
        .bind(id)
        .bind(phone)
        .bind(auth_epoch)
        .execute(&mut self.on)
        .await?;
        if rows == 1 { self.claims_version(id).await } else { Ok(None) }
    }

    /// Sets a number; answers the claims version that says so. `claims` makes it this account's alone.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is somebody's already.
    pub async fn set_phone(
        &mut self,
        id: UserId,
        phone: &Phone,
        verified: bool,
        claims: bool,
        now: Time,
    ) -> Result<Option<i64>, StoreError> {
        sql("UPDATE nauth_users SET phone = ?, phone_claim = ?, phone_verified = ?, pending_phone = NULL, \
             claims_version = claims_version + 1, updated_at = ? WHERE id = ?")
        .bind(phone)
        .bind(claims.then(|| phone.as_str()))
        .bind(verified)
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        self.claims_version(id).await
    }

    /// Sets another address; answers the claims version that says so.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is somebody's already.
    pub async fn set_email(
        &mut self,
        id: UserId,
        email: &Email,
        verified: bool,
        now: Time,
    ) -> Result<Option<i64>, StoreError> {
        sql("UPDATE nauth_users SET email = ?, email_verified = ?, pending_email = NULL, \
             claims_version = claims_version + 1, updated_at = ? WHERE id = ?")
        .bind(email)
        .bind(verified)
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        self.claims_version(id).await
    }

    /// Notes an address that waits to be proven, or that none does.
    pub async fn set_pending_email(&mut self, id: UserId, email: Option<&Email>, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET pending_email = ?, updated_at = ? WHERE id = ?")
            .bind(email.map(Email::as_str))
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Notes a number that waits to be proven, or that none does.
    pub async fn set_pending_phone(&mut self, id: UserId, phone: Option<&Phone>, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET pending_phone = ?, updated_at = ? WHERE id = ?")
            .bind(phone.map(Phone::as_str))
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Writes what users say of themselves and nothing is decided by.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name is somebody's already.
    pub async fn set_profile(&mut self, user: &User, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET username = ?, first_name = ?, last_name = ?, timezone = ?, locale = ?, \
             metadata = ?, updated_at = ? WHERE id = ?")
        .bind(user.username.as_ref().map(Username::as_str))
        .bind(user.first_name.as_deref())
        .bind(user.last_name.as_deref())
        .bind(user.timezone.as_deref())
        .bind(user.locale.as_deref())
        .bind(user.metadata.as_str())
        .bind(now)
        .bind(user.id)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Writes what only operators and hooks may say of a user.
    pub async fn set_metadata_admin(&mut self, id: UserId, metadata: &str, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET metadata_admin = ?, updated_at = ? WHERE id = ?")
            .bind(metadata)
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Takes away everything that was set before somebody proved the address of an unfinished account.
    pub async fn strip_unfinished(&mut self, id: UserId, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET password_hash = NULL, password_changed_at = NULL, username = NULL, phone = NULL, \
             phone_claim = NULL, phone_verified = 0, pending_email = NULL, pending_phone = NULL, first_name = NULL, \
             last_name = NULL, metadata = '{}', updated_at = ? WHERE id = ? AND completed_at IS NULL")
        .bind(now)
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Takes the number away from accounts that are not finished.
    pub async fn release_phone(&mut self, phone: &Phone, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET phone = NULL, phone_claim = NULL, phone_verified = 0, updated_at = ? \
             WHERE phone_claim = ? AND completed_at IS NULL")
        .bind(now)
        .bind(phone)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Takes the claim to a number away from every account but `to` that has not proven it, and the number itself
    /// from those that are not finished.
    pub async fn yield_phone(&mut self, phone: &Phone, to: UserId, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_users SET phone = CASE WHEN completed_at IS NULL THEN NULL ELSE phone END, \
             phone_claim = NULL, phone_verified = 0, updated_at = ? \
             WHERE phone_claim = ? AND id <> ? AND (phone_verified = 0 OR completed_at IS NULL)")
        .bind(now)
        .bind(phone)
        .bind(to)
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
        self.claims_version(id).await
    }

    /// What a change within this transaction has made of the claims version: until it ends nobody else raises it.
    async fn claims_version(&mut self, id: UserId) -> Result<Option<i64>, StoreError> {
        let row =
            sql("SELECT claims_version FROM nauth_users WHERE id = ?").bind(id).fetch_optional(&mut self.on).await?;
        row.map(|row| row.int("claims_version")).transpose()
    }

    /// Raises the epochs of every user: no session and no trusted device counts any more. Answers how many users.
    pub async fn raise_every_epoch(&mut self, now: Time) -> Result<u64, StoreError> {
        sql("UPDATE nauth_users SET auth_epoch = auth_epoch + 1, device_epoch = device_epoch + 1, updated_at = ?")
            .bind(now)
            .execute(&mut self.on)
            .await
    }

    /// Accounts that were never finished and are older than `before`, the oldest first, at most `limit`.
    pub async fn unfinished(&mut self, before: Time, limit: i64) -> Result<Vec<UserId>, StoreError> {
        let rows = sql("SELECT id FROM nauth_users WHERE completed_at IS NULL AND created_at < ? \
             ORDER BY created_at LIMIT ?")
        .bind(before)
        .bind(limit)
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(|row| row.parsed("id")).collect()
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
    let lock = match row.opt_time("locked_at")? {
        Some(at) => {
            let (reason, until) = (row.opt_text("lock_reason")?.unwrap_or_default(), row.opt_time("locked_until")?);
            Some(Lock { at, reason, until })
        }
        None => None,
    };
    let reason = row.opt_text("mfa_exempt_reason")?;
    let mfa_exempt = row.opt_time("mfa_exempt_at")?.map(|at| Exemption { at, reason });
    Ok(User {
        id: row.parsed("id")?,
        number: row.int("number")?,
        email: row.parsed("email")?,
        email_verified: row.bool("email_verified")?,
        pending_email: row.opt_parsed("pending_email")?,
        username: row.opt_parsed("username")?,
        phone: row.opt_parsed("phone")?,
        phone_verified: row.bool("phone_verified")?,
        pending_phone: row.opt_parsed("pending_phone")?,
        first_name: row.opt_text("first_name")?,
        last_name: row.opt_text("last_name")?,
        password_hash: row.opt_text("password_hash")?.map(Secret::new),
        password_changed_at: row.opt_time("password_changed_at")?,
        must_change_password: row.bool("must_change_password")?,
        lock,
        lockouts_ended_at: row.opt_time("lockouts_ended_at")?,
        mfa_enabled: row.int("factors")? > 0,
        mfa_exempt,
        auth_epoch: row.int("auth_epoch")?,
        device_epoch: row.int("device_epoch")?,
        claims_version: row.int("claims_version")?,
        completed_at: row.opt_time("completed_at")?,
        timezone: row.opt_text("timezone")?,
        locale: row.opt_text("locale")?,
        metadata: row.text("metadata")?,
        metadata_admin: row.text("metadata_admin")?,
        roles: Vec::new(),
        last_login_at: row.opt_time("last_login_at")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
