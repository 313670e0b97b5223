//! What clients were told, and what of it turned out to be wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::{claims_of, secs};

/// Once the database is back, a node has to reach it again first.
pub(super) const CATCHES_UP_WITHIN: Duration = secs(3);

/// What must have been acknowledged for a run to mean something.
const WANTED: [&str; 7] = ["signup", "login", "refresh", "logout", "new password", "reset", "revocation held"];
/// On a machine that has too much to do it may take this much longer until all of that has happened.
const LONGER: Duration = Duration::from_mins(2);

/// Shared by all clients.
#[derive(Debug)]
pub(super) struct Ledger {
    until: Instant,
    wrong: Mutex<Vec<String>>,
    done: Mutex<BTreeMap<&'static str, usize>>,
    /// Session and generation → the one refresh token there may be.
    generations: Mutex<HashMap<(String, i64), String>>,
    database_since: Mutex<Option<Instant>>,
}

impl Ledger {
    /// For a run of this long.
    pub(super) fn new(length: Duration) -> Self {
        Self {
            until: Instant::now() + length,
            wrong: Mutex::default(),
            done: Mutex::default(),
            generations: Mutex::default(),
            database_since: Mutex::new(Some(Instant::now())),
        }
    }

    /// Whether time is up, and enough has happened.
    pub(super) fn is_full(&self) -> bool {
        let now = Instant::now();
        now >= self.until + LONGER || now >= self.until && self.missing().is_empty()
    }

    /// How often anything was acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.done.lock().unwrap().values().sum()
    }

    fn missing(&self) -> Vec<&'static str> {
        let done = self.done.lock().unwrap();
        WANTED.into_iter().filter(|what| !done.contains_key(what)).collect()
    }

    /// Notes that something must not have happened.
    pub(super) fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// Notes that something was acknowledged.
    pub(super) fn done(&self, what: &'static str) {
        *self.done.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Notes a refresh token; another one of the same session and generation is a fork.
    pub(super) fn issued(&self, refresh_token: &str) {
        let claims = claims_of(refresh_token);
        let generation = (claims["sessionId"].as_str().unwrap().to_owned(), claims["gen"].as_i64().unwrap());
        let mut generations = self.generations.lock().unwrap();
        let first = generations.entry(generation.clone()).or_insert_with(|| refresh_token.to_owned());
        if first != refresh_token {
            self.wrong(format!("two refresh tokens of {generation:?}"));
        }
    }

    /// Since when there is a database; `None` while there is none.
    pub(super) fn database_is(&self, since: Option<Instant>) {
        *self.database_since.lock().unwrap() = since;
    }

    /// Whether every node that runs must know by now what was revoked at this moment.
    pub(super) fn is_due(&self, revoked: Instant) -> bool {
        let since = *self.database_since.lock().unwrap();
        since.is_some_and(|since| since.max(revoked).elapsed() > CATCHES_UP_WITHIN)
    }

    /// Demands that nothing was wrong, and that enough happened for this to mean something.
    #[track_caller]
    pub(super) fn is_clean(&self) {
        let missing = self.missing();
        let (wrong, done) = (self.wrong.lock().unwrap(), self.done.lock().unwrap());
        eprintln!("acknowledged: {done:?}");
        assert!(wrong.is_empty(), "{} broken promises:\n{}\nacknowledged: {done:?}", wrong.len(), wrong.join("\n"));
        assert!(missing.is_empty(), "none at all of {missing:?}: {done:?}");
    }
}
