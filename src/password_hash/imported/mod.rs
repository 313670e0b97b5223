//! Password hashes that other systems made: read once, verified, and wrapped where they are too fast.
//!
//! A hash is a scheme, everything that turns a password into a digest, and the digest. What
//! costs more to verify than the caps of its family allow is refused, when it is imported and again
//! before each verification. A fast hash is put into argon2id when it is imported:
//!
//! ```text
//! nauth-wrap$<scheme>$<settings>$argon2id$v=19$m=…,t=…,p=…$<salt>$<tag>
//! ```
//!
//! where the tag is argon2id over the digest that the settings make of a password. The digest itself
//! is not stored, so a stolen table is worth no more than one of argon2id.

mod bcrypt;
mod crypt;
mod digest;
mod fields;
mod pbkdf2;
mod scrypt;
#[cfg(test)]
mod tests;

use std::fmt;

use ::argon2::Algorithm;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use self::bcrypt::Bcrypt;
use self::crypt::UnixCrypt;
use self::digest::Digest;
use self::fields::Fields;
use self::pbkdf2::Pbkdf2;
use self::scrypt::{Firebase, Scrypt};
use super::argon::{Argon, Memory};
use crate::domain::secret::Secret;

/// In front of a wrapped hash.
const WRAP: &str = "nauth-wrap$";
/// No hash is longer than this.
const MAX_TEXT: usize = 1024;
/// Shorter digests are matched by chance, or by everything.
const MIN_DIGEST: usize = 16;
const MAX_DIGEST: usize = 128;

/// A password hash that can be verified here.
#[derive(Clone)]
pub struct ImportedHash {
    scheme: Scheme,
    digest: Zeroizing<Vec<u8>>,
    text: Secret<String>,
}

/// The kinds of hashes that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `$argon2id$`, and Django's `argon2$argon2id$`.
    Argon2id,
    /// `$argon2i$`
    Argon2i,
    /// `$argon2d$`
    Argon2d,
    /// `$2a$`, `$2b$`, `$2y$`, and Django's `bcrypt$` and `bcrypt_sha256$`.
    Bcrypt,
    /// `$scrypt$` as a PHC string, and Django's `scrypt$`.
    Scrypt,
    /// `$firebase-scrypt$`: Firebase's variant with the project's parameters.
    FirebaseScrypt,
    /// `$pbkdf2-sha256$` as a PHC string and as passlib writes it, Django's `pbkdf2_sha256$`, and
    /// what ASP.NET Identity writes.
    Pbkdf2,
    /// `$5$` and `$6$`.
    ShaCrypt,
    /// `$1$`
    Md5Crypt,
    /// `{SSHA}`, `{SHA}` and their longer relatives.
    Sha,
    /// A fast hash in argon2id.
    Wrapped,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id => "argon2id",
            Self::Argon2i => "argon2i",
            Self::Argon2d => "argon2d",
            Self::Bcrypt => "bcrypt",
            Self::Scrypt => "scrypt",
            Self::FirebaseScrypt => "Firebase scrypt",
            Self::Pbkdf2 => "PBKDF2",
            Self::ShaCrypt => "sha-crypt",
            Self::Md5Crypt => "md5-crypt",
            Self::Sha => "LDAP SHA",
            Self::Wrapped => "wrapped",
        })
    }
}

/// Why a hash cannot be used. Says nothing of the hash itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// It looks like none of the families.
    #[error("not a kind of password hash that can be verified")]
    Unknown,
    /// It looks like one of them and is not.
    #[error("not a well-formed {0} hash")]
    Malformed(Family),
    /// Verifying it would take too long or too much memory.
    #[error("a {family} hash that costs too much to verify: {excess}")]
    TooCostly {
        /// What it is.
        family: Family,
        /// What is too much, and what would do.
        excess: String,
    },
}

/// Everything that turns a password into a digest.
#[derive(Debug, Clone)]
enum Scheme {
    Argon2(Argon),
    Bcrypt(Bcrypt),
    Scrypt(Scrypt),
    Firebase(Firebase),
    Pbkdf2(Pbkdf2),
    Crypt(UnixCrypt),
    Digest(Digest),
    Wrapped { inner: Box<Scheme>, outer: Argon },
}

/// A scheme and the digest that came with it; nothing if the text is malformed.
type Parsed = Option<(Scheme, Vec<u8>)>;

