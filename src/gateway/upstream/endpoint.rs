//! One target of an upstream: its addresses, how it stands, and what is under way to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::HeaderValue;
use pingora::connectors::http::Connector;

use crate::config::settings::{Destination, HealthCheck, HostHeader, Scheme, Target, Upstream};
use crate::gateway::conn::uptime_ms;
use crate::gateway::upstream::addresses::{Address, Addresses, Manner, millis};
use crate::gateway::upstream::balance::jittered;
use crate::gateway::upstream::probe::probe;
use crate::gateway::upstream::standing::Standing;
use crate::metrics::UpstreamMetrics;

/// One target.
#[derive(Debug)]
pub struct Endpoint {
    /// As configured.
    pub target: Target,
    /// `Host` towards it; `None` leaves the client's.
    pub host_header: Option<HeaderValue>,
    upstream: String,
    /// `None` for the built-in page.
    addresses: Option<Addresses>,
    standing: Standing,
    checks: Option<Checks>,
    in_flight: AtomicUsize,
}

/// When a target is asked how it is.
#[derive(Debug)]
struct Checks {
    health: HealthCheck,
    /// Its `Host`.
    authority: String,
    /// In milliseconds of uptime; `u64::MAX` while it is being asked.
    due: AtomicU64,
}

impl Endpoint {
    pub(super) fn new(settings: &Upstream, target: &Target, manner: &Arc<Manner>, metrics: &UpstreamMetrics) -> Self {
        let addresses = match &target.to {
            Destination::Whoami => None,
            Destination::Http { scheme, host, port } => Some(Addresses::new(manner, *scheme, host, *port)),
        };
        Self {
            host_header: host_header(&settings.host_header, &target.to),
            upstream: settings.name.clone(),
            addresses,
            standing: Standing::new(settings.connect_timeout, metrics.healthy(&target.url)),
            checks: settings.health.as_ref().map(|health| Checks::new(health, settings, target)),
            in_flight: AtomicUsize::new(0),
            target: target.clone(),
        }
    }

    /// Whether it is time to look its name up again.
    pub(super) fn is_lookup_due(&self) -> bool {
        self.addresses.as_ref().is_some_and(Addresses::is_due)
    }

    /// Looks its name up. What is known stays when nothing is found.
    pub(super) async fn look_up(&self) {
        if let Some(addresses) = &self.addresses {
            // Said there, once, and known to whoever needs the address.
            let _ = addresses.look_up().await;
        }
    }

    /// Whether it is time to ask it how it is. True once: whoever is told so asks.
    pub(super) fn takes_check(&self) -> bool {
        let Some(checks) = &self.checks else { return false };
        let due = checks.due.load(Ordering::Relaxed);
        due <= uptime_ms() && checks.due.swap(u64::MAX, Ordering::Relaxed) == due
    }

    /// Asks it how it is.
    pub(super) async fn check(&self, connector: &Connector) {
        let Some(Checks { health, authority, due }) = &self.checks else { return };
        let outcome = match self.next_address().await {
            Ok(address) => probe(&address.peer, authority, health, connector).await,
            Err(error) => Err(error.to_string()),
        };
        let (name, url) = (&self.upstream, &self.target.url);
        match (self.standing.checked(outcome.is_ok(), health), outcome) {
            (Some(false), Err(error)) => {
                tracing::warn!(
                    upstream.name = name,
                    target_url = url,
                    error,
                    "target is not well; it is left out as long as there are others"
                );
            }
            (Some(true), _) => tracing::info!(upstream.name = name, target_url = url, "target is well again"),
            _ => {}
        }
        due.store(uptime_ms().saturating_add(millis(jittered(health.interval))), Ordering::Relaxed);
    }

    pub(super) async fn next_address(&self) -> io::Result<Arc<Address>> {
        match &self.addresses {
            Some(addresses) => addresses.next().await,
            None => Err(io::Error::other("the built-in page is not connected to")),
        }
    }

    pub(super) fn address_failed(&self, address: &Address) -> bool {
        self.addresses.as_ref().is_some_and(|addresses| addresses.failed(address))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn is_in(&self, now: u64) -> bool {
        self.standing.is_in(now)
    }

    pub(super) fn may_enter(&self, now: u64) -> bool {
        self.standing.may_enter(now)
    }

    pub(super) fn succeeded(&self) {
        if self.standing.succeeded() {
            tracing::info!(upstream.name = self.upstream, target_url = self.target.url, "target answers again");
        }
    }

    pub(super) fn failed(&self) {
        if let Some(pause) = self.standing.failed(uptime_ms()) {
            let pause_s = pause.as_secs();
            tracing::warn!(
                upstream.name = self.upstream,
                target_url = self.target.url,
                pause_s,
                "target fails; it is left out as long as there are others"
            );
        }
    }
}

impl Checks {
    fn new(health: &HealthCheck, settings: &Upstream, target: &Target) -> Self {
        let authority = match &settings.host_header {
            HostHeader::Fixed(name) => name.clone(),
            HostHeader::Preserve | HostHeader::Upstream => authority(&target.to),
        };
        Self { health: health.clone(), authority, due: AtomicU64::new(0) }
    }
}

/// A request that is at a target until it goes elsewhere or ends.
#[derive(Debug)]
pub(super) struct Visit {
    endpoint: Arc<Endpoint>,
    place: usize,
}

impl Visit {
    pub(super) fn begin(endpoint: &Arc<Endpoint>, place: usize) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: Arc::clone(endpoint), place }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its place in the upstream's list.
    pub(super) fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn host_header(setting: &HostHeader, to: &Destination) -> Option<HeaderValue> {
    match (setting, to) {
        (HostHeader::Fixed(name), _) => HeaderValue::from_str(name).ok(),
        (HostHeader::Upstream, Destination::Http { .. }) => HeaderValue::from_str(&authority(to)).ok(),
        (HostHeader::Preserve, _) | (HostHeader::Upstream, Destination::Whoami) => None,
    }
}

/// `host:port`, without a port that goes without saying.
fn authority(to: &Destination) -> String {
    let Destination::Http { scheme, host, port } = to else { return String::new() };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let default = if *scheme == Scheme::Https { 443 } else { 80 };
    if *port == default { host } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_is_that_of_the_target() {
        let at = |scheme, host: &str, port| Destination::Http { scheme, host: host.to_owned(), port };
        let cases = [
            (at(Scheme::Http, "::1", 8080), "[::1]:8080"),
            (at(Scheme::Http, "app", 80), "app"),
            (at(Scheme::Https, "app", 443), "app"),
            (at(Scheme::Https, "app", 80), "app:80"),
        ];
        for (to, expected) in cases {
            assert_eq!(host_header(&HostHeader::Upstream, &to).unwrap(), expected);
            assert_eq!(host_header(&HostHeader::Preserve, &to), None);
            assert_eq!(host_header(&HostHeader::Fixed("x".to_owned()), &to).unwrap(), "x");
        }
    }
}
