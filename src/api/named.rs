//! Which sessions the tokens of one request name, and whether they agree.
//!
//! Decided by signature and time alone, no database: what a token *names* is known even when its
//! session has ended, so logout can end what an expired token names.

use crate::auth::NamedSession;
use crate::domain::error::Error;
use crate::tokens::{RefreshToken, RefreshTokenError, TokenError, Verifier};

/// What one token turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Ours and in time.
    Good(NamedSession),
    /// Ours, but late.
    Expired(NamedSession),
    /// Not ours, or not of this kind.
    Bad,
}

impl Reading {
    /// The session named by a token that is ours, late or not.
    #[must_use]
    pub fn named(self) -> Option<NamedSession> {
        match self {
            Self::Good(named) | Self::Expired(named) => Some(named),
            Self::Bad => None,
        }
    }

    fn good(self) -> Option<NamedSession> {
        match self {
            Self::Good(named) => Some(named),
            Self::Expired(_) | Self::Bad => None,
        }
    }
}

/// Reads an access token.
#[must_use]
pub fn access(verifier: &Verifier, token: &str) -> Reading {
    match verifier.verify(token) {
        Ok(token) => Reading::Good(NamedSession { user: token.user, session: token.session }),
        Err(TokenError::Expired(token)) => Reading::Expired(NamedSession { user: token.user, session: token.session }),
        Err(TokenError::Invalid) => Reading::Bad,
    }
}

/// Reads a refresh token.
#[must_use]
pub fn refresh(verifier: &Verifier, token: &str) -> Reading {
    let named = |token: &RefreshToken| NamedSession { user: token.user, session: token.session };
    match verifier.verify_refresh(token) {
        Ok(token) => Reading::Good(named(&token)),
        Err(RefreshTokenError::Expired(token)) => Reading::Expired(named(&token)),
        Err(RefreshTokenError::Invalid) => Reading::Bad,
    }
}

/// The position of a good token among `candidates`, `None` when there is none.
///
/// # Errors
/// [`Error::CredentialConflict`] when the good ones of `candidates` and `beside` name more than one session.
pub fn agreed(candidates: &[Reading], beside: &[Reading]) -> Result<Option<usize>, Error> {
    let mut good = candidates.iter().chain(beside).filter_map(|reading| reading.good());
    let first = good.next();
    if good.any(|other| Some(other) != first) {
        return Err(Error::CredentialConflict);
    }
    Ok(candidates.iter().position(|reading| reading.good().is_some()))
}

/// Why none of `candidates` is good, in the words of a protected route.
#[must_use]
pub fn reason(candidates: &[Reading]) -> Error {
    if candidates.is_empty() {
        return Error::TokenMissing;
    }
    let any_late = candidates.iter().any(|reading| matches!(reading, Reading::Expired(_)));
    if any_late { Error::TokenExpired } else { Error::TokenInvalid("Invalid token") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{SessionId, UserId};

    #[test]
    fn tokens_must_agree_on_one_session() {
        let ada = NamedSession { user: UserId::random(), session: SessionId::from_number(1).unwrap() };
        let eve = NamedSession { user: UserId::random(), session: SessionId::from_number(2).unwrap() };
        let (good, other, late, bad) = (Reading::Good(ada), Reading::Good(eve), Reading::Expired(eve), Reading::Bad);
        let cases = [
            (vec![], vec![], Some(None)),
            (vec![good], vec![], Some(Some(0))),
            (vec![bad, good], vec![good], Some(Some(1))),
            (vec![late, good], vec![bad], Some(Some(1))),
            (vec![late], vec![good], Some(None)),
            (vec![good, other], vec![], None),
            (vec![good], vec![other], None),
            (vec![], vec![good, other], None),
        ];
        for (candidates, beside, expected) in cases {
            assert_eq!(agreed(&candidates, &beside).ok(), expected, "{candidates:?} {beside:?}");
        }
    }

    #[test]
    fn the_reason_is_that_of_the_best_token() {
        let ada = NamedSession { user: UserId::random(), session: SessionId::random() };
        let cases: [(&[Reading], &str); 3] = [
            (&[], "no token provided"),
            (&[Reading::Bad], "Invalid token"),
            (&[Reading::Bad, Reading::Expired(ada)], "token has expired"),
        ];
        for (candidates, expected) in cases {
            assert_eq!(reason(candidates).to_string(), expected);
        }
    }
}
