//! Identity towards upstreams comes from nauth and from nobody else, however a name is spelt.

use serde_json::json;

use crate::support::{Account, Config, Connection, Echo, Http2, Nauth, Request, Seen, send_raw};

/// Every name that any preset of any gateway injects, and names that rewrite the request.
const MANAGED: &[&str] = &[
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Groups-Truncated",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Nauth-Assertion",
    "X-Nauth-Anything-At-All",
    "X-Nauth-Intercepted",
    "Remote-User",
    "Remote-Email",
    "Remote-Name",
    "Remote-Groups",
    "Remote-Sub",
    "Remote-Groups-Truncated",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Groups-Truncated",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Redirect",
    "X-authentik-username",
    "X-authentik-groups",
    "X-authentik-groups-truncated",
    "X-authentik-email",
    "X-authentik-name",
    "X-authentik-uid",
    "X-authentik-jwt",
    "X-authentik-meta-jwks",
    "X-Pomerium-Jwt-Assertion",
    "X-Pomerium-Claim-Email",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-WEBAUTH-USER",
    "X-WEBAUTH-EMAIL",
    "X-WEBAUTH-NAME",
    "X-WEBAUTH-GROUPS",
    "X-WEBAUTH-GROUPS-Truncated",
    "X-WEBAUTH-ROLE",
    "X-JWT-Assertion",
    "X-Token-Subject",
    "X-Token-User-Email",
    "X-Auth-Subject",
    "X-Auth-Userid",
    "X-Auth-Username",
    "X-Auth-Email",
    "X-Auth-Groups",
    "X-Auth-Roles",
    "X-Auth-Token",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Tenant",
];

fn routes(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("gateway.strip_request_headers", json!(["x-tenant"]))
        .route("path = \"/open\"\naccess = \"public\"")
        .route("path = \"/maybe\"\naccess = \"optional\"")
        .route("path = \"/\"\naccess = \"required\"")
}

/// The spellings upstreams fold into one: letter case, and `_` or `.` for `-`.
fn spellings(name: &str) -> Vec<String> {
    let mixed: String = name
        .chars()
        .enumerate()
        .map(|(index, c)| if index % 2 == 0 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    vec![
        name.to_owned(),
        name.to_lowercase(),
        name.to_uppercase(),
        mixed,
        name.replace('-', "_"),
        name.replace('-', "."),
        name.to_uppercase().replace('-', "_"),
        name.replacen('-', "_", 1),
        name.replacen('-', ".", 1),
    ]
}

#[tokio::test]
async fn no_client_can_say_who_it_is_in_any_spelling_on_any_route() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let requests = [
        ("public", Request::get("/open")),
        ("anonymous", Request::get("/maybe")),
        ("known", Request::get("/maybe").bearer(&ada.access_token)),
        ("required", Request::get("/").bearer(&ada.access_token)),
    ];

    for name in MANAGED {
        for (kind, request) in &requests {
            // Duplicates as well: each spelling twice.
            let spelt = spellings(name);
            let request = spelt.iter().fold(request.clone(), |request, spelling| {
                request.header(spelling, "evil").header(spelling, "evil-again")
            });
            let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
            let evil: Vec<_> = seen.headers.iter().filter(|(_, value)| value.contains("evil")).collect();
            assert!(evil.is_empty(), "{name} on a {kind} request: {evil:?}");
        }
    }
}

#[tokio::test]
async fn what_nauth_says_stands_once_beside_what_a_client_claims() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let request = Request::get("/")
        .bearer(&ada.access_token)
        .header("x_forwarded_user", "root")
        .header("X-Forwarded-User", "root");
    let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));

    assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()));
    assert_eq!(seen.header("x_forwarded_user"), None);
}

#[tokio::test]
async fn an_absent_claim_is_an_absent_header() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let request = Request::get("/").bearer(&ada.access_token).header("X-Forwarded-Email", "root@example.com");
    let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));

    assert_eq!(seen.header("X-Forwarded-Email"), None, "nobody has proven an address");
}

