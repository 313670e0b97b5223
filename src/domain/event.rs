//! Everything worth remembering that can happen, as one closed list.
//!
//! A use case says *what happened* once; the audit trail, the metrics and whatever comes later each
//! decide in one exhaustive match what to make of it.

use crate::domain::challenge::StepKind;
use crate::domain::contact::{Email, Phone};
use crate::domain::factor::Method;
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::domain::risk::Assessment;
use crate::domain::session::EndReason;
use crate::domain::user::Role;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An account was made.
    AccountCreated {
        /// Whose.
        user: UserId,
        /// Who made it.
        by: Actor,
    },
    /// An unfinished account gave way to a new signup for its address.
    SignupReplaced {
        /// The account that is gone.
        user: UserId,
    },
    /// An unfinished account is gone: nobody has finished it in time.
    SignupLapsed {
        /// Whose it was.
        user: UserId,
    },
    /// A login brought tokens.
    LoginSucceeded {
        /// Whose.
        user: UserId,
        /// The new session.
        session: SessionId,
        /// With what.
        with: LoginWith,
    },
    /// There is a session where none was.
    SessionCreated {
        /// Whose.
        user: UserId,
        /// Which one.
        session: SessionId,
    },
    /// A login was refused.
    LoginFailed {
        /// Whose, when the identifier is somebody's.
        user: Option<UserId>,
        /// Why.
        reason: LoginFailure,
        /// With what.
        with: LoginWith,
    },
    /// A challenge was put to a user.
    ChallengeCreated {
        /// Whose.
        user: UserId,
        /// Which one.
        challenge: ChallengeId,
        /// What is asked.
        step: StepKind,
    },
    /// A challenge was answered.
    ChallengeCompleted {
        /// Whose.
        user: UserId,
        /// Which one.
        challenge: ChallengeId,
        /// What was asked.
        step: StepKind,
    },
    /// A challenge got a wrong answer.
    ChallengeFailed {
        /// Whose.
        user: UserId,
        /// Which one.
        challenge: ChallengeId,
        /// What was asked.
        step: StepKind,
    },
    /// A verification mail was put into the outbox.
    EmailVerificationRequested {
        /// Whose.
        user: UserId,
        /// Where to.
        email: Email,
    },
    /// An address was proven.
    EmailVerified {
        /// Whose.
        user: UserId,
        /// Which one.
        email: Email,
    },
    /// A text message with a code was put into the outbox.
    PhoneVerificationRequested {
        /// Whose.
        user: UserId,
        /// Where to.
        phone: Phone,
    },
    /// A phone number was proven.
    PhoneVerified {
        /// Whose.
        user: UserId,
        /// Which one.
        phone: Phone,
    },
    /// A code that proves an address or a number was wrong.
    VerificationFailed {
        /// Whose.
        user: UserId,
        /// Whether it was to prove a number.
        of_phone: bool,
    },
    /// An account passed everything asked of it for the first time.
    AccountCompleted {
        /// Whose.
        user: UserId,
    },
    /// A right password was not enough: the client was asked for more.
    LoginChallenged {
        /// Whose.
        user: UserId,
        /// What is asked.
        step: StepKind,
    },
    /// A login was refused before the password was looked at.
    LoginBlocked {
        /// Whose, when the identifier is somebody's.
        user: Option<UserId>,
    },
    /// Too many logins have failed: the next ones are refused for a while.
    LockoutTriggered {
        /// Whose account, when the identifier is somebody's.
        user: Option<UserId>,
        /// For whom.
        scope: LockoutScope,
    },
    /// Nothing that was counted against a user keeps them out any more.
    LockoutCleared {
        /// Whose account.
        user: UserId,
        /// By whom.
        by: Actor,
    },
    /// A refresh token was rotated. Counted, not audited: there are too many.
    SessionRefreshed {
        /// Whose.
        user: UserId,
        /// Which session.
        session: SessionId,
    },
    /// A session ended on purpose.
    SessionEnded {
        /// Whose.
        user: UserId,
        /// Which one.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// Every session of a user ended.
    AllSessionsEnded {
        /// Whose.
        user: UserId,
        /// How many there were.
        count: u64,
        /// Why.
        reason: EndReason,
    },
    /// A refresh token was used after its successor was in use.
    TokenReuseDetected {
        /// Whose.
        user: UserId,
        /// The session, now revoked.
        session: SessionId,
    },
    /// The previous refresh token came from another client than the one that holds the current one.
    ForeignRefresh {
        /// Whose.
        user: UserId,
        /// Which session.
        session: SessionId,
        /// Whether it was answered (the current one had not been seen yet).
        answered: bool,
    },
    /// A login came with the token of a device that its user does not trust: not any more, or never did.
    UnknownDeviceToken {
        /// Whose login.
        user: UserId,
    },
    /// Cookies of more than one session came in one request.
    CredentialConflict {
        /// The user of the first one.
        user: Option<UserId>,
    },
    /// A password was set.
    PasswordChanged {
        /// Whose.
        user: UserId,
        /// By whom.
        by: Actor,
        /// How many sessions ended with it.
        sessions_revoked: u64,
    },
    /// The same password is stored under a better hash. Counted by nobody, told in the log alone.
    PasswordHashUpgraded {
        /// Whose.
        user: UserId,
    },
    /// A password reset was asked for; unknown identifiers are recorded alike.
    PasswordResetRequested {
        /// Whose, when the identifier is somebody's.
        user: Option<UserId>,
        /// Who asked.
        by: Actor,
    },
    /// A password was reset with a code.
    PasswordResetCompleted {
        /// Whose.
        user: UserId,
        /// Who sent the code.
        by: Actor,
    },
    /// A reset got a wrong code.
    PasswordResetFailed {
        /// Whose, when the identifier is somebody's.
        user: Option<UserId>,
        /// Who would have sent the right one.
        by: Actor,
    },
    /// The next login must set another password.
    PasswordChangeForced {
        /// Whose.
        user: UserId,
        /// By whom, or by what: an old password expires by itself.
        by: Actor,
    },
    /// The password that had to be another one is.
    ForcedPasswordChanged {
        /// Whose.
        user: UserId,
    },
    /// What a user says of themselves was changed.
    ProfileUpdated {
        /// Whose.
        user: UserId,
        /// Which fields.
        fields: Vec<&'static str>,
    },
    /// Another name is in force.
    UsernameChanged {
        /// Whose.
        user: UserId,
    },
    /// A new address or number waits to be proven.
    ContactChangeRequested {
        /// Whose.
        user: UserId,
        /// `email` or `phone`.
        what: &'static str,
    },
    /// Another e-mail address is in force.
    EmailChanged {
        /// Whose.
        user: UserId,
        /// Before.
        old: Email,
        /// Now.
        new: Email,
    },
    /// Another phone number is in force.
    PhoneChanged {
        /// Whose.
        user: UserId,
    },
    /// What is in force instead of a proven address or number is not proven.
    ContactUnverified {
        /// Whose.
        user: UserId,
        /// Whether it is a number.
        is_phone: bool,
    },
    /// A user confirmed who they are.
    Reauthenticated {
        /// Who.
        user: UserId,
        /// In which session.
        session: SessionId,
    },
    /// Something about a user's second factors.
    Factor {
        /// Whose.
        user: UserId,
        /// What.
        happened: FactorEvent,
    },
    /// A login was unusual.
    Risk {
        /// Whose.
        user: UserId,
        /// What came of it.
        happened: RiskEvent,
        /// How unusual it was.
        risk: Assessment,
    },
    /// A device is trusted from now on.
    DeviceTrusted {
        /// Whose.
        user: UserId,
        /// Its number.
        device: i64,
    },
    /// Devices are trusted no longer.
    DevicesUntrusted {
        /// Whose.
        user: UserId,
        /// How many.
        count: u64,
    },
    /// An account was disabled.
    AccountDisabled {
        /// Whose.
        user: UserId,
        /// Why, in the operator's words.
        reason: String,
        /// By whom.
        by: Actor,
    },
    /// An account was enabled again.
    AccountEnabled {
        /// Whose.
        user: UserId,
        /// By whom.
        by: Actor,
    },
    /// An account is gone, with everything that hung on it but its audit trail.
    AccountDeleted {
        /// Whose it was.
        user: UserId,
        /// By whom.
        by: Actor,
    },
    /// A role was granted.
    RoleGranted {
        /// To whom.
        user: UserId,
        /// Which one.
        role: Role,
        /// By whom.
        by: Actor,
    },
    /// A role was taken away.
    RoleRevoked {
        /// From whom.
        user: UserId,
        /// Which one.
        role: Role,
        /// By whom.
        by: Actor,
    },
    /// A route refused a request of somebody known.
    AccessDenied {
        /// Whose.
        user: UserId,
        /// In which session.
        session: SessionId,
        /// What was refused.
        denied: DeniedAccess,
    },
    /// A delivery to a webhook was given up.
    WebhookFailed {
        /// The name of the webhook.
        webhook: String,
        /// The name of the event that was to be told.
        event: String,
        /// How often it was tried.
        attempts: i64,
        /// Why it was given up.
        cause: String,
    },
    /// The database was put back to an earlier state, and what that state must not bring back is void.
    StateRestored {
        /// Whether every session ended with it.
        sessions_ended: bool,
    },
    /// Other settings are in force.
    ConfigReloaded {
        /// The sections that changed.
        sections: Vec<&'static str>,
    },
}

