//! The key ring in force, and what it takes to read it again.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::clock::Time;
use crate::store::Store;
use crate::tokens::keys::{KeyError, KeyRing};
use crate::tokens::master::MasterKeys;
use crate::tokens::wanted::Wanted;

/// Holds the ring while settings come and go.
#[derive(Debug)]
pub struct Keychain {
    store: Store,
    masters: MasterKeys,
    ring: ArcSwap<KeyRing>,
}

impl Keychain {
    /// Reads the ring, making the keys that are missing.
    ///
    /// # Errors
    /// As [`KeyRing::load`].
    pub async fn open(store: Store, masters: MasterKeys, wanted: &Wanted, now: Time) -> Result<Self, KeyError> {
        let ring = KeyRing::load(&store, &masters, wanted, now).await?;
        Ok(Self { store, masters, ring: ArcSwap::from_pointee(ring) })
    }

    /// The ring in force.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Makes and reads what other settings want.
    ///
    /// # Errors
    /// As [`KeyRing::load`]; the ring in force stays.
    pub async fn refit(&self, wanted: &Wanted, now: Time) -> Result<(), KeyError> {
        let ring = KeyRing::load(&self.store, &self.masters, wanted, now).await?;
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}
