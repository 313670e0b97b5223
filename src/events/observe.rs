//! What metrics and the log make of each event. The only place that counts things of business meaning.

use tracing::{info, warn};

use crate::domain::event::LoginFailure;
use crate::domain::event::{Event, FactorEvent, LoginWith, RiskEvent};
use crate::domain::factor::Method;
use crate::domain::id::UserId;
use crate::metrics::{AuthError, AuthEvent, AuthMethod, AuthResult, Metrics};

/// Counts and, for what an operator wants to see, logs.
#[expect(clippy::too_many_lines, reason = "a flat list of every event, one after the other")]
pub(super) fn observe(event: &Event, metrics: &Metrics) {
    match event {
        Event::AccountCreated { user, by } => {
            metrics.auth_event(AuthEvent::Signup, AuthMethod::Password, AuthResult::Success, AuthError::None);
            info!(user.id = %user, by = by.as_str(), "account created");
        }
        Event::LoginSucceeded { user, session, with } => {
            metrics.auth_event(AuthEvent::Login, login(*with), AuthResult::Success, AuthError::None);
            info!(user.id = %user, session.id = %session, "logged in");
        }
        Event::LoginFailed { user, reason, with } => {
            let error = match reason {
                LoginFailure::AccountLocked => AuthError::Locked,
                LoginFailure::Denied | LoginFailure::Risk => AuthError::Forbidden,
                LoginFailure::UnknownUser
                | LoginFailure::WrongPassword
                | LoginFailure::WrongPasskey
                | LoginFailure::IdentifierKind => AuthError::Credentials,
            };
            metrics.auth_event(AuthEvent::Login, login(*with), AuthResult::Failure, error);
            let user = user.map(|id| id.to_string()).unwrap_or_default();
            info!(user.id = %user, reason = reason.as_str(), "login refused");
        }
        Event::EmailVerified { user, .. } => {
            metrics.auth_event(AuthEvent::EmailVerify, AuthMethod::EmailCode, AuthResult::Success, AuthError::None);
            info!(user.id = %user, "e-mail address verified");
        }
        Event::ChallengeFailed { user, challenge, .. } => {
            metrics.auth_event(AuthEvent::EmailVerify, AuthMethod::EmailCode, AuthResult::Failure, AuthError::Code);
            info!(user.id = %user, challenge.id = %challenge, "challenge got a wrong answer");
        }
        Event::SessionEnded { user, session, reason } => {
            metrics.auth_event(AuthEvent::Logout, AuthMethod::Session, AuthResult::Success, AuthError::None);
            metrics.sessions_ended(*reason, 1);
            info!(user.id = %user, session.id = %session, reason = reason.as_str(), "session ended");
        }
        Event::AllSessionsEnded { user, count, reason } => {
            metrics.sessions_ended(*reason, *count);
            info!(user.id = %user, count, reason = reason.as_str(), "all sessions ended");
        }
        Event::TokenReuseDetected { user, session } => {
            warn!(user.id = %user, session.id = %session, "a used refresh token came back; its session is revoked");
        }
        Event::ForeignRefresh { user, session, answered } => {
            warn!(user.id = %user, session.id = %session, answered, "a previous refresh token came from another client");
        }
        Event::UnknownDeviceToken { user } => info!(user.id = %user, "a login with a device token that is not trusted"),
        Event::CredentialConflict { user } => {
            let user = user.map(|id| id.to_string()).unwrap_or_default();
            warn!(user.id = %user, "one request carried cookies of more than one session");
        }
        Event::PhoneVerified { user, .. } => {
            info!(user.id = %user, "phone number verified");
        }
        Event::PasswordChanged { user, by, sessions_revoked } => {
            info!(user.id = %user, by = by.as_str(), sessions_revoked, "password changed");
        }
        Event::PasswordHashUpgraded { user } => info!(user.id = %user, "password hashed anew"),
        Event::PasswordResetCompleted { user, by } => {
            metrics.auth_event(AuthEvent::PasswordReset, AuthMethod::EmailCode, AuthResult::Success, AuthError::None);
            info!(user.id = %user, by = by.as_str(), "password reset");
        }
        Event::PasswordResetFailed { user, .. } => {
            metrics.auth_event(AuthEvent::PasswordReset, AuthMethod::EmailCode, AuthResult::Failure, AuthError::Code);
            let user = user.map(|id| id.to_string()).unwrap_or_default();
            info!(user.id = %user, "password reset got a wrong code");
        }
        Event::LoginBlocked { user } => {
            metrics.auth_event(AuthEvent::Login, AuthMethod::Password, AuthResult::Failure, AuthError::Limited);
            let user = user.map(|id| id.to_string()).unwrap_or_default();
            info!(user.id = %user, "login refused: too many failures");
        }
        Event::LockoutTriggered { user, scope } => {
            metrics.locked_out(*scope);
            let user = user.map(|id| id.to_string()).unwrap_or_default();
            warn!(user.id = %user, scope = scope.as_str(), "too many logins have failed; the next ones have to wait");
        }
        Event::LockoutCleared { user, by } => info!(user.id = %user, by = by.as_str(), "lockout cleared"),
        Event::EmailChanged { user, .. } => info!(user.id = %user, "e-mail address changed"),
        Event::PhoneChanged { user } => info!(user.id = %user, "phone number changed"),
        Event::Factor { user, happened } => factor(*user, happened, metrics),
        Event::Risk { user, happened: RiskEvent::Assessed, risk } => {
            let (level, action) = (risk.level.as_str(), risk.action.as_str());
            info!(user.id = %user, signs = risk.names().join(","), score = risk.score, level, action, "unusual login");
        }
        Event::Risk { user, happened: RiskEvent::Bypassed { because }, .. } => {
            info!(user.id = %user, because, "an unusual login is not asked for a second factor");
        }
        Event::DeviceTrusted { user, .. } => info!(user.id = %user, "device trusted"),
        Event::DevicesUntrusted { user, count } => info!(user.id = %user, count, "devices no longer trusted"),
        Event::PasswordChangeForced { user, by } => {
            info!(user.id = %user, by = by.as_str(), "the next login must set another password");
        }
        Event::AccountDisabled { user, by, .. } => info!(user.id = %user, by = by.as_str(), "account disabled"),
        Event::AccountEnabled { user, by } => info!(user.id = %user, by = by.as_str(), "account enabled"),
        Event::AccountDeleted { user, by } => info!(user.id = %user, by = by.as_str(), "account deleted"),
        Event::RoleGranted { user, role, by } => {
            info!(user.id = %user, role = role.as_str(), by = by.as_str(), "role granted");
        }
        Event::RoleRevoked { user, role, by } => {
            info!(user.id = %user, role = role.as_str(), by = by.as_str(), "role revoked");
        }
        Event::AccessDenied { user, denied, .. } => {
            info!(user.id = %user, route = denied.route, reason = denied.reason, "access denied");
        }
        Event::StateRestored { sessions_ended } => {
            warn!(sessions_ended, "the database was put back to an earlier state");
        }
        // Counted and logged where it is given up, like every other message.
        Event::WebhookFailed { .. }
        | Event::SignupReplaced { .. }
        | Event::SignupLapsed { .. }
        | Event::SessionCreated { .. }
        | Event::ChallengeCreated { .. }
        | Event::ChallengeCompleted { .. }
        | Event::EmailVerificationRequested { .. }
        | Event::PhoneVerificationRequested { .. }
        | Event::AccountCompleted { .. }
        | Event::LoginChallenged { .. }
        | Event::VerificationFailed { .. }
        | Event::PasswordResetRequested { .. }
        | Event::ForcedPasswordChanged { .. }
        | Event::UsernameChanged { .. }
        | Event::ConfigReloaded { .. }
        | Event::ProfileUpdated { .. }
        | Event::ContactChangeRequested { .. }
        | Event::ContactUnverified { .. }
        | Event::Reauthenticated { .. }
        | Event::Risk { happened: RiskEvent::Triggered, .. }
        | Event::SessionRefreshed { .. } => {}
    }
}

