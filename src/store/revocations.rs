//! What was revoked, numbered in commit order.
//!
//! A revocation takes the next number of one counter row as the last statement of its
//! transaction. Whoever holds that row commits before the next one gets a number, so a reader that
//! has seen number *n* has missed nothing below it.

use crate::domain::clock::Time;
use crate::domain::id::{SessionId, UserId};
use crate::store::db::{Dialect, On, Row, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const LAPSED: Sweep = sweep!("nauth_revocations", "number", "expires_at < ?", "expires_at");

/// Something tokens must be measured against until they would have expired anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// This session has ended.
    Session(SessionId),
    /// Tokens of this user with a lower authentication epoch are void.
    UserEpoch(UserId, i64),
    /// Tokens of this user with a lower claims version must be refreshed.
    UserClaims(UserId, i64),
    /// Tokens of a lower installation epoch must be refreshed, everybody's.
    Global(i64),
}

/// A revocation with its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberedRevocation {
    /// Its place.
    pub number: i64,
    /// What was revoked.
    pub revocation: Revocation,
    /// When.
    pub made_at: Time,
    /// No token it speaks of lives longer than this.
    pub expires_at: Time,
}

/// How far the feed is, and what every node goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The highest number given out: whatever is numbered so or lower can be read.
    pub counter: i64,
    /// The installation's epoch.
    pub global_epoch: i64,
    /// When the database was last put back to an earlier state; 0 for never.
    pub restored: i64,
    /// The database's clock. A file has none of its own.
    pub clock: Option<Time>,
    /// When the entry was made that the reader has read last, if there still is one of that number.
    pub read_made_at: Option<Time>,
}

/// The feed, outside or inside a transaction.
#[derive(Debug)]
pub struct Revocations<'a> {
    on: On<'a>,
}

impl<'a> Revocations<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Appends to the feed. Must be the last thing a transaction does before it commits.
    pub async fn append(
        &mut self,
        revocations: &[(Revocation, Time)],
        now: Time,
    ) -> Result<Vec<NumberedRevocation>, StoreError> {
        let count = i64::try_from(revocations.len()).expect("a transaction revokes few things");
        sql("UPDATE nauth_revocation_counter SET value = value + ? WHERE id = 1")
            .bind(count)
            .execute(&mut self.on)
            .await?;
        let last = self.counter().await?;
        let mut numbered = Vec::with_capacity(revocations.len());
        for (number, (revocation, expires_at)) in ((last - count + 1)..).zip(revocations.iter().copied()) {
            let (kind, subject, value) = write(revocation);
            sql("INSERT INTO nauth_revocations (number, kind, subject, value, made_at, expires_at) \
                 VALUES (?, ?, ?, ?, ?, ?)")
            .bind(number)
            .bind(kind)
            .bind(subject)
            .bind(value)
            .bind(now)
            .bind(expires_at)
            .execute(&mut self.on)
            .await?;
            numbered.push(NumberedRevocation { number, revocation, made_at: now, expires_at });
        }
        Ok(numbered)
    }

    /// What came after `cursor`, in order, at most `limit`.
    pub async fn after(&mut self, cursor: i64, limit: i64) -> Result<Vec<NumberedRevocation>, StoreError> {
        let rows = sql("SELECT number, kind, subject, value, made_at, expires_at FROM nauth_revocations \
             WHERE number > ? ORDER BY number LIMIT ?")
        .bind(cursor)
        .bind(limit)
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(read).collect()
    }

    /// How far the feed is, for whoever has read up to `cursor`.
    pub async fn head(&mut self, cursor: i64) -> Result<Head, StoreError> {
        macro_rules! with_clock {
            ($clock:literal) => {
                concat!(
                    "SELECT c.value AS counter, i.value AS global_epoch, COALESCE((SELECT value FROM nauth_installation \
                     WHERE name = 'restored'), 0) AS restored, COALESCE((SELECT made_at FROM nauth_revocations \
                     WHERE number = ?), 0) AS read_made_at, ",
                    $clock,
                    " AS clock FROM nauth_revocation_counter c, nauth_installation i \
                     WHERE c.id = 1 AND i.name = 'global_epoch'"
                )
            };
        }
        let text = match self.on.dialect() {
            Dialect::Sqlite => with_clock!("0"),
            Dialect::Postgres => with_clock!("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"),
            Dialect::MariaDb => with_clock!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"),
        };
        let row = sql(text).bind(cursor).fetch_optional(&mut self.on).await?;
        let row = row.ok_or(StoreError::Corrupt("global_epoch"))?;
        let time = |name| row.time(name).map(|time| Some(time).filter(|time| time.micros() > 0));
        Ok(Head {
            counter: row.int("counter")?,
            global_epoch: row.int("global_epoch")?,
            restored: row.int("restored")?,
            clock: time("clock")?,
            read_made_at: time("read_made_at")?,
        })
    }

    /// Raises the installation's epoch from `from`, unless somebody did; answers whether it did.
    pub async fn raise_global_epoch(&mut self, from: i64) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_installation SET value = value + 1 WHERE name = 'global_epoch' AND value = ?")
            .bind(from)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Notes that the database was put back to an earlier state: whoever follows the feed reads it from the
    /// beginning, and every access token made until now must be refreshed.
    ///
    /// What was given out since that state is not known here, so the epoch goes up to the seconds of the
    /// clock, which no counting reaches.
    pub async fn begin_anew(&mut self, now: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_installation SET value = CASE WHEN value < ? THEN ? ELSE value + 1 END \
             WHERE name = 'global_epoch'")
        .bind(now.secs())
        .bind(now.secs())
        .execute(&mut self.on)
        .await?;
        let noted = sql("UPDATE nauth_installation SET value = ? WHERE name = 'restored'").bind(now);
        if noted.execute(&mut self.on).await? == 0 {
            let note = sql("INSERT INTO nauth_installation (name, value) VALUES ('restored', ?)").bind(now);
            note.execute(&mut self.on).await?;
        }
        Ok(())
    }

    /// Removes what no token lives to see; answers how many.
    pub async fn purge(&mut self, now: Time) -> Result<u64, StoreError> {
        LAPSED.run(&mut self.on, now).await
    }

    /// The highest number given out.
    pub async fn counter(&mut self) -> Result<i64, StoreError> {
        let row = sql("SELECT value FROM nauth_revocation_counter WHERE id = 1").fetch_optional(&mut self.on).await?;
        row.ok_or(StoreError::Corrupt("value"))?.int("value")
    }
}

