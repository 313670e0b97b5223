//! Looks after upstreams while nobody waits for it: names are looked up again before they go stale,
//! and targets are asked how they are.

use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::gateway::Runtime;

/// How often it is seen what is due.
const TICK: Duration = Duration::from_millis(100);

/// Looks after the upstreams of whatever `runtime` is in force, until `stop`. Upstreams that a reload
/// removed are simply no longer looked at.
pub async fn look_after(runtime: impl Fn() -> Arc<Runtime>, stop: CancellationToken) {
    let mut work = JoinSet::new();
    let mut connector = None;
    let connect = || Arc::new(Connector::new(None));
    loop {
        tokio::select! {
            // What is under way is dropped with its set; it only learns.
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        while work.try_join_next().is_some() {}
        for endpoint in runtime().upstreams().flat_map(|upstream| upstream.endpoints().iter()) {
            if endpoint.is_lookup_due() {
                let endpoint = Arc::clone(endpoint);
                work.spawn(async move { endpoint.look_up().await });
            }
            if endpoint.takes_check() {
                let (endpoint, connector) = (Arc::clone(endpoint), Arc::clone(connector.get_or_insert_with(connect)));
                work.spawn(async move { endpoint.check(&connector).await });
            }
        }
    }
}
