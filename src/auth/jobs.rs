//! What is swept out from time to time, by one node of several.

use std::time::Duration;

use crate::auth::Auth;
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::store::outbox::Channel;
use crate::tokens::KeyError;
use crate::tokens::rotation::Schedule;

/// An account that is not finished by then never will be.
const UNFINISHED: Duration = Duration::from_hours(24);
/// Ended sessions, lapsed challenges and codes, and finished messages are kept this long for whoever asks.
const ENDED: Duration = Duration::from_hours(30 * 24);
/// Unfinished accounts removed in one transaction: milliseconds of work.
const ACCOUNTS_AT_ONCE: i64 = 50;
/// After as many the rest is left for the next time.
const MOST_ACCOUNTS: i64 = 100_000;
/// The job that sweeps.
const PURGE: &str = "purge";
/// The job that lets keys come and go.
const KEYS: &str = "keys";
/// Other nodes have looked at the schedule when one has.
const KEYS_NOT_BEFORE: Duration = Duration::from_secs(10);
/// How often what is of no use is swept out.
pub const PURGE_EVERY: Duration = Duration::from_mins(10);
/// How often what only the database knows is counted.
pub const COUNT_EVERY: Duration = Duration::from_mins(1);
/// A little early is on time: nodes wake at their own pace.
const NOT_BEFORE: Duration = Duration::from_mins(9);
/// A node that has not finished by then has died.
const LEASE: Duration = Duration::from_mins(5);

impl Auth {
    /// Removes what is of no use any more, unless another node does or has just done it; answers how many rows.
    pub async fn purge(&self, node: &str) -> Result<Option<u64>, Error> {
        let now = self.now();
        let mut tx = self.parts.store.begin().await?;
        if !tx.jobs().take(PURGE, node, NOT_BEFORE, LEASE, now).await? {
            return Ok(None);
        }
        tx.commit().await?;
        let rows = self.sweep(now).await?;
        let mut tx = self.parts.store.begin().await?;
        tx.jobs().done(PURGE, node, self.now()).await?;
        tx.commit().await?;
        Ok(Some(rows))
    }

    /// Tells the metrics what only the database knows.
    pub async fn count(&self) -> Result<(), Error> {
        let (store, metrics) = (&self.parts.store, &self.parts.metrics);
        metrics.sessions_active(store.sessions().count_living(self.now()).await?);
        metrics.webhook_queue_depth(store.outbox().count_waiting(Channel::Webhook).await?);
        Ok(())
    }

    /// Does with the keys what is due, unless another node does or has just done it.
    pub async fn tend_keys(&self, node: &str) -> Result<(), KeyError> {
        let (store, now) = (&self.parts.store, self.now());
        let mut tx = store.begin().await?;
        if !tx.jobs().take(KEYS, node, KEYS_NOT_BEFORE, LEASE, now).await? {
            return Ok(());
        }
        tx.commit().await?;
        self.parts.keys.tend(&Schedule::by(&self.settings), now).await?;
        let mut tx = store.begin().await?;
        tx.jobs().done(KEYS, node, self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// One table after the other, each in a transaction of its own: nobody's login waits for all of them.
    async fn sweep(&self, now: Time) -> Result<u64, Error> {
        let (store, audit) = (&self.parts.store, &self.settings.audit);
        let mut rows = self.sweep_unfinished(now - UNFINISHED).await?;
        rows += store.sessions().purge(now - ENDED).await?;
        rows += store.challenges().purge(now - UNFINISHED).await?;
        rows += store.one_time_secrets().purge(now - UNFINISHED).await?;
        rows += store.ceremonies().purge(now).await?;
        rows += store.trusted_devices().purge(now).await?;
        rows += store.invitations().purge(now - ENDED).await?;
        rows += store.outbox().purge(now - ENDED).await?;
        rows += store.revocations().purge(now).await?;
        rows += store.transients().purge(now).await?;
        rows += store.audit().purge_logins(now - audit.login_attempt_retention).await?;
        rows += store.audit().purge(now - audit.retention).await?;
        Ok(rows)
    }

    /// Removes accounts that nobody has finished, a few at a time, and leaves an entry for each; answers how many.
    async fn sweep_unfinished(&self, before: Time) -> Result<u64, Error> {
        let mut removed = 0;
        for _ in 0..MOST_ACCOUNTS / ACCOUNTS_AT_ONCE {
            let lapsed = self.parts.store.users().unfinished(before, ACCOUNTS_AT_ONCE).await?;
            if lapsed.is_empty() {
                break;
            }
            let mut change = self.parts.events.begin().await?;
            for user in lapsed {
                if change.users().delete_unfinished(user).await? {
                    change.record(Event::SignupLapsed { user });
                    removed += 1;
                }
            }
            self.parts.events.commit(change, &RequestContext::local()).await?;
        }
        Ok(removed)
    }
}
