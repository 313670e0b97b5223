//! What the audit trail makes of each event.

use serde_json::json;

use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::event::Event;
use crate::store::audit::{AuditRow, Origin};
use crate::store::{StoreError, Tx};

const SUCCESS: &str = "SUCCESS";
const FAILURE: &str = "FAILURE";
const INFO: &str = "INFO";
const SUSPICIOUS: &str = "SUSPICIOUS";

/// The entry for an event; `None` for what is too frequent to keep.
pub(super) fn row(event: &Event) -> Option<AuditRow> {
    let entry = match event {
        Event::SessionRefreshed { .. } => return None,
        Event::AccountCreated { user, by } => {
            AuditRow { user: Some(*user), performed_by: Some(by.as_str()), ..entry("ACCOUNT_CREATED", SUCCESS) }
        }
        Event::SignupReplaced { user } => {
            AuditRow { user: Some(*user), reason: Some("signup_replaced".to_owned()), ..entry("ACCOUNT_DELETED", INFO) }
        }
        Event::LoginSucceeded { user, session } => {
            AuditRow { user: Some(*user), session: Some(*session), ..entry("LOGIN_SUCCESS", SUCCESS) }
        }
        Event::LoginFailed { user, reason } => {
            AuditRow { user: *user, reason: Some(reason.as_str().to_owned()), ..entry("LOGIN_FAILED", FAILURE) }
        }
        Event::ChallengeCreated { user, challenge, step } => AuditRow {
            user: Some(*user),
            challenge: Some(*challenge),
            reason: Some(step.as_str().to_owned()),
            ..entry("CHALLENGE_CREATED", INFO)
        },
        Event::ChallengeCompleted { user, challenge, step } => AuditRow {
            user: Some(*user),
            challenge: Some(*challenge),
            reason: Some(step.as_str().to_owned()),
            ..entry("CHALLENGE_COMPLETED", SUCCESS)
        },
        Event::ChallengeFailed { user, challenge, step } => AuditRow {
            user: Some(*user),
            challenge: Some(*challenge),
            reason: Some(step.as_str().to_owned()),
            ..entry("CHALLENGE_ATTEMPT_FAILED", FAILURE)
        },
        Event::EmailVerificationRequested { user, email } => AuditRow {
            user: Some(*user),
            details: Some(json!({ "destination": email.masked() }).to_string()),
            ..entry("EMAIL_VERIFICATION_REQUESTED", INFO)
        },
        Event::EmailVerified { user, email } => AuditRow {
            user: Some(*user),
            details: Some(json!({ "email": email.masked() }).to_string()),
            ..entry("EMAIL_VERIFIED", SUCCESS)
        },
        Event::SessionEnded { user, session, reason } => AuditRow {
            user: Some(*user),
            session: Some(*session),
            reason: Some(reason.as_str().to_owned()),
            ..entry("SESSION_REVOKED", INFO)
        },
        Event::AllSessionsEnded { user, count, reason } => AuditRow {
            user: Some(*user),
            reason: Some(reason.as_str().to_owned()),
            details: Some(json!({ "count": count }).to_string()),
            ..entry("GLOBAL_SIGNOUT", INFO)
        },
        Event::TokenReuseDetected { user, session } => AuditRow {
            user: Some(*user),
            session: Some(*session),
            reason: Some("token_reuse".to_owned()),
            ..entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS)
        },
        Event::ForeignRefresh { user, session, answered } => AuditRow {
            user: Some(*user),
            session: Some(*session),
            reason: Some("foreign_refresh".to_owned()),
            details: Some(json!({ "answered": answered }).to_string()),
            ..entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS)
        },
        Event::CredentialConflict { user } => AuditRow {
            user: *user,
            reason: Some("credential_conflict".to_owned()),
            ..entry("SUSPICIOUS_ACTIVITY", SUSPICIOUS)
        },
        Event::PasswordChanged { user, by } => {
            AuditRow { user: Some(*user), performed_by: Some(by.as_str()), ..entry("PASSWORD_CHANGED", SUCCESS) }
        }
        Event::AccountDisabled { user, reason, by } => AuditRow {
            user: Some(*user),
            performed_by: Some(by.as_str()),
            reason: Some(reason.clone()),
            ..entry("ACCOUNT_DISABLED", INFO)
        },
        Event::AccountEnabled { user, by } => {
            AuditRow { user: Some(*user), performed_by: Some(by.as_str()), ..entry("ACCOUNT_ENABLED", INFO) }
        }
        Event::RoleGranted { user, role, by } => AuditRow {
            user: Some(*user),
            performed_by: Some(by.as_str()),
            reason: Some(role.to_string()),
            ..entry("ADMIN_ROLE_GRANTED", INFO)
        },
        Event::RoleRevoked { user, role, by } => AuditRow {
            user: Some(*user),
            performed_by: Some(by.as_str()),
            reason: Some(role.to_string()),
            ..entry("ADMIN_ROLE_REVOKED", INFO)
        },
    };
    Some(entry)
}

/// Writes an entry.
pub(super) async fn insert(tx: &mut Tx, row: &AuditRow, ctx: &RequestContext, now: Time) -> Result<(), StoreError> {
    let ip = ctx.ip.to_string();
    let origin = Origin { ip: &ip, user_agent: ctx.user_agent.as_deref(), request_id: &ctx.request_id };
    tx.audit().insert(row, origin, now).await
}

fn entry(event_type: &'static str, event_status: &'static str) -> AuditRow {
    AuditRow {
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
