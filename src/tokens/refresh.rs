//! Refresh tokens: a function of the session's row, reproducible on every node.

use std::collections::HashMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use crate::domain::claims::RefreshClaims;
use crate::domain::clock::{Clock, Time};
use crate::domain::id::{SessionId, UserId};
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::tokens::access::MAX_TOKEN_BYTES;
use crate::tokens::keys::PurposeKeys;

/// `typ` of refresh tokens.
const TYP: &str = "refresh+jwt";
/// Only nauth reads them, so the cheapest algorithm does, whatever access tokens use.
const ALGORITHM: Algorithm = Algorithm::HS256;

/// A refresh token with a good signature, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// What it says.
    pub claims: RefreshClaims,
    /// `claims.sub`, parsed.
    pub user: UserId,
    /// `claims.session_id`, parsed.
    pub session: SessionId,
}

/// Why a refresh token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshTokenError {
    /// Not one of ours.
    Invalid,
    /// Ours, good once.
    Expired(Box<RefreshToken>),
}

/// Makes and verifies refresh tokens.
pub struct RefreshTokens {
    keys: HashMap<String, (EncodingKey, DecodingKey)>,
    active: String,
    validation: Validation,
    leeway: Duration,
    clock: Clock,
}

impl std::fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshTokens").field("active", &self.active).finish_non_exhaustive()
    }
}

impl RefreshTokens {
    /// Refresh tokens under these keys.
    #[must_use]
    pub fn new(keys: &PurposeKeys, leeway: Duration, clock: Clock) -> Self {
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let active = keys.active.kid.clone();
        let keys = keys
            .all
            .iter()
            .map(|key| {
                let pair = (EncodingKey::from_secret(key.bytes()), DecodingKey::from_secret(key.bytes()));
                (key.kid.clone(), pair)
            })
            .collect();
        Self { keys, active, validation, leeway, clock }
    }

    /// The key new generations are signed with.
    #[must_use]
    pub fn active_kid(&self) -> &str {
        &self.active
    }

    /// The current refresh token of a session, byte for byte the same wherever and whenever it is made.
    ///
    /// `None` when the key it was signed with is not in the ring any more.
    #[must_use]
    pub fn of(&self, session: &Session) -> Option<Secret<String>> {
        let (key, _) = self.keys.get(&session.refresh_kid)?;
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(session.refresh_kid.clone());
        let claims = RefreshClaims {
            sub: session.user.to_string(),
            kind: "refresh".to_owned(),
            session_id: session.id.to_string(),
            token_family: session.family.clone(),
            generation: session.generation,
            iat: session.rotated_at.secs(),
            exp: session.refresh_expires_at.secs(),
        };
        let text = jsonwebtoken::encode(&header, &claims, key).expect("claims of plain values serialise");
        Some(Secret::new(text))
    }

    /// Checks a refresh token by itself; whether its session lives is the database's to say.
    pub fn verify(&self, token: &str) -> Result<RefreshToken, RefreshTokenError> {
        let token = self.decode(token).ok_or(RefreshTokenError::Invalid)?;
        if self.clock.now() >= Time::from_secs(token.claims.exp) + self.leeway {
            return Err(RefreshTokenError::Expired(Box::new(token)));
        }
        Ok(token)
    }

    fn decode(&self, token: &str) -> Option<RefreshToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYP) || header.alg != ALGORITHM || header.crit.is_some() {
            return None;
        }
        let (_, key) = self.keys.get(header.kid.as_deref()?)?;
        let claims = jsonwebtoken::decode::<RefreshClaims>(token, key, &self.validation).ok()?.claims;
        if claims.kind != "refresh" {
            return None;
        }
        let (user, session) = (claims.sub.parse().ok()?, claims.session_id.parse().ok()?);
        Some(RefreshToken { claims, user, session })
    }
}
