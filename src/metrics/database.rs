//! The handles of the database: found once, then only added to.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::labels::{DatabaseError, DatabaseOperation};

/// What is counted of the database. Clones share it.
#[derive(Debug, Clone)]
pub struct DatabaseMetrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    operations: Vec<Histogram>,
    errors: Vec<IntCounter>,
}

impl DatabaseMetrics {
    pub(super) fn new(durations: &HistogramVec, errors: &IntCounterVec) -> Self {
        let operation = |operation: &DatabaseOperation| durations.with_label_values(&[operation.as_str()]);
        let error = |error: &DatabaseError| errors.with_label_values(&[error.as_str()]);
        Self(Arc::new(Handles {
            operations: DatabaseOperation::ALL.iter().map(operation).collect(),
            errors: DatabaseError::ALL.iter().map(error).collect(),
        }))
    }

    /// The database was asked for something, and was done with it after `took`.
    pub fn asked(&self, operation: DatabaseOperation, took: Duration) {
        self.0.operations[operation as usize].observe(took.as_secs_f64());
    }

    /// It did not do it.
    pub fn failed(&self, error: DatabaseError) {
        self.0.errors[error as usize].inc();
    }
}
