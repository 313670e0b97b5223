//! What a hashing thread does.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use super::Verified;
use super::argon::{Argon, Memory};
use super::floor::Floor;
use super::imported::ImportedHash;
use super::queue::Queue;
use crate::domain::password_policy::normalise;
use crate::domain::secret::Secret;
use crate::metrics::HashOp;

/// How far behind proxying the hashing threads stand (nice value).
const NICE: i32 = 10;

/// One thing to do, and where the answer goes.
#[derive(Debug)]
pub(super) enum Job {
    /// Hash a new password.
    Hash { password: Secret<String>, answer: oneshot::Sender<Secret<String>> },
    /// Compare a password with a hash, or with nobody's.
    Verify { password: Secret<String>, hash: Option<Secret<String>>, answer: oneshot::Sender<Compared> },
    /// Find out whether a password is one of several.
    VerifyAny { password: Secret<String>, hashes: Vec<Secret<String>>, answer: oneshot::Sender<bool> },
    /// Put a fast hash into a slow one.
    Wrap { imported: ImportedHash, answer: oneshot::Sender<Secret<String>> },
}

/// The answer to a comparison.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) verified: Verified,
    /// Not to be told earlier.
    pub(super) not_before: Instant,
}

impl Job {
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Hash { answer, .. } | Self::Wrap { answer, .. } => answer.is_closed(),
            Self::Verify { answer, .. } => answer.is_closed(),
            Self::VerifyAny { answer, .. } => answer.is_closed(),
        }
    }
}

/// A thread's tools.
#[derive(Debug)]
struct Bench<'a> {
    own: &'a Argon,
    floor: &'a Floor,
    memory: Memory,
}

/// One hashing thread, until the queue is closed.
pub(super) fn work(queue: &Queue, own: &Argon, floor: &Floor) {
    // Where the system forbids it, hashing competes as an equal.
    let _ = rustix::process::nice(NICE);
    // Memory is taken with the first job: a gateway that never hashes needs none.
    let mut bench = Bench { own, floor, memory: Memory::default() };
    while let Some(job) = queue.pop() {
        let begun = Instant::now();
        let op = bench.run(job, begun);
        let took = begun.elapsed();
        queue.note(took);
        queue.metrics().password_hashed(op, took);
        bench.memory.shrink_to(own);
    }
}

impl Bench<'_> {
    fn run(&mut self, job: Job, begun: Instant) -> HashOp {
        match job {
            Job::Hash { password, answer } => {
                let fresh = self.own.salted();
                let tag = fresh.derive(normalise(password.expose()).as_bytes(), &mut self.memory);
                let _ = answer.send(fresh.write(&tag));
                HashOp::Hash
            }
            Job::Verify { password, hash, answer } => {
                let verified = self.verify(&password, hash.as_ref());
                let hold = if verified.is_match() { Duration::ZERO } else { self.floor.hold() };
                let _ = answer.send(Compared { verified, not_before: begun + hold });
                HashOp::Verify
            }
            Job::VerifyAny { password, hashes, answer } => {
                let found = hashes.iter().any(|hash| self.verify(&password, Some(hash)).is_match());
                let _ = answer.send(found);
                HashOp::Verify
            }
            Job::Wrap { imported, answer } => {
                let _ = answer.send(imported.wrapped(&self.own.salted(), &mut self.memory));
                HashOp::Hash
            }
        }
    }

    fn verify(&mut self, password: &Secret<String>, hash: Option<&Secret<String>>) -> Verified {
        let stored = hash.map(|hash| ImportedHash::parse(hash.expose())).and_then(|parsed| {
            parsed.inspect_err(|error| warn!(%error, "a stored password hash cannot be verified")).ok()
        });
        let forms = forms(password);
        let begun = Instant::now();
        let is_match = if let Some(stored) = &stored {
            forms.iter().any(|form| stored.is_of(form.expose().as_bytes(), &mut self.memory))
        } else {
            // Nobody's password takes as long to refuse as somebody's.
            for form in &forms {
                let _ = self.own.derive(form.expose().as_bytes(), &mut self.memory);
            }
            false
        };
        if forms.len() == 1 {
            let kind = stored.as_ref().map_or_else(|| self.own.kind(), ImportedHash::kind);
            self.floor.note(&kind, begun.elapsed());
        }
        match stored {
            Some(stored) if is_match => Verified::Yes { upgrade: stored.is_weaker_than(self.own) },
            _ => Verified::No,
        }
    }
}

/// What a password may have been hashed as: its normal form, and as it was typed, which is what
/// other systems hash.
fn forms(password: &Secret<String>) -> Vec<Secret<String>> {
    let normal = normalise(password.expose());
    if normal == *password.expose() { vec![password.clone()] } else { vec![Secret::new(normal), password.clone()] }
}
