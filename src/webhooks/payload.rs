//! What webhooks are told.
//!
//! Never a password, a code or a token; without `include_pii` nothing that names a person but the
//! user's id.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::event::{Event, FactorEvent, RiskEvent};
use crate::domain::factor::Method;
use crate::domain::id::UserId;
use crate::domain::user::{Role, User};
use crate::geoip::Databases;

/// What one event is for webhooks: its name, whose it is, and what else there is to say.
#[must_use]
pub fn of(event: &Event) -> Option<(&'static str, UserId, Map<String, Value>)> {
    let (name, user, data) = match event {
        Event::AccountCreated { user, by } => ("user.created", user, json!({ "created_by": by.as_str() })),
        Event::AccountCompleted { user } => ("user.onboarded", user, json!({})),
        Event::ProfileUpdated { user, fields } => ("user.updated", user, json!({ "changed_fields": fields })),
        Event::PasswordChanged { user, by, sessions_revoked } => {
            ("password.changed", user, json!({ "changed_by": by.as_str(), "sessions_revoked": sessions_revoked }))
        }
        Event::AccountDisabled { user, reason, by } => {
            ("account.disabled", user, json!({ "reason": reason, "performed_by": by.as_str() }))
        }
        Event::AccountEnabled { user, by } => ("account.enabled", user, json!({ "performed_by": by.as_str() })),
        Event::EmailChanged { user, .. } => ("email.changed", user, json!({})),
        Event::PhoneChanged { user } => ("phone.changed", user, json!({})),
        Event::AllSessionsEnded { user, count, reason } => {
            ("sessions.revoked", user, json!({ "revoked_count": count, "reason": reason.as_str() }))
        }
        Event::SessionEnded { user, session, reason } => (
            "sessions.revoked",
            user,
            json!({ "revoked_count": 1, "session_id": session.to_string(), "reason": reason.as_str() }),
        ),
        Event::Factor { user, happened } => {
            let (name, method) = of_factor(happened)?;
            (name, user, json!({ "method": method.as_str() }))
        }
        Event::Risk { user, happened: RiskEvent::Assessed, risk } => (
            "risk.detected",
            user,
            json!({
                "risk_score": risk.score,
                "risk_level": risk.level.as_str(),
                "risk_factors": risk.names(),
                "action": risk.action.as_str(),
            }),
        ),
        Event::Risk { .. }
        | Event::SignupReplaced { .. }
        | Event::SignupLapsed { .. }
        | Event::AccountDeleted { .. }
        | Event::LoginSucceeded { .. }
        | Event::SessionCreated { .. }
        | Event::LoginFailed { .. }
        | Event::LoginChallenged { .. }
        | Event::LoginBlocked { .. }
        | Event::LockoutTriggered { .. }
        | Event::LockoutCleared { .. }
        | Event::ChallengeCreated { .. }
        | Event::ChallengeCompleted { .. }
        | Event::ChallengeFailed { .. }
        | Event::EmailVerificationRequested { .. }
        | Event::EmailVerified { .. }
        | Event::PhoneVerificationRequested { .. }
        | Event::PhoneVerified { .. }
        | Event::SessionRefreshed { .. }
        | Event::TokenReuseDetected { .. }
        | Event::ForeignRefresh { .. }
        | Event::UnknownDeviceToken { .. }
        | Event::CredentialConflict { .. }
        | Event::PasswordHashUpgraded { .. }
        | Event::VerificationFailed { .. }
        | Event::ForcedPasswordChanged { .. }
        | Event::UsernameChanged { .. }
        | Event::AccessDenied { .. }
        | Event::WebhookFailed { .. }
        | Event::StateRestored { .. }
        | Event::ConfigReloaded { .. }
        | Event::PasswordResetRequested { .. }
        | Event::PasswordResetCompleted { .. }
        | Event::PasswordResetFailed { .. }
        | Event::PasswordChangeForced { .. }
        | Event::ContactChangeRequested { .. }
        | Event::ContactUnverified { .. }
        | Event::Reauthenticated { .. }
        | Event::DeviceTrusted { .. }
        | Event::DevicesUntrusted { .. }
        | Event::RoleGranted { .. }
        | Event::RoleRevoked { .. } => return None,
    };
    let Value::Object(data) = data else { unreachable!("written as one above") };
    Some((name, *user, data))
}