fn factor(user: UserId, happened: &FactorEvent, metrics: &Metrics) {
    match happened {
        FactorEvent::Proven { method, .. } => {
            metrics.auth_event(AuthEvent::Mfa, of(*method), AuthResult::Success, AuthError::None);
            info!(user.id = %user, method = method.as_str(), "second factor proven");
        }
        FactorEvent::Failed { method, .. } => {
            metrics.auth_event(AuthEvent::Mfa, of(*method), AuthResult::Failure, AuthError::Code);
            info!(user.id = %user, method = method.as_str(), "second factor refused");
        }
        FactorEvent::Added { method, .. } => info!(user.id = %user, method = method.as_str(), "second factor set up"),
        FactorEvent::Removed { method, by, .. } => {
            info!(user.id = %user, method = method.as_str(), by = by.as_str(), "second factor removed");
        }
        FactorEvent::Cloned { factor } => {
            warn!(user.id = %user, factor.id = factor, "a passkey's counter went back: somebody has a copy");
        }
        FactorEvent::BackupCodesGenerated { count } => info!(user.id = %user, count, "backup codes made"),
        FactorEvent::ExemptionGranted { by, .. } => {
            info!(user.id = %user, by = by.as_str(), "not asked for a second factor any more");
        }
        FactorEvent::ExemptionRevoked { by } => {
            info!(user.id = %user, by = by.as_str(), "asked for a second factor again");
        }
        FactorEvent::Preferred { .. } => {}
    }
}

/// A login as it is counted.
fn login(with: LoginWith) -> AuthMethod {
    match with {
        LoginWith::Password => AuthMethod::Password,
        LoginWith::Passkey => AuthMethod::Passkey,
    }
}

/// A method as it is counted.
fn of(method: Method) -> AuthMethod {
    match method {
        Method::Totp => AuthMethod::Totp,
        Method::Passkey => AuthMethod::Passkey,
        Method::Email => AuthMethod::EmailCode,
        Method::Sms => AuthMethod::SmsCode,
        Method::Backup => AuthMethod::BackupCode,
    }
}
