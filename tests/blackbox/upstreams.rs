//! Upstreams: which target gets a request, what happens when one fails, and what is spoken with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Authority, Config, Connection, Echo, Nauth, Request, Secure, Spoken, eventually, free_port, millis, secs,
};

const OPEN: &str = "path = \"/\"\naccess = \"public\"";

fn in_front_of(targets: &[&str]) -> Config {
    Config::whoami().targets(targets).route(OPEN)
}

async fn ask(nauth: &Nauth, times: usize) {
    for _ in 0..times {
        nauth.send(&Request::get("/")).await.expect(200);
    }
}

#[tokio::test]
async fn a_target_gets_its_share_by_weight() {
    let (heavy, light) = (Echo::start().await, Echo::start().await);
    let targets = format!("[{{ url = \"{}\", weight = 3 }}, \"{}\"]", heavy.url(), light.url());
    let nauth = Nauth::start(Config::whoami().targets_as(&targets).route(OPEN)).await;

    ask(&nauth, 8).await;

    assert_eq!((heavy.seen().len(), light.seen().len()), (6, 2));
}

#[tokio::test]
async fn the_least_busy_target_is_next() {
    let echoes = [Echo::start().await, Echo::start().await];
    let config = in_front_of(&[&echoes[0].url(), &echoes[1].url()]).upstream("balance = \"least_conn\"");
    let nauth = Nauth::start(config).await;

    let mut open = Connection::open(nauth.public()).await;
    open.send(&Request::get("/sse-quiet")).await;
    open.head().await;
    let busy = usize::from(echoes[1].open_streams() == 1);
    for _ in 0..4 {
        ask(&nauth, 1).await;
        // A request is over a moment after its client has the answer.
        nauth.metric_becomes("nauth_http_requests_in_flight", 1.0).await;
    }
    assert_eq!(echoes[busy].seen().len(), 1, "as long as the stream is open");

    drop(open);
    let used_again = eventually(secs(5), async || {
        ask(&nauth, 1).await;
        (echoes[busy].seen().len() > 1).then_some(())
    });
    assert!(used_again.await.is_some());
}

