//! Assertions: what nauth says of a user to one upstream, signed.
//!
//! An upstream that verifies them with the published keys believes nothing a neighbour in its network
//! could send. One assertion serves the requests of a session to an upstream until half of its life
//! is over, so signing is rare and what arrives always has at least half of its life left.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::config::settings::Settings;
use crate::domain::claims::AssertionClaims;
use crate::domain::clock::{Clock, Time};
use crate::domain::id::SessionId;
use crate::tokens::access::AccessToken;
use crate::tokens::signing::{SigningKey, SigningKeys};

/// `typ` of assertions.
const TYP: &str = "nauth-assertion+jwt";
/// Assertions remembered.
const CACHE_ENTRIES: usize = 16 * 1024;

/// Assertions that may be sent again. Survives reloads; sharded, so no lock is everybody's.
#[derive(Debug)]
pub struct AssertionCache(Cache<Said, Signed>);

impl Default for AssertionCache {
    fn default() -> Self {
        Self(Cache::new(CACHE_ENTRIES))
    }
}

/// What an assertion depends on, beside the settings.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Said {
    session: SessionId,
    epoch: i64,
    claims_version: i64,
    // A login renewed in place changes nothing else.
    auth_time: i64,
    upstream: Box<str>,
    aal: Box<str>,
}

/// [`Said`], without copies.
#[derive(Debug, Clone, Copy, Hash)]
struct Asked<'a> {
    session: SessionId,
    epoch: i64,
    claims_version: i64,
    auth_time: i64,
    upstream: &'a str,
    aal: &'a str,
}

impl Equivalent<Said> for Asked<'_> {
    fn equivalent(&self, said: &Said) -> bool {
        self.session == said.session
            && self.epoch == said.epoch
            && self.claims_version == said.claims_version
            && self.auth_time == said.auth_time
            && self.upstream == &*said.upstream
            && self.aal == &*said.aal
    }
}

impl From<Asked<'_>> for Said {
    fn from(asked: Asked<'_>) -> Self {
        Self {
            session: asked.session,
            epoch: asked.epoch,
            claims_version: asked.claims_version,
            auth_time: asked.auth_time,
            upstream: asked.upstream.into(),
            aal: asked.aal.into(),
        }
    }
}

#[derive(Debug, Clone)]
struct Signed {
    value: HeaderValue,
    until: Time,
    /// The [`Assertions::manner`] it was made in.
    manner: u64,
}

/// Makes assertions. Belongs to one generation of keys and settings.
#[derive(Debug)]
pub struct Assertions {
    key: Arc<SigningKey>,
    header: String,
    issuer: String,
    ttl: Duration,
    allow_unverified: bool,
    /// What of keys and settings an assertion depends on, as one number.
    manner: u64,
    cache: Arc<AssertionCache>,
    clock: Clock,
}

impl Assertions {
    /// Assertions under these keys and settings.
    #[must_use]
    pub fn new(keys: &SigningKeys, settings: &Settings, cache: Arc<AssertionCache>, clock: Clock) -> Self {
        let key = Arc::clone(&keys.active);
        let issuer = settings.server.public_url.origin.clone();
        let (ttl, allow_unverified) = (settings.gateway.assertion.ttl, settings.gateway.identity.allow_unverified);
        let mut manner = DefaultHasher::new();
        (key.kid(), &issuer, ttl, allow_unverified).hash(&mut manner);
        let header = key.header(TYP);
        Self { header, key, issuer, ttl, allow_unverified, manner: manner.finish(), cache, clock }
    }

    /// The assertion for an upstream of whose request this is: a JWT, as the value of a header.
    #[must_use]
    pub fn of(&self, token: &AccessToken, upstream: &str) -> HeaderValue {
        let claims = &token.claims;
        let asked = Asked {
            session: token.session,
            epoch: claims.epoch,
            claims_version: claims.cv,
            auth_time: claims.auth_time,
            upstream,
            aal: &claims.acr,
        };
        let now = self.clock.now();
        if let Some(signed) = self.cache.0.get(&asked)
            && signed.manner == self.manner
            && now < signed.until
        {
            return signed.value;
        }
        let value = self.sign(token, upstream, now);
        let signed = Signed { value: value.clone(), until: now + self.ttl / 2, manner: self.manner };
        self.cache.0.insert(asked.into(), signed);
        value
    }

    fn sign(&self, token: &AccessToken, upstream: &str, now: Time) -> HeaderValue {
        let known = &token.claims;
        let is_told = known.email_verified || self.allow_unverified;
        let claims = AssertionClaims {
            iss: &self.issuer,
            aud: upstream,
            sub: &known.sub,
            sid: &known.session_id,
            roles: &known.roles,
            amr: &known.amr,
            acr: &known.acr,
            auth_time: known.auth_time,
            email: is_told.then_some(known.email.as_str()),
            email_verified: is_told.then_some(known.email_verified),
            iat: now.secs(),
            exp: (now + self.ttl).secs(),
            jti: uuid::Uuid::new_v4().simple().to_string(),
        };
        let token = self.key.token(&self.header, &claims);
        let mut value = HeaderValue::try_from(token).expect("base64 and dots can stand in a header");
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::Value;

    use super::*;
    use crate::config::defaults;
    use crate::tokens::KeyRing;
    use crate::tokens::access::tests_support::token;
    use crate::tokens::signing::Use;

    struct Bench {
        ring: KeyRing,
        settings: Settings,
        cache: Arc<AssertionCache>,
        clock: Clock,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                ring: KeyRing::ephemeral(),
                settings: defaults(),
                cache: Arc::default(),
                clock: Clock::manual(Time::from_secs(1_800_000_000)),
            }
        }

