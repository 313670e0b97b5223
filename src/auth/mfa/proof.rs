//! Proving a factor: on the way in, or to raise a session that lives.

use crate::auth::challenge::Begun;
use crate::auth::code::Destination;
use crate::auth::guard::Attempt;
use crate::auth::mfa::setup::{expect, prove_by};
use crate::auth::mfa::{At, Desk, FactorAnswer, Kind, ProofData, app, backup, email, of_method, passkey, sms};
use crate::auth::{Auth, Caller, Grant, Operation, Outcome, Respond};
use crate::domain::assurance::Aal;
use crate::domain::challenge::{Challenge, StepKind};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Event, FactorEvent};
use crate::domain::factor::{Factor, Method};
use crate::domain::id::{ChallengeId, UserId};
use crate::domain::session::Session;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::Purpose;

/// What was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// A factor beside the password.
    Factor,
    /// To read the account's mail, by somebody who has no factor: enough for an unusual login, not for more.
    StandIn,
}

/// An answer that was checked: in which change, as which attempt, whose, and to what.
pub(super) struct Tried<'a> {
    pub(super) change: Change,
    pub(super) attempt: Attempt,
    pub(super) user: UserId,
    pub(super) method: Method,
    /// `None` = in a session.
    pub(super) challenge: Option<&'a Challenge>,
}

impl Auth {
    /// Gets one of a user's factors ready to be proven: sends its code.
    pub async fn begin_proof(&self, id: ChallengeId, method: Method, ctx: &RequestContext) -> Result<ProofData, Error> {
        self.check_rate(Operation::Challenge, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        let (challenge, user) = self.open_challenge(&mut change, id).await?;
        expect("challenge data", StepKind::ProveFactor, challenge.step)?;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Challenge(id) };
        let data = of_method!(method, kind => kind.begin_proof(&mut desk).await)?;
        self.parts.events.commit(change, ctx).await?;
        Ok(data)
    }

