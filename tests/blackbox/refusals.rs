//! What a client is told when its request comes to nothing, in the form that it reads.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, Config, Connection, Echo, Http2, Nauth, Request, free_port, millis, secs};

const NAVIGATION: [(&str, &str); 2] = [("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html,*/*;q=0.8")];

fn navigation(target: &str) -> Request {
    NAVIGATION.iter().fold(Request::get(target), |request, (name, value)| request.header(name, value))
}

fn call(target: &str) -> Request {
    Request::post(target).header("Content-Type", "application/grpc+proto").header("TE", "trailers")
}

/// A route for each way in which a request can come to nothing.
fn config(echo: &Echo, dead: &str) -> Config {
    let dead = format!("[[upstreams]]\nname = \"dead\"\ntargets = [\"{dead}\"]\nretries = 0");
    let to_dead = |path: &str| format!("[[routes]]\npath = \"{path}\"\nupstream = \"dead\"\naccess = \"public\"");
    Config::in_front_of(echo)
        .without_verification()
        .route("path = \"/slow\"\naccess = \"public\"\ntimeout = \"200ms\"")
        .route("path = \"/elsewhere\"\naccess = \"public\"\nallow_ips = [\"192.0.2.1\"]")
        .route("path = \"/few\"\naccess = \"public\"\nrate_limit = { max = 1, window = \"1h\", key = \"ip\" }")
        .route("path = \"/private\"\naccess = \"required\"\non_unauthenticated = \"401\"")
        .route("path = \"/reading\"\naccess = \"public\"\nmethods = [\"GET\"]")
        .route("path = \"/open\"\naccess = \"public\"")
        .table(&dead)
        .table(&to_dead("/dead"))
        .table(&to_dead("/api/dead"))
}

#[track_caller]
fn assert_page(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{answer}");
    assert_eq!(answer.header("x-nauth-intercepted"), Some("1"), "{answer}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{answer}");
    let (page, id) = (answer.text(), answer.header("x-request-id").unwrap());
    assert!(page.contains(words) && page.contains(id) && page.contains(&status.to_string()), "{page}");
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("127.0.0.1"), "{page}");
}

#[tokio::test]
async fn whoever_looks_at_a_screen_gets_a_page() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, &format!("http://127.0.0.1:{}", free_port()))).await;

    assert_page(&nauth.send(&navigation("/nothing")).await, 404, "There is nothing here");
    assert_page(&nauth.send(&navigation("/elsewhere")).await, 403, "You may not see this");
    assert_page(&nauth.send(&navigation("/dead")).await, 502, "out of reach");
    assert_page(&nauth.send(&navigation("/slow/5000")).await, 504, "takes too long");
    nauth.send(&navigation("/few")).await.expect(200);
    let limited = nauth.send(&navigation("/few")).await;
    assert_page(&limited, 429, "Too many requests");
    assert!(limited.header("retry-after").is_some(), "{limited}");

    let style = nauth.send(&Request::get("/auth/ui/style.css")).await.expect(200);
    assert!(style.text().contains("prefers-color-scheme"));
}

#[tokio::test]
async fn programs_get_json_wherever_they_ask() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, &format!("http://127.0.0.1:{}", free_port()))).await;
    let fetch = Request::get("/dead").header("Sec-Fetch-Mode", "cors").header("Accept", "text/html");

    nauth.send(&fetch).await.expect_error(502, "BAD_GATEWAY");
    nauth.send(&Request::get("/dead").header("Accept", "*/*")).await.expect_error(502, "BAD_GATEWAY");
    nauth.send(&navigation("/api/dead")).await.expect_error(502, "BAD_GATEWAY");
    nauth.send(&navigation("/auth/nothing")).await.expect_error(404, "RESOURCE_NOT_FOUND");
    let unknown = nauth.send(&navigation("/private")).await.expect_error(401, "AUTH_TOKEN_INVALID");
    assert!(unknown.header("www-authenticate").is_some(), "{unknown}");
}

#[tokio::test]
async fn where_nobody_logs_in_by_a_page_refusals_still_have_their_style() {
    let echo = Echo::start().await;
    let config = config(&echo, "http://127.0.0.1:1").set("token_delivery.method", "json");
    let nauth = Nauth::start(config).await;

    assert_page(&nauth.send(&navigation("/nothing")).await, 404, "There is nothing here");
    nauth.send(&Request::get("/auth/ui/style.css")).await.expect(200);
    nauth.send(&Request::get("/auth/ui/login")).await.expect(404);
}

#[tokio::test]
async fn a_call_is_refused_in_the_words_of_grpc() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, &format!("http://127.0.0.1:{}", free_port()))).await;
    nauth.send(&call("/few")).await.expect(200);
    let cases = [
        ("/private", "16"),
        ("/elsewhere", "7"),
        ("/nothing", "12"),
        ("/reading", "12"),
        ("/few", "8"),
        ("/dead", "14"),
        ("/slow/5000", "4"),
    ];
    for (path, code) in cases {
        let answer = nauth.send(&call(path)).await.expect(200);
        assert_eq!(answer.header("grpc-status"), Some(code), "{path}: {answer}");
        assert!(answer.header("grpc-message").is_some_and(|message| !message.is_empty()), "{path}: {answer}");
        assert_eq!(answer.header("content-type"), Some("application/grpc+proto"), "{path}: {answer}");
        assert_eq!(answer.header("x-nauth-intercepted"), Some("1"), "{path}: {answer}");
        assert!(answer.body.is_empty(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_refused_call_ends_with_its_head() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).listener("addr = \"{public}\"\nhttp2 = true");
    let nauth = Nauth::start(config).await;
    let mut client = Http2::open(nauth.public()).await;

    let refused = client.stream(&call("/app.Service/Method").body("\0\0\0\0\0")).await.unwrap();

    assert_eq!((refused.head.status().as_u16(), &refused.head.headers()["grpc-status"]), (200, &"16".parse().unwrap()));
    assert!(refused.body.is_end_stream(), "what a client waits for is all there");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_not_read_to_its_end() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).route("path = \"/\"\naccess = \"public\"\nmax_body = \"64KiB\"");
    let nauth = Nauth::start(config).await;
    let host = nauth.host();

    let mut announced = Connection::open(nauth.public()).await;
    announced.write(format!("POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n").as_bytes()).await;
    announced.answer().await.expect_error(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(echo.seen().len(), 0, "what is announced is refused before anybody is asked");

    let mut chunked = Connection::open(nauth.public()).await;
    chunked.write(format!("POST /b HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    for _ in 0..5 {
        chunked.try_write(&chunk).await;
    }
    chunked.answer().await.expect_error(413, "PAYLOAD_TOO_LARGE");
    assert!(echo.body_bytes() <= 64 << 10, "{}", echo.body_bytes());
}

#[tokio::test]
async fn a_client_that_is_still_sending_is_not_cut_off_from_its_refusal() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, &format!("http://127.0.0.1:{}", free_port()))).await;
    for path in ["/private", "/nothing", "/dead"] {
        let mut socket = tokio::net::TcpStream::connect(nauth.public()).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 200000\r\n\r\n", nauth.host());
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.readable().await.unwrap();

        for _ in 0..20 {
            socket.write_all(&[b'x'; 10_000]).await.unwrap_or_else(|error| panic!("{path}: {error}"));
            tokio::time::sleep(millis(2)).await;
        }

        let mut answer = String::new();
        let ended = tokio::time::timeout(secs(5), socket.read_to_string(&mut answer)).await.expect("it ends");
        assert!(ended.is_ok() && answer.ends_with('}'), "{path}: {ended:?} {answer}");
    }
}