        fn assertions(&self) -> Assertions {
            let keys = self.ring.signing(Use::Assertion);
            Assertions::new(keys, &self.settings, Arc::clone(&self.cache), self.clock.clone())
        }

        /// What an upstream with the published keys reads.
        fn read(&self, value: &HeaderValue, upstream: &str) -> Value {
            let jwk = &self.ring.signing(Use::Assertion).jwks()[0];
            let mut validation = Validation::new(Algorithm::ES256);
            validation.set_audience(&[upstream]);
            validation.set_issuer(&["http://localhost:8080"]);
            validation.validate_exp = false;
            let read = jsonwebtoken::decode(value.to_str().unwrap(), &DecodingKey::from_jwk(jwk).unwrap(), &validation);
            let read = read.unwrap();
            assert_eq!(read.header.typ.as_deref(), Some(TYP));
            assert_eq!(read.header.kid.as_deref(), jwk.common.key_id.as_deref());
            read.claims
        }
    }

    #[test]
    fn an_assertion_says_who_asks_and_for_whom_it_is_meant() {
        let bench = Bench::new();
        let ada = token(5, 7, 0);

        let claims = bench.read(&bench.assertions().of(&ada, "app"), "app");

        assert_eq!(claims["sub"], ada.claims.sub);
        assert_eq!(claims["sid"], ada.claims.session_id);
        assert_eq!(claims["roles"], serde_json::json!(["user"]));
        assert_eq!((&claims["amr"][0], &claims["acr"]), (&Value::from("pwd"), &Value::from("aal1")));
        assert_eq!(claims["auth_time"], 1_000);
        assert_eq!(
            (&claims["email"], &claims["email_verified"]),
            (&Value::from("ada@example.com"), &Value::from(true))
        );
        assert_eq!(claims["iat"], 1_800_000_000);
        assert_eq!(claims["exp"], 1_800_000_060);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    }

    #[test]
    fn an_address_nobody_has_proven_is_not_asserted() {
        let mut bench = Bench::new();
        let mut ada = token(5, 7, 0);
        ada.claims.email_verified = false;

        let claims = bench.read(&bench.assertions().of(&ada, "app"), "app");
        assert!(claims.get("email").is_none() && claims.get("email_verified").is_none(), "{claims}");

        bench.settings.gateway.identity.allow_unverified = true;
        let claims = bench.read(&bench.assertions().of(&ada, "app"), "app");
        assert_eq!(
            (&claims["email"], &claims["email_verified"]),
            (&Value::from("ada@example.com"), &Value::from(false))
        );
    }

    #[test]
    fn an_assertion_serves_again_until_half_of_its_life_is_over() {
        let bench = Bench::new();
        let ada = token(5, 7, 0);
        let first = bench.assertions().of(&ada, "app");

        bench.clock.advance(Duration::from_millis(29_999));
        assert_eq!(bench.assertions().of(&ada, "app"), first, "a reload changes nothing");
        bench.clock.advance(Duration::from_millis(1));
        let second = bench.assertions().of(&ada, "app");

        assert_ne!(second, first);
        assert_eq!(bench.read(&second, "app")["exp"], 1_800_000_090);
    }

    #[test]
    fn whatever_an_assertion_says_makes_it_another_one() {
        let mut bench = Bench::new();
        let ada = token(5, 7, 0);
        let first = bench.assertions().of(&ada, "app");
        let changed = |change: fn(&mut AccessToken)| {
            let mut other = token(5, 7, 0);
            (other.session, other.user, other.claims) = (ada.session, ada.user, ada.claims.clone());
            change(&mut other);
            other
        };

        assert_eq!(bench.assertions().of(&changed(|_| {}), "app"), first);
        assert_ne!(bench.assertions().of(&ada, "other"), first);
        let others: [fn(&mut AccessToken); 5] = [
            |token| token.session = SessionId::random(),
            |token| token.claims.epoch = 6,
            |token| token.claims.cv = 8,
            |token| token.claims.auth_time = 2_000,
            |token| token.claims.acr = "aal2".to_owned(),
        ];
        for other in others {
            assert_ne!(bench.assertions().of(&changed(other), "app"), first);
        }
        bench.settings.gateway.assertion.ttl = Duration::from_secs(30);
        assert_ne!(bench.assertions().of(&ada, "app"), first, "settings count at once");
        bench.settings.gateway.assertion.ttl = Duration::from_mins(1);
        bench.ring = KeyRing::ephemeral();
        let again = bench.assertions().of(&ada, "app");
        assert_eq!(bench.read(&again, "app")["sub"], ada.claims.sub);
    }
}