    /// Gets one of the caller's factors ready to raise their session.
    pub async fn begin_own_proof(
        &self,
        caller: &Caller,
        method: Method,
        ctx: &RequestContext,
    ) -> Result<ProofData, Error> {
        self.check_rate(Operation::Challenge, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        let at = At::Session(caller.session.id);
        let mut desk = Desk { auth: self, change: &mut change, user: caller.user.clone(), at };
        let data = of_method!(method, kind => kind.begin_proof(&mut desk).await)?;
        self.parts.events.commit(change, ctx).await?;
        Ok(data)
    }

    /// Checks a factor on the way in.
    pub(in crate::auth) async fn respond_with_factor(
        &self,
        input: &Respond,
        answer: &FactorAnswer,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let (_, user) = self.asked_by(input).await?;
        let attempt = self.begin_factor_attempt(&user, ctx).await?;
        let Begun { mut change, mut challenge, user, attempt } = self.begin_answer(input, attempt).await?;
        let (user_id, at) = (user.id, At::Challenge(challenge.id));
        let checked = self.check_factor(&mut change, user, at, answer).await;
        let tried = Tried { change, attempt, user: user_id, method: answer.method, challenge: Some(&challenge) };
        let (change, attempt, shown) = self.settle(tried, checked, ctx).await?;
        match shown {
            Shown::Factor => prove_by(&mut challenge.amr, answer.method),
            Shown::StandIn => challenge.amr.push(answer.method.amr().to_owned()),
        }
        attempt.succeeded().await;
        self.finish(change, challenge, true, input, ctx).await
    }

    /// Proves a factor in a session, which is as fresh and as sure from then on as a login with it.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`], [`Error::CodeExhausted`].
    pub async fn reauthenticate_with_factor(
        &self,
        caller: &Caller,
        answer: &FactorAnswer,
        ctx: &RequestContext,
    ) -> Result<Grant, Error> {
        let (user, session, now) = (caller.user.clone(), caller.session.clone(), self.now());
        let attempt = self.begin_factor_attempt(&user, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        let checked = self.check_factor(&mut change, user.clone(), At::Session(session.id), answer).await;
        let tried = Tried { change, attempt, user: user.id, method: answer.method, challenge: None };
        let (mut change, attempt, _) = self.settle(tried, checked, ctx).await?;
        let mut amr = session.amr.clone();
        prove_by(&mut amr, answer.method);
        let acr = Aal::Two.as_str();
        let access_exp = self.access_expiry(&session, now);
        if !change.sessions().renew_auth(session.id, &amr, acr, now, access_exp).await? {
            attempt.undecided().await;
            return Err(Error::SessionNotFound("Session has been revoked"));
        }
        change.record(Event::Reauthenticated { user: user.id, session: session.id });
        self.parts.events.commit(change, ctx).await?;
        attempt.succeeded().await;
        let session = Session { auth_time: now, amr, acr: acr.to_owned(), last_activity_at: now, ..session };
        self.grant(user, session, now)
    }

    /// Checks a proof and notes it.
    async fn check_factor(
        &self,
        change: &mut Change,
        user: User,
        at: At,
        answer: &FactorAnswer,
    ) -> Result<Result<Shown, Error>, Error> {
        let user_id = user.id;
        let mut desk = Desk { auth: self, change, user, at };
        let proven = of_method!(answer.method, kind => kind.prove(&mut desk, answer).await)?;
        let factor = match proven {
            Ok(factor) => factor,
            Err(wrong) => return Ok(Err(wrong)),
        };
        if let Some(id) = factor {
            change.factors().used(id, self.now()).await?;
        }
        change.record(Event::Factor {
            user: user_id,
            happened: FactorEvent::Proven { method: answer.method, challenge: at.challenge() },
        });
        // Backup codes are no factor of their own, and stand for all the others.
        let is_stand_in = factor.is_none() && answer.method != Method::Backup;
        Ok(Ok(if is_stand_in { Shown::StandIn } else { Shown::Factor }))
    }

    /// Goes on with what a right answer brought. A wrong one is noted and counts, whatever comes of it; where
    /// nobody could tell, nothing is decided.
    pub(super) async fn settle<T>(
        &self,
        tried: Tried<'_>,
        checked: Result<Result<T, Error>, Error>,
        ctx: &RequestContext,
    ) -> Result<(Change, Attempt, T), Error> {
        let Tried { mut change, attempt, user, method, challenge } = tried;
        match checked {
            Ok(Ok(brought)) => Ok((change, attempt, brought)),
            Ok(Err(wrong)) => {
                if let Some(&Challenge { id: challenge, step, .. }) = challenge {
                    change.record(Event::ChallengeFailed { user, challenge, step });
                }
                let challenge = challenge.map(|challenge| challenge.id);
                change.record(Event::Factor { user, happened: FactorEvent::Failed { method, challenge } });
                self.parts.events.commit(change, ctx).await?;
                attempt.failed(Some(user), ctx).await;
                Err(wrong)
            }
            Err(error) => {
                attempt.undecided().await;
                Err(error)
            }
        }
    }

    /// What kind of code a factor's challenge has sent, and where to.
    pub(in crate::auth) fn factor_code(method: Method, user: &User) -> Option<(Purpose, Destination)> {
        let purpose = match method {
            Method::Email => Purpose::MfaEmail,
            Method::Sms => Purpose::MfaSms,
            Method::Totp | Method::Passkey | Method::Backup => return None,
        };
        Some((purpose, Self::factor_destination(method, user)?))
    }

    /// Forgets the factors whose codes go to an address that is not the user's any more, and tells them.
    pub(in crate::auth) async fn forget_factors_of(
        &self,
        change: &mut Change,
        user: &User,
        method: Method,
    ) -> Result<(), Error> {
        let factors: Vec<Factor> = change.factors().of_user(user.id).await?;
        for factor in factors.iter().filter(|factor| factor.method == method) {
            self.remove_factor_in(change, user, factor, crate::domain::event::Actor::System).await?;
        }
        Ok(())
    }
}
