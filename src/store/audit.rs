//! The audit trail.

use crate::domain::clock::Time;
use crate::domain::id::{ChallengeId, SessionId, UserId, random_number};
use crate::store::db::{On, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

/// One by one, so that each reads its own part of an index and nothing else.
const OLD_LOGINS: [Sweep; 4] = [
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_ATTEMPT' AND created_at < ?", "created_at"),
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_SUCCESS' AND created_at < ?", "created_at"),
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_FAILED' AND created_at < ?", "created_at"),
    sweep!("nauth_audit", "id", "event_type = 'LOGIN_BLOCKED' AND created_at < ?", "created_at"),
];
const OLD: Sweep = sweep!("nauth_audit", "id", "created_at < ?", "created_at");

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
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
             performed_by, reason, ip, user_agent, request_id, details, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(random_number())
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
        .execute(&mut self.on)
        .await?;
        Ok(())
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
