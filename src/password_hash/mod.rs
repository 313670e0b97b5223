//! Floor 4, password hashing: argon2id on threads of its own, and the hashes of other systems.
//!
//! A hash takes tens of milliseconds and 19 MiB, so it never runs where requests are proxied: a few
//! low-priority threads with reused memory take jobs from a bounded queue. The queue is fair: one
//! address prefix after the other gets a turn, so a flood from one client makes that client wait.
//! Whoever would wait too long is shed with [`Busy`] at once, and whoever has, when the time is over.

mod argon;
mod floor;
pub mod imported;
mod job;
mod queue;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use self::argon::Argon;
use self::floor::Floor;
use self::imported::ImportedHash;
use self::job::Job;
use self::queue::{MAX_WAIT, Queue};
use crate::config::settings;
use crate::domain::error::Error;
use crate::domain::secret::Secret;
use crate::metrics::Metrics;

/// Hashes and verifies passwords, in their normal form
/// ([`normalise`](crate::domain::password_policy::normalise)). Dropping it ends its threads.
#[derive(Debug)]
pub struct Hasher {
    queue: Arc<Queue>,
}

/// Who wants something hashed: decides about the place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The client's address.
    pub ip: IpAddr,
    /// Whether the client has shown the token of a device that is known.
    pub known_device: bool,
}

/// A client that has shown no known device.
impl From<IpAddr> for Asker {
    fn from(ip: IpAddr) -> Self {
        Self { ip, known_device: false }
    }
}

/// What a comparison with a stored hash came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It is not this password.
    No,
    /// It is.
    Yes {
        /// The stored hash is weaker than, or of another kind than, what is configured: hash the
        /// password anew while it is at hand.
        upgrade: bool,
    },
}

impl Verified {
    /// Whether it is this password.
    #[must_use]
    pub fn is_match(self) -> bool {
        self != Self::No
    }
}

/// The queue is full or too slow.
#[derive(Debug, thiserror::Error)]
#[error("password hashing is saturated")]
pub struct Busy;

impl From<Busy> for Error {
    fn from(busy: Busy) -> Self {
        Self::Unavailable(Box::new(busy))
    }
}

impl Hasher {
    /// Starts the hashing threads.
    ///
    /// # Errors
    /// When the cost is outside of what argon2 allows, or no thread can be started.
    pub fn start(cost: &settings::PasswordHash, metrics: &Metrics) -> std::io::Result<Self> {
        let own = Arc::new(Argon::configured(cost)?);
        let floor = Arc::new(Floor::default());
        let queue = Arc::new(Queue::new(cost.max_queue, cost.threads, metrics.clone()));
        for n in 0..cost.threads {
            let (queue, own, floor) = (Arc::clone(&queue), Arc::clone(&own), Arc::clone(&floor));
            std::thread::Builder::new().name(format!("hash-{n}")).spawn(move || job::work(&queue, &own, &floor))?;
        }
        Ok(Self { queue })
    }

    /// Hashes a new password; answers a PHC string.
    pub async fn hash(&self, password: Secret<String>, asker: impl Into<Asker>) -> Result<Secret<String>, Busy> {
        self.ask(asker.into(), |answer| Job::Hash { password, answer }).await
    }

    /// Compares a password with a stored hash. No hash costs as much as a wrong one, and every
    /// refusal takes as long as that of the slowest kind of hash seen so far.
    ///
    /// A password that is not in its normal form is tried as typed, too: other systems hash that.
    pub async fn verify(
        &self,
        password: Secret<String>,
        hash: Option<Secret<String>>,
        asker: impl Into<Asker>,
    ) -> Result<Verified, Busy> {
        let compared = self.ask(asker.into(), |answer| Job::Verify { password, hash, answer }).await?;
        tokio::time::sleep_until(compared.not_before.into()).await;
        Ok(compared.verified)
    }

    /// Whether a password is one of several, such as those used before. One place in the queue,
    /// one hash after the other.
    pub async fn verify_any(
        &self,
        password: Secret<String>,
        hashes: Vec<Secret<String>>,
        asker: impl Into<Asker>,
    ) -> Result<bool, Busy> {
        self.ask(asker.into(), |answer| Job::VerifyAny { password, hashes, answer }).await
    }

    /// Learns how long the kinds of hashes in the database take, from one example of each, so that
    /// refusals take as long from the first one on.
    pub async fn learn_kinds(&self, examples: Vec<Secret<String>>, asker: impl Into<Asker>) -> Result<(), Busy> {
        self.verify_any(Secret::new(String::new()), examples, asker).await.map(|_| ())
    }

    /// What to store for a hash from elsewhere: itself, or wrapped in argon2id if it is a fast one.
    pub async fn import(&self, imported: ImportedHash, asker: impl Into<Asker>) -> Result<Secret<String>, Busy> {
        if !imported.is_fast() {
            return Ok(imported.into_text());
        }
        self.ask(asker.into(), |answer| Job::Wrap { imported, answer }).await
    }

    async fn ask<T>(&self, asker: Asker, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Busy> {
        let (answer, mut answered) = oneshot::channel();
        let begun = self.queue.push(asker, job(answer))?;
        match tokio::time::timeout(MAX_WAIT, &mut answered).await {
            Ok(answer) => answer.map_err(|_| Busy),
            Err(_) if begun.has_begun() => answered.await.map_err(|_| Busy),
            Err(_) => Err(Busy),
        }
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
