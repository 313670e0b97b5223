//! What users are known by: e-mail addresses, user names and phone numbers.
//!
//! Identifiers are normalised once, here (trimmed, NFKC, lower case; phones as E.164), and are
//! unique in the database in that form. A value of these types is valid; code below the edges never checks again.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

/// Longest e-mail address the wire accepts, in characters.
pub const MAX_EMAIL: usize = 255;

/// A normalised e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

impl Email {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// First character, stars, domain: `j***@example.com`.
    #[must_use]
    pub fn masked(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or((&self.0, ""));
        let first: String = local.chars().take(1).collect();
        format!("{first}***@{domain}")
    }
}

impl FromStr for Email {
    type Err = InvalidContact;

    fn from_str(text: &str) -> Result<Self, InvalidContact> {
        let normal = normalise(text);
        let domain_has_dot = normal.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'));
        let plain = !normal.contains(['<', '>', '"', '\\', '(', ')', ',', ';']);
        let fits = normal.chars().count() <= MAX_EMAIL && !normal.chars().any(char::is_control);
        if fits && plain && domain_has_dot && email_address::EmailAddress::is_valid(&normal) {
            Ok(Self(normal))
        } else {
            Err(InvalidContact)
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A normalised user name: 3 to 255 of `a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username(String);

impl Username {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = InvalidContact;

    fn from_str(text: &str) -> Result<Self, InvalidContact> {
        let normal = normalise(text);
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if (3..=255).contains(&normal.len()) && normal.chars().all(allowed) {
            Ok(Self(normal))
        } else {
            Err(InvalidContact)
        }
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A phone number as E.164 writes it: `+` and up to 15 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Phone(String);

impl Phone {
    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Stars and the last four digits: `***-***-1234`; a shorter number as it is.
    #[must_use]
    pub fn masked(&self) -> String {
        let digits = &self.0[1..];
        match digits.len() {
            0..4 => self.0.clone(),
            length => format!("***-***-{}", &digits[length - 4..]),
        }
    }

    /// The country the number belongs to (ISO 3166-1 alpha-2), as far as its plan tells.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        let number = phonenumber::parse(None, &self.0).ok()?;
        number.country().id().map(|id| id.as_ref().to_owned())
    }
}

impl FromStr for Phone {
    type Err = InvalidContact;

    /// Spaces are dropped; everything else must be there already.
    fn from_str(text: &str) -> Result<Self, InvalidContact> {
        let normal: String = text.nfkc().filter(|c| !c.is_whitespace()).collect();
        let digits = normal.strip_prefix('+').ok_or(InvalidContact)?;
        let is_e164 = (2..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if is_e164 { Ok(Self(normal)) } else { Err(InvalidContact) }
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person typed to say who they are: an e-mail address, a user name or a phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    /// It reads as an e-mail address.
    Email(Email),
    /// It reads as a user name.
    Username(Username),
    /// It reads as a phone number.
    Phone(Phone),
    /// It can be nobody's; looked up all the same, so that the answer takes as long.
    Unknown(String),
}

impl Identifier {
    /// Reads what was typed. Never fails: nonsense is nobody's identifier.
    #[must_use]
    pub fn read(text: &str) -> Self {
        if let Ok(email) = text.parse() {
            return Self::Email(email);
        }
        if let Ok(phone) = text.parse() {
            return Self::Phone(phone);
        }
        match text.parse() {
            Ok(username) => Self::Username(username),
            Err(InvalidContact) => Self::Unknown(normalise(text)),
        }
    }

    /// The normalised text, for counters and lookups.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Username(username) => username.as_str(),
            Self::Phone(phone) => phone.as_str(),
            Self::Unknown(text) => text,
        }
    }

    /// How an answer may show it without knowing whose it is.
    #[must_use]
    pub fn masked(&self) -> String {
        match self {
            Self::Email(email) => email.masked(),
            Self::Phone(phone) => phone.masked(),
            Self::Username(_) | Self::Unknown(_) => {
                format!("{}***", self.as_str().chars().next().unwrap_or('*'))
            }
        }
    }
}

/// The one form of what was typed: NFKC, lower case, without spaces around. Each of the three can
/// undo another (NFKC makes spaces of some marks), so they are repeated until nothing changes.
fn normalise(text: &str) -> String {
    let once = |text: &str| text.trim().nfkc().collect::<String>().to_lowercase();
    let mut normal = once(text);
    for _ in 0..4 {
        let again = once(&normal);
        if again == normal {
            break;
        }
        normal = again;
    }
    normal
}

/// The text is not a valid address or name of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid address or name")]
pub struct InvalidContact;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_its_one_form_stays_so() {
        for text in ["\u{37a}\u{5fa}\u{37a} \0", " \u{130}stanbul@Example.com ", "\u{1d2c}da", "\u{3f4}x"] {
            let once = normalise(text);
            assert_eq!(normalise(&once), once, "{text:?}");
        }
    }

    #[test]
    fn emails_are_normalised_and_checked() {
        let cases = [
            ("  Ada@Example.COM ", Some("ada@example.com")),
            ("ａｄａ@example.com", Some("ada@example.com")),
            ("ada+tag@example.com", Some("ada+tag@example.com")),
            ("ada@localhost", None),
            ("ada", None),
            ("a@b@example.com", None),
            ("ada@example.com,eve@example.com", None),
            ("Ada <ada@example.com>", None),
            ("ada@example.com\r\nBcc: eve@example.com", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let email = text.parse::<Email>().ok();
            assert_eq!(email.as_ref().map(Email::as_str), expected, "{text:?}");
        }
    }

    #[test]
    fn masking_keeps_one_character_and_the_domain() {
        assert_eq!("jane@example.com".parse::<Email>().unwrap().masked(), "j***@example.com");
    }

    #[test]
    fn identifiers_are_read_as_what_they_look_like() {
        assert!(matches!(Identifier::read("Ada@example.com"), Identifier::Email(_)));
        assert!(matches!(Identifier::read("Ada_L"), Identifier::Username(_)));
        assert!(matches!(Identifier::read("?"), Identifier::Unknown(_)));
    }
}
