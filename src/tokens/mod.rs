//! Floor 4, tokens: made and checked by the CPU alone, no database.

use crate::domain::claims::AccessClaims;
use crate::domain::clock::Time;
use crate::domain::id::{SessionId, UserId};

use std::sync::Arc;

/// An access token whose signature, issuer and audience are good, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// What it says.
    pub claims: AccessClaims,
    /// `claims.sub`, parsed.
    pub user: UserId,
    /// `claims.session_id`, parsed.
    pub session: SessionId,
    /// `claims.exp`, without leeway.
    pub expires_at: Time,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// Not one of our tokens: malformed, badly signed, another purpose, issuer, audience or key.
    Invalid,
    /// Ours, good once, past its `exp` and the leeway.
    Expired(Arc<AccessToken>),
}

/// Stub until the engine lands.
#[derive(Debug)]
pub struct Verifier;

/// Stub until the engine lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRefresh {
    /// What it says.
    pub claims: crate::domain::claims::RefreshClaims,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub session: SessionId,
}

/// Stub until the engine lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshError {
    /// Not ours.
    Invalid,
    /// Late.
    Expired(VerifiedRefresh),
}

impl Verifier {
    /// Stub.
    pub fn verify(&self, _token: &str) -> Result<Arc<AccessToken>, TokenError> {
        Err(TokenError::Invalid)
    }
    /// Stub.
    pub fn verify_refresh(&self, _token: &str) -> Result<VerifiedRefresh, RefreshError> {
        Err(RefreshError::Invalid)
    }
}
