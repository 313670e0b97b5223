//! The key ring: every key nauth uses.
//!
//! Secrets are derived from a master key (`master.rs`), keys with two halves are made at random and
//! sealed with it. Ids and states live in the database. Purposes never mix: what is signed for one
//! verifies for no other.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::config::settings::{Settings, SigningAlgorithm};
use crate::domain::clock::Time;
use crate::domain::secret::Secret;
use crate::store::keys::KeyRow;
use crate::store::{Store, StoreError, Tx};
use crate::tokens::master::{MasterKeys, SECRET_BYTES, Unopened, check_value};
use crate::tokens::signing::{self, SigningKey, SigningKeys, Use, VerifyingKey};

const ACTIVE: &str = "active";
const RETIRED: &str = "retired";
/// What a key is called whose purpose says how it is used.
const BY_PURPOSE: &str = "HMAC";

/// What secrets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Signs refresh tokens.
    Refresh,
    /// Binds CSRF tokens to sessions.
    Csrf,
    /// Hashes codes before they are stored.
    Code,
    /// Seals message bodies in the outbox.
    Outbox,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Refresh, Self::Csrf, Self::Code, Self::Outbox];

    /// The stored name, also part of the derivation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Csrf => "csrf",
            Self::Code => "code",
            Self::Outbox => "outbox",
        }
    }
}

/// What the settings ask of the keys.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How access tokens are signed.
    pub access: SigningAlgorithm,
    /// `jwt.access_secret`, instead of a derived one.
    pub access_secret: Option<Secret<String>>,
    /// `jwt.refresh_secret`, instead of a derived one.
    pub refresh_secret: Option<Secret<String>>,
    /// How assertions are signed.
    pub assertion: SigningAlgorithm,
}

impl Wanted {
    /// What these settings ask for.
    #[must_use]
    pub fn by(settings: &Settings) -> Self {
        Self {
            access: settings.jwt.algorithm,
            access_secret: settings.jwt.access_secret.clone(),
            refresh_secret: settings.jwt.refresh_secret.clone(),
            assertion: settings.gateway.assertion.algorithm,
        }
    }

    fn algorithm(&self, of: Use) -> SigningAlgorithm {
        match of {
            Use::Access => self.access,
            Use::Assertion => self.assertion,
        }
    }
}

/// One secret.
#[derive(Clone)]
pub struct Key {
    /// Its id.
    pub kid: String,
    secret: Secret<Vec<u8>>,
}

