//! The key ring: every key nauth uses, derived from a master key.
//!
//! A key is `HKDF-SHA-256(master key, purpose, key id)` (RFC 5869). Ids and states live in the
//! database, key material nowhere. Purposes never mix: what is signed for one verifies for no other.
//! The database remembers a check value of every master key it was used with, so a wrong master key
//! is noticed before it signs anything.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::hkdf;

use crate::config::settings::HmacAlgorithm;
use crate::domain::clock::Time;
use crate::domain::hex::hex;
use crate::domain::secret::Secret;
use crate::store::keys::KeyRow;
use crate::store::{Store, StoreError};

/// Length of a derived key: enough for HMAC-SHA-512.
const KEY_BYTES: usize = 64;

/// What keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Signs access tokens.
    Access,
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
    pub const ALL: [Self; 5] = [Self::Access, Self::Refresh, Self::Csrf, Self::Code, Self::Outbox];

    /// The stored name, also part of the derivation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
            Self::Csrf => "csrf",
            Self::Code => "code",
            Self::Outbox => "outbox",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

/// The master key and its predecessors.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    /// New keys are derived from this one.
    pub current: Secret<Vec<u8>>,
    /// Keys derived from these still verify and decrypt.
    pub previous: Vec<Secret<Vec<u8>>>,
}

/// Keys fixed by configuration instead of derived.
#[derive(Debug, Clone, Default)]
pub struct FixedKeys {
    /// `jwt.access_secret`
    pub access: Option<Secret<String>>,
    /// `jwt.refresh_secret`
    pub refresh: Option<Secret<String>>,
}

/// One key.
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
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Every key, by purpose.
#[derive(Debug, Clone)]
pub struct KeyRing {
    keys: HashMap<Purpose, PurposeKeys>,
}

/// The keys of one purpose: one signs, all verify.
#[derive(Debug, Clone)]
pub struct PurposeKeys {
    /// Signs.
    pub active: Key,
    /// Verify; the active one among them.
    pub all: Vec<Key>,
}

impl KeyRing {
    /// Loads the ring, making the keys that are missing.
    ///
    /// # Errors
    /// [`KeyError::WrongMaster`] when the database was never used with any of the master keys.
    pub async fn load(store: &Store, masters: &MasterKeys, fixed: &FixedKeys, now: Time) -> Result<Self, KeyError> {
        let mut tx = store.begin().await?;
        let current = check_value(&masters.current);
        let known = tx.keys().master_checks().await?;
        if !known.contains(&current) {
            let continues = known.is_empty() || masters.previous.iter().any(|key| known.contains(&check_value(key)));
            if !continues {
                return Err(KeyError::WrongMaster);
            }
            tx.keys().insert_master_check(&current, now).await?;
        }
        let mut rows = tx.keys().all().await?;
        for purpose in Purpose::ALL {
            let missing = !rows.iter().any(|row| is_active(row, purpose) && row.master == current);
            if missing {
                for old in rows.iter_mut().filter(|row| is_active(row, purpose)) {
                    tx.keys().retire(&old.kid).await?;
                    "retired".clone_into(&mut old.state);
                }
                let row = new_row(purpose, &current, now);
                tx.keys().insert(&row, "HMAC").await?;
                rows.push(row);
            }
        }
        tx.commit().await?;

        let masters: HashMap<String, &Secret<Vec<u8>>> = std::iter::once(&masters.current)
            .chain(&masters.previous)
            .map(|master| (check_value(master), master))
            .collect();
        let keys = Purpose::ALL.map(|purpose| (purpose, assemble(purpose, &rows, &masters, fixed)));
        Ok(Self { keys: HashMap::from(keys) })
    }

    /// The keys of a purpose.
    #[must_use]
    pub fn purpose(&self, purpose: Purpose) -> &PurposeKeys {
        self.keys.get(&purpose).expect("every purpose has keys")
    }

