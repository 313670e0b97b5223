//! Floor 4, revocation: what every token is measured against on every request, without a query.
//!
//! SQL is the truth. This set is loaded from it once and kept by a poll from a cursor that only
//! moves forward over numbers in commit order, so nothing is missed; a change made by this very
//! process is applied at once. Revocation goes by integers (session ids, epochs, versions), never
//! by time, so clocks cannot resurrect anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use papaya::HashMap;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::clock::{Clock, Time};
use crate::domain::id::{SessionId, UserId};
use crate::metrics::Metrics;
use crate::store::revocations::{Head, NumberedRevocation, Revocation};
use crate::store::{Store, StoreError};
use crate::tokens::AccessToken;

/// Rows read in one go.
const BATCH: i64 = 10_000;
/// What takes longer is asked once more,
const ANSWERED_WITHIN: Duration = Duration::from_millis(400);
/// at most so many times side by side: a database that is slow is not helped by more.
const MOST_ASKED: usize = 4;
/// Entries kept. Beyond it everybody's tokens are refreshed once instead.
const MAX_ENTRIES: usize = 1_000_000;
/// Without a successful poll for this long the node is not ready.
pub const READY_WITHIN: Duration = Duration::from_secs(10);
/// Nodes go by the database's clock. Whose own differs by more is told so.
const TOLD_SKEW: Duration = Duration::from_secs(2);
/// A node whose own clock differs by more is not ready.
const READY_SKEW: Duration = Duration::from_secs(10);
/// The value of "never polled".
const NEVER: i64 = i64::MIN;

/// The set of revocations. Cheap to read, never locked.
#[derive(Debug)]
pub struct Revocations {
    clock: Clock,
    metrics: Metrics,
    sessions: HashMap<SessionId, Time>,
    users: HashMap<UserId, Mark>,
    global_epoch: AtomicI64,
    cursor: AtomicI64,
    /// What stands at the cursor: when it was made and until when it is kept; 0 when nothing does.
    read_made_at: AtomicI64,
    read_kept_until: AtomicI64,
    /// As of the last poll: when the database was last put back to an earlier state.
    restored: AtomicI64,
    /// When the clock had run for so long, in microseconds.
    polled_at: AtomicI64,
    changed: watch::Sender<u64>,
    wake: Notify,
    made: Notify,
    max_entries: usize,
}

/// The least a token of a user must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    epoch: i64,
    claims: i64,
    until: Time,
}

/// What became of a good token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Live,
    /// It says things about the user that have changed; it must be refreshed.
    StaleClaims,
    /// Its session has ended.
    Revoked,
}

/// How far the set can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Not loaded yet: nobody can be identified.
    Loading,
    /// Read from the database this long ago.
    Polled(Duration),
}

