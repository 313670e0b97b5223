//! A line to a server that can be cut and can fall silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::Issued;

/// What becomes of what is sent over a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It arrives.
    Good,
    /// Connections break, and new ones are closed at once.
    Cut,
    /// Nothing arrives, and nobody is told.
    Silent,
}

/// A line on a port of its own.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    condition: Condition,
    /// How often the other end has died without a word.
    deaths: u32,
}

impl Line {
    /// A good line to a server.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State { condition: Condition::Good, deaths: 0 }));
        let told = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, server, told.subscribe()));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn becomes(&self, condition: Condition) {
        self.state.send_modify(|state| state.condition = condition);
    }

    /// From the connections there are nothing is heard any more, and new ones are good: as after the death of
    /// a machine, when another one answers at its address.
    pub(crate) fn forgets_its_connections(&self) {
        self.state.send_modify(|state| state.deaths += 1);
    }
}

async fn connect(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let born_after = state.borrow().deaths;
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    loop {
        let State { condition, deaths } = *state.borrow_and_update();
        let is_silent = condition == Condition::Silent || deaths > born_after;
        if condition == Condition::Cut {
            break;
        }
        if is_silent {
            // Whatever has arrived by now stays in the systems' queues.
            if state.changed().await.is_err() {
                break;
            }
            continue;
        }
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => break,
            changed = state.changed() => if changed.is_err() { break },
        }
    }
    let _ = client.shutdown().await;
}

/// The way to a PostgreSQL server, encrypted as far as here: answers where that is.
pub(crate) async fn postgres_behind_tls(server: SocketAddr, own: &Issued) -> SocketAddr {
    let acceptor = TlsAcceptor::from(own.server());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client asks for TLS in eight bytes, and is answered in one.
                let mut asked = [0; 8];
                client.read_exact(&mut asked).await.ok()?;
                client.write_all(b"S").await.ok()?;
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    address
}
