//! How sure nauth is of who somebody is, and how sure it is asked to be.

use std::time::Duration;

/// Authenticator assurance (NIST SP 800-63B): the `acr` of sessions and tokens. Later is surer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aal {
    /// One factor.
    One,
    /// Two factors, or one that is two by itself, such as a passkey with user verification.
    Two,
}

impl Aal {
    /// The `acr` that says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "aal1",
            Self::Two => "aal2",
        }
    }

    /// What an `acr` says; `None` when it says nothing of this kind.
    #[must_use]
    pub fn from_acr(acr: &str) -> Option<Self> {
        [Self::One, Self::Two].into_iter().find(|aal| aal.as_str() == acr)
    }
}

/// What says in an `amr` that a second factor was proven (RFC 8176).
pub const MFA: &str = "mfa";

impl Aal {
    /// The level reached by these proofs (RFC 8176 values).
    #[must_use]
    pub fn of_amr(amr: &[String]) -> Self {
        let has = |wanted: &str| amr.iter().any(|proof| proof == wanted);
        // A key whose holder was verified is two factors in one.
        if has(MFA) || (has("pop") && has("user")) { Self::Two } else { Self::One }
    }
}

/// Adds what was just proven to what was proven before, each once (RFC 8176 values).
pub fn add_proofs(amr: &mut Vec<String>, proofs: &[&str]) {
    for proof in proofs {
        if !amr.iter().any(|present| present == proof) {
            amr.push((*proof).to_owned());
        }
    }
}

/// What a login must bring before something may be done (RFC 9470). At least one of the two is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepUp {
    /// At least this sure: `acr_values`.
    pub aal: Option<Aal>,
    /// At most this long ago, in whole seconds: `max_age`.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// The parameters by which RFC 9470 and OpenID Connect name it: `(name, value)`.
    pub fn parameters(self) -> impl Iterator<Item = (&'static str, String)> {
        let acr = self.aal.map(|aal| ("acr_values", aal.as_str().to_owned()));
        let max_age = self.max_age.map(|age| ("max_age", age.as_secs().to_string()));
        acr.into_iter().chain(max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_factors_are_surer_than_one() {
        assert!(Aal::Two > Aal::One);
        for aal in [Aal::One, Aal::Two] {
            assert_eq!(Aal::from_acr(aal.as_str()), Some(aal));
        }
        assert_eq!(Aal::from_acr("aal3"), None);
        assert_eq!(Aal::from_acr(""), None);
    }

    #[test]
    fn a_key_is_two_factors_only_with_its_holder_verified() {
        let cases = [
            (&["pwd"][..], Aal::One),
            (&["pwd", "otp"], Aal::One),
            (&["pwd", "otp", "mfa"], Aal::Two),
            (&["pop"], Aal::One),
            (&["pwd", "user"], Aal::One),
            (&["pop", "user"], Aal::Two),
        ];
        for (amr, expected) in cases {
            let amr: Vec<String> = amr.iter().map(|&proof| proof.to_owned()).collect();
            assert_eq!(Aal::of_amr(&amr), expected, "{amr:?}");
        }
    }

    #[test]
    fn a_step_up_is_named_as_openid_connect_does() {
        let step_up = StepUp { aal: Some(Aal::Two), max_age: Some(Duration::from_mins(15)) };
        let parameters: Vec<_> = step_up.parameters().collect();
        assert_eq!(parameters, [("acr_values", "aal2".to_owned()), ("max_age", "900".to_owned())]);
    }
}