    /// A ring of its own for tests that need no database.
    #[must_use]
    pub fn ephemeral() -> Self {
        let keys = Purpose::ALL.map(|purpose| {
            let mut secret = vec![0; KEY_BYTES];
            aws_lc_rs::rand::fill(&mut secret).expect("the system has randomness");
            let key = Key { kid: purpose.as_str().to_owned(), secret: Secret::new(secret) };
            (purpose, PurposeKeys { active: key.clone(), all: vec![key] })
        });
        Self { keys: HashMap::from(keys) }
    }
}

fn is_active(row: &KeyRow, purpose: Purpose) -> bool {
    row.purpose == purpose.as_str() && row.state == "active"
}

fn new_row(purpose: Purpose, master: &str, now: Time) -> KeyRow {
    KeyRow {
        kid: format!("{}-{}", purpose.as_str(), &uuid::Uuid::new_v4().simple().to_string()[..16]),
        purpose: purpose.as_str().to_owned(),
        master: master.to_owned(),
        state: "active".to_owned(),
        created_at: now,
    }
}

fn assemble(
    purpose: Purpose,
    rows: &[KeyRow],
    masters: &HashMap<String, &Secret<Vec<u8>>>,
    fixed: &FixedKeys,
) -> PurposeKeys {
    let derived = rows.iter().filter(|row| Purpose::from_name(&row.purpose) == Some(purpose)).filter_map(|row| {
        let master = masters.get(&row.master)?;
        Some((row.state == "active", Key { kid: row.kid.clone(), secret: derive(master, purpose, &row.kid) }))
    });
    let (active, mut all): (Vec<_>, Vec<_>) = derived.partition(|(active, _)| *active);
    let fixed = match purpose {
        Purpose::Access => fixed.access.as_ref(),
        Purpose::Refresh => fixed.refresh.as_ref(),
        Purpose::Csrf | Purpose::Code | Purpose::Outbox => None,
    };
    let signing = match fixed {
        Some(secret) => fixed_key(purpose, secret),
        None => active.last().expect("a key of every purpose was just made").1.clone(),
    };
    all.extend(active);
    let mut all: Vec<Key> = all.into_iter().map(|(_, key)| key).collect();
    if !all.iter().any(|key| key.kid == signing.kid) {
        all.push(signing.clone());
    }
    PurposeKeys { active: signing, all }
}

/// A configured key names itself by a hash of itself, so changing it changes the id.
fn fixed_key(purpose: Purpose, secret: &Secret<String>) -> Key {
    let secret = Secret::new(secret.expose().as_bytes().to_vec());
    let kid = format!("{}-fixed-{}", purpose.as_str(), &check_value(&secret)[..12]);
    Key { kid, secret }
}

fn derive(master: &Secret<Vec<u8>>, purpose: Purpose, kid: &str) -> Secret<Vec<u8>> {
    Secret::new(expand(master, &["nauth/v1/", purpose.as_str(), "/", kid], KEY_BYTES))
}

fn check_value(master: &Secret<Vec<u8>>) -> String {
    hex(&expand(master, &["nauth/v1/check"], 16))
}

fn expand(master: &Secret<Vec<u8>>, info: &[&str], length: usize) -> Vec<u8> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let info: Vec<&[u8]> = info.iter().map(|part| part.as_bytes()).collect();
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"nauth").extract(master.expose());
    let mut out = vec![0; length];
    key.expand(&info, Length(length)).and_then(|okm| okm.fill(&mut out)).expect("the length is within HKDF's limit");
    out
}

impl HmacAlgorithm {
    pub(super) fn jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
        }
    }
}

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The database belongs to another master key.
    #[error("the database was made with another master key")]
    WrongMaster,
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

    async fn load(store: &Store, masters: &MasterKeys) -> Result<KeyRing, KeyError> {
        KeyRing::load(store, masters, &FixedKeys::default(), Time::from_secs(1)).await
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
        assert_ne!(first.purpose(Purpose::Access).active.bytes(), first.purpose(Purpose::Refresh).active.bytes());
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
}
