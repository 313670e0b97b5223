//! What clients were told, and what of it turned out to be wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::{claims_of, secs};

/// Once the database is back, a node has to reach it again first.
const CATCHES_UP_WITHIN: Duration = secs(3);

/// Shared by all clients.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    wrong: Mutex<Vec<String>>,
    done: Mutex<BTreeMap<&'static str, usize>>,
    /// Session and generation → the one refresh token there may be.
    generations: Mutex<HashMap<(String, i64), String>>,
    database_since: Mutex<Option<Instant>>,
}

impl Ledger {
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
        let (wrong, done) = (self.wrong.lock().unwrap(), self.done.lock().unwrap());
        eprintln!("acknowledged: {done:?}");
        assert!(wrong.is_empty(), "{} broken promises:\n{}\nacknowledged: {done:?}", wrong.len(), wrong.join("\n"));
        for what in ["signup", "login", "refresh", "logout", "new password", "reset", "revocation held"] {
            assert!(done.get(what).is_some_and(|times| *times > 0), "no {what} at all: {done:?}");
        }
    }
}
