//! Floor 4, tokens: made and checked by the CPU alone, no database.

pub mod access;
mod added;
pub mod assertion;
pub mod keychain;
pub mod keys;
mod master;
pub mod refresh;
pub mod signing;

use std::sync::Arc;

use crate::config::settings::Jwt;
use crate::domain::clock::Clock;
use crate::metrics::Metrics;
use crate::tokens::keys::Purpose;
use crate::tokens::signing::Use;

pub use access::{AccessMinter, AccessToken, AccessVerifier};
pub use assertion::{AssertionCache, Assertions};
pub use keychain::Keychain;
pub use keys::{KeyError, KeyRing, Wanted};
pub use master::MasterKeys;
pub use refresh::{RefreshToken, RefreshTokenError, RefreshTokens};

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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::SigningAlgorithm;
    use crate::domain::clock::Time;
    use crate::domain::id::SessionId;
    use crate::domain::session::{Delivery, Session};
    use crate::domain::user::tests_support::ada;

    fn jwt() -> Jwt {
        Jwt {
            algorithm: SigningAlgorithm::Hs256,
            issuer: "http://localhost:8080".to_owned(),
            audience: vec!["http://localhost:8080".to_owned()],
            access_ttl: Duration::from_mins(15),
            refresh_ttl: Duration::from_hours(24),
            refresh_grace: Duration::from_secs(10),
            leeway: Duration::from_secs(30),
            publish_jwks: true,
            access_secret: None,
            refresh_secret: None,
            claims: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(super) fn session(kid: &str, now: Time) -> Session {
        let user = ada();
        Session {
            id: SessionId::random(),
            user: user.id,
            family: "ab".repeat(32),
            generation: 3,
            rotated_at: now,
            refresh_expires_at: now + Duration::from_hours(24),
            refresh_kid: kid.to_owned(),
            seen: None,
            auth_epoch: 1,
            latest_exp: now,
            amr: vec!["pwd".to_owned()],
            acr: "aal1".to_owned(),
            auth_time: now,
            dialect: "nauth".to_owned(),
            delivery: Delivery::Json,
            auth_method: "password".to_owned(),
            ip: "127.0.0.1".to_owned(),
            user_agent: String::new(),
            device: crate::domain::session::Device::default(),
            trusted_device: None,
            claims: None,
            created_at: now,
            last_activity_at: now,
            expires_at: now + Duration::from_hours(48),
            revoked_at: None,
        }
    }

    #[test]
    fn an_access_token_is_good_until_its_expiry_and_leeway() {
        let ring = KeyRing::ephemeral();
        let keys = ring.signing(Use::Access);
        let clock = Clock::manual(Time::from_secs(1_700_000_000));
        let verifier = AccessVerifier::new(keys, &jwt(), clock.clone(), Metrics::new());
        let minter = AccessMinter::new(keys, &jwt());
        let session = session("k", clock.now());
        let exp = minter.expiry(session.expires_at, clock.now());
        let (text, minted) = minter.mint(&ada(), &session, 1, clock.now(), exp);

        let read = verifier.verify(text.expose()).unwrap();
        assert_eq!(read.claims, minted.claims);
        assert!(read.first_sight() && !verifier.verify(text.expose()).unwrap().first_sight());

        clock.advance(Duration::from_secs(15 * 60 + 29));
        assert!(verifier.verify(text.expose()).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(matches!(verifier.verify(text.expose()), Err(TokenError::Expired(_))));
    }

    #[test]
    fn what_is_not_an_access_token_of_ours_is_invalid() {
        let ring = KeyRing::ephemeral();
        let clock = Clock::manual(Time::from_secs(1_700_000_000));
        let verifier = AccessVerifier::new(ring.signing(Use::Access), &jwt(), clock.clone(), Metrics::new());
        let refresh = RefreshTokens::new(ring.purpose(Purpose::Refresh), Duration::ZERO, clock.clone());
        let session = session(refresh.active_kid(), clock.now());
        let foreign = AccessMinter::new(ring.signing(Use::Assertion), &jwt());
        let other_audience = Jwt { audience: vec!["else".to_owned()], ..jwt() };
        let elsewhere = AccessMinter::new(ring.signing(Use::Access), &other_audience);
        let exp = clock.now() + Duration::from_mins(1);
        let (good, _) =
            AccessMinter::new(ring.signing(Use::Access), &jwt()).mint(&ada(), &session, 1, clock.now(), exp);
        let good = good.expose().clone();
        let (head, rest) = good.split_once('.').unwrap();
        let flipped = format!("{}{}", &good[..good.len() - 4], if good.ends_with("AAAA") { "BBBB" } else { "AAAA" });
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", rest.split_once('.').unwrap().0);

        let bad = [
            String::new(),
            "a.b.c".to_owned(),
            good[..good.len() - 10].to_owned(),
            flipped,
            unsigned,
            format!("{head}.{head}.{head}"),
            refresh.of(&session).unwrap().expose().clone(),
            foreign.mint(&ada(), &session, 1, clock.now(), exp).0.expose().clone(),
            elsewhere.mint(&ada(), &session, 1, clock.now(), exp).0.expose().clone(),
            "x".repeat(10_000),
        ];
        for token in bad {
            assert!(matches!(verifier.verify(&token), Err(TokenError::Invalid)), "{token}");
        }
    }

    #[test]
    fn a_refresh_token_is_reproduced_byte_for_byte() {
        let ring = KeyRing::ephemeral();
        let clock = Clock::manual(Time::from_secs(1_700_000_000));
        let tokens = RefreshTokens::new(ring.purpose(Purpose::Refresh), Duration::ZERO, clock.clone());
        let session = session(tokens.active_kid(), clock.now());

        let first = tokens.of(&session).unwrap();
        clock.advance(Duration::from_hours(1));
        let second = tokens.of(&session).unwrap();

        assert_eq!(first.expose(), second.expose());
        assert_eq!(tokens.verify(first.expose()).unwrap().claims.generation, 3);
        clock.advance(Duration::from_hours(23));
        assert!(matches!(tokens.verify(first.expose()), Err(RefreshTokenError::Expired(_))));
    }
}
