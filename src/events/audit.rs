//! What the audit trail makes of each event.

use serde_json::{Map, Value, json};

use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::event::{Actor, DeniedAccess, Event, FactorEvent, RiskEvent};
use crate::domain::factor::Method;
use crate::domain::id::{ChallengeId, SessionId, UserId, random_number};
use crate::domain::risk::Assessment;
use crate::events::outlet::AUDIT_ENTRY;
use crate::store::audit::{AuditRow, Origin};
use crate::store::{StoreError, Tx};

const SUCCESS: &str = "SUCCESS";
const FAILURE: &str = "FAILURE";
const INFO: &str = "INFO";
const SUSPICIOUS: &str = "SUSPICIOUS";

/// The entry for an event; `None` for what is too frequent to keep.
#[expect(clippy::too_many_lines, reason = "a flat list of every event, one after the other")]
pub(super) fn row(event: &Event) -> Option<AuditRow> {
    let entry = match event {
        Event::SessionRefreshed { .. } | Event::PasswordHashUpgraded { .. } => return None,
        Event::AccountCreated { user, by } => entry("ACCOUNT_CREATED", SUCCESS).of(*user).by(*by),
        Event::AccountCompleted { user } => entry("PROFILE_UPDATED", SUCCESS).of(*user).because("completed"),
        Event::SignupReplaced { user } => entry("ACCOUNT_DELETED", INFO).of(*user).because("signup_replaced"),
        Event::SignupLapsed { user } => {
            entry("ACCOUNT_DELETED", INFO).of(*user).by(Actor::System).because("signup_lapsed")
        }
        Event::LoginSucceeded { user, session, with } => {
            entry("LOGIN_SUCCESS", SUCCESS).of(*user).session(*session).with(&json!({ "authMethod": with.as_str() }))
        }
        Event::SessionCreated { user, session } => entry("SESSION_CREATED", SUCCESS).of(*user).session(*session),
        Event::LoginFailed { user, reason, with } => entry("LOGIN_FAILED", FAILURE)
            .of(*user)
            .because(reason.as_str())
            .with(&json!({ "authMethod": with.as_str() })),
        Event::LoginChallenged { user, step } => entry("LOGIN_ATTEMPT", INFO).of(*user).because(step.as_str()),
        Event::LoginBlocked { user } => entry("LOGIN_BLOCKED", FAILURE).of(*user),
        Event::LockoutTriggered { user, scope } => {
            entry("LOCKOUT_TRIGGERED", SUSPICIOUS).of(*user).because(scope.as_str())
        }
        Event::LockoutCleared { user, by } => entry("LOCKOUT_CLEARED", INFO).of(*user).by(*by),
        Event::ChallengeCreated { user, challenge, step } => {
            entry("CHALLENGE_CREATED", INFO).of(*user).challenge(*challenge).because(step.as_str())
        }
        Event::ChallengeCompleted { user, challenge, step } => {
            entry("CHALLENGE_COMPLETED", SUCCESS).of(*user).challenge(*challenge).because(step.as_str())
        }
        Event::ChallengeFailed { user, challenge, step } => {
            entry("CHALLENGE_ATTEMPT_FAILED", FAILURE).of(*user).challenge(*challenge).because(step.as_str())
        }
        Event::EmailVerificationRequested { user, email } => {
            entry("EMAIL_VERIFICATION_REQUESTED", INFO).of(*user).with(&json!({ "destination": email.masked() }))
        }
        Event::EmailVerified { user, email } => {
            entry("EMAIL_VERIFIED", SUCCESS).of(*user).with(&json!({ "email": email.masked() }))
        }
        Event::PhoneVerificationRequested { user, phone } => {
            entry("PHONE_VERIFICATION_REQUESTED", INFO).of(*user).with(&json!({ "destination": phone.masked() }))
        }
        Event::PhoneVerified { user, phone } => {
            entry("PHONE_VERIFIED", SUCCESS).of(*user).with(&json!({ "phone": phone.masked() }))
        }
        Event::VerificationFailed { user, of_phone: false } => entry("EMAIL_VERIFICATION_FAILED", FAILURE).of(*user),
        Event::VerificationFailed { user, of_phone: true } => entry("PHONE_VERIFICATION_FAILED", FAILURE).of(*user),
        Event::SessionEnded { user, session, reason } => {
            entry("SESSION_REVOKED", INFO).of(*user).session(*session).because(reason.as_str())
        }
        Event::AllSessionsEnded { user, count, reason } => {
            entry("GLOBAL_SIGNOUT", INFO).of(*user).because(reason.as_str()).with(&json!({ "count": count }))
        }
        Event::TokenReuseDetected { user, session } => {
            entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS).of(*user).session(*session).because("token_reuse")
        }
        Event::ForeignRefresh { user, session, answered } => entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS)
            .of(*user)
            .session(*session)
            .because("foreign_refresh")
            .with(&json!({ "answered": answered })),
        // A replaced or stolen token comes back like this, and so does every honest one after a changed password:
        // it is kept for whoever looks, and makes no later login unusual.
        Event::UnknownDeviceToken { user } => {
            entry("SUSPICIOUS_ACTIVITY", INFO).of(*user).because("unknown_device_token")
        }
        Event::CredentialConflict { user } => {
            entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS).of(*user).because("credential_conflict")
        }
        Event::PasswordChanged { user, by, sessions_revoked } => {
            entry("PASSWORD_CHANGED", SUCCESS).of(*user).by(*by).with(&json!({ "sessionsRevoked": sessions_revoked }))
        }
        Event::PasswordResetRequested { user, by: Actor::Operator } => {
            entry("ADMIN_PASSWORD_RESET_INITIATED", INFO).of(*user).by(Actor::Operator)
        }
        Event::PasswordResetRequested { user, by } => entry("PASSWORD_RESET_REQUESTED", INFO).of(*user).by(*by),
        Event::PasswordResetCompleted { user, by: Actor::Operator } => {
            entry("ADMIN_PASSWORD_RESET_COMPLETED", SUCCESS).of(*user).by(Actor::Operator)
        }
        Event::PasswordResetCompleted { user, by } => entry("PASSWORD_RESET_COMPLETED", SUCCESS).of(*user).by(*by),
        Event::PasswordResetFailed { user, by: Actor::Operator } => {
            entry("ADMIN_PASSWORD_RESET_FAILED", FAILURE).of(*user)
        }
        Event::PasswordResetFailed { user, .. } => entry("PASSWORD_RESET_FAILED", FAILURE).of(*user),
        Event::PasswordChangeForced { user, by } => entry("PASSWORD_FORCE_CHANGE_SET", INFO).of(*user).by(*by),
        Event::ForcedPasswordChanged { user } => {
            entry("PASSWORD_FORCE_CHANGE_COMPLETED", SUCCESS).of(*user).by(Actor::Owner)
        }
        Event::UsernameChanged { user } => entry("USERNAME_CHANGED", SUCCESS).of(*user).by(Actor::Owner),
        Event::ProfileUpdated { user, fields } => {
            entry("PROFILE_UPDATED", SUCCESS).of(*user).with(&json!({ "changedFields": fields }))
        }
        Event::ContactChangeRequested { user, what } => {
            entry("PROFILE_UPDATED", INFO).of(*user).because(&format!("{what}_change_requested"))
        }
        Event::EmailChanged { user, old, new } => {
            entry("EMAIL_CHANGED", SUCCESS).of(*user).with(&json!({ "old": old.masked(), "new": new.masked() }))
        }
        Event::PhoneChanged { user } => entry("PHONE_CHANGED", SUCCESS).of(*user),
        Event::ContactUnverified { user, is_phone } => {
            let kind =
                if *is_phone { "PHONE_VERIFICATION_STATUS_UPDATED" } else { "EMAIL_VERIFICATION_STATUS_UPDATED" };
            entry(kind, INFO).of(*user).by(Actor::Owner).with(&json!({ "verified": false }))
        }
        Event::Reauthenticated { user, session } => {
            entry("LOGIN_SUCCESS", INFO).of(*user).session(*session).because("reauthenticated")
        }
        Event::Factor { user, happened } => of_factor(happened).of(*user),
        Event::Risk { user, happened, risk } => of_risk(*happened, risk).of(*user),
        Event::DeviceTrusted { user, device } => {
            entry("DEVICE_TRUSTED", INFO).of(*user).with(&json!({ "deviceId": device }))
        }
        Event::DevicesUntrusted { user, count } => {
            entry("DEVICE_UNTRUSTED", INFO).of(*user).with(&json!({ "count": count }))
        }
        Event::AccountDisabled { user, reason, by } => {
            entry("ACCOUNT_DISABLED", INFO).of(*user).by(*by).because(reason)
        }
        Event::AccountEnabled { user, by } => entry("ACCOUNT_ENABLED", INFO).of(*user).by(*by),
        Event::AccountDeleted { user, by } => entry("ACCOUNT_DELETED", INFO).of(*user).by(*by),
        Event::RoleGranted { user, role, by } => {
            entry("ADMIN_ROLE_GRANTED", INFO).of(*user).by(*by).because(role.as_str())
        }
        Event::RoleRevoked { user, role, by } => {
            entry("ADMIN_ROLE_REVOKED", INFO).of(*user).by(*by).because(role.as_str())
        }
        Event::AccessDenied { user, session, denied } => {
            let DeniedAccess { route, method, path, reason } = denied;
            let asked = json!({ "route": route, "method": method, "path": path });
            entry("GATEWAY_ACCESS_DENIED", FAILURE).of(*user).session(*session).because(reason).with(&asked)
        }
        Event::WebhookFailed { webhook, event, attempts, cause } => entry("WEBHOOK_FAILED", FAILURE)
            .by(Actor::System)
            .because(cause)
            .with(&json!({ "webhook": webhook, "event": event, "attempts": attempts })),
        Event::StateRestored { sessions_ended } => {
            entry("STATE_RESTORED", INFO).by(Actor::Operator).with(&json!({ "sessionsEnded": sessions_ended }))
        }
        Event::ConfigReloaded { sections } => {
            entry("CONFIG_RELOADED", INFO).by(Actor::Operator).with(&json!({ "sections": sections }))
        }
    };
    Some(entry)
}

