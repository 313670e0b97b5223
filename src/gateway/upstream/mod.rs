//! Upstreams: which target a request goes to, where that is, and how it stands.
//!
//! What a request reads here is ready made or a few atomic numbers: no lock, no lookup. The state
//! of an upstream outlives every reload that does not change it.

mod addresses;
mod balance;
mod care;
mod endpoint;
mod places;
mod probe;
mod standing;
mod trip;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::settings::{Balance, HashOn, Upstream};
use crate::domain::error::Error;
use crate::gateway::conn::uptime_ms;
use crate::gateway::upstream::addresses::Manner;
use crate::gateway::upstream::balance::{Balancer, Set};
use crate::gateway::upstream::endpoint::{Endpoint, Visit};
use crate::gateway::upstream::places::Places;
use crate::metrics::{Metrics, UpstreamMetrics};

pub use care::look_after;
pub(in crate::gateway) use trip::MAX_TRIES;
pub use trip::Trip;

/// Sets groups of connections apart: each upstream's, and each `WebSocket`'s.
static GROUPS: AtomicU64 = AtomicU64::new(1);

/// A group of connections that shares nothing with any other.
pub(in crate::gateway) fn new_group() -> u64 {
    GROUPS.fetch_add(1, Ordering::Relaxed)
}

/// One upstream.
#[derive(Debug)]
pub struct Balanced {
    /// Its settings.
    pub settings: Arc<Upstream>,
    /// Its counters.
    pub metrics: UpstreamMetrics,
    endpoints: Box<[Arc<Endpoint>]>,
    balancer: Balancer,
    places: Option<Places>,
}

impl Balanced {
    /// Every upstream, by name. Those that did not change are those of before.
    #[must_use]
    pub fn all(
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        previous: &BTreeMap<String, Arc<Self>>,
        metrics: &Metrics,
    ) -> BTreeMap<String, Arc<Self>> {
        let balanced = |name: &String, settings: &Arc<Upstream>| match previous.get(name) {
            Some(known) if known.settings == *settings => Arc::clone(known),
            _ => Arc::new(Self::new(settings, metrics)),
        };
        let all: BTreeMap<_, _> =
            upstreams.iter().map(|(name, settings)| (name.clone(), balanced(name, settings))).collect();
        for gone in previous.values() {
            let remains = all.get(&gone.settings.name);
            let has = |url: &str| remains.is_some_and(|now| now.endpoints.iter().any(|one| one.target.url == url));
            let urls = gone.endpoints.iter().map(|endpoint| endpoint.target.url.as_str());
            urls.filter(|url| !has(url)).for_each(|url| gone.metrics.forget_target(url));
            if gone.places.is_some() && remains.is_none_or(|now| now.places.is_none()) {
                gone.metrics.forget_breaker();
            }
        }
        all
    }

    fn new(settings: &Arc<Upstream>, metrics: &Metrics) -> Self {
        let metrics = metrics.upstream(&settings.name);
        let manner = Arc::new(Manner::new(settings, new_group()));
        let endpoint = |target| Arc::new(Endpoint::new(settings, target, &manner, &metrics));
        let places = |most| Places::new(most, settings.connect_timeout, metrics.breaker());
        Self {
            places: settings.max_connections.map(places),
            endpoints: settings.targets.iter().map(endpoint).collect(),
            balancer: Balancer::new(&settings.balance, &settings.targets),
            settings: Arc::clone(settings),
            metrics,
        }
    }

    /// Sends a request on its way, once there is room for it.
    ///
    /// # Errors
    /// [`Error::UpstreamBusy`] when there is none in time.
    pub async fn set_out(self: &Arc<Self>, key: Option<u64>) -> Result<Trip, Error> {
        let place = match &self.places {
            Some(places) => Some(places.take().await.ok_or(Error::UpstreamBusy)?),
            None => None,
        };
        Ok(Trip::new(self, key, place))
    }

    /// What requests are told apart by, where that decides about their target.
    #[must_use]
    pub fn hash_on(&self) -> Option<&HashOn> {
        match &self.settings.balance {
            Balance::Hash(on) if self.endpoints.len() > 1 => Some(on),
            _ => None,
        }
    }

    /// The targets, in the order they are configured in.
    fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The next target, if possible one that was not visited and is in. When none is, those that are
    /// out are better than nothing.
    fn choose(&self, visited: Set, key: Option<u64>) -> Visit {
        if let [only] = &*self.endpoints {
            return Visit::begin(only, 0);
        }
        let now = uptime_ms();
        let all = Set::of(self.endpoints.len());
        let mut passed = visited;
        loop {
            let candidates = all.without(passed).filter(|place| self.endpoints[place].is_in(now));
            if candidates.is_empty() {
                break;
            }
            let place = self.pick(candidates, key);
            if self.endpoints[place].may_enter(now) {
                return Visit::begin(&self.endpoints[place], place);
            }
            passed = passed.with(place);
        }
        let left = all.without(visited);
        let place = self.pick(if left.is_empty() { all } else { left }, key);
        Visit::begin(&self.endpoints[place], place)
    }

    fn pick(&self, candidates: Set, key: Option<u64>) -> usize {
        self.balancer.choose(candidates, key, |place| self.endpoints[place].in_flight())
    }
}

