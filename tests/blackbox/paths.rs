//! One path, one meaning: what is matched is what is forwarded, and what is ambiguous is refused.

use crate::support::{Config, Connection, Echo, Nauth, Request, Seen, eventually, secs, send_raw};

/// `/admin` needs a login, everything else is open: the prize is an open request that an upstream
/// reads as `/admin`.
fn guarded_admin(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .route("path = \"/admin\"\naccess = \"required\"")
        .route("path = \"/\"\naccess = \"public\"")
}

async fn line(nauth: &Nauth, request_line: &str) -> Option<crate::support::Answer> {
    send_raw(nauth.public(), format!("{request_line}\r\nHost: {}\r\nConnection: close\r\n\r\n", nauth.host())).await
}

#[tokio::test]
async fn ambiguous_paths_are_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let targets = [
        "/public/../admin",
        "/./admin",
        "/public/..",
        "/..",
        "/.",
        "/public/%2e%2e/admin",
        "/public/%2E%2e/admin",
        "/public/.%2e/admin",
        "/%2e/admin",
        "/public%2fadmin",
        "/public%2Fadmin",
        "/public/..%2fadmin",
        "/public%5cadmin",
        "/public\\admin",
        "/public\\..\\admin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/%2e%2e;/admin",
        "/..;/admin",
        "/a%00b",
        "/admin%00",
        "/a%zz",
        "/a%",
        "/a%2",
        "/a%ff",
        "/a%c0%ae",
        "/%c0%af",
        "/a%ed%a0%80",
        "/admin#/public",
        "/public#",
        "/public#/../admin",
        "admin",
        "public/../admin",
        "?x",
        "http://evil.example/admin",
        "https://evil.example/",
        "http:///admin",
    ];

    for target in targets {
        let answer = line(&nauth, &format!("GET {target} HTTP/1.1")).await;
        let answer = answer.unwrap_or_else(|| panic!("{target}: no answer"));
        assert_eq!(answer.status, 400, "{target}: {answer}");
    }
    assert_eq!(echo.seen().iter().map(|seen| &seen.target).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn refusals_of_a_path_are_errors_of_the_contract() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;

    for target in ["/public/../admin", "/public%2fadmin", "/a%00b", "/public\\admin"] {
        let answer = line(&nauth, &format!("GET {target} HTTP/1.1")).await.unwrap().expect_error(400, "BAD_REQUEST");
        assert_eq!(answer.header("server"), None, "{answer}");
        assert_eq!(answer.header("x-nauth-intercepted"), Some("1"));
    }
}

#[tokio::test]
async fn every_spelling_of_a_guarded_path_is_guarded() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let targets = [
        "/admin",
        "/admin/",
        "/admin/users",
        "//admin",
        "///admin//users",
        "/%61dmin",
        "/%61%64%6D%69%6e",
        "/admin/%7Eada",
        "/admin?x=/public",
        "/admin;x=1",
        "/admin;/x",
        "/admin/..x",
    ];

    for target in targets {
        let answer = line(&nauth, &format!("GET {target} HTTP/1.1")).await.unwrap();
        // `/admin;x=1` is a name of its own in RFC 3986 and the start of `/admin` to some servers.
        let reached_elsewhere = target.contains(';') && answer.status == 200;
        assert!(answer.status == 401 || reached_elsewhere, "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_prefix_ends_at_a_segment() {
    let echo = Echo::start().await;
    let config = guarded_admin(&echo)
        .route("path = \"=/exact\"\naccess = \"required\"")
        .route("path = \"/slash/\"\naccess = \"required\"");
    let nauth = Nauth::start(config).await;

    for open in ["/administrator", "/admin.html", "/Admin", "/exact/below", "/exactly"] {
        let seen = Seen::in_answer(&nauth.send(&Request::get(open)).await.expect(200));
        assert_eq!(seen.target, open);
    }
    for guarded in ["/admin", "/admin/", "/admin/x", "/exact", "/slash/", "/slash/x"] {
        assert_eq!(nauth.send(&Request::get(guarded)).await.status, 401, "{guarded}");
    }
}

#[tokio::test]
async fn the_canonical_path_is_what_the_upstream_receives() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let cases = [
        ("/a//b///c", "/a/b/c"),
        ("//a", "/a"),
        ("/%61bc%2d%7e", "/abc-~"),
        ("/a%3ab", "/a%3Ab"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a?x=%2f%2F..%5c&y=//&z=%zz", "/a?x=%2f%2F..%5c&y=//&z=%zz"),
        ("/a??b?#", ""),
        ("/a?", "/a?"),
        ("/a;p=1/b", "/a;p=1/b"),
        ("/a/...", "/a/..."),
        ("/a/..b/.c", "/a/..b/.c"),
    ];

    for (sent, forwarded) in cases {
        let answer = line(&nauth, &format!("GET {sent} HTTP/1.1")).await.unwrap();
        if forwarded.is_empty() {
            assert_eq!(answer.status, 400, "{sent}: {answer}");
        } else {
            assert_eq!(Seen::in_answer(&answer.expect(200)).target, forwarded, "{sent}");
        }
    }
}

#[tokio::test]
async fn a_route_may_let_an_encoded_slash_through_its_part_of_the_path() {
    let echo = Echo::start().await;
    let config = guarded_admin(&echo).route("path = \"/files\"\naccess = \"public\"\nencoded_slash = \"keep\"");
    let nauth = Nauth::start(config).await;

    let seen = Seen::in_answer(&nauth.send(&Request::get("/files/a%2fb")).await.expect(200));

    assert_eq!(seen.target, "/files/a%2Fb");
    for refused in ["/public/a%2fb", "/files%2f..%2fadmin", "/admin%2fx", "/files/a%5cb"] {
        assert_eq!(nauth.send(&Request::get(refused)).await.status, 400, "{refused}");
    }
}

#[tokio::test]
async fn the_absolute_form_of_our_own_host_is_the_plain_path() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;

    let answer = line(&nauth, &format!("GET http://{}/a?x HTTP/1.1", nauth.host())).await.unwrap().expect(200);
    assert_eq!(Seen::in_answer(&answer).target, "/a?x");

    let guarded = line(&nauth, &format!("GET http://{}/admin HTTP/1.1", nauth.host())).await.unwrap();
    assert_eq!(guarded.status, 401, "{guarded}");
}