impl Key {
    /// The key itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.secret.expose()
    }

    /// A configured key names itself by a hash of itself, so changing it changes the id.
    fn fixed(purpose: &str, secret: &Secret<String>) -> Self {
        let secret = Secret::new(secret.expose().as_bytes().to_vec());
        let kid = format!("{purpose}-fixed-{}", &check_value(&secret)[..12]);
        Self { kid, secret }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The secrets of one purpose: one signs, all verify.
#[derive(Debug, Clone)]
pub struct PurposeKeys {
    /// Signs.
    pub active: Key,
    /// Verify; the active one among them.
    pub all: Vec<Key>,
}

/// Every key, by what it is for.
#[derive(Debug, Clone)]
pub struct KeyRing {
    secrets: HashMap<Purpose, PurposeKeys>,
    signing: HashMap<Use, SigningKeys>,
}

impl KeyRing {
    /// Loads the ring, making the keys that are missing.
    ///
    /// # Errors
    /// [`KeyError::WrongMaster`] when the database was never used with any of the master keys,
    /// [`KeyError::Broken`] when a private key of ours does not open.
    pub async fn load(store: &Store, masters: &MasterKeys, wanted: &Wanted, now: Time) -> Result<Self, KeyError> {
        let rows = provide(store, masters, wanted, now).await?;
        Self::assemble(&rows, masters, wanted)
    }

    /// The secrets of a purpose.
    #[must_use]
    pub fn purpose(&self, purpose: Purpose) -> &PurposeKeys {
        self.secrets.get(&purpose).expect("every purpose has keys")
    }

    /// The keys that sign and verify for a use.
    #[must_use]
    pub fn signing(&self, of: Use) -> &SigningKeys {
        self.signing.get(&of).expect("every use has keys")
    }

    /// A ring of its own for tests that need no database.
    #[must_use]
    pub fn ephemeral() -> Self {
        let secrets = Purpose::ALL.map(|purpose| {
            let key = Key { kid: purpose.as_str().to_owned(), secret: random_secret() };
            (purpose, PurposeKeys { active: key.clone(), all: vec![key] })
        });
        let signing = Use::ALL.map(|of| (of, ephemeral_signing(of)));
        Self { secrets: HashMap::from(secrets), signing: HashMap::from(signing) }
    }

    fn assemble(rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> Result<Self, KeyError> {
        let secrets = Purpose::ALL.map(|purpose| (purpose, secrets(purpose, rows, masters, wanted)));
        let mut signing = HashMap::new();
        for of in Use::ALL {
            signing.insert(of, signing_keys(of, rows, masters, wanted)?);
        }
        Ok(Self { secrets: HashMap::from(secrets), signing })
    }
}

fn random_secret() -> Secret<Vec<u8>> {
    let mut secret = vec![0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).expect("the system has randomness");
    Secret::new(secret)
}

/// HS256 for access tokens, ES256 for assertions.
fn ephemeral_signing(of: Use) -> SigningKeys {
    let kid = of.as_str().to_owned();
    let (active, verifying) = match signing::generate(SigningAlgorithm::Es256).filter(|_| of == Use::Assertion) {
        None => secret_pair(kid, SigningAlgorithm::Hs256, random_secret().expose()),
        Some(private) => {
            let key = SigningKey::from_pkcs8(kid.clone(), SigningAlgorithm::Es256, private.expose());
            let key = key.expect("a key that was just made can be read");
            let public = key.public().expect("it has two halves");
            let verifying = VerifyingKey::from_public(kid, SigningAlgorithm::Es256, &public);
            (key, verifying.expect("it has two halves"))
        }
    };
    SigningKeys { active: Arc::new(active), all: vec![verifying] }
}

fn secret_pair(kid: String, algorithm: SigningAlgorithm, secret: &[u8]) -> (SigningKey, VerifyingKey) {
    let verifying = VerifyingKey::from_secret(kid.clone(), algorithm, secret);
    (SigningKey::from_secret(kid, algorithm, secret), verifying)
}

/// Makes what is missing; answers every key there is.
async fn provide(store: &Store, masters: &MasterKeys, wanted: &Wanted, now: Time) -> Result<Vec<KeyRow>, KeyError> {
    let mut tx = store.begin().await?;
    admit(&mut tx, masters, now).await?;
    let current = masters.check();
    let mut rows = tx.keys().all().await?;
    reseal(&mut tx, &mut rows, masters).await?;
    for purpose in Purpose::ALL {
        let is_ours = |row: &KeyRow| row.master == current;
        provide_one(&mut tx, &mut rows, purpose.as_str(), is_ours, || {
            new_row(purpose.as_str(), BY_PURPOSE, masters, now)
        })
        .await?;
    }
    for of in Use::ALL {
        let algorithm = wanted.algorithm(of);
        let is_ours = |row: &KeyRow| row.master == current && row.alg == algorithm.as_str();
        provide_one(&mut tx, &mut rows, of.as_str(), is_ours, || new_signing_row(of, algorithm, masters, now)).await?;
    }
    tx.commit().await?;
    Ok(rows)
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

/// Makes the key that signs when none that does is one of ours; the others verify on.
async fn provide_one(
    tx: &mut Tx,
    rows: &mut Vec<KeyRow>,
    purpose: &str,
    is_ours: impl Fn(&KeyRow) -> bool,
    make: impl FnOnce() -> KeyRow,
) -> Result<(), KeyError> {
    let is_active = |row: &KeyRow| row.purpose == purpose && row.state == ACTIVE;
    if rows.iter().any(|row| is_active(row) && is_ours(row)) {
        return Ok(());
    }
    for old in rows.iter_mut().filter(|row| is_active(row)) {
        tx.keys().retire(&old.kid).await?;
        RETIRED.clone_into(&mut old.state);
    }
    let row = make();
    tx.keys().insert(&row).await?;
    rows.push(row);
    Ok(())
}

fn new_row(purpose: &str, alg: &str, masters: &MasterKeys, now: Time) -> KeyRow {
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

fn new_signing_row(of: Use, algorithm: SigningAlgorithm, masters: &MasterKeys, now: Time) -> KeyRow {
    let mut row = new_row(of.as_str(), algorithm.as_str(), masters, now);
    let Some(private) = signing::generate(algorithm) else { return row };
    let key = SigningKey::from_pkcs8(row.kid.clone(), algorithm, private.expose());
    let public = key.and_then(|key| key.public()).expect("a key that was just made can be read");
    row.public_key = Some(STANDARD_NO_PAD.encode(public));
    row.sealed = Some(masters.seal(&row, private.expose()));
    row
}

fn secrets(purpose: Purpose, rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> PurposeKeys {
    let ours = rows.iter().filter(|row| row.purpose == purpose.as_str());
    let derived = ours.filter_map(|row| {
        let key = Key { kid: row.kid.clone(), secret: masters.secret(row)? };
        Some((row.state == ACTIVE, key))
    });
    let (active, mut all): (Vec<_>, Vec<_>) = derived.partition(|(active, _)| *active);
    let fixed = wanted.refresh_secret.as_ref().filter(|_| purpose == Purpose::Refresh);
    let signing = match fixed {
        Some(secret) => Key::fixed(purpose.as_str(), secret),
        None => active.last().expect("a key of every purpose was just made").1.clone(),
    };
    all.extend(active);
    let mut all: Vec<Key> = all.into_iter().map(|(_, key)| key).collect();
    if !all.iter().any(|key| key.kid == signing.kid) {
        all.push(signing.clone());
    }
    PurposeKeys { active: signing, all }
}

fn signing_keys(of: Use, rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> Result<SigningKeys, KeyError> {
    let mut ours = rows.iter().filter(|row| row.purpose == of.as_str());
    let mut all: Vec<VerifyingKey> = ours.clone().filter_map(|row| verifying_key(row, masters)).collect();
    if let Some(secret) = wanted.access_secret.as_ref().filter(|_| of == Use::Access) {
        let fixed = Key::fixed(of.as_str(), secret);
        let (active, verifying) = secret_pair(fixed.kid.clone(), wanted.access, fixed.bytes());
        all.push(verifying);
        return Ok(SigningKeys { active: Arc::new(active), all });
    }
    let row = ours.rfind(|row| row.state == ACTIVE).expect("a key of every use was just made");
    Ok(SigningKeys { active: Arc::new(signing_key(row, masters)?), all })
}

/// The half that verifies; `None` of a secret that was derived from another master key.
fn verifying_key(row: &KeyRow, masters: &MasterKeys) -> Option<VerifyingKey> {
    let algorithm = algorithm_of(row)?;
    match &row.public_key {
        Some(public) => VerifyingKey::from_public(row.kid.clone(), algorithm, &STANDARD_NO_PAD.decode(public).ok()?),
        None if algorithm.is_symmetric() => {
            Some(VerifyingKey::from_secret(row.kid.clone(), algorithm, masters.secret(row)?.expose()))
        }
        None => None,
    }
}

fn signing_key(row: &KeyRow, masters: &MasterKeys) -> Result<SigningKey, KeyError> {
    let broken = || KeyError::Broken(row.kid.clone());
    let algorithm = algorithm_of(row).ok_or_else(broken)?;
    if algorithm.is_symmetric() {
        let secret = masters.secret(row).ok_or_else(broken)?;
        return Ok(SigningKey::from_secret(row.kid.clone(), algorithm, secret.expose()));
    }
    let private = masters.open(row).map_err(|_| broken())?;
    SigningKey::from_pkcs8(row.kid.clone(), algorithm, private.expose()).ok_or_else(broken)
}

fn algorithm_of(row: &KeyRow) -> Option<SigningAlgorithm> {
    SigningAlgorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == row.alg)
}

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The database belongs to another master key.
    #[error("the database was made with another master key")]
    WrongMaster,
    /// A key of ours cannot be used: its row was changed.
    #[error("the key `{0}` in the database is damaged")]
    Broken(String),
    /// The database cannot serve.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Db, migrations};

    async fn store() -> Store {
        let store = Store::new(Db::in_memory().await.unwrap());
        migrations::apply(store.db(), Time::from_secs(1)).await.unwrap();
        store
    }

    fn masters(current: u8, previous: &[u8]) -> MasterKeys {
        MasterKeys {
            current: Secret::new(vec![current; 32]),
            previous: previous.iter().map(|byte| Secret::new(vec![*byte; 32])).collect(),
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            access: SigningAlgorithm::Hs256,
            access_secret: None,
            refresh_secret: None,
            assertion: SigningAlgorithm::Es256,
        }
    }

    async fn load(store: &Store, masters: &MasterKeys) -> Result<KeyRing, KeyError> {
        KeyRing::load(store, masters, &wanted(), Time::from_secs(1)).await
    }

    #[tokio::test]
    async fn the_same_master_key_gives_the_same_ring_again() {
        let store = store().await;
        let first = load(&store, &masters(1, &[])).await.unwrap();
        let second = load(&store, &masters(1, &[])).await.unwrap();

        for purpose in Purpose::ALL {
            assert_eq!(first.purpose(purpose).active.kid, second.purpose(purpose).active.kid);
            assert_eq!(first.purpose(purpose).active.bytes(), second.purpose(purpose).active.bytes());
        }
        assert_ne!(first.purpose(Purpose::Csrf).active.bytes(), first.purpose(Purpose::Refresh).active.bytes());
        for of in Use::ALL {
            assert_eq!(first.signing(of).active.kid(), second.signing(of).active.kid());
        }
    }

    #[tokio::test]
    async fn a_foreign_master_key_is_refused() {
        let store = store().await;
        load(&store, &masters(1, &[])).await.unwrap();

        assert!(matches!(load(&store, &masters(2, &[])).await, Err(KeyError::WrongMaster)));
    }

    #[tokio::test]
    async fn a_new_master_key_signs_while_the_previous_still_verifies() {
        let store = store().await;
        let old = load(&store, &masters(1, &[])).await.unwrap();
        let new = load(&store, &masters(2, &[1])).await.unwrap();

        let old_kid = &old.purpose(Purpose::Refresh).active.kid;
        assert_ne!(&new.purpose(Purpose::Refresh).active.kid, old_kid);
        assert!(new.purpose(Purpose::Refresh).all.iter().any(|key| &key.kid == old_kid));
    }

    #[tokio::test]
    async fn a_private_key_outlives_the_master_key_it_was_sealed_with() {
        let store = store().await;
        let old = load(&store, &masters(1, &[])).await.unwrap();
        let moved = load(&store, &masters(2, &[1])).await.unwrap();
        let without_old = load(&store, &masters(2, &[])).await.unwrap();

        for ring in [&moved, &without_old] {
            let keys = ring.signing(Use::Assertion);
            assert_eq!(keys.active.kid(), old.signing(Use::Assertion).active.kid());
            assert_eq!(keys.active.public(), old.signing(Use::Assertion).active.public());
        }
    }

    #[tokio::test]
    async fn another_algorithm_gets_another_key_and_the_old_one_verifies_on() {
        let store = store().await;
        let old = load(&store, &masters(1, &[])).await.unwrap();
        let wanted = Wanted { access: SigningAlgorithm::Hs512, assertion: SigningAlgorithm::EdDsa, ..wanted() };
        let new = KeyRing::load(&store, &masters(1, &[]), &wanted, Time::from_secs(2)).await.unwrap();

        for of in Use::ALL {
            let (old, new) = (&old.signing(of).active, new.signing(of));
            assert_eq!(new.active.algorithm(), wanted.algorithm(of));
            let verifying = new.all.iter().find(|key| key.kid == old.kid()).unwrap();
            assert_eq!(verifying.algorithm, old.algorithm());
        }
    }

    #[tokio::test]
    async fn a_private_key_that_was_tampered_with_stops_the_start() {
        let store = store().await;
        load(&store, &masters(1, &[])).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let row = tx.keys().all().await.unwrap().into_iter().find(|row| row.sealed.is_some()).unwrap();
        tx.keys().reseal(&row.kid, &row.master, "AAAAAAAAAAAAAAAAAAAAAAAA").await.unwrap();
        tx.commit().await.unwrap();

        let refused = load(&store, &masters(1, &[])).await.unwrap_err();

        assert!(matches!(&refused, KeyError::Broken(kid) if *kid == row.kid), "{refused}");
    }
}