/// A request that a route refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedAccess {
    /// The name of the route.
    pub route: String,
    /// The method, cut to what is worth keeping.
    pub method: String,
    /// The path without the query, cut to what is worth keeping.
    pub path: String,
    /// What was missing, in the words of the wire.
    pub reason: &'static str,
}

/// What can happen to second factors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorEvent {
    /// One was proven.
    Proven {
        /// By which method.
        method: Method,
        /// For which challenge; `None` = in a session that is raised.
        challenge: Option<ChallengeId>,
    },
    /// One was not proven.
    Failed {
        /// By which method.
        method: Method,
        /// For which challenge; `None` = in a session.
        challenge: Option<ChallengeId>,
    },
    /// One was set up.
    Added {
        /// Its number.
        factor: i64,
        /// What it is.
        method: Method,
        /// Whether it is the only one.
        is_first: bool,
    },
    /// One is gone.
    Removed {
        /// Its number.
        factor: i64,
        /// What it was.
        method: Method,
        /// Whether it was the last one.
        was_last: bool,
        /// By whom.
        by: Actor,
    },
    /// Another one is asked for first.
    Preferred {
        /// Its number.
        factor: i64,
        /// What it is.
        method: Method,
    },
    /// A passkey's counter went back: somebody has a copy.
    Cloned {
        /// Its number.
        factor: i64,
    },
    /// There are new backup codes.
    BackupCodesGenerated {
        /// How many.
        count: usize,
    },
    /// The user is asked for none.
    ExemptionGranted {
        /// Why, in the operator's words.
        reason: String,
        /// By whom.
        by: Actor,
    },
    /// The user is asked for one like everybody else.
    ExemptionRevoked {
        /// By whom.
        by: Actor,
    },
}

