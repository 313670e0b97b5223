//! Everything that can go wrong for a client, as one closed list.
//!
//! Variants name the fact, not the HTTP status; each dialect renders the list with one exhaustive
//! match. What failed technically arrives as [`Error::Unavailable`] (a store or queue that cannot
//! serve now: honest 503, nothing is decided) or [`Error::Internal`] (a bug).

use std::time::Duration;

use crate::domain::assurance::StepUp;
use crate::domain::clock::Time;
use crate::domain::factor::Method;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The request itself.
    /// The request line, Host, path or a header is malformed.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Fields of the body are missing or malformed.
    #[error("validation failed")]
    Validation(Vec<FieldError>),
    /// The body as a whole cannot be used.
    #[error("{0}")]
    InvalidInput(String),
    /// One field is well-formed, but not what is expected here.
    #[error("{message}")]
    InvalidField {
        /// Its name.
        field: &'static str,
        /// What is wrong, in words.
        message: String,
    },
    /// A profile cannot be changed to what others have already. One sentence for each.
    #[error("{}", .0.join(", "))]
    Conflicts(Vec<&'static str>),
    /// Nothing is there.
    #[error("not found")]
    NotFound,
    /// The user has no device of this number.
    #[error("device not found")]
    DeviceNotFound(i64),
    /// Something is there, but not for this method. Carries the allowed ones, comma separated.
    #[error("method not allowed")]
    MethodNotAllowed(String),
    /// The body is larger than allowed.
    #[error("the body is too large")]
    PayloadTooLarge,
    /// The body is not JSON.
    #[error("send application/json")]
    UnsupportedMediaType,
    /// The Host is not one that nauth serves.
    #[error("{0}")]
    Misdirected(String),
    /// The header fields are larger than allowed.
    #[error("the request header is too large")]
    HeaderTooLarge,
    /// The request did not arrive in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,

    // Behind the gateway.
    /// The upstream cannot be reached or broke off.
    #[error("the upstream cannot be reached")]
    BadGateway,
    /// The upstream did not answer in time.
    #[error("the upstream did not answer in time")]
    GatewayTimeout,
    /// As many requests are under way to the upstream as may be.
    #[error("the upstream is busy; try again later")]
    UpstreamBusy,

    // Credentials and tokens.
    /// Identifier or password is wrong; which one is not told.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// The account is disabled.
    #[error("the account is locked")]
    AccountLocked {
        /// In the operator's words.
        reason: String,
        /// Since when.
        since: Time,
        /// When it ends by itself; `None` = an operator ends it.
        until: Option<Time>,
    },
    /// No token came with the request.
    #[error("no token provided")]
    TokenMissing,
    /// The token is malformed, badly signed, of another purpose or of an older claims version.
    #[error("{0}")]
    TokenInvalid(&'static str),
    /// The token was good once.
    #[error("token has expired")]
    TokenExpired,
    /// The session of the token is gone or revoked.
    #[error("{0}")]
    SessionNotFound(&'static str),
    /// The session is past its lifetime.
    #[error("session has expired")]
    SessionExpired,
    /// A refresh token came back after its successor was in use; its family is revoked.
    #[error("refresh token has already been used")]
    TokenReused,
    /// A bearer token where only cookies are accepted.
    #[error("bearer tokens are not accepted here")]
    BearerNotAllowed,
    /// A session cookie where only bearer tokens are accepted.
    #[error("cookies are not accepted here")]
    CookiesNotAllowed,
    /// Cookies of more than one session.
    #[error("the cookies belong to more than one session")]
    CredentialConflict,
    /// The CSRF header or cookie is absent.
    #[error("CSRF token missing")]
    CsrfMissing,
    /// The CSRF header and cookie differ or belong to another session.
    #[error("CSRF token invalid")]
    CsrfInvalid,
    /// Known, but not surely or not freshly enough for what is asked (RFC 9470).
    #[error("a stronger or more recent login is required")]
    StepUpRequired(StepUp),
    /// Known, but not allowed.
    #[error("{}", .0.message())]
    Forbidden(Denial),

    // Accounts.
    /// Nobody may sign up.
    #[error("signup is disabled")]
    SignupDisabled,
    /// This address may not sign up: its domain, or a missing or used invitation.
    #[error("{0}")]
    SignupNotAllowed(&'static str),
    /// A hook of the operator refused the signup.
    #[error("{message}")]
    SignupDenied {
        /// In the operator's words.
        message: String,
    },
    /// A hook of the operator refused the login.
    #[error("{message}")]
    LoginDenied {
        /// In the operator's words.
        message: String,
    },
    /// The login is too unusual.
    #[error("{message}")]
    SignInBlocked {
        /// In the operator's words.
        message: String,
        /// Until when it is no use to try again; `None` where it is worth it from elsewhere at once.
        until: Option<Time>,
    },
    /// The number belongs to another account.
    #[error("phone number already exists")]
    PhoneTaken,
    /// A phone number must be given.
    #[error("a phone number is required")]
    PhoneRequired {
        /// `signup.verification_method`, as written.
        verification_method: &'static str,
    },
    /// Not a phone number that can be used here.
    #[error("{0}")]
    PhoneInvalid(&'static str),
    /// The address belongs to a complete account.
    #[error("email already exists")]
    EmailTaken,
    /// The name belongs to another account.
    #[error("username already exists")]
    UsernameTaken,
    /// The password does not meet the policy. One sentence for each rule it misses.
    #[error("password does not meet the requirements")]
    WeakPassword(Vec<String>),

    /// The present password is not the one given.
    #[error("current password is incorrect")]
    PasswordIncorrect,
    /// The password was used before.
    #[error("this password was used before; choose another one")]
    PasswordReused,
    /// The account has no password that could be changed.
    #[error("{0}")]
    PasswordChangeNotAllowed(&'static str),
    /// The reset code is wrong.
    #[error("invalid or expired password reset code")]
    ResetCodeInvalid,
    /// The reset code was right once.
    #[error("the password reset code has expired")]
    ResetCodeExpired,
    /// Too many wrong tries for a reset code.
    #[error("too many attempts; request a new password reset code")]
    ResetExhausted,

    // Challenges and codes.
    /// A factor is asked for that the user has not.
    #[error("no {} is registered", .0.as_str())]
    NoFactor(Method),
    /// A factor of this kind may not be set up here.
    #[error("MFA provider '{}' is not registered", .0.as_str())]
    FactorNotOffered(Method),
    /// What was shown proves no factor.
    #[error("invalid MFA code")]
    WrongFactor,
    /// Nothing was asked that this could be the answer to.
    #[error("no passkey challenge found in session")]
    NoCeremony,
    /// No such challenge, or it is void.
    #[error("invalid or expired challenge session")]
    ChallengeInvalid,
    /// The challenge has lapsed.
    #[error("the challenge has expired")]
    ChallengeExpired,
    /// The challenge was answered before.
    #[error("the challenge was already completed")]
    ChallengeCompleted,
    /// Too many wrong answers.
    #[error("too many attempts; start again")]
    ChallengeExhausted,
    /// The code is wrong.
    #[error("invalid or expired verification code")]
    CodeInvalid,
    /// The code was right once.
    #[error("the verification code has expired")]
    CodeExpired,
    /// Too many wrong codes for the code that was sent; a new one helps.
    #[error("too many verification attempts; request a new code")]
    CodeExhausted,

    // Limits.
    /// Too often.
    #[error("{}", .limit.message())]
    RateLimited {
        /// Which limit.
        limit: Limit,
        /// When it is worth trying again.
        retry_after: Duration,
    },

    // Us.
    /// Something nauth depends on cannot serve now. Nothing was decided, nothing was changed.
    #[error("temporarily unavailable")]
    Unavailable(#[source] Source),
    /// A bug. Logged once, with the request's id.
    #[error("internal error")]
    Internal(#[source] Source),
}

/// The technical cause behind an error; logged at the edge, never on the wire.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What is wrong with one field of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, dotted when nested.
    pub field: String,
    /// What is wrong, in words.
    pub message: String,
}

impl FieldError {
    /// One problem of one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why a known caller may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// A role is missing.
    Role,
    /// The credential lacks a scope.
    Scope,
    /// The e-mail address is not verified.
    VerifiedEmail,
    /// The client's address is not on the route's list.
    Address,
    /// An Upgrade on a route without `websocket`.
    Upgrade,
    /// A request another site made the browser send.
    CrossSite,
    /// A preflight from an origin that is not listed.
    Origin,
    /// A prefetch must not change anything.
    Prefetch,
    /// The last login is too long ago for what is asked.
    Reauth,
    /// The password must come with the answer.
    PasswordNeeded,
    /// As many sessions as allowed.
    SessionLimit,
    /// Devices cannot be trusted here.
    DeviceTrust,
    /// It belongs to another user.
    NotYours,
}

impl Denial {
    /// The `details.reason` of the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Scope => "scope",
            Self::VerifiedEmail => "verified_email",
            Self::Address => "address",
            Self::Upgrade => "upgrade",
            Self::CrossSite => "cross_site",
            Self::Origin => "origin",
            Self::Prefetch => "prefetch",
            Self::Reauth => "reauth",
            Self::PasswordNeeded => "password",
            Self::SessionLimit => "session_limit",
            Self::DeviceTrust => "device_trust",
            Self::NotYours => "not_yours",
        }
    }

    /// The sentence of the wire.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Role => "a required role is missing",
            Self::Scope => "a required scope is missing",
            Self::VerifiedEmail => "a verified e-mail address is required",
            Self::Address => "not allowed from this address",
            Self::Upgrade => "this route does not accept upgrades",
            Self::CrossSite => "the request comes from another site",
            Self::Origin => "the origin is not allowed",
            Self::Prefetch => "a prefetch changes nothing",
            Self::Reauth => "confirm who you are first",
            Self::PasswordNeeded => "the password is needed to answer from another device",
            Self::SessionLimit => "too many active sessions; log out elsewhere first",
            Self::DeviceTrust => "devices cannot be trusted here",
            Self::NotYours => "this belongs to another user",
        }
    }
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Verification mails to one address in a window.
    EmailSend {
        /// How many were asked for.
        count: u64,
        /// How many are allowed.
        max: u64,
    },
    /// Messages to one phone, or to all of them, in a window.
    SmsSend {
        /// How many were asked for.
        count: u64,
        /// How many are allowed.
        max: u64,
    },
    /// Password resets for one identifier in a window.
    PasswordReset,
    /// Failed logins of an address, an account, or both.
    Login,
    /// Requests of one kind from one client.
    Requests,
    /// A resend too soon after the last mail.
    Resend {
        /// The shortest time between two mails.
        delay: Duration,
    },
}

impl Limit {
    /// The sentence of the wire.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::EmailSend { .. } => "too many verification e-mails; try again later",
            Self::SmsSend { .. } => "too many text messages; try again later",
            Self::PasswordReset => "too many password reset requests; try again later",
            Self::Login => "too many failed attempts; please try again later",
            Self::Requests => "too many requests; try again later",
            Self::Resend { .. } => "please wait before requesting another code",
        }
    }
}
