//! The queue in front of the hashing threads: bounded, fair, with room kept for known devices.
//!
//! Each address prefix has a line of its own, and the lines take turns. A quarter of the places is
//! for clients that hold the token of a known device, and every fourth turn is theirs, so a flood of
//! strangers from anywhere does not keep the people out who are here every day.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::Job;
use super::{Asker, Busy};
use crate::domain::context::address_prefix;
use crate::metrics::Metrics;

/// Longest wait in the queue; whoever asked is gone by then or will be soon.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(2);
/// Whoever is expected to wait longer is refused at once. Half of the longest wait: others may need
/// the processors meanwhile.
const MAX_EXPECTED_WAIT: Duration = Duration::from_secs(1);
/// One place and one turn in so many is for known devices.
const KNOWN_SHARE: usize = 4;
/// How often a full queue looks for places whose askers have left.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Jobs that wait for a thread.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    capacity: usize,
    threads: u32,
    metrics: Metrics,
}

/// Whether a job has left the queue for a thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
struct Waiting {
    strangers: Lines,
    known: Lines,
    turns: usize,
    /// What a job takes, as a moving average.
    job_takes: Duration,
    closed: bool,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    since: Instant,
    begun: Begun,
    job: Job,
}

impl Waiter {
    fn is_waiting(&self) -> bool {
        self.since.elapsed() <= MAX_WAIT && !self.job.is_abandoned()
    }
}

impl Queue {
    pub(super) fn new(capacity: usize, threads: usize, metrics: Metrics) -> Self {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
        Self { waiting: Mutex::default(), arrived: Condvar::new(), capacity, threads, metrics }
    }

