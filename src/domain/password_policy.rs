//! What a password must be: `[password]` as a rule over text.
//!
//! Length is what counts most (NIST SP 800-63B); whoever wants classes of characters may ask for
//! them. Beyond that a password must not be one of the world's favourites, must not be made of what
//! everybody knows about its owner, and must not be guessed in a few tries.

use std::collections::HashSet;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use zxcvbn::{Score, zxcvbn};

/// See `password_policy/NOTICE.md`.
const COMMON: &str = include_str!("password_policy/common.txt");
/// What is known about the owner counts from this length on: shorter parts are in every other word.
const SHORTEST_PART: usize = 4;
/// How much of a password its strength is estimated from. The estimate grows with the square of the
/// length, and what is strong after this much stays strong.
const ESTIMATED_CHARACTERS: usize = 64;

static BUNDLED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| COMMON.lines().collect());

/// The form in which a password is checked, hashed and compared: NFKC, so that the same key presses
/// on another system are the same password. Nothing is trimmed and no case is changed.
#[must_use]
pub fn normalise(password: &str) -> String {
    password.nfkc().collect()
}

/// The rules for new passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Fewest characters.
    pub min_length: usize,
    /// Most characters.
    pub max_length: usize,
    /// Classes of which a character each must be there.
    pub require: Vec<CharacterClass>,
    /// What counts as [`CharacterClass::Special`].
    pub special_chars: String,
    /// Whether passwords that many people use are refused.
    pub prevent_common: bool,
    /// More of them, beside those that come with nauth.
    pub common: CommonPasswords,
    /// Whether a password may not contain its owner's address or names.
    pub prevent_user_info: bool,
    /// The least zxcvbn score, 0 to 4. At 0 nothing is estimated.
    pub min_strength: u8,
}

/// A class of characters. All but `Special` are ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CharacterClass {
    /// `A` to `Z`.
    Upper,
    /// `a` to `z`.
    Lower,
    /// `0` to `9`.
    Digit,
    /// One of [`PasswordPolicy::special_chars`].
    Special,
}

/// What everybody may know about who chooses the password.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The e-mail address.
    pub email: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// Given name.
    pub first_name: Option<&'a str>,
    /// Family name.
    pub last_name: Option<&'a str>,
}

impl PasswordPolicy {
    /// Checks a new password; answers a sentence for each rule it misses.
    ///
    /// Estimating the strength takes up to 2 ms, a tenth of what hashing the password takes.
    pub fn check(&self, password: &str, about: &About<'_>) -> Result<(), Vec<String>> {
        let password = normalise(password);
        let length = password.chars().count();
        let mut missed = Vec::new();
        if length < self.min_length {
            missed.push(format!("Password must be at least {} characters long", self.min_length));
        }
        if length > self.max_length {
            missed.push(format!("Password must be at most {} characters long", self.max_length));
        }
        let absent = self.require.iter().filter(|class| !password.chars().any(|c| self.is_of(**class, c)));
        missed.extend(absent.map(|class| self.asks_for(*class)));

        let lower = password.to_lowercase();
        if self.prevent_common && (BUNDLED.contains(lower.as_str()) || self.common.contains(&lower)) {
            missed.push("Password is one of the most commonly used ones".to_owned());
        } else if self.is_weak(&password, about) {
            // A common password is weak, too; one sentence is enough.
            missed.push("Password is too easy to guess".to_owned());
        }
        if self.prevent_user_info && about.parts().iter().any(|part| lower.contains(part)) {
            missed.push("Password must not contain your e-mail address or your name".to_owned());
        }
        if missed.is_empty() { Ok(()) } else { Err(missed) }
    }

    fn is_of(&self, class: CharacterClass, c: char) -> bool {
        match class {
            CharacterClass::Upper => c.is_ascii_uppercase(),
            CharacterClass::Lower => c.is_ascii_lowercase(),
            CharacterClass::Digit => c.is_ascii_digit(),
            CharacterClass::Special => self.special_chars.contains(c),
        }
    }

    fn asks_for(&self, class: CharacterClass) -> String {
        match class {
            CharacterClass::Upper => "Password must contain an uppercase letter".to_owned(),
            CharacterClass::Lower => "Password must contain a lowercase letter".to_owned(),
            CharacterClass::Digit => "Password must contain a digit".to_owned(),
            CharacterClass::Special => format!("Password must contain one of {}", self.special_chars),
        }
    }

    fn is_weak(&self, password: &str, about: &About<'_>) -> bool {
        if self.min_strength == 0 {
            return false;
        }
        let seen: String = password.chars().take(ESTIMATED_CHARACTERS).collect();
        let parts = about.parts();
        let known: Vec<&str> = parts.iter().map(String::as_str).collect();
        score(zxcvbn(&seen, &known).score()) < self.min_strength
    }
}

fn score(score: Score) -> u8 {
    match score {
        Score::Zero => 0,
        Score::One => 1,
        Score::Two => 2,
        Score::Three => 3,
        // The enum may grow; whatever is added is not below four.
        _ => 4,
    }
}

