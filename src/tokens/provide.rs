//! Makes the keys that are missing.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::config::settings::SigningAlgorithm;
use crate::domain::clock::Time;
use crate::domain::secret::Secret;
use crate::store::keys::KeyRow;
use crate::store::{Store, Tx};
use crate::tokens::keys::{self, KeyError, Purpose};
use crate::tokens::master::{MasterKeys, Unopened};
use crate::tokens::signing::{self, SigningKey, Use};
use crate::tokens::wanted::{FixedKey, Wanted};

/// Verifies; will sign.
pub(super) const UPCOMING: &str = "upcoming";
/// Signs and verifies.
pub(super) const ACTIVE: &str = "active";
/// Verifies.
pub(super) const RETIRED: &str = "retired";
/// What a key is called whose purpose says how it is used.
pub(super) const BY_PURPOSE: &str = "HMAC";

/// Makes what is missing; answers every key there is.
pub(super) async fn provide(
    store: &Store,
    masters: &MasterKeys,
    wanted: &Wanted,
    now: Time,
) -> Result<Vec<KeyRow>, KeyError> {
    let fresh = Fresh::prepare(store, masters, wanted).await?;
    let mut tx = store.begin().await?;
    tx.one_at_a_time().await?;
    admit(&mut tx, masters, now).await?;
    let rows = tx.keys().all().await?;
    let mut making = Making { tx, rows, fresh, masters, wanted, now };
    making.reseal().await?;
    for purpose in Purpose::ALL {
        making.secret(purpose).await?;
    }
    for of in Use::ALL {
        making.withdraw(of).await?;
        making.signing_key(of).await?;
    }
    making.finish().await
}

/// The transaction in which missing keys are made.
struct Making<'a> {
    tx: Tx,
    rows: Vec<KeyRow>,
    fresh: Fresh,
    masters: &'a MasterKeys,
    wanted: &'a Wanted,
    now: Time,
}

