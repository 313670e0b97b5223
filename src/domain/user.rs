//! Users: who may log in, and what about them ends up in tokens.

use std::fmt;
use std::str::FromStr;

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::id::{UserId, random_number};
use crate::domain::secret::Secret;

/// Largest `metadata_admin`, in bytes of JSON.
pub const MAX_METADATA_ADMIN: usize = 4 * 1024;

/// One user as stored.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "what is stored of an account, each of its own")]
pub struct User {
    /// The `sub` of tokens.
    pub id: UserId,
    /// The number the wire shows where it wants one (audit). Positive, below 2^53.
    pub number: i64,
    /// Unique among all users.
    pub email: Email,
    /// Whether somebody has proven to read mail at `email`.
    pub email_verified: bool,
    /// A new address that waits to be proven; `email` stays in force until then.
    pub pending_email: Option<Email>,
    /// Unique among all users that have one.
    pub username: Option<Username>,
    /// Unique among all users that have one, unless duplicates are allowed.
    pub phone: Option<Phone>,
    /// Whether somebody has proven to read messages at `phone`.
    pub phone_verified: bool,
    /// A new number that waits to be proven.
    pub pending_phone: Option<Phone>,
    /// Given name, up to 100 characters.
    pub first_name: Option<String>,
    /// Family name, up to 100 characters.
    pub last_name: Option<String>,
    /// PHC string; `None` for an account without a password.
    pub password_hash: Option<Secret<String>>,
    /// When the password was last set; `None` for one that never expires by age because nobody knows.
    pub password_changed_at: Option<Time>,
    /// Whether the next login must set another password.
    pub must_change_password: bool,
    /// Set while an operator has disabled the account.
    pub lock: Option<Lock>,
    /// When an operator last ended what kept the user out; counters of failures begin anew with it.
    pub lockouts_ended_at: Option<Time>,
    /// Whether a factor beside the password is set up.
    pub mfa_enabled: bool,
    /// Set while an operator has freed the account from second factors.
    pub mfa_exempt: Option<Exemption>,
    /// Rises with everything that must end all sessions; tokens and sessions of an older one are void.
    pub auth_epoch: i64,
    /// Rises with everything that must make every device a stranger again.
    pub device_epoch: i64,
    /// Rises when what tokens say about the user changes; an older access token must be refreshed.
    pub claims_version: i64,
    /// When the account passed every verification asked of it. Until then it holds no claim to its address.
    pub completed_at: Option<Time>,
    /// IANA time zone, as the client gave it.
    pub timezone: Option<String>,
    /// BCP 47 language tag, as the client gave it.
    pub locale: Option<String>,
    /// JSON object the user may write; never a source of authority.
    pub metadata: String,
    /// JSON object only operators and hooks write.
    pub metadata_admin: String,
    /// Sorted, without duplicates.
    pub roles: Vec<Role>,
    /// When a login last brought tokens.
    pub last_login_at: Option<Time>,
    /// When the account was made.
    pub created_at: Time,
    /// When the account last changed.
    pub updated_at: Time,
}

impl User {
    /// A new account that nothing is known of but its address: unfinished, and without a password.
    #[must_use]
    pub fn new(email: Email, mut roles: Vec<Role>, now: Time) -> Self {
        roles.sort();
        roles.dedup();
        Self {
            id: UserId::random(),
            number: random_number(),
            email,
            email_verified: false,
            pending_email: None,
            username: None,
            phone: None,
            phone_verified: false,
            pending_phone: None,
            first_name: None,
            last_name: None,
            password_hash: None,
            password_changed_at: None,
            must_change_password: false,
            lock: None,
            lockouts_ended_at: None,
            mfa_enabled: false,
            mfa_exempt: None,
            auth_epoch: 1,
            device_epoch: 1,
            claims_version: 1,
            completed_at: None,
            timezone: None,
            locale: None,
            metadata: "{}".to_owned(),
            metadata_admin: "{}".to_owned(),
            roles,
            last_login_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether sessions of this user may exist and be refreshed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.lock.is_none()
    }
}

/// Why and since when an account is disabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Since when.
    pub at: Time,
    /// In the operator's words; shown to the user after a right password.
    pub reason: String,
    /// When it ends by itself; `None` = an operator ends it.
    pub until: Option<Time>,
}

/// Why and since when nobody asks an account for a second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemption {
    /// Since when.
    pub at: Time,
    /// In the operator's words.
    pub reason: Option<String>,
}

/// A role's name: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role(String);

impl Role {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRole)
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a role's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is 1 to 64 of A-Z a-z 0-9 . _ : -")]
pub struct InvalidRole;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_are_plain() {
        assert!("billing:read".parse::<Role>().is_ok());
        for bad in ["", "two words", "a,b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<Role>().is_err(), "{bad:?}");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// The user of every unit test.
    pub(crate) fn ada() -> User {
        let at = Time::from_secs(1);
        let roles = vec!["user".parse().unwrap()];
        User {
            email_verified: true,
            completed_at: Some(at),
            ..User::new("ada@example.com".parse().unwrap(), roles, at)
        }
    }
}
