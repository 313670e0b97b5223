//! What one node revokes, the others read at once when a Redis rings for it, and else a poll later.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::revocation::Revocations;
use crate::transient::Bell;

/// Its name in Redis.
pub(super) const REVOKED: &str = "revoked";
/// Rings no closer to each other than this: each makes every node ask the database.
const BETWEEN_RINGS: Duration = Duration::from_millis(20);
/// Until Redis is listened to again after it fell silent.
const AGAIN: Duration = Duration::from_secs(1);

/// Rings for what this node revokes, and reads what others ring for, until cancelled.
pub(super) async fn ring_and_listen(bell: Arc<Bell>, revocations: Arc<Revocations>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = ring(&bell, &revocations) => {}
        () = listen(&bell, &revocations) => {}
    }
}

async fn ring(bell: &Bell, revocations: &Revocations) {
    loop {
        revocations.made().await;
        // One that is lost costs the others a poll.
        let _ = bell.ring().await;
        tokio::time::sleep(BETWEEN_RINGS).await;
    }
}

async fn listen(bell: &Bell, revocations: &Revocations) {
    loop {
        if let Err(error) = bell.listen(|| revocations.wake()).await {
            tracing::debug!(error = %crate::logging::chain(&error), "Redis cannot be listened to");
        }
        tokio::time::sleep(AGAIN).await;
    }
}