/// What happened to a second factor, if anybody asks for it.
fn of_factor(happened: &FactorEvent) -> Option<(&'static str, Method)> {
    match happened {
        FactorEvent::Added { method, is_first: true, .. } => Some(("mfa.enabled", *method)),
        FactorEvent::Added { method, is_first: false, .. } => Some(("mfa.method_added", *method)),
        FactorEvent::Removed { method, .. } => Some(("mfa.device_removed", *method)),
        FactorEvent::Proven { .. }
        | FactorEvent::Failed { .. }
        | FactorEvent::Preferred { .. }
        | FactorEvent::Cloned { .. }
        | FactorEvent::BackupCodesGenerated { .. }
        | FactorEvent::ExemptionGranted { .. }
        | FactorEvent::ExemptionRevoked { .. } => None,
    }
}

/// The body of a delivery: the envelope of DECISIONS' contract, version 1.
#[must_use]
pub fn envelope(name: &str, user: &Value, client: Value, data: Map<String, Value>, now: Time) -> Value {
    let mut all = Map::new();
    all.insert("user".to_owned(), user.clone());
    all.insert("client".to_owned(), client);
    all.extend(data);
    json!({
        "id": Uuid::now_v7().to_string(),
        "type": name,
        "created_at": now.to_string(),
        "version": 1,
        "data": all,
    })
}

/// What is told of the client, where webhooks may know of people.
#[must_use]
pub fn client(ctx: &RequestContext, geoip: &Databases) -> Value {
    let country = geoip.locate_if_possible(ctx.ip).country;
    json!({ "ip": ctx.ip.to_string(), "user_agent": ctx.user_agent.as_deref(), "country": country })
}

/// What is told of a user.
#[must_use]
pub fn user(user: &User, include_pii: bool) -> Value {
    let roles: Vec<&str> = user.roles.iter().map(Role::as_str).collect();
    let mut told = json!({
        "sub": user.id.to_string(),
        "roles": roles,
        "email_verified": user.email_verified,
        "phone_verified": user.phone_verified,
    });
    if include_pii {
        told["email"] = json!(user.email.as_str());
        told["phone"] = json!(user.phone.as_ref().map(ToString::to_string));
        told["username"] = json!(user.username.as_ref().map(ToString::to_string));
        told["first_name"] = json!(user.first_name);
        told["last_name"] = json!(user.last_name);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::WEBHOOK_EVENTS;
    use crate::domain::event::Actor;
    use crate::domain::user::tests_support::ada;

    #[test]
    fn without_personal_data_only_the_id_tells_who_it_is() {
        let ada = User { first_name: Some("Ada".to_owned()), ..ada() };
        let event = Event::PasswordChanged { user: ada.id, by: Actor::Owner, sessions_revoked: 2 };
        let (name, _, data) = of(&event).unwrap();
        let ctx = RequestContext::local();

        let client = client(&ctx, &Databases::default());
        let full = envelope(name, &user(&ada, true), client, data.clone(), Time::from_secs(0)).to_string();
        let bare = envelope(name, &user(&ada, false), json!({}), data, Time::from_secs(0)).to_string();

        for personal in ["ada@example.com", "Ada", "127.0.0.1"] {
            assert!(full.contains(personal) && !bare.contains(personal), "{bare}");
        }
        assert!(bare.contains(&ada.id.to_string()) && bare.contains("\"sessions_revoked\":2"), "{bare}");
    }

    #[test]
    fn every_name_is_one_that_can_be_asked_for() {
        use crate::domain::risk::{Assessment, tests_support::policy};

        let user = ada().id;
        let risk = Assessment::unknown(&policy());
        let (factor, method) = (1, Method::Totp);
        let factors = [
            FactorEvent::Added { factor, method, is_first: true },
            FactorEvent::Added { factor, method, is_first: false },
            FactorEvent::Removed { factor, method, was_last: true, by: Actor::Owner },
        ];
        let factors = factors.map(|happened| Event::Factor { user, happened });
        let others = [
            Event::AccountCompleted { user },
            Event::PhoneChanged { user },
            Event::Risk { user, happened: RiskEvent::Assessed, risk },
        ];
        for event in others.into_iter().chain(factors) {
            assert!(WEBHOOK_EVENTS.contains(&of(&event).unwrap().0));
        }
    }
}
