//! Connections: how many there may be, and why they end.

use super::*;

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
