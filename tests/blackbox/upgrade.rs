//! One nauth takes over from another, and nobody who asks notices.

use std::net::{Ipv4Addr, TcpListener};

use rustix::process::Signal;

use crate::support::{Config, Echo, Load, Nauth, Request, free_port, millis, secs};

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
    let load = Load::begin(nauth.public(), &Request::get("/"));
    load.serves(50).await;
    let in_flight = tokio::spawn({
        let address = nauth.public();
        async move { Request::get("/slow/1500").send_to(address).await }
    });
    tokio::time::sleep(millis(300)).await;

    let first = nauth.replace_handed(&socket).await.expect(0).says("stopped");

    assert!(!first.output.contains("did not end in time"), "{}", first.output);
    in_flight.await.unwrap().expect(200);
    nauth.writes("waiting for the nauth that runs on the data directory to end").await;
    load.serves(50).await;
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
