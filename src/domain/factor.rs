//! Factors beside the password: what a user has set up, and what may be asked for.

use crate::domain::assurance::MFA;
use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone};
use crate::domain::id::UserId;
use crate::domain::user::User;

/// A way to prove oneself beside the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// A code an app computes from a shared secret and the time (RFC 6238).
    Totp,
    /// A key pair held by an authenticator (`WebAuthn`).
    Passkey,
    /// A code by mail.
    Email,
    /// A code by text message.
    Sms,
    /// One of the codes kept for the day everything else is lost. Never a factor of its own.
    Backup,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] = [Self::Totp, Self::Passkey, Self::Email, Self::Sms, Self::Backup];
    /// What can be set up as a factor.
    pub const FACTORS: [Self; 4] = [Self::Totp, Self::Passkey, Self::Email, Self::Sms];

    /// The name stored, shown and configured.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Backup => "backup",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }

    /// What a session says of a proof by it (RFC 8176).
    #[must_use]
    pub fn amr(self) -> &'static str {
        match self {
            Self::Totp | Self::Email | Self::Backup => "otp",
            Self::Passkey => "pop",
            Self::Sms => "sms",
        }
    }

    /// What a session says of a factor of this method, proven beside another proof (RFC 8176).
    #[must_use]
    pub fn proofs(self) -> [&'static str; 2] {
        [self.amr(), MFA]
    }

    /// The name a factor has until its owner gives it another.
    #[must_use]
    pub fn default_name(self) -> &'static str {
        match self {
            Self::Totp => "Authenticator App",
            Self::Passkey => "Passkey",
            Self::Email => "Email",
            Self::Sms => "Phone",
            Self::Backup => "Backup codes",
        }
    }
}

/// One factor as stored, without what it is proven by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// The number the wire shows. Positive, below 2^53.
    pub id: i64,
    /// Whose.
    pub user: UserId,
    /// What it is.
    pub method: Method,
    /// What its owner calls it.
    pub name: String,
    /// The address or number its codes go to.
    pub address: Option<String>,
    /// Whether its owner wants to be asked for it first.
    pub preferred: bool,
    /// When it was set up.
    pub created_at: Time,
    /// When it last proved somebody.
    pub last_used_at: Option<Time>,
}

impl Factor {
    /// Whether its codes go there.
    #[must_use]
    pub fn is_at(&self, method: Method, address: &str) -> bool {
        self.method == method && self.address.as_deref() == Some(address)
    }
}

/// The factors a user can be asked for: those of methods in use, or where there are none all the same,
/// for a method taken out of use must not open an account.
#[must_use]
pub fn usable(factors: &[Factor], in_use: &[Method]) -> Vec<Factor> {
    let usable: Vec<Factor> = factors.iter().filter(|factor| in_use.contains(&factor.method)).cloned().collect();
    if usable.is_empty() { factors.to_vec() } else { usable }
}

/// What a user with factors is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFactors {
    /// What can be answered with, each once, in the order it was set up; backup codes last.
    pub methods: Vec<Method>,
    /// What is suggested.
    pub preferred: Method,
    /// The factor meant by it.
    pub preferred_id: i64,
    /// The factors a client lets its user choose among: number, name, method.
    pub devices: Vec<(i64, String, Method)>,
    /// Where codes by mail go.
    pub email: Email,
    /// Where codes by text message go.
    pub phone: Option<Phone>,
}

impl AskedFactors {
    /// What `user` is asked for, who has these usable factors; `None` without any.
    #[must_use]
    pub fn of(user: &User, factors: &[Factor], has_backup_codes: bool) -> Option<Self> {
        let preferred = factors.iter().find(|factor| factor.preferred).or(factors.first())?;
        let mut methods: Vec<Method> = Vec::new();
        for factor in factors {
            if !methods.contains(&factor.method) {
                methods.push(factor.method);
            }
        }
        if has_backup_codes {
            methods.push(Method::Backup);
        }
        let is_chosen = |factor: &&Factor| matches!(factor.method, Method::Totp | Method::Passkey);
        let devices = factors.iter().filter(is_chosen).map(|factor| (factor.id, factor.name.clone(), factor.method));
        Some(Self {
            methods,
            preferred: preferred.method,
            preferred_id: preferred.id,
            devices: devices.collect(),
            email: user.email.clone(),
            phone: user.phone.clone(),
        })
    }

    /// What stands in for factors: a code to the address of the account.
    #[must_use]
    pub fn by_mail(user: &User) -> Self {
        Self {
            methods: vec![Method::Email],
            preferred: Method::Email,
            preferred_id: 0,
            devices: Vec::new(),
            email: user.email.clone(),
            phone: None,
        }
    }

    /// The method whose code goes out unasked: the suggested one, if it has one.
    #[must_use]
    pub fn sent_at_once(&self) -> Option<Method> {
        Some(self.preferred).filter(|method| matches!(method, Method::Email | Method::Sms))
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A factor of `user`.
    pub(crate) fn factor(user: UserId, id: i64, method: Method) -> Factor {
        Factor {
            id,
            user,
            method,
            name: method.default_name().to_owned(),
            address: None,
            preferred: false,
            created_at: Time::from_secs(id),
            last_used_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::factor;
    use super::*;
    use crate::domain::user::tests_support::ada;

    #[test]
    fn names_are_read_back_and_backup_codes_are_no_factor() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.as_str()), Some(method));
        }
        assert_eq!(Method::from_name("TOTP"), None);
        assert!(!Method::FACTORS.contains(&Method::Backup));
    }

    #[test]
    fn the_preferred_factor_is_suggested_and_each_method_is_named_once() {
        let user = ada();
        let mut factors =
            [factor(user.id, 1, Method::Totp), factor(user.id, 2, Method::Totp), factor(user.id, 3, Method::Email)];
        let asked = AskedFactors::of(&user, &factors, true).unwrap();
        assert_eq!(asked.methods, [Method::Totp, Method::Email, Method::Backup]);
        assert_eq!((asked.preferred, asked.preferred_id, asked.sent_at_once()), (Method::Totp, 1, None));
        assert_eq!(asked.devices.len(), 2);

        factors[2].preferred = true;
        let asked = AskedFactors::of(&user, &factors, false).unwrap();
        assert_eq!((asked.preferred_id, asked.sent_at_once()), (3, Some(Method::Email)));
        assert_eq!(AskedFactors::of(&user, &[], true), None);
    }

    #[test]
    fn a_method_out_of_use_is_asked_for_only_where_it_is_all_there_is() {
        let user = ada();
        let (totp, sms) = (factor(user.id, 1, Method::Totp), factor(user.id, 2, Method::Sms));
        assert_eq!(usable(&[totp.clone(), sms.clone()], &[Method::Totp]), [totp]);
        assert_eq!(usable(std::slice::from_ref(&sms), &[Method::Totp]), [sms]);
        assert_eq!(usable(&[], &[Method::Totp]), []);
    }
}