impl ImportedHash {
    /// Reads a hash in any of the forms of [`Family`].
    ///
    /// # Errors
    /// [`Unsupported`], also when it costs more than is verified here.
    pub fn parse(text: &str) -> Result<Self, Unsupported> {
        if text.len() > MAX_TEXT {
            return Err(Unsupported::Unknown);
        }
        let (family, parsed) = read(text).ok_or(Unsupported::Unknown)?;
        let (scheme, digest) = parsed.ok_or(Unsupported::Malformed(family))?;
        if !(MIN_DIGEST..=MAX_DIGEST).contains(&digest.len()) {
            return Err(Unsupported::Malformed(family));
        }
        if let Some(excess) = scheme.excess() {
            return Err(Unsupported::TooCostly { family, excess });
        }
        Ok(Self { scheme, digest: Zeroizing::new(digest), text: Secret::new(text.to_owned()) })
    }

    /// What it is.
    #[must_use]
    pub fn family(&self) -> Family {
        self.scheme.family()
    }

    /// Whether passwords can be tried against it so quickly that it must not be stored as it is.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        match &self.scheme {
            Scheme::Bcrypt(scheme) => scheme.is_fast(),
            Scheme::Scrypt(scheme) => scheme.is_fast(),
            Scheme::Pbkdf2(scheme) => scheme.is_fast(),
            Scheme::Crypt(scheme) => scheme.is_fast(),
            Scheme::Digest(_) => true,
            // Hard on memory, and the next login upgrades what is weak of them; or in argon2id already.
            Scheme::Argon2(_) | Scheme::Firebase(_) | Scheme::Wrapped { .. } => false,
        }
    }

    /// The hash as it was read.
    pub(super) fn into_text(self) -> Secret<String> {
        self.text
    }

    /// The hash in argon2id.
    pub(super) fn wrapped(&self, outer: &Argon, memory: &mut Memory) -> Secret<String> {
        let Some(settings) = self.scheme.settings() else { return self.text.clone() };
        let tag = outer.derive(&self.digest, memory);
        Secret::new(format!("{WRAP}{settings}{}", outer.write(&tag).expose()))
    }

    /// Whether it is the hash of this password.
    pub(super) fn is_of(&self, password: &[u8], memory: &mut Memory) -> bool {
        let derived = Zeroizing::new(self.scheme.derive(password, memory));
        verify_slices_are_equal(&derived, &self.digest).is_ok()
    }

    /// Whether a hash of the configured kind is better.
    pub(super) fn is_weaker_than(&self, own: &Argon) -> bool {
        match &self.scheme {
            Scheme::Argon2(argon) => argon.is_weaker_than(own),
            _ => true,
        }
    }

    /// Scheme and cost: hashes of one kind take as long as each other.
    pub(super) fn kind(&self) -> String {
        self.scheme.kind()
    }
}

/// Shows nothing that helps to try passwords.
impl fmt::Debug for ImportedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hash", self.family())
    }
}

/// Recognises a hash by what it begins with; `None` when nothing fits.
fn read(text: &str) -> Option<(Family, Parsed)> {
    if let Some(rest) = text.strip_prefix(WRAP) {
        return Some((Family::Wrapped, read_wrapped(rest)));
    }
    if let Some(rest) = text.strip_prefix("{CRYPT}") {
        // LDAP's way to say: what follows is from crypt(3).
        return read(rest).filter(|(family, _)| *family != Family::Wrapped);
    }
    // Django writes `argon2` and the PHC string.
    let phc = text.strip_prefix("argon2$argon2").map(|rest| format!("$argon2{rest}"));
    let phc = phc.as_deref().unwrap_or(text);
    let kinds = [("$argon2id$", Family::Argon2id), ("$argon2i$", Family::Argon2i), ("$argon2d$", Family::Argon2d)];
    if let Some((_, family)) = kinds.into_iter().find(|(prefix, _)| phc.starts_with(prefix)) {
        return Some((family, Argon::read(phc).map(|(argon, digest)| (Scheme::Argon2(argon), digest))));
    }
    bcrypt::read(text)
        .or_else(|| scrypt::read(text))
        .or_else(|| pbkdf2::read(text))
        .or_else(|| crypt::read(text))
        .or_else(|| digest::read(text))
}

fn read_wrapped(text: &str) -> Parsed {
    let (settings, phc) = text.split_at(text.find("$argon2id$")?);
    let (outer, digest) = Argon::read(phc)?;
    let (name, fields) = settings.split_once('$')?;
    let inner = Box::new(Scheme::from_settings(name, &Fields::read(fields)?)?);
    Some((Scheme::Wrapped { inner, outer }, digest))
}

