//! Behind a load balancer that says whose connection it passes on.

use super::support::{Answer, Config, Connection, Echo, Nauth, Request, Seen, millis, secs, send_raw};

const NAMED: &str = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n";

fn behind_a_balancer(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .route("path = \"/\"\naccess = \"public\"")
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .listener("addr = \"{public}\"\nproxy_protocol = true")
}

fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, payload].concat()
}

async fn ask(nauth: &Nauth, header: &[u8], request: &Request) -> Option<Answer> {
    send_raw(nauth.public(), [header, &request.to_bytes(&nauth.host())].concat()).await
}

fn forwarded_for(answer: &Answer) -> String {
    Seen::in_answer(answer).header("x-forwarded-for").unwrap().to_owned()
}

#[tokio::test]
async fn the_client_is_whom_the_header_names() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(behind_a_balancer(&echo)).await;
    let ipv6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 20]].concat();
    let ipv4 = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 1, 187, 4, 0, 1, 0];
    let cases: [(Vec<u8>, &str); 6] = [
        (NAMED.into(), "203.0.113.9"),
        (binary(1, 0x11, &ipv4), "203.0.113.9"),
        (binary(1, 0x21, &ipv6), "2001:db8::1"),
        (binary(0, 0, &[]), "127.0.0.1"),
        (binary(1, 0, &[]), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ];

    for (header, client) in cases {
        let answer = ask(&nauth, &header, &Request::get("/")).await.unwrap().expect(200);
        assert_eq!(forwarded_for(&answer), client, "{}", header.escape_ascii());
    }
    // The log hides the last part of an address.
    assert!(nauth.output().contains("client.ip=\"203.0.113.0\""), "{}", nauth.output());
}

#[tokio::test]
async fn forwarding_headers_of_the_named_client_are_not_believed() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(behind_a_balancer(&echo)).await;
    let request = Request::get("/").header("X-Forwarded-For", "192.0.2.66").header("X-Forwarded-Proto", "https");

    let answer = ask(&nauth, NAMED.as_bytes(), &request).await.unwrap().expect(200);

    assert_eq!(forwarded_for(&answer), "203.0.113.9");
    assert_eq!(Seen::in_answer(&answer).header("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn the_header_may_come_in_pieces() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(behind_a_balancer(&echo)).await;
    let mut connection = Connection::open(nauth.public()).await;

    for piece in NAMED.as_bytes().chunks(7) {
        connection.write(piece).await;
        tokio::time::sleep(millis(10)).await;
    }
    let answer = connection.ask(&Request::get("/")).await.expect(200);

    assert_eq!(forwarded_for(&answer), "203.0.113.9");
    connection.ask(&Request::get("/again")).await.expect(200);
}

#[tokio::test]
async fn without_a_good_header_the_connection_ends() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(behind_a_balancer(&echo).set("server.header_timeout", "1s")).await;

    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"PROXY TCP4 nonsense\r\n", &[0x16, 3, 1]] {
        let mut connection = Connection::open(nauth.public()).await;
        connection.write(bytes).await;
        assert!(connection.ends_within(secs(5)).await, "{}", bytes.escape_ascii());
    }
    let mut slow = Connection::open(nauth.public()).await;
    slow.write(b"PROXY TCP4 203.").await;
    assert!(slow.ends_within(secs(5)).await, "a header has as long as a request head");
    assert!(echo.seen().is_empty());
}

#[tokio::test]
async fn only_trusted_proxies_may_write_one() {
    let echo = Echo::start().await;
    let config = behind_a_balancer(&echo).set("server.trusted_proxies", vec!["192.0.2.1"]);
    let nauth = Nauth::start(config).await;

    assert!(ask(&nauth, NAMED.as_bytes(), &Request::get("/")).await.is_none());
    assert!(echo.seen().is_empty());
}

#[tokio::test]
async fn where_anybody_may_write_one_check_says_so() {
    let echo = Echo::start().await;
    let config = behind_a_balancer(&echo).set("server.trusted_proxies", Vec::<String>::new());
    let nauth = Nauth::start(config).await;

    let checked = nauth.command(&["check"]).await.expect(0);

    assert!(checked.output.contains("everybody who can connect may name any address"), "{}", checked.output);
    let answer = ask(&nauth, NAMED.as_bytes(), &Request::get("/")).await.unwrap().expect(200);
    assert_eq!(forwarded_for(&answer), "203.0.113.9");
}

#[tokio::test]
async fn the_named_address_has_its_own_number_of_connections() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(behind_a_balancer(&echo).set("server.max_connections_per_ip", 1)).await;
    let open = async |address: &str| {
        let mut connection = Connection::open(nauth.public()).await;
        connection.write(format!("PROXY TCP4 {address} 10.0.0.1 4711 443\r\n").as_bytes()).await;
        connection
    };

    let mut first = open("203.0.113.9").await;
    first.ask(&Request::get("/")).await.expect(200);
    let mut second = open("203.0.113.9").await;
    let mut neighbour = open("203.0.113.10").await;

    assert!(second.ends_within(secs(5)).await);
    neighbour.ask(&Request::get("/")).await.expect(200);
}
