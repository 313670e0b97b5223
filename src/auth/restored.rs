//! What an operator does once the database was put back to an earlier state.
//!
//! What happened since that state is lost: codes that were used are unused again, revocations are
//! gone, and numbers will be given out twice. So no code of that time counts any more, and every
//! access token has to be refreshed, which asks the database as it is now. Nodes that run follow
//! within a second.

use crate::auth::Auth;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;

/// What is void from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voided {
    /// Codes that were sent.
    pub codes: u64,
    /// Backup codes of second factors.
    pub backup_codes: u64,
    /// Invitations.
    pub invitations: u64,
    /// Users whose sessions have ended; `None` where sessions go on.
    pub users: Option<u64>,
}

impl Auth {
    /// Makes void what the state of before must not bring back; with `end_sessions` every session, too.
    pub async fn void_after_restore(&self, end_sessions: bool) -> Result<Voided, Error> {
        let now = self.now();
        let mut change = self.parts.events.begin().await?;
        let codes = change.one_time_secrets().void_all(now).await?;
        let invitations = change.invitations().void_all(now).await?;
        let backup_codes = change.backup_codes().void_all(now).await?;
        change.ceremonies().end_all().await?;
        let users = if end_sessions { Some(change.users().raise_every_epoch(now).await?) } else { None };
        change.revocations().begin_anew(now).await?;
        change.record(Event::StateRestored { sessions_ended: end_sessions });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(Voided { codes, backup_codes, invitations, users })
    }
}
