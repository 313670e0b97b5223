//! Codes: made, hashed, sent, checked.
//!
//! A code is stored as an HMAC over everything it is bound to, so a row moved or copied by hand is
//! worthless, and a stolen database does not tell the codes.

use aws_lc_rs::hmac;

use crate::auth::Auth;
use crate::domain::challenge::Challenge;
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::event::Event;
use crate::domain::hex::{hex, unhex};
use crate::domain::id::random_number;
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;
use crate::mail::{Content, Message};
use crate::store::one_time_secrets::{OneTimeSecret, Purpose};
use crate::tokens::keys;

impl Auth {
    /// Makes a new code for a challenge, voids its predecessors and mails it.
    ///
    /// The caller has counted it with [`Auth::count_mail`] before.
    pub(super) async fn mail_code(&self, change: &mut Change, user: &User, challenge: &Challenge) -> Result<(), Error> {
        let rules = &self.settings.signup.email_verification;
        let now = self.now();
        let code = random_digits(rules.code_length);
        let mut secret = OneTimeSecret {
            id: random_number(),
            user: user.id,
            purpose: Purpose::VerifyEmail,
            challenge: Some(challenge.id),
            destination: user.email.to_string(),
            secret_hash: String::new(),
            auth_epoch: user.auth_epoch,
            attempts: 0,
            max_attempts: i64::from(rules.max_attempts),
            created_at: now,
            expires_at: now + rules.ttl,
        };
        secret.secret_hash = hex(hmac::sign(&self.code_key(), bound(&secret, &code).as_bytes()).as_ref());
        change.one_time_secrets().replace(&secret).await?;
        change.record(Event::EmailVerificationRequested { user: user.id, email: user.email.clone() });
        let content = Content::Verification { code, ttl: rules.ttl };
        change.send(Message { to: user.email.clone(), content }, secret.expires_at);
        Ok(())
    }

    /// Whether this is the code that was sent.
    pub(super) fn code_matches(&self, secret: &OneTimeSecret, code: &Secret<String>) -> bool {
        let Some(stored) = unhex(&secret.secret_hash) else { return false };
        hmac::verify(&self.code_key(), bound(secret, code).as_bytes(), &stored).is_ok()
    }

    /// Counts a mail to this address against `send_limit`.
    ///
    /// The counter belongs to the address, not to the account: an account that gives way to
    /// another signup does not bring a new quota.
    pub(super) async fn count_mail(&self, email: &str) -> Result<(), Error> {
        let limit = self.settings.signup.email_verification.send_limit;
        let count = self.parts.transient.count(&format!("mail/verify/{email}"), limit.window).await?;
        let max = u64::from(limit.max);
        if count.value > max {
            let limit = Limit::EmailSend { count: count.value, max };
            return Err(Error::RateLimited { limit, retry_after: count.resets_in });
        }
        Ok(())
    }

    /// When a further mail may go to this address of the user, if not yet.
    pub(super) async fn next_mail_at(&self, change: &mut Change, user: &User) -> Result<Option<Time>, Error> {
        let last = change.one_time_secrets().last_sent(user.id, Purpose::VerifyEmail, user.email.as_str()).await?;
        let delay = self.settings.signup.email_verification.resend_delay;
        Ok(last.map(|at| at + delay).filter(|at| *at > self.now()))
    }

    /// Recognises the client that began a challenge: its device token, else where it comes from
    /// and what it calls itself.
    pub(super) fn client_binding(&self, ctx: &RequestContext) -> String {
        let text = match &ctx.device_token {
            Some(token) => format!("device\0{token}"),
            None => format!("client\0{}\0{}", ctx.address_prefix(), ctx.user_agent.as_deref().unwrap_or("")),
        };
        hex(hmac::sign(&self.code_key(), text.as_bytes()).as_ref())
    }

    fn code_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.parts.keys.purpose(keys::Purpose::Code).active.bytes())
    }
}

fn bound(secret: &OneTimeSecret, code: &Secret<String>) -> String {
    let OneTimeSecret { id, user, purpose, destination, auth_epoch, .. } = secret;
    format!("{}\0{user}\0{destination}\0{auth_epoch}\0{id}\0{}", purpose.as_str(), code.expose())
}

/// `length` decimal digits, each as likely as the other.
fn random_digits(length: usize) -> Secret<String> {
    let mut digits = String::with_capacity(length);
    while digits.len() < length {
        let mut byte = [0];
        aws_lc_rs::rand::fill(&mut byte).expect("the system has randomness");
        // 250 is the largest multiple of ten a byte can hold; above it some digits would be likelier.
        if byte[0] < 250 {
            digits.push(char::from(b'0' + byte[0] % 10));
        }
    }
    Secret::new(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_digits_of_the_length_asked_for() {
        for length in [4, 6, 10] {
            let code = random_digits(length);
            assert!(code.expose().len() == length && code.expose().bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
}
