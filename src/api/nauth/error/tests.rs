//! The table of errors: every one of them, as clients see it.

use crate::domain::factor::Method;
use std::collections::BTreeSet;

use super::*;
use crate::domain::assurance::Aal;
use crate::domain::error::Denial;

fn wait(millis: u64, limit: Limit) -> Error {
    Error::RateLimited { limit, retry_after: Duration::from_millis(millis) }
}

fn step_up() -> Error {
    Error::StepUpRequired(StepUp { aal: Some(Aal::Two), max_age: Some(Duration::from_mins(15)) })
}

fn body(error: &Error) -> Value {
    serde_json::from_str(&render(error, "/auth/login", Time::from_secs(0)).body).unwrap()
}

fn header_of(error: &Error, name: &HeaderName) -> Option<String> {
    let rendered = render(error, "/", Time::from_secs(0));
    let found = rendered.headers.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.to_str().unwrap().to_owned())
}

#[test]
fn every_error_has_its_status_code_and_sentence() {
    let locked =
        |reason: &str| Error::AccountLocked { reason: reason.to_owned(), since: Time::from_secs(0), until: None };
    let needs_phone = Error::PhoneRequired { verification_method: "both" };
    let cases: Vec<(Error, u16, &str, &str)> = vec![
        (Error::BadRequest("no Host"), 400, "BAD_REQUEST", "No Host"),
        (Error::Validation(vec![]), 400, "VALIDATION_FAILED", "Validation failed"),
        (Error::InvalidInput("Malformed JSON".to_owned()), 400, "VALIDATION_FAILED", "Malformed JSON"),
        (Error::DeviceNotFound(7), 404, "RESOURCE_NOT_FOUND", "Device not found"),
        (Error::NotFound, 404, "RESOURCE_NOT_FOUND", "Not found"),
        (Error::MethodNotAllowed("GET".to_owned()), 405, "METHOD_NOT_ALLOWED", "Method not allowed"),
        (Error::PayloadTooLarge, 413, "PAYLOAD_TOO_LARGE", "The body is too large"),
        (Error::UnsupportedMediaType, 415, "UNSUPPORTED_MEDIA_TYPE", "Send application/json"),
        (Error::Misdirected("not ours".to_owned()), 421, "MISDIRECTED_REQUEST", "Not ours"),
        (Error::HeaderTooLarge, 431, "HEADER_TOO_LARGE", "The request header is too large"),
        (Error::RequestTimeout, 408, "REQUEST_TIMEOUT", "The request did not arrive in time"),
        (Error::BadGateway, 502, "BAD_GATEWAY", "The upstream cannot be reached"),
        (Error::GatewayTimeout, 504, "GATEWAY_TIMEOUT", "The upstream did not answer in time"),
        (Error::UpstreamBusy, 503, "SERVICE_UNAVAILABLE", "The upstream is busy; try again later"),
        (Error::InvalidCredentials, 401, "AUTH_INVALID_CREDENTIALS", "Invalid credentials"),
        (locked("unpaid"), 403, "AUTH_ACCOUNT_LOCKED", "unpaid"),
        (locked(""), 403, "AUTH_ACCOUNT_LOCKED", "Account is locked"),
        (Error::TokenMissing, 401, "AUTH_TOKEN_INVALID", "No token provided"),
        (Error::TokenInvalid("Invalid token"), 401, "AUTH_TOKEN_INVALID", "Invalid token"),
        (Error::TokenExpired, 401, "AUTH_TOKEN_INVALID", "Token has expired"),
        (Error::SessionNotFound("Session not found"), 401, "AUTH_SESSION_NOT_FOUND", "Session not found"),
        (Error::SessionExpired, 401, "AUTH_SESSION_EXPIRED", "Session has expired"),
        (Error::TokenReused, 401, "AUTH_TOKEN_REUSE_DETECTED", "Refresh token has already been used"),
        (Error::BearerNotAllowed, 401, "AUTH_BEARER_NOT_ALLOWED", "Bearer tokens are not accepted here"),
        (Error::CookiesNotAllowed, 401, "AUTH_COOKIES_NOT_ALLOWED", "Cookies are not accepted here"),
        (Error::CredentialConflict, 401, "AUTH_TOKEN_INVALID", "The cookies belong to more than one session"),
        (Error::CsrfMissing, 401, "AUTH_CSRF_TOKEN_MISSING", "CSRF token missing"),
        (Error::CsrfInvalid, 401, "AUTH_CSRF_TOKEN_INVALID", "CSRF token invalid"),
        (step_up(), 401, "AUTH_STEP_UP_REQUIRED", "A stronger or more recent login is required"),
        (Error::Forbidden(Denial::Role), 403, "FORBIDDEN", "A required role is missing"),
        (Error::SignupDisabled, 403, "SIGNUP_DISABLED", "Signup is disabled"),
        (Error::EmailTaken, 409, "SIGNUP_EMAIL_EXISTS", "Email already exists"),
        (Error::UsernameTaken, 409, "SIGNUP_USERNAME_EXISTS", "Username already exists"),
        (Error::WeakPassword(vec![]), 400, "SIGNUP_WEAK_PASSWORD", "Password does not meet the requirements"),
        (Error::ChallengeInvalid, 400, "CHALLENGE_INVALID", "Invalid or expired challenge session"),
        (Error::NoCeremony, 400, "CHALLENGE_INVALID", "No passkey challenge found in session"),
        (Error::NoFactor(Method::Passkey), 404, "RESOURCE_NOT_FOUND", "No passkey is registered"),
        (Error::ChallengeExpired, 400, "CHALLENGE_EXPIRED", "The challenge has expired"),
        (Error::ChallengeCompleted, 400, "CHALLENGE_ALREADY_COMPLETED", "The challenge was already completed"),
        (Error::ChallengeExhausted, 400, "CHALLENGE_MAX_ATTEMPTS", "Too many attempts; start again"),
        (Error::CodeInvalid, 400, "VERIFY_CODE_INVALID", "Invalid or expired verification code"),
        (Error::WrongFactor, 400, "VERIFY_CODE_INVALID", "Invalid MFA code"),
        (Error::FactorNotOffered(Method::Sms), 400, "VALIDATION_FAILED", "MFA provider 'sms' is not registered"),
        (Error::CodeExpired, 400, "VERIFY_CODE_EXPIRED", "The verification code has expired"),
        (
            wait(1, Limit::EmailSend { count: 4, max: 3 }),
            429,
            "RATE_LIMIT_EMAIL",
            "Too many verification e-mails; try again later",
        ),
        (
            wait(41_500, Limit::Resend { delay: Duration::from_mins(1) }),
            429,
            "RATE_LIMIT_RESEND",
            "Please wait 42 seconds before requesting another code",
        ),
        (Error::InvalidField { field: "phone", message: "not here".to_owned() }, 400, "VALIDATION_FAILED", "Not here"),
        (
            Error::Conflicts(vec!["Email already exists", "Phone number already exists"]),
            400,
            "VALIDATION_FAILED",
            "Email already exists, Phone number already exists",
        ),
        (blocked(None), 400, "SIGNIN_BLOCKED_HIGH_RISK", "No"),
        (Error::LoginDenied { message: "Not today".to_owned() }, 403, "FORBIDDEN", "Not today"),
        (Error::SignupDenied { message: "ask first".to_owned() }, 400, "SIGNUP_PRESIGNUP_FAILED", "Ask first"),
        (Error::SignupNotAllowed("by invitation"), 400, "SIGNUP_NOT_ALLOWED", "By invitation"),
        (Error::PhoneTaken, 409, "SIGNUP_PHONE_EXISTS", "Phone number already exists"),
        (needs_phone, 400, "SIGNUP_PHONE_REQUIRED", "A phone number is required"),
        (Error::PhoneInvalid("not a number"), 400, "VALIDATION_INVALID_PHONE", "Not a number"),
        (Error::PasswordIncorrect, 400, "PASSWORD_INCORRECT", ""),
        (Error::PasswordReused, 400, "PASSWORD_REUSED", ""),
        (Error::PasswordChangeNotAllowed("send none"), 400, "PASSWORD_CHANGE_NOT_ALLOWED", "Send none"),
        (Error::ResetCodeInvalid, 400, "PASSWORD_RESET_CODE_INVALID", ""),
        (Error::ResetCodeExpired, 400, "PASSWORD_RESET_CODE_EXPIRED", ""),
        (Error::ResetExhausted, 400, "PASSWORD_RESET_MAX_ATTEMPTS", ""),
        (Error::CodeExhausted, 400, "VERIFY_TOO_MANY_ATTEMPTS", ""),
        (wait(1, Limit::SmsSend { count: 4, max: 3 }), 429, "RATE_LIMIT_SMS", ""),
        (wait(1, Limit::PasswordReset), 429, "RATE_LIMIT_PASSWORD_RESET", ""),
        (wait(1, Limit::Login), 429, "RATE_LIMIT_LOGIN", ""),
        (wait(1, Limit::Requests), 429, "RATE_LIMIT_EXCEEDED", ""),
        (Error::Unavailable("disk full".into()), 503, "SERVICE_UNAVAILABLE", "Temporarily unavailable"),
        (Error::Internal("a secret path".into()), 500, "INTERNAL_ERROR", "Internal server error"),
    ];
    let told: BTreeSet<usize> = cases.iter().map(|(error, ..)| number(error)).collect();
    assert_eq!(told, (0..VARIANTS).collect(), "an error has no case above");
    for (error, status, code, message) in cases {
        let body = body(&error);
        assert_eq!(render(&error, "/", Time::from_secs(0)).status.as_u16(), status, "{error:?}");
        assert_eq!(body["statusCode"], status, "{error:?}");
        assert_eq!(body["code"], code, "{error:?}");
        let told = body["message"].as_str().unwrap();
        assert!(told.chars().next().is_some_and(|first| !first.is_whitespace()), "{error:?}");
        assert!(message.is_empty() || told == message, "{error:?}: {told}");
    }
}

