//! Clients that notice when somebody is not served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinHandle;

use super::{Connection, Request, eventually, millis, secs};

/// Clients that ask without pause: some connect for every request, some keep their connection.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Sends them off.
    pub(crate) fn begin(address: SocketAddr, request: &Request) -> Self {
        let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..8).map(|number| {
            let (is_over, served, request) = (is_over.clone(), served.clone(), request.clone());
            tokio::spawn(async move {
                let mut kept: Option<Connection> = None;
                while !is_over.load(Ordering::Relaxed) {
                    let is_reused = kept.is_some();
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => Connection::open(address).await,
                    };
                    let answer = connection.try_ask(&request).await;
                    // Every client knows that a connection it kept may be closed by the time it asks again.
                    let Some(answer) = answer else {
                        assert!(is_reused, "a new connection was closed without an answer");
                        continue;
                    };
                    let closes = answer.header("connection") == Some("close");
                    answer.expect(200);
                    served.fetch_add(1, Ordering::Relaxed);
                    kept = (number % 2 == 0 && !closes).then_some(connection);
                    tokio::time::sleep(millis(2)).await;
                }
            })
        });
        let clients = clients.collect();
        Self { is_over, served, clients }
    }

    /// Waits until so many more were served.
    pub(crate) async fn serves(&self, more: u64) {
        let wanted = self.served.load(Ordering::Relaxed) + more;
        let served = async || (self.served.load(Ordering::Relaxed) >= wanted).then_some(());
        assert!(eventually(secs(20), served).await.is_some(), "too little is served");
    }

    /// Ends the clients; fails when one of them was not served.
    pub(crate) async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no request is lost");
        }
    }
}
