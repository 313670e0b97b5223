//! Sessions: one login on one client, and the chain of refresh tokens that keeps it alive.

use crate::domain::assurance::{Aal, add_proofs};
use crate::domain::clock::Time;
use crate::domain::id::{SessionId, UserId};
use crate::domain::location::Location;

/// One session as stored.
///
/// The current refresh token is a function of this row (`family`, `generation`, `rotated_at`,
/// `refresh_expires_at`, `refresh_kid`), so every node can reproduce it byte for byte and no
/// token is stored anywhere.
#[derive(Debug, Clone)]
pub struct Session {
    /// Shown on the wire as a number.
    pub id: SessionId,
    /// Whose session it is.
    pub user: UserId,
    /// 64 hexadecimal digits, in every token of the session.
    pub family: String,
    /// How often the refresh token was rotated. Starts at 1.
    pub generation: i64,
    /// When the current generation was made: the `iat` of its refresh token.
    pub rotated_at: Time,
    /// The `exp` of the current refresh token.
    pub refresh_expires_at: Time,
    /// The key the current refresh token is signed with.
    pub refresh_kid: String,
    /// When and from where a token of the current generation was first seen; `None` while it was not.
    pub seen: Option<Seen>,
    /// The user's epoch at login. A user with another one has ended this session.
    pub auth_epoch: i64,
    /// The latest `exp` ever put into an access token of this session.
    pub latest_exp: Time,
    /// How the user proved who they are (RFC 8176 values).
    pub amr: Vec<String>,
    /// The assurance level reached: `aal1` or `aal2`.
    pub acr: String,
    /// When the user last proved who they are.
    pub auth_time: Time,
    /// The dialect of the client that logged in.
    pub dialect: String,
    /// How the tokens went to the client.
    pub delivery: Delivery,
    /// `password`, or the social provider's name.
    pub auth_method: String,
    /// The client's address at login.
    pub ip: String,
    /// Where that is.
    pub location: Location,
    /// The client's `User-Agent` at login.
    pub user_agent: String,
    /// What it runs on.
    pub device: Device,
    /// The trusted device it runs on, by its number.
    pub trusted_device: Option<i64>,
    /// Claims a hook added to its tokens, as a JSON object.
    pub claims: Option<String>,
    /// When the user logged in.
    pub created_at: Time,
    /// When a token was last rotated.
    pub last_activity_at: Time,
    /// When the session ends whatever happens.
    pub expires_at: Time,
    /// Set once the session was ended on purpose.
    pub revoked_at: Option<Time>,
}

impl Session {
    /// Notes what its user has just shown (RFC 8176 values). It is raised, never lowered.
    pub fn prove(&mut self, proofs: &[&str]) {
        add_proofs(&mut self.amr, proofs);
        let reached = Aal::of_amr(&self.amr).max(Aal::from_acr(&self.acr).unwrap_or(Aal::One));
        reached.as_str().clone_into(&mut self.acr);
    }
}

/// What a session runs on, as far as the client tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Names the device among those of its user: the same for every login with one device token.
    pub id: String,
    /// What the client calls itself, at most 100 characters.
    pub name: Option<String>,
    /// `mobile`, `desktop` or `tablet`.
    pub kind: Option<String>,
    /// The operating system.
    pub platform: Option<String>,
    /// The browser.
    pub browser: Option<String>,
}

/// The first sight of a generation: from then on its predecessor is on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Time,
    /// Address prefix of the client that showed it.
    pub prefix: String,
    /// User agent of the client that showed it.
    pub user_agent: String,
}

/// How tokens travel between nauth and one client. An answer follows the credential of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// `Set-Cookie`, for browsers.
    Cookies,
    /// The body, for everything else.
    Json,
}

impl Delivery {
    /// The name stored and logged.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cookies => "cookies",
            Self::Json => "json",
        }
    }

    /// Reads a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cookies" => Some(Self::Cookies),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Why a session ended, as stored and shown in the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The user logged out of it.
    Logout,
    /// The user logged out everywhere.
    LogoutAll,
    /// A refresh token was used after its successor was in use.
    TokenReuse,
    /// An operator disabled the account.
    AccountDisabled,
    /// The password was changed.
    PasswordChanged,
    /// The password was reset with a code.
    PasswordReset,
    /// The user ended it from another session.
    Revoked,
    /// More sessions than allowed.
    MaxConcurrent,
    /// Another login, where only one session is allowed.
    SingleSession,
    /// Another login on the same device.
    SameDevice,
    /// Somebody signed up anew for the address of an unfinished account.
    SignupReplaced,
    /// An operator took the second factors away.
    MfaReset,
    /// An operator deleted the account.
    AccountDeleted,
}

impl EndReason {
    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::LogoutAll => "logout_all",
            Self::TokenReuse => "token_reuse",
            Self::AccountDisabled => "account_disabled",
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::Revoked => "revoked",
            Self::MaxConcurrent => "max_concurrent",
            Self::SingleSession => "single_session",
            Self::SameDevice => "same_device",
            Self::SignupReplaced => "signup_replaced",
            Self::MfaReset => "mfa_reset",
            Self::AccountDeleted => "account_deleted",
        }
    }
}
