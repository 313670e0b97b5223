//! Questions as proxies ask them, and as clients would like them to be asked.

use super::*;

const FORWARDED: [(&str, &str); 4] = [
    ("x-forwarded-method", "POST"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "app.example.com"),
    ("x-forwarded-uri", "/a/b?c=%2e%2e"),
];
const ORIGINAL: [(&str, &str); 2] =
    [("x-original-method", "POST"), ("x-original-url", "https://app.example.com/a/b?c=%2e%2e")];

fn read(kind: QuestionHeaders, method: &str, rest: &str, lines: &[(&str, &str)]) -> Result<Question, String> {
    let mut head = RequestHeader::build(Method::from_bytes(method.as_bytes()).unwrap(), b"/auth/verify", None).unwrap();
    for (name, value) in lines {
        head.append_header((*name).to_owned(), *value).unwrap();
    }
    Question::read(&head, rest.as_bytes(), kind, &managed(), "https").map_err(|error| error.to_string())
}

fn managed() -> Managed {
    let mut settings = crate::config::defaults();
    settings.gateway.strip_request_headers = vec!["x-tenant".to_owned()];
    Managed::new(&settings)
}

fn asks(scheme: &'static str) -> Question {
    Question {
        method: Method::POST,
        scheme,
        host: Host::parse(b"app.example.com").unwrap(),
        target: b"/a/b?c=%2e%2e".to_vec(),
    }
}

#[test]
fn questions_are_asked_at_one_address() {
    let cases = [
        ("/auth/verify", Some("")),
        ("/auth/verify?x", Some("?x")),
        ("/auth/verify/a?b", Some("/a?b")),
        ("/auth/verify//a", Some("//a")),
        ("/auth/verifyx", None),
        ("/auth//verify", None),
        ("/auth/login", None),
        ("/verify", None),
    ];
    for (target, rest) in cases {
        assert_eq!(Question::asked(target.as_bytes(), "/auth"), rest.map(str::as_bytes), "{target}");
    }
}

#[test]
fn each_kind_of_proxy_describes_the_same_request() {
    assert_eq!(read(QuestionHeaders::XForwarded, "GET", "", &FORWARDED), Ok(asks("https")));
    assert_eq!(read(QuestionHeaders::XForwarded, "GET", "?rd=x", &FORWARDED), Ok(asks("https")));
    assert_eq!(read(QuestionHeaders::XOriginal, "GET", "", &ORIGINAL), Ok(asks("https")));
    let envoy = [("host", "app.example.com"), ("x-forwarded-proto", "http")];
    assert_eq!(read(QuestionHeaders::Envoy, "POST", "/a/b?c=%2e%2e", &envoy), Ok(asks("http")));
    assert_eq!(read(QuestionHeaders::Envoy, "POST", "/a/b?c=%2e%2e", &envoy[..1]), Ok(asks("https")));
}

#[test]
fn a_socket_has_a_scheme_of_its_own_with_some_proxies() {
    let mut lines = FORWARDED;
    lines[1].1 = "wss";
    assert_eq!(read(QuestionHeaders::XForwarded, "GET", "", &lines), Ok(asks("https")));
}

#[test]
fn what_is_missing_or_said_twice_is_refused() {
    for left_out in 0..FORWARDED.len() {
        let mut lines = FORWARDED.to_vec();
        let line = lines.remove(left_out);
        assert!(read(QuestionHeaders::XForwarded, "GET", "", &lines).is_err(), "without {}", line.0);
        lines.extend([line, line]);
        assert!(read(QuestionHeaders::XForwarded, "GET", "", &lines).is_err(), "{} twice", line.0);
    }
    for left_out in 0..ORIGINAL.len() {
        let mut lines = ORIGINAL.to_vec();
        let line = lines.remove(left_out);
        assert!(read(QuestionHeaders::XOriginal, "GET", "", &lines).is_err(), "without {}", line.0);
        lines.extend([line, line]);
        assert!(read(QuestionHeaders::XOriginal, "GET", "", &lines).is_err(), "{} twice", line.0);
    }
    assert!(read(QuestionHeaders::Envoy, "GET", "/a", &[]).is_err(), "without Host");
    let hosts = [("host", "app.example.com"), ("host", "b.example.com")];
    assert!(read(QuestionHeaders::Envoy, "GET", "/a", &hosts).is_err(), "two Hosts");
    let schemes = [("host", "app.example.com"), ("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")];
    assert!(read(QuestionHeaders::Envoy, "GET", "/a", &schemes).is_err(), "two schemes");
}

