//! Where a target is on the network, and how it is connected to.
//!
//! A request reads a list that is ready made; who makes it is the caretaker, which looks names up
//! again every few seconds. A name with several addresses gives them out in turn. An address that
//! cannot be connected to is passed over for a while as long as there is another one: `localhost`
//! is two addresses on most machines, and most apps listen on one of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use tokio::sync::Mutex;

use crate::config::settings::{Scheme, Upstream, UpstreamTls};
use crate::gateway::conn::uptime_ms;

/// How long the addresses of a name are good.
const NAME_TTL: Duration = Duration::from_secs(5);
/// How long nobody asks again for a name that was not found.
const NOT_FOUND_TTL: Duration = Duration::from_secs(1);
/// Longest wait for an answer about a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an address that could not be connected to is passed over.
const PASSED_OVER: Duration = Duration::from_secs(30);
/// How often an HTTP/2 connection is asked whether it still stands: all requests share it.
const H2_PING: Duration = Duration::from_secs(10);
/// Streams of one HTTP/2 connection.
const H2_STREAMS: usize = 100;

/// What all connections of an upstream have in common.
#[derive(Debug)]
pub(super) struct Manner {
    settings: Arc<Upstream>,
    /// Keeps its connections apart from those of every other upstream, which may trust others.
    group: u64,
    ca: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
}

impl Manner {
    pub(super) fn new(settings: &Arc<Upstream>, group: u64) -> Self {
        let UpstreamTls { ca, client, .. } = &settings.tls;
        let authorities = ca.iter().map(|der| WrappedX509::new(der.clone(), parse_x509));
        Self {
            settings: Arc::clone(settings),
            group,
            ca: (!ca.is_empty()).then(|| Arc::from(authorities.collect::<Box<[WrappedX509]>>())),
            client: client.as_ref().map(|own| Arc::new(CertKey::new(own.chain.clone(), own.key.expose().clone()))),
        }
    }

    fn peer(&self, address: SocketAddr, scheme: Scheme, host: &str) -> HttpPeer {
        let Upstream { tls, connect_timeout, idle_timeout, write_timeout, read_timeout, .. } = &*self.settings;
        let is_tls = scheme == Scheme::Https;
        // An empty name would switch the verification off.
        let name = if is_tls { tls.sni.as_deref().unwrap_or(host).to_owned() } else { String::new() };
        let mut peer = HttpPeer::new(address, is_tls, name);
        peer.group_key = self.group;
        if is_tls {
            peer.client_cert_key.clone_from(&self.client);
        }
        let options = &mut peer.options;
        options.connection_timeout = Some(*connect_timeout);
        options.total_connection_timeout = Some(*connect_timeout);
        options.idle_timeout = Some(*idle_timeout);
        options.write_timeout = Some(*write_timeout);
        options.read_timeout = Some(*read_timeout);
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
        options.ca.clone_from(&self.ca);
        options.max_h2_streams = H2_STREAMS;
        options.h2_ping_interval = Some(H2_PING);
        options.alpn = match scheme {
            Scheme::Http => ALPN::H1,
            Scheme::Https => ALPN::H2H1,
            Scheme::H2c => ALPN::H2,
        };
        peer
    }
}

/// One address of a target.
#[derive(Debug)]
pub(crate) struct Address {
    /// How it is connected to.
    pub(crate) peer: HttpPeer,
    at: SocketAddr,
    /// In milliseconds of uptime; 0 = it is not.
    passed_over_until: AtomicU64,
}

impl Address {
    fn new(manner: &Manner, scheme: Scheme, host: &str, at: SocketAddr) -> Arc<Self> {
        Arc::new(Self { peer: manner.peer(at, scheme, host), at, passed_over_until: AtomicU64::new(0) })
    }

    fn is_good(&self) -> bool {
        match self.passed_over_until.load(Ordering::Relaxed) {
            0 => true,
            until => uptime_ms() >= until,
        }
    }

    /// It could not be connected to.
    fn pass_over(&self) {
        let until = uptime_ms().saturating_add(millis(PASSED_OVER));
        self.passed_over_until.store(until, Ordering::Relaxed);
    }

    /// It was connected to.
    pub(super) fn take_up(&self) {
        if self.passed_over_until.load(Ordering::Relaxed) != 0 {
            self.passed_over_until.store(0, Ordering::Relaxed);
        }
    }
}

/// The addresses of one target.
#[derive(Debug)]
pub(super) struct Addresses {
    manner: Arc<Manner>,
    scheme: Scheme,
    host: String,
    port: u16,
    /// Empty until a name was looked up.
    known: ArcSwap<Vec<Arc<Address>>>,
    turn: AtomicUsize,
    /// When the name is to be looked up again, in milliseconds of uptime; `u64::MAX` where there is no name.
    due: AtomicU64,
    /// Held while it is looked up: one question at a time. Whether the last one failed.
    lookup: Mutex<bool>,
}

impl Addresses {
    pub(super) fn new(manner: &Arc<Manner>, scheme: Scheme, host: &str, port: u16) -> Self {
        let literal = host.parse().ok().map(|ip| SocketAddr::new(ip, port));
        let known = literal.map(|at| Address::new(manner, scheme, host, at)).into_iter().collect();
        Self {
            manner: Arc::clone(manner),
            scheme,
            host: host.to_owned(),
            port,
            known: ArcSwap::from_pointee(known),
            turn: AtomicUsize::new(0),
            due: AtomicU64::new(if literal.is_some() { u64::MAX } else { 0 }),
            lookup: Mutex::new(false),
        }
    }

