//! The key ring in force, and what it takes to read it again.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::clock::Time;
use crate::store::Store;
use crate::store::keys::KeyRow;
use crate::tokens::keys::{KeyError, KeyRing};
use crate::tokens::master::MasterKeys;
use crate::tokens::provide;
use crate::tokens::wanted::Wanted;

/// Holds the ring while settings come and go and keys change.
#[derive(Debug)]
pub struct Keychain {
    store: Store,
    masters: MasterKeys,
    held: ArcSwap<Held>,
}

/// The ring and what it was made of.
#[derive(Debug)]
struct Held {
    ring: Arc<KeyRing>,
    rows: Vec<KeyRow>,
    wanted: Wanted,
}

impl Held {
    fn new(rows: Vec<KeyRow>, masters: &MasterKeys, wanted: &Wanted) -> Result<Self, KeyError> {
        let ring = Arc::new(KeyRing::assemble(&rows, masters, wanted)?);
        Ok(Self { ring, rows, wanted: wanted.clone() })
    }
}

impl Keychain {
    /// Reads the ring, making the keys that are missing.
    ///
    /// # Errors
    /// [`KeyError::WrongMaster`] when the database was never used with any of the master keys,
    /// [`KeyError::Broken`] when a private key of ours does not open.
    pub async fn open(store: Store, masters: MasterKeys, wanted: &Wanted, now: Time) -> Result<Self, KeyError> {
        let rows = provide::provide(&store, &masters, wanted, now).await?;
        let held = Held::new(rows, &masters, wanted)?;
        Ok(Self { store, masters, held: ArcSwap::from_pointee(held) })
    }

    /// The ring in force.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.held.load().ring)
    }

    /// Makes and reads what other settings want. Where the keys at hand are those, no database is asked.
    ///
    /// # Errors
    /// As [`Keychain::open`]; the ring in force stays.
    pub async fn refit(&self, wanted: &Wanted, now: Time) -> Result<(), KeyError> {
        let mut rows = self.held.load().rows.clone();
        if !provide::is_all_provided(&rows, &self.masters, wanted) {
            rows = provide::provide(&self.store, &self.masters, wanted, now).await?;
        }
        self.held.store(Arc::new(Held::new(rows, &self.masters, wanted)?));
        Ok(())
    }

    /// Reads the keys anew; answers whether they have changed, here or elsewhere.
    ///
    /// # Errors
    /// As [`Keychain::open`]; the ring in force stays.
    pub async fn follow(&self) -> Result<bool, KeyError> {
        let rows = self.store.keys().all().await?;
        let held = self.held.load_full();
        if rows == held.rows {
            return Ok(false);
        }
        self.held.store(Arc::new(Held::new(rows, &self.masters, &held.wanted)?));
        Ok(true)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn masters(&self) -> &MasterKeys {
        &self.masters
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.held.load().wanted.clone()
    }
}
