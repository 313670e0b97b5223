//! Codes: made, hashed, sent, checked.
//!
//! A code is stored as an HMAC over everything it is bound to, so a row moved or copied by hand is
//! worthless, and a stolen database does not tell the codes. A mailed link carries a secret of its
//! own, far longer than the code: whoever can only guess gains nothing from it.

use aws_lc_rs::hmac;

use crate::auth::Auth;
use crate::auth::guard::Verdict;
use crate::config::settings::{ChallengeBinding, ResetCode, Verification};
use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone};
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::hex::{hex, unhex};
use crate::domain::id::{ChallengeId, SessionId, random_number};
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::{OneTimeSecret, Purpose};
use crate::tokens::keys;

/// Random bytes in the secret of a link.
const LINK_BYTES: usize = 20;

/// Where a code goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// By mail.
    Email(Email),
    /// By text message.
    Phone(Phone),
}

impl Destination {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Phone(phone) => phone.as_str(),
        }
    }

    pub(super) fn masked(&self) -> String {
        match self {
            Self::Email(email) => email.masked(),
            Self::Phone(phone) => phone.masked(),
        }
    }
}

/// A code about to be made.
#[derive(Debug)]
pub(super) struct NewCode<'a> {
    pub(super) purpose: Purpose,
    /// The challenge that asks for it.
    pub(super) challenge: Option<ChallengeId>,
    /// The session that asks for it, and is the only one to show it.
    pub(super) session: Option<SessionId>,
    pub(super) to: Destination,
    pub(super) rules: CodeRules<'a>,
}

/// What the settings say about a kind of code.
#[derive(Debug, Clone, Copy)]
pub(super) struct CodeRules<'a> {
    length: usize,
    pub(super) ttl: std::time::Duration,
    max_attempts: u32,
    link_url: Option<&'a str>,
}

impl<'a> From<&'a Verification> for CodeRules<'a> {
    fn from(rules: &'a Verification) -> Self {
        let Verification { code_length, ttl, max_attempts, link_url, .. } = rules;
        Self { length: *code_length, ttl: *ttl, max_attempts: *max_attempts, link_url: link_url.as_deref() }
    }
}

impl<'a> From<&'a ResetCode> for CodeRules<'a> {
    fn from(rules: &'a ResetCode) -> Self {
        let ResetCode { code_length, ttl, max_attempts, link_url } = rules;
        Self { length: *code_length, ttl: *ttl, max_attempts: *max_attempts, link_url: link_url.as_deref() }
    }
}

/// What was right about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It was typed in.
    Code,
    /// It came with the mailed link, in whatever browser that was opened.
    Link,
}

/// What was wrong with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is none.
    Absent,
    /// Not this one.
    Invalid,
    /// It was right once.
    Expired,
    /// No try is left.
    Exhausted,
}

impl Wrong {
    /// Whether nothing was compared, and so nothing guessed.
    pub(super) fn is_miss(self) -> bool {
        matches!(self, Self::Absent | Self::Exhausted)
    }

    /// What it makes of an attempt that is answered with this error.
    pub(super) fn verdict<T>(self, error: Error) -> Verdict<T> {
        if self.is_miss() { Verdict::Missed(error) } else { Verdict::Wrong(error) }
    }

    pub(super) fn of_verification(self) -> Error {
        match self {
            Self::Absent | Self::Invalid => Error::CodeInvalid,
            Self::Expired => Error::CodeExpired,
            Self::Exhausted => Error::CodeExhausted,
        }
    }

    pub(super) fn of_reset(self) -> Error {
        match self {
            Self::Absent | Self::Invalid => Error::ResetCodeInvalid,
            Self::Expired => Error::ResetCodeExpired,
            Self::Exhausted => Error::ResetExhausted,
        }
    }
}

