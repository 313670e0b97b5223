//! How unusual a login is, from what the database knows of those before it.
//!
//! The rule is pure ([`crate::domain::risk`]); here its facts are gathered, and what follows is done. It is looked
//! at where a second factor would be asked for, after the password: what it says, a stranger never sees.

use std::time::Duration;

use crate::auth::Auth;
use crate::auth::entry::{Known, Proof, truncated_agent};
use crate::auth::guard::{key, name_of};
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Event, LoginFailure, LoginWith, RiskEvent};
use crate::domain::mfa::Enforcement;
use crate::domain::risk::{Action, Assessment, BlockScope, Facts, RiskPolicy, assess};
use crate::domain::user::User;
use crate::events::Change;
use crate::geoip::LookupError;
use crate::store::StoreError;

/// Why the facts cannot be had.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Places(#[from] LookupError),
}

impl Auth {
    /// Whether it matters how unusual a login is.
    pub(super) fn is_adaptive(&self) -> bool {
        self.settings.mfa.enabled && self.settings.mfa.policy.enforcement == Enforcement::Adaptive
    }

    /// How unusual this login is; `None` where it does not matter. Says so to whoever wants to know.
    ///
    /// # Errors
    /// [`Error::SignInBlocked`] when it is too unusual, or another one was a little while ago. What led here is
    /// committed then.
    pub(super) async fn weigh(
        &self,
        mut change: Change,
        user: &User,
        known: &Known,
        proof: &Proof,
        ctx: &RequestContext,
    ) -> Result<(Change, Option<Assessment>), Error> {
        if !self.is_adaptive() || proof.second_factor {
            return Ok((change, None));
        }
        let policy = &self.settings.mfa.risk;
        let (block, unseen) = match self.block_of(user, known, ctx).await {
            Ok(block) => (block, None),
            Err(error) => (None, Some(error)),
        };
        if let Some(until) = block {
            return Err(self.refuse_risk(change, user, Some(until), ctx).await?);
        }
        let mut risk = match self.assess(&mut change, user, known, ctx, policy).await {
            Ok(risk) => risk,
            // Nothing more could be done in this change either.
            Err(Unknown::Rows(error)) if !matches!(error, StoreError::Corrupt(_)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = %crate::logging::chain(&error), "nobody can tell how unusual a login is");
                Assessment::unknown(policy)
            }
        };
        if let Some(error) = unseen {
            tracing::warn!(error = %crate::logging::chain(&error), "nobody can tell whether a login is blocked");
            risk.action = risk.action.max(policy.on_error);
        }
        if !risk.signs.is_empty() || risk.action > Action::Allow {
            let happened = RiskEvent::Assessed;
            change.record(Event::Risk { user: user.id, happened, risk: risk.clone() });
        }
        if risk.notify && self.is_news(user, &risk, policy.suspicious_window).await {
            self.tell_risk(&mut change, user, &risk, ctx);
        }
        if risk.action == Action::Block {
            let until = self.block(user, known, ctx).await;
            return Err(self.refuse_risk(change, user, Some(until), ctx).await?);
        }
        Ok((change, Some(risk)))
    }

    /// Refuses a login for what it is; the error says so.
    pub(super) async fn refuse_risk(
        &self,
        mut change: Change,
        user: &User,
        until: Option<Time>,
        ctx: &RequestContext,
    ) -> Result<Error, Error> {
        let (reason, with) = (LoginFailure::Risk, LoginWith::Password);
        change.record(Event::LoginFailed { user: Some(user.id), reason, with });
        self.parts.events.commit(change, ctx).await?;
        Ok(Error::SignInBlocked { message: self.settings.mfa.risk.block.message.clone(), until })
    }

    async fn assess(
        &self,
        change: &mut Change,
        user: &User,
        known: &Known,
        ctx: &RequestContext,
        policy: &RiskPolicy,
    ) -> Result<Assessment, Unknown> {
        let now = self.now();
        let location = self.settings.geoip.databases.locate(ctx.ip)?;
        let earlier = change.sessions().visits_of(user.id).await?;
        // What an operator has forgiven weighs nothing.
        let since = now - policy.suspicious_window;
        let since = user.lockouts_ended_at.map_or(since, |ended| ended.max(since));
        let trouble = change.audit().recent_trouble(user.id, since).await?;
        let facts = Facts {
            now,
            address: ctx.address_prefix(),
            location: &location,
            user_agent: truncated_agent(ctx),
            trusted_device: known.device.is_some(),
            earlier: &earlier,
            failed_logins: trouble.failed_logins,
            suspicious_events: trouble.suspicious_events,
            password_changed_at: user.password_changed_at,
            last_login_at: user.last_login_at,
        };
        Ok(assess(&facts, policy))
    }

    /// Until when the logins of this user from here are refused.
    async fn block_of(
        &self,
        user: &User,
        known: &Known,
        ctx: &RequestContext,
    ) -> Result<Option<Time>, crate::transient::TransientError> {
        let kept = self.parts.transient.get(&self.block_key(user, known, ctx)).await?;
        let until = kept.and_then(|bytes| Some(Time::from_micros(i64::from_be_bytes(bytes.try_into().ok()?))));
        Ok(until.filter(|until| *until > self.now()))
    }

    /// Refuses logins of this user from here for a while; answers until when. A block that cannot be kept is
    /// no more than a question less: the next login is weighed like this one.
    async fn block(&self, user: &User, known: &Known, ctx: &RequestContext) -> Time {
        let duration = self.settings.mfa.risk.block.duration;
        let until = self.now() + duration;
        let kept = until.micros().to_be_bytes().to_vec();
        if let Err(error) = self.parts.transient.put(&self.block_key(user, known, ctx), kept, duration).await {
            tracing::warn!(error = %crate::logging::chain(&error), "a block is not kept");
        }
        until
    }

    fn block_key(&self, user: &User, known: &Known, ctx: &RequestContext) -> String {
        let from = match self.settings.mfa.risk.block.scope {
            BlockScope::User => String::new(),
            BlockScope::Device => known.device.map_or_else(|| "stranger".to_owned(), |device| device.to_string()),
            BlockScope::Ip => self.client_key(ctx),
        };
        key("risk/block", &[&name_of(user), &from])
    }

    /// Whether nobody has been told the same a little while ago.
    async fn is_news(&self, user: &User, risk: &Assessment, window: Duration) -> bool {
        let about = [&user.id.to_string(), risk.level.as_str(), &risk.names().join(" ")];
        let told = self.parts.transient.put_if_absent(&key("risk/told", &about), Vec::new(), window).await;
        told.unwrap_or(true)
    }
}
