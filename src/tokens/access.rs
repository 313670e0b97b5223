//! Access tokens: what every proxied request is checked against, by the CPU alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jsonwebtoken::Validation;
use quick_cache::sync::Cache;

use crate::config::settings::Jwt;
use crate::domain::claims::{AccessClaims, Scope};
use crate::domain::clock::{Clock, Time};
use crate::domain::id::{SessionId, UserId};
use crate::domain::outcome::Persona;
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::domain::user::{Role, User};
use crate::metrics::{CacheResult, Metrics};
use crate::tokens::TokenError;
use crate::tokens::added::{Added, Additions};
use crate::tokens::signing::{SigningKey, SigningKeys, VerifyingKey};

/// `typ` of access tokens (RFC 9068).
const TYP: &str = "at+jwt";
/// No token of ours is longer; nothing longer is even parsed.
pub(super) const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Verified tokens remembered.
const CACHE_ENTRIES: usize = 8 * 1024;

/// An access token whose signature, issuer and audience are good, taken apart once.
#[derive(Debug)]
pub struct AccessToken {
    /// What it says.
    pub claims: AccessClaims,
    /// `claims.sub`, parsed.
    pub user: UserId,
    /// `claims.session_id`, parsed.
    pub session: SessionId,
    /// `claims.exp`, without leeway.
    pub expires_at: Time,
    sighted: AtomicBool,
    active_at: AtomicI64,
}

impl AccessToken {
    pub(super) fn new(claims: AccessClaims) -> Option<Self> {
        let user = claims.sub.parse().ok()?;
        let session = claims.session_id.parse().ok()?;
        let expires_at = Time::from_secs(claims.exp);
        Some(Self { claims, user, session, expires_at, sighted: AtomicBool::new(false), active_at: AtomicI64::new(0) })
    }

    /// The token that somebody who is only described would have. Nobody signed it and nobody can
    /// present it; it is there to ask the rules about.
    #[must_use]
    pub fn described(persona: &Persona, now: Time) -> Self {
        let (user, session) = (UserId::random(), SessionId::random());
        let claims = AccessClaims {
            sub: user.to_string(),
            email: "somebody@example.com".to_owned(),
            email_verified: persona.email_verified,
            username: None,
            kind: "access".to_owned(),
            session_id: session.to_string(),
            token_family: String::new(),
            iat: now.secs(),
            exp: now.secs(),
            iss: String::new(),
            aud: Vec::new(),
            roles: persona.roles.clone(),
            amr: Vec::new(),
            acr: persona.aal.as_str().to_owned(),
            auth_time: (now - persona.auth_age).secs(),
            generation: 0,
            epoch: 0,
            cv: 0,
            ge: 0,
            told: BTreeMap::new(),
            added: serde_json::Map::new(),
            scope: Some(Scope::List(persona.scopes.clone())),
        };
        Self::new(claims).expect("ids that were just written can be read")
    }

    /// Whether this is the first time this process sees the token on a request.
    pub fn first_sight(&self) -> bool {
        // The load alone keeps the hot path free of writes to a shared cache line.
        !self.sighted.load(Ordering::Relaxed) && !self.sighted.swap(true, Ordering::Relaxed)
    }

