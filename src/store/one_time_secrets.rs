//! Codes and whatever else grants something once.
//!
//! A secret is stored only as a keyed hash and is bound to its purpose, its user and the user's
//! epoch, the exact address it was sent to, and the challenge or session that asked for it.

use crate::domain::clock::Time;
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::store::db::{On, Row, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const LAPSED: Sweep = sweep!("nauth_one_time_secrets", "id", "expires_at < ?", "expires_at");

/// What a secret is for. One made for one purpose is nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Proves an e-mail address.
    VerifyEmail,
    /// Proves a phone number.
    VerifyPhone,
    /// Resets a forgotten password.
    PasswordReset,
    /// Resets a password at an operator's wish. Nothing for the purpose above, and the other way round.
    AdminReset,
    /// Proves an address that is to replace another one.
    ChangeEmail,
    /// Proves a number that is to replace another one.
    ChangePhone,
    /// Proves a second factor by mail.
    MfaEmail,
    /// Proves a second factor by text message.
    MfaSms,
    /// Proves an address that is to become a second factor.
    EnrolEmail,
    /// Proves a number that is to become a second factor.
    EnrolSms,
    /// Proves nothing: stands where the code of a challenge would that is only pretended.
    Decoy,
}

impl Purpose {
    /// The stored name, also part of what is hashed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::VerifyPhone => "verify_phone",
            Self::PasswordReset => "password_reset",
            Self::AdminReset => "admin_reset",
            Self::ChangeEmail => "change_email",
            Self::ChangePhone => "change_phone",
            Self::MfaEmail => "mfa_email",
            Self::MfaSms => "mfa_sms",
            Self::EnrolEmail => "enrol_email",
            Self::EnrolSms => "enrol_sms",
            Self::Decoy => "decoy",
        }
    }

    /// Whether it is a code that proves a second factor.
    #[must_use]
    pub fn is_of_factor(self) -> bool {
        matches!(self, Self::MfaEmail | Self::MfaSms)
    }

    /// Whether it belongs to its challenge alone. Another one of the same user neither takes it over nor waits for
    /// it: whoever else knows the password would take the code away from who reads it.
    #[must_use]
    pub fn is_of_challenge(self) -> bool {
        self.is_of_factor() || self == Self::Decoy
    }
}

/// One secret as stored.
#[derive(Debug, Clone)]
pub struct OneTimeSecret {
    /// Made by the application; part of what is hashed.
    pub id: i64,
    /// Whose.
    pub user: UserId,
    /// What for.
    pub purpose: Purpose,
    /// The challenge that asked.
    pub challenge: Option<ChallengeId>,
    /// The session that asked, where it is good for that one only.
    pub session: Option<SessionId>,
    /// Where it was sent.
    pub destination: String,
    /// Keyed hash of the code.
    pub secret_hash: String,
    /// Keyed hash of what the mailed link carries, when there is one.
    pub link_hash: Option<String>,
    /// The user's epoch when it was made.
    pub auth_epoch: i64,
    /// Wrong tries so far.
    pub attempts: i64,
    /// Tries allowed.
    pub max_attempts: i64,
    /// When it was made and sent.
    pub created_at: Time,
    /// When it lapses.
    pub expires_at: Time,
}

/// The secrets, outside or inside a transaction.
#[derive(Debug)]
pub struct OneTimeSecrets<'a> {
    on: On<'a>,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, user_id, challenge_id, client_binding, destination, secret_hash, link_hash, auth_epoch, attempts, max_attempts, \
             created_at, expires_at FROM nauth_one_time_secrets ",
            $tail
        )
    };
}