impl About<'_> {
    /// What a password should not be made of, in lower case: each value, and each word in it.
    fn parts(&self) -> Vec<String> {
        let local = self.email.rsplit_once('@').map_or(self.email, |(local, _)| local);
        let values = [Some(local), self.username, self.first_name, self.last_name];
        let mut parts = Vec::new();
        for value in values.into_iter().flatten() {
            let value = normalise(value).to_lowercase();
            parts.extend(value.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
            parts.push(value);
        }
        parts.retain(|part| part.chars().count() >= SHORTEST_PART);
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

/// A list of passwords that too many people use, besides the one that comes with nauth.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CommonPasswords(HashSet<String>);

impl CommonPasswords {
    /// Reads a list with one password on each line; letter case does not matter.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().map(|line| normalise(line.trim()).to_lowercase());
        Self(lines.filter(|line| !line.is_empty()).collect())
    }

    fn contains(&self, lower: &str) -> bool {
        self.0.contains(lower)
    }
}

impl std::fmt::Debug for CommonPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passwords", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::lenient;
    use super::*;

    const ADA: About<'static> = About {
        email: "Ada.Byron+x@example.com",
        username: Some("countess-l"),
        first_name: Some("Ada"),
        last_name: Some("Lovelace"),
    };

    #[test]
    fn length_is_counted_in_characters_of_the_normal_form() {
        let policy = PasswordPolicy { min_length: 4, max_length: 5, ..lenient() };
        let cases = [("abc", 1), ("abcd", 0), ("äöüß", 0), ("e\u{301}e\u{301}e\u{301}", 1), ("ﬁﬁ", 0), ("abcdef", 1)];
        for (password, missed) in cases {
            let found = policy.check(password, &ADA).err().unwrap_or_default();
            assert_eq!(found.len(), missed, "{password}: {found:?}");
        }
    }

    #[test]
    fn every_missed_class_is_named() {
        let require =
            vec![CharacterClass::Upper, CharacterClass::Lower, CharacterClass::Digit, CharacterClass::Special];
        let policy = PasswordPolicy { require, ..lenient() };

        assert_eq!(policy.check("Aa1?", &ADA), Ok(()));
        assert_eq!(policy.check("   ", &ADA).unwrap_err().len(), 4);
        assert_eq!(policy.check("Aa1#", &ADA).unwrap_err(), ["Password must contain one of !?"]);
        assert_eq!(policy.check("Äa1?", &ADA).unwrap_err(), ["Password must contain an uppercase letter"]);
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        let own = CommonPasswords::read("Our-Company-2024\n\n  spring in town \n");
        let policy = PasswordPolicy { prevent_common: true, common: own, ..lenient() };

        for common in ["password", "PassWord", "qwertyuiop", "йцукен", "our-company-2024", "Spring in Town"] {
            assert!(policy.check(common, &ADA).is_err(), "{common}");
        }
        for own in ["a long walk by the sea", "password of the day", ""] {
            assert_eq!(PasswordPolicy { min_length: 0, ..policy.clone() }.check(own, &ADA), Ok(()), "{own}");
        }
    }

    #[test]
    fn the_bundled_list_is_long_sorted_and_in_the_form_it_is_looked_up_in() {
        assert!(BUNDLED.len() > 10_000);
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "a line out of order or twice");
        assert!(lines.iter().all(|line| normalise(line).to_lowercase() == **line));
    }

    #[test]
    fn what_everybody_knows_about_the_owner_is_no_password() {
        let policy = PasswordPolicy { prevent_user_info: true, ..lenient() };

        for bad in ["my byron book", "LOVELACE1815", "the countess-l", "xx ada.byron+x xx", "countess!"] {
            assert!(policy.check(bad, &ADA).is_err(), "{bad}");
        }
        for good in ["ada is short", "example.com", "love lace", "anything else"] {
            assert_eq!(policy.check(good, &ADA), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_guessed_quickly_is_refused_and_what_is_known_counts_as_a_word() {
        let policy = PasswordPolicy { min_strength: 2, ..lenient() };

        for weak in ["", "password", "aaaaaaaaaaaa", "abcdefghijkl", "qwertyuiop12", "lovelacebyron"] {
            assert_eq!(policy.check(weak, &ADA).unwrap_err().len(), 1 + usize::from(weak.is_empty()), "{weak}");
        }
        for strong in ["a long walk by the sea", "Xq7#pLm2vR9z", &"Tz8!kQw3".repeat(16)] {
            assert_eq!(policy.check(strong, &ADA), Ok(()), "{strong}");
        }
    }

    #[test]
    fn a_common_and_weak_password_is_told_so_once() {
        let policy = PasswordPolicy { min_strength: 4, prevent_common: true, ..lenient() };

        assert_eq!(policy.check("password", &ADA).unwrap_err(), ["Password is one of the most commonly used ones"]);
    }

    #[test]
    fn the_same_keys_are_the_same_password() {
        assert_eq!(normalise("e\u{301}ﬁ ①"), normalise("éfi 1"));
        assert_eq!(normalise("  Spaces And Case  "), "  Spaces And Case  ");
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A policy that asks for one character.
    pub(crate) fn lenient() -> PasswordPolicy {
        PasswordPolicy {
            min_length: 1,
            max_length: 128,
            require: Vec::new(),
            special_chars: "!?".to_owned(),
            prevent_common: false,
            common: CommonPasswords::default(),
            prevent_user_info: false,
            min_strength: 0,
        }
    }
}
