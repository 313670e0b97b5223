//! TLS: which certificate is shown, who may connect, and that it changes nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::support::{
    Account, Authority, Config, Connection, Echo, Issued, Nauth, PASSWORD, Request, Seen, eventually, free_port,
    millis, secs, server_name,
};

/// A directory for certificates, beside nauth's own.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `{ cert = …, key = … }` for what is written under this name.
    fn entry(&self, name: &str, issued: &Issued) -> serde_json::Value {
        let (cert, key) = issued.write(self.path(), name);
        json!({ "cert": cert.to_str().unwrap(), "key": key.to_str().unwrap() })
    }
}

fn speaking_tls(config: Config, certs: &serde_json::Value) -> Config {
    config.listener("addr = \"{public}\"\ntls = true").set("server.tls.certs", certs.clone())
}

fn public(config: Config) -> Config {
    config.route("path = \"/\"\naccess = \"public\"")
}

/// The certificate shown to whoever asks for `name`.
async fn shown(nauth: &Nauth, client: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let socket = TcpStream::connect(nauth.public()).await.unwrap();
    let stream = TlsConnector::from(client.clone()).connect(server_name(name), socket).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn everything_is_as_without_it_and_https() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let cert = files.entry("one", &authority.issue(&["localhost"]));
    let config = speaking_tls(Config::in_front_of(&echo).without_verification(), &json!([cert]));
    let nauth = Nauth::start(config).await;
    let mut connection = Connection::open_tls(nauth.public(), authority.client(&["http/1.1"])).await;
    let origin = format!("https://{}", nauth.host());

    let signup = Request::post("/auth/signup")
        .json(&json!({ "email": "ada@example.com", "password": PASSWORD }))
        .header("Origin", &origin);
    let answer = connection.ask(&signup).await.expect(201);
    let cookie = answer.set_cookie("nauth_access_token").unwrap().to_owned();
    assert!(cookie.contains("Secure"), "{answer}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let write = Request::post("/app").cookies(&pair).body("x");
    let own = connection.ask(&write.clone().header("Origin", &origin)).await.expect(200);
    let plain = write.header("Origin", &format!("http://{}", nauth.host()));

    assert_eq!(Seen::in_answer(&own).header("x-forwarded-proto"), Some("https"));
    connection.ask(&plain).await.expect(403);
    assert!(own.header("strict-transport-security").is_none(), "not for a loopback name");
}

#[tokio::test]
async fn a_name_gets_its_certificate() {
    let (authority, files) = (Authority::new(), Files::new());
    let (first, exact, below) =
        (authority.issue(&["localhost"]), authority.issue(&["app.example.com"]), authority.issue(&["*.example.com"]));
    let asked_for = authority.issue(&["one.example.net", "two.example.net"]);
    let mut written = files.entry("asked", &asked_for);
    written["sni"] = json!(["two.example.net"]);
    let certs = json!([files.entry("a", &first), files.entry("b", &exact), files.entry("c", &below), written]);
    let nauth = Nauth::start(speaking_tls(public(Config::whoami()), &certs)).await;
    let client = authority.client(&[]);

    let cases = [
        ("localhost", &first),
        ("app.example.com", &exact),
        ("www.example.com", &below),
        ("two.example.net", &asked_for),
    ];
    for (name, expected) in cases {
        assert_eq!(shown(&nauth, &client, name).await, expected.der().to_vec(), "{name}");
    }
    let unknown = TcpStream::connect(nauth.public()).await.unwrap();
    let refused = TlsConnector::from(client).connect(server_name("one.example.net"), unknown).await;
    assert!(format!("{:?}", refused.unwrap_err()).contains("NotValidForName"), "everybody else gets the first");
    for name in ["localhost", "app.example.com", "*.example.com", "two.example.net"] {
        let label = format!("server_name=\"{name}\"");
        assert!(nauth.metric("nauth_tls_cert_not_after_timestamp_seconds", &[&label]).await > 1e10, "{name}");
    }
}

#[tokio::test]
async fn new_certificates_are_shown_without_closing_anything() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let old = authority.issue_until(&["localhost"], 2100);
    let config = speaking_tls(public(Config::in_front_of(&echo)), &json!([files.entry("one", &old)]));
    let nauth = Nauth::start(config.set("reload.debounce", "100ms")).await;
    let client = authority.client(&[]);
    let mut idle = Connection::open_tls(nauth.public(), client.clone()).await;
    idle.ask(&Request::get("/")).await.expect(200);
    let mut stream = Connection::open_tls(nauth.public(), client.clone()).await;
    stream.send(&Request::get("/sse")).await;
    assert!(stream.reads("data: 1").await);

    let new = authority.issue_until(&["localhost"], 2101);
    new.write(files.path(), "one");

    let swapped =
        eventually(secs(10), async || (shown(&nauth, &client, "localhost").await == new.der().to_vec()).then_some(()));
    assert!(swapped.await.is_some(), "{}", nauth.output());
    idle.ask(&Request::get("/")).await.expect(200);
    assert!(stream.reads("data: 2").await);
    nauth.writes("server.tls").await;
    nauth.metric_becomes("nauth_tls_cert_not_after_timestamp_seconds", 4_133_980_800.0).await;
}

