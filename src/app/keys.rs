//! Keys while the server runs: their schedule is tended by one node, every node follows.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::app::Reloader;
use crate::gateway::PublicEdge;

/// How often keys are read. A node that lets a published key sign does so this much after another at most.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// How often the schedule is looked at.
const TEND_EVERY: Duration = Duration::from_secs(15);

/// Takes over keys that were published, changed or removed, here, by a command or on another node.
pub(super) async fn follow_keys(reloader: Arc<Reloader>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        match reloader.follow_keys().await {
            Err(error) if !failing => {
                failing = true;
                error!(error = %crate::logging::chain(&error), "keys cannot be read; those at hand stay in force");
            }
            Err(_) => {}
            Ok(changed) => {
                failing = false;
                if changed {
                    info!("the keys have changed");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
        }
    }
}

/// Publishes keys, lets them sign and removes them, as the schedule says, on one node of several.
pub(super) async fn tend_keys(public: Arc<PublicEdge>, stop: CancellationToken) {
    let node = uuid::Uuid::new_v4().to_string();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TEND_EVERY) => {}
        }
        if let Err(error) = public.gateway().runtime().auth.tend_keys(&node).await {
            error!(error = %crate::logging::chain(&error), "keys cannot be changed");
        }
    }
}
