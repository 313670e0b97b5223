//! All open connections of an edge, and the requests on them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::clock::Time;
use crate::domain::context::address_prefix;
use crate::domain::error::Error;
use crate::gateway::conn::{Conn, End, Entrance, Phase, Protocol};
use crate::gateway::inflight::{Holder, InFlight};

/// All open connections of an edge.
#[derive(Debug, Default)]
pub struct Connections {
    next: AtomicU64,
    draining: Arc<AtomicBool>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: HashMap<u64, Arc<Conn>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Connections {
    /// Takes a new connection in, unless its address already has `cap` of them.
    #[must_use]
    pub fn open(self: &Arc<Self>, entrance: Entrance, cap: Option<usize>) -> Option<OpenConn> {
        let address = address_prefix(entrance.peer.ip());
        let conn = Arc::new(Conn::new(self.next.fetch_add(1, Ordering::Relaxed), entrance, Arc::clone(&self.draining)));
        let mut open = self.lock();
        let count = open.by_address.entry(address).or_default();
        if cap.is_some_and(|cap| *count >= cap) {
            return None;
        }
        *count += 1;
        open.all.insert(conn.id(), Arc::clone(&conn));
        Some(OpenConn { conn, of: Arc::clone(self) })
    }

    /// From now on every connection closes once it has nothing to do; those without anything to do
    /// close now. What has just been opened is left for [`Connections::end_silent`].
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for conn in self.all() {
            if conn.protocol() == Protocol::Http2 && conn.phase() != Phase::Opening {
                conn.retire();
            } else if matches!(conn.phase(), Phase::Idle | Phase::Upgraded) {
                conn.end(End::GoingAway);
            }
        }
    }

    /// Ends the connections on which nothing has come yet, and asks those that turned out to be HTTP/2
    /// since [`Connections::drain`] to take nothing more on.
    pub fn end_silent(&self) {
        for conn in self.all() {
            if conn.phase() == Phase::Opening {
                conn.end(End::GoingAway);
            } else if conn.protocol() == Protocol::Http2 {
                conn.retire();
            }
        }
    }

    /// Every connection open now.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Conn>> {
        self.lock().all.values().cloned().collect()
    }

    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// Every request in flight that somebody holds.
    #[must_use]
    pub fn held(&self) -> Vec<(Arc<InFlight>, Holder)> {
        let requests = self.all().into_iter().flat_map(|conn| conn.requests().clone());
        requests.filter_map(|request| request.holder().map(|holder| (request, holder))).collect()
    }

    /// Ends every request whose holder `allowed` refuses, or whose time is over. Answers how many.
    pub fn recheck(&self, now: Time, allowed: impl Fn(&Holder) -> bool) -> usize {
        let may_go_on = |holder: &Holder| holder.until.is_none_or(|until| now < until) && allowed(holder);
        let lost = self.held().into_iter().filter(|(request, holder)| !request.was_cut() && !may_go_on(holder));
        lost.map(|(request, _)| request.lose(Error::SessionNotFound("Session has ended"))).count()
    }

    fn close(&self, conn: &Conn) {
        let mut open = self.lock();
        open.all.remove(&conn.id());
        let address = address_prefix(conn.peer().ip());
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the open ones, given back when dropped.
#[derive(Debug)]
pub struct OpenConn {
    conn: Arc<Conn>,
    of: Arc<Connections>,
}

impl OpenConn {
    /// The connection.
    #[must_use]
    pub fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }
}

impl Drop for OpenConn {
    fn drop(&mut self) {
        self.of.close(&self.conn);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::settings::Listener;

    fn peer(address: &str) -> Entrance {
        let peer = SocketAddr::new(address.parse().unwrap(), 1);
        Entrance { peer, listener: Listener::plain(peer) }
    }

    #[test]
    fn an_address_has_no_more_connections_than_its_cap() {
        let connections = Arc::new(Connections::default());
        let first = connections.open(peer("2001:db8::1"), Some(2));
        let second = connections.open(peer("2001:db8::2"), Some(2));

        assert!(connections.open(peer("2001:db8::3"), Some(2)).is_none(), "the same /64");
        assert!(connections.open(peer("2001:db8:0:1::1"), Some(2)).is_some(), "another /64");

        drop(first);
        assert!(connections.open(peer("2001:db8::3"), Some(2)).is_some());
        drop(second);
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn the_first_reason_to_end_stays() {
        let connections = Arc::new(Connections::default());
        let open = connections.open(peer("192.0.2.1"), None).unwrap();

        open.conn().end(End::SessionEnded);
        open.conn().end(End::GoingAway);

        assert_eq!(open.conn().ending(), Some(End::SessionEnded));
    }
}
