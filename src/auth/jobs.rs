//! What is swept out from time to time.

use std::time::Duration;

use crate::domain::clock::Time;
use crate::store::{Store, StoreError};

/// An account that is not finished by then never will be.
const UNFINISHED: Duration = Duration::from_hours(24);
/// Ended sessions, lapsed challenges and codes, and finished messages are kept this long for whoever asks.
const ENDED: Duration = Duration::from_hours(30 * 24);

/// Removes what is of no use any more; answers how many rows.
pub async fn purge(store: &Store, now: Time) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let mut rows = tx.users().purge_unfinished(now - UNFINISHED).await?;
    rows += tx.sessions().purge(now - ENDED).await?;
    rows += tx.challenges().purge(now - UNFINISHED).await?;
    rows += tx.one_time_secrets().purge(now - UNFINISHED).await?;
    rows += tx.outbox().purge(now - ENDED).await?;
    rows += tx.revocations().purge(now).await?;
    tx.commit().await?;
    Ok(rows)
}
