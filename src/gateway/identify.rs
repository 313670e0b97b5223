//! Who asks: from the credentials of a request to an [`Identified`], by the CPU alone.

use std::sync::Arc;

use http::HeaderMap;

use crate::auth::{Auth, NamedSession};
use crate::config::settings::Credentials;
use crate::domain::error::Error;
use crate::gateway::credentials::{CookieNames, Presented};
use crate::gateway::decide::{By, Identified};
use crate::metrics::{CredentialKind, Metrics, VerificationResult};
use crate::revocation::Standing;
use crate::tokens::{AccessToken, TokenError};

/// What came, and what it amounts to.
#[derive(Debug)]
pub struct Findings {
    /// Who asks.
    pub identified: Identified,
    /// The newest good refresh cookie.
    pub refresh: Option<String>,
    /// A token with a good signature, whatever became of its session: whose request it claims to be.
    pub token: Option<Arc<AccessToken>>,
    /// Whether a bearer token came, which is then ours.
    pub bearer: bool,
    /// The first session named, when cookies disagree.
    pub conflict: Option<NamedSession>,
}

/// Reads and checks the credentials a route looks at.
#[must_use]
pub fn identify(
    headers: &HeaderMap,
    names: &CookieNames,
    kinds: Credentials,
    auth: &Auth,
    metrics: &Metrics,
) -> Findings {
    let mut findings =
        Findings { identified: Identified::Anonymous, refresh: None, token: None, bearer: false, conflict: None };
    let presented = match Presented::read(headers, names, kinds) {
        Ok(presented) => presented,
        Err(Error::CredentialConflict) => {
            findings.identified = Identified::Conflict;
            return findings;
        }
        Err(_) => {
            findings.identified = Identified::Invalid(By::Cookie);
            return findings;
        }
    };
    if let Some(bearer) = presented.bearer {
        findings.bearer = true;
        judge(&mut findings, auth, bearer, By::Bearer);
        count(metrics, CredentialKind::Jwt, &findings.identified);
        return findings;
    }
    by_cookies(&mut findings, &presented, auth);
    if !presented.access.is_empty() {
        count(metrics, CredentialKind::Session, &findings.identified);
    }
    findings
}

/// Every cookie of a name is considered; good ones must agree on one session.
fn by_cookies(findings: &mut Findings, presented: &Presented<'_>, auth: &Auth) {
    let mut named: Option<NamedSession> = None;
    let mut agree = |session: NamedSession| *named.get_or_insert(session) == session;
    let mut consistent = true;
    let (mut good, mut late) = (None, false);
    for token in &presented.access {
        match auth.verifier().verify(token) {
            Ok(verified) => {
                consistent &= agree(NamedSession { user: verified.user, session: verified.session });
                good.get_or_insert(verified);
            }
            Err(TokenError::Expired(_)) => late = true,
            Err(TokenError::Invalid) => {}
        }
    }
    let mut newest: Option<(i64, &str)> = None;
    for token in &presented.refresh {
        if let Ok(verified) = auth.verifier().verify_refresh(token) {
            consistent &= agree(NamedSession { user: verified.user, session: verified.session });
            let generation = verified.claims.generation;
            if newest.is_none_or(|(known, _)| generation > known) {
                newest = Some((generation, token));
            }
        }
    }
    if !consistent {
        findings.identified = Identified::Conflict;
        findings.conflict = named;
        return;
    }
    findings.refresh = newest.map(|(_, token)| token.to_owned());
    findings.identified = match good {
        Some(token) => standing(findings, auth, token, By::Cookie),
        None if late => Identified::Expired(By::Cookie),
        None if !presented.access.is_empty() => Identified::Invalid(By::Cookie),
        None => Identified::Anonymous,
    };
}

fn judge(findings: &mut Findings, auth: &Auth, token: &str, by: By) {
    findings.identified = match auth.verifier().verify(token) {
        Ok(token) => standing(findings, auth, token, by),
        Err(TokenError::Expired(_)) => Identified::Expired(by),
        Err(TokenError::Invalid) => Identified::Invalid(by),
    };
}

fn standing(findings: &mut Findings, auth: &Auth, token: Arc<AccessToken>, by: By) -> Identified {
    let standing = auth.revocations().standing(&token);
    findings.token = Some(Arc::clone(&token));
    match standing {
        Standing::Live => Identified::Known(token, by),
        Standing::StaleClaims => Identified::Stale(by),
        Standing::Revoked => Identified::Revoked(by),
    }
}

fn count(metrics: &Metrics, kind: CredentialKind, identified: &Identified) {
    let result = match identified {
        Identified::Known(..) => VerificationResult::Ok,
        Identified::Expired(_) => VerificationResult::Expired,
        Identified::Stale(_) => VerificationResult::Stale,
        Identified::Revoked(_) => VerificationResult::Revoked,
        Identified::Anonymous | Identified::Invalid(_) | Identified::Conflict => VerificationResult::Invalid,
    };
    metrics.token_verified(kind, result);
}
