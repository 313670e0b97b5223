//! Malformed bodies, tokens and cookies, and clients that take their time.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::{
    Account, Answer, Config, Connection, Echo, Http2, Nauth, PASSWORD, Request, Seen, eventually, millis, secs,
};

#[tokio::test]
async fn json_that_is_none_is_a_validation_error() {
    let nauth = Nauth::start(Config::whoami()).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_object = "{\"email\":".repeat(5_000);
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"{\"email\":".to_vec(),
        b"{\"email\":\"a\",}".to_vec(),
        b"nonsense".to_vec(),
        b"{\"email\":\"\xff\xfe\"}".to_vec(),
        b"{\"email\":\"\\ud800\"}".to_vec(),
        b"{\"email\":NaN}".to_vec(),
        b"{} {}".to_vec(),
        b"\x00".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"1e999".to_vec(),
        deep.into_bytes(),
        deep_object.into_bytes(),
    ];

    for body in bodies {
        for path in ["/auth/signup", "/auth/login", "/auth/respond-challenge", "/auth/challenge/resend"] {
            let request = Request::post(path).header("Content-Type", "application/json").body(body.clone());
            let answer = nauth.send(&request).await;
            // The deep ones may be larger than any body of the auth API.
            let is_too_large = answer.status == 413 && body.len() > 64 * 1024;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert!(
                is_too_large || (answer.status, answer.code().as_str()) == (400, "VALIDATION_FAILED"),
                "{path} {shown}: {answer}"
            );
        }
    }
    nauth.signup("ada@example.com").await;
}

#[tokio::test]
async fn fields_of_the_wrong_type_are_named() {
    let nauth = Nauth::start(Config::whoami()).await;
    let wrong = [json!(null), json!(1), json!(true), json!([]), json!({}), json!(["ada@example.com"])];

    for value in wrong {
        let body = json!({ "identifier": value, "password": PASSWORD });
        let answer = nauth.send(&Request::post("/auth/login").json(&body)).await.expect_error(400, "VALIDATION_FAILED");
        assert!(answer.json()["details"]["validationErrors"]["identifier"].is_array(), "{answer}");
    }
}

#[tokio::test]
async fn only_json_is_read() {
    let nauth = Nauth::start(Config::whoami()).await;
    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD }).to_string();

    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""]
    {
        let request = Request::post("/auth/login").header("Content-Type", kind).body(body.clone());
        nauth.send(&request).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let with_charset =
        Request::post("/auth/login").header("Content-Type", "application/json; charset=utf-8").body(body);
    nauth.send(&with_charset).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn odd_characters_in_fields_do_no_harm() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let odd = [
        "' OR 1=1 --",
        "\u{0}",
        "\r\nBcc: x@y.z",
        "\u{202e}txt",
        "😀",
        "%00",
        "{{7*7}}",
        "${env:PATH}",
        &"a".repeat(300),
    ];

    for text in odd {
        let body = json!({ "identifier": text, "password": text });
        let answer = nauth.send(&Request::post("/auth/login").json(&body)).await;
        assert!([400, 401].contains(&answer.status), "{text:?}: {answer}");
        let body = json!({ "email": format!("{text}@example.com"), "password": PASSWORD });
        let answer = nauth.send(&Request::post("/auth/signup").json(&body)).await;
        assert!([201, 400].contains(&answer.status), "{text:?}: {answer}");
        let answer = nauth.respond(text, text).await;
        answer.expect_error(400, "VALIDATION_FAILED");
    }
}

#[tokio::test]
async fn tokens_that_nauth_did_not_make_are_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    for (name, token) in forgeries(&ada) {
        let bearer = nauth.send(&Request::get("/").bearer(&token)).await;
        assert_refused(&bearer, name);
        let cookie = nauth.send(&Request::get("/").cookies(&format!("nauth_access_token={token}"))).await;
        assert_refused(&cookie, name);
        let profile = nauth.send(&Request::get("/auth/profile").bearer(&token)).await;
        assert_refused(&profile, name);
    }
    assert_eq!(echo.seen().len(), 0, "nothing reached the upstream");
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
}

fn assert_refused(answer: &Answer, name: &str) {
    // A token larger than any header is refused as such.
    let is_too_large = answer.status == 431 && name == "huge";
    assert!(is_too_large || (answer.status, answer.code().as_str()) == (401, "AUTH_TOKEN_INVALID"), "{name}: {answer}");
}

#[tokio::test]
async fn refresh_tokens_that_nauth_did_not_make_are_refused_and_end_nothing() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let swapped =
        Account { access_token: ada.refresh_token.clone(), refresh_token: ada.access_token.clone(), ..ada.clone() };
    for (name, token) in forgeries(&swapped) {
        let answer = nauth.try_refresh(&token).await;
        assert!([400, 401, 413].contains(&answer.status), "{name}: {answer}");
    }

    nauth.refresh(&ada).await;
}