#[tokio::test]
async fn raw_bytes_in_a_target_never_reach_an_upstream_unescaped() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;

    for target in ["/a b", "/a\tb", "/a\u{0}b", "/\u{e9}", "/admin \u{0}", "/a\u{b}b", "/a\u{7f}b"] {
        if let Some(answer) = line(&nauth, &format!("GET {target} HTTP/1.1")).await {
            assert!([200, 400].contains(&answer.status), "{target:?}: {answer}");
        }
    }
    for seen in echo.seen() {
        assert!(seen.target.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{seen:?}");
        assert!(!seen.target.contains("%00"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_request_names_one_well_formed_host() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let host = nauth.host();
    let refused = [
        String::new(),
        format!("Host: {host}\r\nHost: {host}\r\n"),
        format!("Host: {host}\r\nHost: evil.example\r\n"),
        format!("Host: user@{host}\r\n"),
        format!("Host: {host}/evil?\r\n"),
        format!("Host: {host}#x\r\n"),
        "Host: localhost:notaport\r\n".to_owned(),
        "Host: localhost:99999\r\n".to_owned(),
        "Host: local host\r\n".to_owned(),
        "Host: localhost,evil.example\r\n".to_owned(),
        "Host: [::1\r\n".to_owned(),
        "Host:\r\n".to_owned(),
    ];

    for lines in refused {
        let answer = send_raw(nauth.public(), format!("GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).await;
        let answer = answer.unwrap_or_else(|| panic!("{lines:?}: no answer"));
        assert_eq!(answer.status, 400, "{lines:?}: {answer}");
    }
    assert_eq!(echo.seen().len(), 0);
}

#[tokio::test]
async fn while_nauth_is_local_only_local_names_are_served() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let port = nauth.public().port();

    for host in ["localhost", "LOCALHOST", "app.localhost", "127.0.0.1", "[::1]"] {
        nauth.send(&Request::get("/").header("Host", &format!("{host}:{port}"))).await.expect(200);
        nauth.send(&Request::get("/").header("Host", host)).await.expect(200);
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "notlocalhost"] {
        let answer = nauth.send(&Request::get("/").header("Host", host)).await.expect_error(421, "MISDIRECTED_REQUEST");
        assert!(answer.json()["message"].as_str().unwrap().contains("public_url"), "{answer}");
    }
}

#[tokio::test]
async fn a_host_of_a_route_is_served_and_told_apart() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .route("path = \"/\"\naccess = \"required\"")
        .route("hosts = [\"open.example.com\"]\npath = \"/\"\naccess = \"public\"")
        .route("hosts = [\"*.wild.example.com\"]\npath = \"/\"\naccess = \"public\"");
    let nauth = Nauth::start(config).await;
    let status = async |host: &str| nauth.send(&Request::get("/").header("Host", host)).await.status;

    for open in
        ["open.example.com", "OPEN.example.COM", "open.example.com:8443", "a.wild.example.com", "a.b.wild.example.com"]
    {
        assert_eq!(status(open).await, 200, "{open}");
    }
    assert_eq!(status("localhost").await, 401);
    for foreign in ["other.example.com", "wild.example.com", "xopen.example.com"] {
        assert_eq!(status(foreign).await, 421, "{foreign}");
    }
}

#[tokio::test]
async fn methods_are_what_they_are_spelt() {
    let echo = Echo::start().await;
    let config = guarded_admin(&echo).route("path = \"/read\"\naccess = \"public\"\nmethods = [\"GET\", \"HEAD\"]");
    let nauth = Nauth::start(config).await;

    for refused in
        ["TRACE / HTTP/1.1", "CONNECT localhost:80 HTTP/1.1", "POST /read HTTP/1.1", "DELETE /read/x HTTP/1.1"]
    {
        let answer = line(&nauth, refused).await.unwrap();
        assert_eq!(answer.status, 405, "{refused}: {answer}");
    }
    let answer = line(&nauth, "POST /read HTTP/1.1").await.unwrap().expect_error(405, "METHOD_NOT_ALLOWED");
    assert!(answer.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{answer}");
    line(&nauth, "GET /read HTTP/1.1").await.unwrap().expect(200);
    let lower_case = line(&nauth, "get /admin HTTP/1.1").await.unwrap();
    assert!([400, 401, 405].contains(&lower_case.status), "{lower_case}");
    assert!(!echo.seen().iter().any(|seen| seen.method == "TRACE" || seen.method == "CONNECT"));
}

#[tokio::test]
async fn options_for_everything_does_not_reach_an_upstream() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;

    let answer = line(&nauth, "OPTIONS * HTTP/1.1").await.unwrap();

    assert!([200, 204, 400].contains(&answer.status), "{answer}");
    let get = line(&nauth, "GET * HTTP/1.1").await.unwrap();
    assert_eq!(get.status, 400, "{get}");
    assert_eq!(echo.seen().len(), 0);
}

#[tokio::test]
async fn bodies_whose_end_is_ambiguous_are_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let smuggled = "GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let heads = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4x\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "X-Folded: a\r\n b\r\nContent-Length: 0\r\n",
    ];

    for head in heads {
        let bytes = format!("POST /up HTTP/1.1\r\nHost: {}\r\n{head}\r\n0\r\n\r\n{smuggled}", nauth.host());
        let mut connection = Connection::open(nauth.public()).await;
        connection.write(bytes.as_bytes()).await;
        if let Some(answer) = connection.try_answer("POST").await {
            assert_eq!(answer.status, 400, "{head:?}: {answer}");
        }
        assert!(connection.ends_within(secs(5)).await, "{head:?}: the connection goes on");
    }
    assert!(!echo.seen().iter().any(|seen| seen.target == "/admin"), "{:?}", echo.seen());
}

#[tokio::test]
async fn an_equal_length_said_twice_is_forwarded_once_or_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let head = format!("POST /up HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", nauth.host());

    let bytes = format!("{head}Content-Length: 2\r\nContent-Length: 2\r\n\r\nab");
    let answer = send_raw(nauth.public(), bytes).await.unwrap();

    if answer.status != 400 {
        assert_eq!(Seen::in_answer(&answer.expect(200)).header("content-length"), Some("2"));
    }
}