impl<'a> OneTimeSecrets<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Stores a new secret and voids the unused ones of its kind: those of the same challenge or session, or
    /// without either those of the same user.
    pub async fn replace(&mut self, secret: &OneTimeSecret) -> Result<(), StoreError> {
        match (secret.challenge, secret.session) {
            (Some(challenge), _) => {
                sql("UPDATE nauth_one_time_secrets SET used_at = ? \
                     WHERE challenge_id = ? AND purpose = ? AND used_at IS NULL")
                .bind(secret.created_at)
                .bind(challenge)
                .bind(secret.purpose.as_str())
                .execute(&mut self.on)
                .await?;
            }
            (None, Some(session)) => {
                sql("UPDATE nauth_one_time_secrets SET used_at = ? \
                     WHERE user_id = ? AND purpose = ? AND client_binding = ? AND used_at IS NULL")
                .bind(secret.created_at)
                .bind(secret.user)
                .bind(secret.purpose.as_str())
                .bind(session.to_string())
                .execute(&mut self.on)
                .await?;
            }
            (None, None) => self.void(secret.user, secret.purpose, secret.created_at).await?,
        }
        sql("INSERT INTO nauth_one_time_secrets (id, user_id, purpose, challenge_id, client_binding, destination, \
             secret_hash, link_hash, auth_epoch, attempts, max_attempts, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(secret.id)
        .bind(secret.user)
        .bind(secret.purpose.as_str())
        .bind(secret.challenge.map(|id| id.to_string()))
        .bind(secret.session.map(|id| id.to_string()))
        .bind(secret.destination.as_str())
        .bind(secret.secret_hash.as_str())
        .bind(secret.link_hash.as_deref())
        .bind(secret.auth_epoch)
        .bind(secret.attempts)
        .bind(secret.max_attempts)
        .bind(secret.created_at)
        .bind(secret.expires_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Voids the unused secrets of a user for one purpose.
    pub async fn void(&mut self, user: UserId, purpose: Purpose, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_one_time_secrets SET used_at = ? WHERE user_id = ? AND purpose = ? AND used_at IS NULL")
            .bind(now)
            .bind(user)
            .bind(purpose.as_str())
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Voids every unused secret; answers how many.
    pub async fn void_all(&mut self, now: Time) -> Result<u64, StoreError> {
        sql("UPDATE nauth_one_time_secrets SET used_at = ? WHERE used_at IS NULL").bind(now).execute(&mut self.on).await
    }

    /// The newest unused secret of this purpose of a user that no challenge asked for, lapsed or not.
    pub async fn unused_of(&mut self, user: UserId, purpose: Purpose) -> Result<Option<OneTimeSecret>, StoreError> {
        let row = sql(select!(
            "WHERE user_id = ? AND purpose = ? AND challenge_id IS NULL AND used_at IS NULL \
                 ORDER BY created_at DESC LIMIT 1"
        ))
        .bind(user)
        .bind(purpose.as_str())
        .fetch_optional(&mut self.on)
        .await?;
        row.map(|row| read(&row, purpose)).transpose()
    }

    /// The newest unused secret of this purpose for a challenge, lapsed or not.
    pub async fn unused_for(
        &mut self,
        challenge: ChallengeId,
        purpose: Purpose,
    ) -> Result<Option<OneTimeSecret>, StoreError> {
        let row =
            sql(select!("WHERE challenge_id = ? AND purpose = ? AND used_at IS NULL ORDER BY created_at DESC LIMIT 1"))
                .bind(challenge)
                .bind(purpose.as_str())
                .fetch_optional(&mut self.on)
                .await?;
        row.map(|row| read(&row, purpose)).transpose()
    }

    /// The newest unused secret of this purpose for a session of a user, lapsed or not.
    pub async fn unused_in(
        &mut self,
        session: SessionId,
        user: UserId,
        purpose: Purpose,
    ) -> Result<Option<OneTimeSecret>, StoreError> {
        let row = sql(select!(
            "WHERE user_id = ? AND purpose = ? AND client_binding = ? AND used_at IS NULL \
             ORDER BY created_at DESC LIMIT 1"
        ))
        .bind(user)
        .bind(purpose.as_str())
        .bind(session.to_string())
        .fetch_optional(&mut self.on)
        .await?;
        row.map(|row| read(&row, purpose)).transpose()
    }

    /// When the last secret of this purpose went to this address of a user.
    pub async fn last_sent(
        &mut self,
        user: UserId,
        purpose: Purpose,
        destination: &str,
    ) -> Result<Option<Time>, StoreError> {
        let row = sql("SELECT MAX(created_at) AS sent_at FROM nauth_one_time_secrets \
             WHERE user_id = ? AND purpose = ? AND destination = ?")
        .bind(user)
        .bind(purpose.as_str())
        .bind(destination)
        .fetch_optional(&mut self.on)
        .await?;
        Ok(row.map(|row| row.opt_time("sent_at")).transpose()?.flatten())
    }

    /// When the last secret of this purpose went to this address for a challenge.
    pub async fn last_sent_for(
        &mut self,
        challenge: ChallengeId,
        purpose: Purpose,
        destination: &str,
    ) -> Result<Option<Time>, StoreError> {
        let row = sql("SELECT MAX(created_at) AS sent_at FROM nauth_one_time_secrets \
             WHERE challenge_id = ? AND purpose = ? AND destination = ?")
        .bind(challenge)
        .bind(purpose.as_str())
        .bind(destination)
        .fetch_optional(&mut self.on)
        .await?;
        Ok(row.map(|row| row.opt_time("sent_at")).transpose()?.flatten())
    }

    /// Moves the newest live secret of a user's challenges to another challenge of the same user; answers
    /// whether there was one. Its link stays with the challenge it was mailed for. A second login inside the
    /// resend delay uses the mail already sent. Not for what [`Purpose::is_of_challenge`].
    pub async fn adopt(
        &mut self,
        user: UserId,
        purpose: Purpose,
        auth_epoch: i64,
        destination: &str,
        challenge: ChallengeId,
        now: Time,
    ) -> Result<bool, StoreError> {
        let rows =
            sql("UPDATE nauth_one_time_secrets SET challenge_id = ?, link_hash = NULL WHERE id = (SELECT id FROM \
             (SELECT id FROM nauth_one_time_secrets WHERE user_id = ? AND purpose = ? AND auth_epoch = ? \
             AND destination = ? AND challenge_id IS NOT NULL AND used_at IS NULL AND attempts < max_attempts \
             AND expires_at > ? ORDER BY created_at DESC LIMIT 1) AS newest)")
            .bind(challenge)
            .bind(user)
            .bind(purpose.as_str())
            .bind(auth_epoch)
            .bind(destination)
            .bind(now)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Counts a try, if one is left; answers whether it did.
    pub async fn claim_attempt(&mut self, id: i64) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_one_time_secrets SET attempts = attempts + 1 \
             WHERE id = ? AND used_at IS NULL AND attempts < max_attempts")
        .bind(id)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Gives a try back that turned out to be right.
    pub async fn return_attempt(&mut self, id: i64) -> Result<(), StoreError> {
        sql("UPDATE nauth_one_time_secrets SET attempts = attempts - 1 WHERE id = ? AND attempts > 0")
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Uses the secret up, if it is unused and alive; answers whether it did.
    pub async fn consume(&mut self, id: i64, auth_epoch: i64, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_one_time_secrets SET used_at = ? \
             WHERE id = ? AND used_at IS NULL AND expires_at > ? AND auth_epoch = ?")
        .bind(now)
        .bind(id)
        .bind(now)
        .bind(auth_epoch)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Removes secrets that lapsed before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        LAPSED.run(&mut self.on, before).await
    }
}

fn read(row: &Row, purpose: Purpose) -> Result<OneTimeSecret, StoreError> {
    let challenge = row.opt_text("challenge_id")?;
    let session = row.opt_text("client_binding")?;
    Ok(OneTimeSecret {
        id: row.int("id")?,
        user: row.parsed("user_id")?,
        purpose,
        challenge: challenge.map(|id| id.parse().map_err(|_| StoreError::Corrupt("challenge_id"))).transpose()?,
        session: session.map(|id| id.parse().map_err(|_| StoreError::Corrupt("client_binding"))).transpose()?,
        destination: row.text("destination")?,
        secret_hash: row.text("secret_hash")?,
        link_hash: row.opt_text("link_hash")?,
        auth_epoch: row.int("auth_epoch")?,
        attempts: row.int("attempts")?,
        max_attempts: row.int("max_attempts")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    })
}
