//! Setting a factor up: in a session whose login is fresh, or on the way in where one is demanded.

use crate::auth::challenge::Begun;
use crate::auth::guard::Verdict;
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
        let (user, method) = (caller.user.id, answer.method);
        let attempt = self.begin_factor_attempt(&caller.user, method, None, ctx).await?;
        let stored = attempt.around(Some(user), ctx, async {
            let mut change = self.parts.events.begin().await?;
            change.one_at_a_time().await?;
            let owner = change.users().by_id(user).await?.ok_or(Error::NotFound)?;
            let mut desk = Desk { auth: self, change: &mut change, user: owner, at: At::Session(caller.session.id) };
            let SetUp { id, is_proven } = match desk.finish(answer).await? {
                Ok(set_up) => set_up,
                Err(wrong) => {
                    return Ok(Verdict::Wrong(self.note_wrong_factor(change, user, method, None, wrong, ctx).await));
                }
            };
            if is_proven {
                let mut amr = caller.session.amr.clone();
                prove_by(&mut amr, method);
                change.sessions().raise(caller.session.id, &amr, Aal::Two.as_str()).await?;
            }
            self.parts.events.commit(change, ctx).await?;
            Ok(Verdict::Right(id))
        });
        stored.await
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
        let (asked, user) = self.asked_by(input).await?;
        let (id, method) = (user.id, answer.method);
        let attempt = self.begin_factor_attempt(&user, method, Some(asked.id), ctx).await?;
        let finished = attempt.around(Some(id), ctx, async {
            let Begun { mut change, challenge, user } = self.begin_answer(input).await?;
            let mut desk = Desk { auth: self, change: &mut change, user, at: At::Challenge(challenge.id) };
            Ok(match desk.finish(answer).await? {
                Ok(set_up) => Verdict::Right((change, challenge, set_up)),
                Err(wrong) => {
                    Verdict::Wrong(self.note_wrong_factor(change, id, method, Some(&challenge), wrong, ctx).await)
                }
            })
        });
        let (change, mut challenge, set_up) = finished.await?;
        if set_up.is_proven {
            prove_by(&mut challenge.amr, method);
        }
        self.finish(change, challenge, true, input, ctx).await
    }

    /// Refuses a method that may not be set up here.
    fn check_method(&self, method: Method) -> Result<(), Error> {
        if self.settings.mfa.allows(method) { Ok(()) } else { Err(not_registered(method)) }
    }
}

/// A factor that was just set up.
#[derive(Debug, Clone, Copy)]
struct SetUp {
    id: i64,
    /// Whether it was proven just now.
    is_proven: bool,
}

impl Desk<'_> {
    /// Checks the answer to a set-up and stores the factor.
    async fn finish(&mut self, answer: &SetupAnswer) -> Result<Result<SetUp, Error>, Error> {
        let factor = match of_method!(answer.method, kind => kind.finish_setup(self, answer).await)? {
            Ok(factor) => factor,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let is_proven = factor.is_proven;
        Ok(Ok(SetUp { id: self.put(factor).await?, is_proven }))
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
