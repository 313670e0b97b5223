//! Identifiers. All are made by the application, never by a database.
//!
//! What the native wire shows as a UUID (`sub`, the challenge `session`) is version 4,
//! because its clients validate exactly that. What it shows as a number is a positive
//! integer below 2^53, so that JavaScript can hold it.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Largest number the wire may show: 2^53 - 1 (`Number.MAX_SAFE_INTEGER`).
const MAX_NUMBER: i64 = (1 << 53) - 1;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random identifier (UUID version 4).
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The identifier as a UUID.
            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
            }
        }
    };
}

uuid_id!(
    /// A user, everywhere: the `sub` of tokens and of the wire.
    UserId
);
uuid_id!(
    /// A challenge: the `session` value of the native wire.
    ChallengeId
);

/// A session. A number on the wire, in tokens as its decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(i64);

impl SessionId {
    /// A new random identifier, from 1 to 2^53 - 1.
    #[must_use]
    pub fn random() -> Self {
        Self(random_number())
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// An identifier read back from where one was stored.
    ///
    /// # Errors
    /// [`InvalidId`] when the number is outside 1 to 2^53 - 1.
    pub fn from_number(number: i64) -> Result<Self, InvalidId> {
        if (1..=MAX_NUMBER).contains(&number) { Ok(Self(number)) } else { Err(InvalidId) }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number: i64 = text.parse().map_err(|_| InvalidId)?;
        Self::from_number(number)
    }
}

/// A random positive number below 2^53, for rows the wire shows as numbers.
#[must_use]
pub fn random_number() -> i64 {
    let random = Uuid::new_v4().as_u128() & (MAX_NUMBER as u128);
    i64::try_from(random).expect("53 bits fit").max(1)
}

/// The text or number is not an identifier of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier")]
pub struct InvalidId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_fit_into_a_javascript_number() {
        for _ in 0..1000 {
            let number = random_number();
            assert!((1..=MAX_NUMBER).contains(&number));
        }
    }

    #[test]
    fn ids_survive_the_way_through_text() {
        let user = UserId::random();
        let session = SessionId::random();

        assert_eq!(user.to_string().parse(), Ok(user));
        assert_eq!(session.to_string().parse(), Ok(session));
        assert_eq!("0".parse::<SessionId>(), Err(InvalidId));
        assert_eq!("9007199254740992".parse::<SessionId>(), Err(InvalidId));
    }
}