/// What can come of an unusual login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RiskEvent {
    /// It was found to be.
    Assessed,
    /// Another factor is asked for.
    Triggered,
    /// Another factor should be asked for, and is not.
    Bypassed {
        /// Why.
        because: &'static str,
    },
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The user themselves.
    Owner,
    /// An operator at the command line.
    Operator,
    /// nauth, by its rules.
    System,
}

impl Actor {
    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "user",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }
}

/// Whom a lockout concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockoutScope {
    /// One address, whatever accounts.
    Address,
    /// One account from one address, or from one device.
    AccountAndClient,
    /// One account, whoever tries.
    Account,
}

impl LockoutScope {
    /// The name stored and counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "ip",
            Self::AccountAndClient => "account_ip",
            Self::Account => "account",
        }
    }
}

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFailure {
    /// Nobody has this identifier.
    UnknownUser,
    /// The password is wrong.
    WrongPassword,
    /// The passkey is not what was asked for.
    WrongPasskey,
    /// The account is disabled.
    AccountLocked,
    /// This kind of identifier is not accepted.
    IdentifierKind,
    /// A hook of the operator refused it.
    Denied,
    /// It was too unusual.
    Risk,
}

/// What somebody logs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginWith {
    /// A password, whatever else.
    Password,
    /// A passkey alone.
    Passkey,
}

impl LoginWith {
    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Passkey => "passkey",
        }
    }

    /// What these proofs (RFC 8176 values) began with.
    #[must_use]
    pub fn of(amr: &[String]) -> Self {
        if amr.first().is_some_and(|proof| proof == "pop") { Self::Passkey } else { Self::Password }
    }
}

impl LoginFailure {
    /// The name stored and counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::WrongPasskey => "wrong_passkey",
            Self::AccountLocked => "account_locked",
            Self::IdentifierKind => "identifier_kind",
            Self::Denied => "denied",
            Self::Risk => "risk",
        }
    }
}
