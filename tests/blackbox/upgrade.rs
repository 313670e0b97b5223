//! One nauth takes over from another, and nobody who asks notices.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::support::{Config, Connection, Echo, Nauth, Request, free_port, millis, secs};

fn socket() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap()
}

fn config(echo: &Echo) -> Config {
    Config::in_front_of(echo).without_verification().route("path = \"/\"\naccess = \"public\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_on_sockets_that_are_handed_over_loses_no_request() {
    let (echo, socket) = (Echo::start().await, socket());
    let mut nauth = Nauth::start_handed(config(&echo), &socket).await;
    nauth.writes("a socket that was handed over").await;
    let load = Load::begin(&nauth);
    load.has_served(50).await;
    let in_flight = tokio::spawn({
        let address = nauth.public();
        async move { Request::get("/slow/1500").send_to(address).await }
    });
    tokio::time::sleep(millis(300)).await;

    let first = nauth.replace_handed(&socket).await.expect(0).says("stopped");

    assert!(!first.output.contains("did not end in time"), "{}", first.output);
    in_flight.await.unwrap().expect(200);
    nauth.writes("waiting for the nauth that runs on the data directory to end").await;
    let served = load.served.load(Ordering::Relaxed);
    load.has_served(served + 50).await;
    load.end().await;
}

#[tokio::test]
async fn connections_wait_while_nobody_runs_on_a_socket_that_is_handed_over() {
    let (echo, socket) = (Echo::start().await, socket());
    let mut nauth = Nauth::start_handed(config(&echo), &socket).await;
    nauth.signal(Signal::TERM);
    nauth.finished_within(secs(10)).await.expect(0);

    let waiting = tokio::spawn({
        let address = nauth.public();
        async move { Request::get("/").send_to(address).await }
    });
    tokio::time::sleep(millis(200)).await;
    assert!(!waiting.is_finished());

    let mut other = Nauth::start_handed(config(&echo), &socket).await;
    waiting.await.unwrap().expect(200);
    other.signal(Signal::TERM);
    other.finished_within(secs(10)).await.expect(0);
}

/// Clients that ask without pause: some connect for every request, some keep their connection.
struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin(nauth: &Nauth) -> Self {
        let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let address = nauth.public();
        let clients = (0..8).map(|number| {
            let (is_over, served) = (is_over.clone(), served.clone());
            tokio::spawn(async move {
                let mut kept: Option<Connection> = None;
                while !is_over.load(Ordering::Relaxed) {
                    let is_reused = kept.is_some();
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => Connection::open(address).await,
                    };
                    let answer = connection.try_ask(&Request::get("/")).await;
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

    async fn has_served(&self, wanted: u64) {
        let served = async || (self.served.load(Ordering::Relaxed) >= wanted).then_some(());
        assert!(crate::support::eventually(secs(20), served).await.is_some(), "too little is served");
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no request is lost");
        }
    }
}