/// The entry for what happened to a second factor.
fn of_factor(happened: &FactorEvent) -> AuditRow {
    match happened {
        FactorEvent::Proven { method: Method::Backup, challenge } => {
            entry("MFA_BACKUP_CODE_USED", SUCCESS).maybe_challenge(*challenge)
        }
        FactorEvent::Proven { method, challenge } => {
            entry("MFA_VERIFICATION_SUCCESS", SUCCESS).maybe_challenge(*challenge).because(method.as_str())
        }
        FactorEvent::Failed { method, challenge } => {
            entry("MFA_VERIFICATION_FAILED", FAILURE).maybe_challenge(*challenge).because(method.as_str())
        }
        FactorEvent::Added { factor, method, is_first } => {
            let name = if *is_first { "MFA_ENABLED" } else { "MFA_DEVICE_ADDED" };
            entry(name, SUCCESS).because(method.as_str()).with(&json!({ "deviceId": factor }))
        }
        FactorEvent::Removed { factor, method, was_last, by } => {
            let name = if *was_last { "MFA_DISABLED" } else { "MFA_DEVICE_REMOVED" };
            entry(name, INFO).by(*by).because(method.as_str()).with(&json!({ "deviceId": factor }))
        }
        FactorEvent::Preferred { factor, method } => {
            entry("MFA_PREFERRED_METHOD_UPDATED", SUCCESS).because(method.as_str()).with(&json!({ "deviceId": factor }))
        }
        FactorEvent::Cloned { factor } => {
            entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS).because("passkey_cloned").with(&json!({ "deviceId": factor }))
        }
        FactorEvent::BackupCodesGenerated { count } => {
            entry("MFA_BACKUP_CODES_GENERATED", SUCCESS).with(&json!({ "count": count }))
        }
        FactorEvent::ExemptionGranted { reason, by } => entry("MFA_EXEMPTION_GRANTED", INFO).by(*by).because(reason),
        FactorEvent::ExemptionRevoked { by } => entry("MFA_EXEMPTION_REVOKED", INFO).by(*by),
    }
}

