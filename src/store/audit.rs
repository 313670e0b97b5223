//! The audit trail.

use crate::domain::audit::{EVENT_STATUSES, EVENT_TYPES};
use crate::domain::clock::Time;
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::domain::session::Device;
use crate::store::db::{On, Row, Statement, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

/// One by one, so that each reads its own part of an index and nothing else.
const OLD_LOGINS: [Sweep; 4] = [
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_ATTEMPT' AND created_at < ?", "created_at"),
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_SUCCESS' AND created_at < ?", "created_at"),
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_FAILED' AND created_at < ?", "created_at"),
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_BLOCKED' AND created_at < ?", "created_at"),
];
const OLD: Sweep = sweep!("nauth_audit", "id", "created_at < ?", "created_at");

/// Types of entries named in one statement: half of all there are, because who asks for more than half is asked
/// about the others. The texts below say it too.
const MOST_TYPES: usize = 40;
/// How many entries back somebody can look at a time; older ones are found by their date. The text below says
/// it too.
pub const MOST_ENTRIES: i64 = 10_000;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number.
    pub id: i64,
    /// Whose, when it is known.
    pub user: Option<UserId>,
    /// The wire's name of what happened.
    pub event_type: &'static str,
    /// `SUCCESS`, `FAILURE`, `INFO` or `SUSPICIOUS`.
    pub event_status: &'static str,
    /// The session concerned.
    pub session: Option<SessionId>,
    /// The challenge concerned.
    pub challenge: Option<ChallengeId>,
    /// Who did it.
    pub performed_by: Option<&'static str>,
    /// Why.
    pub reason: Option<String>,
    /// Whatever else is worth keeping, as JSON.
    pub details: Option<String>,
}

/// Where an entry came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The client's address.
    pub ip: &'a str,
    /// The client's user agent.
    pub user_agent: Option<&'a str>,
    /// The request's id.
    pub request_id: &'a str,
    /// The device, where it is known.
    pub device: Option<&'a Device>,
}

/// Which entries of a user somebody wants to see.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Whose.
    pub user: UserId,
    /// Not before.
    pub from: Time,
    /// Not after.
    pub until: Time,
    /// Of these types of [`EVENT_TYPES`]; empty for all.
    pub types: &'a [&'static str],
    /// Of these statuses; empty for all.
    pub statuses: &'a [&'static str],
}

/// An entry as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// The wire's name of what happened.
    pub event_type: String,
    /// `SUCCESS`, `FAILURE`, `INFO` or `SUSPICIOUS`.
    pub event_status: String,
    /// The session concerned, by its number.
    pub session: Option<i64>,
    /// The challenge concerned.
    pub challenge: Option<String>,
    /// Who did it.
    pub performed_by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The client's address.
    pub ip: String,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// Whatever else was worth keeping, as JSON.
    pub details: Option<String>,
    /// The device's id among those of its user.
    pub device_id: Option<String>,
    /// What the device is called.
    pub device_name: Option<String>,
    /// `mobile`, `desktop` or `tablet`.
    pub device_type: Option<String>,
    /// When.
    pub at: Time,
}

/// What went wrong with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// Logins that failed.
    pub failed_logins: usize,
    /// What is worse.
    pub suspicious_events: usize,
}

/// The trail, outside or inside a transaction.
#[derive(Debug)]
pub struct Audit<'a> {
    on: On<'a>,
}

