//! Answering challenges.
//!
//! An answer first takes one of the attempts, by one conditional update, so answers sent side by
//! side cannot try more than allowed; a right one then uses the secret up the same way, so it
//! counts once.

use crate::auth::code::{Destination, Shown, Wrong};
use crate::auth::entry::Proof;
use crate::auth::guard::{Verdict, name_of};
use crate::auth::signup::{Counts, phone_taken};
use crate::auth::{Answer, Auth, Challenged, Operation, Outcome, Resent, Respond};
use crate::domain::assurance::Aal;
use crate::domain::challenge::{Challenge, Step, StepKind, phone_step};
use crate::domain::contact::{Email, Phone};
use crate::domain::context::RequestContext;
use crate::domain::error::{Denial, Error};
use crate::domain::event::{Actor, Event};
use crate::domain::factor::{AskedFactors, Factor, usable};
use crate::domain::id::ChallengeId;
use crate::domain::mfa::{mail_stands_in, set_up_step};
use crate::domain::secret::Secret;
use crate::domain::session::EndReason;
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::Purpose;

/// What a user can prove themselves with.
#[derive(Debug, Default)]
struct Held {
    factors: Vec<Factor>,
    has_backup_codes: bool,
}

impl Answer {
    fn step(&self) -> StepKind {
        match self {
            Self::EmailCode { .. } => StepKind::VerifyEmail,
            Self::Phone(_) | Self::PhoneCode(_) => StepKind::VerifyPhone,
            Self::NewPassword(_) => StepKind::ChangePassword,
            Self::SetUp(_) => StepKind::SetUpFactor,
            Self::Factor(_) => StepKind::ProveFactor,
        }
    }
}

impl Auth {
    /// Answers a challenge; the next one, or tokens, come back.
    ///
    /// # Errors
    /// [`Error::CodeInvalid`], [`Error::CodeExpired`] and [`Error::CodeExhausted`] leave the
    /// challenge open, and so does a password the policy refuses; every other error of the
    /// challenge is final for it.
    pub async fn respond(&self, input: Respond, ctx: &RequestContext) -> Result<Outcome, Error> {
        self.check_rate(Operation::Challenge, ctx).await?;
        let outcome = self.check_answer(&input, ctx).await?;
        if let Outcome::Authenticated(grant) = &outcome {
            self.forgive(&grant.user, ctx).await?;
        }
        Ok(outcome)
    }

    async fn check_answer(&self, input: &Respond, ctx: &RequestContext) -> Result<Outcome, Error> {
        match &input.answer {
            Answer::EmailCode { code, password } => self.respond_with_code(input, code, password.as_ref(), ctx).await,
            Answer::PhoneCode(code) => self.respond_with_code(input, code, None, ctx).await,
            Answer::Phone(phone) => self.respond_with_phone(input, phone, ctx).await,
            Answer::NewPassword(password) => self.respond_with_password(input, password, ctx).await,
            Answer::SetUp(answer) => self.respond_with_setup(input, answer, ctx).await,
            Answer::Factor(answer) => self.respond_with_factor(input, answer, ctx).await,
        }
    }