/// Tokens made from a good access token (and the refresh token as one of another purpose).
fn forgeries(account: &Account) -> Vec<(&'static str, String)> {
    let good = &account.access_token;
    let [head, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("not a JWT: {good}") };
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let decode =
        |part: &str| -> serde_json::Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let with_head = |change: serde_json::Value| {
        let mut changed = decode(head);
        changed.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        encode(&changed)
    };
    let mut root = decode(claims);
    root["roles"] = json!(["admin"]);
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    let none = with_head(json!({ "alg": "none" }));

    vec![
        ("alg none, no signature", format!("{none}.{claims}.")),
        ("alg none, old signature", format!("{none}.{claims}.{signature}")),
        ("alg None", format!("{}.{claims}.", with_head(json!({ "alg": "None" })))),
        ("another alg", format!("{}.{claims}.{signature}", with_head(json!({ "alg": "HS512" })))),
        ("asymmetric alg", format!("{}.{claims}.{signature}", with_head(json!({ "alg": "ES256" })))),
        ("embedded key", format!("{}.{claims}.{signature}", with_head(json!({ "jwk": { "kty": "oct", "k": "AA" } })))),
        ("critical extension", format!("{}.{claims}.{signature}", with_head(json!({ "crit": ["x"], "x": 1 })))),
        ("another kid", format!("{}.{claims}.{signature}", with_head(json!({ "kid": "../../dev/null" })))),
        ("another typ", format!("{}.{claims}.{signature}", with_head(json!({ "typ": "refresh+jwt" })))),
        ("changed claims", format!("{head}.{}.{signature}", encode(&root))),
        ("flipped signature", format!("{head}.{claims}.{flipped}")),
        ("no signature", format!("{head}.{claims}.")),
        ("two parts", format!("{head}.{claims}")),
        ("four parts", format!("{good}.{signature}")),
        ("truncated", good[..good.len() - 5].to_owned()),
        ("padded", format!("{good}==")),
        ("the refresh token", account.refresh_token.clone()),
        ("huge", "a.".repeat(12_000)),
        ("dots", "..".to_owned()),
        ("a word", "token".to_owned()),
    ]
}

#[tokio::test]
async fn malformed_cookies_identify_nobody() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let good = format!("nauth_access_token={}", ada.access_token);
    let refused = [
        "nauth_access_token",
        "nauth_access_token=",
        "=; ;;; nauth_access_token=%00",
        "nauth_access_token=\"\"",
        "NAUTH_ACCESS_TOKEN=x",
        "xnauth_access_token=x",
        "nauth_access_token=a b c",
    ];

    for cookies in refused {
        let answer = nauth.send(&Request::get("/").cookies(cookies)).await;
        assert_eq!(answer.status, 401, "{cookies}: {answer}");
    }
    for cookies in [format!("app=1;{good}"), format!(";; {good} ;"), format!("broken; {good}; \u{1f36a}=1")] {
        let answer = nauth.send(&Request::get("/").cookies(&cookies)).await;
        assert!([200, 400].contains(&answer.status), "{cookies}: {answer}");
    }
    let on_two_lines = Request::get("/").header("Cookie", "app=1").header("Cookie", &good);
    nauth.send(&on_two_lines).await.expect(200);
}

/// A browser lets anybody's subdomain set `\u{a0}__Host-x`: its guard is for names that begin with `__Host-`.
#[tokio::test]
async fn a_name_with_an_odd_space_is_another_name() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let evil = |name: &str| Request::get("/").header("Cookie", &format!("{name}={}", ada.access_token));

    for name in ["\u{a0}nauth_access_token", "nauth_access_token\u{2003}", "\u{85}nauth_access_token\u{3000}"] {
        nauth.send(&evil(name)).await.expect(401);
    }

    // And a cookie of somebody else's that is no ASCII takes nobody's session away, neither here nor at the API.
    for path in ["/", "/auth/profile"] {
        let request = Request::get(path).header("Cookie", &format!("name=J\u{fc}rgen; {}", ada.cookies()));
        nauth.send(&request).await.expect(200);
    }
}

