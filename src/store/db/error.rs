//! What failed technically, told apart as far as anybody above can do something about it.

use std::sync::Arc;

use crate::domain::error::Error;

/// What failed technically. Never on the wire.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot serve now: it is gone, it is busy, or two transactions stood in each other's way.
    /// Nothing was changed; only of a commit whose answer was lost nobody knows.
    #[error("the database cannot serve")]
    Unavailable(#[source] sqlx::Error),
    /// The same, and it was told to all who were committed together.
    #[error("the database cannot serve")]
    Lost(#[source] Arc<sqlx::Error>),
    /// It did not answer in time.
    #[error("the database did not answer in time")]
    Late,
    /// A value that must be unique is there already. The use case decides what that means.
    #[error("a unique value is taken")]
    Taken(#[source] sqlx::Error),
    /// A statement of the transaction has failed before, so nothing of it counts.
    #[error("the transaction has failed before")]
    Aborted,
    /// A stored value cannot be read back.
    #[error("column `{0}` holds a value nauth did not write")]
    Corrupt(&'static str),
    /// The database does not have nauth's schema, or has another version of it.
    #[error("{0}")]
    Schema(String),
}

impl StoreError {
    /// Whether it was given up for another one that it stood in the way of. Nothing of it was done.
    #[must_use]
    pub fn is_a_lost_race(&self) -> bool {
        let Self::Unavailable(sqlx::Error::Database(error)) = self else { return false };
        // <https://www.postgresql.org/docs/current/errcodes-appendix.html>; MariaDB has the first one for both.
        matches!(error.code().as_deref(), Some("40001" | "40P01"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Taken(error),
            _ => Self::Unavailable(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Lost(_) | StoreError::Late => Self::Unavailable(Box::new(error)),
            StoreError::Taken(_) | StoreError::Aborted | StoreError::Corrupt(_) | StoreError::Schema(_) => {
                Self::Internal(Box::new(error))
            }
        }
    }
}