/// What a key is known by.
#[must_use]
pub fn key_of(bytes: &[u8]) -> u64 {
    balance::hash(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::{Destination, HostHeader, Scheme, Target, UpstreamTls};
    use crate::metrics::ConnectError;

    pub(super) fn http(host: &str, port: u16) -> Target {
        let to = Destination::Http { scheme: Scheme::Http, host: host.to_owned(), port };
        Target { url: format!("http://{host}:{port}"), to, weight: 1 }
    }

    pub(super) fn settings(targets: Vec<Target>) -> Upstream {
        let second = Duration::from_secs(1);
        Upstream {
            name: "app".to_owned(),
            targets,
            balance: Balance::RoundRobin,
            connect_timeout: second,
            read_timeout: second,
            write_timeout: second,
            idle_timeout: second,
            retries: 1,
            max_connections: None,
            health: None,
            host_header: HostHeader::Upstream,
            tls: UpstreamTls { verify: true, sni: None, ca: Vec::new(), client: None },
        }
    }

    fn three() -> Arc<Balanced> {
        let settings = settings((1..=3).map(|port| http("127.0.0.1", port)).collect());
        Arc::new(Balanced::new(&Arc::new(settings), &Metrics::new()))
    }

    fn port(trip: &Trip) -> u16 {
        match trip.endpoint().target.to {
            Destination::Http { port, .. } => port,
            Destination::Whoami => 0,
        }
    }

    #[tokio::test]
    async fn targets_take_turns_and_a_retry_goes_to_another_one() {
        let upstream = three();

        let ports: Vec<u16> = (0..4).map(|_| port(&Trip::new(&upstream, None, None))).collect();
        assert_eq!(ports, [1, 2, 3, 1]);

        let mut trip = Trip::new(&upstream, None, None);
        assert_eq!(trip.next_address().await.unwrap().peer._address.to_string(), "127.0.0.1:2");
        assert!(trip.not_connected(ConnectError::Refused));
        assert_ne!(port(&trip), 2);
        assert!(!trip.not_connected(ConnectError::Refused), "one retry is allowed");
    }

    #[test]
    fn a_target_that_fails_is_left_out_and_when_all_do_none_is() {
        let upstream = three();
        let fail = |place: usize| (0..3).for_each(|_| upstream.endpoints[place].failed());

        fail(1);
        let ports: Vec<u16> = (0..6).map(|_| port(&Trip::new(&upstream, None, None))).collect();
        assert!(!ports.contains(&2) && ports.contains(&1) && ports.contains(&3), "{ports:?}");

        fail(0);
        fail(2);
        let ports: Vec<u16> = (0..6).map(|_| port(&Trip::new(&upstream, None, None))).collect();
        assert!([1, 2, 3].iter().all(|port| ports.contains(port)), "{ports:?}");
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let upstream = three();
        let trips: Vec<Trip> = (0..3).map(|_| Trip::new(&upstream, None, None)).collect();
        let counts = || upstream.endpoints.iter().map(|endpoint| endpoint.in_flight()).collect::<Vec<_>>();

        assert_eq!(counts(), [1, 1, 1]);
        drop(trips);
        assert_eq!(counts(), [0, 0, 0]);
    }

    #[tokio::test]
    async fn there_is_room_for_as_many_as_the_settings_say() {
        let settings = Upstream { max_connections: Some(1), ..settings(vec![http("127.0.0.1", 1)]) };
        let settings = Upstream { connect_timeout: Duration::from_millis(1), ..settings };
        let upstream = Arc::new(Balanced::new(&Arc::new(settings), &Metrics::new()));

        let trip = upstream.set_out(None).await.unwrap();
        assert!(matches!(upstream.set_out(None).await, Err(Error::UpstreamBusy)));
        drop(trip);
        assert!(upstream.set_out(None).await.is_ok());
    }

    #[test]
    fn a_reload_keeps_what_did_not_change_and_forgets_what_is_gone() {
        let metrics = Metrics::new();
        let named = |name: &str, port| Upstream { name: name.to_owned(), ..settings(vec![http("127.0.0.1", port)]) };
        let all = |list: [Upstream; 2]| -> BTreeMap<String, Arc<Upstream>> {
            list.into_iter().map(|upstream| (upstream.name.clone(), Arc::new(upstream))).collect()
        };

        let first = Balanced::all(&all([named("same", 1), named("moved", 2)]), &BTreeMap::new(), &metrics);
        let second = Balanced::all(&all([named("same", 1), named("moved", 3)]), &first, &metrics);

        assert!(Arc::ptr_eq(&first["same"], &second["same"]));
        assert!(!Arc::ptr_eq(&first["moved"], &second["moved"]));
        let text = metrics.render();
        assert!(text.contains(r#"nauth_upstream_healthy{endpoint="http://127.0.0.1:1",upstream="same"} 1"#), "{text}");
        assert!(text.contains(r#"nauth_upstream_healthy{endpoint="http://127.0.0.1:3",upstream="moved"} 1"#), "{text}");
        assert!(!text.contains("127.0.0.1:2"), "{text}");
    }
}
