//! bcrypt, plain and over a SHA-256 of the password (Django).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use zeroize::Zeroizing;

use super::fields::{Fields, base64, number};
use super::{Family, Parsed, Scheme};
use crate::domain::hex::hex;

/// 2^15 rounds take about two seconds.
const MAX_COST: u32 = 15;
/// Below this a password is tried in less than about 50 ms.
const SLOW_COST: u32 = 10;
/// bcrypt reads no further. A terminating NUL counts.
const MAX_PASSWORD: usize = 72;
/// The last byte of the 24 was never written.
const DIGEST_BYTES: usize = 23;

const LENIENT: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

#[derive(Debug, Clone)]
pub(super) struct Bcrypt {
    cost: u32,
    salt: [u8; 16],
    input: Input,
}

/// What bcrypt is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Password,
    /// The hexadecimal SHA-256 of the password, so that all of a long one counts.
    Sha256,
}

pub(super) fn read(text: &str) -> Option<(Family, Parsed)> {
    let (input, text) = match (text.strip_prefix("bcrypt_sha256$"), text.strip_prefix("bcrypt$")) {
        (Some(rest), _) => (Input::Sha256, rest),
        (None, Some(rest)) => (Input::Password, rest),
        (None, None) => (Input::Password, text),
    };
    // `$2$` and `$2x$` are from before a bug was fixed, and `$2a$` may be: its bug is a matter of
    // passwords beyond 255 bytes.
    let rest = ["$2a$", "$2b$", "$2y$"].into_iter().find_map(|prefix| text.strip_prefix(prefix))?;
    Some((Family::Bcrypt, parse(rest, input)))
}

fn parse(text: &str, input: Input) -> Parsed {
    let (cost, rest) = text.split_once('$')?;
    let cost = number(cost).filter(|cost| (4..=31).contains(cost))?;
    let (salt, digest) = rest.split_at_checked(22)?;
    let salt = LENIENT.decode(salt).ok()?.try_into().ok()?;
    let digest = LENIENT.decode(digest).ok().filter(|digest| digest.len() == DIGEST_BYTES)?;
    Some((Scheme::Bcrypt(Bcrypt { cost, salt, input }), digest))
}

impl Bcrypt {
    pub(super) fn derive(&self, password: &[u8]) -> Vec<u8> {
        let mut key = Zeroizing::new(match self.input {
            Input::Password => password.to_vec(),
            Input::Sha256 => hex(digest(&SHA256, password).as_ref()).into_bytes(),
        });
        key.push(0);
        key.truncate(MAX_PASSWORD);
        ::bcrypt::bcrypt(self.cost, self.salt, &key)[..DIGEST_BYTES].to_vec()
    }

    pub(super) fn cost(&self) -> u32 {
        self.cost
    }

    pub(super) fn is_fast(&self) -> bool {
        self.cost < SLOW_COST
    }

    pub(super) fn excess(&self) -> Option<String> {
        (self.cost > MAX_COST).then(|| format!("cost {} is above {MAX_COST}", self.cost))
    }

    pub(super) fn fields(&self) -> String {
        let input = match self.input {
            Input::Password => "plain",
            Input::Sha256 => "sha256",
        };
        format!("c={},in={input},s={}", self.cost, base64(&self.salt))
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Option<Self> {
        let input = match fields.text("in")? {
            "plain" => Input::Password,
            "sha256" => Input::Sha256,
            _ => return None,
        };
        let cost = fields.number("c").filter(|cost| (4..=31).contains(cost))?;
        Some(Self { cost, salt: fields.bytes("s")?.try_into().ok()?, input })
    }
}