#[tokio::test]
async fn connection_cannot_take_away_what_nauth_says() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let nominations = [
        "X-Forwarded-User",
        "close, x-forwarded-user",
        "keep-alive, x-forwarded-groups",
        "X_Forwarded_User",
        "cookie, authorization",
        "x-anything",
        "content-length",
        "host",
    ];

    for nominated in nominations {
        let request = Request::get("/").bearer(&ada.access_token).header("Connection", nominated);
        nauth.send(&request).await.expect_error(400, "BAD_REQUEST");
    }
    let two_lines = Request::get("/")
        .bearer(&ada.access_token)
        .header("Connection", "close")
        .header("Connection", "x-forwarded-user");
    nauth.send(&two_lines).await.expect_error(400, "BAD_REQUEST");

    for harmless in ["close", "keep-alive", "Keep-Alive", "close, te"] {
        let request = Request::get("/").bearer(&ada.access_token).header("Connection", harmless);
        let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
        assert_eq!(seen.header("X-Forwarded-User"), Some(ada.sub.as_str()), "{harmless}");
    }
}

#[tokio::test]
async fn credentials_stay_with_nauth_and_what_is_not_its_own_passes() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let by_cookie = Request::get("/")
        .cookies(&format!("app=1; {}; nauth_csrf_token=x; nauth_device_token=y; theme=dark", ada.cookies()));
    let seen = Seen::in_answer(&nauth.send(&by_cookie).await.expect(200));
    assert_eq!(seen.header("Cookie"), Some("app=1; theme=dark"));

    let on_public = Request::get("/open").cookies(&ada.cookies());
    assert_eq!(Seen::in_answer(&nauth.send(&on_public).await.expect(200)).header("Cookie"), None);

    let by_bearer = Request::get("/").bearer(&ada.access_token);
    assert_eq!(Seen::in_answer(&nauth.send(&by_bearer).await.expect(200)).header("Authorization"), None);

    let other_scheme = Request::get("/").cookies(&ada.cookies()).header("Authorization", "Basic YTpi");
    let seen = Seen::in_answer(&nauth.send(&other_scheme).await.expect(200));
    assert_eq!(seen.header("Authorization"), Some("Basic YTpi"));
}

#[tokio::test]
async fn a_route_without_bearer_leaves_authorization_alone() {
    let echo = Echo::start().await;
    let config = routes(&echo).route("path = \"/own\"\naccess = \"required\"\ncredentials = [\"session\"]");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    let request = Request::get("/own").cookies(&ada.cookies()).bearer("a token of the app");
    let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));

    assert_eq!(seen.header("Authorization"), Some("Bearer a token of the app"));
    nauth.send(&Request::get("/own").bearer(&ada.access_token)).await.expect(401);
}

#[tokio::test]
async fn a_present_bearer_is_the_only_credential() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;

    let request = Request::get("/").cookies(&ada.cookies()).bearer("not a token");

    nauth.send(&request).await.expect_error(401, "AUTH_TOKEN_INVALID");
}

#[tokio::test]
async fn a_credential_that_does_not_verify_is_anonymous_only_where_anonymous_may_be() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;

    for request in
        [Request::get("/maybe").bearer("not a token"), Request::get("/maybe").cookies("nauth_access_token=%%%")]
    {
        let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
        assert_eq!(seen.header("X-Forwarded-User"), None);
    }
    nauth.send(&Request::get("/").bearer("not a token")).await.expect_error(401, "AUTH_TOKEN_INVALID");
}

#[tokio::test]
async fn an_app_keeps_a_listed_name_that_nauth_does_not_inject() {
    let echo = Echo::start().await;
    let config =
        routes(&echo).route("path = \"/legacy\"\naccess = \"public\"\nkeep_request_headers = [\"x-auth-token\"]");
    let nauth = Nauth::start(config).await;

    let request = |path: &str| Request::get(path).header("X-Auth-Token", "of-the-app").header("X-Auth-User", "kept");

    let seen = Seen::in_answer(&nauth.send(&request("/legacy")).await.expect(200));
    assert_eq!(seen.header("X-Auth-Token"), Some("of-the-app"));
    let seen = Seen::in_answer(&nauth.send(&request("/open")).await.expect(200));
    assert_eq!(seen.header("X-Auth-Token"), None);
}

