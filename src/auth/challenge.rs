//! Answering challenges.
//!
//! An answer first takes one of the attempts, by one conditional update, so answers sent side by
//! side cannot try more than allowed; a right one then uses the secret up the same way, so it
//! counts once.

use crate::auth::entry::Proof;
use crate::auth::{Answer, Auth, Outcome, Resent, Respond};
use crate::domain::challenge::{Challenge, StepKind};
use crate::domain::context::RequestContext;
use crate::domain::error::{Error, Limit};
use crate::domain::event::Event;
use crate::domain::id::ChallengeId;
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::Purpose;
use crate::store::revocations::Revocation;

impl Answer {
    fn step(&self) -> StepKind {
        match self {
            Self::EmailCode(_) => StepKind::VerifyEmail,
        }
    }
}

impl Auth {
    /// Answers a challenge; the next one, or tokens, come back.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`], [`Error::CodeExpired`] and [`Error::CodeExhausted`] leave the
    /// challenge open; every other error of the challenge is final for it.
    pub async fn respond(&self, input: Respond, ctx: &RequestContext) -> Result<Outcome, Error> {
        let mut change = self.parts.events.begin().await?;
        let (challenge, user) = self.open_challenge(&mut change, input.challenge).await?;
        if input.answer.step() != challenge.step {
            return Err(mismatch(challenge.step, input.answer.step()));
        }
        if !change.challenges().claim_attempt(challenge.id, self.now()).await? {
            return Err(Error::ChallengeInvalid);
        }
        let proven = match &input.answer {
            Answer::EmailCode(code) => self.prove_email(&mut change, &challenge, &user, code).await,
        };
        if let Err(error) = proven {
            // The attempt counts, whatever comes of it.
            self.parts.events.commit(change, ctx).await?;
            return Err(error);
        }
        if !change.challenges().complete(challenge.id, self.now()).await? {
            return Err(Error::ChallengeCompleted);
        }
        let (id, step) = (challenge.id, challenge.step);
        change.record(Event::ChallengeCompleted { user: user.id, challenge: id, step });

        let user = change.users().by_id(user.id).await?.ok_or(Error::ChallengeInvalid)?;
        if let Some(lock) = &user.lock {
            return Err(Error::AccountLocked { reason: lock.reason.clone(), since: lock.at });
        }
        let proof = Proof { password: challenge.password_proven, amr: challenge.amr };
        self.admit(change, user, proof, input.client, ctx).await
    }

    /// Sends the code of a challenge again.
    ///
    /// # Errors
    /// [`Error::RateLimited`] inside the resend delay, which burns no quota, and beyond `send_limit`.
    pub async fn resend(&self, id: ChallengeId, ctx: &RequestContext) -> Result<Resent, Error> {
        let mut change = self.parts.events.begin().await?;
        let (challenge, user) = self.open_challenge(&mut change, id).await?;
        if let Some(at) = self.next_mail_at(&mut change, &user).await? {
            let delay = self.settings.signup.email_verification.resend_delay;
            return Err(Error::RateLimited { limit: Limit::Resend { delay }, retry_after: at.since(self.now()) });
        }
        self.count_mail(user.email.as_str()).await?;
        self.mail_code(&mut change, &user, &challenge).await?;
        self.parts.events.commit(change, ctx).await?;
        let masked = self.settings.security.mask_sensitive;
        let destination = if masked { user.email.masked() } else { user.email.to_string() };
        Ok(Resent { destination })
    }

    /// A challenge that can still be answered, and whose it is.
    async fn open_challenge(&self, change: &mut Change, id: ChallengeId) -> Result<(Challenge, User), Error> {
        let now = self.now();
        let challenge = change.challenges().by_id(id).await?.ok_or(Error::ChallengeInvalid)?;
        let user = change.users().by_id(challenge.user).await?.ok_or(Error::ChallengeInvalid)?;
        if challenge.completed_at.is_some() {
            return Err(Error::ChallengeCompleted);
        }
        if challenge.auth_epoch != user.auth_epoch {
            return Err(Error::ChallengeInvalid);
        }
        if challenge.expires_at <= now {
            return Err(Error::ChallengeExpired);
        }
        if challenge.attempts >= challenge.max_attempts {
            return Err(Error::ChallengeExhausted);
        }
        Ok((challenge, user))
    }

    async fn prove_email(
        &self,
        change: &mut Change,
        challenge: &Challenge,
        user: &User,
        code: &Secret<String>,
    ) -> Result<(), Error> {
        let now = self.now();
        let wrong = Event::ChallengeFailed { user: user.id, challenge: challenge.id, step: challenge.step };
        let Some(sent) = change.one_time_secrets().unused_for(challenge.id, Purpose::VerifyEmail).await? else {
            change.record(wrong);
            return Err(Error::CodeInvalid);
        };
        if !change.one_time_secrets().claim_attempt(sent.id).await? {
            return Err(Error::CodeExhausted);
        }
        if !self.code_matches(&sent, code) {
            change.record(wrong);
            return Err(Error::CodeInvalid);
        }
        if !change.one_time_secrets().consume(sent.id, user.auth_epoch, now).await? {
            return Err(Error::CodeExpired);
        }
        let email = sent.destination.parse().map_err(|_| Error::CodeInvalid)?;
        if !change.users().verify_email(user.id, &email, user.auth_epoch, now).await? {
            return Err(Error::CodeInvalid);
        }
        // Tokens that say "not verified" may be about, from a time when nothing had to be proven.
        if let Some(latest_exp) = change.sessions().latest_exp_of(user.id).await? {
            change.revoke(Revocation::UserClaims(user.id, user.claims_version + 1), latest_exp);
        }
        change.record(Event::EmailVerified { user: user.id, email });
        Ok(())
    }
}

fn mismatch(expected: StepKind, got: StepKind) -> Error {
    Error::InvalidInput(format!("Challenge type mismatch: expected {}, got {}", expected.as_str(), got.as_str()))
}
