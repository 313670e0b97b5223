//! One round of SHA, salted or not, as LDAP directories keep it: `{SSHA}` and `{SHA}`.

use aws_lc_rs::digest;

use super::fields::{Fields, base64, unbase64};
use super::{Family, Parsed, Scheme, Sha};

#[derive(Debug, Clone)]
pub(super) struct Digest {
    sha: Sha,
    salt: Vec<u8>,
}

pub(super) fn read(text: &str) -> Option<(Family, Parsed)> {
    let (name, rest) = text.strip_prefix('{')?.split_once('}')?;
    let name = name.to_ascii_lowercase();
    let (salted, name) =
        name.strip_prefix('s').map(|rest| rest.strip_prefix('s').map_or((false, rest), |rest| (true, rest)))?;
    let sha = match name {
        "ha" => Sha::Sha1,
        name => Sha::from_name(&format!("s{name}"))?,
    };
    Some((Family::Sha, parse(sha, salted, rest)))
}

/// The digest, then the salt.
fn parse(sha: Sha, salted: bool, text: &str) -> Parsed {
    let bytes = unbase64(text)?;
    let (digest, salt) = bytes.split_at_checked(sha.length())?;
    (salted || salt.is_empty()).then(|| (Scheme::Digest(Digest { sha, salt: salt.to_vec() }), digest.to_vec()))
}

impl Digest {
    pub(super) fn derive(&self, password: &[u8]) -> Vec<u8> {
        let mut context = digest::Context::new(match self.sha {
            Sha::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Sha::Sha256 => &digest::SHA256,
            Sha::Sha384 => &digest::SHA384,
            Sha::Sha512 => &digest::SHA512,
        });
        context.update(password);
        context.update(&self.salt);
        context.finish().as_ref().to_vec()
    }

    pub(super) fn fields(&self) -> String {
        format!("h={},s={}", self.sha.name(), base64(&self.salt))
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Option<Self> {
        Some(Self { sha: Sha::from_name(fields.text("h")?)?, salt: fields.bytes("s")? })
    }
}
