//! The key ring: every key nauth uses.
//!
//! Secrets are derived from a master key (`master.rs`), keys with two halves are made at random and
//! sealed with it (`provide.rs`), and the configuration may name some. Ids and states live in the
//! database. Purposes never mix: what is signed for one verifies for no other.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::config::settings::SigningAlgorithm;
use crate::domain::clock::Time;
use crate::domain::secret::Secret;
use crate::store::StoreError;
use crate::store::keys::KeyRow;
use crate::tokens::master::{MasterKeys, SECRET_BYTES, Unopened, check_value};
use crate::tokens::provide::{ACTIVE, UPCOMING};
use crate::tokens::signing::{self, SigningKey, SigningKeys, Use, VerifyingKey};
use crate::tokens::wanted::Wanted;

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
    /// Seals what proves second factors.
    Factor,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] = [Self::Refresh, Self::Csrf, Self::Code, Self::Outbox, Self::Factor];

    /// The stored name, also part of the derivation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Csrf => "csrf",
            Self::Code => "code",
            Self::Outbox => "outbox",
            Self::Factor => "factor",
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

    pub(super) fn assemble(rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> Result<Self, KeyError> {
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
    SigningKeys { active: Arc::new(active), since: Time::default(), all: vec![verifying] }
}

fn secret_pair(kid: String, algorithm: SigningAlgorithm, secret: &[u8]) -> (SigningKey, VerifyingKey) {
    let verifying = VerifyingKey::from_secret(kid.clone(), algorithm, secret);
    (SigningKey::from_secret(kid, algorithm, secret), verifying)
}

fn secrets(purpose: Purpose, rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> PurposeKeys {
    let ours = rows.iter().filter(|row| row.purpose == purpose.as_str());
    let derived = ours.filter_map(|row| {
        let key = Key { kid: row.kid.clone(), secret: masters.secret(row)? };
        Some((Standing::of(row), key))
    });
    let mut all: Vec<(Standing, Key)> = derived.collect();
    all.sort_by_key(|(standing, _)| *standing);
    let mut all: Vec<Key> = all.into_iter().map(|(_, key)| key).collect();
    let fixed = wanted.refresh_secret.as_ref().filter(|_| purpose == Purpose::Refresh);
    let signing = match fixed {
        Some(secret) => Key::fixed(purpose.as_str(), secret),
        None => all.last().expect("a key of every purpose was made with this master key").clone(),
    };
    if !all.iter().any(|key| key.kid == signing.kid) {
        all.push(signing.clone());
    }
    PurposeKeys { active: signing, all }
}

/// The newest active key signs. Where that is another node's alone (it has a newer master key), the
/// newest of ours does: every node verifies it.
fn signing_keys(of: Use, rows: &[KeyRow], masters: &MasterKeys, wanted: &Wanted) -> Result<SigningKeys, KeyError> {
    let mut ours: Vec<&KeyRow> = rows.iter().filter(|row| row.purpose == of.as_str()).collect();
    ours.sort_by_key(|row| Standing::of(row));
    let all = ours.iter().filter_map(|row| verifying_key(row, masters, wanted)).collect();
    for row in ours.into_iter().rev().filter(|row| row.state != UPCOMING) {
        if let Some(key) = signing_key(row, masters, wanted)? {
            return Ok(SigningKeys { active: Arc::new(key), since: row.created_at, all });
        }
    }
    Err(KeyError::Missing(of.as_str()))
}

/// How near a key is to signing: the last of a purpose does. One that is published never does, a
/// retired one where nothing better is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Published(Time),
    Retired(Time),
    Active(Time),
}

impl Standing {
    fn of(row: &KeyRow) -> Self {
        match row.state.as_str() {
            ACTIVE => Self::Active(row.created_at),
            UPCOMING => Self::Published(row.created_at),
            _ => Self::Retired(row.created_at),
        }
    }
}

/// The half that verifies; `None` when it is not here.
fn verifying_key(row: &KeyRow, masters: &MasterKeys, wanted: &Wanted) -> Option<VerifyingKey> {
    let (kid, algorithm) = (row.kid.clone(), algorithm_of(row)?);
    if let Some(public) = &row.public_key {
        return VerifyingKey::from_public(kid, algorithm, &STANDARD_NO_PAD.decode(public).ok()?);
    }
    let secret = if row.is_fixed() { wanted.fixed(&kid, algorithm)?.secret()? } else { masters.secret(row)? };
    algorithm.is_symmetric().then(|| VerifyingKey::from_secret(kid, algorithm, secret.expose()))
}

/// The half that signs; `None` when it is not here: configured elsewhere, or of another master key.
pub(super) fn signing_key(row: &KeyRow, masters: &MasterKeys, wanted: &Wanted) -> Result<Option<SigningKey>, KeyError> {
    let kid = row.kid.clone();
    let Some(algorithm) = algorithm_of(row) else { return Ok(None) };
    if row.is_fixed() {
        return Ok(wanted.fixed(&kid, algorithm).and_then(|fixed| fixed.signing_key(algorithm)));
    }
    if algorithm.is_symmetric() {
        return Ok(masters.secret(row).map(|secret| SigningKey::from_secret(kid, algorithm, secret.expose())));
    }
    match masters.open(row) {
        Ok(private) => {
            let key = SigningKey::from_pkcs8(kid, algorithm, private.expose());
            key.map(Some).ok_or_else(|| KeyError::Broken(row.kid.clone()))
        }
        Err(Unopened::OtherMaster) => Ok(None),
        Err(Unopened::Broken) => Err(KeyError::Broken(row.kid.clone())),
    }
}

pub(super) fn algorithm_of(row: &KeyRow) -> Option<SigningAlgorithm> {
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
    /// No key that signs for a use is here.
    #[error("no key for `{0}` is here: it is sealed with another master key, or was taken out of the configuration")]
    Missing(&'static str),
    /// The database cannot serve.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Db, Store, migrations};
    use crate::tokens::Keychain;

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
            assertion: SigningAlgorithm::Es256,
            fixed: Vec::new(),
            refresh_secret: None,
        }
    }

    async fn load(store: &Store, masters: &MasterKeys) -> Result<Arc<KeyRing>, KeyError> {
        load_wanted(store, masters, &wanted()).await
    }

    async fn load_wanted(store: &Store, masters: &MasterKeys, wanted: &Wanted) -> Result<Arc<KeyRing>, KeyError> {
        let keys = Keychain::open(store.clone(), masters.clone(), wanted, Time::from_secs(1)).await?;
        Ok(keys.ring())
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
