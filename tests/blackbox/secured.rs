//! Databases that are reached by a socket, or let nobody in who shows no certificate.

use std::path::Path;

use crate::secured_server::{Papers, SecuredServer};
use crate::servers::Kind;
use crate::support::{Authority, Config, Echo, Nauth, Request, free_port};

/// Users sign up, and a start later they are still there.
async fn keeps_users(config: Config) {
    let mut nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.kill();
    nauth.start_again().await;
    let again = nauth.login("ada@example.com").await;
    for account in [&ada, &again] {
        nauth.send(&Request::get("/").bearer(&account.access_token)).await.expect(200);
    }
}

fn shows(config: Config, (certificate, key): &(std::path::PathBuf, std::path::PathBuf)) -> Config {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    config.set("database.ssl_cert", text(certificate)).set("database.ssl_key", text(key))
}

async fn by_socket_and_by_certificate(kind: Kind) {
    let (ours, strangers) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.sign("127.0.0.1");
    let papers = Papers { certificate, key, clients: ours.path() };
    let Some(server) = SecuredServer::start(kind, free_port(), &papers).await else { return };
    let echo = Echo::start().await;
    let at = |url: String| {
        let config = Config::in_front_of(&echo).without_verification().set("database.acquire_timeout", "2s");
        config.set("database.url", url)
    };

    keeps_users(at(server.by_socket())).await;

    let over_tls = at(server.by_certificate())
        .set("database.ssl_mode", "verify-full")
        .set("database.ssl_ca", ours.path().to_str().unwrap())
        .set("database.table_prefix", "certified_");
    keeps_users(shows(over_tls.clone(), &ours.sign("certified"))).await;

    for refused in [
        over_tls.clone(),
        shows(over_tls.clone(), &ours.sign("somebody")),
        shows(over_tls.clone(), &strangers.sign("certified")),
        shows(over_tls, &ours.sign("certified")).set("database.ssl_mode", "disable"),
    ] {
        let refused = Nauth::start_refused(refused).await.expect(1).says("cannot be used");
        assert!(!refused.output.contains("certified:nauth"), "{}", refused.output);
    }
}

#[tokio::test]
async fn postgres_is_reached_by_its_socket_and_with_a_certificate() {
    by_socket_and_by_certificate(Kind::Postgres).await;
}

#[tokio::test]
async fn mariadb_is_reached_by_its_socket_and_with_a_certificate() {
    by_socket_and_by_certificate(Kind::MariaDb).await;
}