#[tokio::test]
async fn cookies_of_two_sessions_are_refused_and_cleared() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let bob = nauth.signup("bob@example.com").await;
    let adas_other = nauth.login("ada@example.com").await;
    let access = |account: &Account| format!("nauth_access_token={}", account.access_token);
    let conflicts = [
        format!("{}; {}", access(&ada), access(&bob)),
        format!("{}; {}", access(&ada), access(&adas_other)),
        format!("{}; {}", access(&ada), bob.refresh_cookie()),
        format!("{}; {}", bob.refresh_cookie(), ada.refresh_cookie()),
    ];

    for cookies in conflicts {
        let answer = nauth.send(&Request::get("/").cookies(&cookies)).await;
        assert_eq!(answer.status, 401, "{answer}");
        assert!(answer.clears_cookie("nauth_access_token"), "{answer}");
        assert!(answer.clears_cookie("nauth_refresh_token"), "{answer}");
    }
    assert_eq!(echo.seen().len(), 0, "nothing reached the upstream");

    let same_twice = format!("{}; {}; stale=1", access(&ada), access(&ada));
    nauth.send(&Request::get("/").cookies(&same_twice)).await.expect(200);
    let beside_garbage = format!("nauth_access_token=garbage; {}", access(&ada));
    let seen = Seen::in_answer(&nauth.send(&Request::get("/").cookies(&beside_garbage)).await.expect(200));
    assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()));
}

#[tokio::test]
async fn a_login_never_stumbles_over_old_cookies() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let bob = nauth.signup("bob@example.com").await;

    let login = Request::post("/auth/login")
        .json(&json!({ "identifier": "ada@example.com", "password": PASSWORD }))
        .header("Origin", &nauth.origin())
        .cookies(&format!("{}; {}", ada.cookies(), bob.cookies()));

    let answer = nauth.send(&login).await.expect(200);
    assert!(answer.cookie("nauth_access_token").is_some(), "{answer}");
}

#[tokio::test]
async fn a_header_that_drips_is_cut_at_its_deadline() {
    let nauth = Nauth::start(Config::whoami().set("server.header_timeout", "2s")).await;
    let mut connection = Connection::open(nauth.public()).await;
    let began = Instant::now();

    connection.write(format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Slow: ", nauth.host()).as_bytes()).await;
    let cut = eventually(secs(10), async || {
        tokio::time::sleep(millis(500)).await;
        (!connection.try_write(b"x").await).then_some(())
    });

    assert!(cut.await.is_some(), "the connection is still open after {:?}", began.elapsed());
    assert!(began.elapsed() > secs(1), "cut before its deadline: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_silent_connection_is_cut_too_and_does_not_disturb_others() {
    let nauth = Nauth::start(Config::whoami().set("server.header_timeout", "2s")).await;
    let mut silent = Connection::open(nauth.public()).await;

    nauth.send(&Request::get("/auth/ui/login")).await.expect(200);

    assert!(silent.ends_within(secs(6)).await);
}

#[tokio::test]
async fn the_second_request_of_a_connection_has_the_same_deadline() {
    let nauth = Nauth::start(Config::whoami().set("server.header_timeout", "2s")).await;
    let mut connection = Connection::open(nauth.public()).await;
    connection.ask(&Request::get("/auth/ui/login")).await.expect(200);

    connection.write(b"GET / HTT").await;

    assert!(connection.ends_within(secs(6)).await);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let nauth = Nauth::start(Config::whoami().set("server.keepalive_timeout", "2s")).await;
    let mut connection = Connection::open(nauth.public()).await;
    connection.ask(&Request::get("/auth/ui/login")).await.expect(200);
    let began = Instant::now();

    assert!(connection.ends_within(secs(6)).await);
    assert!(began.elapsed() > secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_serves_as_many_requests_as_it_may() {
    let nauth = Nauth::start(Config::whoami().set("server.keepalive_requests", 3)).await;
    let mut connection = Connection::open(nauth.public()).await;

    for _ in 0..3 {
        connection.ask(&Request::get("/auth/ui/login")).await.expect(200);
    }

    assert!(connection.ends_within(secs(5)).await);
}

#[tokio::test]
async fn one_address_holds_as_many_connections_as_it_may() {
    let nauth = Nauth::start(Config::whoami().set("server.max_connections_per_ip", 3)).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(nauth.public()).await;
        connection.ask(&Request::get("/auth/ui/login")).await.expect(200);
        held.push(connection);
    }

    let mut one_more = Connection::open(nauth.public()).await;
    let answer = one_more.try_ask(&Request::get("/auth/ui/login")).await;
    assert!(answer.is_none_or(|answer| answer.status >= 400));

    drop(held);
    let served = eventually(secs(5), async || {
        let mut connection = Connection::open(nauth.public()).await;
        connection.try_ask(&Request::get("/auth/ui/login")).await.filter(|answer| answer.status == 200)
    });
    assert!(served.await.is_some());
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_not_waited_for() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .listener("addr = \"{public}\"\nhttp2 = true")
        .route("path = \"/\"\naccess = \"public\"")
        .set("server.write_timeout", "1s");
    let nauth = Nauth::start(config).await;
    let streams = async |count: usize| {
        let reached = eventually(secs(10), async || (echo.open_streams() == count).then_some(())).await;
        assert!(reached.is_some(), "{} streams instead of {count}", echo.open_streams());
    };

    let mut slow = Connection::open(nauth.public()).await;
    slow.send(&Request::get("/sse")).await;
    streams(1).await;
    let mut stopped = Connection::open(nauth.public()).await;
    stopped.send(&Request::get("/download")).await;
    streams(2).await;
    streams(1).await;
    assert!(stopped.ends_within(secs(5)).await);

    let mut client = Http2::open(nauth.public()).await;
    let mut stopped = client.stream(&Request::get("/download")).await.unwrap();
    streams(2).await;
    streams(1).await;
    assert_eq!(stopped.reset_reason().await, Some(h2::Reason::CANCEL));
    client.ask(&Request::get("/")).await.expect(200);

    assert!(slow.reads("data: 60").await, "who takes little at a time goes on");
}

#[tokio::test]
async fn a_header_too_large_is_told_so() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).route("path = \"/\"\naccess = \"public\"")).await;

    let large = Request::get("/").header("X-Large", &"x".repeat(200 * 1024));
    nauth.send(&large).await.expect_error(431, "HEADER_TOO_LARGE");
    let many = (0..2_000).fold(Request::get("/"), |request, n| request.header(&format!("X-N{n}"), "0123456789abcdef"));
    let answer = nauth.send(&many).await;
    assert!([400, 431].contains(&answer.status), "{answer}");
    let fits = Request::get("/").header("X-Large", &"x".repeat(16 * 1024));
    nauth.send(&fits).await.expect(200);

    assert_eq!(echo.seen().len(), 1);
}

