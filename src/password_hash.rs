//! Floor 4, password hashing: argon2id on threads of its own.
//!
//! A hash takes tens of milliseconds and 19 MiB, so it never runs where requests are proxied: a few
//! low-priority threads with reused memory take jobs from a bounded queue. The queue is fair: one
//! address prefix after the other gets a turn, so a flood from one client makes that client wait.
//! What has waited too long is shed with [`Busy`] rather than answered to nobody.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordVerifier, Version};
use tokio::sync::oneshot;

use crate::config::settings;
use crate::domain::context::address_prefix;
use crate::domain::error::Error;
use crate::domain::secret::Secret;
use crate::metrics::{HashOp, Metrics};

/// Longest wait in the queue; whoever asked is gone by then or will be soon.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Stored hashes that cost more than this are refused: they would be a way to stop the machine.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_ITERATIONS: u32 = 20;
/// Length of salts and tags.
const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 32;
/// How far behind proxying the hashing threads stand (nice value).
const NICE: i32 = 10;

/// Hashes and verifies passwords. Dropping it ends its threads.
#[derive(Debug)]
pub struct Hasher {
    queue: Arc<Queue>,
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
        let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(TAG_BYTES))
            .map_err(std::io::Error::other)?;
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            capacity: cost.max_queue,
            metrics: metrics.clone(),
        });
        for n in 0..cost.threads {
            let (queue, params) = (Arc::clone(&queue), params.clone());
            std::thread::Builder::new().name(format!("hash-{n}")).spawn(move || work(&queue, &params))?;
        }
        Ok(Self { queue })
    }

    /// Hashes a new password; answers a PHC string.
    pub async fn hash(&self, password: Secret<String>, from: IpAddr) -> Result<Secret<String>, Busy> {
        let (answer, hashed) = oneshot::channel();
        self.queue.push(from, Task::Hash { password, answer })?;
        hashed.await.map_err(|_| Busy)
    }

    /// Compares a password with a stored hash. No hash costs as much as a wrong one.
    pub async fn verify(
        &self,
        password: Secret<String>,
        hash: Option<Secret<String>>,
        from: IpAddr,
    ) -> Result<bool, Busy> {
        let (answer, verified) = oneshot::channel();
        self.queue.push(from, Task::Verify { password, hash, answer })?;
        verified.await.map_err(|_| Busy)
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[derive(Debug)]
enum Task {
    Hash { password: Secret<String>, answer: oneshot::Sender<Secret<String>> },
    Verify { password: Secret<String>, hash: Option<Secret<String>>, answer: oneshot::Sender<bool> },
}

impl Task {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Hash { answer, .. } => answer.is_closed(),
            Self::Verify { answer, .. } => answer.is_closed(),
        }
    }
}

/// Jobs, one line for each address prefix; lines take turns.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    capacity: usize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: HashMap<IpAddr, VecDeque<(Instant, Task)>>,
    turns: VecDeque<IpAddr>,
    length: usize,
    closed: bool,
}

impl Queue {
    fn push(&self, from: IpAddr, task: Task) -> Result<(), Busy> {
        let mut waiting = self.lock();
        if waiting.closed || waiting.length >= self.capacity {
            return Err(Busy);
        }
        let prefix = address_prefix(from);
        let line = waiting.lines.entry(prefix).or_default();
        line.push_back((Instant::now(), task));
        if line.len() == 1 {
            waiting.turns.push_back(prefix);
        }
        waiting.length += 1;
        self.measure(&waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job whose asker still waits; `None` once the queue is closed.
    fn pop(&self) -> Option<Task> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some((since, task)) = waiting.take_turn() {
                self.measure(&waiting);
                if since.elapsed() <= MAX_WAIT && !task.is_abandoned() {
                    return Some(task);
                }
                // Dropping the task tells its asker.
                continue;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.lines.clear();
        waiting.turns.clear();
        waiting.length = 0;
        self.measure(&waiting);
        self.arrived.notify_all();
    }

    fn measure(&self, waiting: &Waiting) {
        self.metrics.password_hash_queue_depth().set(i64::try_from(waiting.length).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take_turn(&mut self) -> Option<(Instant, Task)> {
        let prefix = self.turns.pop_front()?;
        let line = self.lines.get_mut(&prefix)?;
        let job = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&prefix);
        } else {
            self.turns.push_back(prefix);
        }
        self.length -= 1;
        Some(job)
    }
}

/// One hashing thread.
fn work(queue: &Queue, params: &Params) {
    // Where the system forbids it, hashing competes as an equal.
    let _ = rustix::process::nice(NICE);
    let mut memory = Vec::new();
    while let Some(task) = queue.pop() {
        // Taken with the first job: a gateway that never hashes needs none.
        memory.resize(params.block_count(), Block::default());
        let begun = Instant::now();
        let op = match task {
            Task::Hash { password, answer } => {
                let _ = answer.send(hash(params, &mut memory, password.expose()));
                HashOp::Hash
            }
            Task::Verify { password, hash, answer } => {
                let _ = answer.send(verify(params, &mut memory, password.expose(), hash.as_ref()));
                HashOp::Verify
            }
        };
        queue.metrics.password_hashed(op, begun.elapsed());
    }
}

fn hash(params: &Params, memory: &mut [Block], password: &str) -> Secret<String> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).expect("the system has randomness");
    let tag = tag(params, memory, password, &salt);
    let salt = Salt::new(&salt).expect("16 bytes are a salt");
    let output = argon2::password_hash::phc::Output::new(&tag).expect("32 bytes are an output");
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params.try_into().expect("parameters that argon2 accepted can be written"),
        salt: Some(salt),
        hash: Some(output),
    };
    Secret::new(phc.to_string())
}