/// The entry for an unusual login.
fn of_risk(happened: RiskEvent, risk: &Assessment) -> AuditRow {
    let entry = match happened {
        RiskEvent::Assessed if risk.is_suspicious() => entry("ADAPTIVE_MFA_RISK_ASSESSED", SUSPICIOUS),
        RiskEvent::Assessed => entry("ADAPTIVE_MFA_RISK_ASSESSED", INFO),
        RiskEvent::Triggered => entry("ADAPTIVE_MFA_TRIGGERED", INFO),
        RiskEvent::Bypassed { because } => entry("ADAPTIVE_MFA_BYPASSED", INFO).because(because),
    };
    entry.with(&json!({
        "riskFactor": risk.score,
        "riskFactors": risk.names(),
        "riskLevel": risk.level.as_str(),
        "action": risk.action.as_str(),
    }))
}

impl AuditRow {
    fn of(self, user: impl Into<Option<UserId>>) -> Self {
        Self { user: user.into(), ..self }
    }

    fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }

    fn challenge(self, challenge: ChallengeId) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    fn maybe_challenge(self, challenge: Option<ChallengeId>) -> Self {
        Self { challenge, ..self }
    }

    fn by(self, actor: Actor) -> Self {
        Self { performed_by: Some(actor.as_str()), ..self }
    }

    fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }

    fn with(self, details: &serde_json::Value) -> Self {
        Self { details: Some(details.to_string()), ..self }
    }
}

