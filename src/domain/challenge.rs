//! What still stands between a user and a session, in one place.
//!
//! Every entry into nauth (signup, login, an answered challenge) asks [`next_step`]. It is pure:
//! the same facts and policy always give the same step, so the order of challenges is decided
//! here and nowhere else. A feature adds a fact and a step; it never adds control flow.

use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone};
use crate::domain::factor::{AskedFactors, Method};
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::domain::mfa::{Entry, MfaPolicy, Standing, second_factor};
use crate::domain::user::User;

/// One thing the user must do before tokens are issued. What a step needs lives in the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Set another password.
    ChangePassword,
    /// Prove to read mail at this address.
    VerifyEmail {
        /// Where the code goes.
        email: Email,
    },
    /// Name a phone number.
    CollectPhone,
    /// Prove to read messages at this number.
    VerifyPhone {
        /// Where the code goes.
        phone: Phone,
    },
    /// Set up a factor beside the password.
    SetUpFactor {
        /// What may be set up.
        methods: Vec<Method>,
        /// Whether a number has to be given for text messages.
        needs_phone: bool,
    },
    /// Prove a factor beside the password.
    ProveFactor(Box<AskedFactors>),
}

impl Step {
    /// What kind of step this is.
    #[must_use]
    pub fn kind(&self) -> StepKind {
        match self {
            Self::ChangePassword => StepKind::ChangePassword,
            Self::VerifyEmail { .. } => StepKind::VerifyEmail,
            Self::CollectPhone | Self::VerifyPhone { .. } => StepKind::VerifyPhone,
            Self::SetUpFactor { .. } => StepKind::SetUpFactor,
            Self::ProveFactor(_) => StepKind::ProveFactor,
        }
    }
}

/// The kinds of steps, as stored and as the native wire names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// `FORCE_CHANGE_PASSWORD`.
    ChangePassword,
    /// `VERIFY_EMAIL`.
    VerifyEmail,
    /// `VERIFY_PHONE`: the number is asked for first where there is none.
    VerifyPhone,
    /// `MFA_SETUP_REQUIRED`.
    SetUpFactor,
    /// `MFA_REQUIRED`.
    ProveFactor,
}

impl StepKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::ChangePassword, Self::VerifyEmail, Self::VerifyPhone, Self::SetUpFactor, Self::ProveFactor];

    /// The stored name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChangePassword => "FORCE_CHANGE_PASSWORD",
            Self::VerifyEmail => "VERIFY_EMAIL",
            Self::VerifyPhone => "VERIFY_PHONE",
            Self::SetUpFactor => "MFA_SETUP_REQUIRED",
            Self::ProveFactor => "MFA_REQUIRED",
        }
    }

    /// Reads a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What is known about the user who wants in.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The user as stored.
    pub user: &'a User,
    /// Their factors, and how they come in.
    pub standing: Standing<'a>,
}

/// What the operator demands of every user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    /// `signup.verification_method` includes e-mail.
    pub verify_email: bool,
    /// `signup.verification_method` includes the phone.
    pub verify_phone: bool,
    /// `[mfa]`; `None` while it is not enabled.
    pub mfa: Option<&'a MfaPolicy>,
}

/// The next thing this user must do, or `None` when tokens may be issued.
///
/// Another factor is asked for last, when the account as such is in order.
#[must_use]
pub fn next_step(facts: &Facts<'_>, policy: &Policy<'_>) -> Option<Step> {
    let user = facts.user;
    if user.must_change_password {
        return Some(Step::ChangePassword);
    }
    if policy.verify_email && !user.email_verified {
        return Some(Step::VerifyEmail { email: user.email.clone() });
    }
    if policy.verify_phone && !user.phone_verified {
        return Some(phone_step(user));
    }
    second_factor(user, &facts.standing, policy.mfa?)
}

