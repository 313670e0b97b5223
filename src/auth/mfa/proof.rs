//! Proving a factor: on the way in, or to raise a session that lives.

use crate::auth::challenge::Begun;
use crate::auth::code::Destination;
use crate::auth::guard::Verdict;
use crate::auth::mfa::setup::expect;
use crate::auth::mfa::{At, Desk, FactorAnswer, Kind, ProofData, app, backup, email, of_method, passkey, sms};
use crate::auth::own::OwnChange;
use crate::auth::{Auth, Caller, Grant, Operation, Outcome, Respond};
use crate::domain::assurance::add_proofs;
use crate::domain::challenge::{Challenge, StepKind};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Event, FactorEvent};
use crate::domain::factor::{Factor, Method};
use crate::domain::id::{ChallengeId, UserId};
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
        let OwnChange { mut change, user, session } = self.change_of(caller).await?;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Session(session.id) };
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
        let (asked, user) = self.asked_by(input).await?;
        let attempt = self.begin_factor_attempt(&user, answer.method, Some(asked.id), ctx).await?;
        let proven = attempt.around(Some(user.id), ctx, async {
            let Begun { mut change, challenge, user } = self.begin_answer(input).await?;
            let (id, method, at) = (user.id, answer.method, At::Challenge(challenge.id));
            Ok(match self.check_factor(&mut change, user, at, answer).await? {
                Ok(shown) => Verdict::Right((change, challenge, shown)),
                Err(wrong) => {
                    Verdict::Wrong(self.note_wrong_factor(change, id, method, Some(&challenge), wrong, ctx).await)
                }
            })
        });
        let (change, mut challenge, shown) = proven.await?;
        match shown {
            Shown::Factor => add_proofs(&mut challenge.amr, &answer.method.proofs()),
            Shown::StandIn => challenge.amr.push(answer.method.amr().to_owned()),
        }
        self.finish(change, challenge, true, input, ctx).await
    }

    /// Proves a factor in a session, which is as fresh and as sure from then on as a login with it.
    ///
    /// # Errors
    /// [`Error::WrongFactor`], [`Error::CodeExpired`], [`Error::CodeExhausted`].
    pub async fn reauthenticate_with_factor(
        &self,
        caller: &Caller,
        answer: &FactorAnswer,
        ctx: &RequestContext,
    ) -> Result<Grant, Error> {
        let attempt = self.begin_factor_attempt(&caller.user, answer.method, None, ctx).await?;
        let renewed = attempt.around(Some(caller.user.id), ctx, async {
            let mut own = self.change_of(caller).await?;
            let (id, method, at) = (own.user.id, answer.method, At::Session(own.session.id));
            if let Err(wrong) = self.check_factor(&mut own.change, own.user.clone(), at, answer).await? {
                return Ok(Verdict::Wrong(self.note_wrong_factor(own.change, id, method, None, wrong, ctx).await));
            }
            Ok(Verdict::Right(self.renew(own, &method.proofs(), ctx).await?))
        });
        renewed.await
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
            Err(Error::CodeInvalid) => return Ok(Err(Error::WrongFactor)),
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

    /// Commits what a wrong answer costs, in a challenge or in a session; answers the error for it. It counts
    /// even where it cannot be noted.
    pub(super) async fn note_wrong_factor(
        &self,
        mut change: Change,
        user: UserId,
        method: Method,
        challenge: Option<&Challenge>,
        wrong: Error,
        ctx: &RequestContext,
    ) -> Error {
        if let Some(&Challenge { id: challenge, step, .. }) = challenge {
            change.record(Event::ChallengeFailed { user, challenge, step });
        }
        let challenge = challenge.map(|challenge| challenge.id);
        change.record(Event::Factor { user, happened: FactorEvent::Failed { method, challenge } });
        self.parts.events.commit(change, ctx).await.err().unwrap_or(wrong)
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
