//! What the rules make of a request that somebody describes: in one word, and for whom.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::assurance::Aal;
use crate::domain::error::{Denial, Error};

/// In one word: `allow`, `login`, `step_up`, `not_found`, or `deny:` and a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It goes on to the upstream.
    Allow,
    /// A browser is sent to log in.
    Login,
    /// A surer or a fresher login is asked for.
    StepUp,
    /// No route takes it.
    NotFound,
    /// It is refused.
    Deny(Reason),
}

/// Why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Known, but not allowed.
    Denial(Denial),
    /// Nobody is known, and nobody is sent to a login page.
    NoSession,
    /// The route does not take this method.
    Method,
    /// The Host is not served.
    Host,
    /// The request is malformed, or reads in two ways.
    BadRequest,
}

impl Reason {
    /// Every reason that can follow from the rules alone; whose address it is nobody describes.
    const ALL: [Self; 10] = [
        Self::Denial(Denial::Role),
        Self::Denial(Denial::Scope),
        Self::Denial(Denial::VerifiedEmail),
        Self::Denial(Denial::Upgrade),
        Self::Denial(Denial::CrossSite),
        Self::Denial(Denial::Origin),
        Self::NoSession,
        Self::Method,
        Self::Host,
        Self::BadRequest,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denial(denial) => denial.as_str(),
            Self::NoSession => "no_session",
            Self::Method => "method",
            Self::Host => "host",
            Self::BadRequest => "bad_request",
        }
    }
}

/// What an error of the gateway's rules comes to.
impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound => Self::NotFound,
            Error::StepUpRequired(_) => Self::StepUp,
            Error::Forbidden(denial) => Self::Deny(Reason::Denial(*denial)),
            Error::MethodNotAllowed(_) => Self::Deny(Reason::Method),
            Error::Misdirected(_) => Self::Deny(Reason::Host),
            Error::BadRequest(_) | Error::PayloadTooLarge => Self::Deny(Reason::BadRequest),
            _ => Self::Deny(Reason::NoSession),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Login => f.write_str("login"),
            Self::StepUp => f.write_str("step_up"),
            Self::NotFound => f.write_str("not_found"),
            Self::Deny(reason) => write!(f, "deny:{}", reason.as_str()),
        }
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = [Self::Allow, Self::Login, Self::StepUp, Self::NotFound];
        let refusals = Reason::ALL.map(Self::Deny);
        let known = || plain.into_iter().chain(refusals);
        known().find(|outcome| outcome.to_string() == text).ok_or_else(|| {
            let words: Vec<String> = known().map(|outcome| format!("`{outcome}`")).collect();
            format!("`{text}` is not one of {}", words.join(", "))
        })
    }
}

/// Somebody who is known, described: what the rules look at, and no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Persona {
    /// The roles.
    pub roles: Vec<String>,
    /// What the credential may be used for.
    pub scopes: Vec<String>,
    /// How sure nauth is of it.
    pub aal: Aal,
    /// Whether the address is proven.
    pub email_verified: bool,
    /// How long ago the login was.
    pub auth_age: Duration,
}

impl Default for Persona {
    /// Just logged in, with one factor and a proven address, and nothing more.
    fn default() -> Self {
        Self { roles: Vec::new(), scopes: Vec::new(), aal: Aal::One, email_verified: true, auth_age: Duration::ZERO }
    }
}

impl fmt::Display for Persona {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "roles=[{}], {}", self.roles.join(", "), self.aal.as_str())?;
        if !self.scopes.is_empty() {
            write!(f, ", scopes=[{}]", self.scopes.join(", "))?;
        }
        if !self.email_verified {
            f.write_str(", address not verified")?;
        }
        if !self.auth_age.is_zero() {
            write!(f, ", logged in {} ago", humantime::format_duration(self.auth_age))?;
        }
        Ok(())
    }
}

/// `anonymous`, or who it is.
#[must_use]
pub fn named(persona: Option<&Persona>) -> String {
    persona.map_or_else(|| "anonymous".to_owned(), Persona::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_reads_back_as_the_word_it_is_written_as() {
        for reason in Reason::ALL {
            let outcome = Outcome::Deny(reason);
            assert_eq!(outcome.to_string().parse(), Ok(outcome));
        }
        for word in ["allow", "login", "step_up", "not_found", "deny:role", "deny:no_session"] {
            assert_eq!(word.parse::<Outcome>().unwrap().to_string(), word);
        }
        for word in ["", "deny", "deny:", "deny:luck", "Allow"] {
            assert!(word.parse::<Outcome>().unwrap_err().contains("`deny:role`"), "{word}");
        }
    }

    #[test]
    fn a_persona_is_told_in_words() {
        let plain = Persona { roles: vec!["user".to_owned()], ..Persona::default() };
        let odd = Persona {
            scopes: vec!["a".to_owned(), "b".to_owned()],
            aal: Aal::Two,
            email_verified: false,
            auth_age: Duration::from_mins(20),
            ..Persona::default()
        };

        assert_eq!(named(Some(&plain)), "roles=[user], aal1");
        assert_eq!(odd.to_string(), "roles=[], aal2, scopes=[a, b], address not verified, logged in 20m ago");
        assert_eq!(named(None), "anonymous");
    }
}