#[tokio::test]
async fn a_body_for_the_api_must_arrive_in_time() {
    let nauth = Nauth::start(Config::whoami().set("server.body_read_timeout", "1s")).await;
    let mut connection = Connection::open(nauth.public()).await;

    let head = Request::post("/auth/login").header("Content-Type", "application/json").header("Content-Length", "100");
    connection.send(&head.body("{\"identifier\":")).await;

    connection.answer().await.expect_error(408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn a_body_larger_than_allowed_is_refused() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .route("path = \"/\"\naccess = \"public\"\nmax_body = \"64KiB\"")
        .route("path = \"/large\"\naccess = \"public\"\nmax_body = \"1MiB\"");
    let nauth = Nauth::start(config).await;
    let body = |size: usize| vec![b'x'; size];

    let known = Request::post("/up").body(body(128 * 1024));
    nauth.send(&known).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let chunk = [b"20000\r\n".as_slice(), &body(0x20000), b"\r\n0\r\n\r\n"].concat();
    let unknown = Request::post("/up").header("Transfer-Encoding", "chunked").body(chunk);
    nauth.send(&unknown).await.expect(413);
    nauth.send(&Request::post("/large").body(body(128 * 1024))).await.expect(200);
    nauth.send(&Request::post("/up").body(body(64 * 1024))).await.expect(200);

    let for_the_api = Request::post("/auth/login").header("Content-Type", "application/json").body(body(1024 * 1024));
    nauth.send(&for_the_api).await.expect_error(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_client_that_asks_before_sending_is_told_to_go_on() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let requests = [
        Request::post("/up").bearer(&ada.access_token).header("Content-Type", "application/json"),
        Request::post("/auth/login").header("Content-Type", "application/json"),
    ];

    for request in requests {
        let body = json!({ "identifier": "ada@example.com", "password": PASSWORD }).to_string();
        let mut connection = Connection::open(nauth.public()).await;
        let head = request.header("Expect", "100-continue").header("Content-Length", &body.len().to_string());
        connection.send(&head).await;
        assert_eq!(connection.head().await.status, 100);
        connection.write(body.as_bytes()).await;
        connection.answer().await.expect(200);
    }
}

#[tokio::test]
async fn a_refused_upload_is_refused_without_waiting_for_it() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;
    let mut connection = Connection::open(nauth.public()).await;

    let head = Request::post("/up").header("Expect", "100-continue").header("Content-Length", "1000000");
    connection.send(&head).await;

    assert_eq!(connection.head().await.status, 401);
    assert_eq!(echo.seen().len(), 0);
}

#[tokio::test]
async fn nothing_secret_is_written_to_the_log() {
    let nauth = Nauth::start(Config::whoami().set("log.level", "debug")).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.try_login("ada@example.com", "a wrong password of ada").await.expect(401);
    nauth.refresh(&ada).await;
    nauth.send(&Request::get("/?token=in-the-query").cookies(&ada.cookies())).await;
    nauth.try_refresh("a refresh token that is none").await;

    let output = nauth.output();

    let secrets =
        [PASSWORD, "a wrong password of ada", &ada.access_token, &ada.refresh_token, "a refresh token that is none"];
    for secret in secrets {
        assert!(!output.contains(secret), "`{secret}` is in:\n{output}");
    }
}
