//! Whether a user is asked for a second factor: one pure rule, part of [`next_step`](super::challenge::next_step).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::assurance::Aal;
use crate::domain::challenge::Step;
use crate::domain::clock::Time;
use crate::domain::factor::{AskedFactors, Factor, Method, usable};
use crate::domain::risk::Action;
use crate::domain::user::{Role, User};

/// `mfa.enforcement`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// Whoever has set a factor up is asked for it.
    Optional,
    /// Everybody has to set one up, and is asked for it.
    Required,
    /// Everybody has to set one up, and is asked for it when the login is unusual.
    Adaptive,
}

/// What is asked of an unusual login of somebody who has no factor yet and need not have one yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenrolled {
    /// A code that is mailed.
    Mail,
    /// Nothing.
    Allow,
    /// It is refused.
    Deny,
}

impl Enforcement {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "OPTIONAL",
            Self::Required => "REQUIRED",
            Self::Adaptive => "ADAPTIVE",
        }
    }
}

/// What the operator demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MfaPolicy {
    /// Whom a factor is demanded of.
    pub enforcement: Enforcement,
    /// What may be set up.
    pub methods: Vec<Method>,
    /// How long a new account may do without.
    pub grace: Duration,
    /// Whether nobody is made to set one up while signing up.
    pub grace_skip_signup: bool,
    /// Whether a trusted device spares its user the question, where it is not how usual the login is.
    pub trust_spares: bool,
    /// What stands in for a factor that is not there yet.
    pub unenrolled: Unenrolled,
    /// Who has any of these roles always passes a second factor.
    pub roles: BTreeSet<Role>,
}

/// On which way somebody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// With a password that was there before.
    Login,
    /// With a new account.
    Signup,
}

impl Entry {
    /// The stored name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Signup => "signup",
        }
    }

    /// Reads a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Login, Self::Signup].into_iter().find(|entry| entry.as_str() == name)
    }
}

/// What is known of the user's factors and of this way in.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each of its own, for a pure rule")]
pub struct Standing<'a> {
    /// Everything the user has set up, in that order.
    pub factors: &'a [Factor],
    /// Whether a backup code is left.
    pub has_backup_codes: bool,
    /// Whether a second factor was proven on this way in, or just set up.
    pub is_proven: bool,
    /// Whether the client shows the token of a device the user trusts.
    pub trusted_device: bool,
    /// What follows from how unusual the login is; `None` where nobody has looked.
    pub risk: Option<Action>,
    /// Whether a living session is to be raised: then neither trust nor habit spares anything.
    pub renews: bool,
    /// On which way.
    pub entry: Entry,
    /// Now.
    pub now: Time,
}

/// Until when a user may do without a factor that will be demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// When it ends; `None` when it ends with this way in.
    pub ends_at: Option<Time>,
    /// Whole days left, begun ones counted.
    pub days_remaining: i64,
    /// Why one will be demanded.
    pub enforcement: Enforcement,
}

/// The step a second factor asks of this user, if any.
#[must_use]
pub fn second_factor(user: &User, standing: &Standing<'_>, policy: &MfaPolicy) -> Option<Step> {
    if standing.is_proven {
        return None;
    }
    let demanded_by_role = has_demanding_role(user, policy);
    let is_exempt = user.mfa_exempt.is_some() && !demanded_by_role;
    let factors = usable(standing.factors, &policy.methods);
    if let Some(asked) = AskedFactors::of(user, &factors, standing.has_backup_codes) {
        let is_spared = (is_exempt || is_spared(standing, policy)) && !standing.renews && !demanded_by_role;
        return (!is_spared).then(|| Step::ProveFactor(Box::new(asked)));
    }
    if is_exempt {
        return None;
    }
    let is_due = policy.enforcement != Enforcement::Optional && grace(user, standing, policy).is_none();
    if demanded_by_role || is_due {
        return Some(set_up_step(user, policy));
    }
    let is_mailed = is_unusual_without_factor(user, standing, policy) && policy.unenrolled == Unenrolled::Mail;
    is_mailed.then(|| Step::ProveFactor(Box::new(AskedFactors::by_mail(user))))
}

