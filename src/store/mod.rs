//! Floor 3, the store: SQL, one struct for each kind of row.
//!
//! The same struct serves outside and inside a transaction: `store.users()` reads from the pool,
//! `tx.users()` reads and writes in the transaction.

pub mod audit;
pub mod backup_codes;
pub mod ceremonies;
pub mod challenges;
pub mod copy;
pub mod db;
pub mod factors;
pub mod invitations;
pub mod jobs;
pub mod keys;
pub mod migrations;
pub mod one_time_secrets;
pub mod outbox;
pub mod password_history;
pub mod revocations;
pub mod sessions;
mod standing;
mod sweep;
pub mod transients;
pub mod trusted_devices;
pub mod users;

pub use db::{Db, On, StoreError, Tx};
use db::{Dialect, sql};

use crate::metrics::Metrics;

/// The database as the use cases see it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    /// A store on an open database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// The same, counting what its database does.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        Self { db: self.db.counted(metrics) }
    }

    /// Starts a transaction.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.db.begin().await
    }

    /// Whether one node alone can use the database: a file, of which `run` locks the directory.
    #[must_use]
    pub fn is_of_one_node(&self) -> bool {
        self.db.dialect() == Dialect::Sqlite
    }

    /// The database underneath.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }
}

impl Tx {
    /// Makes every other transaction that asks for this wait until this one ends, so that what is read in
    /// it about others stays true: who holds an address, which keys there are.
    ///
    /// It is the first thing such a transaction does. Whoever asked with something else in hand would
    /// stand in the way of another that waits for that.
    pub async fn one_at_a_time(&mut self) -> Result<(), StoreError> {
        if self.dialect() != Dialect::Sqlite {
            // Any row that is always there does: whoever has written it holds it.
            let row = sql("UPDATE nauth_installation SET value = value WHERE name = 'global_epoch'");
            row.execute(&mut On::Tx(self)).await?;
        }
        Ok(())
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $module:ident::$table:ident;)*) => {
        impl Store {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> $module::$table<'_> {
                $module::$table::on(On::Db(&self.db))
            })*
        }

        impl Tx {
            $($(#[$doc])* #[must_use] pub fn $name(&mut self) -> $module::$table<'_> {
                $module::$table::on(On::Tx(self))
            })*
        }
    };
}

tables! {
    /// Users and their roles.
    users: users::Users;
    /// Sessions.
    sessions: sessions::Sessions;
    /// Challenges.
    challenges: challenges::Challenges;
    /// Codes and whatever else works once.
    one_time_secrets: one_time_secrets::OneTimeSecrets;
    /// Messages on their way.
    outbox: outbox::Outbox;
    /// What was revoked, in commit order.
    revocations: revocations::Revocations;
    /// Signing keys and the check values of master keys.
    keys: keys::Keys;
    /// Trusted devices.
    trusted_devices: trusted_devices::TrustedDevices;
    /// Factors beside the password.
    factors: factors::Factors;
    /// Codes for the day factors are lost.
    backup_codes: backup_codes::BackupCodes;
    /// What is half way set up or asked.
    ceremonies: ceremonies::Ceremonies;
    /// Hashes of earlier passwords.
    password_history: password_history::PasswordHistory;
    /// Codes that open signup.
    invitations: invitations::Invitations;
    /// Which node runs which job.
    jobs: jobs::Jobs;
    /// The audit trail.
    audit: audit::Audit;
    /// Counters and their like, where nodes share them here.
    transients: transients::Transients;
}
