//! What the settings ask of the keys.

use aws_lc_rs::digest;

use crate::config::settings::{Settings, SigningAlgorithm};
use crate::domain::hex::hex;
use crate::domain::secret::Secret;
use crate::tokens::master::check_value;
use crate::tokens::signing::{SigningKey, Use};

/// Letters of a key's name.
const NAME: usize = 12;

/// What the settings ask of the keys.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How access tokens are signed.
    pub access: SigningAlgorithm,
    /// How assertions are signed.
    pub assertion: SigningAlgorithm,
    /// The keys for access tokens that the configuration names, by what they are.
    pub fixed: Vec<FixedKey>,
    /// `jwt.refresh_secret`, instead of a derived one.
    pub refresh_secret: Option<Secret<String>>,
}

impl Wanted {
    /// What these settings ask for.
    #[must_use]
    pub fn by(settings: &Settings) -> Self {
        let jwt = &settings.jwt;
        let secret = jwt.access_secret.as_ref().map(FixedKey::from_secret);
        let private = jwt.private_key.as_ref().and_then(|key| FixedKey::from_private(key, jwt.algorithm));
        Self {
            access: jwt.algorithm,
            assertion: settings.gateway.assertion.algorithm,
            fixed: secret.into_iter().chain(private).collect(),
            refresh_secret: jwt.refresh_secret.clone(),
        }
    }

    pub(super) fn algorithm(&self, of: Use) -> SigningAlgorithm {
        match of {
            Use::Access => self.access,
            Use::Assertion => self.assertion,
        }
    }

    /// The configured key that goes by this id with this algorithm.
    pub(super) fn fixed(&self, kid: &str, algorithm: SigningAlgorithm) -> Option<&FixedKey> {
        self.fixed.iter().find(|key| key.kid(algorithm) == kid)
    }

    /// The configured key that is to sign.
    pub(super) fn fixed_for(&self, of: Use) -> Option<&FixedKey> {
        let is_of_kind = |key: &&FixedKey| key.signing_key(self.access).is_some();
        self.fixed.iter().find(is_of_kind).filter(|_| of == Use::Access)
    }
}

/// A key that the configuration names. It is called after itself and what it is used with, so another
/// one, or the same for another algorithm, has another id.
#[derive(Debug, Clone)]
pub struct FixedKey {
    name: String,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Secret(Secret<Vec<u8>>),
    /// PKCS #8.
    Private(Secret<Vec<u8>>),
}

impl FixedKey {
    fn from_secret(secret: &Secret<String>) -> Self {
        let secret = Secret::new(secret.expose().as_bytes().to_vec());
        let name = check_value(&secret)[..NAME].to_owned();
        Self { name, material: Material::Secret(secret) }
    }

    fn from_private(private: &Secret<Vec<u8>>, algorithm: SigningAlgorithm) -> Option<Self> {
        let public = SigningKey::from_pkcs8(String::new(), algorithm, private.expose())?.public()?;
        let name = hex(digest::digest(&digest::SHA256, &public).as_ref())[..NAME].to_owned();
        Some(Self { name, material: Material::Private(private.clone()) })
    }

    /// Its id with an algorithm.
    pub(super) fn kid(&self, algorithm: SigningAlgorithm) -> String {
        format!("{}-fixed-{}-{}", Use::Access.as_str(), self.name, algorithm.as_str())
    }

    /// The secret, of a key that is one.
    pub(super) fn secret(&self) -> Option<Secret<Vec<u8>>> {
        match &self.material {
            Material::Secret(secret) => Some(secret.clone()),
            Material::Private(_) => None,
        }
    }

    /// The key for an algorithm; `None` when it is none for it.
    pub(super) fn signing_key(&self, algorithm: SigningAlgorithm) -> Option<SigningKey> {
        let kid = self.kid(algorithm);
        match &self.material {
            Material::Secret(secret) => {
                algorithm.is_symmetric().then(|| SigningKey::from_secret(kid, algorithm, secret.expose()))
            }
            Material::Private(private) => SigningKey::from_pkcs8(kid, algorithm, private.expose()),
        }
    }
}