    /// Sends the code of a challenge again.
    ///
    /// # Errors
    /// [`Error::RateLimited`] inside the resend delay, which burns no quota, and beyond `send_limit`.
    pub async fn resend(&self, id: ChallengeId, ctx: &RequestContext) -> Result<Resent, Error> {
        self.check_rate(Operation::Challenge, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        let (challenge, user) = self.open_challenge(&mut change, id).await?;
        let held = match challenge.step {
            StepKind::ProveFactor => Held {
                factors: change.factors().of_user(user.id).await?,
                has_backup_codes: self.has_backup_codes(&mut change, user.id).await?,
            },
            _ => Held::default(),
        };
        let step = self.asked(&challenge, &user, &held)?;
        let Some((purpose, to, rules)) = self.code_of(&step, &challenge, &user) else {
            return Err(Error::InvalidInput("This challenge has no code that could be sent".to_owned()));
        };
        let kind = (if challenge.decoy { Purpose::Decoy } else { purpose }, Some(challenge.id));
        self.refuse_too_soon(&mut change, &user, kind, &to, rules).await?;
        if challenge.decoy {
            self.send_decoy(&mut change, &user, &challenge).await?;
        } else {
            self.send_counted(&mut change, &user, &challenge, purpose, to.clone(), rules).await?;
        }
        self.parts.events.commit(change, ctx).await?;
        let destination = if self.settings.security.mask_sensitive { to.masked() } else { to.as_str().to_owned() };
        Ok(Resent { destination })
    }

    /// What a challenge asks, if it can still be answered. Only looks: nobody waits for it.
    pub async fn challenge_step(&self, id: ChallengeId, ctx: &RequestContext) -> Result<Step, Error> {
        self.check_rate(Operation::Other, ctx).await?;
        let (challenge, user) = self.look_at(id).await?;
        let (store, takes_backup_codes) = (&self.parts.store, self.settings.mfa.backup.enabled);
        let held = match challenge.step {
            StepKind::ProveFactor => Held {
                factors: store.factors().of_user(user.id).await?,
                has_backup_codes: takes_backup_codes && store.backup_codes().left(user.id).await? > 0,
            },
            _ => Held::default(),
        };
        self.asked(&challenge, &user, &held)
    }

    /// What a challenge asks of its user as things stand.
    fn asked(&self, challenge: &Challenge, user: &User, held: &Held) -> Result<Step, Error> {
        let policy = &self.settings.mfa.policy;
        Ok(match challenge.step {
            StepKind::VerifyEmail => Step::VerifyEmail { email: user.email.clone() },
            StepKind::VerifyPhone => phone_step(user),
            StepKind::ChangePassword => Step::ChangePassword,
            StepKind::SetUpFactor => set_up_step(user, policy),
            StepKind::ProveFactor if mail_stands_in(&held.factors, policy) => {
                Step::ProveFactor(Box::new(AskedFactors::by_mail(user)))
            }
            StepKind::ProveFactor => {
                let factors = usable(&held.factors, &policy.methods);
                let asked = AskedFactors::of(user, &factors, held.has_backup_codes).ok_or(Error::ChallengeInvalid)?;
                Step::ProveFactor(Box::new(asked))
            }
        })
    }

    /// A challenge that can still be answered, and whose it is.
    pub(super) async fn open_challenge(
        &self,
        change: &mut Change,
        id: ChallengeId,
    ) -> Result<(Challenge, User), Error> {
        let challenge = change.challenges().by_id(id).await?.ok_or(Error::ChallengeInvalid)?;
        let user = change.users().by_id(challenge.user).await?.ok_or(Error::ChallengeInvalid)?;
        self.refuse_closed(&challenge, &user)?;
        Ok((challenge, user))
    }

    /// Who is asked by a challenge that takes this kind of answer now. Counting the attempt may take its time,
    /// so it is looked before anything is held, and once more when everything is.
    pub(super) async fn asked_by(&self, input: &Respond) -> Result<(Challenge, User), Error> {
        let (challenge, user) = self.look_at(input.challenge).await?;
        expect_answer(&challenge, input)?;
        Ok((challenge, user))
    }

    /// A challenge that can be answered now, and whose it is.
    async fn look_at(&self, id: ChallengeId) -> Result<(Challenge, User), Error> {
        let store = &self.parts.store;
        let challenge = store.challenges().by_id(id).await?.ok_or(Error::ChallengeInvalid)?;
        let user = store.users().by_id(challenge.user).await?.ok_or(Error::ChallengeInvalid)?;
        self.refuse_closed(&challenge, &user)?;
        Ok((challenge, user))
    }

    fn refuse_closed(&self, challenge: &Challenge, user: &User) -> Result<(), Error> {
        if challenge.completed_at.is_some() {
            return Err(Error::ChallengeCompleted);
        }
        if challenge.auth_epoch != user.auth_epoch {
            return Err(Error::ChallengeInvalid);
        }
        if challenge.expires_at <= self.now() {
            return Err(Error::ChallengeExpired);
        }
        if challenge.attempts >= challenge.max_attempts {
            return Err(Error::ChallengeExhausted);
        }
        Ok(())
    }

    /// The same, of the kind the answer is for.
    pub(super) async fn open_for(&self, change: &mut Change, input: &Respond) -> Result<(Challenge, User), Error> {
        let (challenge, user) = self.open_challenge(change, input.challenge).await?;
        expect_answer(&challenge, input)?;
        Ok((challenge, user))
    }

    /// Opens a challenge for an answer whose attempt is counted, and takes one of its own attempts.
    pub(super) async fn begin_answer(&self, input: &Respond) -> Result<Begun, Error> {
        let mut change = self.parts.events.begin().await?;
        let (challenge, user) = self.open_for(&mut change, input).await?;
        if challenge.step == StepKind::SetUpFactor {
            self.refuse_enrolled(&mut change, &user).await?;
        }
        if !change.challenges().claim_attempt(challenge.id, self.now()).await? {
            return Err(Error::ChallengeExhausted);
        }
        Ok(Begun { change, challenge, user })
    }

    async fn respond_with_code(
        &self,
        input: &Respond,
        code: &Secret<String>,
        password: Option<&Secret<String>>,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let (challenge, user) = self.asked_by(input).await?;
        if challenge.step == StepKind::VerifyPhone && user.phone.is_none() {
            let message = "Phone number not yet provided. Submit phone number first.";
            return Err(Error::InvalidInput(message.to_owned()));
        }
        let rules = match challenge.step {
            StepKind::VerifyPhone => &self.settings.signup.phone_verification,
            _ => &self.settings.signup.email_verification,
        };
        // Who tries an account that is only pretended tries nothing of its owner's.
        let whose = if challenge.decoy { format!("decoy/{}", challenge.id) } else { name_of(&user) };
        let attempt = self.begin_code_attempt(&whose, rules, ctx).await?;
        let checked = self.check_code(input, code, password, ctx);
        let Begun { change, mut challenge, .. } = attempt.around(Some(user.id), ctx, checked).await?;
        challenge.password_proven |= password.is_some();
        self.finish(change, challenge, false, input, ctx).await
    }

    /// Checks the code of an answer, and then the password that came beside it: whoever cannot show the code
    /// learns nothing of the password.
    async fn check_code(
        &self,
        input: &Respond,
        code: &Secret<String>,
        password: Option<&Secret<String>>,
        ctx: &RequestContext,
    ) -> Result<Verdict<Begun>, Error> {
        let mut begun = self.begin_answer(input).await?;
        let mut proven = self.prove_code(&mut begun, code).await?;
        if let (Ok(_), Some(password)) = (&proven, password) {
            // Comparing it takes its time: meanwhile nothing is held, nor used up.
            let Begun { change, user, .. } = begun;
            drop(change);
            self.confirm_password(&user, password.clone(), ctx).await?;
            begun = self.begin_answer(input).await?;
            proven = self.prove_code(&mut begun, code).await?;
        }
        let shown = match proven {
            Ok(shown) => shown,
            Err(wrong) => {
                let is_decoy = begun.challenge.decoy;
                let error = self.note_wrong_code(begun, wrong, ctx).await;
                return Ok(if is_decoy { Verdict::Missed(error) } else { wrong.verdict(error) });
            }
        };
        let is_elsewhere = shown == Shown::Link && begun.challenge.client_binding != self.client_binding(ctx);
        // Whoever opens a link elsewhere may not be who set the password of an account nobody has proven yet.
        if is_elsewhere && password.is_none() && begun.user.completed_at.is_none() {
            return Err(Error::Forbidden(Denial::PasswordNeeded));
        }
        Ok(Verdict::Right(begun))
    }

    /// Commits what a wrong code costs; answers the error for it. It counts even where it cannot be noted.
    async fn note_wrong_code(&self, begun: Begun, wrong: Wrong, ctx: &RequestContext) -> Error {
        let Begun { mut change, challenge: Challenge { id: challenge, step, .. }, user } = begun;
        change.record(Event::ChallengeFailed { user: user.id, challenge, step });
        change.record(Event::VerificationFailed { user: user.id, of_phone: step == StepKind::VerifyPhone });
        self.parts.events.commit(change, ctx).await.err().unwrap_or_else(|| wrong.of_verification())
    }

    async fn prove_code(&self, begun: &mut Begun, code: &Secret<String>) -> Result<Result<Shown, Wrong>, Error> {
        let Begun { change, challenge, user } = begun;
        let purpose = match challenge.step {
            _ if challenge.decoy => Purpose::Decoy,
            StepKind::VerifyEmail => Purpose::VerifyEmail,
            StepKind::VerifyPhone => Purpose::VerifyPhone,
            _ => return Err(Error::ChallengeInvalid),
        };
        let sent = change.one_time_secrets().unused_for(challenge.id, purpose).await?;
        let used = self.use_code(change, sent.as_ref(), user, code).await?;
        let (shown, sent) = match (used, sent) {
            (Ok(shown), Some(sent)) if purpose != Purpose::Decoy => (shown, sent),
            (Ok(_), _) => return Ok(Err(Wrong::Absent)),
            (Err(wrong), _) => return Ok(Err(wrong)),
        };
        let marked = self.mark_proven(change, user, &sent.destination, purpose).await?;
        Ok(if marked { Ok(shown) } else { Err(Wrong::Invalid) })
    }

    /// Notes that an address is proven, if it still is the user's.
    pub(super) async fn mark_proven(
        &self,
        change: &mut Change,
        user: &User,
        destination: &str,
        purpose: Purpose,
    ) -> Result<bool, Error> {
        let now = self.now();
        let (version, event) = if purpose == Purpose::VerifyPhone {
            let Ok(phone) = destination.parse::<Phone>() else { return Ok(false) };
            let claims = self.claim_phone(change, user, &phone).await?;
            let verified = change.users().verify_phone(user.id, &phone, user.auth_epoch, claims, now).await;
            let version = verified.map_err(phone_taken)?;
            (version, Event::PhoneVerified { user: user.id, phone })
        } else {
            let Ok(email) = destination.parse::<Email>() else { return Ok(false) };
            let version = change.users().verify_email(user.id, &email, user.auth_epoch, now).await?;
            (version, Event::EmailVerified { user: user.id, email })
        };
        let Some(version) = version else { return Ok(false) };
        change.record(event);
        // Tokens that say "not verified" may be about, from a time when nothing had to be proven.
        self.outdate_claims(change, user, version).await?;
        Ok(true)
    }

    /// Takes the number of a user who had none, or another one, and sends a code there.
    async fn respond_with_phone(&self, input: &Respond, phone: &Phone, ctx: &RequestContext) -> Result<Outcome, Error> {
        self.check_phone(phone)?;
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        let (challenge, user) = self.open_for(&mut change, input).await?;
        if user.phone.as_ref() != Some(phone) {
            self.make_room_for_phone(&mut change, phone, Counts::Proven).await?;
            change.users().set_phone(user.id, phone, false, false, self.now()).await?;
            change.record(Event::PhoneChanged { user: user.id });
        }
        let user = change.users().by_id(user.id).await?.ok_or(Error::ChallengeInvalid)?;
        let step = Step::VerifyPhone { phone: phone.clone() };
        // The number is kept even where no message can go out now; the client learns why.
        let sms_error = match self.provide_code(&mut change, &user, &challenge, &step).await {
            Ok(()) => None,
            Err(error @ Error::RateLimited { .. }) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        self.parts.events.commit(change, ctx).await?;
        Ok(Outcome::Challenged(Box::new(Challenged { user: user.id, challenge, step, sms_error })))
    }

    async fn respond_with_password(
        &self,
        input: &Respond,
        password: &Secret<String>,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let (_, user) = {
            let mut look = self.parts.events.begin().await?;
            self.open_for(&mut look, input).await?
        };
        // Hashing takes its time, so it comes before anything is held.
        let hash = self.new_password(&user, password, ctx).await?;
        let mut change = self.parts.events.begin().await?;
        let (mut challenge, user) = self.open_for(&mut change, input).await?;
        self.replace_password(&mut change, &user, &hash, Actor::Owner, EndReason::PasswordChanged).await?;
        challenge.password_proven = true;
        // The account goes on under the epoch this change has made.
        challenge.auth_epoch = change.users().by_id(user.id).await?.ok_or(Error::ChallengeInvalid)?.auth_epoch;
        self.finish(change, challenge, false, input, ctx).await
    }

    /// Closes an answered challenge and goes on to what is left.
    pub(super) async fn finish(
        &self,
        mut change: Change,
        challenge: Challenge,
        second_factor: bool,
        input: &Respond,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        if !change.challenges().complete(challenge.id, self.now()).await? {
            return Err(Error::ChallengeCompleted);
        }
        let (id, step) = (challenge.id, challenge.step);
        change.record(Event::ChallengeCompleted { user: challenge.user, challenge: id, step });
        let user = change.users().by_id(challenge.user).await?.ok_or(Error::ChallengeInvalid)?;
        if user.auth_epoch != challenge.auth_epoch {
            return Err(Error::ChallengeInvalid);
        }
        self.refuse_locked(&user)?;
        let Challenge { password_proven: password, amr, entry, renews, .. } = challenge;
        // A passkey that was enough to come here is enough for the rest of the way.
        let second_factor = second_factor || Aal::of_amr(&amr) == Aal::Two;
        let proof = Proof { password, amr, second_factor, entry, renews };
        self.admit(change, user, proof, input.client.clone(), ctx).await
    }
}

/// An answer on its way: its change, what it answers, and whose that is.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) change: Change,
    pub(super) challenge: Challenge,
    pub(super) user: User,
}

fn expect_answer(challenge: &Challenge, input: &Respond) -> Result<(), Error> {
    let got = input.answer.step();
    if got == challenge.step { Ok(()) } else { Err(mismatch(challenge.step, got)) }
}

/// The sentence clients know.
fn mismatch(expected: StepKind, got: StepKind) -> Error {
    Error::InvalidInput(format!("Challenge type mismatch: expected {}, got {}", expected.as_str(), got.as_str()))
}

/// Where a step sends its code.
pub(super) fn destination_of(step: &Step) -> Option<(Purpose, Destination)> {
    match step {
        Step::VerifyEmail { email } => Some((Purpose::VerifyEmail, Destination::Email(email.clone()))),
        Step::VerifyPhone { phone } => Some((Purpose::VerifyPhone, Destination::Phone(phone.clone()))),
        Step::CollectPhone | Step::ChangePassword | Step::SetUpFactor { .. } | Step::ProveFactor(_) => None,
    }
}