impl Auth {
    /// Makes a new code, voids its predecessors and sends it. The caller has counted it before.
    pub(super) async fn send_code(&self, change: &mut Change, user: &User, new: NewCode<'_>) -> Result<(), Error> {
        let code = random_digits(new.rules.length);
        let link = new.rules.link_url.map(|url| (url, random_link()));
        let mut secret = self.secret_of(user, &new, &code);
        secret.link_hash = link.as_ref().map(|(_, token)| self.hash_of(&secret, "link", token));
        change.one_time_secrets().replace(&secret).await?;
        let link = link.map(|(url, token)| link_to(url, &token, &new, user));
        self.announce_code(change, user, &new, code, link);
        Ok(())
    }

    /// Keeps what looks like a code that was sent, and is none: delays and tries go as with any other.
    pub(super) async fn pretend_code(&self, change: &mut Change, user: &User, new: NewCode<'_>) -> Result<(), Error> {
        let secret = self.secret_of(user, &new, &random_link());
        Ok(change.one_time_secrets().replace(&secret).await?)
    }

    /// A secret as it is stored.
    fn secret_of(&self, user: &User, new: &NewCode<'_>, code: &Secret<String>) -> OneTimeSecret {
        let now = self.now();
        let mut secret = OneTimeSecret {
            id: random_number(),
            user: user.id,
            purpose: new.purpose,
            challenge: new.challenge,
            session: new.session,
            destination: new.to.as_str().to_owned(),
            secret_hash: String::new(),
            link_hash: None,
            auth_epoch: user.auth_epoch,
            attempts: 0,
            max_attempts: i64::from(new.rules.max_attempts),
            created_at: now,
            expires_at: now + new.rules.ttl,
        };
        secret.secret_hash = self.hash_of(&secret, "code", code);
        secret
    }

    /// Checks a code against what was sent and uses it up when it is right. A try is taken first.
    ///
    /// # Errors
    /// What is wrong with it comes as the inner error; the outer one is the database's.
    pub(super) async fn use_code(
        &self,
        change: &mut Change,
        sent: Option<&OneTimeSecret>,
        user: &User,
        given: &Secret<String>,
    ) -> Result<Result<Shown, Wrong>, Error> {
        let now = self.now();
        let Some(sent) = sent.filter(|sent| sent.auth_epoch == user.auth_epoch) else { return Ok(Err(Wrong::Absent)) };
        if !change.one_time_secrets().claim_attempt(sent.id).await? {
            return Ok(Err(Wrong::Exhausted));
        }
        let Some(shown) = self.compare(sent, given) else { return Ok(Err(Wrong::Invalid)) };
        if !change.one_time_secrets().consume(sent.id, user.auth_epoch, now).await? {
            return Ok(Err(Wrong::Expired));
        }
        Ok(Ok(shown))
    }

    /// Checks a code without using it up. A try is taken first, and given back when the code is right.
    pub(super) async fn try_code(
        &self,
        change: &mut Change,
        sent: Option<&OneTimeSecret>,
        user: &User,
        given: &Secret<String>,
    ) -> Result<Result<(), Wrong>, Error> {
        let Some(sent) = sent.filter(|sent| sent.auth_epoch == user.auth_epoch) else { return Ok(Err(Wrong::Absent)) };
        if !change.one_time_secrets().claim_attempt(sent.id).await? {
            return Ok(Err(Wrong::Exhausted));
        }
        if self.compare(sent, given).is_none() {
            return Ok(Err(Wrong::Invalid));
        }
        change.one_time_secrets().return_attempt(sent.id).await?;
        Ok(if sent.expires_at > self.now() { Ok(()) } else { Err(Wrong::Expired) })
    }

    fn compare(&self, sent: &OneTimeSecret, given: &Secret<String>) -> Option<Shown> {
        let is = |stored: &str, part: &str| {
            let Some(stored) = unhex(stored) else { return false };
            hmac::verify(&self.code_key(), bound(sent, part, given).as_bytes(), &stored).is_ok()
        };
        if is(&sent.secret_hash, "code") {
            return Some(Shown::Code);
        }
        sent.link_hash.as_ref().is_some_and(|hash| is(hash, "link")).then_some(Shown::Link)
    }