    /// Whether the token was last asked this `every` ago or longer; then this time counts as the last.
    pub fn is_activity_due(&self, now: Time, every: std::time::Duration) -> bool {
        let last = self.active_at.load(Ordering::Relaxed);
        now >= Time::from_micros(last) + every
            && self.active_at.compare_exchange(last, now.micros(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Verifies access tokens. Belongs to one generation of keys and settings; a change of either
/// makes a new one, with an empty cache.
#[derive(Debug)]
pub struct AccessVerifier {
    keys: HashMap<String, (VerifyingKey, Validation)>,
    leeway: std::time::Duration,
    clock: Clock,
    metrics: Metrics,
    // Hashed with a random key, so nobody can aim at one bucket; compared in full, so a hit is the token.
    cache: Cache<Box<str>, Arc<AccessToken>, quick_cache::UnitWeighter, ahash::RandomState>,
}

impl AccessVerifier {
    /// A verifier for these keys and settings.
    #[must_use]
    pub fn new(keys: &SigningKeys, jwt: &Jwt, clock: Clock, metrics: Metrics) -> Self {
        let cache = Cache::with(
            CACHE_ENTRIES,
            CACHE_ENTRIES as u64,
            quick_cache::UnitWeighter,
            ahash::RandomState::new(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        let with_rules = |key: &VerifyingKey| (key.kid.clone(), (key.clone(), validation(key, jwt)));
        let keys = keys.all.iter().map(with_rules).collect();
        Self { keys, leeway: jwt.leeway, clock, metrics, cache }
    }

    /// Checks a token. Expiry is probed on every call, cached or not; revocation is the caller's to ask.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] for whatever is not an access token of ours,
    /// [`TokenError::Expired`] for one that was good once.
    pub fn verify(&self, token: &str) -> Result<Arc<AccessToken>, TokenError> {
        let token = match self.cache.get(token) {
            Some(known) => {
                self.metrics.session_cache(CacheResult::Hit);
                known
            }
            None => self.remember(token)?,
        };
        if self.clock.now() >= token.expires_at + self.leeway {
            self.metrics.session_cache(CacheResult::Stale);
            return Err(TokenError::Expired(token));
        }
        Ok(token)
    }

    fn remember(&self, token: &str) -> Result<Arc<AccessToken>, TokenError> {
        self.metrics.session_cache(CacheResult::Miss);
        let verified = Arc::new(self.decode(token).ok_or(TokenError::Invalid)?);
        self.cache.insert(token.into(), Arc::clone(&verified));
        Ok(verified)
    }

    fn decode(&self, token: &str) -> Option<AccessToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYP) || header.crit.is_some() {
            return None;
        }
        let (key, validation) = self.keys.get(header.kid.as_deref()?)?;
        let claims = jsonwebtoken::decode::<AccessClaims>(token, key.decoding_key(), validation).ok()?.claims;
        if claims.kind != "access" {
            return None;
        }
        AccessToken::new(claims)
    }
}

/// What a token of this key must be. The key's own algorithm is the only one.
fn validation(key: &VerifyingKey, jwt: &Jwt) -> Validation {
    let mut validation = Validation::new(key.algorithm.jwt());
    validation.set_audience(&jwt.audience);
    validation.set_issuer(&[&jwt.issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    // Expiry is checked here: an expired token of ours still says whose it is, and time comes from the clock.
    validation.validate_exp = false;
    validation
}

/// Makes access tokens.
#[derive(Debug)]
pub struct AccessMinter {
    header: String,
    key: Arc<SigningKey>,
    issuer: String,
    audience: Vec<String>,
    ttl: std::time::Duration,
    additions: Additions,
}

impl AccessMinter {
    /// A minter for these keys and settings.
    #[must_use]
    pub fn new(keys: &SigningKeys, jwt: &Jwt) -> Self {
        let key = Arc::clone(&keys.active);
        Self {
            header: key.header(TYP),
            key,
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            ttl: jwt.access_ttl,
            additions: Additions::new(jwt),
        }
    }

    /// When a token made at `now` for this session would expire: never after the session itself.
    #[must_use]
    pub fn expiry(&self, session_expires_at: Time, now: Time) -> Time {
        Time::from_secs((now + self.ttl).min(session_expires_at).secs())
    }

    /// A token for this session that says what is true of the user now.
    #[must_use]
    pub fn mint(
        &self,
        user: &User,
        session: &Session,
        global_epoch: i64,
        now: Time,
        expires_at: Time,
    ) -> (Secret<String>, Arc<AccessToken>) {
        let Added { claims: added, told } = self.additions.of(user, Some(session));
        let claims = AccessClaims {
            scope: added.get("scope").and_then(|scope| serde_json::from_value(scope.clone()).ok()),
            sub: user.id.to_string(),
            email: user.email.to_string(),
            email_verified: user.email_verified,
            username: user.username.as_ref().map(ToString::to_string),
            kind: "access".to_owned(),
            session_id: session.id.to_string(),
            token_family: session.family.clone(),
            iat: now.secs(),
            exp: expires_at.secs(),
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            roles: user.roles.iter().map(Role::to_string).collect(),
            amr: session.amr.clone(),
            acr: session.acr.clone(),
            auth_time: session.auth_time.secs(),
            generation: session.generation,
            epoch: session.auth_epoch,
            cv: user.claims_version,
            ge: global_epoch,
            told,
            added,
        };
        let text = self.key.token(&self.header, &claims);
        let token = AccessToken::new(claims).expect("ids that were just written can be read");
        (Secret::new(text), Arc::new(token))
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A token of a random session and user with this epoch, claims version and installation epoch.
    pub(crate) fn token(epoch: i64, cv: i64, ge: i64) -> AccessToken {
        AccessToken::new(AccessClaims {
            sub: UserId::random().to_string(),
            email: "ada@example.com".to_owned(),
            email_verified: true,
            username: None,
            kind: "access".to_owned(),
            session_id: SessionId::random().to_string(),
            token_family: "ab".repeat(32),
            iat: 1_000,
            exp: 1_900,
            iss: "http://localhost:8080".to_owned(),
            aud: vec!["http://localhost:8080".to_owned()],
            roles: vec!["user".to_owned()],
            amr: vec!["pwd".to_owned()],
            acr: "aal1".to_owned(),
            auth_time: 1_000,
            generation: 1,
            epoch,
            cv,
            ge,
            told: BTreeMap::new(),
            added: serde_json::Map::new(),
            scope: None,
        })
        .expect("ids that were just written can be read")
    }
}