#[tokio::test]
async fn chunks_that_are_none_end_the_request() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;

    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
        "3\nabc\n0\n\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
    ] {
        let head = format!("POST /up HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", nauth.host());
        let mut connection = Connection::open(nauth.public()).await;
        connection.write(format!("{head}{body}GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        connection.try_answer("POST").await.expect(body).expect_error(400, "BAD_REQUEST");
        assert!(connection.ends_within(secs(5)).await, "{body:?}: the connection goes on");
    }
    assert!(!echo.seen().iter().any(|seen| seen.target == "/admin"), "{:?}", echo.seen());
}

#[tokio::test]
async fn what_follows_a_refused_request_is_not_read_as_another() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let host = nauth.host();
    let requests = [
        format!("POST /admin HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!(
            "POST /admin HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
            smuggled.len()
        ),
        format!("POST /auth/login HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!("GET /admin HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
    ];

    for request in requests {
        let mut connection = Connection::open(nauth.public()).await;
        connection.write(request.as_bytes()).await;
        assert!(connection.answer().await.status >= 400);
        let second = connection.try_ask(&Request::get("/after")).await;
        if let Some(second) = second {
            assert_eq!(Seen::in_answer(&second.expect(200)).target, "/after");
        }
    }
    let smuggled = eventually(secs(1), async || echo.seen().into_iter().find(|seen| seen.target == "/smuggled"));
    assert!(smuggled.await.is_none());
}

#[tokio::test]
async fn bare_line_feeds_are_forwarded_as_proper_lines_or_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(guarded_admin(&echo)).await;

    let bytes = format!("GET /a HTTP/1.1\nHost: {}\nX-A: 1\nConnection: close\n\n", nauth.host());
    if let Some(answer) = send_raw(nauth.public(), bytes).await {
        if answer.status == 200 {
            let seen = Seen::in_answer(&answer);
            assert_eq!(seen.header("x-a"), Some("1"));
        } else {
            assert_eq!(answer.status, 400, "{answer}");
        }
    }
}