#[test]
fn values_that_read_in_two_ways_are_refused() {
    let cases = [
        ("x-forwarded-method", "post"),
        ("x-forwarded-method", "PO ST"),
        ("x-forwarded-method", ""),
        ("x-forwarded-proto", "HTTPS"),
        ("x-forwarded-proto", "https, http"),
        ("x-forwarded-proto", "ftp"),
        ("x-forwarded-host", "app.example.com, evil.example"),
        ("x-forwarded-host", "ada@app.example.com"),
        ("x-forwarded-host", "app.example.com/x"),
        ("x-forwarded-host", ""),
        ("x-forwarded-uri", ""),
        ("x-forwarded-uri", "a"),
        ("x-forwarded-uri", "https://app.example.com/a"),
        ("x-forwarded-uri", "/a#b"),
        ("x-forwarded-uri", "/a\\b"),
        ("x-forwarded-uri", "/a%5Cb"),
        ("x-forwarded-uri", "/a%00"),
        ("x-forwarded-uri", "//a"),
        ("x-forwarded-uri", "/a//b"),
        ("x-forwarded-uri", "/a/../b"),
        ("x-forwarded-uri", "/a/%2E%2E/b"),
        ("x-forwarded-uri", "/a/..%2Fb"),
        ("x-forwarded-uri", "/a/..;x/b"),
        ("x-forwarded-uri", "/%61"),
        ("x-forwarded-uri", "/%c3%a9"),
        ("x-forwarded-uri", "/a%2"),
        ("x-forwarded-uri", "/\u{e9}"),
    ];
    for (name, value) in cases {
        let lines = FORWARDED.map(|line| if line.0 == name { (name, value) } else { line });
        assert!(read(QuestionHeaders::XForwarded, "GET", "", &lines).is_err(), "{name}: {value}");
    }
    for url in ["/a", "app.example.com/a", "https:/app.example.com/a", "https://app.example.com", "https://a?b/c"] {
        let lines = [ORIGINAL[0], ("x-original-url", url)];
        assert!(read(QuestionHeaders::XOriginal, "GET", "", &lines).is_err(), "{url}");
    }
    for rest in ["", "?a", "//a", "/%2e"] {
        assert!(read(QuestionHeaders::Envoy, "GET", rest, &[("host", "app.example.com")]).is_err(), "{rest}");
    }
    assert!(read(QuestionHeaders::XForwarded, "GET", "/a", &FORWARDED).is_err(), "two paths");
}

#[test]
fn an_encoded_slash_is_the_routes_to_refuse() {
    let lines = FORWARDED.map(|line| if line.0 == "x-forwarded-uri" { (line.0, "/a%2Fb") } else { line });
    assert!(read(QuestionHeaders::XForwarded, "GET", "", &lines).is_ok());
}

#[test]
fn the_headers_of_another_kind_are_refused() {
    let kinds = [
        (QuestionHeaders::XForwarded, &FORWARDED[..], "x-forwarded"),
        (QuestionHeaders::XOriginal, &ORIGINAL[..], "x-original"),
        (QuestionHeaders::Envoy, &[("host", "app.example.com")][..], "none"),
    ];
    for (kind, lines, own) in kinds {
        let rest = if kind == QuestionHeaders::Envoy { "/a" } else { "" };
        for other in DESCRIBING.iter().filter(|other| !other.starts_with(own)) {
            let lines = [lines, &[(*other, "/public")]].concat();
            let refused = read(kind, "GET", rest, &lines).unwrap_err();
            assert!(refused.contains("another kind"), "{kind:?} {other}: {refused}");
        }
    }
}

#[test]
fn headers_in_disguise_are_refused() {
    for name in ["X_Forwarded_Uri", "X.Original.URL", "Remote_User", "x_tenant", "X_Forwarded_For", "X-Nauth_Assertion"]
    {
        let lines = [&FORWARDED[..], &[(name, "/public")]].concat();
        let refused = read(QuestionHeaders::XForwarded, "GET", "", &lines).unwrap_err();
        assert!(refused.contains("spelled like"), "{name}: {refused}");
    }
    let harmless = [&FORWARDED[..], &[("X_Whatever", "1"), ("Remote-User", "eve")]].concat();
    assert!(read(QuestionHeaders::XForwarded, "GET", "", &harmless).is_ok(), "the answer overwrites what it names");
}