impl Making<'_> {
    /// Private keys outlive the master key they were sealed with: their seal is renewed with the new one.
    async fn reseal(&mut self) -> Result<(), KeyError> {
        let current = self.masters.check();
        for row in self.rows.iter_mut().filter(|row| row.sealed.is_some() && row.master != current) {
            match self.masters.open(row) {
                Ok(private) => {
                    let sealed = self.masters.seal(row, private.expose());
                    self.tx.keys().reseal(&row.kid, &current, &sealed).await?;
                    row.sealed = Some(sealed);
                    row.master.clone_from(&current);
                }
                Err(Unopened::OtherMaster) => {}
                Err(Unopened::Broken) => return Err(KeyError::Broken(row.kid.clone())),
            }
        }
        Ok(())
    }

    /// A secret of this purpose that is derived from the current master key.
    async fn secret(&mut self, purpose: Purpose) -> Result<(), KeyError> {
        let (name, current) = (purpose.as_str(), self.masters.check());
        let signs = |row: &KeyRow| row.purpose == name && row.state == ACTIVE && row.master == current;
        if self.rows.iter().any(signs) {
            return Ok(());
        }
        self.succeed(new_row(name, BY_PURPOSE, self.masters, self.now)).await
    }

    /// Takes back published keys that nobody wants any more. They have signed nothing.
    async fn withdraw(&mut self, of: Use) -> Result<(), KeyError> {
        let (masters, wanted) = (self.masters, self.wanted);
        let is_unwanted = |row: &KeyRow| is(row, of, UPCOMING) && !is_wanted(row, of, masters, wanted);
        for row in self.rows.iter().filter(|row| is_unwanted(row)) {
            self.tx.keys().remove(&row.kid).await?;
        }
        self.rows.retain(|row| !is_unwanted(row));
        Ok(())
    }

    /// A key that signs as the settings want: published where another can sign until every node has
    /// it, else in force at once.
    async fn signing_key(&mut self, of: Use) -> Result<(), KeyError> {
        let can_wait = self.can_sign(of)?;
        if let Some(next) = self.rows.iter().find(|row| is(row, of, UPCOMING)) {
            let next = KeyRow { state: ACTIVE.to_owned(), ..next.clone() };
            return if can_wait { Ok(()) } else { self.succeed(next).await };
        }
        if is_provided(of, &self.rows, self.masters, self.wanted) {
            return Ok(());
        }
        let algorithm = self.wanted.algorithm(of);
        let row = match self.wanted.fixed_for(of) {
            Some(fixed) => fixed_row(of, fixed, algorithm, self.now),
            None => self.fresh.row(of, algorithm, self.masters, self.now).await,
        };
        if can_wait { announce(&mut self.tx, &row).await } else { self.succeed(row).await }
    }

    /// Whether a key signs here now, wanted or not.
    fn can_sign(&self, of: Use) -> Result<bool, KeyError> {
        for row in self.rows.iter().filter(|row| is(row, of, ACTIVE)) {
            if keys::signing_key(row, self.masters, self.wanted)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts a key in the place of those that signed until now, which verify on.
    async fn succeed(&mut self, row: KeyRow) -> Result<(), KeyError> {
        for old in self.rows.iter_mut().filter(|old| old.purpose == row.purpose && old.state == ACTIVE) {
            self.tx.keys().retire(&old.kid).await?;
            RETIRED.clone_into(&mut old.state);
        }
        insert(&mut self.tx, &row).await?;
        self.rows.retain(|known| known.kid != row.kid);
        self.rows.push(row);
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<KeyRow>, KeyError> {
        let rows = self.tx.keys().all().await?;
        self.tx.commit().await?;
        Ok(rows)
    }
}

/// Whether the keys that sign, now or next, are what the settings want.
pub(super) fn is_all_provided(rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> bool {
    Use::ALL.into_iter().all(|of| is_provided(of, rows, masters, wanted))
}

/// Whether the key that signs last of all is one that the settings want.
fn is_provided(of: Use, rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> bool {
    let of_state = |state| rows.iter().filter(move |row| is(row, of, state));
    let mut last = of_state(if of_state(UPCOMING).next().is_some() { UPCOMING } else { ACTIVE });
    last.any(|row| is_wanted(row, of, masters, wanted))
}

fn is(row: &KeyRow, of: Use, state: &str) -> bool {
    row.purpose == of.as_str() && row.state == state
}

fn is_wanted(row: &KeyRow, of: Use, masters: &MasterKeys, wanted: &Wanted) -> bool {
    let algorithm = wanted.algorithm(of);
    let is_ours = match wanted.fixed_for(of) {
        Some(fixed) => row.kid == fixed.kid(algorithm),
        None => row.master == masters.check(),
    };
    row.alg == algorithm.as_str() && is_ours
}

/// Publishes a key, to sign when every node has it.
pub(super) async fn announce(tx: &mut Tx, row: &KeyRow) -> Result<(), KeyError> {
    insert(tx, &KeyRow { state: UPCOMING.to_owned(), ..row.clone() }).await?;
    tracing::info!(key.id = row.kid, key.algorithm = row.alg, "a new key is published, and will sign");
    Ok(())
}

/// Stores a key; a configured one may have been here before.
async fn insert(tx: &mut Tx, row: &KeyRow) -> Result<(), KeyError> {
    tx.keys().remove(&row.kid).await?;
    tx.keys().insert(row).await?;
    Ok(())
}

/// Private keys that take long to make, made before anybody waits for a transaction.
#[derive(Default)]
pub(super) struct Fresh(HashMap<Use, Secret<Vec<u8>>>);

impl Fresh {
    async fn prepare(store: &Store, masters: &MasterKeys, wanted: &Wanted) -> Result<Self, KeyError> {
        let rows = store.keys().all().await?;
        let mut fresh = Self::default();
        for of in Use::ALL {
            if !is_provided(of, &rows, masters, wanted) && wanted.fixed_for(of).is_none() {
                fresh.0.extend(generated(wanted.algorithm(of)).await.map(|private| (of, private)));
            }
        }
        Ok(fresh)
    }

    pub(super) async fn row(
        &mut self,
        of: Use,
        algorithm: SigningAlgorithm,
        masters: &MasterKeys,
        now: Time,
    ) -> KeyRow {
        let mut row = new_row(of.as_str(), algorithm.as_str(), masters, now);
        let private = match self.0.remove(&of) {
            Some(private) => Some(private),
            None => generated(algorithm).await,
        };
        let Some(private) = private else { return row };
        let key = SigningKey::from_pkcs8(row.kid.clone(), algorithm, private.expose());
        let public = key.and_then(|key| key.public()).expect("a key that was just made can be read");
        row.public_key = Some(STANDARD_NO_PAD.encode(public));
        row.sealed = Some(masters.seal(&row, private.expose()));
        row
    }
}

async fn generated(algorithm: SigningAlgorithm) -> Option<Secret<Vec<u8>>> {
    let made = tokio::task::spawn_blocking(move || signing::generate(algorithm)).await;
    made.expect("making a key does not panic")
}

/// Lets nobody in whose master key the database was never used with.
async fn admit(tx: &mut Tx, masters: &MasterKeys, now: Time) -> Result<(), KeyError> {
    let current = masters.check();
    let known = tx.keys().master_checks().await?;
    if known.contains(&current) {
        return Ok(());
    }
    if !known.is_empty() && !masters.continues(&known) {
        return Err(KeyError::WrongMaster);
    }
    tx.keys().insert_master_check(&current, now).await?;
    Ok(())
}

pub(super) fn new_row(purpose: &str, alg: &str, masters: &MasterKeys, now: Time) -> KeyRow {
    KeyRow {
        kid: format!("{purpose}-{}", &uuid::Uuid::new_v4().simple().to_string()[..16]),
        purpose: purpose.to_owned(),
        alg: alg.to_owned(),
        master: masters.check(),
        state: ACTIVE.to_owned(),
        created_at: now,
        public_key: None,
        sealed: None,
        expires_at: None,
    }
}

/// Of a configured key the database knows that it was there, and the half that verifies.
fn fixed_row(of: Use, fixed: &FixedKey, algorithm: SigningAlgorithm, now: Time) -> KeyRow {
    let public = fixed.signing_key(algorithm).and_then(|key| key.public());
    KeyRow {
        kid: fixed.kid(algorithm),
        purpose: of.as_str().to_owned(),
        alg: algorithm.as_str().to_owned(),
        master: KeyRow::FIXED.to_owned(),
        state: ACTIVE.to_owned(),
        created_at: now,
        public_key: public.map(|public| STANDARD_NO_PAD.encode(public)),
        sealed: None,
        expires_at: None,
    }
}