#[tokio::test]
async fn an_upstream_sets_its_own_cookies_and_none_of_ours() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo).route("path = \"/cookies\"\naccess = \"public\"")).await;

    let answer = nauth.send(&Request::get("/cookies")).await.expect(200);

    let cookies: Vec<&str> = answer.headers_named("set-cookie").collect();
    assert!(cookies.iter().any(|line| line.starts_with("app=1")), "{answer}");
    assert!(
        !cookies.iter().any(|line| line.to_lowercase().contains("nauth_") && !line.starts_with("NAUTH")),
        "{answer}"
    );
    assert_eq!(answer.header("x-nauth-assertion"), None);
    assert_eq!(answer.header("x-nauth-intercepted"), None);
    assert_eq!(answer.header("x-app"), Some("mine"));
}

#[tokio::test]
async fn an_upstream_speaks_in_nauths_name_neither_before_its_answer_nor_instead_of_one() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).listener("addr = \"{public}\"\nhttp2 = true");
    let nauth = Nauth::start(config.route("path = \"/\"\naccess = \"public\"\nwebsocket = true")).await;

    let mut hinted = Connection::open(nauth.public()).await;
    hinted.send(&Request::get("/hints")).await;
    let hints = hinted.head().await;
    assert_eq!((hints.status, hints.header("link").is_some()), (103, true));
    assert_eq!((hints.header("x-nauth-user"), hints.header("set-cookie")), (None, None), "{hints}");
    hinted.answer().await.expect(200);

    nauth.send(&Request::get("/switch")).await.expect_error(502, "BAD_GATEWAY");
    let mut client = Http2::open(nauth.public()).await;
    client.ask(&Request::get("/switch")).await.expect_error(502, "BAD_GATEWAY");
    client.ask(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn who_forwards_is_told_by_nauth_unless_the_peer_is_trusted() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;

    let request = Request::get("/open")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "for=203.0.113.9;proto=https;host=evil.example")
        .header("X-Real-IP", "203.0.113.9")
        .header("X_Real_IP", "203.0.113.9")
        .header("True-Client-IP", "203.0.113.9")
        .header("X-Forwarded-Port", "666")
        .header("X-SSL-Client-Verify", "SUCCESS");
    let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
    for name in ["X-Real-IP", "X_Real_IP", "True-Client-IP", "X-Forwarded-Port", "X-SSL-Client-Verify"] {
        assert_eq!(seen.header(name), None);
    }

    assert_eq!(seen.header("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("http"));
    assert_eq!(seen.header("X-Forwarded-Host"), Some(nauth.host().as_str()));
    let evil: Vec<_> = seen.headers.iter().filter(|(_, value)| value.contains("evil")).collect();
    assert!(evil.is_empty(), "{evil:?}");
    assert!(!seen.header("Forwarded").unwrap_or_default().contains("203.0.113.9"), "{seen:?}");
}

#[tokio::test]
async fn a_trusted_proxy_may_say_what_proxies_say() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo).set("server.trusted_proxies", json!(["127.0.0.1"]))).await;

    let request = Request::get("/open").header("X-Real-IP", "203.0.113.9").header("X-Forwarded-Port", "8443");
    let seen = Seen::in_answer(&nauth.send(&request.header("X_Real_IP", "203.0.113.8")).await.expect(200));

    assert_eq!((seen.header("X-Real-IP"), seen.header("X-Forwarded-Port")), (Some("203.0.113.9"), Some("8443")));
    assert_eq!(seen.header("X_Real_IP"), None, "spelled so that nobody overwrites it");
}