#[test]
fn the_body_says_when_and_where() {
    let body = body(&Error::InvalidCredentials);

    assert_eq!(body["timestamp"], "1970-01-01T00:00:00.000Z");
    assert_eq!(body["path"], "/auth/login");
    assert!(body.get("details").is_none());
}

#[test]
fn details_carry_what_programs_need() {
    let validation = Error::Validation(vec![
        FieldError::new("email", "email must be an email address"),
        FieldError::new("code", "one"),
        FieldError::new("code", "two"),
    ]);
    let locked = Error::AccountLocked { reason: "unpaid".to_owned(), since: Time::from_secs(0), until: None };
    let cases = [
        (
            validation,
            json!({"validationErrors": {"email": ["email must be an email address"], "code": ["one", "two"]}}),
        ),
        (
            locked,
            json!({"lockReason": "unpaid", "lockedAt": "1970-01-01T00:00:00.000Z", "lockedUntil": null, "isPermanent": true}),
        ),
        (Error::DeviceNotFound(7), json!({"deviceId": 7})),
        (blocked(Some(Time::from_secs(0))), json!({"expiresAt": "1970-01-01T00:00:00.000Z"})),
        (Error::Forbidden(Denial::CrossSite), json!({"reason": "cross_site"})),
        (step_up(), json!({"requiredAcr": "aal2", "maxAge": 900})),
        (Error::WeakPassword(vec!["too short".to_owned()]), json!({"errors": ["too short"]})),
        (
            wait(1_001, Limit::EmailSend { count: 4, max: 3 }),
            json!({"retryAfter": 2, "currentCount": 4, "maxAttempts": 3}),
        ),
    ];
    for (error, details) in cases {
        assert_eq!(body(&error)["details"], details, "{error:?}");
    }
}

