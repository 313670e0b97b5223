//! How long the database takes, and how often it fails.

use std::time::Instant;

use crate::metrics::{DatabaseError, DatabaseMetrics, DatabaseOperation};
use crate::store::db::StoreError;

/// Something the database was asked for and is not done with. What nobody waits for is not counted.
#[derive(Debug)]
#[must_use]
pub(super) struct Watch {
    since: Instant,
    operation: DatabaseOperation,
}

impl Watch {
    pub(super) fn begin(operation: DatabaseOperation) -> Self {
        Self { since: Instant::now(), operation }
    }

    /// It is done with it, or failed.
    pub(super) fn end<T>(self, metrics: Option<&DatabaseMetrics>, done: &Result<T, StoreError>) {
        let Some(metrics) = metrics else { return };
        metrics.asked(self.operation, self.since.elapsed());
        match done {
            Err(StoreError::Unavailable(_) | StoreError::Lost(_)) => metrics.failed(DatabaseError::Unavailable),
            Err(StoreError::Late) => metrics.failed(DatabaseError::Late),
            // The others are answers, and no fault of the database's.
            Ok(_) | Err(_) => {}
        }
    }
}
