//! Several listeners in one process, and one that only knows the way to https.

use super::support::{Config, Connection, Echo, Nauth, Request, free_port, secs};

fn local(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn public_route() -> &'static str {
    "path = \"/\"\naccess = \"public\""
}

#[tokio::test]
async fn every_listener_serves_the_same_accounts() {
    let echo = Echo::start().await;
    let second = local(free_port());
    let config = Config::in_front_of(&echo)
        .without_verification()
        .listener("addr = \"{public}\"")
        .listener(&format!("addr = \"{second}\""));
    let nauth = Nauth::start(config).await;

    let body = serde_json::json!({ "email": "ada@example.com", "password": super::support::PASSWORD });
    let signup = Request::post("/auth/signup").json(&body).send_to(nauth.public()).await;
    let access = signup.expect(201).json()["accessToken"].as_str().unwrap().to_owned();
    let answer = Request::get("/app").bearer(&access).send_to(second).await;

    answer.expect(200);
    assert!(nauth.output().contains(&format!("listen=\"{}, {second}\"", nauth.public())), "{}", nauth.output());
}

#[tokio::test]
async fn a_redirecting_listener_shows_the_way_to_https_and_nothing_else() {
    let echo = Echo::start().await;
    let plain = local(free_port());
    let config = Config::in_front_of(&echo)
        .set("server.public_url", "https://localhost:8443")
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .route("path = \"/\"\naccess = \"public\"\nhosts = [\"app.localhost\", \"localhost\"]")
        .listener("addr = \"{public}\"")
        .listener(&format!("addr = \"{plain}\"\nredirect_https = true"));
    let nauth = Nauth::start(config).await;
    let cases = [
        (Request::get("/a%20b?q=1").header("Host", "app.localhost:80"), "https://app.localhost:8443/a%20b?q=1"),
        (Request::post("/auth/login").header("Host", "localhost").body("{}"), "https://localhost:8443/auth/login"),
        (Request::get("//evil.example/x").header("Host", "localhost"), "https://localhost:8443/evil.example/x"),
    ];

    for (request, location) in cases {
        let answer = request.send_to(plain).await.expect(308);
        assert_eq!(answer.header("location"), Some(location), "{answer}");
        assert!(answer.body.is_empty(), "{answer}");
    }
    Request::get("/").header("Host", "evil.example").send_to(plain).await.expect(421);
    Request::get("/..").header("Host", "localhost").send_to(plain).await.expect(400);
    assert!(echo.seen().is_empty());
    nauth.send(&Request::get("/").header("Host", "localhost")).await.expect(200);
}

#[tokio::test]
async fn a_redirecting_listener_keeps_its_connections_alive() {
    let plain = local(free_port());
    let config = Config::whoami()
        .set("server.public_url", "https://localhost")
        .listener("addr = \"{public}\"")
        .listener(&format!("addr = \"{plain}\"\nredirect_https = true"));
    let _nauth = Nauth::start(config).await;
    let mut connection = Connection::open(plain).await;

    for _ in 0..3 {
        let answer = connection.ask(&Request::get("/x").header("Host", "localhost")).await.expect(308);
        assert_eq!(answer.header("location"), Some("https://localhost/x"));
    }
}

#[tokio::test]
async fn listeners_change_at_a_restart_and_the_report_says_so() {
    let second = local(free_port());
    let config = Config::whoami().route(public_route()).listener("addr = \"{public}\"");
    let nauth = Nauth::start(config.clone()).await;

    nauth.reconfigure(&config.set("jwt.access_ttl", "5m").listener(&format!("addr = \"{second}\"")));
    nauth.writes("server.listeners").await;

    assert!(tokio::net::TcpStream::connect(second).await.is_err());
    nauth.send(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn connections_of_an_address_are_counted_over_all_listeners() {
    let second = local(free_port());
    let config = Config::whoami()
        .route(public_route())
        .set("server.max_connections_per_ip", 2)
        .listener("addr = \"{public}\"")
        .listener(&format!("addr = \"{second}\""));
    let nauth = Nauth::start(config).await;

    let mut first = Connection::open(nauth.public()).await;
    first.ask(&Request::get("/")).await.expect(200);
    let mut other = Connection::open(second).await;
    other.ask(&Request::get("/")).await.expect(200);
    let mut third = Connection::open(second).await;
    third.send(&Request::get("/")).await;

    assert!(third.ends_within(secs(5)).await);
    first.ask(&Request::get("/")).await.expect(200);
}