    /// The address whose turn it is.
    ///
    /// # Errors
    /// When its name does not resolve.
    pub(super) async fn next(&self) -> io::Result<Arc<Address>> {
        if let Some(address) = self.next_known() {
            return Ok(address);
        }
        self.look_up().await?;
        self.next_known().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    fn next_known(&self) -> Option<Arc<Address>> {
        let known = self.known.load();
        if let [only] = known.as_slice() {
            return Some(Arc::clone(only));
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..known.len()).map(|step| &known[start.wrapping_add(step) % known.len()]);
        in_turn.clone().find(|address| address.is_good()).or_else(|| in_turn.clone().next()).cloned()
    }

    /// This one could not be connected to. Whether another one is worth a try.
    pub(super) fn failed(&self, address: &Address) -> bool {
        let known = self.known.load();
        if known.len() < 2 {
            return false;
        }
        address.pass_over();
        known.iter().any(|other| other.is_good())
    }

    /// Whether it is time to look the name up again.
    pub(super) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) <= uptime_ms()
    }

    /// Looks the name up, unless somebody else has meanwhile. What is known stays when nothing is found.
    pub(super) async fn look_up(&self) -> io::Result<()> {
        let mut failed = self.lookup.lock().await;
        if !self.is_due() {
            return if *failed { Err(not_found()) } else { Ok(()) };
        }
        let asked = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((self.host.as_str(), self.port)));
        let found = match asked.await {
            Ok(Ok(found)) => found.collect::<Vec<_>>(),
            Ok(Err(error)) => return self.not_found(&mut failed, error),
            Err(_) => return self.not_found(&mut failed, io::ErrorKind::TimedOut.into()),
        };
        if found.is_empty() {
            return self.not_found(&mut failed, not_found());
        }
        self.learn(found);
        self.due.store(uptime_ms() + millis(NAME_TTL), Ordering::Relaxed);
        *failed = false;
        Ok(())
    }

    fn not_found(&self, failed: &mut bool, error: io::Error) -> io::Result<()> {
        if !std::mem::replace(failed, true) {
            let kept = self.known.load().len();
            tracing::warn!(name = self.host, addresses_kept = kept, %error, "the name of a target cannot be looked up");
        }
        self.due.store(uptime_ms() + millis(NOT_FOUND_TTL), Ordering::Relaxed);
        Err(error)
    }

    /// Addresses that were known keep what is known about them.
    fn learn(&self, mut found: Vec<SocketAddr>) {
        found.sort_unstable();
        found.dedup();
        let known = self.known.load();
        if known.iter().map(|address| address.at).eq(found.iter().copied()) {
            return;
        }
        let address = |at: SocketAddr| match known.iter().find(|address| address.at == at) {
            Some(address) => Arc::clone(address),
            None => Address::new(&self.manner, self.scheme, &self.host, at),
        };
        self.known.store(Arc::new(found.into_iter().map(address).collect()));
    }
}

fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{http, settings};
    use super::*;

    fn addresses(host: &str) -> Addresses {
        let settings = Arc::new(settings(vec![http(host, 7)]));
        Addresses::new(&Arc::new(Manner::new(&settings, 1)), Scheme::Http, host, 7)
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup_and_a_name_does() {
        let literal = addresses("127.0.0.1");
        assert!(!literal.is_due());
        assert_eq!(literal.next().await.unwrap().at, at("127.0.0.1:7"));

        let name = addresses("localhost");
        assert!(name.is_due());
        assert!(name.next().await.unwrap().at.ip().is_loopback());
        assert!(!name.is_due(), "it is known for a while");
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_is_not_asked_for_at_once_again() {
        let name = addresses("nowhere.invalid");
        assert!(name.next().await.is_err());
        assert!(!name.is_due());
        assert!(name.next().await.is_err());
    }

    #[tokio::test]
    async fn addresses_take_turns_and_those_that_fail_are_passed_over() {
        let name = addresses("app.test");
        name.learn(vec![at("192.0.2.2:7"), at("192.0.2.1:7"), at("192.0.2.2:7")]);
        let next = async || name.next().await.unwrap();

        let first = next().await;
        assert_eq!((first.at, next().await.at), (at("192.0.2.1:7"), at("192.0.2.2:7")));

        assert!(name.failed(&first), "there is another one");
        assert_eq!([next().await.at, next().await.at], [at("192.0.2.2:7"); 2]);
        let second = next().await;
        assert!(!name.failed(&second), "there is none left");
        name.learn(vec![at("192.0.2.1:7"), at("192.0.2.3:7")]);
        assert_eq!([next().await.at, next().await.at], [at("192.0.2.3:7"); 2], "what is known about one stays");
        first.take_up();
        assert_ne!(next().await.at, next().await.at);
    }

    #[test]
    fn a_name_is_always_verified() {
        let settings = Arc::new(settings(vec![http("app.test", 7)]));
        let manner = Manner::new(&settings, 9);

        let peer = manner.peer(at("192.0.2.1:7"), Scheme::Https, "app.test");

        assert_eq!((peer.sni.as_str(), peer.group_key), ("app.test", 9));
        assert!(peer.options.verify_cert && peer.options.verify_hostname);
        assert_eq!(manner.peer(at("192.0.2.1:7"), Scheme::H2c, "app.test").options.alpn, ALPN::H2);
    }
}