impl Revocations {
    /// An empty set, not loaded.
    #[must_use]
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self::with_limit(clock, metrics, MAX_ENTRIES)
    }

    fn with_limit(clock: Clock, metrics: Metrics, max_entries: usize) -> Self {
        Self {
            clock,
            metrics,
            sessions: HashMap::new(),
            users: HashMap::new(),
            global_epoch: AtomicI64::new(0),
            cursor: AtomicI64::new(0),
            read_made_at: AtomicI64::new(0),
            read_kept_until: AtomicI64::new(0),
            restored: AtomicI64::new(0),
            polled_at: AtomicI64::new(NEVER),
            changed: watch::Sender::new(0),
            wake: Notify::new(),
            made: Notify::new(),
            max_entries,
        }
    }

    /// Measures a token.
    #[must_use]
    pub fn standing(&self, token: &AccessToken) -> Standing {
        if self.sessions.pin().contains_key(&token.session) {
            return Standing::Revoked;
        }
        if let Some(mark) = self.users.pin().get(&token.user) {
            if token.claims.epoch < mark.epoch {
                return Standing::Revoked;
            }
            if token.claims.cv < mark.claims {
                return Standing::StaleClaims;
            }
        }
        if token.claims.ge < self.global_epoch() { Standing::StaleClaims } else { Standing::Live }
    }

    /// The installation's epoch, for new tokens.
    #[must_use]
    pub fn global_epoch(&self) -> i64 {
        self.global_epoch.load(Ordering::Relaxed)
    }

    /// How far the set can be trusted.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        match self.polled_at.load(Ordering::Relaxed) {
            NEVER => Freshness::Loading,
            at => Freshness::Polled(self.clock.elapsed().saturating_sub(Duration::from_micros(at.unsigned_abs()))),
        }
    }

    /// Tells whenever the set changed, for whoever holds streams open.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in what was just committed, here or elsewhere. Doing so twice changes nothing.
    pub fn apply(&self, entries: &[NumberedRevocation]) {
        if entries.is_empty() {
            return;
        }
        for entry in entries {
            self.metrics.revocation_lag(self.clock.now().since(entry.made_at));
            self.apply_one(entry);
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// Takes in what this very process has just committed.
    pub fn apply_own(&self, entries: &[NumberedRevocation]) {
        self.apply(entries);
        if !entries.is_empty() {
            self.made.notify_one();
        }
    }

    /// Waits until this process has committed something that other nodes do not know yet.
    pub async fn made(&self) {
        self.made.notified().await;
    }

    fn apply_one(&self, entry: &NumberedRevocation) {
        let until = entry.expires_at;
        match entry.revocation {
            Revocation::Session(id) => {
                self.sessions.pin().update_or_insert(id, |held| (*held).max(until), until);
            }
            Revocation::UserEpoch(id, epoch) => self.mark(id, Mark { epoch, claims: 0, until }),
            Revocation::UserClaims(id, claims) => self.mark(id, Mark { epoch: 0, claims, until }),
            Revocation::Global(epoch) => {
                self.global_epoch.fetch_max(epoch, Ordering::Relaxed);
            }
        }
    }

    fn mark(&self, user: UserId, new: Mark) {
        let merge = |held: &Mark| Mark {
            epoch: held.epoch.max(new.epoch),
            claims: held.claims.max(new.claims),
            until: held.until.max(new.until),
        };
        self.users.pin().update_or_insert(user, merge, new);
    }

    /// Reads everything after the cursor, and sets the clock by the database's.
    pub async fn poll(&self, store: &Store) -> Result<(), StoreError> {
        let (head, asked) = self.head(store).await?;
        self.clock.follow(head.clock, asked);
        self.global_epoch.fetch_max(head.global_epoch, Ordering::Relaxed);
        self.begin_again_if_rewritten(&head);
        let mut cursor = self.cursor.load(Ordering::Relaxed);
        while cursor < head.counter {
            let entries = store.revocations().after(cursor, BATCH).await?;
            self.apply(&entries);
            // Numbers whose entries are gone are read, too.
            cursor = entries.last().map_or(head.counter, |last| last.number);
            self.has_read(cursor, entries.last());
        }
        let polled_at = i64::try_from(self.clock.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.polled_at.store(polled_at, Ordering::Relaxed);
        Ok(())
    }

    /// How far the feed is, and when that was asked. Connections that have died without a word are no reason to
    /// hear of a logout later: others are asked, too.
    async fn head(&self, store: &Store) -> Result<(Head, Time), StoreError> {
        let cursor = self.cursor.load(Ordering::Relaxed);
        let ask = || async move {
            let asked = self.clock.now();
            Ok((store.revocations().head(cursor).await?, asked))
        };
        let mut asked = FuturesUnordered::new();
        loop {
            asked.push(ask());
            tokio::select! {
                Some(answer) = asked.next() => return answer,
                () = tokio::time::sleep(ANSWERED_WITHIN), if asked.len() < MOST_ASKED => {}
            }
        }
    }

    fn has_read(&self, cursor: i64, last: Option<&NumberedRevocation>) {
        let micros = |time: Option<Time>| time.map_or(0, Time::micros);
        self.cursor.store(cursor, Ordering::Relaxed);
        self.read_made_at.store(micros(last.map(|entry| entry.made_at)), Ordering::Relaxed);
        self.read_kept_until.store(micros(last.map(|entry| entry.expires_at)), Ordering::Relaxed);
    }

    /// A database that was put back to an earlier state gives out its numbers once more, and so does one
    /// that died with commits which it had shown already but not written. Then everything is read anew;
    /// what was revoked before stays in force here.
    fn begin_again_if_rewritten(&self, head: &Head) {
        let before = self.restored.swap(head.restored, Ordering::Relaxed);
        if self.freshness() == Freshness::Loading {
            return;
        }
        let is_shorter = head.counter < self.cursor.load(Ordering::Relaxed);
        if is_shorter {
            tracing::error!(
                "the database is in an earlier state than before; if a backup was restored, run `nauth restored`"
            );
        }
        if is_shorter || self.reads_otherwise(head) || head.restored != before {
            self.has_read(0, None);
            // Whoever looks at the set for open streams looks again.
            self.changed.send_modify(|version| *version += 1);
        }
    }

    /// Whether another entry has the number of the one read last, or none has although it is kept for longer.
    fn reads_otherwise(&self, head: &Head) -> bool {
        match (self.read_made_at.load(Ordering::Relaxed), head.read_made_at) {
            (0, _) => false,
            (read, Some(there)) => read != there.micros(),
            (_, None) => self.clock.now().micros() < self.read_kept_until.load(Ordering::Relaxed),
        }
    }

    /// Drops entries that no token lives to see.
    pub fn prune(&self) {
        let now = self.clock.now();
        self.sessions.pin().retain(|_, until| *until > now);
        self.users.pin().retain(|_, mark| mark.until > now);
    }

    /// Trades a set that has grown too large for one number: every access token made until now
    /// must be refreshed, which asks the database.
    pub async fn collapse_if_too_large(&self, store: &Store) -> Result<bool, StoreError> {
        if self.sessions.len() + self.users.len() <= self.max_entries {
            return Ok(false);
        }
        let held = self.global_epoch();
        let mut tx = store.begin().await?;
        if tx.revocations().raise_global_epoch(held).await? {
            let now = self.clock.now();
            let forever = Time::from_micros(i64::MAX);
            let entries = tx.revocations().append(&[(Revocation::Global(held + 1), forever)], now).await?;
            tx.commit().await?;
            self.apply_own(&entries);
        }
        // Whatever these entries were about is older than the new epoch; what came after it is read again.
        self.sessions.pin().clear();
        self.users.pin().clear();
        self.poll(store).await?;
        Ok(true)
    }

    /// Makes the next poll happen now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Says when the machine's clock begins to be off, and when it is right again; answers whether it is off.
    fn tell_skew(&self, was_off: bool) -> bool {
        let skew = self.clock.skew();
        let is_off = skew > TOLD_SKEW;
        let skew_ms = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
        match (was_off, is_off) {
            (false, true) => tracing::warn!(skew_ms, "this machine's clock is off; the database's is used"),
            (true, false) => tracing::info!("this machine's clock is right again"),
            _ => {}
        }
        is_off
    }

    /// Polls until cancelled. A failing database is retried; what is known stays in force.
    pub async fn run(self: Arc<Self>, store: Store, interval: Duration, stop: CancellationToken) {
        let mut failing = false;
        let mut is_off = false;
        let mut polls: u64 = 0;
        loop {
            let polled = self.poll(&store).await;
            is_off = self.tell_skew(is_off);
            match (&polled, failing) {
                (Err(error), false) => {
                    tracing::error!(error = %crate::logging::chain(error), "revocations cannot be read; what is known stays in force");
                }
                (Ok(()), true) => tracing::info!("revocations are read again"),
                _ => {}
            }
            failing = polled.is_err();
            polls += 1;
            if polls.is_multiple_of(120) && !failing {
                self.prune();
                if let Err(error) = self.collapse_if_too_large(&store).await {
                    tracing::error!(error = %crate::logging::chain(&error), "the revocation set cannot be collapsed");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
                () = self.wake.notified() => {}
            }
        }
    }
}

/// What is wrong with a clock that is so far off that operators must look at it.
#[must_use]
pub fn unready_clock(clock: &Clock) -> Option<String> {
    let skew = clock.skew();
    (skew > READY_SKEW).then(|| format!("this machine's clock is {}s off the database's", skew.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Db, migrations};
    use crate::tokens::access::tests_support::token;

    const UNTIL: Time = Time::from_secs(2_000);

    fn revocations() -> (Revocations, Clock) {
        let clock = Clock::manual(Time::from_secs(1_000));
        (Revocations::with_limit(clock.clone(), Metrics::new(), 2), clock)
    }

    fn entry(revocation: Revocation) -> NumberedRevocation {
        NumberedRevocation { number: 1, revocation, made_at: Time::from_secs(1_000), expires_at: UNTIL }
    }

    #[test]
    fn tokens_are_measured_by_session_epoch_and_version() {
        let (set, _) = revocations();
        let good = token(5, 7, 0);
        assert_eq!(set.standing(&good), Standing::Live);

        let cases = [
            (Revocation::UserClaims(good.user, 7), Standing::Live),
            (Revocation::UserClaims(good.user, 8), Standing::StaleClaims),
            (Revocation::UserEpoch(good.user, 5), Standing::StaleClaims),
            (Revocation::UserEpoch(good.user, 6), Standing::Revoked),
        ];
        for (revocation, expected) in cases {
            set.apply(&[entry(revocation)]);
            assert_eq!(set.standing(&good), expected, "{revocation:?}");
        }
        let other = token(1, 1, 0);
        set.apply(&[entry(Revocation::Session(other.session))]);
        assert_eq!(set.standing(&other), Standing::Revoked);
    }

    #[test]
    fn entries_end_when_no_token_can_live_any_more() {
        let (set, clock) = revocations();
        let good = token(1, 1, 0);
        set.apply(&[entry(Revocation::Session(good.session))]);

        clock.advance(Duration::from_secs(999));
        set.prune();
        assert_eq!(set.standing(&good), Standing::Revoked);
        clock.advance(Duration::from_secs(1));
        set.prune();
        assert_eq!(set.standing(&good), Standing::Live);
    }

    #[tokio::test]
    async fn a_set_that_is_too_large_becomes_one_number() {
        let (set, _) = revocations();
        let store = Store::new(Db::in_memory().await.unwrap());
        migrations::apply(store.db(), Time::from_secs(1)).await.unwrap();
        set.poll(&store).await.unwrap();
        let before = set.global_epoch();
        let old = token(1, 1, before);
        for _ in 0..3 {
            set.apply(&[entry(Revocation::Session(SessionId::random()))]);
        }

        assert!(set.collapse_if_too_large(&store).await.unwrap());

        assert_eq!(set.standing(&old), Standing::StaleClaims);
        assert_eq!(set.standing(&token(1, 1, before + 1)), Standing::Live);
    }

    #[tokio::test]
    async fn the_set_follows_the_database() {
        let (set, _) = revocations();
        let store = Store::new(Db::in_memory().await.unwrap());
        migrations::apply(store.db(), Time::from_secs(1)).await.unwrap();
        assert_eq!(set.freshness(), Freshness::Loading);
        set.poll(&store).await.unwrap();
        assert_eq!(set.freshness(), Freshness::Polled(Duration::ZERO));
        let good = token(1, 1, set.global_epoch());
        let mut changed = set.changed();

        let mut tx = store.begin().await.unwrap();
        let ended = [(Revocation::Session(good.session), UNTIL)];
        tx.revocations().append(&ended, Time::from_secs(1_000)).await.unwrap();
        tx.commit().await.unwrap();
        set.poll(&store).await.unwrap();

        assert_eq!(set.standing(&good), Standing::Revoked);
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
    }
}