/// Whether an entry did not get to a webhook. That is told to no webhook: it would go round in circles.
pub(super) fn is_about_an_entry(event: &Event) -> bool {
    matches!(event, Event::WebhookFailed { event, .. } if event == AUDIT_ENTRY)
}

/// Writes an entry.
pub(super) async fn insert(tx: &mut Tx, row: &AuditRow, ctx: &RequestContext, now: Time) -> Result<(), StoreError> {
    let ip = ctx.ip.to_string();
    let (user_agent, device) = (ctx.user_agent.as_deref(), ctx.device.get().map(AsRef::as_ref));
    let origin = Origin { ip: &ip, user_agent, request_id: &ctx.request_id, device };
    tx.audit().insert(row, origin, now).await
}

/// An entry as it is told elsewhere: all of it, but the address it came from.
pub(super) fn json(row: &AuditRow, ctx: &RequestContext, now: Time) -> Map<String, Value> {
    let device = ctx.device.get();
    let details = row.details.as_deref().and_then(|details| serde_json::from_str::<Value>(details).ok());
    let entry = json!({
        "id": row.id,
        "createdAt": now.to_string(),
        "eventType": row.event_type,
        "eventStatus": row.event_status,
        "sub": row.user.map(|id| id.to_string()),
        "sessionId": row.session.map(|id| id.to_string()),
        "challengeSessionId": row.challenge.map(|id| id.to_string()),
        "deviceId": device.map(|device| &device.id),
        "deviceName": device.and_then(|device| device.name.as_ref()),
        "deviceType": device.and_then(|device| device.kind.as_ref()),
        "performedBy": row.performed_by,
        "reason": row.reason,
        "metadata": details,
    });
    let Value::Object(entry) = entry else { unreachable!("written as one above") };
    entry
}

fn entry(event_type: &'static str, event_status: &'static str) -> AuditRow {
    AuditRow {
        id: random_number(),
        user: None,
        event_type,
        event_status,
        session: None,
        challenge: None,
        performed_by: None,
        reason: None,
        details: None,
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use crate::domain::audit::{EVENT_STATUSES, EVENT_TYPES, describe};

    #[test]
    fn every_type_that_is_written_is_one_the_wire_knows_and_has_a_sentence() {
        let name = Regex::new(r#""([A-Z][A-Z_]{3,})""#).unwrap();
        let source = include_str!("audit.rs");
        let written: Vec<&str> = name.captures_iter(source).map(|found| found.get(1).unwrap().as_str()).collect();

        assert!(written.len() > 50, "{written:?}");
        for name in written {
            if !EVENT_STATUSES.contains(&name) {
                assert!(EVENT_TYPES.contains(&name), "{name}");
                assert!(describe(name, None, None).is_some_and(|sentence| !sentence.is_empty()), "{name}");
            }
        }
    }
}
