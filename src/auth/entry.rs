//! The door: everybody who proved a password comes here and leaves with a session or a challenge.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::auth::challenge::destination_of;
use crate::auth::code::{Destination, NewCode};
use crate::auth::{Auth, Challenged, Client, Grant, Outcome, TokenPair};
use crate::config::settings::{OnSessionLimit, Verification};
use crate::domain::assurance::Aal;
use crate::domain::challenge::{Challenge, Facts, Policy, Step, next_step};
use crate::domain::client_hints;
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::{Denial, Error};
use crate::domain::event::{Event, LoginWith, RiskEvent};
use crate::domain::factor::Factor;
use crate::domain::hex::hex;
use crate::domain::id::{ChallengeId, SessionId};
use crate::domain::location::Location;
use crate::domain::mfa::{Entry, Standing, grace, is_refused_without_factor, roles_in_force};
use crate::domain::risk::{Action, Assessment};
use crate::domain::session::{Delivery, EndReason, Session};
use crate::domain::user::User;
use crate::events::Change;
use crate::store::one_time_secrets::Purpose;
use crate::store::revocations::Revocation;

/// Longest user agent kept with a session, in bytes.
pub(super) const MAX_USER_AGENT: usize = 512;

/// What a client has shown on its way in.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    /// It set the password, or knew it.
    pub(super) password: bool,
    /// How it proved who it is (RFC 8176 values).
    pub(super) amr: Vec<String>,
    /// Whether a second factor was proven on this way in, or set up.
    pub(super) second_factor: bool,
    /// On which way it comes in.
    pub(super) entry: Entry,
    /// The session it came with, which is renewed instead of another one being opened.
    pub(super) renews: Option<SessionId>,
}

impl Proof {
    /// A password.
    pub(super) fn password() -> Self {
        let amr = vec!["pwd".to_owned()];
        Self { password: true, amr, second_factor: false, entry: Entry::Login, renews: None }
    }
}

/// What is known of a user's second factors.
#[derive(Debug, Default)]
pub(super) struct Known {
    factors: Vec<Factor>,
    has_backup_codes: bool,
    /// The trusted device the client shows the token of, where that matters.
    pub(super) device: Option<i64>,
}

impl Known {
    fn standing(&self, proof: &Proof, risk: Option<&Assessment>, now: Time) -> Standing<'_> {
        Standing {
            factors: &self.factors,
            has_backup_codes: self.has_backup_codes,
            is_proven: proof.second_factor,
            trusted_device: self.device.is_some(),
            risk: risk.map(|risk| risk.action),
            renews: proof.renews.is_some(),
            entry: proof.entry,
            now,
        }
    }
}

/// Notes what came of how unusual a login is.
fn note_outcome(change: &mut Change, user: &User, step: Option<&Step>, risk: Option<&Assessment>) {
    let Some(risk) = risk.filter(|risk| risk.action == Action::RequireMfa) else { return };
    let happened = match step {
        Some(Step::ProveFactor(_)) => RiskEvent::Triggered,
        Some(_) => return,
        None if user.mfa_exempt.is_some() => RiskEvent::Bypassed { because: "exempt" },
        None => RiskEvent::Bypassed { because: "unenrolled" },
    };
    change.record(Event::Risk { user: user.id, happened, risk: risk.clone() });
}

