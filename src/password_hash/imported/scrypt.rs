//! scrypt: the PHC string, Django's form, and Firebase's variant.
//!
//! Firebase keeps four parameters with the project, not with the hash. To import its users, put
//! them in front of each user's salt and hash, all in base64 as the console and the export show them:
//!
//! ```text
//! $firebase-scrypt$ln=<mem_cost>,r=<rounds>,ss=<salt separator>,sk=<signer key>$<salt>$<hash>
//! ```

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::fields::{Fields, base64, number, unbase64};
use super::{Family, Parsed, Scheme};

/// What one hash may take: as much as argon2id may be configured to.
const MAX_MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// N·r·p; N = 2^17, r = 8, p = 2 takes under two seconds.
const MAX_WORK: u64 = 1 << 21;
/// Below this much memory scrypt is not hard on it.
const SLOW_MEMORY_BYTES: u64 = 8 * 1024 * 1024;
/// Length of the key that Firebase encrypts with.
const FIREBASE_KEY: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct Scrypt {
    cost: Cost,
    salt: Vec<u8>,
    length: usize,
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    log_n: u32,
    r: u32,
    p: u32,
}

/// scrypt makes a key of the password, with which AES-256-CTR encrypts the project's signer key.
#[derive(Clone)]
pub(super) struct Firebase {
    cost: Cost,
    /// The user's, then the project's separator.
    salt: Vec<u8>,
    signer_key: Zeroizing<Vec<u8>>,
}

pub(super) fn read(text: &str) -> Option<(Family, Parsed)> {
    if let Some(rest) = text.strip_prefix("$scrypt$") {
        return Some((Family::Scrypt, parse_phc(rest)));
    }
    if let Some(rest) = text.strip_prefix("scrypt$") {
        return Some((Family::Scrypt, parse_django(rest)));
    }
    let rest = text.strip_prefix("$firebase-scrypt$")?;
    Some((Family::FirebaseScrypt, parse_firebase(rest)))
}

/// `ln=14,r=8,p=1$salt$digest`; some write `n=16384`.
fn parse_phc(text: &str) -> Parsed {
    let (fields, salt, digest) = three(text)?;
    let fields = Fields::read(fields)?;
    let log_n = match fields.number("n") {
        Some(n) => log2(n)?,
        None => fields.number("ln")?,
    };
    let cost = Cost::new(log_n, fields.number("r")?, fields.number("p")?)?;
    let (salt, digest) = (unbase64(salt)?, unbase64(digest)?);
    Some((Scheme::Scrypt(Scrypt { cost, salt, length: digest.len() }), digest))
}

/// `N$salt$r$p$digest`, the salt as text.
fn parse_django(text: &str) -> Parsed {
    let [n, salt, r, p, digest] = text.split('$').collect::<Vec<_>>().try_into().ok()?;
    let cost = Cost::new(log2(number(n)?)?, number(r)?, number(p)?)?;
    let digest = unbase64(digest)?;
    Some((Scheme::Scrypt(Scrypt { cost, salt: salt.as_bytes().to_vec(), length: digest.len() }), digest))
}

fn parse_firebase(text: &str) -> Parsed {
    let (fields, salt, digest) = three(text)?;
    let fields = Fields::read(fields)?;
    let cost = Cost::new(fields.number("ln")?, fields.number("r")?, 1)?;
    let salt = [unbase64(salt)?, fields.bytes("ss")?].concat();
    let (signer_key, digest) = (Zeroizing::new(fields.bytes("sk")?), unbase64(digest)?);
    (signer_key.len() == digest.len()).then_some((Scheme::Firebase(Firebase { cost, salt, signer_key }), digest))
}

fn three(text: &str) -> Option<(&str, &str, &str)> {
    let (first, rest) = text.split_once('$')?;
    let (second, third) = rest.split_once('$')?;
    Some((first, second, third))
}

fn log2(n: u32) -> Option<u32> {
    n.is_power_of_two().then(|| n.ilog2())
}

impl Cost {
    fn new(log_n: u32, r: u32, p: u32) -> Option<Self> {
        let sane = (1..=40).contains(&log_n) && (1..=1024).contains(&r) && (1..=1024).contains(&p);
        sane.then_some(Self { log_n, r, p })
    }

    fn memory(self) -> u64 {
        (128 * u64::from(self.r)) << self.log_n
    }

    fn excess(self) -> Option<String> {
        let Self { log_n, r, p } = self;
        let work = (u64::from(r) * u64::from(p)) << log_n;
        let excessive = self.memory() > MAX_MEMORY_BYTES || work > MAX_WORK;
        excessive.then(|| format!("ln={log_n},r={r},p={p} takes more than 256MiB or the time of ln=18,r=8,p=1"))
    }

    fn derive(self, password: &[u8], salt: &[u8], key: &mut [u8]) {
        let log_n = u8::try_from(self.log_n).expect("log N is at most 40");
        let params = ::scrypt::Params::new(log_n, self.r, self.p).expect("costs within the caps are scrypt's");
        ::scrypt::scrypt(password, salt, &params, key).expect("a digest has 16 to 128 bytes");
    }

    fn shown(self) -> String {
        format!("{},{},{}", self.log_n, self.r, self.p)
    }
}

impl Scrypt {
    pub(super) fn derive(&self, password: &[u8]) -> Vec<u8> {
        let mut digest = vec![0; self.length];
        self.cost.derive(password, &self.salt, &mut digest);
        digest
    }

    pub(super) fn is_fast(&self) -> bool {
        self.cost.memory() < SLOW_MEMORY_BYTES
    }

    pub(super) fn excess(&self) -> Option<String> {
        self.cost.excess()
    }

    pub(super) fn cost(&self) -> String {
        self.cost.shown()
    }

    pub(super) fn fields(&self) -> String {
        let Cost { log_n, r, p } = self.cost;
        format!("ln={log_n},r={r},p={p},l={},s={}", self.length, base64(&self.salt))
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Option<Self> {
        let cost = Cost::new(fields.number("ln")?, fields.number("r")?, fields.number("p")?)?;
        let length = usize::try_from(fields.number("l")?).ok().filter(|length| (16..=128).contains(length))?;
        Some(Self { cost, salt: fields.bytes("s")?, length })
    }
}

impl Firebase {
    pub(super) fn derive(&self, password: &[u8]) -> Vec<u8> {
        let mut key = Zeroizing::new([0; FIREBASE_KEY]);
        self.cost.derive(password, &self.salt, key.as_mut());
        let mut digest = self.signer_key.to_vec();
        let key = UnboundCipherKey::new(&AES_256, key.as_ref()).expect("32 bytes are an AES-256 key");
        let context = EncryptionContext::Iv128(FixedLength::from([0; 16]));
        // The counter starts at zero each time: the key is used for this one text only.
        EncryptingKey::ctr(key)
            .and_then(|key| key.less_safe_encrypt(&mut digest, context))
            .expect("counter mode takes any length");
        digest
    }

    pub(super) fn excess(&self) -> Option<String> {
        self.cost.excess()
    }

    pub(super) fn cost(&self) -> String {
        self.cost.shown()
    }
}

/// The signer key is a secret of the project.
impl std::fmt::Debug for Firebase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Firebase").field("cost", &self.cost).finish_non_exhaustive()
    }
}
