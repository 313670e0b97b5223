//! Codes of an app: TOTP (RFC 6238).
//!
//! A secret leaves once, to be shown to the user, and comes back with the first code. It has to be one
//! that was given out to this very client. It is stored sealed, and with it the last time step a code
//! was taken for: no code of that step or an earlier one is taken again, wherever it is shown.

use totp_rs::{Algorithm, Builder, Totp};

use crate::auth::Auth;
use crate::auth::mfa::desk::{Desk, Kind, NewFactor};
use crate::auth::mfa::{AppSecret, FactorAnswer, ProofData, SEALED, SetupAnswer, SetupData, SetupWish};
use crate::config::settings::TotpAlgorithm;
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::domain::hex::hex;
use crate::domain::secret::Secret;
use crate::store::ceremonies::Ceremony;
use crate::store::factors::Proof;

/// The ceremony of a secret on its way to an app.
const SETUP: &str = "totp_setup";
/// Longest secret read, in characters.
const MAX_SECRET: usize = 128;

/// The method.
pub(super) struct App;

impl Kind for App {
    async fn begin_setup(&self, desk: &mut Desk<'_>, _: &SetupWish) -> Result<SetupData, Error> {
        let auth = desk.auth;
        let secret = auth.new_secret();
        let shown = auth.totp(secret.clone(), desk.user.email.as_str())?;
        let encoded = Secret::new(base32(&secret));
        let ceremony = Ceremony {
            purpose: SETUP,
            user: Some(desk.user.id),
            bound_to: desk.at.name(),
            handle: handle(encoded.expose()),
            sealed: String::new(),
            expires_at: auth.now() + auth.settings.challenge.ttl,
        };
        desk.change.ceremonies().begin(&ceremony).await?;
        Ok(SetupData::App(AppSecret {
            uri: Secret::new(shown.to_url().map_err(|error| Error::Internal(Box::new(error)))?),
            secret: encoded,
            issuer: auth.settings.mfa.issuer.clone(),
            account: desk.user.email.to_string(),
        }))
    }

    async fn finish_setup(&self, desk: &mut Desk<'_>, answer: &SetupAnswer) -> Result<Result<NewFactor, Error>, Error> {
        let auth = desk.auth;
        let given = answer.secret.as_ref().map(|secret| normalised(secret.expose())).ok_or_else(unknown_secret)?;
        let handle = handle(&given);
        let bound_to = desk.at.name();
        if desk.change.ceremonies().find(SETUP, &bound_to, &handle, auth.now()).await?.is_none() {
            return Err(unknown_secret());
        }
        let secret = unbase32(&given).ok_or_else(unknown_secret)?;
        let Some(step) = auth.step_of(secret.clone(), &answer.code)? else { return Ok(Err(Error::CodeInvalid)) };
        // Of two who send the right code at the same time, one sets it up.
        if !desk.change.ceremonies().end(SETUP, &handle).await? {
            return Ok(Err(Error::CodeInvalid));
        }
        let mut factor = NewFactor::new(Method::Totp);
        factor.name.clone_from(&answer.name);
        let sealed = auth.sealer.seal(SEALED, factor.id, &secret);
        factor.proof = Proof { sealed: Some(sealed), credential_hash: None, counter: step };
        Ok(Ok(factor))
    }

    async fn begin_proof(&self, _: &mut Desk<'_>) -> Result<ProofData, Error> {
        Err(Error::InvalidInput("Codes of an app are not sent".to_owned()))
    }

    async fn prove(&self, desk: &mut Desk<'_>, answer: &FactorAnswer) -> Result<Result<Option<i64>, Error>, Error> {
        let auth = desk.auth;
        for factor in desk.factors(Method::Totp, answer.factor).await? {
            let proof = desk.change.factors().proof(desk.user.id, factor.id).await?;
            let Some(sealed) = proof.and_then(|proof| proof.sealed) else { continue };
            // What cannot be opened is an outage: it must not look like a factor that is not there.
            let secret = auth.sealer.open(SEALED, factor.id, &sealed).map_err(|e| Error::Unavailable(Box::new(e)))?;
            let Some(step) = auth.step_of(secret, &answer.code)? else { continue };
            let is_new = desk.change.factors().advance(factor.id, step).await?;
            if is_new || !auth.settings.mfa.totp.prevent_replay {
                return Ok(Ok(Some(factor.id)));
            }
        }
        Ok(Err(Error::CodeInvalid))
    }
}

impl Auth {
    /// As many random bytes as the algorithm's output has (RFC 4226, 4).
    fn new_secret(&self) -> Vec<u8> {
        let length = match self.settings.mfa.totp.algorithm {
            TotpAlgorithm::Sha1 => 20,
            TotpAlgorithm::Sha256 => 32,
            TotpAlgorithm::Sha512 => 64,
        };
        let mut secret = vec![0; length];
        aws_lc_rs::rand::fill(&mut secret).expect("the system has randomness");
        secret
    }

    fn totp(&self, secret: Vec<u8>, account: &str) -> Result<Totp, Error> {
        let rules = self.settings.mfa.totp;
        let algorithm = match rules.algorithm {
            TotpAlgorithm::Sha1 => Algorithm::SHA1,
            TotpAlgorithm::Sha256 => Algorithm::SHA256,
            TotpAlgorithm::Sha512 => Algorithm::SHA512,
        };
        let builder = Builder::new()
            .with_algorithm(algorithm)
            .with_digits(rules.digits)
            .with_skew(rules.window)
            .with_step_duration(rules.step.as_secs())
            .with_secret(secret)
            .with_issuer(Some(self.settings.mfa.issuer.clone()))
            .with_account_name(account.replace(':', " "));
        builder.build().map_err(|error| Error::Internal(Box::new(error)))
    }

    /// The time step this code is for, if it is one of now.
    fn step_of(&self, secret: Vec<u8>, code: &Secret<String>) -> Result<Option<i64>, Error> {
        let now = u64::try_from(self.now().secs()).unwrap_or(0);
        let step = self.totp(secret, "x")?.check(code.expose(), now);
        Ok(step.map(|step| i64::try_from(step).unwrap_or(i64::MAX)))
    }
}

/// What is stored of a secret on its way. It is random enough to need no key.
fn handle(secret: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes()).as_ref())
}

/// A secret as it was given out, however its user has typed it.
fn normalised(secret: &str) -> String {
    let plain = secret.chars().filter(|c| !c.is_whitespace() && *c != '-' && *c != '=').take(MAX_SECRET);
    plain.collect::<String>().to_ascii_uppercase()
}

fn base32(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes)
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    data_encoding::BASE32_NOPAD.decode(text.as_bytes()).ok()
}

fn unknown_secret() -> Error {
    Error::InvalidField { field: "secret", message: "The secret is not the one that was given out".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_however_it_was_typed() {
        let secret = base32(&[0xAB; 20]);
        let typed = format!(" {}-{} {}==", secret[..4].to_lowercase(), &secret[4..8], &secret[8..]);
        assert_eq!(unbase32(&normalised(&typed)), Some(vec![0xAB; 20]));
        assert_eq!(handle(&normalised(&typed)), handle(&secret));
        for bad in ["", "1", "0O1I"] {
            assert!(unbase32(&normalised(bad)).is_none_or(|bytes| bytes.is_empty()), "{bad}");
        }
    }
}