#[test]
fn headers_tell_when_to_come_back_and_with_what() {
    let www = header::WWW_AUTHENTICATE;

    assert_eq!(
        header_of(&wait(0, Limit::Resend { delay: Duration::from_mins(1) }), &header::RETRY_AFTER).as_deref(),
        Some("1")
    );
    assert_eq!(header_of(&Error::Unavailable("x".into()), &header::RETRY_AFTER).as_deref(), Some("2"));
    assert_eq!(header_of(&Error::NotFound, &header::RETRY_AFTER), None);
    assert_eq!(header_of(&Error::MethodNotAllowed("GET,HEAD".into()), &header::ALLOW).as_deref(), Some("GET,HEAD"));
    assert_eq!(header_of(&Error::TokenMissing, &www).as_deref(), Some("Bearer"));
    assert_eq!(header_of(&Error::TokenExpired, &www).as_deref(), Some(r#"Bearer error="invalid_token""#));
    let challenge = r#"Bearer error="insufficient_user_authentication", acr_values="aal2", max_age="900""#;
    assert_eq!(header_of(&step_up(), &www).as_deref(), Some(challenge));
    assert_eq!(header_of(&Error::NotFound, &header::CACHE_CONTROL).as_deref(), Some("no-store"));
}

#[test]
fn causes_never_reach_the_wire() {
    for error in [Error::Internal("secret".into()), Error::Unavailable("secret".into())] {
        assert!(!render(&error, "/", Time::from_secs(0)).body.contains("secret"));
    }
}

fn blocked(until: Option<Time>) -> Error {
    Error::SignInBlocked { message: "no".to_owned(), until }
}

/// How many kinds of errors there are.
const VARIANTS: usize = 62;

/// A number for each kind; a new one does not compile until it has one here, and a case above.
fn number(error: &Error) -> usize {
    match error {
        Error::BadRequest(..) => 0,
        Error::Validation(..) => 1,
        Error::InvalidInput(..) => 2,
        Error::InvalidField { .. } => 3,
        Error::Conflicts(..) => 4,
        Error::NotFound => 5,
        Error::MethodNotAllowed(..) => 6,
        Error::PayloadTooLarge => 7,
        Error::UnsupportedMediaType => 8,
        Error::Misdirected(..) => 9,
        Error::HeaderTooLarge => 10,
        Error::RequestTimeout => 11,
        Error::BadGateway => 12,
        Error::GatewayTimeout => 13,
        Error::InvalidCredentials => 14,
        Error::AccountLocked { .. } => 15,
        Error::TokenMissing => 16,
        Error::TokenInvalid(..) => 17,
        Error::TokenExpired => 18,
        Error::SessionNotFound(..) => 19,
        Error::SessionExpired => 20,
        Error::TokenReused => 21,
        Error::BearerNotAllowed => 22,
        Error::CookiesNotAllowed => 23,
        Error::CredentialConflict => 24,
        Error::CsrfMissing => 25,
        Error::CsrfInvalid => 26,
        Error::Forbidden(..) => 27,
        Error::SignupDisabled => 28,
        Error::SignupNotAllowed(..) => 29,
        Error::SignupDenied { .. } => 30,
        Error::LoginDenied { .. } => 31,
        Error::PhoneTaken => 32,
        Error::PhoneRequired { .. } => 33,
        Error::PhoneInvalid(..) => 34,
        Error::EmailTaken => 35,
        Error::UsernameTaken => 36,
        Error::WeakPassword(..) => 37,
        Error::PasswordIncorrect => 38,
        Error::PasswordReused => 39,
        Error::PasswordChangeNotAllowed(..) => 40,
        Error::ResetCodeInvalid => 41,
        Error::ResetCodeExpired => 42,
        Error::ResetExhausted => 43,
        Error::ChallengeInvalid => 44,
        Error::ChallengeExpired => 45,
        Error::ChallengeCompleted => 46,
        Error::ChallengeExhausted => 47,
        Error::CodeInvalid => 48,
        Error::CodeExpired => 49,
        Error::CodeExhausted => 50,
        Error::RateLimited { .. } => 51,
        Error::Unavailable(..) => 52,
        Error::Internal(..) => 53,
        Error::StepUpRequired(..) => 54,
        Error::UpstreamBusy => 55,
        Error::DeviceNotFound(..) => 56,
        Error::NoFactor(..) => 57,
        Error::NoCeremony => 58,
        Error::SignInBlocked { .. } => 59,
        Error::FactorNotOffered(..) => 60,
        Error::WrongFactor => 61,
    }
}
