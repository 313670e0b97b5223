//! The door: everybody who proved a password comes here and leaves with a session or a challenge.

use crate::auth::{Auth, Challenged, Client, Grant, Outcome, TokenPair};
use crate::domain::challenge::{Challenge, Facts, Step, next_step};
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::domain::hex::hex;
use crate::domain::id::{ChallengeId, SessionId};
use crate::domain::session::{Delivery, Session};
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::Purpose;

/// Longest user agent kept with a session, in bytes.
const MAX_USER_AGENT: usize = 512;

/// What a client has shown on its way in.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    /// It set the password, or knew it.
    pub(super) password: bool,
    /// How it proved who it is (RFC 8176 values).
    pub(super) amr: Vec<String>,
}

impl Proof {
    /// A password.
    pub(super) fn password() -> Self {
        Self { password: true, amr: vec!["pwd".to_owned()] }
    }
}

impl Auth {
    /// Lets a user in as far as they have come: asks for the next step, or opens a session.
    /// Commits the change either way.
    pub(super) async fn admit(
        &self,
        mut change: Change,
        user: User,
        proof: Proof,
        client: Client,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        match next_step(&Facts { user: &user }, &self.policy()) {
            Some(step) => {
                let challenged = self.challenge(&mut change, &user, step, &proof, ctx).await?;
                self.parts.events.commit(change, ctx).await?;
                Ok(Outcome::Challenged(Box::new(challenged)))
            }
            None => self.open_session(change, user, proof, client, ctx).await,
        }
    }

    /// Puts a step to the user: the open challenge of this very client, or a new one.
    async fn challenge(
        &self,
        change: &mut Change,
        user: &User,
        step: Step,
        proof: &Proof,
        ctx: &RequestContext,
    ) -> Result<Challenged, Error> {
        let now = self.now();
        let binding = self.client_binding(ctx);
        let open = change.challenges().open_of(user.id, step.kind(), user.auth_epoch, &binding, now).await?;
        let (challenge, is_new) = match open {
            Some(challenge) => (challenge, false),
            None => (self.new_challenge(user, &step, proof, binding, now), true),
        };
        if is_new {
            change.challenges().insert(&challenge).await?;
            let (challenge, step) = (challenge.id, step.kind());
            change.record(Event::ChallengeCreated { user: user.id, challenge, step });
        }
        self.provide_code(change, user, &challenge).await?;
        Ok(Challenged { user: user.id, challenge, step })
    }

    /// Makes sure the challenge can be answered. Inside the resend delay the mail already on its
    /// way does: nobody gets a second one and nobody is refused for it.
    async fn provide_code(&self, change: &mut Change, user: &User, challenge: &Challenge) -> Result<(), Error> {
        let too_soon = self.next_mail_at(change, user).await?.is_some();
        if too_soon && self.has_live_code(change, user, challenge).await? {
            return Ok(());
        }
        self.count_mail(user.email.as_str()).await?;
        self.mail_code(change, user, challenge).await
    }

    async fn has_live_code(&self, change: &mut Change, user: &User, challenge: &Challenge) -> Result<bool, Error> {
        let now = self.now();
        let own = change.one_time_secrets().unused_for(challenge.id, Purpose::VerifyEmail).await?;
        if own.is_some_and(|code| code.expires_at > now && code.attempts < code.max_attempts) {
            return Ok(true);
        }
        let mut secrets = change.one_time_secrets();
        Ok(secrets.adopt(user.id, Purpose::VerifyEmail, user.auth_epoch, challenge.id, now).await?)
    }

    fn new_challenge(&self, user: &User, step: &Step, proof: &Proof, binding: String, now: Time) -> Challenge {
        Challenge {
            id: ChallengeId::random(),
            user: user.id,
            step: step.kind(),
            auth_epoch: user.auth_epoch,
            attempts: 0,
            max_attempts: i64::from(self.settings.challenge.max_attempts),
            password_proven: proof.password,
            amr: proof.amr.clone(),
            client_binding: binding,
            created_at: now,
            expires_at: now + self.settings.challenge.ttl,
            completed_at: None,
        }
    }

    /// Opens a session, if the account still is what it was when the password was read.
    async fn open_session(
        &self,
        mut change: Change,
        user: User,
        proof: Proof,
        client: Client,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let now = self.now();
        if !change.users().note_login(user.id, user.auth_epoch, now).await? {
            return Err(Error::InvalidCredentials);
        }
        // Whoever gets in has passed every verification that is asked for now.
        change.users().complete(user.id, now).await?;
        let session = self.new_session(&user, proof, client, ctx, now);
        change.sessions().insert(&session).await?;
        change.record(Event::LoginSucceeded { user: user.id, session: session.id });
        self.parts.events.commit(change, ctx).await?;
        let grant = self.grant(user, session, now)?;
        Ok(Outcome::Authenticated(Box::new(grant)))
    }

    fn new_session(&self, user: &User, proof: Proof, client: Client, ctx: &RequestContext, now: Time) -> Session {
        let expires_at = now + self.settings.session.max_lifetime;
        let mut family = [0; 32];
        aws_lc_rs::rand::fill(&mut family).expect("the system has randomness");
        Session {
            id: SessionId::random(),
            user: user.id,
            family: hex(&family),
            generation: 1,
            rotated_at: now,
            refresh_expires_at: self.refresh_expiry(client.delivery, expires_at, now),
            refresh_kid: self.refresh_tokens().active_kid().to_owned(),
            seen: None,
            auth_epoch: user.auth_epoch,
            latest_exp: self.minter.expiry(expires_at, now),
            amr: proof.amr,
            acr: "aal1".to_owned(),
            auth_time: now,
            dialect: client.dialect.to_owned(),
            delivery: client.delivery,
            auth_method: "password".to_owned(),
            ip: ctx.ip.to_string(),
            user_agent: truncated(ctx.user_agent.as_deref().unwrap_or(""), MAX_USER_AGENT).to_owned(),
            created_at: now,
            last_activity_at: now,
            expires_at,
            revoked_at: None,
        }
    }

    /// When a refresh token made now expires: never after its session.
    pub(super) fn refresh_expiry(&self, delivery: Delivery, session_expires_at: Time, now: Time) -> Time {
        let ttl = match delivery {
            Delivery::Cookies => self.settings.delivery.refresh_ttl_cookies,
            Delivery::Json => self.settings.delivery.refresh_ttl_json,
        };
        Time::from_secs((now + ttl).min(session_expires_at).secs())
    }

    /// The tokens of a session as it is now.
    pub(super) fn grant(&self, user: User, session: Session, now: Time) -> Result<Grant, Error> {
        let expires_at = self.minter.expiry(session.expires_at, now);
        let refresh = self
            .refresh_tokens()
            .of(&session)
            .ok_or(Error::SessionNotFound("the key of this session is not in use any more"))?;
        let global_epoch = self.parts.revocations.global_epoch();
        let (access, token) = self.minter.mint(&user, &session, global_epoch, now, expires_at);
        let tokens = TokenPair {
            access,
            access_expires_at: expires_at,
            refresh,
            refresh_expires_at: session.refresh_expires_at,
        };
        Ok(Grant { user, session, tokens, access: token })
    }
}

/// The longest beginning of a text that fits, cut between characters.
fn truncated(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
