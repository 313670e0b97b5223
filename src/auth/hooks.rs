//! What the operator's programs are asked before it happens: signups, and tokens.
//!
//! They answer over the network, so nothing is held open meanwhile: no transaction, no lock.

use serde_json::{Map, Value, json};

use crate::auth::entry::{Proof, still_as_proven};
use crate::auth::{Auth, Signup};
use crate::config::settings::HookEvent;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event, LoginFailure, LoginWith};
use crate::domain::template::Source;
use crate::domain::user::{MAX_METADATA_ADMIN, Role, User};
use crate::events::Change;
use crate::webhooks::hooks::{Changes, Verdict};
use crate::webhooks::payload;

/// Who granted a role that a hook asked for.
const BY_HOOK: &str = "hook";

impl Auth {
    /// Asks whether somebody may sign up; answers what is to be different about the account.
    pub(super) async fn ask_before_signup(&self, input: &Signup, ctx: &RequestContext) -> Result<Changes, Error> {
        let event = HookEvent::SignupPre;
        if !self.hooks.has(event) {
            return Ok(Changes::default());
        }
        let user = json!({
            "email": input.email.as_str(),
            "username": input.username.as_ref().map(ToString::to_string),
            "phone": input.phone.as_ref().map(ToString::to_string),
            "first_name": input.first_name,
            "last_name": input.last_name,
            "metadata": input.metadata,
            "timezone": input.timezone,
            "locale": input.locale,
        });
        let question = payload::envelope(event.as_str(), &user, self.client(ctx), Map::new(), self.now());
        match self.hooks.ask(event, &question).await {
            Verdict::Allow(changes) => Ok(changes),
            Verdict::Deny { message } => {
                Err(Error::SignupDenied { message: message.unwrap_or_else(|| "Signing up was refused".to_owned()) })
            }
        }
    }

    /// Asks whether a user who has shown everything may have tokens, and does what the answer says
    /// about the account; answers the change to go on with, the account, and the session's claims.
    ///
    /// What was shown stands whatever the answer is: it is committed first.
    pub(super) async fn ask_before_tokens(
        &self,
        change: Change,
        user: User,
        proof: &Proof,
        ctx: &RequestContext,
    ) -> Result<(Change, User, Option<Map<String, Value>>), Error> {
        let event = HookEvent::LoginPreToken;
        if !self.hooks.has(event) {
            return Ok((change, user, None));
        }
        self.parts.events.commit(change, ctx).await?;
        let mut data = Map::new();
        data.insert("auth".to_owned(), json!({ "amr": proof.amr, "renews_session": proof.renews.is_some() }));
        let question =
            payload::envelope(event.as_str(), &payload::user(&user, true), self.client(ctx), data, self.now());
        let changes = match self.hooks.ask(event, &question).await {
            Verdict::Allow(changes) => changes,
            Verdict::Deny { message } => {
                let failed = Event::LoginFailed {
                    user: Some(user.id),
                    reason: LoginFailure::Denied,
                    with: LoginWith::of(&proof.amr),
                };
                self.parts.events.record(&failed, ctx).await;
                return Err(Error::LoginDenied {
                    message: message.unwrap_or_else(|| "Logging in was refused".to_owned()),
                });
            }
        };
        let mut change = self.parts.events.begin().await?;
        let user = self.obey(&mut change, user, changes.roles, changes.metadata_admin).await?;
        Ok((change, user, changes.claims))
    }

    fn client(&self, ctx: &RequestContext) -> Value {
        payload::client(ctx, &self.settings.geoip.databases)
    }

    /// Makes an account what a hook says it should be.
    async fn obey(
        &self,
        change: &mut Change,
        user: User,
        roles: Option<Vec<Role>>,
        metadata: Option<Map<String, Value>>,
    ) -> Result<User, Error> {
        if let Some(wanted) = &roles {
            self.set_roles(change, &user, wanted).await?;
        }
        if let Some(metadata) = metadata {
            self.write_metadata(change, &user, metadata).await?;
        }
        still_as_proven(change, &user).await
    }

    /// Adds to what operators say of the user. What would not fit any more changes nothing.
    async fn write_metadata(&self, change: &mut Change, user: &User, further: Map<String, Value>) -> Result<(), Error> {
        let Some(merged) = merged(&user.metadata_admin, further) else {
            tracing::warn!(user.id = %user.id, "what a hook adds to metadata_admin does not fit; it is left as it was");
            return Ok(());
        };
        if merged == user.metadata_admin {
            return Ok(());
        }
        change.users().set_metadata_admin(user.id, &merged, self.now()).await?;
        let is_told = self.settings.jwt.tells(|source| matches!(source, Source::Metadata(_)));
        if is_told { self.refresh_claims(change, user.id).await } else { Ok(()) }
    }

    async fn set_roles(&self, change: &mut Change, user: &User, wanted: &[Role]) -> Result<(), Error> {
        let (now, by) = (self.now(), Actor::System);
        let mut changed = false;
        for role in wanted.iter().filter(|role| !user.roles.contains(role)) {
            if change.users().grant_role(user.id, role, BY_HOOK, now).await? {
                change.record(Event::RoleGranted { user: user.id, role: role.clone(), by });
                changed = true;
            }
        }
        for role in user.roles.iter().filter(|role| !wanted.contains(role)) {
            if change.users().revoke_role(user.id, role).await? {
                change.record(Event::RoleRevoked { user: user.id, role: role.clone(), by });
                changed = true;
            }
        }
        if changed { self.refresh_claims(change, user.id).await } else { Ok(()) }
    }
}

/// A JSON object, as text, with further keys; `None` when it would be too large.
fn merged(present: &str, further: Map<String, Value>) -> Option<String> {
    let mut all: Map<String, Value> = serde_json::from_str(present).unwrap_or_default();
    all.extend(further);
    Some(Value::Object(all).to_string()).filter(|text| text.len() <= MAX_METADATA_ADMIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hooks_say_adds_up_as_far_as_it_fits() {
        let further = |value: Value| value.as_object().unwrap().clone();

        let both = merged(r#"{"plan":"free","tenant":"acme"}"#, further(json!({ "plan": "pro" })));
        assert_eq!(both.as_deref(), Some(r#"{"plan":"pro","tenant":"acme"}"#));
        let half = "x".repeat(MAX_METADATA_ADMIN / 2);
        let first = merged("{}", further(json!({ "a": half }))).unwrap();
        assert_eq!(merged(&first, further(json!({ "b": half }))), None);
    }
}
