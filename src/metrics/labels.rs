//! The values labels can take. Closed lists: a metric never carries what a client wrote.

use http::Method;

use crate::domain::error::Error;

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The text in the label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

        }
    };
}

label! {
    /// The method of a request; unusual ones count together.
    RequestMethod {
        /// GET
        Get => "GET",
        /// HEAD
        Head => "HEAD",
        /// POST
        Post => "POST",
        /// PUT
        Put => "PUT",
        /// PATCH
        Patch => "PATCH",
        /// DELETE
        Delete => "DELETE",
        /// OPTIONS
        Options => "OPTIONS",
        /// Everything else.
        Other => "other",
    }
}

impl From<&Method> for RequestMethod {
    fn from(method: &Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

label! {
    /// What a route decided about a request.
    Decision {
        /// It goes on.
        Allow => "allow",
        /// It is refused.
        Deny => "deny",
        /// The client is asked to log in.
        Challenge => "challenge",
        /// The client is asked to log in more surely, or anew.
        StepUp => "step_up",
    }
}

label! {
    /// By which headers a proxy asks whether a request may pass.
    Asker {
        /// `X-Forwarded-*`
        XForwarded => "x-forwarded",
        /// `X-Original-*`
        XOriginal => "x-original",
        /// Those of the request itself.
        Envoy => "envoy",
    }
}

label! {
    /// Why a route decided so.
    DecisionReason {
        /// The caller may.
        Ok => "ok",
        /// The route asks for nobody.
        Anonymous => "anonymous",
        /// No usable credential came.
        NoSession => "no_session",
        /// The credential has lapsed.
        Expired => "expired",
        /// The session has ended.
        Revoked => "revoked",
        /// A role or a scope is missing, or the address is unproven.
        Role => "role",
        /// The login is too weak or too long ago.
        Acr => "acr",
        /// The client's address is not on the list.
        Ip => "ip",
        /// Too many requests.
        Rate => "rate",
        /// The request is malformed or comes from another site.
        BadRequest => "bad_request",
    }
}

label! {
    /// Why a request was refused before any route was looked at.
    Rejection {
        /// The path is malformed or ambiguous.
        Path => "path",
        /// A header is malformed or ambiguous.
        Header => "header",
        /// The Host is not served here.
        Host => "host",
        /// Head or body are too large.
        Size => "size",
        /// Forwarding headers came from a peer that is not trusted.
        ProxyUntrusted => "proxy_untrusted",
    }
}

label! {
    /// The family a dropped identity header belongs to.
    HeaderClass {
        /// `X-Forwarded-User` and its like.
        Forwarded => "forwarded",
        /// `X-Nauth-*`
        Nauth => "nauth",
        /// `Remote-*`
        Remote => "remote",
        /// `X-Auth-*`
        Auth => "auth",
        /// Those of other gateways and clouds.
        Vendor => "vendor",
        /// `X-Original-URL`, `X-HTTP-Method-Override` and their like.
        Rewrite => "rewrite",
        /// Those the operator named.
        Configured => "configured",
    }
}

label! {
    /// Why an upstream could not be connected to.
    ConnectError {
        /// Nobody listens.
        Refused => "refused",
        /// No answer in time.
        Timeout => "timeout",
        /// The name does not resolve.
        Dns => "dns",
        /// TLS failed.
        Tls => "tls",
        /// Anything else.
        Other => "other",
    }
}

label! {
    /// How trying a further target ended.
    RetryOutcome {
        /// It answered.
        Succeeded => "succeeded",
        /// It failed as well.
        Failed => "failed",
    }
}

label! {
    /// Which listener a connection came to.
    Listener {
        /// For everybody.
        Public => "public",
        /// For the operator.
        Management => "management",
    }
}

label! {
    /// What is spoken on a connection.
    Protocol {
        /// HTTP/1.1
        Http1 => "http1",
        /// HTTP/2
        Http2 => "http2",
    }
}

label! {
    /// What kind of long answer a stream is.
    StreamKind {
        /// WebSocket.
        Ws => "ws",
        /// Server-sent events.
        Sse => "sse",
        /// gRPC.
        Grpc => "grpc",
    }
}

label! {
    /// Why a stream ended.
    StreamEnd {
        /// The client closed it.
        Client => "client",
        /// The upstream closed it.
        Upstream => "upstream",
        /// The session was ended.
        Logout => "logout",
        /// The credential lapsed.
        Expired => "expired",
        /// The rules no longer allow it, or nauth stops.
        Policy => "policy",
        /// Nothing was said for too long.
        Idle => "idle",
    }
}

label! {
    /// What there was too much of.
    RateScope {
        /// Logins.
        Login => "login",
        /// Signups.
        Signup => "signup",
        /// Refreshes.
        Refresh => "refresh",
        /// Questions for a new password, and answers to the mail that follows.
        ForgotPassword => "forgot_password",
        /// Answers to challenges.
        Challenge => "challenge",
        /// Other requests to the auth API.
        Default => "default",
        /// Requests that take a route with a limit of its own.
        Route => "route",
        /// Mails.
        Email => "email",
        /// Text messages.
        Sms => "sms",
        /// Wrong codes.
        Code => "code",
        /// Wrong passwords.
        Lockout => "lockout",
    }
}

label! {
    /// What became of something that could not be counted.
    Uncounted {
        /// It was refused.
        Refused => "refused",
        /// It passed.
        Passed => "passed",
    }
}

label! {
    /// Whose it was.
    RateKey {
        /// Of one address.
        Ip => "ip",
        /// Of one session.
        Session => "session",
        /// Of one user.
        User => "user",
        /// For one identifier, whether it is somebody's or not.
        Identifier => "identifier",
        /// For one recipient.
        Recipient => "recipient",
        /// For one account, whoever tries.
        Account => "account",
        /// For one account from one address, or from one of its devices.
        AccountIp => "account_ip",
        /// Everybody's.
        Site => "site",
    }
}

label! {
    /// What kind of credential was verified.
    CredentialKind {
        /// The access token of a session cookie.
        Session => "session",
        /// A bearer token.
        Jwt => "jwt",
    }
}

label! {
    /// How the verification of a token ended.
    VerificationResult {
        /// Good.
        Ok => "ok",
        /// Malformed, badly signed or of another purpose.
        Invalid => "invalid",
        /// Lapsed.
        Expired => "expired",
        /// Its session has ended.
        Revoked => "revoked",
        /// It says about the user what is no longer so.
        Stale => "stale",
    }
}

label! {
    /// What the cache of verified tokens knew.
    CacheResult {
        /// The token.
        Hit => "hit",
        /// Nothing.
        Miss => "miss",
        /// The token, but it no longer holds.
        Stale => "stale",
    }
}

label! {
    /// How a refresh ended.
    RefreshResult {
        /// A new refresh token was made.
        Rotated => "rotated",
        /// Another request of the burst had made it.
        Coalesced => "coalesced",
        /// The previous token was answered with the current one.
        Grace => "grace",
        /// The token had been used before; its family is revoked.
        ReuseDetected => "reuse_detected",
        /// Token or session have lapsed.
        Expired => "expired",
        /// Anything else.
        Error => "error",
    }
}

label! {
    /// What a user did.
    AuthEvent {
        /// Logging in.
        Login => "login",
        /// Signing up.
        Signup => "signup",
        /// Logging out.
        Logout => "logout",
        /// Proving an address.
        EmailVerify => "email_verify",
        /// Setting a password with a code.
        PasswordReset => "password_reset",
        /// Proving a second factor.
        Mfa => "mfa_verify",
    }
}

label! {
    /// By what means.
    AuthMethod {
        /// A password.
        Password => "password",
        /// A code from a mail.
        EmailCode => "email_code",
        /// A session.
        Session => "session",
        /// A code of an app.
        Totp => "totp",
        /// A passkey.
        Passkey => "passkey",
        /// A code from a text message.
        SmsCode => "sms_code",
        /// A backup code.
        BackupCode => "backup_code",
    }
}

label! {
    /// How it ended.
    AuthResult {
        /// It was done.
        Success => "success",
        /// Something is left to prove.
        Challenge => "challenge",
        /// It was refused.
        Failure => "failure",
    }
}

label! {
    /// Why it was refused.
    AuthError {
        /// It was not.
        None => "none",
        /// The request is malformed.
        Invalid => "invalid",
        /// Identifier or password is wrong.
        Credentials => "credentials",
        /// The account is disabled.
        Locked => "locked",
        /// Nobody may sign up.
        Disabled => "disabled",
        /// The address or name is somebody's.
        Taken => "taken",
        /// The password is too weak.
        WeakPassword => "weak_password",
        /// No such challenge, or it is over.
        Challenge => "challenge",
        /// The code is wrong or has lapsed.
        Code => "code",
        /// Token or session do not hold.
        Session => "session",
        /// The caller may not.
        Forbidden => "forbidden",
        /// Too often.
        Limited => "limited",
        /// Something nauth depends on cannot serve.
        Unavailable => "unavailable",
        /// A bug.
        Internal => "internal",
    }
}

impl From<&Error> for AuthError {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCredentials | Error::PasswordIncorrect => Self::Credentials,
            Error::AccountLocked { .. } | Error::SignInBlocked { .. } => Self::Locked,
            Error::SignupDisabled
            | Error::SignupNotAllowed(_)
            | Error::SignupDenied { .. }
            | Error::LoginDenied { .. }
            | Error::PasswordChangeNotAllowed(_) => Self::Disabled,
            Error::EmailTaken | Error::UsernameTaken | Error::PhoneTaken | Error::Conflicts(_) => Self::Taken,
            Error::WeakPassword(_) | Error::PasswordReused => Self::WeakPassword,
            Error::ChallengeInvalid
            | Error::NoCeremony
            | Error::ChallengeExpired
            | Error::ChallengeCompleted
            | Error::ChallengeExhausted => Self::Challenge,
            Error::CodeInvalid
            | Error::WrongFactor
            | Error::CodeExpired
            | Error::CodeExhausted
            | Error::ResetCodeInvalid
            | Error::ResetCodeExpired
            | Error::ResetExhausted => Self::Code,
            Error::TokenMissing
            | Error::TokenInvalid(_)
            | Error::TokenExpired
            | Error::SessionNotFound(_)
            | Error::SessionExpired
            | Error::TokenReused
            | Error::BearerNotAllowed
            | Error::CookiesNotAllowed
            | Error::CredentialConflict => Self::Session,
            Error::CsrfMissing | Error::CsrfInvalid | Error::Forbidden(_) | Error::StepUpRequired(_) => Self::Forbidden,
            Error::RateLimited { .. } => Self::Limited,
            Error::BadGateway | Error::GatewayTimeout | Error::UpstreamBusy | Error::Unavailable(_) => {
                Self::Unavailable
            }
            Error::Internal(_) => Self::Internal,
            Error::BadRequest(_)
            | Error::Validation(_)
            | Error::InvalidInput(_)
            | Error::InvalidField { .. }
            | Error::PhoneRequired { .. }
            | Error::PhoneInvalid(_)
            | Error::NotFound
            | Error::DeviceNotFound(_)
            | Error::NoFactor(_)
            | Error::FactorNotOffered(_)
            | Error::MethodNotAllowed(_)
            | Error::PayloadTooLarge
            | Error::UnsupportedMediaType
            | Error::Misdirected(_)
            | Error::HeaderTooLarge
            | Error::RequestTimeout => Self::Invalid,
        }
    }
}

