//! Floor 4, sealing: secrets at rest.
//!
//! AES-256-GCM with a random nonce. What a value is for and the row it stands in are bound into
//! the seal, so a sealed value copied elsewhere does not open. A value that does not open is an
//! outage, never "nothing there".

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::tokens::keys::PurposeKeys;

/// The context of message bodies in the outbox.
pub const OUTBOX: &str = "outbox";

/// Length of the key taken from the ring.
const KEY_BYTES: usize = 32;

/// Seals with the active key, opens with any.
#[derive(Debug)]
pub struct Sealer {
    active: String,
    keys: Vec<(String, RandomizedNonceKey)>,
}

impl Sealer {
    /// A sealer with these keys.
    #[must_use]
    pub fn new(keys: &PurposeKeys) -> Self {
        let sealing = |bytes: &[u8]| {
            RandomizedNonceKey::new(&AES_256_GCM, &bytes[..KEY_BYTES]).expect("a derived key is long enough")
        };
        Self {
            active: keys.active.kid.clone(),
            keys: keys.all.iter().map(|key| (key.kid.clone(), sealing(key.bytes()))).collect(),
        }
    }

    /// Seals a value for one use in one row: `kid.nonce+ciphertext`, printable.
    #[must_use]
    pub fn seal(&self, context: &str, row: i64, plaintext: &[u8]) -> String {
        let (kid, key) = self.keys.iter().find(|(kid, _)| *kid == self.active).expect("the active key is in the ring");
        let mut sealed = plaintext.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(bound_to(context, row)), &mut sealed)
            .expect("a message is shorter than AES-GCM's limit");
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        format!("{kid}.{}", STANDARD_NO_PAD.encode(bytes))
    }

    /// Opens what [`Sealer::seal`] made for the same use and row.
    pub fn open(&self, context: &str, row: i64, sealed: &str) -> Result<Vec<u8>, SealError> {
        let (kid, body) = sealed.rsplit_once('.').ok_or(SealError::Broken)?;
        let (_, key) = self.keys.iter().find(|(held, _)| held == kid).ok_or(SealError::UnknownKey)?;
        let mut bytes = STANDARD_NO_PAD.decode(body).map_err(|_| SealError::Broken)?;
        if bytes.len() < NONCE_LEN {
            return Err(SealError::Broken);
        }
        let mut ciphertext = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| SealError::Broken)?;
        let plaintext = key
            .open_in_place(nonce, Aad::from(bound_to(context, row)), &mut ciphertext)
            .map_err(|_| SealError::Broken)?;
        Ok(plaintext.to_vec())
    }
}

fn bound_to(context: &str, row: i64) -> String {
    format!("nauth/v1/{context}/{row}")
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed with a key that is not in the ring.
    #[error("sealed with a key that is not here")]
    UnknownKey,
    /// Changed, cut, or sealed for something else.
    #[error("the seal is broken")]
    Broken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::KeyRing;
    use crate::tokens::keys::Purpose;

    #[test]
    fn a_value_opens_only_for_its_use_and_row() {
        let ring = KeyRing::ephemeral();
        let sealer = Sealer::new(ring.purpose(Purpose::Outbox));
        let sealed = sealer.seal("outbox", 7, b"123456");

        assert_eq!(sealer.open("outbox", 7, &sealed), Ok(b"123456".to_vec()));
        assert_eq!(sealer.open("outbox", 8, &sealed), Err(SealError::Broken));
        assert_eq!(sealer.open("totp", 7, &sealed), Err(SealError::Broken));
        assert_eq!(sealer.open("outbox", 7, "nobody.AAAA"), Err(SealError::UnknownKey));
        assert_eq!(sealer.open("outbox", 7, &sealed[..sealed.len() - 2]), Err(SealError::Broken));
        assert!(!sealed.contains("123456"));
    }
}