#[tokio::test]
async fn a_pair_that_does_not_match_changes_nothing_and_is_told() {
    let (authority, files) = (Authority::new(), Files::new());
    let old = authority.issue(&["localhost"]);
    let config = speaking_tls(public(Config::whoami()), &json!([files.entry("one", &old)]));
    let nauth = Nauth::start(config.set("reload.debounce", "100ms")).await;
    let client = authority.client(&[]);

    let (_, other_key) = authority.issue(&["localhost"]).write(files.path(), "other");
    std::fs::rename(other_key, files.path().join("one.key")).unwrap();
    nauth.writes("is not the key of the certificate").await;

    assert_eq!(shown(&nauth, &client, "localhost").await, old.der().to_vec());
    nauth.metric_becomes("nauth_config_last_reload_successful", 0.0).await;
    old.write(files.path(), "one");
    nauth.metric_becomes("nauth_config_last_reload_successful", 1.0).await;
}

#[tokio::test]
async fn clients_show_a_certificate_where_an_authority_is_set() {
    let (authority, others, files) = (Authority::new(), Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let ca = authority.path();
    let config = speaking_tls(public(Config::whoami()), &certs).set("server.tls.client_ca", ca.to_str().unwrap());
    let nauth = Nauth::start(config).await;

    let known = authority.client_with(&["http/1.1"], &authority.issue(&["ada"]));
    let mut connection = Connection::open_tls(nauth.public(), known).await;
    connection.ask(&Request::get("/")).await.expect(200);
    // The refusal comes after the client's half of a TLS 1.3 handshake.
    for unknown in [authority.client(&["http/1.1"]), authority.client_with(&["http/1.1"], &others.issue(&["eve"]))] {
        let mut connection = Connection::open_tls(nauth.public(), unknown).await;
        assert!(connection.try_ask(&Request::get("/")).await.is_none());
    }
}

#[tokio::test]
async fn old_versions_are_refused() {
    let (authority, files) = (Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let config = speaking_tls(public(Config::whoami()), &certs).set("server.tls.min_version", "1.3");
    let nauth = Nauth::start(config).await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();

    let socket = TcpStream::connect(nauth.public()).await.unwrap();
    let refused = TlsConnector::from(Arc::new(old)).connect(server_name("localhost"), socket).await;

    assert!(format!("{:?}", refused.unwrap_err()).contains("ProtocolVersion"));
    Connection::open_tls(nauth.public(), authority.client(&[])).await.ask(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn browsers_are_told_to_come_by_https() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let plain = free_port();
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let config = speaking_tls(public(Config::in_front_of(&echo)), &certs)
        .listener(&format!("addr = \"127.0.0.1:{plain}\""))
        .set("server.public_url", "https://app.example.com")
        .set("server.tls.hsts", "1h")
        .set("email.provider", "smtp")
        .set("email.smtp.url", "smtp://127.0.0.1:9");
    let nauth = Nauth::start(config).await;
    let mut connection = Connection::open_tls(nauth.public(), authority.client(&[])).await;
    let ask = |path: &str| Request::get(path).header("Host", "app.example.com");

    for path in ["/", "/auth/me", "/auth/ui/login"] {
        let answer = connection.ask(&ask(path)).await;
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=3600"), "{path}: {answer}");
    }
    let unencrypted = ask("/").send_to(([127, 0, 0, 1], plain).into()).await.expect(200);
    assert!(unencrypted.header("strict-transport-security").is_none(), "{unencrypted}");
    assert_eq!(Seen::in_answer(&unencrypted).header("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn whoever_is_slow_is_let_go_at_every_step() {
    let (authority, files) = (Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let config = speaking_tls(public(Config::whoami()), &certs)
        .set("server.header_timeout", "1s")
        .set("server.keepalive_timeout", "1s");
    let nauth = Nauth::start(config).await;
    let client = authority.client(&[]);

    let mut silent = Connection::open(nauth.public()).await;
    let mut half = Connection::open(nauth.public()).await;
    half.write(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
    let mut mute = Connection::open_tls(nauth.public(), client.clone()).await;
    let mut dripping = Connection::open_tls(nauth.public(), client.clone()).await;
    dripping.write(b"GET / HTTP/1.1\r\nHost: lo").await;
    let mut idle = Connection::open_tls(nauth.public(), client).await;
    idle.ask(&Request::get("/")).await.expect(200);

    let begun = Instant::now();
    for connection in [&mut silent, &mut half, &mut mute, &mut dripping, &mut idle] {
        assert!(connection.ends_within(secs(5)).await);
    }
    assert!(begun.elapsed() < secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn refusals_reach_whoever_is_still_sending() {
    let (authority, files) = (Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let nauth = Nauth::start(speaking_tls(public(Config::whoami()), &certs)).await;

    for _ in 0..10 {
        let mut connection = Connection::open_tls(nauth.public(), authority.client(&[])).await;
        let answer = connection.ask(&Request::get("/").header("X-Long", &"x".repeat(200_000))).await;
        answer.expect_error(431, "HEADER_TOO_LARGE");
    }
    let mut plain = Connection::open(nauth.public()).await;
    assert!(plain.try_write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await);
    assert!(plain.ends_within(secs(5)).await, "no plain text on a listener that speaks TLS");
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let config = speaking_tls(Config::in_front_of(&echo).without_verification(), &certs);
    let nauth = Nauth::start(config).await;
    let mut connection = Connection::open_tls(nauth.public(), authority.client(&[])).await;
    let signup = json!({ "email": "ada@example.com", "password": PASSWORD });
    let answer = connection.ask(&Request::post("/auth/signup").json(&signup)).await.expect(201);
    let token = Account::in_answer(&answer).access_token;
    connection.send(&Request::get("/sse").bearer(&token)).await;
    assert!(connection.reads("data: 1").await);
    let mut quiet = Connection::open_tls(nauth.public(), authority.client(&[])).await;
    quiet.send(&Request::get("/sse-quiet").bearer(&token)).await;
    assert!(quiet.reads("data: 0").await);

    let mut other = Connection::open_tls(nauth.public(), authority.client(&[])).await;
    other.ask(&Request::post("/auth/logout").bearer(&token)).await;

    assert!(connection.ends_within(secs(1)).await && quiet.ends_within(secs(1)).await);
    let freed = eventually(secs(2), async || (echo.open_streams() == 0).then_some(())).await;
    assert!(freed.is_some(), "the upstream's half ends too");
}

#[tokio::test]
async fn a_socket_is_told_that_its_session_has_ended() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let config = speaking_tls(Config::in_front_of(&echo).without_verification(), &certs)
        .route("path = \"/\"\naccess = \"required\"\nwebsocket = true");
    let nauth = Nauth::start(config).await;
    let mut connection = Connection::open_tls(nauth.public(), authority.client(&[])).await;
    let signup = json!({ "email": "ada@example.com", "password": PASSWORD });
    let answer = connection.ask(&Request::post("/auth/signup").json(&signup)).await.expect(201);
    let token = Account::in_answer(&answer).access_token;
    let stream = TcpStream::connect(nauth.public()).await.unwrap();
    let connector = TlsConnector::from(authority.client(&["http/1.1"]));
    let stream = connector.connect(server_name("localhost"), stream).await.unwrap();
    let mut request = format!("wss://{}/ws", nauth.host()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    socket.send(Message::binary(vec![7; 100_000])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().len(), 100_000);

    connection.ask(&Request::post("/auth/logout").bearer(&token)).await;

    let closed = tokio::time::timeout(secs(1), socket.next()).await.unwrap().unwrap().unwrap();
    let Message::Close(Some(frame)) = closed else { panic!("{closed:?}") };
    assert_eq!(u16::from(frame.code), 4401);
}

#[tokio::test]
async fn requests_under_way_finish_at_the_end_and_idle_connections_close() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let mut nauth = Nauth::start(speaking_tls(public(Config::in_front_of(&echo)), &certs)).await;
    let client = authority.client(&[]);
    let mut idle = Connection::open_tls(nauth.public(), client.clone()).await;
    idle.ask(&Request::get("/")).await.expect(200);
    let mut opening = Connection::open(nauth.public()).await;
    let mut busy = Connection::open_tls(nauth.public(), client).await;
    busy.send(&Request::get("/slow/1000")).await;
    let arrived = eventually(secs(5), async || (echo.seen().len() == 2).then_some(())).await;
    assert!(arrived.is_some());

    nauth.signal(Signal::TERM);

    assert!(idle.ends_within(millis(800)).await && opening.ends_within(millis(800)).await);
    let answer = busy.answer().await.expect(200);
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    assert!(busy.ends_within(secs(1)).await);
    assert_eq!(nauth.finished_within(secs(5)).await.code, Some(0));
}

#[tokio::test]
async fn a_load_balancer_may_speak_before_tls_does() {
    let (echo, authority, files) = (Echo::start().await, Authority::new(), Files::new());
    let certs = json!([files.entry("one", &authority.issue(&["localhost"]))]);
    let config = public(Config::in_front_of(&echo))
        .listener("addr = \"{public}\"\ntls = true\nproxy_protocol = true")
        .set("server.tls.certs", certs)
        .set("server.trusted_proxies", vec!["127.0.0.1"]);
    let nauth = Nauth::start(config).await;

    let mut socket = TcpStream::connect(nauth.public()).await.unwrap();
    socket.write_all(b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n").await.unwrap();
    let connector = TlsConnector::from(authority.client(&[]));
    let stream = connector.connect(server_name("localhost"), socket).await.unwrap();
    let mut connection = Connection::over(stream, nauth.public().port());
    let answer = connection.ask(&Request::get("/")).await.expect(200);

    assert_eq!(Seen::in_answer(&answer).header("x-forwarded-for"), Some("203.0.113.9"));
    assert_eq!(Seen::in_answer(&answer).header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn check_says_what_is_wrong_with_certificates() {
    let (authority, files) = (Authority::new(), Files::new());
    let good = authority.issue(&["localhost"]);
    let expired = authority.issue_until(&["localhost"], 2001);
    let entry = files.entry("good", &good);
    let with = |certs: serde_json::Value| speaking_tls(public(Config::whoami()), &certs);
    let cases = [
        (public(Config::whoami()).listener("addr = \"{public}\"\ntls = true"), 2, "there is no certificate"),
        (with(json!([{ "cert": "gone.crt", "key": "gone.key" }])), 2, "gone.crt` cannot be read"),
        (with(json!([{ "cert": "x.crt" }])), 2, "`key` is missing"),
        (with(json!([entry, entry])), 2, "`localhost` has another certificate already"),
        (with(json!([files.entry("expired", &expired)])), 0, "the certificate expired at 2001-01-01"),
        (with(json!([entry])).set("server.tls.client_ca", "gone.pem"), 2, "gone.pem` cannot be read"),
        (with(json!([entry])).set("server.tls.min_version", "1.1"), 2, "1.1"),
        (with(json!([entry])).set("server.public_url", "http://localhost"), 0, "every listener speaks TLS"),
        (
            public(Config::whoami()).set("server.tls.certs", json!([entry])).listener("addr = \"{public}\""),
            0,
            "no listener speaks TLS",
        ),
        (
            with(json!([entry])).listener("addr = \"127.0.0.1:1\"\ntls = true\nredirect_https = true"),
            2,
            "no other https",
        ),
    ];
    let nauth = Nauth::start(Config::whoami()).await;

    for (config, code, expected) in cases {
        std::fs::write(nauth.data_dir().join("other.toml"), config.listen(nauth.public()).to_toml()).unwrap();
        let checked = nauth.command(&["check", "--config", "data/other.toml"]).await.expect(code).says(expected);
        assert!(checked.output.contains("other.toml:"), "{}", checked.output);
    }
}
