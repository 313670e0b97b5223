//! How the native wire says no: one closed list in, one body out.
//!
//! The gateway answers with the same body for what it refuses itself, so a client has one error
//! format to read, wherever the refusal comes from.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::dialect::Rendered;
use crate::domain::assurance::StepUp;
use crate::domain::clock::Time;
use crate::domain::error::{Error, FieldError, Limit};
use crate::domain::factor::Method;

/// When it is worth coming back after "temporarily unavailable".
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(2);

/// The body of every refusal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    status_code: u16,
    code: &'static str,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    timestamp: String,
    path: &'a str,
}

/// Writes `error` as the answer to a request for `path` (without its query, which may hold secrets).
#[must_use]
pub fn render(error: &Error, path: &str, now: Time) -> Rendered {
    let (status, code) = status_and_code(error);
    let body = Body {
        status_code: status.as_u16(),
        code,
        message: message(error),
        details: details(error),
        timestamp: now.to_string(),
        path,
    };
    let body = serde_json::to_string(&body).expect("strings and numbers always serialise");
    Rendered { status, headers: headers(error, status), body }
}

/// Tells the operator about an error whose cause no client is told. Called once for each answer.
pub fn report(error: &Error, request_id: &str) {
    match error {
        Error::Internal(source) => {
            tracing::error!(request.id = request_id, error = %crate::logging::chain(source.as_ref()), "a bug");
        }
        Error::Unavailable(source) => {
            tracing::warn!(request.id = request_id, error = %crate::logging::chain(source.as_ref()), "temporarily unavailable");
        }
        _ => {}
    }
}

