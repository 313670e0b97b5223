//! `jwt.private_key` and `jwt.public_key`: PEM in, the key's one form out.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::config::reader::Section;
use crate::config::settings::SigningAlgorithm;
use crate::domain::secret::Secret;

/// Shorter RSA keys are not signed with.
const RSA_BYTES: usize = 2048 / 8;

/// A key pair as it is kept: PKCS #8, and the public half as PEM has it (RFC 5280).
struct Pair {
    private: Secret<Vec<u8>>,
    public: Vec<u8>,
}

/// The private key of access tokens, as PKCS #8; `None`: one is made.
pub(super) fn private_key(s: &mut Section<'_>, algorithm: SigningAlgorithm) -> Option<Secret<Vec<u8>>> {
    let doc = "A fixed private key for access tokens, in PEM (`${file:/run/secrets/jwt.pem}`): RSA of 2048 bits or \
               more, P-256 or Ed25519, as `jwt.algorithm` says. Empty means that nauth makes one and keeps it sealed \
               in the database. A changed one takes effect after a restart.";
    let private = s.optional("private_key", doc).map(Secret::new);
    let doc = "The public half, in PEM: checked against the private one. Empty means that it is taken from there.";
    let public = s.optional("public_key", doc);
    let Some(private) = private else {
        if public.is_some() {
            s.error("public_key", "`jwt.public_key` belongs to a private one", "set `jwt.private_key`, or remove it");
        }
        return None;
    };
    let pair = match pair(private.expose(), algorithm) {
        Ok(pair) => pair,
        Err(message) => {
            s.error("private_key", message, "make one with `openssl genpkey`, and set `jwt.algorithm` to its kind");
            return None;
        }
    };
    let is_other =
        |pem: String| SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok().as_deref() != Some(&pair.public);
    if public.is_some_and(is_other) {
        s.error("public_key", "`jwt.public_key` is not the public half of `jwt.private_key`", "leave it empty");
    }
    Some(pair.private)
}

fn pair(pem: &str, algorithm: SigningAlgorithm) -> Result<Pair, String> {
    if algorithm.is_symmetric() {
        return Err(format!("`jwt.private_key` is for RS*, ES256 and EdDSA, not for {}", algorithm.as_str()));
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "`jwt.private_key` is not a private key in PEM".to_owned())?;
    let read = match algorithm {
        SigningAlgorithm::Es256 => p256(&der),
        SigningAlgorithm::EdDsa => ed25519(&der),
        _ => rsa(&der),
    };
    read.ok_or_else(|| format!("`jwt.private_key` is not a key for {}", algorithm.as_str()))
}

fn rsa(der: &PrivateKeyDer<'_>) -> Option<Pair> {
    let pair = match der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return None,
    };
    let pair = pair.ok().filter(|pair| pair.public_modulus_len() >= RSA_BYTES)?;
    kept(pair.as_der().ok()?.as_ref(), pair.public_key().as_der())
}

fn p256(der: &PrivateKeyDer<'_>) -> Option<Pair> {
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der()).ok()?;
    kept(pair.to_pkcs8v1().ok()?.as_ref(), pair.public_key().as_der())
}

fn ed25519(der: &PrivateKeyDer<'_>) -> Option<Pair> {
    let pair = Ed25519KeyPair::from_pkcs8(der.secret_der()).ok()?;
    kept(pair.to_pkcs8v1().ok()?.as_ref(), pair.public_key().as_der())
}

fn kept(private: &[u8], public: Result<PublicKeyX509Der<'_>, Unspecified>) -> Option<Pair> {
    Some(Pair { private: Secret::new(private.to_vec()), public: public.ok()?.as_ref().to_vec() })
}
