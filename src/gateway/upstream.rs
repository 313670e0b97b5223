//! Upstreams: whose turn it is, where its name points to, how long to wait for it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;

use crate::config::settings::{HostHeader, Target, Upstream};
use crate::gateway::upgrade;
use crate::metrics::{Metrics, UpstreamMetrics};

/// How long the address of a name is remembered.
const NAME_TTL: Duration = Duration::from_secs(5);

/// Sets each connection for a `WebSocket` apart from all others.
static UPGRADES: AtomicU64 = AtomicU64::new(1);

/// The addresses of a name, and when they were looked up.
type Resolved = (Vec<SocketAddr>, Instant);

/// One upstream and whose turn it is.
#[derive(Debug)]
pub struct Balanced {
    /// Its settings.
    pub settings: Arc<Upstream>,
    /// Its counters.
    pub metrics: UpstreamMetrics,
    next: AtomicUsize,
    names: Mutex<BTreeMap<(String, u16), Resolved>>,
}

impl Balanced {
    /// Every upstream, by name. Those that did not change keep their turn.
    #[must_use]
    pub fn all(
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        previous: &BTreeMap<String, Arc<Self>>,
        metrics: &Metrics,
    ) -> BTreeMap<String, Arc<Self>> {
        let balanced = |name: &String, settings: &Arc<Upstream>| match previous.get(name) {
            Some(known) if known.settings == *settings => Arc::clone(known),
            _ => Arc::new(Self {
                settings: Arc::clone(settings),
                metrics: metrics.upstream(name),
                next: AtomicUsize::new(0),
                names: Mutex::default(),
            }),
        };
        upstreams.iter().map(|(name, settings)| (name.clone(), balanced(name, settings))).collect()
    }

    /// Whose turn it is: the number of the turn, to be given to [`Balanced::target`].
    pub fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The target of a turn; each further attempt goes to the next one.
    #[must_use]
    pub fn target(&self, turn: usize, attempt: usize) -> &Target {
        let targets = &self.settings.targets;
        &targets[turn.wrapping_add(attempt) % targets.len()]
    }

    /// How a target is connected to. Of several addresses, each attempt takes the next one.
    ///
    /// # Errors
    /// When its name does not resolve.
    pub async fn peer(
        &self,
        target: &Target,
        attempt: usize,
        answer_within: Duration,
        is_upgrade: bool,
    ) -> io::Result<HttpPeer> {
        let Target::Http { tls, host, port } = target else {
            return Err(io::Error::other("the built-in page is not connected to"));
        };
        let addresses = self.resolve(host, *port).await?;
        let address = addresses[attempt % addresses.len()];
        let mut peer = HttpPeer::new(address, *tls, if *tls { host.clone() } else { String::new() });
        let options = &mut peer.options;
        options.connection_timeout = Some(self.settings.connect_timeout);
        options.total_connection_timeout = Some(self.settings.connect_timeout);
        options.idle_timeout = Some(self.settings.idle_timeout);
        options.write_timeout = Some(self.settings.write_timeout);
        // It also runs before the head and while a request is uploaded; a socket may be silent for long.
        options.read_timeout = (!is_upgrade).then(|| self.settings.read_timeout.max(answer_within));
        options.alpn = ALPN::H1;
        if is_upgrade {
            options.custom_l4 = Some(Arc::new(upgrade::Connector { timeout: self.settings.connect_timeout }));
            // Neither a connection that was made in another way, nor one for anything else later.
            options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = UPGRADES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(peer)
    }

    /// `Host` towards a target; `None` leaves the client's.
    #[must_use]
    pub fn host_header(&self, target: &Target) -> Option<HeaderValue> {
        match (&self.settings.host_header, target) {
            (HostHeader::Fixed(name), _) => HeaderValue::from_str(name).ok(),
            (HostHeader::Upstream, Target::Http { tls, host, port }) => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let default = if *tls { 443 } else { 80 };
                let value = if *port == default { host } else { format!("{host}:{port}") };
                HeaderValue::from_str(&value).ok()
            }
            (HostHeader::Preserve, _) | (HostHeader::Upstream, Target::Whoami) => None,
        }
    }

    /// The addresses of a name; never empty.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let key = (host.to_owned(), port);
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((addresses, _)) = known.filter(|(_, at)| at.elapsed() < NAME_TTL) {
            return Ok(addresses);
        }
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let entry = (addresses.clone(), Instant::now());
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced(targets: Vec<Target>) -> Balanced {
        let second = Duration::from_secs(1);
        let settings = Upstream {
            name: "app".to_owned(),
            targets,
            connect_timeout: second,
            read_timeout: second,
            write_timeout: second,
            idle_timeout: second,
            retries: 1,
            host_header: HostHeader::Upstream,
        };
        let upstreams = BTreeMap::from([("app".to_owned(), Arc::new(settings))]);
        let all = Balanced::all(&upstreams, &BTreeMap::new(), &Metrics::new());
        Arc::into_inner(all.into_values().next().unwrap()).unwrap()
    }

    fn http(host: &str, port: u16) -> Target {
        Target::Http { tls: false, host: host.to_owned(), port }
    }

    #[test]
    fn targets_take_turns_and_a_retry_goes_to_the_next() {
        let upstream = balanced(vec![http("a", 1), http("b", 2), http("c", 3)]);

        let turns: Vec<&Target> = (0..4).map(|_| upstream.target(upstream.turn(), 0)).collect();

        assert_eq!(turns, [&http("a", 1), &http("b", 2), &http("c", 3), &http("a", 1)]);
        assert_eq!(upstream.target(2, 1), &http("a", 1));
    }

    #[test]
    fn the_host_header_is_that_of_the_target() {
        let upstream = balanced(vec![http("::1", 8080)]);
        assert_eq!(upstream.host_header(&http("::1", 8080)).unwrap(), "[::1]:8080");
        assert_eq!(upstream.host_header(&http("app", 80)).unwrap(), "app");
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let upstream = balanced(vec![http("localhost", 1)]);
        assert!(upstream.resolve("localhost", 7).await.unwrap()[0].ip().is_loopback());
        assert_eq!(upstream.resolve("127.0.0.1", 7).await.unwrap(), ["127.0.0.1:7".parse().unwrap()]);
    }
}