    /// When a further code of this kind may go to this address of the user, for this challenge, if not yet.
    pub(super) async fn next_send_at(
        &self,
        change: &mut Change,
        user: &User,
        (purpose, challenge): (Purpose, Option<ChallengeId>),
        to: &Destination,
        rules: &Verification,
    ) -> Result<Option<Time>, Error> {
        let mut secrets = change.one_time_secrets();
        let last = match challenge.filter(|_| purpose.is_of_challenge()) {
            Some(challenge) => secrets.last_sent_for(challenge, purpose, to.as_str()).await?,
            None => secrets.last_sent(user.id, purpose, to.as_str()).await?,
        };
        Ok(last.map(|at| at + rules.resend_delay).filter(|at| *at > self.now()))
    }

    /// Refuses a further code inside the resend delay.
    pub(super) async fn refuse_too_soon(
        &self,
        change: &mut Change,
        user: &User,
        kind: (Purpose, Option<ChallengeId>),
        to: &Destination,
        rules: &Verification,
    ) -> Result<(), Error> {
        let Some(at) = self.next_send_at(change, user, kind, to, rules).await? else { return Ok(()) };
        let limit = Limit::Resend { delay: rules.resend_delay };
        Err(Error::RateLimited { limit, retry_after: at.since(self.now()) })
    }

    /// Recognises the client that began a challenge: its device token, else where it comes from
    /// and what it calls itself.
    pub(super) fn client_binding(&self, ctx: &RequestContext) -> String {
        let text = match (self.settings.challenge.bind, &ctx.device_token) {
            // Nobody comes a second time with a random number.
            (ChallengeBinding::None, _) => format!("nobody\0{}", random_number()),
            (ChallengeBinding::Ip, _) => format!("address\0{}", ctx.address_prefix()),
            (ChallengeBinding::Device, Some(token)) => format!("device\0{token}"),
            (ChallengeBinding::Device, None) => {
                format!("client\0{}\0{}", ctx.address_prefix(), ctx.user_agent.as_deref().unwrap_or(""))
            }
        };
        hex(hmac::sign(&self.code_key(), text.as_bytes()).as_ref())
    }

    fn hash_of(&self, secret: &OneTimeSecret, part: &str, value: &Secret<String>) -> String {
        hex(hmac::sign(&self.code_key(), bound(secret, part, value).as_bytes()).as_ref())
    }

    fn code_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.keys.purpose(keys::Purpose::Code).active.bytes())
    }
}

fn bound(secret: &OneTimeSecret, part: &str, value: &Secret<String>) -> String {
    let OneTimeSecret { id, user, purpose, destination, auth_epoch, .. } = secret;
    let session = secret.session.map_or_else(String::new, |session| format!("session/{session}\0"));
    format!("{}\0{part}\0{user}\0{destination}\0{auth_epoch}\0{id}\0{session}{}", purpose.as_str(), value.expose())
}

/// The link of a mail: the operator's page, and what it needs to know.
fn link_to(url: &str, token: &Secret<String>, new: &NewCode<'_>, user: &User) -> Secret<String> {
    let mut link = url::Url::parse(url).expect("the settings hold only good addresses");
    {
        let mut query = link.query_pairs_mut();
        query.append_pair("code", token.expose());
        if let Some(challenge) = new.challenge {
            query.append_pair("session", &challenge.to_string());
        }
        if matches!(new.purpose, Purpose::PasswordReset | Purpose::AdminReset) {
            query.append_pair("email", user.email.as_str());
        }
    }
    Secret::new(link.into())
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

/// The secret of a link: hexadecimal, and so told from a code by its length.
fn random_link() -> Secret<String> {
    let mut bytes = [0; LINK_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    Secret::new(hex(&bytes))
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
        assert_eq!(random_link().expose().len(), 2 * LINK_BYTES);
    }
}
