//! What still stands between a user and a session, in one place.
//!
//! Every entry into nauth (signup, login, an answered challenge) asks [`next_step`]. It is pure:
//! the same facts and policy always give the same step, so the order of challenges is decided
//! here and nowhere else. A feature adds a fact and a step; it never adds control flow.

use crate::domain::clock::Time;
use crate::domain::contact::Email;
use crate::domain::id::{ChallengeId, UserId};
use crate::domain::user::User;

/// One thing the user must do before tokens are issued. What a step needs lives in the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Prove to read mail at this address.
    VerifyEmail {
        /// Where the code goes.
        email: Email,
    },
}

impl Step {
    /// What kind of step this is.
    #[must_use]
    pub fn kind(&self) -> StepKind {
        match self {
            Self::VerifyEmail { .. } => StepKind::VerifyEmail,
        }
    }
}

/// The kinds of steps, as stored and as the native wire names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// `VERIFY_EMAIL`.
    VerifyEmail,
}

impl StepKind {
    /// The stored name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "VERIFY_EMAIL",
        }
    }

    /// Reads a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "VERIFY_EMAIL" => Some(Self::VerifyEmail),
            _ => None,
        }
    }
}

/// What is known about the user who wants in.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The user as stored.
    pub user: &'a User,
}

/// What the operator demands of every user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// `signup.verification_method` includes e-mail.
    pub verify_email: bool,
}

/// The next thing this user must do, or `None` when tokens may be issued.
#[must_use]
pub fn next_step(facts: &Facts<'_>, policy: &Policy) -> Option<Step> {
    if policy.verify_email && !facts.user.email_verified {
        return Some(Step::VerifyEmail { email: facts.user.email.clone() });
    }
    None
}

/// A challenge put to a user: a step, and how far the client has come with it.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// The `session` value of the native wire.
    pub id: ChallengeId,
    /// Whose challenge it is.
    pub user: UserId,
    /// What is asked.
    pub step: StepKind,
    /// The user's epoch when it was made; void once the user has another one.
    pub auth_epoch: i64,
    /// Answers tried.
    pub attempts: i64,
    /// Answers allowed.
    pub max_attempts: i64,
    /// Whether this client set the password, or logged in with it, on the way to this challenge.
    pub password_proven: bool,
    /// How the user has proven who they are so far (RFC 8176 values).
    pub amr: Vec<String>,
    /// Recognises the client that began it; only that client gets the same challenge again.
    pub client_binding: String,
    /// When it was made.
    pub created_at: Time,
    /// When it lapses.
    pub expires_at: Time,
    /// When it was answered.
    pub completed_at: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::tests_support::ada;

    #[test]
    fn an_unverified_address_is_asked_for_only_where_the_policy_says_so() {
        let cases =
            [(true, false, Some(StepKind::VerifyEmail)), (true, true, None), (false, false, None), (false, true, None)];
        for (verify_email, email_verified, expected) in cases {
            let user = User { email_verified, ..ada() };
            let step = next_step(&Facts { user: &user }, &Policy { verify_email });
            assert_eq!(step.map(|step| step.kind()), expected);
        }
    }

    #[test]
    fn stored_names_are_read_back() {
        assert_eq!(StepKind::from_name(StepKind::VerifyEmail.as_str()), Some(StepKind::VerifyEmail));
    }
}