#[tokio::test]
async fn an_upstream_gets_the_path_its_route_says() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .route("path = \"/app\"\naccess = \"public\"\nstrip_prefix = true\ncache_control = \"no-store\"")
        .route("path = \"/api\"\naccess = \"public\"\nrewrite = \"/v1\"")
        .route("path = \"/\"\naccess = \"public\"");
    let nauth = Nauth::start(config).await;

    for (asked, reached) in [
        ("/app/page?x=1", "/page?x=1"),
        ("/app", "/"),
        ("/api/users/a%20b", "/v1/users/a%20b"),
        ("/api", "/v1"),
        ("/application", "/application"),
    ] {
        let answer = nauth.send(&Request::get(asked).header("X-Forwarded-Prefix", "/evil")).await.expect(200);
        let seen = Seen::in_answer(&answer);
        assert_eq!(seen.target, reached, "{asked}");
        let prefix =
            ["/app", "/api"].into_iter().find(|prefix| asked == *prefix || asked.starts_with(&format!("{prefix}/")));
        assert_eq!(seen.header("X-Forwarded-Prefix"), prefix, "{asked}");
        let expected = asked.starts_with("/app/").then_some("no-store");
        if asked != "/app" {
            assert_eq!(answer.header("cache-control"), expected, "{asked}");
        }
    }
}

#[tokio::test]
async fn an_expression_takes_what_no_path_names() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .route("path = \"~^/reports/[0-9]{4}$\"\naccess = \"public\"\nmethods = [\"GET\"]")
        .route("path = \"~^/reports/\"\naccess = \"required\"")
        .route("path = \"/reports/archive\"\naccess = \"public\"");
    let nauth = Nauth::start(config).await;

    for (path, status) in [
        ("/reports/2024", 200),
        ("/reports/2024/secret", 401),
        ("/reports/%32024", 200),
        ("/reports/archive/1", 200),
        ("/reports/20245", 401),
        ("/reports", 404),
        ("/elsewhere", 404),
    ] {
        nauth.send(&Request::get(path)).await.expect(status);
    }
    nauth.send(&Request::post("/reports/2024")).await.expect(405);
}

#[tokio::test]
async fn an_answer_gets_the_security_headers_its_app_left_out() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .route("path = \"/\"\naccess = \"public\"")
        .route("path = \"/basic\"\naccess = \"public\"\nsecurity_headers = \"basic\"")
        .route(
            "path = \"/strict\"\naccess = \"public\"\nsecurity_headers = \"strict\"\n\
             set_response_headers = { referrer-policy = \"origin\" }",
        );
    let nauth = Nauth::start(config).await;
    let names = ["x-content-type-options", "x-frame-options", "referrer-policy", "cross-origin-opener-policy"];

    for (path, expected) in [
        ("/", [None; 4]),
        ("/basic", [Some("nosniff"), Some("SAMEORIGIN"), Some("strict-origin-when-cross-origin"), None]),
        ("/strict", [Some("nosniff"), Some("DENY"), Some("origin"), Some("same-origin")]),
    ] {
        let answer = nauth.send(&Request::get(path)).await.expect(200);
        assert_eq!(names.map(|name| answer.header(name)), expected, "{path}");
    }
}
