//! What goes into a statement: integers and text, each possibly null.
//!
//! Nulls are typed, because `PostgreSQL` refuses a text null for a number.

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::id::{ChallengeId, SessionId, UserId};

/// A value on its way into a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, a time, a boolean.
    Int(Option<i64>),
    /// Anything else.
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<Time> for Value {
    fn from(value: Time) -> Self {
        Self::Int(Some(value.micros()))
    }
}

impl From<Option<Time>> for Value {
    fn from(value: Option<Time>) -> Self {
        Self::Int(value.map(Time::micros))
    }
}

impl From<SessionId> for Value {
    fn from(value: SessionId) -> Self {
        Self::Int(Some(value.number()))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<UserId> for Value {
    fn from(value: UserId) -> Self {
        Self::Text(Some(value.to_string()))
    }
}

impl From<ChallengeId> for Value {
    fn from(value: ChallengeId) -> Self {
        Self::Text(Some(value.to_string()))
    }
}

impl From<&Email> for Value {
    fn from(value: &Email) -> Self {
        Self::Text(Some(value.as_str().to_owned()))
    }
}

impl From<&Username> for Value {
    fn from(value: &Username) -> Self {
        Self::Text(Some(value.as_str().to_owned()))
    }
}

impl From<&Phone> for Value {
    fn from(value: &Phone) -> Self {
        Self::Text(Some(value.as_str().to_owned()))
    }
}
