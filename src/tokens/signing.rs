//! Keys that sign tokens and the halves that verify them, each for one purpose and one algorithm.
//!
//! Signing is done by keys that were read once: `jsonwebtoken` would parse a private key for every
//! token. Verifying is left to it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Serialize;

use crate::config::settings::SigningAlgorithm;
use crate::domain::clock::Time;
use crate::domain::secret::Secret;

const CAN_SIGN: &str = "a key that was read can sign";

/// What keys sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Access tokens.
    Access,
    /// Assertions for upstreams.
    Assertion,
}

impl Use {
    /// Every use.
    pub const ALL: [Self; 2] = [Self::Access, Self::Assertion];

    /// The stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Assertion => "assertion",
        }
    }
}

/// The keys of one use: one signs, all verify.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    /// Signs.
    pub active: Arc<SigningKey>,
    /// When that one was made.
    pub since: Time,
    /// Verify; the active one among them.
    pub all: Vec<VerifyingKey>,
}

impl SigningKeys {
    /// Every public key, as a JWK set (RFC 7517). Of a key without a public half nothing is told.
    #[must_use]
    pub fn jwks(&self) -> Vec<Jwk> {
        self.all.iter().filter_map(VerifyingKey::jwk).collect()
    }
}

/// A key that signs.
pub struct SigningKey {
    kid: String,
    algorithm: SigningAlgorithm,
    private: Private,
}

enum Private {
    Hmac(Box<hmac::Key>),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// A key that is a secret.
    pub(super) fn from_secret(kid: String, algorithm: SigningAlgorithm, secret: &[u8]) -> Self {
        let hash = match algorithm {
            SigningAlgorithm::Hs384 => hmac::HMAC_SHA384,
            SigningAlgorithm::Hs512 => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        Self { kid, algorithm, private: Private::Hmac(Box::new(hmac::Key::new(hash, secret))) }
    }

    /// A key with two halves, from PKCS #8; `None` when it is none of this algorithm.
    pub(super) fn from_pkcs8(kid: String, algorithm: SigningAlgorithm, der: &[u8]) -> Option<Self> {
        let private = match algorithm {
            SigningAlgorithm::Es256 => {
                Private::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?)
            }
            SigningAlgorithm::EdDsa => Private::Ed25519(Ed25519KeyPair::from_pkcs8(der).ok()?),
            SigningAlgorithm::Rs256 => Private::Rsa(RsaKeyPair::from_pkcs8(der).ok()?, &RSA_PKCS1_SHA256),
            SigningAlgorithm::Rs384 => Private::Rsa(RsaKeyPair::from_pkcs8(der).ok()?, &RSA_PKCS1_SHA384),
            SigningAlgorithm::Rs512 => Private::Rsa(RsaKeyPair::from_pkcs8(der).ok()?, &RSA_PKCS1_SHA512),
            SigningAlgorithm::Hs256 | SigningAlgorithm::Hs384 | SigningAlgorithm::Hs512 => return None,
        };
        Some(Self { kid, algorithm, private })
    }

    /// Its id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The public half: PKCS #1, a point, or the key itself; `None` of a secret.
    pub(super) fn public(&self) -> Option<Vec<u8>> {
        match &self.private {
            Private::Hmac(_) => None,
            Private::Rsa(pair, _) => Some(pair.public_key().as_ref().to_vec()),
            Private::Ecdsa(pair) => Some(pair.public_key().as_ref().to_vec()),
            Private::Ed25519(pair) => Some(pair.public_key().as_ref().to_vec()),
        }
    }

    /// The first part of every token of a type that this key signs, encoded.
    #[must_use]
    pub fn header(&self, typ: &str) -> String {
        let header = serde_json::json!({ "typ": typ, "alg": self.algorithm.as_str(), "kid": self.kid });
        URL_SAFE_NO_PAD.encode(header.to_string())
    }

    /// A token: `header` as [`SigningKey::header`] made it, the claims, the signature (RFC 7515, compact).
    #[must_use]
    pub fn token(&self, header: &str, claims: &impl Serialize) -> String {
        let claims = serde_json::to_vec(claims).expect("claims of plain values serialise");
        let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 128);
        token.push_str(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Private::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).expect(CAN_SIGN);
                signature
            }
            Private::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).expect(CAN_SIGN).as_ref().to_vec(),
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// A key that verifies, with the one algorithm it is for.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    /// Its id.
    pub kid: String,
    /// A token that names the key and another algorithm is none of its.
    pub algorithm: SigningAlgorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    /// A key that is a secret.
    pub(super) fn from_secret(kid: String, algorithm: SigningAlgorithm, secret: &[u8]) -> Self {
        Self { kid, algorithm, key: DecodingKey::from_secret(secret) }
    }

    /// A public half, as [`SigningKey::public`] wrote it; `None` for an algorithm without halves.
    pub(super) fn from_public(kid: String, algorithm: SigningAlgorithm, public: &[u8]) -> Option<Self> {
        let key = match algorithm {
            SigningAlgorithm::Es256 => DecodingKey::from_ec_der(public),
            SigningAlgorithm::EdDsa => DecodingKey::from_ed_der(public),
            SigningAlgorithm::Rs256 | SigningAlgorithm::Rs384 | SigningAlgorithm::Rs512 => {
                DecodingKey::from_rsa_der(public)
            }
            SigningAlgorithm::Hs256 | SigningAlgorithm::Hs384 | SigningAlgorithm::Hs512 => return None,
        };
        Some(Self { kid, algorithm, key })
    }

    /// The key as `jsonwebtoken` has it.
    #[must_use]
    pub fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }

    fn jwk(&self) -> Option<Jwk> {
        if self.algorithm.is_symmetric() {
            return None;
        }
        let mut jwk = Jwk::from_decoding_key(&self.key, Some(self.algorithm.jwt())).ok()?;
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_id = Some(self.kid.clone());
        Some(jwk)
    }
}

/// A new private key, PKCS #8. One for RSA takes a good part of a second. `None` for an algorithm without one.
pub(super) fn generate(algorithm: SigningAlgorithm) -> Option<Secret<Vec<u8>>> {
    const RANDOM: &str = "the system has randomness";
    let der = match algorithm {
        SigningAlgorithm::Es256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect(RANDOM)
        }
        SigningAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect(RANDOM),
        SigningAlgorithm::Rs256 | SigningAlgorithm::Rs384 | SigningAlgorithm::Rs512 => {
            let der = RsaKeyPair::generate(KeySize::Rsa2048).and_then(|pair| pair.as_der()).expect(RANDOM);
            return Some(Secret::new(der.as_ref().to_vec()));
        }
        SigningAlgorithm::Hs256 | SigningAlgorithm::Hs384 | SigningAlgorithm::Hs512 => return None,
    };
    Some(Secret::new(der.as_ref().to_vec()))
}

impl SigningAlgorithm {
    pub(super) fn jwt(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}
