//! What users see of what happened to their accounts.

use crate::auth::{Auth, Caller};
use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::domain::location::Location;
use crate::store::audit::{Entry, MOST_ENTRIES, Wanted};

/// Which part of the trail somebody asks for.
#[derive(Debug, Clone)]
pub struct HistoryWish {
    /// The page, from 1.
    pub page: i64,
    /// Entries on a page.
    pub limit: i64,
    /// Not before.
    pub from: Option<Time>,
    /// Not after.
    pub until: Option<Time>,
    /// Of these types; empty for all.
    pub types: Vec<&'static str>,
    /// Of these statuses; empty for all.
    pub statuses: Vec<&'static str>,
}

/// A page of the trail.
#[derive(Debug)]
pub struct History {
    /// What is on it, the latest first, and where it came from, as far as is known now.
    pub entries: Vec<(Entry, Location)>,
    /// Entries on all pages; never more than can be looked at.
    pub total: i64,
}

impl Auth {
    /// A page of what happened to the caller. Beyond [`MOST_ENTRIES`] pages are empty: older entries are found by
    /// their date.
    pub async fn history(&self, caller: &Caller, wish: &HistoryWish) -> Result<History, Error> {
        let wanted = Wanted {
            user: caller.user.id,
            from: wish.from.unwrap_or_default(),
            until: wish.until.unwrap_or(Time::from_micros(i64::MAX)),
            types: &wish.types,
            statuses: &wish.statuses,
        };
        let skip = (wish.page - 1).saturating_mul(wish.limit);
        let on_page = wish.limit.min(MOST_ENTRIES.saturating_sub(skip));
        let total = self.parts.store.audit().count(&wanted).await?;
        let entries =
            if skip < total { self.parts.store.audit().history(&wanted, on_page, skip).await? } else { Vec::new() };
        let located = |entry: Entry| {
            let location = entry.ip.parse().map(|ip| self.locate(ip)).unwrap_or_default();
            (entry, location)
        };
        Ok(History { entries: entries.into_iter().map(located).collect(), total })
    }
}