/// The status and the code clients switch on.
fn status_and_code(error: &Error) -> (StatusCode, &'static str) {
    match error {
        Error::BadRequest(_) => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        Error::Validation(_)
        | Error::InvalidInput(_)
        | Error::InvalidField { .. }
        | Error::Conflicts(_)
        | Error::FactorNotOffered(_) => (StatusCode::BAD_REQUEST, "VALIDATION_FAILED"),
        Error::NotFound | Error::DeviceNotFound(_) | Error::NoFactor(_) => {
            (StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND")
        }
        Error::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
        Error::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
        Error::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE"),
        Error::Misdirected(_) => (StatusCode::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST"),
        Error::HeaderTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADER_TOO_LARGE"),
        Error::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT"),
        Error::BadGateway => (StatusCode::BAD_GATEWAY, "BAD_GATEWAY"),
        Error::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, "GATEWAY_TIMEOUT"),

        Error::InvalidCredentials => (StatusCode::UNAUTHORIZED, "AUTH_INVALID_CREDENTIALS"),
        Error::AccountLocked { .. } => (StatusCode::FORBIDDEN, "AUTH_ACCOUNT_LOCKED"),
        Error::TokenMissing | Error::TokenInvalid(_) | Error::TokenExpired | Error::CredentialConflict => {
            (StatusCode::UNAUTHORIZED, "AUTH_TOKEN_INVALID")
        }
        Error::SessionNotFound(_) => (StatusCode::UNAUTHORIZED, "AUTH_SESSION_NOT_FOUND"),
        Error::SessionExpired => (StatusCode::UNAUTHORIZED, "AUTH_SESSION_EXPIRED"),
        Error::TokenReused => (StatusCode::UNAUTHORIZED, "AUTH_TOKEN_REUSE_DETECTED"),
        Error::BearerNotAllowed => (StatusCode::UNAUTHORIZED, "AUTH_BEARER_NOT_ALLOWED"),
        Error::CookiesNotAllowed => (StatusCode::UNAUTHORIZED, "AUTH_COOKIES_NOT_ALLOWED"),
        Error::CsrfMissing => (StatusCode::UNAUTHORIZED, "AUTH_CSRF_TOKEN_MISSING"),
        Error::CsrfInvalid => (StatusCode::UNAUTHORIZED, "AUTH_CSRF_TOKEN_INVALID"),
        Error::StepUpRequired(_) => (StatusCode::UNAUTHORIZED, "AUTH_STEP_UP_REQUIRED"),
        Error::Forbidden(_) | Error::LoginDenied { .. } => (StatusCode::FORBIDDEN, "FORBIDDEN"),

        Error::SignInBlocked { .. } => (StatusCode::BAD_REQUEST, "SIGNIN_BLOCKED_HIGH_RISK"),
        Error::SignupDisabled => (StatusCode::FORBIDDEN, "SIGNUP_DISABLED"),
        Error::EmailTaken => (StatusCode::CONFLICT, "SIGNUP_EMAIL_EXISTS"),
        Error::UsernameTaken => (StatusCode::CONFLICT, "SIGNUP_USERNAME_EXISTS"),
        Error::PhoneTaken => (StatusCode::CONFLICT, "SIGNUP_PHONE_EXISTS"),
        Error::PhoneRequired { .. } => (StatusCode::BAD_REQUEST, "SIGNUP_PHONE_REQUIRED"),
        Error::PhoneInvalid(_) => (StatusCode::BAD_REQUEST, "VALIDATION_INVALID_PHONE"),
        Error::SignupNotAllowed(_) => (StatusCode::BAD_REQUEST, "SIGNUP_NOT_ALLOWED"),
        Error::SignupDenied { .. } => (StatusCode::BAD_REQUEST, "SIGNUP_PRESIGNUP_FAILED"),
        Error::PasswordIncorrect => (StatusCode::BAD_REQUEST, "PASSWORD_INCORRECT"),
        Error::PasswordReused => (StatusCode::BAD_REQUEST, "PASSWORD_REUSED"),
        Error::PasswordChangeNotAllowed(_) => (StatusCode::BAD_REQUEST, "PASSWORD_CHANGE_NOT_ALLOWED"),
        Error::ResetCodeInvalid => (StatusCode::BAD_REQUEST, "PASSWORD_RESET_CODE_INVALID"),
        Error::ResetCodeExpired => (StatusCode::BAD_REQUEST, "PASSWORD_RESET_CODE_EXPIRED"),
        Error::ResetExhausted => (StatusCode::BAD_REQUEST, "PASSWORD_RESET_MAX_ATTEMPTS"),
        Error::WeakPassword(_) => (StatusCode::BAD_REQUEST, "SIGNUP_WEAK_PASSWORD"),

        Error::ChallengeInvalid | Error::NoCeremony => (StatusCode::BAD_REQUEST, "CHALLENGE_INVALID"),
        Error::ChallengeExpired => (StatusCode::BAD_REQUEST, "CHALLENGE_EXPIRED"),
        Error::ChallengeCompleted => (StatusCode::BAD_REQUEST, "CHALLENGE_ALREADY_COMPLETED"),
        Error::ChallengeExhausted => (StatusCode::BAD_REQUEST, "CHALLENGE_MAX_ATTEMPTS"),
        Error::CodeInvalid | Error::WrongFactor => (StatusCode::BAD_REQUEST, "VERIFY_CODE_INVALID"),
        Error::CodeExpired => (StatusCode::BAD_REQUEST, "VERIFY_CODE_EXPIRED"),
        Error::CodeExhausted => (StatusCode::BAD_REQUEST, "VERIFY_TOO_MANY_ATTEMPTS"),

        Error::RateLimited { limit, .. } => (StatusCode::TOO_MANY_REQUESTS, limit_code(*limit)),

        Error::Unavailable(_) | Error::UpstreamBusy => (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
    }
}

fn limit_code(limit: Limit) -> &'static str {
    match limit {
        Limit::EmailSend { .. } => "RATE_LIMIT_EMAIL",
        Limit::SmsSend { .. } => "RATE_LIMIT_SMS",
        Limit::Resend { .. } => "RATE_LIMIT_RESEND",
        Limit::PasswordReset => "RATE_LIMIT_PASSWORD_RESET",
        Limit::Login => "RATE_LIMIT_LOGIN",
        Limit::Requests => "RATE_LIMIT_EXCEEDED",
    }
}

/// The sentence for people. The wire's begin with a capital letter.
fn message(error: &Error) -> Cow<'_, str> {
    match error {
        Error::AccountLocked { reason, .. } if !reason.is_empty() => reason.into(),
        Error::AccountLocked { .. } => "Account is locked".into(),
        Error::RateLimited { limit: Limit::Resend { .. }, retry_after } => {
            format!("Please wait {} seconds before requesting another code", whole_seconds(*retry_after)).into()
        }
        Error::Internal(_) => "Internal server error".into(),
        other => capitalised(&other.to_string()).into(),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What a program needs beyond the code.
fn details(error: &Error) -> Option<Value> {
    match error {
        Error::Validation(problems) => Some(json!({ "validationErrors": by_field(problems) })),
        Error::AccountLocked { reason, since, until } => Some(json!({
            "lockReason": reason,
            "lockedAt": since.to_string(),
            "lockedUntil": until.map(|until| until.to_string()),
            "isPermanent": until.is_none(),
        })),
        Error::NoFactor(method) => Some(json!({ "deviceType": method.as_str() })),
        Error::FactorNotOffered(method) => Some(json!({ "feature": feature(*method) })),
        Error::SignInBlocked { until, .. } => until.map(|until| json!({ "expiresAt": until.to_string() })),
        Error::InvalidField { field, .. } => Some(json!({ "field": field })),
        Error::Conflicts(conflicts) => Some(json!({ "conflicts": conflicts })),
        Error::DeviceNotFound(id) => Some(json!({ "deviceId": id })),
        Error::PhoneRequired { verification_method } => Some(json!({ "verificationMethod": verification_method })),
        Error::Forbidden(denial) => Some(json!({ "reason": denial.as_str() })),
        Error::StepUpRequired(wanted) => Some(step_up_details(*wanted)),
        Error::WeakPassword(errors) => Some(json!({ "errors": errors })),
        Error::RateLimited { limit, retry_after } => Some(limit_details(*limit, *retry_after)),
        _ => None,
    }
}

/// What the wire calls the part of the product a method belongs to.
fn feature(method: Method) -> &'static str {
    match method {
        Method::Totp => "totp",
        Method::Passkey => "passkey",
        Method::Email => "email-mfa",
        Method::Sms => "sms-mfa",
        Method::Backup => "backup-codes",
    }
}

fn step_up_details(wanted: StepUp) -> Value {
    let mut details = serde_json::Map::new();
    if let Some(aal) = wanted.aal {
        details.insert("requiredAcr".to_owned(), json!(aal.as_str()));
    }
    if let Some(age) = wanted.max_age {
        details.insert("maxAge".to_owned(), json!(age.as_secs()));
    }
    Value::Object(details)
}

fn limit_details(limit: Limit, retry_after: Duration) -> Value {
    let retry_after = whole_seconds(retry_after);
    match limit {
        Limit::EmailSend { count, max } | Limit::SmsSend { count, max } => {
            json!({ "retryAfter": retry_after, "currentCount": count, "maxAttempts": max })
        }
        Limit::Resend { delay } => json!({ "retryAfter": retry_after, "resendDelay": whole_seconds(delay) }),
        Limit::PasswordReset | Limit::Login | Limit::Requests => json!({ "retryAfter": retry_after }),
    }
}

/// `{field: [sentence, …]}`.
fn by_field(problems: &[FieldError]) -> serde_json::Map<String, Value> {
    let mut fields = serde_json::Map::new();
    for problem in problems {
        let sentences = fields.entry(&problem.field).or_insert_with(|| json!([]));
        sentences.as_array_mut().expect("inserted above as one").push(json!(problem.message));
    }
    fields
}

fn headers(error: &Error, status: StatusCode) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    if status == StatusCode::UNAUTHORIZED {
        headers.push((header::WWW_AUTHENTICATE, bearer_challenge(error)));
    }
    if let Some(wait) = retry_after(error) {
        headers.push((header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait))));
    }
    if let Error::MethodNotAllowed(allowed) = error
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        headers.push((header::ALLOW, allowed));
    }
    headers
}

