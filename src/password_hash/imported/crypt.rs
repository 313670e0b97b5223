//! What crypt(3) makes besides bcrypt: md5-crypt (`$1$`), sha256-crypt (`$5$`), sha512-crypt (`$6$`).
//!
//! Their digests are compared as they are written, in crypt(3)'s own base64 and order of bytes.

use md5::{Digest as _, Md5};
use sha_crypt::Params;

use super::fields::{Fields, number};
use super::{Family, Parsed, Scheme};

/// A million take about a second.
const MAX_ROUNDS: u32 = 2_000_000;
/// Below this a password is tried in less than about 50 ms.
const SLOW_ROUNDS: u32 = 100_000;
/// What is meant where no rounds are written.
const DEFAULT_ROUNDS: u32 = Params::RECOMMENDED_ROUNDS;
const MD5_ROUNDS: u32 = 1000;
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[derive(Debug, Clone)]
pub(super) struct UnixCrypt {
    function: Function,
    rounds: u32,
    salt: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Md5,
    Sha256,
    Sha512,
}

impl Function {
    const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512];

    fn id(self) -> &'static str {
        match self {
            Self::Md5 => "1",
            Self::Sha256 => "5",
            Self::Sha512 => "6",
        }
    }

    /// Length of the digest as it is written.
    fn written(self) -> usize {
        match self {
            Self::Md5 => 22,
            Self::Sha256 => 43,
            Self::Sha512 => 86,
        }
    }

    fn longest_salt(self) -> usize {
        if self == Self::Md5 { 8 } else { 16 }
    }
}

pub(super) fn read(text: &str) -> Option<(Family, Parsed)> {
    let (id, rest) = text.strip_prefix('$')?.split_once('$')?;
    let function = Function::ALL.into_iter().find(|function| function.id() == id)?;
    let family = if function == Function::Md5 { Family::Md5Crypt } else { Family::ShaCrypt };
    Some((family, parse(function, rest)))
}

/// `[rounds=5000$]salt$digest`
fn parse(function: Function, text: &str) -> Parsed {
    let (rounds, text) = match text.strip_prefix("rounds=") {
        None => (DEFAULT_ROUNDS, text),
        Some(_) if function == Function::Md5 => return None,
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$')?;
            (number(rounds)?, rest)
        }
    };
    let (salt, digest) = text.split_once('$')?;
    let written = digest.len() == function.written() && digest.bytes().all(|byte| DIGITS.contains(&byte));
    let scheme = UnixCrypt::new(function, rounds, salt)?;
    written.then(|| (Scheme::Crypt(scheme), digest.as_bytes().to_vec()))
}

impl UnixCrypt {
    fn new(function: Function, rounds: u32, salt: &str) -> Option<Self> {
        let rounds = if function == Function::Md5 { MD5_ROUNDS } else { rounds };
        let plain = salt.bytes().all(|byte| byte.is_ascii_graphic() && !b"$,=".contains(&byte));
        let sane = plain && salt.len() <= function.longest_salt() && rounds >= Params::ROUNDS_MIN;
        sane.then(|| Self { function, rounds, salt: salt.to_owned() })
    }

    pub(super) fn family(&self) -> Family {
        if self.function == Function::Md5 { Family::Md5Crypt } else { Family::ShaCrypt }
    }

    pub(super) fn derive(&self, password: &[u8]) -> Vec<u8> {
        let params = || Params::new(self.rounds).expect("rounds within the caps are sha-crypt's");
        let salt = self.salt.as_bytes();
        match self.function {
            Function::Md5 => {
                let order = (0..4).map(|i| [i, i + 6, i + 12]).chain([[4, 10, 5]]);
                written(&md5_crypt(password, salt), order, &[11])
            }
            Function::Sha256 => {
                let order =
                    (0..10).scan([0, 10, 20], |at, _| Some(std::mem::replace(at, [at[2] + 1, at[0] + 1, at[1] + 1])));
                written(&sha_crypt::sha256_crypt(password, salt, params()), order, &[31, 30])
            }
            Function::Sha512 => {
                let order =
                    (0..21).scan([0, 21, 42], |at, _| Some(std::mem::replace(at, [at[1] + 1, at[2] + 1, at[0] + 1])));
                written(&sha_crypt::sha512_crypt(password, salt, params()), order, &[63])
            }
        }
    }

    pub(super) fn is_fast(&self) -> bool {
        self.function == Function::Md5 || self.rounds < SLOW_ROUNDS
    }

    pub(super) fn excess(&self) -> Option<String> {
        (self.rounds > MAX_ROUNDS).then(|| format!("{} rounds are above {MAX_ROUNDS}", self.rounds))
    }

    pub(super) fn cost(&self) -> String {
        format!("{},{}", self.function.id(), self.rounds)
    }

    pub(super) fn fields(&self) -> String {
        format!("f={},i={},s={}", self.function.id(), self.rounds, self.salt)
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Option<Self> {
        let id = fields.text("f")?;
        let function = Function::ALL.into_iter().find(|function| function.id() == id)?;
        Self::new(function, fields.number("i")?, fields.text("s")?)
    }
}

/// The digest in crypt(3)'s base64: three bytes at a time in an order of its own, the last of them
/// first, six bits at a time from the low end; then what is left.
fn written(digest: &[u8], order: impl Iterator<Item = [usize; 3]>, rest: &[usize]) -> Vec<u8> {
    let mut text = Vec::with_capacity(digest.len() * 4 / 3 + 1);
    let mut write = |bytes: &[usize]| {
        let value = bytes.iter().fold(0, |value, at| value << 8 | usize::from(digest[*at]));
        let digits = (bytes.len() * 8).div_ceil(6);
        text.extend((0..digits).map(|digit| DIGITS[value >> (6 * digit) & 0x3f]));
    };
    for bytes in order {
        write(&bytes);
    }
    write(rest);
    text
}

/// md5-crypt as FreeBSD introduced it: MD5 a thousand times over password, salt and last result.
fn md5_crypt(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(salt);
    for chunk in password.chunks(inner.len()) {
        first.update(&inner[..chunk.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // Meant to be a byte of the inner digest, which was cleared by mistake; now it is the standard.
        first.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut last = first.finalize();
    for round in 0..MD5_ROUNDS {
        let odd = round % 2 == 1;
        let mut next = Md5::new();
        next.update(if odd { password } else { &last });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &last } else { password });
        last = next.finalize();
    }
    last.into()
}