    /// Adds a job at the end of its asker's line; refuses at once when there is no place for it, or
    /// when its turn would come too late: whoever cannot be served is better told now.
    pub(super) fn push(&self, asker: Asker, job: Job) -> Result<Begun, Busy> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Busy);
        }
        if !self.serves(&waiting, asker) {
            waiting.sweep();
            if !self.serves(&waiting, asker) {
                return Err(Busy);
            }
        }
        let begun = Begun::default();
        let waiter = Waiter { since: Instant::now(), begun: begun.clone(), job };
        let lines = if asker.known_device { &mut waiting.known } else { &mut waiting.strangers };
        lines.push(address_prefix(asker.ip), waiter);
        self.measure(&waiting);
        self.arrived.notify_one();
        Ok(begun)
    }

    /// The next job whose asker still waits; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(waiter) = waiting.take_turn() {
                self.measure(&waiting);
                if waiter.is_waiting() {
                    waiter.begun.0.store(true, Ordering::Release);
                    return Some(waiter.job);
                }
                // Dropping the job tells its asker.
                continue;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Learns what a job took.
    pub(super) fn note(&self, took: Duration) {
        let mut waiting = self.lock();
        let average = waiting.job_takes;
        waiting.job_takes = if average.is_zero() { took } else { (average * 7 + took) / 8 };
    }

    /// Whether there is a place for a job, and its turn comes in time.
    fn serves(&self, waiting: &Waiting, asker: Asker) -> bool {
        let ahead = u32::try_from(waiting.ahead_of(asker)).unwrap_or(u32::MAX);
        waiting.has_place(asker, self.capacity)
            && waiting.job_takes.saturating_mul(ahead) / self.threads < MAX_EXPECTED_WAIT
    }

    /// Ends the queue: whoever waits is told, and threads that ask for work get none.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        *waiting = Waiting { closed: true, ..Waiting::default() };
        self.measure(&waiting);
        self.arrived.notify_all();
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn measure(&self, waiting: &Waiting) {
        self.metrics.password_hash_queue_depth().set(i64::try_from(waiting.length()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn length(&self) -> usize {
        self.strangers.length + self.known.length
    }

    fn has_place(&self, asker: Asker, capacity: usize) -> bool {
        let for_strangers = capacity - capacity / KNOWN_SHARE;
        self.length() < capacity && (asker.known_device || self.strangers.length < for_strangers)
    }

    /// How many jobs would have their turn before one of this asker's.
    fn ahead_of(&self, asker: Asker) -> usize {
        let prefix = address_prefix(asker.ip);
        if asker.known_device {
            // Strangers get the other turns.
            let own = self.known.ahead_of(prefix);
            own + self.strangers.length.min((own + 1) * (KNOWN_SHARE - 1))
        } else {
            let own = self.strangers.ahead_of(prefix);
            own + self.known.length.min(own / (KNOWN_SHARE - 1) + 1)
        }
    }

    /// Frees the places of those who gave up, but not on every push: it looks at everybody.
    fn sweep(&mut self) {
        if self.swept.is_some_and(|at| at.elapsed() < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(Instant::now());
        self.strangers.sweep();
        self.known.sweep();
    }

    fn take_turn(&mut self) -> Option<Waiter> {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(KNOWN_SHARE) {
            self.known.take_turn().or_else(|| self.strangers.take_turn())
        } else {
            self.strangers.take_turn().or_else(|| self.known.take_turn())
        }
    }
}

/// One line for each address prefix; lines take turns.
#[derive(Debug, Default)]
struct Lines {
    by_prefix: HashMap<IpAddr, VecDeque<Waiter>>,
    turns: VecDeque<IpAddr>,
    length: usize,
}

impl Lines {
    fn push(&mut self, prefix: IpAddr, waiter: Waiter) {
        let line = self.by_prefix.entry(prefix).or_default();
        line.push_back(waiter);
        if line.len() == 1 {
            self.turns.push_back(prefix);
        }
        self.length += 1;
    }

    /// How many waiters have their turn before one that comes to the end of this prefix's line now.
    fn ahead_of(&self, prefix: IpAddr) -> usize {
        let round = self.by_prefix.get(&prefix).map_or(0, VecDeque::len) + 1;
        self.by_prefix.values().map(|line| line.len().min(round)).sum()
    }

    fn take_turn(&mut self) -> Option<Waiter> {
        let prefix = self.turns.pop_front()?;
        let line = self.by_prefix.get_mut(&prefix)?;
        let waiter = line.pop_front()?;
        if line.is_empty() {
            self.by_prefix.remove(&prefix);
        } else {
            self.turns.push_back(prefix);
        }
        self.length -= 1;
        Some(waiter)
    }

    fn sweep(&mut self) {
        for line in self.by_prefix.values_mut() {
            line.retain(Waiter::is_waiting);
        }
        self.by_prefix.retain(|_, line| !line.is_empty());
        self.turns.retain(|prefix| self.by_prefix.contains_key(prefix));
        self.length = self.by_prefix.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::secret::Secret;

    type Answer = oneshot::Receiver<Secret<String>>;

    fn job(name: &str) -> (Job, Answer) {
        let (answer, asked) = oneshot::channel();
        (Job::Hash { password: Secret::new(name.to_owned()), answer }, asked)
    }

    fn asker(ip: &str, known_device: bool) -> Asker {
        Asker { ip: ip.parse().unwrap(), known_device }
    }

    fn name(job: &Job) -> String {
        let Job::Hash { password, .. } = job else { panic!("only hashes were queued") };
        password.expose().clone()
    }

    /// Queues everything, and answers the names in the order in which threads get them.
    fn order(queue: &Queue, jobs: &[(&str, bool, &str)]) -> Vec<String> {
        let asked: Vec<Answer> = jobs
            .iter()
            .map(|(ip, known, name)| {
                let (job, asked) = job(name);
                queue.push(asker(ip, *known), job).unwrap();
                asked
            })
            .collect();
        let order = (0..asked.len()).map(|_| name(&queue.pop().unwrap())).collect();
        drop(asked);
        order
    }

    #[test]
    fn addresses_take_turns() {
        let queue = Queue::new(100, 1, Metrics::new());
        let (flood, other) = ("192.0.2.1", "192.0.2.2");

        let order =
            order(&queue, &[(flood, false, "1"), (flood, false, "2"), (flood, false, "3"), (other, false, "4")]);

        assert_eq!(order, ["1", "4", "2", "3"]);
    }

    #[test]
    fn every_fourth_turn_is_for_a_known_device() {
        let queue = Queue::new(100, 1, Metrics::new());
        let strangers: Vec<String> = (1..=6).map(|n| format!("198.51.100.{n}")).collect();
        let mut jobs: Vec<(&str, bool, &str)> = strangers.iter().map(|ip| (ip.as_str(), false, "stranger")).collect();
        jobs.extend([("192.0.2.1", true, "known"), ("192.0.2.1", true, "known")]);

        let order = order(&queue, &jobs);

        let known: Vec<usize> = (0..order.len()).filter(|at| order[*at] == "known").collect();
        assert_eq!(known, [3, 7], "{order:?}");
    }

    #[test]
    fn strangers_cannot_take_the_places_of_known_devices() {
        let queue = Queue::new(8, 1, Metrics::new());
        let mut asked = Vec::new();
        let mut push = |ip: &str, known: bool| {
            let (job, answer) = job("x");
            asked.push(answer);
            queue.push(asker(ip, known), job).is_ok()
        };

        let strangers = (0..20).filter(|n| push(&format!("198.51.100.{n}"), false)).count();
        let known = (0..20).filter(|_| push("192.0.2.1", true)).count();

        assert_eq!((strangers, known), (6, 2));
    }

    #[test]
    fn whoever_would_wait_too_long_is_told_at_once_and_others_are_not() {
        let queue = Queue::new(100, 2, Metrics::new());
        queue.note(MAX_EXPECTED_WAIT / 4);
        let mut asked = Vec::new();
        let mut push = |ip: &str, known: bool| {
            let (job, answer) = job("x");
            asked.push(answer);
            queue.push(asker(ip, known), job).is_ok()
        };

        // Two threads do eight jobs in the time anybody may wait.
        let flood = (0..20).filter(|_| push("198.51.100.1", false)).count();

        assert_eq!(flood, 8);
        assert!(push("192.0.2.7", false), "another address is not in that line");
        assert!(push("192.0.2.1", true), "nor is a known device");
    }

    #[test]
    fn a_full_queue_lets_in_whoever_comes_when_others_have_left() {
        let queue = Queue::new(4, 1, Metrics::new());
        let (gone, asked): (Vec<Job>, Vec<Answer>) = (0..3).map(|_| job("gone")).unzip();
        for job in gone {
            queue.push(asker("192.0.2.1", false), job).unwrap();
        }
        drop(asked);

        let (job, _asked) = job("stays");
        queue.push(asker("192.0.2.1", false), job).unwrap();

        assert_eq!(name(&queue.pop().unwrap()), "stays");
    }
}