impl<'a> Audit<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// Appends an entry.
    pub async fn insert(&mut self, row: &AuditRow, origin: Origin<'_>, now: Time) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_audit (id, user_id, event_type, event_status, session_id, challenge_id, \
             performed_by, reason, ip, user_agent, request_id, details, created_at, device_id, device_name, device_type) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(row.id)
        .bind(row.user.map(|id| id.to_string()))
        .bind(row.event_type)
        .bind(row.event_status)
        .bind(row.session.map(SessionId::number))
        .bind(row.challenge.map(|id| id.to_string()))
        .bind(row.performed_by)
        .bind(row.reason.as_deref())
        .bind(origin.ip)
        .bind(origin.user_agent)
        .bind(origin.request_id)
        .bind(row.details.as_deref())
        .bind(now)
        .bind(origin.device.map(|device| device.id.as_str()))
        .bind(origin.device.and_then(|device| device.name.as_deref()))
        .bind(origin.device.and_then(|device| device.kind.as_deref()))
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Some of the entries that are wanted, the latest first: `limit` of them after `skip`.
    pub async fn history(&mut self, wanted: &Wanted<'_>, limit: i64, skip: i64) -> Result<Vec<Entry>, StoreError> {
        let query = sql("SELECT id, event_type, event_status, session_id, challenge_id, performed_by, reason, ip, \
             user_agent, details, created_at, device_id, device_name, device_type FROM nauth_audit \
             WHERE user_id = ? AND created_at >= ? AND created_at <= ? AND event_status IN (?, ?, ?, ?) \
             AND CASE WHEN event_type IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
             ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) THEN 1 ELSE 0 END = ? \
             ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?");
        let rows = wanted.bind(query).bind(limit).bind(skip).fetch_all(&mut self.on).await?;
        rows.iter().map(read).collect()
    }

    /// How many entries are wanted; never more than [`MOST_ENTRIES`], however many there are.
    pub async fn count(&mut self, wanted: &Wanted<'_>) -> Result<i64, StoreError> {
        let query = sql("SELECT COUNT(*) AS entries FROM (SELECT id FROM nauth_audit \
             WHERE user_id = ? AND created_at >= ? AND created_at <= ? AND event_status IN (?, ?, ?, ?) \
             AND CASE WHEN event_type IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
             ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) THEN 1 ELSE 0 END = ? \
             ORDER BY created_at DESC LIMIT 10000) counted");
        let row = wanted.bind(query).fetch_optional(&mut self.on).await?;
        row.map_or(Ok(0), |row| row.int("entries"))
    }

    /// How many failed logins and how many worse things a user has had since then. Counts no further than three
    /// of them together. What was made of logins does not count: it would feed itself.
    pub async fn recent_trouble(&mut self, user: UserId, since: Time) -> Result<Trouble, StoreError> {
        let rows = sql("SELECT event_status FROM nauth_audit WHERE user_id = ? AND created_at > ? \
             AND ((event_status = 'SUSPICIOUS' AND event_type <> 'ADAPTIVE_MFA_RISK_ASSESSED') \
             OR (event_type = 'LOGIN_FAILED' AND reason <> 'risk')) LIMIT 3")
        .bind(user)
        .bind(since)
        .fetch_all(&mut self.on)
        .await?;
        let mut trouble = Trouble::default();
        for row in rows {
            if row.text("event_status")? == "SUSPICIOUS" {
                trouble.suspicious_events += 1;
            } else {
                trouble.failed_logins += 1;
            }
        }
        Ok(trouble)
    }

    /// Removes logins, good and bad, from before `before`; answers how many entries.
    pub async fn purge_logins(&mut self, before: Time) -> Result<u64, StoreError> {
        let mut removed = 0;
        for logins in OLD_LOGINS {
            removed += logins.run(&mut self.on, before).await?;
        }
        Ok(removed)
    }

    /// Removes everything from before `before`; answers how many entries.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        OLD.run(&mut self.on, before).await
    }

    /// What happened to a user, oldest first: type and status.
    pub async fn of_user(&mut self, user: UserId) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sql("SELECT event_type, event_status FROM nauth_audit WHERE user_id = ? ORDER BY created_at, id")
            .bind(user)
            .fetch_all(&mut self.on)
            .await?;
        rows.iter().map(|row| Ok((row.text("event_type")?, row.text("event_status")?))).collect()
    }
}

impl Wanted<'_> {
    /// Puts what is wanted into a statement that names it in this order. What is missing of a list is filled with
    /// a name that nothing has.
    fn bind(&self, query: Statement) -> Statement {
        let statuses: &[&str] = if self.statuses.is_empty() { &EVENT_STATUSES } else { self.statuses };
        let mut query = query.bind(self.user).bind(self.from).bind(self.until);
        for at in 0..EVENT_STATUSES.len() {
            query = query.bind(statuses.get(at).copied().unwrap_or(""));
        }
        let is_half = self.types.len() <= MOST_TYPES;
        let others = || EVENT_TYPES.iter().copied().filter(|kind| !self.types.contains(kind)).collect();
        let named: Vec<&str> = if is_half { self.types.to_vec() } else { others() };
        for at in 0..MOST_TYPES {
            query = query.bind(named.get(at).copied().unwrap_or(""));
        }
        // Of no type means of every one.
        query.bind(is_half && !named.is_empty())
    }
}

fn read(row: &Row) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: row.int("id")?,
        event_type: row.text("event_type")?,
        event_status: row.text("event_status")?,
        session: row.opt_int("session_id")?,
        challenge: row.opt_text("challenge_id")?,
        performed_by: row.opt_text("performed_by")?,
        reason: row.opt_text("reason")?,
        ip: row.text("ip")?,
        user_agent: row.opt_text("user_agent")?,
        details: row.opt_text("details")?,
        device_id: row.opt_text("device_id")?,
        device_name: row.opt_text("device_name")?,
        device_type: row.opt_text("device_type")?,
        at: row.time("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_room_for_half_of_all_types() {
        assert!(EVENT_TYPES.len() <= 2 * MOST_TYPES);
    }
}
