//! The master key: every secret is derived from it, every private key sealed with it.
//!
//! Keys are `HKDF-SHA-256(master key, purpose, key id)` (RFC 5869). The database remembers a check
//! value of every master key it was used with, so a wrong one is noticed before it signs anything.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::domain::hex::hex;
use crate::domain::secret::Secret;
use crate::store::keys::KeyRow;

/// Length of a derived secret: enough for HMAC-SHA-512.
pub(super) const SECRET_BYTES: usize = 64;
/// Length of the key a private key is sealed with.
const SEAL_BYTES: usize = 32;

/// The master key and its predecessors.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    /// New keys are derived from this one.
    pub current: Secret<Vec<u8>>,
    /// Keys derived from these still verify and decrypt.
    pub previous: Vec<Secret<Vec<u8>>>,
}

impl MasterKeys {
    /// The check value of the current one.
    pub(super) fn check(&self) -> String {
        check_value(&self.current)
    }

    /// Whether one of the previous has a check value among these.
    pub(super) fn continues(&self, known: &[String]) -> bool {
        self.previous.iter().any(|key| known.contains(&check_value(key)))
    }

    /// The one with this check value.
    pub(super) fn by_check(&self, check: &str) -> Option<&Secret<Vec<u8>>> {
        std::iter::once(&self.current).chain(&self.previous).find(|key| check_value(key) == check)
    }

    /// The secret a row stands for; `None` when it was derived from another master key.
    pub(super) fn secret(&self, row: &KeyRow) -> Option<Secret<Vec<u8>>> {
        let master = self.by_check(&row.master)?;
        Some(Secret::new(expand(master, &["nauth/v1/", &row.purpose, "/", &row.kid], SECRET_BYTES)))
    }

    /// Seals the private key of a row with the current master key: `nonce+ciphertext`, printable.
    pub(super) fn seal(&self, row: &KeyRow, private: &[u8]) -> String {
        let mut sealed = private.to_vec();
        let nonce = sealing_key(&self.current, row)
            .seal_in_place_append_tag(Aad::from(bound_to(row)), &mut sealed)
            .expect("a private key is shorter than AES-GCM's limit");
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Opens the private key of a row. A seal that does not open is an error, never "no key".
    pub(super) fn open(&self, row: &KeyRow) -> Result<Secret<Vec<u8>>, Unopened> {
        let master = self.by_check(&row.master).ok_or(Unopened::OtherMaster)?;
        let sealed = row.sealed.as_deref().ok_or(Unopened::Broken)?;
        let mut bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| Unopened::Broken)?;
        if bytes.len() < NONCE_LEN {
            return Err(Unopened::Broken);
        }
        let mut ciphertext = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| Unopened::Broken)?;
        let private = sealing_key(master, row)
            .open_in_place(nonce, Aad::from(bound_to(row)), &mut ciphertext)
            .map_err(|_| Unopened::Broken)?
            .len();
        ciphertext.truncate(private);
        Ok(Secret::new(ciphertext))
    }
}

/// Why a private key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// Sealed with a master key that is not here.
    OtherMaster,
    /// Changed, cut, or of another row.
    Broken,
}

fn sealing_key(master: &Secret<Vec<u8>>, row: &KeyRow) -> RandomizedNonceKey {
    let key = Secret::new(expand(master, &["nauth/v1/seal/", &row.purpose, "/", &row.kid], SEAL_BYTES));
    RandomizedNonceKey::new(&AES_256_GCM, key.expose()).expect("a derived key is long enough")
}

/// A private key moved to another row, or called another algorithm's, does not open.
fn bound_to(row: &KeyRow) -> String {
    format!("nauth/v1/signing-key/{}/{}/{}", row.purpose, row.alg, row.kid)
}

/// What a key may be recognised by; it tells nothing about the key.
pub(super) fn check_value(key: &Secret<Vec<u8>>) -> String {
    hex(&expand(key, &["nauth/v1/check"], 16))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Time;

    fn row() -> KeyRow {
        KeyRow {
            kid: "assertion-1".to_owned(),
            purpose: "assertion".to_owned(),
            alg: "ES256".to_owned(),
            master: String::new(),
            state: "active".to_owned(),
            created_at: Time::from_secs(1),
            public_key: None,
            sealed: None,
            expires_at: None,
        }
    }

    #[test]
    fn a_private_key_opens_only_in_its_row_and_with_its_master_key() {
        let masters = MasterKeys { current: Secret::new(vec![1; 32]), previous: Vec::new() };
        let mut sealed = KeyRow { master: masters.check(), ..row() };
        sealed.sealed = Some(masters.seal(&sealed, b"private"));
        let text = sealed.sealed.clone().unwrap();

        assert_eq!(masters.open(&sealed).unwrap().expose(), b"private");
        for other in [
            KeyRow { kid: "assertion-2".to_owned(), ..sealed.clone() },
            KeyRow { alg: "EdDSA".to_owned(), ..sealed.clone() },
            KeyRow { purpose: "access".to_owned(), ..sealed.clone() },
            KeyRow { sealed: Some(text[..text.len() - 2].to_owned()), ..sealed.clone() },
            KeyRow { sealed: Some("AAAA".to_owned()), ..sealed.clone() },
            KeyRow { sealed: None, ..sealed.clone() },
        ] {
            assert_eq!(masters.open(&other).unwrap_err(), Unopened::Broken, "{other:?}");
        }
        let elsewhere = MasterKeys { current: Secret::new(vec![2; 32]), previous: Vec::new() };
        assert_eq!(elsewhere.open(&sealed).unwrap_err(), Unopened::OtherMaster);
    }
}
