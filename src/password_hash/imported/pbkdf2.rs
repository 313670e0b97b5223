//! PBKDF2: PHC strings, passlib, Django and ASP.NET Identity.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, Algorithm};

use super::fields::{Fields, base64, number, unbase64};
use super::{Family, Parsed, Scheme, Sha};

/// SHA-512 takes two to three seconds for so many.
const MAX_ITERATIONS: u32 = 5_000_000;
/// Below this a password is tried in a few milliseconds by a CPU and in no time by a graphics card.
const SLOW_ITERATIONS: u32 = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Pbkdf2 {
    sha: Sha,
    iterations: NonZeroU32,
    salt: Vec<u8>,
    length: usize,
}

pub(super) fn read(text: &str) -> Option<(Family, Parsed)> {
    let parsed = match text.split_once('$') {
        Some(("", rest)) => {
            let (name, rest) = rest.split_once('$')?;
            let sha = match name {
                // passlib's name for the first of them.
                "pbkdf2" => Sha::Sha1,
                name => Sha::from_name(name.strip_prefix("pbkdf2-")?)?,
            };
            parse_modular(sha, rest)
        }
        Some((name, rest)) => parse_django(Sha::from_name(name.strip_prefix("pbkdf2_")?)?, rest),
        None => parse_asp_net(&asp_net_bytes(text)?),
    };
    Some((Family::Pbkdf2, parsed))
}

/// `i=1000,l=32$salt$digest` (PHC) or `1000$salt$digest` (passlib).
fn parse_modular(sha: Sha, text: &str) -> Parsed {
    let [settings, salt, digest] = text.split('$').collect::<Vec<_>>().try_into().ok()?;
    let iterations = match number(settings) {
        Some(iterations) => iterations,
        None => Fields::read(settings)?.number("i")?,
    };
    parsed(sha, iterations, unbase64(salt)?, unbase64(digest)?)
}

/// `1000$salt$digest`, the salt as text.
fn parse_django(sha: Sha, text: &str) -> Parsed {
    let [iterations, salt, digest] = text.split('$').collect::<Vec<_>>().try_into().ok()?;
    parsed(sha, number(iterations)?, salt.as_bytes().to_vec(), unbase64(digest)?)
}

/// Base64 of bytes that begin with a known version and are long enough for it.
fn asp_net_bytes(text: &str) -> Option<Vec<u8>> {
    let bytes = unbase64(text)?;
    match bytes.first()? {
        0 => (bytes.len() == 49).then_some(bytes),
        1 => (bytes.len() > 13 + 16).then_some(bytes),
        _ => None,
    }
}

/// Version 2: `0 salt[16] digest[32]`, 1000 rounds of SHA-1. Version 3: `1`, then big-endian and
/// 32 bits each the function, the iterations and the salt's length, then salt and digest.
fn parse_asp_net(bytes: &[u8]) -> Parsed {
    let (version, rest) = bytes.split_first()?;
    if *version == 0 {
        let (salt, digest) = rest.split_at_checked(16)?;
        return parsed(Sha::Sha1, 1000, salt.to_vec(), digest.to_vec());
    }
    let (function, rest) = big_endian(rest)?;
    let (iterations, rest) = big_endian(rest)?;
    let (salt_length, rest) = big_endian(rest)?;
    let sha = [Sha::Sha1, Sha::Sha256, Sha::Sha512].into_iter().nth(usize::try_from(function).ok()?)?;
    let (salt, digest) = rest.split_at_checked(usize::try_from(salt_length).ok()?)?;
    parsed(sha, iterations, salt.to_vec(), digest.to_vec())
}

fn big_endian(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn parsed(sha: Sha, iterations: u32, salt: Vec<u8>, digest: Vec<u8>) -> Parsed {
    let scheme = Pbkdf2 { sha, iterations: NonZeroU32::new(iterations)?, salt, length: digest.len() };
    Some((Scheme::Pbkdf2(scheme), digest))
}

impl Pbkdf2 {
    pub(super) fn derive(&self, password: &[u8]) -> Vec<u8> {
        let mut digest = vec![0; self.length];
        pbkdf2::derive(algorithm(self.sha), self.iterations, &self.salt, password, &mut digest);
        digest
    }

    pub(super) fn is_fast(&self) -> bool {
        self.iterations.get() < SLOW_ITERATIONS
    }

    pub(super) fn excess(&self) -> Option<String> {
        let iterations = self.iterations.get();
        (iterations > MAX_ITERATIONS).then(|| format!("{iterations} iterations are above {MAX_ITERATIONS}"))
    }

    pub(super) fn cost(&self) -> String {
        format!("{},{},{}", self.sha.name(), self.iterations, self.length)
    }

    pub(super) fn fields(&self) -> String {
        let Self { sha, iterations, salt, length } = self;
        format!("h={},i={iterations},l={length},s={}", sha.name(), base64(salt))
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Option<Self> {
        Some(Self {
            sha: Sha::from_name(fields.text("h")?)?,
            iterations: NonZeroU32::new(fields.number("i")?)?,
            salt: fields.bytes("s")?,
            length: usize::try_from(fields.number("l")?).ok().filter(|length| (16..=128).contains(length))?,
        })
    }
}

fn algorithm(sha: Sha) -> Algorithm {
    match sha {
        Sha::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Sha::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Sha::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Sha::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    }
}
