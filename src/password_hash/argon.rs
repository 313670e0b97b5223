//! argon2: what nauth hashes with, and what it reads of it.

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::config::settings;
use crate::domain::secret::Secret;

/// Stored hashes that cost more than this are refused: they would be a way to stop the machine.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_ITERATIONS: u32 = 20;
/// Length of the salts and tags nauth makes.
const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// One way to run argon2: everything but password and result.
#[derive(Debug, Clone)]
pub(super) struct Argon {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    length: usize,
}

/// Memory that argon2 works in, kept from one hash to the next.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::default());
        }
        &mut self.0[..count]
    }

    /// Gives back what only a costlier hash than `own` needed.
    pub(super) fn shrink_to(&mut self, own: &Argon) {
        let count = own.params.block_count();
        if self.0.len() > count {
            self.0.truncate(count);
            self.0.shrink_to_fit();
        }
    }
}

impl Argon {
    /// argon2id as configured, with a salt that is nobody's.
    pub(super) fn configured(cost: &settings::PasswordHash) -> std::io::Result<Self> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(TAG_BYTES))
            .map_err(std::io::Error::other)?;
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        Ok(Self { algorithm, version, params, salt: vec![0; SALT_BYTES], length: TAG_BYTES })
    }

    /// The same with a new salt.
    pub(super) fn salted(&self) -> Self {
        let mut salt = vec![0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).expect("the system has randomness");
        Self { salt, ..self.clone() }
    }

    /// Reads a PHC string into the way and its result; `None` when it is none of argon2's.
    pub(super) fn read(text: &str) -> Option<(Self, Vec<u8>)> {
        let phc = PasswordHash::new(text).ok()?;
        let algorithm = Algorithm::new(phc.algorithm.as_str()).ok()?;
        // Hashes from before the version was written are of the first one.
        let version = phc.version.map_or(Ok(Version::V0x10), Version::try_from).ok()?;
        let (params, salt, output) = (Params::try_from(&phc).ok()?, phc.salt?, phc.hash?);
        let keyed = !params.keyid().is_empty() || !params.data().is_empty();
        let digest = output.as_bytes().to_vec();
        let argon = Self { algorithm, version, params, salt: salt.to_vec(), length: digest.len() };
        (!keyed).then_some((argon, digest))
    }

    /// Writes the PHC string of this way and its result.
    pub(super) fn write(&self, tag: &[u8]) -> Secret<String> {
        let phc = PasswordHash {
            algorithm: self.algorithm.ident(),
            version: Some(self.version.into()),
            params: (&self.params).try_into().expect("parameters that argon2 accepted can be written"),
            salt: Some(Salt::new(&self.salt).expect("salts made here are salts")),
            hash: Some(Output::new(tag).expect("32 bytes are an output")),
        };
        Secret::new(phc.to_string())
    }

    /// The result for a password; nothing where argon2 refuses its input, as with a salt too short.
    pub(super) fn derive(&self, password: &[u8], memory: &mut Memory) -> Vec<u8> {
        let mut tag = vec![0; self.length];
        let blocks = memory.blocks(self.params.block_count());
        let argon = Argon2::new(self.algorithm, self.version, self.params.clone());
        match argon.hash_password_into_with_memory(password, &self.salt, &mut tag, blocks) {
            Ok(()) => tag,
            Err(_) => Vec::new(),
        }
    }

    /// What about its cost is beyond what is verified here, if anything.
    pub(super) fn excess(&self) -> Option<String> {
        let (memory, passes) = (self.params.m_cost(), self.params.t_cost());
        let excessive = memory > MAX_MEMORY_KIB || passes > MAX_ITERATIONS;
        excessive.then(|| format!("m={memory},t={passes} is above m={MAX_MEMORY_KIB},t={MAX_ITERATIONS}"))
    }

    /// Whether a hash of this kind should give way to one of the configured kind: it is not argon2id
    /// or costs less to try.
    pub(super) fn is_weaker_than(&self, own: &Self) -> bool {
        let work = |argon: &Self| u64::from(argon.params.m_cost()) * u64::from(argon.params.t_cost());
        let current = self.algorithm == Algorithm::Argon2id && self.version == Version::V0x13;
        !current || work(self) < work(own) || self.length < own.length
    }

    /// Algorithm and cost, without what differs from hash to hash.
    pub(super) fn kind(&self) -> String {
        let Self { algorithm, params, .. } = self;
        format!("{}/{},{},{}", algorithm.as_str(), params.m_cost(), params.t_cost(), params.p_cost())
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