#[tokio::test]
async fn what_was_decided_about_is_what_the_app_does() {
    let echo = Echo::start().await;
    let config = routes(&echo)
        .route("path = \"/old\"\naccess = \"public\"\nkeep_request_headers = [\"X-HTTP-Method-Override\"]");
    let nauth = Nauth::start(config).await;
    let names = ["X-HTTP-Method-Override", "x_http_method_override", "X-HTTP-Method", "X-Method-Override", "Proxy"];
    let request = |path: &str| names.iter().fold(Request::post(path), |request, name| request.header(name, "DELETE"));

    let seen = Seen::in_answer(&nauth.send(&request("/open")).await.expect(200));
    for name in names {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let kept = Seen::in_answer(&nauth.send(&request("/old")).await.expect(200));
    assert_eq!((kept.header("X-HTTP-Method-Override"), kept.header("X-HTTP-Method")), (Some("DELETE"), None));
}

#[tokio::test]
async fn behind_trusted_proxies_the_client_is_the_right_most_address_nobody_vouches_for() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo)
        .set("server.trusted_proxies", json!(["127.0.0.0/8", "10.0.0.0/8"]))
        .route("path = \"/open\"\naccess = \"public\"")
        .route("path = \"/office\"\naccess = \"public\"\nallow_ips = [\"203.0.113.0/24\"]");
    let nauth = Nauth::start(config).await;
    let cases = [
        ("203.0.113.9", true),
        ("198.51.100.1, 203.0.113.9", true),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", true),
        ("203.0.113.9, 198.51.100.1", false),
        ("203.0.113.9, nonsense", false),
        ("10.0.0.1", false),
    ];

    for (forwarded_for, is_allowed) in cases {
        let request = |path: &str| Request::get(path).header("X-Forwarded-For", forwarded_for);
        let office = nauth.send(&request("/office")).await;
        assert_eq!(office.status == 200, is_allowed, "{forwarded_for}: {office}");
        nauth.send(&request("/open")).await.expect(200);
    }
    let refused = nauth.send(&Request::get("/office")).await.expect_error(403, "FORBIDDEN");
    assert_eq!(refused.json()["details"]["reason"], "address");
}

#[tokio::test]
async fn an_untrusted_peer_cannot_choose_its_address() {
    let echo = Echo::start().await;
    let config =
        Config::in_front_of(&echo).route("path = \"/office\"\naccess = \"public\"\nallow_ips = [\"203.0.113.0/24\"]");
    let nauth = Nauth::start(config).await;

    for name in ["X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "Client-IP"] {
        nauth.send(&Request::get("/office").header(name, "203.0.113.9")).await.expect(403);
    }
}

#[tokio::test]
async fn names_with_spaces_are_no_names() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(routes(&echo)).await;

    for line in
        ["X-Forwarded User: evil", "X-Forwarded-User : evil", " X-Forwarded-User: evil", "X-Forwarded-User\u{b}: evil"]
    {
        let bytes = format!("GET /open HTTP/1.1\r\nHost: {}\r\n{line}\r\nConnection: close\r\n\r\n", nauth.host());
        if let Some(answer) = send_raw(nauth.public(), bytes).await {
            assert!(answer.status == 400 || !answer.text().contains("evil"), "{line:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn roles_decide_and_are_told_to_the_upstream() {
    let echo = Echo::start().await;
    let config = routes(&echo).route("path = \"/admin\"\naccess = \"required\"\nroles = [\"admin\"]");
    let nauth = Nauth::start(config).await;
    let ada: Account = nauth.signup("ada@example.com").await;

    let refused = nauth.send(&Request::get("/admin").bearer(&ada.access_token)).await.expect_error(403, "FORBIDDEN");

    assert_eq!(refused.json()["details"]["reason"], "role");
    assert_eq!(refused.header("x-nauth-intercepted"), Some("1"));
    let as_navigation = Request::get("/admin").cookies(&ada.cookies()).header("Sec-Fetch-Mode", "navigate");
    nauth.send(&as_navigation).await.expect(403);
    let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200));
    assert_eq!(seen.header("X-Forwarded-Groups"), Some("user"));
}

#[tokio::test]
async fn an_unproven_address_is_no_verified_one() {
    let echo = Echo::start().await;
    let config = routes(&echo).route("path = \"/club\"\naccess = \"required\"\nverified_email = true");
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    let refused = nauth.send(&Request::get("/club").bearer(&ada.access_token)).await.expect_error(403, "FORBIDDEN");

    assert_eq!(refused.json()["details"]["reason"], "verified_email");
}