/// What a `VERIFY_PHONE` challenge asks this user.
#[must_use]
pub fn phone_step(user: &User) -> Step {
    match &user.phone {
        Some(phone) => Step::VerifyPhone { phone: phone.clone() },
        None => Step::CollectPhone,
    }
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
    /// On which way in it stands.
    pub entry: Entry,
    /// The session that is raised when everything is proven, instead of another one being opened.
    pub renews: Option<SessionId>,
    /// The method whose code was sent last.
    pub method: Option<Method>,
    /// Recognises the client that began it; only that client gets the same challenge again.
    pub client_binding: String,
    /// Put to somebody who signed up with an address that has an account: nothing answers it, and
    /// nothing tells it from a real one.
    pub decoy: bool,
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
    use crate::domain::factor::Factor;
    use crate::domain::factor::tests_support::factor;
    use crate::domain::mfa::Enforcement;
    use crate::domain::user::tests_support::ada;

    fn facts<'a>(user: &'a User, factors: &'a [Factor], is_proven: bool) -> Facts<'a> {
        let standing = Standing {
            factors,
            has_backup_codes: false,
            is_proven,
            trusted_device: false,
            risk: None,
            renews: false,
            entry: Entry::Login,
            now: Time::from_secs(100),
        };
        Facts { user, standing }
    }

    fn required() -> MfaPolicy {
        MfaPolicy {
            enforcement: Enforcement::Required,
            methods: vec![Method::Totp],
            grace: std::time::Duration::ZERO,
            grace_skip_signup: false,
            trust_spares: false,
            unenrolled: crate::domain::mfa::Unenrolled::Mail,
            roles: std::collections::BTreeSet::new(),
        }
    }

    /// Every combination of what can be open, and the one step that comes first.
    #[test]
    fn steps_come_in_one_order_and_only_where_the_policy_asks() {
        let phone: Phone = "+41791234567".parse().unwrap();
        let required = required();
        for bits in 0..256_u16 {
            let bit = |n: u16| bits & (1 << n) != 0;
            let mfa = bit(6).then_some(&required);
            let policy = Policy { verify_email: bit(0), verify_phone: bit(1), mfa };
            let user = User {
                must_change_password: bit(2),
                email_verified: bit(3),
                phone: bit(4).then(|| phone.clone()),
                phone_verified: bit(4) && bit(5),
                ..ada()
            };
            let expected = if user.must_change_password {
                Some(Step::ChangePassword)
            } else if policy.verify_email && !user.email_verified {
                Some(Step::VerifyEmail { email: user.email.clone() })
            } else if policy.verify_phone && user.phone.is_none() {
                Some(Step::CollectPhone)
            } else if policy.verify_phone && !user.phone_verified {
                Some(Step::VerifyPhone { phone: phone.clone() })
            } else if bit(6) && !bit(7) {
                Some(Step::SetUpFactor { methods: vec![Method::Totp], needs_phone: false })
            } else {
                None
            };
            assert_eq!(next_step(&facts(&user, &[], bit(7)), &policy), expected, "{bits:08b}");
        }
    }

    /// Does what a step asks.
    fn done(step: &Step, user: &mut User, factors: &mut Vec<Factor>, is_proven: &mut bool) {
        match step {
            Step::SetUpFactor { methods, .. } => {
                factors.push(factor(user.id, 7, methods[0]));
                *is_proven = true;
            }
            Step::ProveFactor(asked) => {
                assert_eq!(asked.methods, [Method::Totp]);
                *is_proven = true;
            }
            Step::ChangePassword => user.must_change_password = false,
            Step::VerifyEmail { email } => {
                assert_eq!(*email, user.email);
                user.email_verified = true;
            }
            Step::CollectPhone => user.phone = Some("+41791234567".parse().unwrap()),
            Step::VerifyPhone { phone } => {
                assert_eq!(Some(phone), user.phone.as_ref());
                user.phone_verified = true;
            }
        }
    }

    proptest::proptest! {
        /// Whoever does what is asked gets in, and nothing is asked twice.
        #[test]
        fn every_chain_ends(known: [bool; 4], verify_email: bool, verify_phone: bool, mfa: bool, enrolled: bool) {
            let [must_change_password, email_verified, has_phone, phone_verified] = known;
            let phone = has_phone.then(|| "+41790000000".parse().unwrap());
            let phone_verified = has_phone && phone_verified;
            let mut user = User { email_verified, phone, phone_verified, must_change_password, ..ada() };
            let required = required();
            let policy = Policy { verify_email, verify_phone, mfa: mfa.then_some(&required) };
            let mut factors: Vec<Factor> = enrolled.then(|| factor(user.id, 1, Method::Totp)).into_iter().collect();
            let mut is_proven = false;
            let mut asked = Vec::new();
            while let Some(step) = next_step(&facts(&user, &factors, is_proven), &policy) {
                let name = format!("{step:?}");
                proptest::prop_assert!(!asked.contains(&name), "{name} twice");
                asked.push(name);
                done(&step, &mut user, &mut factors, &mut is_proven);
            }
            proptest::prop_assert!(asked.len() <= 5, "{asked:?}");
        }
    }

    #[test]
    fn stored_names_are_read_back() {
        for kind in StepKind::ALL {
            assert_eq!(StepKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(StepKind::from_name("mfa_required"), None);
    }
}
