//! Backup codes: kept on paper for the day the other factors are lost, each good once.

use aws_lc_rs::hmac;

use crate::auth::Auth;
use crate::auth::mfa::desk::{Desk, Kind, NewFactor};
use crate::auth::mfa::{FactorAnswer, ProofData, SetupAnswer, SetupData, SetupWish};
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::domain::hex::hex;
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::events::Change;
use crate::tokens::keys::Purpose;

/// Letters and digits nobody mistakes for others: 32 of them, so that each is worth five bits.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// The method.
pub(super) struct Kept;

impl Kind for Kept {
    async fn begin_setup(&self, _: &mut Desk<'_>, _: &SetupWish) -> Result<SetupData, Error> {
        Err(Error::FactorNotOffered(Method::Backup))
    }

    async fn finish_setup(&self, _: &mut Desk<'_>, _: &SetupAnswer) -> Result<Result<NewFactor, Error>, Error> {
        Err(Error::FactorNotOffered(Method::Backup))
    }

    async fn begin_proof(&self, _: &mut Desk<'_>) -> Result<ProofData, Error> {
        Err(Error::InvalidInput("Backup codes are not sent".to_owned()))
    }

    async fn prove(&self, desk: &mut Desk<'_>, answer: &FactorAnswer) -> Result<Result<Option<i64>, Error>, Error> {
        if !desk.auth.settings.mfa.backup.enabled {
            return Ok(Err(Error::CodeInvalid));
        }
        let now = desk.auth.now();
        for hash in desk.auth.backup_hashes(desk.user.id, &answer.code) {
            if desk.change.backup_codes().consume(desk.user.id, &hash, now).await? {
                return Ok(Ok(None));
            }
        }
        Ok(Err(Error::CodeInvalid))
    }
}

impl Auth {
    /// Whether a user has a code left that can be asked for.
    pub(in crate::auth) async fn has_backup_codes(&self, change: &mut Change, user: UserId) -> Result<bool, Error> {
        Ok(self.settings.mfa.backup.enabled && change.backup_codes().left(user).await? > 0)
    }

    /// New codes, and how they are stored.
    pub(super) fn new_backup_codes(&self, user: UserId) -> (Vec<Secret<String>>, Vec<String>) {
        let rules = self.settings.mfa.backup;
        let codes: Vec<_> = (0..rules.count).map(|_| random_code(rules.length)).collect();
        let key = &self.keys.purpose(Purpose::Code).active;
        let hashes = codes.iter().map(|code| hash_of(key.bytes(), user, code.expose())).collect();
        (codes, hashes)
    }

    /// How a code may be stored: by the present key, or by one of before.
    fn backup_hashes(&self, user: UserId, code: &Secret<String>) -> Vec<String> {
        let typed: String = code.expose().chars().filter(char::is_ascii_alphanumeric).collect();
        let typed = typed.to_ascii_uppercase();
        self.keys.purpose(Purpose::Code).all.iter().map(|key| hash_of(key.bytes(), user, &typed)).collect()
    }
}

fn hash_of(key: &[u8], user: UserId, code: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hex(hmac::sign(&key, format!("backup\0{user}\0{code}").as_bytes()).as_ref())
}

fn random_code(length: usize) -> Secret<String> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    Secret::new(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_plain_and_their_hash_is_bound_to_their_user() {
        let code = random_code(10);
        assert!(code.expose().len() == 10 && code.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        let (ada, eve) = (UserId::random(), UserId::random());
        assert_eq!(hash_of(b"key", ada, code.expose()), hash_of(b"key", ada, code.expose()));
        assert_ne!(hash_of(b"key", ada, code.expose()), hash_of(b"key", eve, code.expose()));
        assert_ne!(hash_of(b"key", ada, code.expose()), hash_of(b"other", ada, code.expose()));
    }
}
