//! Setting a factor up: in a session whose user was just proven, or on the way in where one is demanded.

use crate::auth::challenge::Begun;
use crate::auth::guard::Verdict;
use crate::auth::mfa::{
    At, Desk, Kind, SetupAnswer, SetupData, SetupWish, app, backup, email, of_method, passkey, sms,
};
use crate::auth::own::OwnChange;
use crate::auth::{Auth, Caller, Operation, Outcome, Respond};
use crate::domain::assurance::add_proofs;
use crate::domain::challenge::StepKind;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::domain::id::ChallengeId;
use crate::domain::user::User;
use crate::events::Change;

impl Auth {
    /// What the caller's client needs to set a factor up.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a method that may not be set up, [`Error::Forbidden`] unless the user was just
    /// proven: by the password alone for the first factor, by one there is for any other.
    pub async fn begin_factor(
        &self,
        caller: &Caller,
        wish: &SetupWish,
        ctx: &RequestContext,
    ) -> Result<SetupData, Error> {
        self.check_method(wish.method)?;
        let mut own = self.lone_change_of(caller).await?;
        self.require_authority(&mut own).await?;
        let OwnChange { mut change, user, session } = own;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Session(session.id) };
        if let Some(name) = &wish.name {
            desk.keep_name(wish.method, name).await?;
        }
        let data = of_method!(wish.method, kind => kind.begin_setup(&mut desk, wish).await)?;
        self.parts.events.commit(change, ctx).await?;
        Ok(data)
    }

    /// Finishes what [`Auth::begin_factor`] began; answers the factor's number. The caller's session is as
    /// sure as if the factor had been proven in a login.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`], [`Error::CodeExpired`], [`Error::CodeExhausted`], [`Error::Forbidden`] like
    /// [`Auth::begin_factor`].
    pub async fn finish_factor(
        &self,
        caller: &Caller,
        answer: &SetupAnswer,
        ctx: &RequestContext,
    ) -> Result<i64, Error> {
        self.check_method(answer.method)?;
        let (user, method) = (caller.user.id, answer.method);
        let attempt = self.begin_factor_attempt(&caller.user, method, None, ctx).await?;
        let stored = attempt.around(Some(user), ctx, async {
            let mut own = self.change_of(caller).await?;
            self.require_authority(&mut own).await?;
            let OwnChange { mut change, user: owner, mut session } = own;
            let mut desk = Desk { auth: self, change: &mut change, user: owner, at: At::Session(session.id) };
            let SetUp { id, is_proven } = match desk.finish(answer).await? {
                Ok(set_up) => set_up,
                Err(wrong) => {
                    return Ok(Verdict::Wrong(self.note_wrong_factor(change, user, method, None, wrong, ctx).await));
                }
            };
            if is_proven {
                session.prove(&method.proofs());
                // The row is held, and the session in it lives.
                change.sessions().raise(session.id, &session.amr, &session.acr).await?;
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
        self.refuse_enrolled(&mut change, &user).await?;
        let mut desk = Desk { auth: self, change: &mut change, user, at: At::Challenge(id) };
        if let Some(name) = &wish.name {
            desk.keep_name(wish.method, name).await?;
        }
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
            add_proofs(&mut challenge.amr, &method.proofs());
        }
        self.finish(change, challenge, true, input, ctx).await
    }

    /// Refuses a challenge to set the first factor up once there is one: it is proven, not joined by another.
    /// Takes the user's row, so that of two who set the first one up one does.
    pub(in crate::auth) async fn refuse_enrolled(&self, change: &mut Change, user: &User) -> Result<(), Error> {
        let is_theirs = change.users().hold(user.id, user.auth_epoch, user.device_epoch).await?;
        if !is_theirs || !change.factors().of_user(user.id).await?.is_empty() {
            return Err(Error::ChallengeInvalid);
        }
        Ok(())
    }

    /// Refuses a method that may not be set up here.
    fn check_method(&self, method: Method) -> Result<(), Error> {
        if self.settings.mfa.allows(method) { Ok(()) } else { Err(Error::FactorNotOffered(method)) }
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

/// The sentence clients know.
pub(super) fn expect(what: &str, expected: StepKind, got: StepKind) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (expected.as_str(), got.as_str());
    Err(Error::InvalidInput(format!("Cannot get {what}: expected {expected} challenge, got {got}")))
}
