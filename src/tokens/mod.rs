//! Floor 4, tokens: made and checked by the CPU alone, no database.

pub mod access;
mod added;
pub mod assertion;
pub mod keychain;
pub mod keys;
mod master;
mod provide;
pub mod refresh;
pub mod rotation;
pub mod signing;
mod wanted;

use std::sync::Arc;

use crate::config::settings::Jwt;
use crate::domain::clock::Clock;
use crate::metrics::Metrics;
use crate::tokens::keys::Purpose;
use crate::tokens::signing::Use;

pub use access::{AccessMinter, AccessToken, AccessVerifier};
pub use added::told;
pub use assertion::{AssertionCache, Assertions};
pub use keychain::Keychain;
pub use keys::{KeyError, KeyRing};
pub use master::MasterKeys;
pub use refresh::{RefreshToken, RefreshTokenError, RefreshTokens};
pub use wanted::{FixedKey, Wanted};

/// Why an access token is not accepted.
#[derive(Debug, Clone)]
pub enum TokenError {
    /// Not one of our tokens: malformed, badly signed, another purpose, issuer, audience or key.
    Invalid,
    /// Ours, good once, past its `exp` and the leeway.
    Expired(Arc<AccessToken>),
}

/// Verifies both kinds of tokens, each with the keys of its own purpose only.
#[derive(Debug)]
pub struct Verifier {
    access: AccessVerifier,
    refresh: RefreshTokens,
}

impl Verifier {
    /// A verifier for these keys and settings.
    #[must_use]
    pub fn new(keys: &KeyRing, jwt: &Jwt, clock: &Clock, metrics: &Metrics) -> Self {
        Self {
            access: AccessVerifier::new(keys.signing(Use::Access), jwt, clock.clone(), metrics.clone()),
            refresh: RefreshTokens::new(keys.purpose(Purpose::Refresh), jwt.leeway, clock.clone()),
        }
    }

    /// See [`AccessVerifier::verify`].
    pub fn verify(&self, token: &str) -> Result<Arc<AccessToken>, TokenError> {
        self.access.verify(token)
    }

    /// See [`RefreshTokens::verify`].
    pub fn verify_refresh(&self, token: &str) -> Result<RefreshToken, RefreshTokenError> {
        self.refresh.verify(token)
    }

    /// Makes refresh tokens.
    #[must_use]
    pub fn refresh_tokens(&self) -> &RefreshTokens {
        &self.refresh
    }
}

#[cfg(test)]
mod tests;
