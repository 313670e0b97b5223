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
    let mut fresh = Fresh::prepare(store, masters, wanted).await?;
    let mut tx = store.begin().await?;
    admit(&mut tx, masters, now).await?;
    let mut rows = tx.keys().all().await?;
    reseal(&mut tx, &mut rows, masters).await?;
    for purpose in Purpose::ALL {
        let is_ours = |row: &KeyRow| row.master == masters.check();
        if !rows.iter().any(|row| row.purpose == purpose.as_str() && row.state == ACTIVE && is_ours(row)) {
            let row = new_row(purpose.as_str(), BY_PURPOSE, masters, now);
            succeed(&mut tx, &mut rows, row).await?;
        }
    }
    for of in Use::ALL {
        withdraw(&mut tx, &mut rows, of, masters, wanted).await?;
        let signs = can_sign(of, &rows, masters, wanted)?;
        let next = match rows.iter().find(|row| is(row, of, UPCOMING)) {
            Some(next) => Some(next.clone()).filter(|_| !signs),
            None if is_provided(of, &rows, masters, wanted) => None,
            None => Some(match wanted.fixed_for(of) {
                Some(fixed) => fixed_row(of, fixed, wanted.algorithm(of), now),
                None => fresh.row(of, wanted.algorithm(of), masters, now).await,
            }),
        };
        match next {
            None => {}
            Some(row) if signs => announce(&mut tx, &row).await?,
            // Whoever would wait for the other nodes could not sign at all.
            Some(row) => succeed(&mut tx, &mut rows, KeyRow { state: ACTIVE.to_owned(), ..row }).await?,
        }
    }
    let rows = tx.keys().all().await?;
    tx.commit().await?;
    Ok(rows)
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

/// Whether a key signs here now, wanted or not.
fn can_sign(of: Use, rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> Result<bool, KeyError> {
    for row in rows.iter().filter(|row| is(row, of, ACTIVE)) {
        if keys::signing_key(row, masters, wanted)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes back published keys that nobody wants any more. They have signed nothing.
async fn withdraw(
    tx: &mut Tx,
    rows: &mut Vec<KeyRow>,
    of: Use,
    masters: &MasterKeys,
    wanted: &Wanted,
) -> Result<(), KeyError> {
    let is_unwanted = |row: &KeyRow| is(row, of, UPCOMING) && !is_wanted(row, of, masters, wanted);
    for row in rows.iter().filter(|row| is_unwanted(row)) {
        tx.keys().remove(&row.kid).await?;
    }
    rows.retain(|row| !is_unwanted(row));
    Ok(())
}

/// Publishes a key, to sign when every node has it.
pub(super) async fn announce(tx: &mut Tx, row: &KeyRow) -> Result<(), KeyError> {
    // A configured key may have been here before.
    tx.keys().remove(&row.kid).await?;
    tx.keys().insert(&KeyRow { state: UPCOMING.to_owned(), ..row.clone() }).await?;
    tracing::info!(key.id = row.kid, key.algorithm = row.alg, "a new key is published, and will sign");
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

/// Private keys outlive the master key they were sealed with: their seal is renewed with the new one.
async fn reseal(tx: &mut Tx, rows: &mut [KeyRow], masters: &MasterKeys) -> Result<(), KeyError> {
    let current = masters.check();
    for row in rows.iter_mut().filter(|row| row.sealed.is_some() && row.master != current) {
        match masters.open(row) {
            Ok(private) => {
                row.sealed = Some(masters.seal(row, private.expose()));
                row.master.clone_from(&current);
            }
            Err(Unopened::OtherMaster) => continue,
            Err(Unopened::Broken) => return Err(KeyError::Broken(row.kid.clone())),
        }
        tx.keys().reseal(&row.kid, &row.master, row.sealed.as_deref().unwrap_or_default()).await?;
    }
    Ok(())
}

/// Puts a key in the place of those that signed until now, which verify on.
async fn succeed(tx: &mut Tx, rows: &mut Vec<KeyRow>, row: KeyRow) -> Result<(), KeyError> {
    for old in rows.iter_mut().filter(|old| old.purpose == row.purpose && old.state == ACTIVE) {
        tx.keys().retire(&old.kid).await?;
        RETIRED.clone_into(&mut old.state);
    }
    // A configured key may have been here before.
    tx.keys().remove(&row.kid).await?;
    rows.retain(|known| known.kid != row.kid);
    tx.keys().insert(&row).await?;
    rows.push(row);
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