/// The roles that count in a session of this assurance: those that demand a second factor count where one was
/// proven, whenever the role was granted or the demand was made.
#[must_use]
pub fn roles_in_force<'a>(user: &'a User, assurance: Aal, policy: &MfaPolicy) -> Cow<'a, [Role]> {
    if assurance == Aal::Two || !has_demanding_role(user, policy) {
        return Cow::Borrowed(&user.roles);
    }
    user.roles.iter().filter(|role| !policy.roles.contains(role)).cloned().collect()
}

/// Whether a login is refused because there is no factor yet that could be asked for.
#[must_use]
pub fn is_refused_without_factor(user: &User, standing: &Standing<'_>, policy: &MfaPolicy) -> bool {
    policy.unenrolled == Unenrolled::Deny && is_unusual_without_factor(user, standing, policy)
}

/// Whether only a session that has proven a factor may change how this account is proven or reached: where
/// there is something that can be asked for and was shown before, and its user is not exempt. An address that became
/// a factor without a code was never shown as one.
#[must_use]
pub fn is_guarded(user: &User, factors: &[Factor], has_backup_codes: bool, policy: &MfaPolicy) -> bool {
    let is_exempt = user.mfa_exempt.is_some() && !has_demanding_role(user, policy);
    let was_shown = usable(factors, &policy.methods).iter().any(|factor| factor.last_used_at.is_some());
    (has_backup_codes || was_shown) && !is_exempt
}

/// Whether a mailed code stands in for the factors of whoever has none.
#[must_use]
pub fn mail_stands_in(factors: &[Factor], policy: &MfaPolicy) -> bool {
    let is_offered = policy.enforcement == Enforcement::Adaptive && policy.unenrolled == Unenrolled::Mail;
    is_offered && factors.is_empty()
}

/// Whether whoever has factors need not prove one: for their device, or for their habits.
fn is_spared(standing: &Standing<'_>, policy: &MfaPolicy) -> bool {
    match policy.enforcement {
        Enforcement::Optional | Enforcement::Required => policy.trust_spares && standing.trusted_device,
        Enforcement::Adaptive => standing.risk == Some(Action::Allow),
    }
}

/// Whether something should be asked of somebody who has no factor, and still time to set one up.
fn is_unusual_without_factor(user: &User, standing: &Standing<'_>, policy: &MfaPolicy) -> bool {
    policy.enforcement == Enforcement::Adaptive
        && !standing.is_proven
        && standing.risk != Some(Action::Allow)
        && grace(user, standing, policy).is_some()
}

/// What a `MFA_SETUP_REQUIRED` challenge asks this user.
#[must_use]
pub fn set_up_step(user: &User, policy: &MfaPolicy) -> Step {
    Step::SetUpFactor {
        methods: policy.methods.clone(),
        needs_phone: policy.methods.contains(&Method::Sms) && user.phone.is_none(),
    }
}

/// How long this user may still do without a factor that is demanded of everybody.
#[must_use]
pub fn grace(user: &User, standing: &Standing<'_>, policy: &MfaPolicy) -> Option<Grace> {
    let is_asked = policy.enforcement != Enforcement::Optional
        && standing.factors.is_empty()
        && user.mfa_exempt.is_none()
        && !has_demanding_role(user, policy);
    if !is_asked {
        return None;
    }
    let ends_at = user.created_at + policy.grace;
    if ends_at > standing.now {
        let left = ends_at.since(standing.now).as_secs();
        let days_remaining = i64::try_from(left.div_ceil(24 * 60 * 60)).unwrap_or(i64::MAX);
        return Some(Grace { ends_at: Some(ends_at), days_remaining, enforcement: policy.enforcement });
    }
    let is_signup = standing.entry == Entry::Signup && policy.grace_skip_signup;
    is_signup.then_some(Grace { ends_at: None, days_remaining: 0, enforcement: policy.enforcement })
}

