//! Users: who may log in, and what about them ends up in tokens.

use std::fmt;
use std::str::FromStr;

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::id::UserId;
use crate::domain::secret::Secret;

/// One user as stored.
#[derive(Debug, Clone)]
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
    /// When the account was made.
    pub created_at: Time,
    /// When the account last changed.
    pub updated_at: Time,
}

impl User {
    /// Whether sessions of this user may exist and be refreshed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.lock.is_none()
    }

    /// The address messages greet: the name, else what is left.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let named = self.first_name.as_deref().or(self.username.as_ref().map(Username::as_str));
        named.unwrap_or_else(|| self.email.as_str())
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
        User {
            id: UserId::random(),
            number: 1,
            email: "ada@example.com".parse().unwrap(),
            email_verified: true,
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
            auth_epoch: 1,
            device_epoch: 1,
            claims_version: 1,
            completed_at: Some(Time::from_secs(1)),
            timezone: None,
            locale: None,
            metadata: "{}".to_owned(),
            metadata_admin: "{}".to_owned(),
            roles: vec!["user".parse().unwrap()],
            created_at: Time::from_secs(1),
            updated_at: Time::from_secs(1),
        }
    }
}