#[tokio::test]
async fn a_key_sticks_to_its_target_until_that_is_gone() {
    let mut echoes = vec![Echo::start().await, Echo::start().await, Echo::start().await];
    let urls: Vec<String> = echoes.iter().map(Echo::url).collect();
    let config = in_front_of(&urls.iter().map(String::as_str).collect::<Vec<_>>())
        .upstream("balance = \"hash\"\nhash_on = \"header:X-Tenant\"");
    let nauth = Nauth::start(config).await;
    let tenants: Vec<String> = (0..48).map(|number| format!("tenant-{number}")).collect();
    let ask = async |tenant: &str| {
        let answer = nauth.send(&Request::get("/where").header("X-Tenant", tenant)).await.expect(200);
        // The upstream is seen by what it describes, and known by whom it counts.
        answer.status
    };

    for tenant in &tenants {
        for _ in 0..3 {
            ask(tenant).await;
        }
    }
    let of = |echo: &Echo| -> Vec<String> {
        let mut tenants: Vec<String> =
            echo.seen().iter().filter_map(|seen| seen.header("X-Tenant").map(str::to_owned)).collect();
        assert_eq!(tenants.len() % 3, 0, "a tenant was sent to two targets");
        tenants.dedup();
        tenants
    };
    let before: Vec<Vec<String>> = echoes.iter().map(of).collect();
    assert!(before.iter().all(|tenants| !tenants.is_empty()), "{before:?}");

    drop(echoes.remove(0));
    for tenant in &before[1] {
        ask(tenant).await;
    }
    assert_eq!(echoes[0].seen().len(), before[1].len() * 4, "whoever was elsewhere stays there");
    for tenant in &before[0] {
        ask(tenant).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_may_be_repeated_fails_when_a_target_dies() {
    let mut echoes = vec![Echo::start().await, Echo::start().await, Echo::start().await];
    let urls: Vec<String> = echoes.iter().map(Echo::url).collect();
    let config = in_front_of(&urls.iter().map(String::as_str).collect::<Vec<_>>())
        .upstream("retries = 2")
        .set("server.keepalive_requests", 1_000_000);
    let nauth = Nauth::start(config).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served, public) = (stop.clone(), served.clone(), nauth.public());
            tokio::spawn(async move {
                let mut connection = Connection::open(public).await;
                while !stop.load(Ordering::Relaxed) {
                    connection.ask(&Request::get("/slow/5")).await.expect(200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let serves = async |more: usize| {
        let until = served.load(Ordering::Relaxed) + more;
        let reached = eventually(secs(20), async || (served.load(Ordering::Relaxed) >= until).then_some(())).await;
        assert!(reached.is_some(), "only {} requests", served.load(Ordering::Relaxed));
    };

    serves(200).await;
    drop(echoes.remove(1));
    serves(400).await;
    stop.store(true, Ordering::Relaxed);

    for client in clients {
        client.await.unwrap();
    }
    assert!(nauth.metric("nauth_upstream_retries_total", &["succeeded"]).await > 0.0);
}

#[tokio::test]
async fn what_may_have_reached_a_target_is_not_sent_again() {
    let echoes = [Echo::start().await, Echo::start().await];
    let nauth = Nauth::start(in_front_of(&[&echoes[0].url(), &echoes[1].url()])).await;
    let seen = || echoes.iter().map(|echo| echo.seen().len()).sum::<usize>();

    nauth.send(&Request::post("/close").body("once")).await.expect_error(502, "BAD_GATEWAY");
    assert_eq!(seen(), 1, "a POST is sent once");

    nauth.send(&Request::get("/close")).await.expect_error(502, "BAD_GATEWAY");
    assert_eq!(seen(), 3, "a GET as often as `retries` says");

    let large = Request::new("PUT", "/close").body(vec![b'x'; 200_000]);
    nauth.send(&large).await.expect_error(502, "BAD_GATEWAY");
    assert_eq!(seen(), 4, "a body that was not kept cannot be sent again");

    nauth.send(&Request::new("PUT", "/close").body("kept")).await.expect_error(502, "BAD_GATEWAY");
    assert_eq!(seen(), 6);
}

#[tokio::test]
async fn what_an_http_2_target_has_not_looked_at_is_sent_again() {
    let target = Secure::h2c().await;
    let nauth = Nauth::start(in_front_of(&[&target.url("h2c")])).await;

    let answer = nauth.send(&Request::post("/refused").body("once")).await.expect(200).json();

    assert_eq!((answer["received"].as_u64(), target.asked_for("/refused")), (Some(4), 2));
}

#[tokio::test]
async fn a_request_that_reached_nobody_is_sent_to_another_target_whatever_it_is() {
    let echo = Echo::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let nauth = Nauth::start(in_front_of(&[&dead, &echo.url()])).await;

    for _ in 0..4 {
        let answer = nauth.send(&Request::post("/").body("the whole body")).await.expect(200);
        assert_eq!(answer.json()["body"], "the whole body");
    }
}

#[tokio::test]
async fn a_target_that_fails_is_left_out_until_it_answers_again() {
    let echo = Echo::start().await;
    let port = free_port();
    let dead = format!("http://127.0.0.1:{port}");
    let nauth = Nauth::start(in_front_of(&[&dead, &echo.url()])).await;
    let healthy = async || nauth.metric("nauth_upstream_healthy", &[&format!("endpoint=\"{dead}\"")]).await;
    assert!((healthy().await - 1.0).abs() < f64::EPSILON);

    ask(&nauth, 6).await;
    assert!(healthy().await.abs() < f64::EPSILON, "{}", nauth.output());
    assert!((nauth.metric("nauth_upstream_connect_errors_total", &["refused"]).await - 3.0).abs() < f64::EPSILON);

    let revived = Echo::start_on(port).await;
    let used = eventually(secs(10), async || {
        ask(&nauth, 2).await;
        (!revived.seen().is_empty()).then_some(())
    });
    assert!(used.await.is_some());
    assert!((healthy().await - 1.0).abs() < f64::EPSILON);
    nauth.writes("target answers again").await;
}

#[tokio::test]
async fn a_reload_takes_removed_targets_out_of_the_metrics() {
    let (one, other) = (Echo::start().await, Echo::start().await);
    let nauth = Nauth::start(in_front_of(&[&one.url(), &other.url()]).set("reload.debounce", "100ms")).await;
    let label = format!("endpoint=\"{}\"", other.url());
    assert!(nauth.metric("nauth_upstream_healthy", &[&label]).await > 0.0);

    nauth.reconfigure(&in_front_of(&[&one.url()]).set("reload.debounce", "100ms"));

    let gone = eventually(secs(5), async || {
        let text = nauth.manage(&Request::get("/metrics")).await.text();
        (!text.contains(&label)).then_some(())
    });
    assert!(gone.await.is_some());
    nauth.writes("settings reloaded").await;
    ask(&nauth, 4).await;
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn a_name_leads_to_whichever_of_its_addresses_listens() {
    let echo = Echo::start().await;
    let target = format!("http://localhost:{}", echo.address().port());
    let nauth = Nauth::start(in_front_of(&[&target]).upstream("retries = 0")).await;

    ask(&nauth, 6).await;
}

fn tls(authority: &Authority, more: &str) -> String {
    format!("tls = {{ ca = \"{}\"{more} }}", authority.path().display())
}

#[tokio::test]
async fn http_2_is_spoken_with_targets_that_do() {
    let authority = Authority::new();
    let (both, old, clear) = tokio::join!(
        Secure::tls(Spoken::Https, &authority, "localhost", None),
        Secure::tls(Spoken::Https1, &authority, "localhost", None),
        Secure::h2c(),
    );
    let cases = [(both.url("https"), "HTTP/2"), (old.url("https"), "HTTP/1.1"), (clear.url("h2c"), "HTTP/2")];
    for (url, protocol) in cases {
        let nauth = Nauth::start(in_front_of(&[&url]).upstream(&tls(&authority, ""))).await;

        let first = nauth.send(&Request::get("/a?b=c").header("Host", "localhost")).await.expect(200).json();

        assert_eq!((&first["protocol"], &first["authority"]), (&protocol.into(), &"localhost".into()), "{url}");
        // It is put back a moment after the client has its answer.
        let kept = eventually(secs(5), async || {
            let answer = nauth.send(&Request::get("/")).await.expect(200).json();
            (answer["connection"] == first["connection"]).then_some(())
        });
        assert!(kept.await.is_some(), "connections are kept: {url}");
        if protocol == "HTTP/2" {
            let body = vec![b'x'; 300_000];
            let answer = nauth.send(&Request::post("/up").body(body)).await.expect(200).json();
            assert_eq!(answer["received"], 300_000);
        }
    }
}

#[tokio::test]
async fn a_target_must_prove_its_name_by_the_authority_of_the_upstream() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let target = Secure::tls(Spoken::Https, &authority, "app.internal", None).await;
    let url = target.url("https");
    let cases = [
        ("the name is another one", tls(&authority, ""), 502),
        ("the name is the one named", tls(&authority, ", sni = \"app.internal\""), 200),
        ("nobody knows the authority", tls(&stranger, ", sni = \"app.internal\""), 502),
        ("the system does not know it", "tls = { sni = \"app.internal\" }".to_owned(), 502),
        ("nobody asks", "tls = { verify = false }".to_owned(), 200),
    ];
    for (case, lines, status) in cases {
        let nauth = Nauth::start(in_front_of(&[&url]).upstream(&lines)).await;
        let answer = nauth.send(&Request::get("/")).await;
        assert_eq!(answer.status, status, "{case}: {answer}");
    }
}

#[tokio::test]
async fn nauth_shows_its_certificate_and_a_reload_takes_up_another_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let target = Secure::tls(Spoken::Https, &authority, "localhost", Some(&clients)).await;
    let (certificate, key) = clients.sign("nauth");
    let own = format!(", client_cert = \"{}\", client_key = \"{}\"", certificate.display(), key.display());
    let config = |more: &str| in_front_of(&[&target.url("https")]).upstream(&tls(&authority, more));

    let unknown = Nauth::start(config("")).await;
    unknown.send(&Request::get("/")).await.expect_error(502, "BAD_GATEWAY");

    let nauth = Nauth::start(config(&own).set("reload.debounce", "100ms")).await;
    let connection = async || nauth.send(&Request::get("/")).await.expect(200).json()["connection"].clone();
    let seen = nauth.send(&Request::get("/")).await.expect(200).json();
    assert_eq!(seen["clientCertificates"], 1);

    std::fs::write(&key, "no key at all").unwrap();
    nauth.metric_becomes("nauth_config_last_reload_successful", 0.0).await;
    nauth.writes("holds no private key").await;
    assert_eq!(connection().await, seen["connection"], "what was in force stays");

    clients.sign("nauth");
    let is_shown = eventually(secs(10), async || (connection().await != seen["connection"]).then_some(()));
    assert!(is_shown.await.is_some(), "the new one is shown on a new connection");
    nauth.metric_becomes("nauth_config_last_reload_successful", 1.0).await;
}

#[tokio::test]
async fn a_websocket_passes_to_a_target_behind_tls() {
    let authority = Authority::new();
    let target = Secure::tls(Spoken::Https, &authority, "localhost", None).await;
    let config = Config::whoami()
        .targets(&[&target.url("https")])
        .upstream(&tls(&authority, ""))
        .route(&format!("{OPEN}\nwebsocket = true"));
    let nauth = Nauth::start(config).await;

    let stream = tokio::net::TcpStream::connect(nauth.public()).await.unwrap();
    let (mut socket, _) = client_async(format!("ws://{}/ws", nauth.host()), stream).await.unwrap();
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }

    nauth.send(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_errors_of_the_configuration() {
    let authority = Authority::new();
    let (certificate, _) = authority.sign("nauth");
    let (_, other_key) = authority.sign("other");
    let certificate = certificate.display();
    let cases = [
        ("tls = { ca = \"gone.pem\" }".to_owned(), "gone.pem` cannot be read"),
        (format!("tls = {{ client_cert = \"{certificate}\" }}"), "needs a `client_key`"),
        (
            format!("tls = {{ client_cert = \"{certificate}\", client_key = \"{}\" }}", other_key.display()),
            "is not the key of the certificate",
        ),
        ("tls = { sni = \"no name\" }".to_owned(), "is not a host name"),
        ("balance = \"fair\"".to_owned(), "`fair` is not one of"),
        ("balance = \"hash\"\nhash_on = \"path\"".to_owned(), "`path` is none of"),
    ];
    for (lines, expected) in cases {
        let config = in_front_of(&["https://localhost:1"]).upstream(&lines);
        let refused = Nauth::start_refused(config).await.expect(2);
        let refused = refused.says(expected);
        assert!(refused.output.contains("nauth.toml:"), "{}", refused.output);
    }
}

#[tokio::test]
async fn a_slow_handshake_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let nauth = Nauth::start(in_front_of(&[&url]).upstream("connect_timeout = \"300ms\"\nretries = 0")).await;
    let began = std::time::Instant::now();

    nauth.send(&Request::get("/")).await.expect_error(502, "BAD_GATEWAY");

    assert!(began.elapsed() < secs(5), "{:?}", began.elapsed());
    assert!(nauth.metric("nauth_upstream_connect_errors_total", &["timeout"]).await > 0.0);
}

/// `/healthz` of an [`Echo`] is answered with 200 as everything else is.
fn checked(path: &str) -> String {
    format!(
        "health = {{ type = \"http\", path = \"{path}\", interval = \"100ms\", timeout = \"500ms\", unhealthy = 2 }}"
    )
}

async fn stands(nauth: &Nauth, url: &str, healthy: bool) {
    let label = format!("endpoint=\"{url}\"");
    let wanted = f64::from(u8::from(healthy));
    let reached = eventually(secs(10), async || {
        let now = nauth.metric("nauth_upstream_healthy", &[&label]).await;
        ((now - wanted).abs() < f64::EPSILON).then_some(())
    });
    assert!(reached.await.is_some(), "{url} is not {wanted}:\n{}", nauth.output());
}

#[tokio::test]
async fn a_target_that_is_not_well_is_left_out_before_anybody_notices() {
    let port = free_port();
    let (steady, flaky) = (Echo::start().await, Echo::start_on(port).await);
    let url = flaky.url();
    let config = in_front_of(&[&steady.url(), &url]).upstream(&checked("/healthz")).upstream("retries = 0");
    let nauth = Nauth::start(config).await;
    ask(&nauth, 2).await;

    drop(flaky);
    stands(&nauth, &url, false).await;
    nauth.writes("target is not well").await;
    ask(&nauth, 6).await;

    let revived = Echo::start_on(port).await;
    stands(&nauth, &url, true).await;
    nauth.writes("target is well again").await;
    let served = eventually(secs(5), async || {
        ask(&nauth, 2).await;
        revived.seen().iter().any(|seen| seen.target == "/").then_some(())
    });
    assert!(served.await.is_some());
    let check = revived.seen().into_iter().find(|seen| seen.target == "/healthz").unwrap();
    assert_eq!(check.header("host"), Some(format!("127.0.0.1:{port}").as_str()));
    assert!(check.header("user-agent").is_some_and(|agent| agent.starts_with("nauth/")));
}

#[tokio::test]
async fn what_a_target_answers_decides_and_when_none_is_well_all_are_tried() {
    let (one, other) = (Echo::start().await, Echo::start().await);
    let config = in_front_of(&[&one.url(), &other.url()]).upstream(&checked("/status/503"));
    let nauth = Nauth::start(config).await;

    stands(&nauth, &one.url(), false).await;
    stands(&nauth, &other.url(), false).await;

    nauth.writes("status 503, not 200").await;
    ask(&nauth, 4).await;
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_an_upstream_that_did_not_change() {
    let (well, ill) = (Echo::start().await, format!("http://127.0.0.1:{}", free_port()));
    let check = "health = { type = \"tcp\", interval = \"1h\", unhealthy = 1 }";
    let config = in_front_of(&[&well.url(), &ill]).upstream(check).set("reload.debounce", "100ms");
    let nauth = Nauth::start(config.clone()).await;
    stands(&nauth, &ill, false).await;

    nauth.reconfigure(&config.clone().set("log.access_log", false));
    nauth.writes("settings reloaded").await;
    stands(&nauth, &ill, false).await;

    let patient = check.replace("unhealthy = 1", "unhealthy = 2");
    nauth.reconfigure(&in_front_of(&[&well.url(), &ill]).upstream(&patient));
    stands(&nauth, &ill, true).await;
}

#[tokio::test]
async fn targets_that_speak_http_2_or_tls_are_asked_in_it() {
    let authority = Authority::new();
    let (both, clear) = tokio::join!(Secure::tls(Spoken::Https, &authority, "localhost", None), Secure::h2c());
    let stranger = Secure::tls(Spoken::Https, &Authority::new(), "localhost", None).await;
    let (good, bad) = (both.url("https"), stranger.url("https"));
    let config =
        in_front_of(&[&good, &clear.url("h2c"), &bad]).upstream(&tls(&authority, "")).upstream(&checked("/healthz"));
    let nauth = Nauth::start(config).await;

    stands(&nauth, &bad, false).await;
    let asked =
        eventually(secs(5), async || (both.asked_for("/healthz") > 2 && clear.asked_for("/healthz") > 2).then_some(()));
    assert!(asked.await.is_some());
    stands(&nauth, &good, true).await;
    stands(&nauth, &clear.url("h2c"), true).await;
    ask(&nauth, 6).await;
}

#[tokio::test]
async fn whoever_finds_no_room_waits_for_a_while_and_is_then_told_when_to_come_back() {
    let echo = Echo::start().await;
    let config = in_front_of(&[&echo.url()]).upstream("max_connections = 1\nconnect_timeout = \"1s\"");
    let nauth = Nauth::start(config).await;
    let mut open = Connection::open(nauth.public()).await;
    open.send(&Request::get("/sse-quiet")).await;
    open.head().await;
    assert!((nauth.metric("nauth_upstream_breaker_open", &["upstream=\"app\""]).await - 1.0).abs() < f64::EPSILON);

    let (first, second) = (Request::get("/"), Request::get("/"));
    let (one, other) = tokio::join!(nauth.send(&first), nauth.send(&second));
    for answer in [one, other] {
        let answer = answer.expect_error(503, "SERVICE_UNAVAILABLE");
        assert!(answer.header("retry-after").is_some(), "{answer}");
    }
    assert_eq!(echo.seen().len(), 1);

    let (waiting, ()) = tokio::join!(nauth.send(&first), async {
        tokio::time::sleep(millis(100)).await;
        drop(open);
    });
    waiting.expect(200);
    nauth.metric_becomes("nauth_upstream_breaker_open", 0.0).await;
}

#[tokio::test]
async fn a_target_that_stalls_is_given_up_in_every_phase() {
    let echo = Echo::start().await;
    let lines = "connect_timeout = \"300ms\"\nread_timeout = \"400ms\"\nwrite_timeout = \"400ms\"\nretries = 0";
    let config = Config::in_front_of(&echo)
        .upstream(lines)
        .route("path = \"/slow\"\naccess = \"public\"\ntimeout = \"300ms\"")
        .route("path = \"/\"\naccess = \"public\"\ntimeout = \"400ms\"\nmax_body = \"1GiB\"");
    let nauth = Nauth::start(config).await;
    let began = std::time::Instant::now();

    nauth.send(&Request::get("/slow/20000")).await.expect_error(504, "GATEWAY_TIMEOUT");

    let mut connection = Connection::open(nauth.public()).await;
    connection.send(&Request::get("/stall/1000")).await;
    assert_eq!(connection.head().await.status, 200);
    assert!(connection.ends_within(secs(5)).await, "a body that stalls ends, and not as if it were whole");

    let mut upload = Connection::open(nauth.public()).await;
    let head = format!("POST /unread HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000000\r\n\r\n", nauth.host());
    upload.write(head.as_bytes()).await;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        if !upload.try_write(&piece).await {
            break;
        }
    }
    assert!(upload.ends_within(secs(5)).await);

    assert!(began.elapsed() < secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_silence_is_as_long_as_configured_once_the_head_is_there() {
    let echo = Echo::start().await;
    let lines = "read_timeout = \"500ms\"\nretries = 0";
    let route = "path = \"/\"\naccess = \"public\"\ntimeout = \"20s\"";
    let nauth = Nauth::start(Config::in_front_of(&echo).upstream(lines).route(route)).await;

    nauth.send(&Request::get("/slow/1500")).await.expect(200);
    let mut events = Connection::open(nauth.public()).await;
    events.send(&Request::get("/sse")).await;
    assert!(events.reads("data: 20\n\n").await, "what moves goes on");

    let mut stalled = Connection::open(nauth.public()).await;
    stalled.send(&Request::get("/stall/1000")).await;
    assert_eq!(stalled.head().await.status, 200);
    assert!(stalled.ends_within(secs(2)).await, "a body that stalls ends");

    let mut patient = Connection::open(nauth.public()).await;
    patient.send(&Request::get("/big/30000000")).await;
    assert_eq!(patient.head().await.status, 200);
    tokio::time::sleep(secs(2)).await;
    let mut received = 0;
    while received < 30_000_000 {
        let piece = patient.piece().await.len();
        assert!(piece > 0, "cut after {received} bytes: it was the client who was slow");
        received += piece;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let authority = Authority::new();
    let target = Secure::tls(Spoken::Https1, &authority, "localhost", None).await;
    let config =
        in_front_of(&[&target.url("https")]).upstream(&tls(&authority, "")).upstream("idle_timeout = \"300ms\"");
    let nauth = Nauth::start(config).await;
    let connection = async || nauth.send(&Request::get("/")).await.expect(200).json()["connection"].clone();

    let first = connection().await;
    tokio::time::sleep(millis(1500)).await;
    assert_ne!(connection().await, first);
}