fn has_demanding_role(user: &User, policy: &MfaPolicy) -> bool {
    user.roles.iter().any(|role| policy.roles.contains(role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::factor::tests_support::factor;
    use crate::domain::user::Exemption;
    use crate::domain::user::tests_support::ada;

    fn policy(enforcement: Enforcement) -> MfaPolicy {
        MfaPolicy {
            enforcement,
            methods: vec![Method::Totp],
            grace: Duration::ZERO,
            grace_skip_signup: false,
            trust_spares: false,
            unenrolled: Unenrolled::Mail,
            roles: BTreeSet::new(),
        }
    }

    fn standing(factors: &[Factor]) -> Standing<'_> {
        Standing {
            factors,
            has_backup_codes: false,
            is_proven: false,
            trusted_device: false,
            risk: None,
            renews: false,
            entry: Entry::Login,
            now: Time::from_secs(100_000),
        }
    }

    /// In one word.
    fn asked(user: &User, standing: &Standing<'_>, policy: &MfaPolicy) -> &'static str {
        match second_factor(user, standing, policy) {
            None => "nothing",
            Some(Step::SetUpFactor { .. }) => "set up",
            Some(Step::ProveFactor(_)) => "prove",
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Every combination of what counts, against the rule told the other way round.
    #[test]
    fn who_is_asked_for_what() {
        for bits in 0..512_u16 {
            let bit = |n: u16| bits & (1 << n) != 0;
            let (required, enrolled, proven, exempt, role) = (bit(0), bit(1), bit(2), bit(3), bit(4));
            let (trusted, spares, renews, in_grace) = (bit(5), bit(6), bit(7), bit(8));
            let mut user = ada();
            user.mfa_exempt = exempt.then(|| Exemption { at: Time::from_secs(1), reason: None });
            let mut policy = policy(if required { Enforcement::Required } else { Enforcement::Optional });
            policy.trust_spares = spares;
            if role {
                policy.roles.insert("user".parse().unwrap());
            }
            if in_grace {
                policy.grace = Duration::from_secs(1_000_000);
            }
            let factors: Vec<_> = enrolled.then(|| factor(user.id, 1, Method::Totp)).into_iter().collect();
            let standing = Standing { is_proven: proven, trusted_device: trusted, renews, ..standing(&factors) };

            let expected = if proven {
                "nothing"
            } else if role {
                if enrolled { "prove" } else { "set up" }
            } else if enrolled {
                if (exempt || trusted && spares) && !renews { "nothing" } else { "prove" }
            } else if exempt {
                "nothing"
            } else if required && !in_grace {
                "set up"
            } else {
                "nothing"
            };
            assert_eq!(asked(&user, &standing, &policy), expected, "{bits:09b}");
        }
    }

    /// The same where it depends on how unusual a login is.
    #[test]
    fn who_is_asked_for_what_when_habits_count() {
        for bits in 0..512_u16 {
            let bit = |n: u16| bits & (1 << n) != 0;
            let (enrolled, proven, exempt, role, trusted) = (bit(0), bit(1), bit(2), bit(3), bit(4));
            let (renews, in_grace) = (bit(5), bit(6));
            let risk =
                [None, Some(Action::Allow), Some(Action::RequireMfa), Some(Action::RequireMfa)][usize::from(bits >> 7)];
            let mut user = ada();
            user.mfa_exempt = exempt.then(|| Exemption { at: Time::from_secs(1), reason: None });
            for unenrolled in [Unenrolled::Mail, Unenrolled::Allow, Unenrolled::Deny] {
                let mut policy = MfaPolicy { trust_spares: true, unenrolled, ..policy(Enforcement::Adaptive) };
                if role {
                    policy.roles.insert("user".parse().unwrap());
                }
                if in_grace {
                    policy.grace = Duration::from_secs(1_000_000);
                }
                let factors: Vec<_> = enrolled.then(|| factor(user.id, 1, Method::Totp)).into_iter().collect();
                let standing =
                    Standing { is_proven: proven, trusted_device: trusted, renews, risk, ..standing(&factors) };
                let is_usual = risk == Some(Action::Allow);

                let expected = if proven {
                    "nothing"
                } else if enrolled {
                    if (is_usual || exempt) && !renews && !role { "nothing" } else { "prove" }
                } else if exempt && !role {
                    "nothing"
                } else if role || !in_grace {
                    "set up"
                } else if !is_usual && unenrolled == Unenrolled::Mail {
                    "prove"
                } else {
                    "nothing"
                };
                let context = format!("{bits:09b} {unenrolled:?}");
                assert_eq!(asked(&user, &standing, &policy), expected, "{context}");
                let is_open = !proven && !exempt && !role && !enrolled && in_grace && !is_usual;
                let is_refused = is_refused_without_factor(&user, &standing, &policy);
                assert_eq!(is_refused, is_open && unenrolled == Unenrolled::Deny, "{context}");
            }
        }
    }

    #[test]
    fn an_account_is_guarded_by_what_it_can_be_asked_for_unless_it_is_exempt() {
        let shown = |method| Factor { last_used_at: Some(Time::from_secs(1)), ..factor(ada().id, 1, method) };
        let totp = [shown(Method::Totp)];
        let exempt = User { mfa_exempt: Some(Exemption { at: Time::from_secs(1), reason: None }), ..ada() };
        let mut policy = policy(Enforcement::Optional);
        assert!(!is_guarded(&ada(), &[], false, &policy));
        assert!(is_guarded(&ada(), &[], true, &policy));
        assert!(is_guarded(&ada(), &totp, false, &policy));
        assert!(is_guarded(&ada(), &[shown(Method::Sms)], false, &policy), "all there is");
        assert!(!is_guarded(&ada(), &[factor(ada().id, 1, Method::Totp)], false, &policy), "never shown");
        assert!(!is_guarded(&exempt, &totp, true, &policy));
        policy.roles.insert("user".parse().unwrap());
        assert!(is_guarded(&exempt, &totp, false, &policy));
    }

    #[test]
    fn roles_that_demand_a_factor_count_where_one_was_proven() {
        let user = User { roles: ["admin", "user"].map(|role| role.parse().unwrap()).into(), ..ada() };
        let mut policy = policy(Enforcement::Optional);
        let names = |assurance, policy: &MfaPolicy| {
            roles_in_force(&user, assurance, policy).iter().map(Role::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(Aal::One, &policy), ["admin", "user"]);
        policy.roles.insert("admin".parse().unwrap());
        assert_eq!(names(Aal::One, &policy), ["user"]);
        assert_eq!(names(Aal::Two, &policy), ["admin", "user"]);
    }

    #[test]
    fn a_mailed_code_stands_in_for_nobodys_factors() {
        let policy = policy(Enforcement::Adaptive);
        assert!(mail_stands_in(&[], &policy));
        assert!(!mail_stands_in(&[factor(ada().id, 1, Method::Totp)], &policy));
        assert!(!mail_stands_in(&[], &MfaPolicy { unenrolled: Unenrolled::Allow, ..policy.clone() }));
        assert!(!mail_stands_in(&[], &MfaPolicy { enforcement: Enforcement::Required, ..policy }));
    }

    #[test]
    fn grace_is_told_in_whole_days_and_signup_may_be_spared() {
        let user = User { created_at: Time::from_secs(100_000), ..ada() };
        let week = MfaPolicy { grace: Duration::from_hours(7 * 24), ..policy(Enforcement::Required) };
        let told = grace(&user, &standing(&[]), &week).unwrap();
        assert_eq!((told.days_remaining, told.ends_at), (7, Some(user.created_at + week.grace)));
        let later = Standing { now: Time::from_secs(100_001), ..standing(&[]) };
        assert_eq!(grace(&user, &later, &week).unwrap().days_remaining, 7);
        let over = Standing { now: user.created_at + week.grace, ..standing(&[]) };
        assert_eq!(grace(&user, &over, &week), None);

        let spared = MfaPolicy { grace_skip_signup: true, ..policy(Enforcement::Required) };
        let signup = Standing { entry: Entry::Signup, ..standing(&[]) };
        assert_eq!(grace(&user, &signup, &spared).unwrap().ends_at, None);
        assert_eq!(asked(&user, &signup, &spared), "nothing");
        assert_eq!(asked(&user, &standing(&[]), &spared), "set up");
    }

    #[test]
    fn text_messages_need_a_number() {
        let sms = MfaPolicy { methods: vec![Method::Totp, Method::Sms], ..policy(Enforcement::Required) };
        for (phone, expected) in [(None, true), (Some("+41791234567".parse().unwrap()), false)] {
            let user = User { phone, ..ada() };
            let step = second_factor(&user, &standing(&[]), &sms);
            assert_eq!(step, Some(Step::SetUpFactor { methods: sms.methods.clone(), needs_phone: expected }));
        }
    }
}