fn write(revocation: Revocation) -> (&'static str, String, i64) {
    match revocation {
        Revocation::Session(id) => ("session", id.to_string(), 0),
        Revocation::UserEpoch(id, epoch) => ("user_epoch", id.to_string(), epoch),
        Revocation::UserClaims(id, version) => ("user_claims", id.to_string(), version),
        Revocation::Global(epoch) => ("global", String::new(), epoch),
    }
}

fn read(row: &Row) -> Result<NumberedRevocation, StoreError> {
    let value = row.int("value")?;
    let revocation = match row.text("kind")?.as_str() {
        "session" => Revocation::Session(row.parsed("subject")?),
        "user_epoch" => Revocation::UserEpoch(row.parsed("subject")?, value),
        "user_claims" => Revocation::UserClaims(row.parsed("subject")?, value),
        "global" => Revocation::Global(value),
        _ => return Err(StoreError::Corrupt("kind")),
    };
    Ok(NumberedRevocation {
        number: row.int("number")?,
        revocation,
        made_at: row.time("made_at")?,
        expires_at: row.time("expires_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Db, Store, migrations};

    #[tokio::test]
    async fn revocations_are_numbered_in_the_order_of_their_commits() {
        let store = Store::new(Db::in_memory().await.unwrap());
        migrations::apply(store.db(), Time::from_secs(1)).await.unwrap();
        let user = UserId::random();
        let session = SessionId::random();
        let until = Time::from_secs(100);

        let mut tx = store.begin().await.unwrap();
        let both = [(Revocation::Session(session), until), (Revocation::UserEpoch(user, 2), until)];
        tx.revocations().append(&both, Time::from_secs(1)).await.unwrap();
        tx.commit().await.unwrap();
        let mut dropped = store.begin().await.unwrap();
        dropped.revocations().append(&[(Revocation::Global(2), until)], Time::from_secs(1)).await.unwrap();
        drop(dropped);
        let mut tx = store.begin().await.unwrap();
        let third = [(Revocation::UserClaims(user, 5), until)];
        tx.revocations().append(&third, Time::from_secs(1)).await.unwrap();
        tx.commit().await.unwrap();

        let all = store.revocations().after(0, 10).await.unwrap();
        assert_eq!(all.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(all[2].revocation, Revocation::UserClaims(user, 5));
        assert_eq!(store.revocations().after(2, 10).await.unwrap().len(), 1);
    }
}
