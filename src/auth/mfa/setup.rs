//! Setting a factor up: in a session whose login is fresh, or on the way in where one is demanded.

use crate::auth::challenge::Begun;
use crate::auth::mfa::proof::Tried;
use crate::auth::mfa::{
    At, Desk, Kind, SetupAnswer, SetupData, SetupWish, app, backup, email, not_registered, of_method, passkey, sms,
};
use crate::auth::{Auth, Caller, Operation, Outcome, Respond};
use crate::domain::assurance::{Aal, MFA};
use crate::domain::challenge::StepKind;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::domain::id::ChallengeId;

impl Auth {
    /// What the caller's client needs to set a factor up.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a method that may not be set up, [`Error::Forbidden`] without a fresh login.
    pub async fn begin_factor(
        &self,
        caller: &Caller,
        wish: &SetupWish,
        ctx: &RequestContext,
    ) -> Result<SetupData, Error> {
        self.require_fresh(caller)?;
        self.check_method(wish.method)?;
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        let user = change.users().by_id(caller.user.id).await?.ok_or(Error::NotFound)?;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Session(caller.session.id) };
        let data = of_method!(wish.method, kind => kind.begin_setup(&mut desk, wish).await)?;
        self.parts.events.commit(change, ctx).await?;
        Ok(data)
    }

    /// Finishes what [`Auth::begin_factor`] began; answers the factor's number. The caller's session is as
    /// sure as if the factor had been proven in a login.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`], [`Error::CodeExpired`], [`Error::CodeExhausted`].
    pub async fn finish_factor(
        &self,
        caller: &Caller,
        answer: &SetupAnswer,
        ctx: &RequestContext,
    ) -> Result<i64, Error> {
        self.require_fresh(caller)?;
        self.check_method(answer.method)?;
        let attempt = self.begin_factor_attempt(&caller.user, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        let user = change.users().by_id(caller.user.id).await?.ok_or(Error::NotFound)?;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Session(caller.session.id) };
        let checked = of_method!(answer.method, kind => kind.finish_setup(&mut desk, answer).await);
        let Desk { user, at, .. } = desk;
        let tried = Tried { change, attempt, user: user.id, method: answer.method, challenge: None };
        let (mut change, attempt, finished) = self.settle(tried, checked, ctx).await?;
        let mut desk = Desk { auth: self, change: &mut change, user, at };
        let is_proven = finished.is_proven;
        let stored = desk.put(finished).await;
        let id = match stored {
            Ok(id) => id,
            Err(error) => {
                attempt.undecided().await;
                return Err(error);
            }
        };
        if is_proven {
            let mut amr = caller.session.amr.clone();
            prove_by(&mut amr, answer.method);
            change.sessions().raise(caller.session.id, &amr, Aal::Two.as_str()).await?;
        }
        self.parts.events.commit(change, ctx).await?;
        attempt.succeeded().await;
        Ok(id)
    }

    /// What a client needs to set up the factor a challenge demands.
    pub async fn begin_demanded_factor(
        &self,
        id: ChallengeId,
        wish: &SetupWish,
        ctx: &RequestContext,
    ) -> Result<SetupData, Error> {
        self.check_rate(Operation::Challenge, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        let (challenge, user) = self.open_challenge(&mut change, id).await?;
        expect("setup data", StepKind::SetUpFactor, challenge.step)?;
        self.check_method(wish.method)?;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Challenge(id) };
        let data = of_method!(wish.method, kind => kind.begin_setup(&mut desk, wish).await)?;
        self.parts.events.commit(change, ctx).await?;
        Ok(data)
    }

    /// Finishes it, and lets the user in.
    pub(in crate::auth) async fn respond_with_setup(
        &self,
        input: &Respond,
        answer: &SetupAnswer,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        self.check_method(answer.method)?;
        let (_, user) = self.asked_by(input).await?;
        let attempt = self.begin_factor_attempt(&user, ctx).await?;
        let Begun { mut change, mut challenge, user, attempt } = self.begin_answer(input, attempt).await?;
        let at = At::Challenge(challenge.id);
        let mut desk = Desk { auth: self, change: &mut change, user, at };
        let checked = of_method!(answer.method, kind => kind.finish_setup(&mut desk, answer).await);
        let Desk { user, .. } = desk;
        let tried = Tried { change, attempt, user: user.id, method: answer.method, challenge: Some(&challenge) };
        let (mut change, attempt, finished) = self.settle(tried, checked, ctx).await?;
        let mut desk = Desk { auth: self, change: &mut change, user, at };
        let is_proven = finished.is_proven;
        if let Err(error) = desk.put(finished).await {
            attempt.undecided().await;
            return Err(error);
        }
        attempt.succeeded().await;
        if is_proven {
            prove_by(&mut challenge.amr, answer.method);
        }
        self.finish(change, challenge, true, input, ctx).await
    }

    /// Refuses a method that may not be set up here.
    fn check_method(&self, method: Method) -> Result<(), Error> {
        if self.settings.mfa.allows(method) { Ok(()) } else { Err(not_registered(method)) }
    }
}

/// Adds a proof to those of a session or challenge.
pub(super) fn prove_by(amr: &mut Vec<String>, method: Method) {
    for proof in [method.amr(), MFA] {
        if !amr.iter().any(|present| present == proof) {
            amr.push(proof.to_owned());
        }
    }
}

/// The sentence clients know.
pub(super) fn expect(what: &str, expected: StepKind, got: StepKind) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (expected.as_str(), got.as_str());
    Err(Error::InvalidInput(format!("Cannot get {what}: expected {expected} challenge, got {got}")))
}
