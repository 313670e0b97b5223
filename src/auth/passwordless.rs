//! Login by a passkey alone: no identifier, no password.
//!
//! The authenticator says whose passkey it is and has made sure who holds it: two factors in one. Who is
//! unknown, whose passkey is gone and whose signature is wrong get the same answer; that an account is
//! disabled is told only to who holds a passkey of it. From there the way is that of every login.

use std::time::Instant;

use crate::auth::entry::Proof;
use crate::auth::guard::Verdict;
use crate::auth::mfa::{Asked, Shown};
use crate::auth::{Auth, Client, Operation, Outcome};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{LoginFailure, LoginWith};
use crate::domain::id::{ChallengeId, SessionId};
use crate::domain::mfa::Entry;
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;
use crate::metrics::{AuthError, AuthEvent, AuthMethod, AuthResult};
use crate::store::factors::Held;

/// The ceremony of a login.
const LOGIN: &str = "passkey_login";

/// What a client needs to ask for a passkey.
#[derive(Debug, Clone)]
pub struct PasskeyQuestion {
    /// For `navigator.credentials.get`.
    pub options: serde_json::Value,
    /// Comes back with the answer.
    pub session: ChallengeId,
}

/// A login by a passkey.
#[derive(Debug, Clone)]
pub struct PasskeyLogin {
    /// From the question.
    pub session: ChallengeId,
    /// What the authenticator answered, as JSON.
    pub credential: Secret<String>,
    /// The session the client came with; a login of its user renews it.
    pub renews: Option<SessionId>,
    /// How the tokens will go to the client.
    pub client: Client,
}

impl Auth {
    /// Asks for a passkey, whosever it is. The answer may take as long as one to a challenge.
    ///
    /// # Errors
    /// [`Error::NotFound`] unless `mfa.passkey.passwordless`.
    pub async fn ask_for_passkey(&self, ctx: &RequestContext) -> Result<PasskeyQuestion, Error> {
        self.require_passwordless()?;
        self.check_rate(Operation::Challenge, ctx).await?;
        let session = ChallengeId::random();
        let asked = Asked::anybody(self.relying_party()?, self.now() + self.settings.challenge.ttl)?;
        let mut change = self.parts.events.begin().await?;
        let options = self.begin_ceremony(&mut change, (LOGIN, bound_to(session)), None, asked).await?;
        self.parts.events.commit(change, ctx).await?;
        Ok(PasskeyQuestion { options, session })
    }

    /// Logs a user in.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] whatever is wrong with the passkey, [`Error::NoCeremony`] when it was not
    /// asked for or too long ago, [`Error::AccountLocked`] after a right one, [`Error::RateLimited`].
    pub async fn login_with_passkey(&self, input: PasskeyLogin, ctx: &RequestContext) -> Result<Outcome, Error> {
        self.require_passwordless()?;
        let (begun, metrics) = (Instant::now(), &self.parts.metrics);
        let outcome = match self.check_rate(Operation::Login, ctx).await {
            Ok(()) => self.log_in_with_passkey(input, ctx).await,
            Err(error) => {
                metrics.refused(AuthEvent::Login, &error);
                Err(error)
            }
        };
        metrics.login_took(AuthMethod::Passkey, begun.elapsed());
        // Everything else is an event, and counted as one.
        match &outcome {
            Ok(Outcome::Challenged(_)) => {
                metrics.auth_event(AuthEvent::Login, AuthMethod::Passkey, AuthResult::Challenge, AuthError::None);
            }
            Err(error @ (Error::NoCeremony | Error::Unavailable(_) | Error::Internal(_))) => {
                metrics.refused(AuthEvent::Login, error);
            }
            Ok(Outcome::Authenticated(_)) | Err(_) => {}
        }
        outcome
    }

    async fn log_in_with_passkey(&self, input: PasskeyLogin, ctx: &RequestContext) -> Result<Outcome, Error> {
        let shown = Shown::read(&input.credential);
        let place = bound_to(input.session);
        if !self.parts.store.ceremonies().is_open(LOGIN, &place, self.now()).await? {
            return Err(Error::NoCeremony);
        }
        let name = shown.credential_hash();
        let held = self.parts.store.factors().by_credential(&name).await?;
        let user = match &held {
            Some(held) => self.parts.store.users().by_id(held.user).await?,
            None => None,
        };
        let (attempt, _) = self.reserve_login(&format!("passkey/{name}"), user.as_ref(), ctx).await?;
        let whose = user.as_ref().map(|user| user.id);
        let entered = attempt.around(whose, ctx, async {
            let mut change = self.parts.events.begin().await?;
            let proven = self.check_passkey(&mut change, &place, &shown, held.as_ref()).await?;
            let (Ok(()), Some(user)) = (proven, user) else {
                // The question is used up, whatever comes of it.
                self.parts.events.commit(change, ctx).await?;
                let reason = if whose.is_some() { LoginFailure::WrongPasskey } else { LoginFailure::UnknownUser };
                return Ok(Verdict::Wrong(self.refuse(whose, reason, LoginWith::Passkey, ctx).await));
            };
            self.enter_with_passkey(change, user, input, ctx).await.map(Verdict::of_login)
        });
        entered.await
    }

    /// Holds an answer against the passkey it names. The authenticator has to say whose it is.
    async fn check_passkey(
        &self,
        change: &mut Change,
        place: &str,
        shown: &Shown,
        held: Option<&Held>,
    ) -> Result<Result<(), Error>, Error> {
        let state = match self.end_ceremony(change, LOGIN, place, shown.client_data()).await {
            Ok(Ok(state)) => state,
            // Something was asked here, and never anything else: each question of a login has a place of its own.
            Ok(Err(_)) | Err(Error::NoCeremony) => return Ok(Err(Error::CodeInvalid)),
            Err(error) => return Err(error),
        };
        // Looked up anew: it may have been taken away since.
        let present = change.factors().by_credential(&shown.credential_hash()).await?;
        let held = present.filter(|present| {
            held.is_some_and(|held| held.user == present.user) && shown.user() == Some(present.user.uuid().as_bytes())
        });
        let Some(held) = held else { return Ok(Err(Error::CodeInvalid)) };
        let asserted = self.check_assertion(change, shown, &state, &held).await?;
        if asserted.is_ok() {
            change.factors().used(held.factor, self.now()).await?;
        }
        Ok(asserted)
    }

    /// Lets in whoever has shown a passkey.
    async fn enter_with_passkey(
        &self,
        mut change: Change,
        user: User,
        input: PasskeyLogin,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let user = self.unlock_in_time(&mut change, user).await?;
        if let Err(locked) = self.refuse_locked(&user) {
            self.parts.events.commit(change, ctx).await?;
            self.refuse(Some(user.id), LoginFailure::AccountLocked, LoginWith::Passkey, ctx).await;
            return Err(locked);
        }
        let proof = Proof {
            password: false,
            amr: ["pop", "user"].map(str::to_owned).into(),
            second_factor: true,
            entry: Entry::Login,
            renews: input.renews,
        };
        self.admit(change, user, proof, input.client, ctx).await
    }

    fn require_passwordless(&self) -> Result<(), Error> {
        if self.settings.mfa.is_passwordless() { Ok(()) } else { Err(Error::NotFound) }
    }
}

/// What the question belongs to.
fn bound_to(session: ChallengeId) -> String {
    format!("passkey/{session}")
}
