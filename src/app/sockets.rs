//! Listening sockets: bound here, or handed over by whoever started nauth.
//!
//! A service manager that holds the sockets (systemd's `LISTEN_FDS`) keeps them open while one nauth
//! ends and the next one starts: connections made meanwhile wait in the system's queue, and none is
//! refused.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tracing::info;

use crate::config::settings::{Listener, listening_key};

/// Sockets that were handed over and are not taken yet.
#[derive(Debug)]
pub(super) struct Sockets(Vec<std::net::TcpListener>);

impl Sockets {
    /// What was handed over to this process; nothing when it was started by hand.
    pub(super) fn handed_over() -> anyhow::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(handed.len());
        for at in 0..handed.len() {
            let socket = handed.take_tcp_listener(at).context("LISTEN_FDS names what is no listening TCP socket")?;
            sockets.extend(socket);
        }
        Ok(Self(sockets))
    }

    /// Whether nothing was handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sockets of all public listeners.
    pub(super) async fn listen_on(&mut self, listeners: &[Listener]) -> anyhow::Result<Vec<(TcpListener, Listener)>> {
        let mut sockets = Vec::with_capacity(listeners.len());
        for listener in listeners {
            sockets.push((self.listen(listener.addr, listening_key(listeners)).await?, *listener));
        }
        Ok(sockets)
    }

    /// The socket of an address: the one that was handed over, else a new one.
    pub(super) async fn listen(&mut self, addr: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
        let fits = |socket: &std::net::TcpListener| socket.local_addr().is_ok_and(|bound| is_same(bound, addr));
        let Some(at) = self.0.iter().position(fits) else {
            return TcpListener::bind(addr).await.with_context(|| format!("`{key}` = {addr} cannot be listened on"));
        };
        let socket = self.0.swap_remove(at);
        info!(%addr, "listening on a socket that was handed over");
        socket
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(socket))
            .with_context(|| format!("`{key}` = {addr} cannot be listened on"))
    }

    /// Refuses sockets that nobody wants: their clients would wait for ever.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Some(socket) = self.0.first() else { return Ok(()) };
        let addr = socket.local_addr().context("a socket that was handed over cannot be used")?;
        bail!(
            "a socket for {addr} was handed over, but no listener is configured there; remove it from the socket unit"
        )
    }
}

/// Whether a bound address is the one meant. One that listens everywhere is often bound as `[::]`.
fn is_same(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let everywhere = bound.ip().is_unspecified() && wanted.ip().is_unspecified();
    bound.port() == wanted.port() && (everywhere || bound.ip().to_canonical() == wanted.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_taken_by_its_address_and_one_that_nobody_wants_is_refused() {
        let handed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = handed.local_addr().unwrap();
        let mut sockets = Sockets(vec![handed]);

        let own = sockets.listen("127.0.0.1:0".parse().unwrap(), "server.listen").await.unwrap();
        assert_ne!(own.local_addr().unwrap(), addr);
        let taken = sockets.listen(addr, "server.listen").await.unwrap();

        assert_eq!(taken.local_addr().unwrap(), addr);
        assert!(sockets.finish().is_ok());
        let unwanted = Sockets(vec![std::net::TcpListener::bind("127.0.0.1:0").unwrap()]);
        assert!(unwanted.finish().unwrap_err().to_string().contains("no listener is configured there"));
    }

    #[test]
    fn an_address_everywhere_is_the_same_in_both_families() {
        let cases = [
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:81", false),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80", true),
            ("10.0.0.1:80", "0.0.0.0:80", false),
        ];
        for (bound, wanted, same) in cases {
            assert_eq!(is_same(bound.parse().unwrap(), wanted.parse().unwrap()), same, "{bound} {wanted}");
        }
    }
}