fn verify(params: &Params, memory: &mut [Block], password: &str, stored: Option<&Secret<String>>) -> bool {
    let parsed = stored.and_then(|stored| PasswordHash::new(stored.expose()).ok()).filter(is_affordable);
    let Some(parsed) = parsed else {
        // Nobody's password takes as long to refuse as somebody's.
        let _ = tag(params, memory, password, &[0; SALT_BYTES]);
        return false;
    };
    Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
}

fn tag(params: &Params, memory: &mut [Block], password: &str, salt: &[u8]) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut tag, memory)
        .expect("password and salt are within argon2's limits");
    tag
}

fn is_affordable(stored: &PasswordHash) -> bool {
    Params::try_from(stored).is_ok_and(|cost| cost.m_cost() <= MAX_MEMORY_KIB && cost.t_cost() <= MAX_ITERATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: settings::PasswordHash =
        settings::PasswordHash { memory_kib: 64, iterations: 1, parallelism: 1, threads: 1, max_queue: 8 };
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_another_is_not() {
        let hasher = Hasher::start(&CHEAP, &Metrics::new()).unwrap();
        let stored = hasher.hash(secret("correct horse"), HOME).await.unwrap();

        assert!(stored.expose().starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", stored.expose());
        assert!(hasher.verify(secret("correct horse"), Some(stored.clone()), HOME).await.unwrap());
        assert!(!hasher.verify(secret("battery staple"), Some(stored), HOME).await.unwrap());
        assert!(!hasher.verify(secret("correct horse"), None, HOME).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_that_costs_too_much_or_is_none_is_refused() {
        let hasher = Hasher::start(&CHEAP, &Metrics::new()).unwrap();
        let salt_and_tag = "c29tZXNhbHRzb21lc2FsdA$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";
        for stored in ["", "plain", &format!("$argon2id$v=19$m=4194304,t=3,p=1${salt_and_tag}")] {
            assert!(!hasher.verify(secret("x"), Some(secret(stored)), HOME).await.unwrap(), "{stored}");
        }
    }

    #[test]
    fn addresses_take_turns_in_the_queue() {
        let mut waiting = Waiting::default();
        let flood: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        for (prefix, text) in [(flood, "1"), (flood, "2"), (flood, "3"), (other, "4")] {
            let (answer, _) = oneshot::channel();
            let line = waiting.lines.entry(prefix).or_default();
            line.push_back((Instant::now(), Task::Hash { password: secret(text), answer }));
            if line.len() == 1 {
                waiting.turns.push_back(prefix);
            }
            waiting.length += 1;
        }

        let order: Vec<String> = std::iter::from_fn(|| waiting.take_turn())
            .map(|(_, task)| match task {
                Task::Hash { password, .. } | Task::Verify { password, .. } => password.expose().clone(),
            })
            .collect();

        assert_eq!(order, ["1", "4", "2", "3"]);
    }

    #[tokio::test]
    async fn a_full_queue_says_so() {
        let none = settings::PasswordHash { max_queue: 0, ..CHEAP };
        let hasher = Hasher::start(&none, &Metrics::new()).unwrap();

        assert!(hasher.hash(secret("x"), HOME).await.is_err());
    }
}