/// Whether a step can be done without the code that is sent for it.
fn has_other_ways(step: &Step) -> bool {
    matches!(step, Step::ProveFactor(asked) if asked.methods.len() > 1)
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
        let user = self.complete_if_proven(&mut change, user, proof.password).await?;
        let (policy, now) = (self.policy(), self.now());
        let known = self.known_factors(&mut change, &user, ctx).await?;
        // A second factor comes last, and with it the question whether the login is usual.
        let first = Facts { user: &user, standing: known.standing(&proof, None, now) };
        let is_last = next_step(&first, &Policy { mfa: None, ..policy }).is_none();
        let (mut change, risk) =
            if is_last { self.weigh(change, &user, &known, &proof, ctx).await? } else { (change, None) };
        let facts = Facts { user: &user, standing: known.standing(&proof, risk.as_ref(), now) };
        if policy.mfa.is_some_and(|policy| is_last && is_refused_without_factor(&user, &facts.standing, policy)) {
            return Err(self.refuse_risk(change, &user, None, ctx).await?);
        }
        let step = next_step(&facts, &policy);
        note_outcome(&mut change, &user, step.as_ref(), risk.as_ref());
        if let Some(step) = step {
            return self.ask(change, &user, step, &proof, ctx).await;
        }
        let grace = policy.mfa.and_then(|policy| grace(&user, &facts.standing, policy));
        let (change, user, claims) = self.ask_before_tokens(change, user, &proof, ctx).await?;
        // The operator's program may have granted a role that asks for more.
        let facts = Facts { user: &user, standing: known.standing(&proof, risk.as_ref(), now) };
        if let Some(step) = next_step(&facts, &policy) {
            return self.ask(change, &user, step, &proof, ctx).await;
        }
        let mut grant = self.open_session(change, user, proof, claims, client, ctx).await?;
        (grant.grace, grant.risk) = (grace, risk);
        Ok(Outcome::Authenticated(Box::new(grant)))
    }

    /// Puts a step to the user instead of letting them in. Commits.
    async fn ask(
        &self,
        mut change: Change,
        user: &User,
        step: Step,
        proof: &Proof,
        ctx: &RequestContext,
    ) -> Result<Outcome, Error> {
        let challenged = self.challenge(&mut change, user, step, proof, ctx).await?;
        self.parts.events.commit(change, ctx).await?;
        Ok(Outcome::Challenged(Box::new(challenged)))
    }

    /// What is known of a user's second factors, and whether the client is one they trust.
    async fn known_factors(&self, change: &mut Change, user: &User, ctx: &RequestContext) -> Result<Known, Error> {
        let mfa = &self.settings.mfa;
        if !mfa.enabled {
            return Ok(Known::default());
        }
        let factors = change.factors().of_user(user.id).await?;
        if factors.is_empty() && !self.is_adaptive() {
            return Ok(Known::default());
        }
        let has_backup_codes = self.has_backup_codes(change, user.id).await?;
        let is_device_asked = mfa.policy.trust_spares || self.is_adaptive();
        let device = if is_device_asked { self.known_device(change, user, ctx).await? } else { None };
        Ok(Known { factors, has_backup_codes, device: device.map(|device| device.id) })
    }

    /// Completes an account whose addresses are proven as demanded.
    ///
    /// Until then anybody may have set its password and the rest. That is kept only for the client
    /// that knows the password; else it goes before the account becomes its owner's.
    pub(super) async fn complete_if_proven(
        &self,
        change: &mut Change,
        user: User,
        password_shown: bool,
    ) -> Result<User, Error> {
        let policy = self.policy();
        let is_proven = (user.email_verified || !policy.verify_email) && (user.phone_verified || !policy.verify_phone);
        if user.completed_at.is_some() || !is_proven {
            return Ok(user);
        }
        if !password_shown {
            change.users().strip_unfinished(user.id, self.now()).await?;
            change.trusted_devices().delete_all(user.id).await?;
            change.factors().delete_all(user.id).await?;
            change.backup_codes().delete_all(user.id).await?;
        }
        let completed = change.users().complete(user.id, self.now()).await?;
        let user = still_as_proven(change, &user).await?;
        if completed {
            change.record(Event::AccountCompleted { user: user.id });
            self.welcome(change, &user);
        }
        Ok(user)
    }

    /// Puts a step to the user: the open challenge of this very client, or a new one.
    pub(super) async fn challenge(
        &self,
        change: &mut Change,
        user: &User,
        step: Step,
        proof: &Proof,
        ctx: &RequestContext,
    ) -> Result<Challenged, Error> {
        let now = self.now();
        let binding = self.client_binding(ctx);
        let open = change.challenges().open_of(user.id, step.kind(), user.auth_epoch, &binding, false, now).await?;
        // What another way in has proven is not lent to this one.
        let open = open.filter(|open| open.renews == proof.renews && open.amr == proof.amr);
        let (challenge, is_new) = match open {
            Some(challenge) => (challenge, false),
            None => (self.new_challenge(user, &step, proof, binding, now), true),
        };
        if is_new {
            change.challenges().insert(&challenge).await?;
            let (challenge, step) = (challenge.id, step.kind());
            change.record(Event::ChallengeCreated { user: user.id, challenge, step });
        }
        change.record(Event::LoginChallenged { user: user.id, step: step.kind() });
        match self.provide_code(change, user, &challenge, &step).await {
            // Who has other ways to prove themselves is not kept from them.
            Err(Error::RateLimited { .. }) if has_other_ways(&step) => {}
            other => other?,
        }
        Ok(Challenged { user: user.id, challenge, step, sms_error: None })
    }

    /// Makes sure the challenge can be answered. Inside the resend delay the message already on its
    /// way does: nobody gets a second one and nobody is refused for it.
    pub(super) async fn provide_code(
        &self,
        change: &mut Change,
        user: &User,
        challenge: &Challenge,
        step: &Step,
    ) -> Result<(), Error> {
        let Some((purpose, to, rules)) = self.code_of(step, challenge, user) else { return Ok(()) };
        let too_soon = self.next_send_at(change, user, (purpose, Some(challenge.id)), &to, rules).await?.is_some();
        if too_soon && self.has_live_code(change, user, challenge, purpose, &to).await? {
            return Ok(());
        }
        self.send_counted(change, user, challenge, purpose, to, rules).await
    }

    /// What kind of code a step asks for, where it goes, and by which rules.
    pub(super) fn code_of(
        &self,
        step: &Step,
        challenge: &Challenge,
        user: &User,
    ) -> Option<(Purpose, Destination, &Verification)> {
        if let Step::ProveFactor(_) = step {
            let (purpose, to) = Self::factor_code(challenge.method?, user)?;
            let rules = self.factor_code_rules(&to);
            return Some((purpose, to, rules));
        }
        let (purpose, to) = destination_of(step)?;
        let rules = match to {
            Destination::Email(_) => &self.settings.signup.email_verification,
            Destination::Phone(_) => &self.settings.signup.phone_verification,
        };
        Some((purpose, to, rules))
    }

    pub(super) async fn send_counted(
        &self,
        change: &mut Change,
        user: &User,
        challenge: &Challenge,
        purpose: Purpose,
        to: Destination,
        rules: &Verification,
    ) -> Result<(), Error> {
        self.count_code(user, purpose, &to, rules).await?;
        let new = NewCode { purpose, challenge: Some(challenge.id), session: None, to, rules: rules.into() };
        self.send_code(change, user, new).await
    }

    async fn has_live_code(
        &self,
        change: &mut Change,
        user: &User,
        challenge: &Challenge,
        purpose: Purpose,
        to: &Destination,
    ) -> Result<bool, Error> {
        let now = self.now();
        let own = change.one_time_secrets().unused_for(challenge.id, purpose).await?;
        let is_live = |code: &crate::store::one_time_secrets::OneTimeSecret| {
            code.destination == to.as_str() && code.expires_at > now && code.attempts < code.max_attempts
        };
        if own.is_some_and(|code| is_live(&code)) {
            return Ok(true);
        }
        if purpose.is_of_challenge() {
            return Ok(false);
        }
        let mut secrets = change.one_time_secrets();
        Ok(secrets.adopt(user.id, purpose, user.auth_epoch, to.as_str(), challenge.id, now).await?)
    }

    pub(super) fn new_challenge(
        &self,
        user: &User,
        step: &Step,
        proof: &Proof,
        binding: String,
        now: Time,
    ) -> Challenge {
        Challenge {
            id: ChallengeId::random(),
            user: user.id,
            step: step.kind(),
            auth_epoch: user.auth_epoch,
            attempts: 0,
            max_attempts: i64::from(self.settings.challenge.max_attempts),
            password_proven: proof.password,
            amr: proof.amr.clone(),
            entry: proof.entry,
            renews: proof.renews,
            method: match step {
                Step::ProveFactor(asked) => asked.sent_at_once(),
                _ => None,
            },
            client_binding: binding,
            decoy: false,
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
        claims: Option<serde_json::Map<String, serde_json::Value>>,
        client: Client,
        ctx: &RequestContext,
    ) -> Result<Grant, Error> {
        let now = self.now();
        if !change.users().note_login(user.id, user.auth_epoch, now).await? {
            return Err(Error::InvalidCredentials);
        }
        if let Some(session) = self.renewed(&mut change, &user, &proof, now).await? {
            ctx.comes_from(&session.device);
            self.parts.events.commit(change, ctx).await?;
            return self.grant(user, session, now);
        }
        let device = self.recognise_device(&mut change, &user, &client, ctx).await?;
        let mut session = self.new_session(&user, proof, &client, ctx, now);
        session.device = device.device.clone();
        session.trusted_device = device.trusted;
        session.claims = claims.map(|claims| serde_json::Value::Object(claims).to_string());
        if device.trusted.is_none() && self.is_new_device(&mut change, &user, &session).await? {
            self.tell_new_device(&mut change, &user, &session, ctx);
        }
        self.make_room_for_session(&mut change, &user, &session).await?;
        change.sessions().insert(&session).await?;
        let with = LoginWith::of(&session.amr);
        change.record(Event::SessionCreated { user: user.id, session: session.id });
        change.record(Event::LoginSucceeded { user: user.id, session: session.id, with });
        self.parts.events.commit(change, ctx).await?;
        let mut grant = self.grant(user, session, now)?;
        grant.device_token = device.token;
        Ok(grant)
    }

    /// Whether the user has been here before, and never with this client.
    async fn is_new_device(&self, change: &mut Change, user: &User, session: &Session) -> Result<bool, Error> {
        if !self.settings.notifications.new_device {
            return Ok(false);
        }
        Ok(change.sessions().is_new_agent(user.id, &session.user_agent).await?)
    }

    /// The session the client came with, its user just proven anew; `None` when it came without
    /// one, or with one that has ended or is somebody else's.
    async fn renewed(
        &self,
        change: &mut Change,
        user: &User,
        proof: &Proof,
        now: Time,
    ) -> Result<Option<Session>, Error> {
        let Some(id) = proof.renews else { return Ok(None) };
        let Some(session) = change.sessions().by_id(id).await? else { return Ok(None) };
        let is_theirs = session.user == user.id && session.auth_epoch == user.auth_epoch;
        if !is_theirs || self.has_ended(&session, now) {
            return Ok(None);
        }
        let access_exp = self.access_expiry(&session, now);
        // A session is raised by a login, never lowered.
        let mut amr = session.amr.clone();
        amr.extend(proof.amr.iter().filter(|proof| !session.amr.contains(proof)).cloned());
        let acr = Aal::of_amr(&amr).as_str().to_owned();
        if !change.sessions().renew_auth(id, &amr, &acr, now, access_exp).await? {
            return Ok(None);
        }
        change.record(Event::Reauthenticated { user: user.id, session: id });
        Ok(Some(Session { auth_time: now, amr, acr, last_activity_at: now, ..session }))
    }

    /// Ends the sessions that stand in the way of a new one.
    ///
    /// Two logins at once wait for each other: both have written the user's row by now.
    async fn make_room_for_session(&self, change: &mut Change, user: &User, new: &Session) -> Result<(), Error> {
        let rules = &self.settings.session;
        let by_device = rules.one_per_device && new.trusted_device.is_some();
        if !rules.single && !by_device && rules.max_concurrent == 0 {
            return Ok(());
        }
        let mut live = change.sessions().live_of(user.id, user.auth_epoch, new.created_at).await?;
        live.retain(|session| !self.has_ended(session, new.created_at));
        let mut ended = Vec::new();
        if rules.single {
            ended.extend(live.drain(..).map(|session| (session, EndReason::SingleSession)));
        }
        if by_device {
            let same = live.extract_if(.., |session| session.trusted_device == new.trusted_device);
            ended.extend(same.map(|session| (session, EndReason::SameDevice)));
        }
        let max = rules.max_concurrent as usize;
        if max > 0 && live.len() >= max {
            if rules.on_limit == OnSessionLimit::Deny {
                return Err(Error::Forbidden(Denial::SessionLimit));
            }
            // Latest first: what stands behind has been idle longest.
            ended.extend(live.drain(max - 1..).map(|session| (session, EndReason::MaxConcurrent)));
        }
        for (session, reason) in ended {
            self.end_session(change, &session, reason).await?;
        }
        Ok(())
    }

    /// Ends one session within a change; answers whether it lived.
    pub(super) async fn end_session(
        &self,
        change: &mut Change,
        session: &Session,
        reason: EndReason,
    ) -> Result<bool, Error> {
        if !change.sessions().revoke(session.id, reason, self.now()).await? {
            return Ok(false);
        }
        change.revoke(Revocation::Session(session.id), session.latest_exp);
        change.record(Event::SessionEnded { user: session.user, session: session.id, reason });
        Ok(true)
    }

    fn new_session(&self, user: &User, proof: Proof, client: &Client, ctx: &RequestContext, now: Time) -> Session {
        let expires_at = now + self.settings.session.max_lifetime;
        let mut family = [0; 32];
        aws_lc_rs::rand::fill(&mut family).expect("the system has randomness");
        let user_agent = truncated_agent(ctx);
        let mut session = Session {
            id: SessionId::random(),
            user: user.id,
            family: hex(&family),
            generation: 1,
            rotated_at: now,
            refresh_expires_at: self.refresh_expiry(client.delivery, expires_at, now),
            refresh_kid: self.refresh_tokens().active_kid().to_owned(),
            seen: None,
            auth_epoch: user.auth_epoch,
            latest_exp: now,
            acr: Aal::of_amr(&proof.amr).as_str().to_owned(),
            auth_method: LoginWith::of(&proof.amr).as_str().to_owned(),
            amr: proof.amr,
            auth_time: now,
            dialect: client.dialect.to_owned(),
            delivery: client.delivery,
            ip: ctx.ip.to_string(),
            location: self.location_of(ctx),
            user_agent: user_agent.to_owned(),
            device: client_hints::device(user_agent),
            trusted_device: None,
            claims: None,
            created_at: now,
            last_activity_at: now,
            expires_at,
            revoked_at: None,
        };
        session.latest_exp = self.access_expiry(&session, now);
        session
    }

    /// Where the client is. A database that cannot tell keeps nobody out.
    fn location_of(&self, ctx: &RequestContext) -> Location {
        self.locate(ctx.ip)
    }

    /// Where an address is, as far as it is known.
    pub(super) fn locate(&self, ip: IpAddr) -> Location {
        self.settings.geoip.databases.locate_if_possible(ip)
    }

    /// When an access token made now for a session expires. Where sessions end by idleness, no
    /// token outlives that: it comes back to be refreshed, and so to be looked at.
    pub(super) fn access_expiry(&self, session: &Session, now: Time) -> Time {
        let idle = self.settings.session.idle_timeout;
        let latest = if idle.is_zero() { session.expires_at } else { session.expires_at.min(now + idle) };
        self.minter.expiry(latest, now)
    }

    /// Whether a session has ended by its age or by idleness. (By purpose is told by its row.)
    pub(super) fn has_ended(&self, session: &Session, now: Time) -> bool {
        let idle = self.settings.session.idle_timeout;
        let is_idle = !idle.is_zero() && session.last_activity_at + idle <= now;
        session.revoked_at.is_some() || session.expires_at <= now || is_idle
    }

    /// When a refresh token made now expires: never after its session.
    pub(super) fn refresh_expiry(&self, delivery: Delivery, session_expires_at: Time, now: Time) -> Time {
        let ttl = match delivery {
            Delivery::Cookies => self.settings.delivery.refresh_ttl_cookies,
            Delivery::Json => self.settings.delivery.refresh_ttl_json,
        };
        Time::from_secs((now + ttl).min(session_expires_at).secs())
    }

    /// A user as a session may speak of them: without the roles that demand more than it has proven.
    fn as_far_as_proven<'a>(&self, user: &'a User, session: &Session) -> Cow<'a, User> {
        let mfa = &self.settings.mfa;
        if !mfa.enabled {
            return Cow::Borrowed(user);
        }
        match roles_in_force(user, Aal::of_amr(&session.amr), &mfa.policy) {
            Cow::Borrowed(_) => Cow::Borrowed(user),
            Cow::Owned(roles) => Cow::Owned(User { roles, ..user.clone() }),
        }
    }

    /// The tokens of a session as it is now.
    pub(super) fn grant(&self, user: User, session: Session, now: Time) -> Result<Grant, Error> {
        let expires_at = self.access_expiry(&session, now);
        let refresh = self
            .refresh_tokens()
            .of(&session)
            .ok_or(Error::SessionNotFound("the key of this session is not in use any more"))?;
        let global_epoch = self.parts.revocations.global_epoch();
        let told = self.as_far_as_proven(&user, &session);
        let (access, token) = self.minter.mint(&told, &session, global_epoch, now, expires_at);
        let tokens = TokenPair {
            access,
            access_expires_at: expires_at,
            refresh,
            refresh_expires_at: session.refresh_expires_at,
        };
        Ok(Grant { user, session, tokens, access: token, device_token: None, grace: None, risk: None })
    }
}

/// A user whom this change has written, read anew: what was proven holds only while the epoch is the one that was
/// read with it. Else a login with the password of before would outlive its change.
pub(super) async fn still_as_proven(change: &mut Change, user: &User) -> Result<User, Error> {
    let present = change.users().by_id(user.id).await?;
    present.filter(|present| present.auth_epoch == user.auth_epoch).ok_or(Error::InvalidCredentials)
}

/// The client's user agent, as it is kept with a session.
pub(super) fn truncated_agent(ctx: &RequestContext) -> &str {
    truncated(ctx.user_agent.as_deref().unwrap_or(""), MAX_USER_AGENT)
}

/// The longest beginning of a text that fits, cut between characters.
pub(super) fn truncated(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