label! {
    /// What is done with a password.
    HashOp {
        /// It is set.
        Hash => "hash",
        /// It is compared.
        Verify => "verify",
    }
}

label! {
    /// What kind of mail.
    MailTemplate {
        /// The code that proves an address.
        Verification => "verification",
        /// A second factor.
        MfaEmailCode => "mfa_email_code",
        /// Resets a forgotten password.
        PasswordReset => "password_reset",
        /// Resets a password at an operator's wish.
        AdminPasswordReset => "admin_password_reset",
        /// Somebody signed up with an address that has an account.
        AccountExists => "account_exists",
        /// The account is complete.
        Welcome => "welcome",
        /// The password is another one.
        PasswordChanged => "password_changed",
        /// A login from a new device.
        NewDevice => "new_device",
        /// Sessions ended.
        SessionsRevoked => "sessions_revoked",
        /// A login looked unusual.
        AdaptiveMfaRiskAlert => "adaptive_mfa_risk_alert",
        /// The account is disabled.
        AccountDisabled => "account_disabled",
        /// The account is enabled again.
        AccountEnabled => "account_enabled",
        /// To the old address.
        EmailChangedOld => "email_changed_old",
        /// To the new address.
        EmailChangedNew => "email_changed_new",
        /// Another phone number is in force.
        PhoneChanged => "phone_changed",
        /// The first second factor.
        MfaEnabled => "mfa_enabled",
        /// A factor is gone.
        MfaDeviceRemoved => "mfa_device_removed",
        /// A further factor.
        MfaMethodAdded => "mfa_method_added",
    }
}

label! {
    /// How the delivery of a mail ended.
    DeliveryResult {
        /// The server took it.
        Delivered => "delivered",
        /// It will be tried again.
        Retried => "retried",
        /// It was given up.
        Dead => "dead",
    }
}

label! {
    /// What a database is asked for.
    DatabaseOperation {
        /// A transaction: the wait for a connection, and for whoever writes.
        Begin => "begin",
        /// Rows.
        Read => "read",
        /// A change.
        Write => "write",
        /// That a transaction lasts.
        Commit => "commit",
    }
}

label! {
    /// Why a database did not do what it was asked for.
    DatabaseError {
        /// It cannot serve now.
        Unavailable => "unavailable",
        /// It did not answer in time.
        Late => "late",
    }
}

label! {
    /// Whether a connection is in use.
    DatabaseConnection {
        /// It is not.
        Idle => "idle",
        /// It is.
        Used => "used",
    }
}

label! {
    /// How a reload of the settings ended.
    ReloadResult {
        /// The new ones are in force.
        Applied => "applied",
        /// The old ones stay.
        Rejected => "rejected",
        /// Nothing had changed.
        Noop => "noop",
    }
}