/// RFC 6750, section 3: the error attribute only when a token was shown.
fn bearer_challenge(error: &Error) -> HeaderValue {
    HeaderValue::from_static(match error {
        Error::StepUpRequired(wanted) => return step_up_challenge(*wanted),
        Error::TokenInvalid(_)
        | Error::TokenExpired
        | Error::TokenReused
        | Error::SessionNotFound(_)
        | Error::SessionExpired
        | Error::CredentialConflict => r#"Bearer error="invalid_token""#,
        _ => "Bearer",
    })
}

/// RFC 9470, section 3.
fn step_up_challenge(wanted: StepUp) -> HeaderValue {
    let mut challenge = r#"Bearer error="insufficient_user_authentication""#.to_owned();
    for (name, value) in wanted.parameters() {
        let _ = write!(challenge, r#", {name}="{value}""#);
    }
    HeaderValue::from_str(&challenge).expect("levels and numbers are printable")
}

fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::RateLimited { retry_after, .. } => Some(*retry_after),
        Error::Unavailable(_) | Error::UpstreamBusy => Some(UNAVAILABLE_RETRY),
        _ => None,
    }
}

/// Rounded up, so that a client that waits exactly so long is not refused again; at least 1.
fn whole_seconds(span: Duration) -> u64 {
    let started = u64::from(span.subsec_nanos() > 0);
    span.as_secs().saturating_add(started).max(1)
}

#[cfg(test)]
mod tests;