impl Scheme {
    fn family(&self) -> Family {
        match self {
            Self::Argon2(argon) => match argon.algorithm() {
                Algorithm::Argon2id => Family::Argon2id,
                Algorithm::Argon2i => Family::Argon2i,
                Algorithm::Argon2d => Family::Argon2d,
            },
            Self::Bcrypt(_) => Family::Bcrypt,
            Self::Scrypt(_) => Family::Scrypt,
            Self::Firebase(_) => Family::FirebaseScrypt,
            Self::Pbkdf2(_) => Family::Pbkdf2,
            Self::Crypt(crypt) => crypt.family(),
            Self::Digest(_) => Family::Sha,
            Self::Wrapped { .. } => Family::Wrapped,
        }
    }

    fn derive(&self, password: &[u8], memory: &mut Memory) -> Vec<u8> {
        match self {
            Self::Argon2(scheme) => scheme.derive(password, memory),
            Self::Bcrypt(scheme) => scheme.derive(password),
            Self::Scrypt(scheme) => scheme.derive(password),
            Self::Firebase(scheme) => scheme.derive(password),
            Self::Pbkdf2(scheme) => scheme.derive(password),
            Self::Crypt(scheme) => scheme.derive(password),
            Self::Digest(scheme) => scheme.derive(password),
            Self::Wrapped { inner, outer } => {
                let digest = Zeroizing::new(inner.derive(password, memory));
                outer.derive(&digest, memory)
            }
        }
    }

    /// What about its cost is beyond what is verified here, if anything.
    fn excess(&self) -> Option<String> {
        match self {
            Self::Argon2(scheme) => scheme.excess(),
            Self::Bcrypt(scheme) => scheme.excess(),
            Self::Scrypt(scheme) => scheme.excess(),
            Self::Firebase(scheme) => scheme.excess(),
            Self::Pbkdf2(scheme) => scheme.excess(),
            Self::Crypt(scheme) => scheme.excess(),
            Self::Digest(_) => None,
            Self::Wrapped { inner, outer } => inner.excess().or_else(|| outer.excess()),
        }
    }

    fn kind(&self) -> String {
        match self {
            Self::Argon2(scheme) => scheme.kind(),
            Self::Bcrypt(scheme) => format!("bcrypt/{}", scheme.cost()),
            Self::Scrypt(scheme) => format!("scrypt/{}", scheme.cost()),
            Self::Firebase(scheme) => format!("firebase/{}", scheme.cost()),
            Self::Pbkdf2(scheme) => format!("pbkdf2/{}", scheme.cost()),
            Self::Crypt(scheme) => format!("crypt/{}", scheme.cost()),
            Self::Digest(_) => "digest".to_owned(),
            Self::Wrapped { inner, outer } => format!("{} in {}", inner.kind(), outer.kind()),
        }
    }

    /// The scheme as text, without a digest: `name$key=value,…`. Nothing for what is never wrapped.
    fn settings(&self) -> Option<String> {
        match self {
            Self::Bcrypt(scheme) => Some(format!("bcrypt${}", scheme.fields())),
            Self::Scrypt(scheme) => Some(format!("scrypt${}", scheme.fields())),
            Self::Pbkdf2(scheme) => Some(format!("pbkdf2${}", scheme.fields())),
            Self::Crypt(scheme) => Some(format!("crypt${}", scheme.fields())),
            Self::Digest(scheme) => Some(format!("digest${}", scheme.fields())),
            Self::Argon2(_) | Self::Firebase(_) | Self::Wrapped { .. } => None,
        }
    }

    fn from_settings(name: &str, fields: &Fields<'_>) -> Option<Self> {
        match name {
            "bcrypt" => Bcrypt::from_fields(fields).map(Self::Bcrypt),
            "scrypt" => Scrypt::from_fields(fields).map(Self::Scrypt),
            "pbkdf2" => Pbkdf2::from_fields(fields).map(Self::Pbkdf2),
            "crypt" => UnixCrypt::from_fields(fields).map(Self::Crypt),
            "digest" => Digest::from_fields(fields).map(Self::Digest),
            _ => None,
        }
    }
}

/// The SHA functions that password hashes are built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sha {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Sha {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sha| sha.name() == name)
    }

    /// Length of its output.
    fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}
