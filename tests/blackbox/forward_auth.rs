//! Forward-auth: another proxy asks about a request, in one of three ways, and tricks are answered with no.

use serde_json::json;

use crate::support::{
    Account, Answer, Config, Connection, Http2, Nauth, PASSWORD, Request, claims_of, eventually, secs,
};

/// How one kind of proxy asks about a method and a target.
type Ask = fn(&str, &str) -> Request;

/// What the questions are about unless a test says otherwise.
const HOST: &str = "app.localhost";

fn config(headers: &str) -> Config {
    Config::whoami()
        .without_verification()
        .set("forward_auth.enabled", true)
        .set("forward_auth.trusted", json!(["127.0.0.1"]))
        .set("forward_auth.headers", headers)
        .set("authorization.known_roles", json!(["boss"]))
        .route("path = \"/\"\naccess = \"required\"\nwebsocket = true")
        .route("path = \"/public\"\naccess = \"public\"")
        .route("path = \"/optional\"\naccess = \"optional\"")
        .route("path = \"/boss\"\nroles = [\"boss\"]")
        .route("path = \"/get\"\nmethods = [\"GET\"]")
        .route("path = \"/office\"\naccess = \"public\"\nallow_ips = [\"192.0.2.0/24\"]")
        .route("path = \"/rare\"\naccess = \"public\"\nrate_limit = { max = 1, window = \"1h\" }")
        .route("path = \"/slash\"\naccess = \"public\"\nencoded_slash = \"keep\"")
}

/// Asks as Traefik, Caddy and `HAProxy` do.
fn question(method: &str, target: &str) -> Request {
    Request::get("/auth/verify")
        .header("X-Forwarded-Method", method)
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", HOST)
        .header("X-Forwarded-Uri", target)
        .header("X-Forwarded-For", "203.0.113.9")
}

/// A question of nginx.
fn question_of_nginx(method: &str, target: &str) -> Request {
    Request::get("/auth/verify")
        .header("X-Original-Method", method)
        .header("X-Original-URL", &format!("http://{HOST}{target}"))
        .header("X-Forwarded-For", "203.0.113.9")
}

/// A question of Envoy.
fn question_of_envoy(method: &str, target: &str) -> Request {
    Request::new(method, &format!("/auth/verify{target}")).header("Host", HOST).header("X-Forwarded-For", "203.0.113.9")
}

fn navigation(request: Request) -> Request {
    request.header("Sec-Fetch-Mode", "navigate").header("Accept", "text/html")
}

#[track_caller]
fn assert_names(answer: &Answer, user: &str) {
    assert_eq!(answer.status, 200, "{answer}");
    for name in ["user", "email", "name", "groups"] {
        let values: Vec<&str> = answer.headers_named(&format!("remote-{name}")).collect();
        assert_eq!(values.len(), 1, "every name is answered once: {answer}");
    }
    assert_eq!(answer.header("remote-user"), Some(user), "{answer}");
    assert!(answer.body.is_empty(), "{answer}");
}

#[tokio::test]
async fn each_kind_of_proxy_is_told_whose_request_it_is() {
    let kinds: [(&str, Ask); 3] =
        [("x-forwarded", question), ("x-original", question_of_nginx), ("envoy", question_of_envoy)];
    for (kind, ask) in kinds {
        let nauth = Nauth::start(config(kind)).await;
        let ada = nauth.signup("ada@example.com").await;

        let known = nauth.send(&ask("GET", "/a?b=%2e").cookies(&ada.cookies())).await;
        assert_names(&known, &ada.sub);
        assert_eq!(known.header("remote-groups"), Some("user"));
        let assertion = known.header("x-nauth-assertion").unwrap();
        assert_eq!(assertion.split('.').count(), 3, "{known}");
        assert_names(&nauth.send(&ask("POST", "/a").bearer(&ada.access_token)).await, &ada.sub);
        assert_names(&nauth.send(&ask("GET", "/optional").cookies(&ada.cookies())).await, &ada.sub);
        let anonymous = nauth.send(&ask("GET", "/optional")).await;
        assert_names(&anonymous, "");
        assert_eq!(anonymous.header("x-nauth-assertion"), Some(""), "{anonymous}");
        assert_names(&nauth.send(&ask("GET", "/public").cookies(&ada.cookies())).await, "");
        nauth.send(&ask("GET", "/a")).await.expect(401);

        let asked = |decision: &'static str| {
            let nauth = &nauth;
            let labels = [format!("preset=\"{kind}\""), format!("decision=\"{decision}\"")];
            async move { nauth.metric("nauth_forward_auth_requests_total", &[&labels[0], &labels[1]]).await }
        };
        assert!((asked("allow").await - 5.0).abs() < f64::EPSILON && (asked("deny").await - 1.0).abs() < f64::EPSILON);
    }
}

#[tokio::test]
async fn without_the_switch_nobody_is_answered() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.send(&question("GET", "/").cookies(&ada.cookies())).await.expect_error(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn strangers_may_not_ask() {
    let nauth = Nauth::start(config("x-forwarded").set("forward_auth.trusted", json!(["10.0.0.0/8"]))).await;
    let ada = nauth.signup("ada@example.com").await;

    for forged in ["10.0.0.1", "127.0.0.1"] {
        let ask = Request::get("/auth/verify").header("X-Forwarded-For", forged).cookies(&ada.cookies());
        nauth.send(&ask).await.expect_error(403, "FORBIDDEN");
    }
    let whole = nauth.send(&question("GET", "/public")).await.expect_error(403, "FORBIDDEN");
    assert_eq!(whole.header("remote-user"), None, "{whole}");
    let strangers = nauth.metric("nauth_rejected_requests_total", &["proxy_untrusted"]).await;
    assert!((strangers - 3.0).abs() < f64::EPSILON, "{strangers}");
}

#[tokio::test]
async fn refusals_are_the_gateways_own() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;

    let login = nauth.send(&navigation(question("GET", "/a?b=1"))).await.expect(302);
    assert_eq!(login.header("location"), Some("/auth/ui/login?return_to=/a?b%3D1"), "{login}");
    nauth.send(&question("GET", "/a")).await.expect_error(401, "AUTH_TOKEN_INVALID");
    nauth.send(&question("GET", "/boss").bearer(&ada.access_token)).await.expect_error(403, "FORBIDDEN");
    nauth.send(&question("POST", "/get").bearer(&ada.access_token)).await.expect_error(405, "METHOD_NOT_ALLOWED");
    nauth.send(&question("TRACE", "/public")).await.expect_error(405, "METHOD_NOT_ALLOWED");
    let cross_site = question("POST", "/a").cookies(&ada.cookies()).header("Sec-Fetch-Site", "cross-site");
    nauth.send(&cross_site).await.expect_error(403, "FORBIDDEN");
    nauth.send(&question("GET", "/rare")).await.expect(200);
    nauth.send(&question("GET", "/rare")).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    assert!(nauth.metric("nauth_forward_auth_requests_total", &["challenge"]).await > 0.5);
}

#[tokio::test]
async fn no_refusal_looks_like_a_yes() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;

    // A gRPC client reads its refusals in an answer with status 200; a proxy would pass the request on.
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web", "text/html", "application/json"]
    {
        let call = |target: &str| question("POST", target).header("Content-Type", kind).header("TE", "trailers");
        nauth.send(&call("/a")).await.expect_error(401, "AUTH_TOKEN_INVALID");
        nauth.send(&call("/boss").bearer(&ada.access_token)).await.expect_error(403, "FORBIDDEN");
        nauth.send(&call("//a")).await.expect_error(400, "BAD_REQUEST");
        nauth.send(&call("/auth/login")).await.expect_error(404, "RESOURCE_NOT_FOUND");
        assert_names(&nauth.send(&call("/a").bearer(&ada.access_token)).await, &ada.sub);
    }
    let looked_at = navigation(question("GET", "/boss")).bearer(&ada.access_token);
    nauth.send(&looked_at).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn nginx_gets_401_and_403_alone_and_the_way_to_the_login_page() {
    let nauth = Nauth::start(config("x-original")).await;
    let ada = nauth.signup("ada@example.com").await;

    let login = nauth.send(&navigation(question_of_nginx("GET", "/a?b=1"))).await.expect(401);
    assert_eq!(login.header("x-nauth-redirect"), Some("/auth/ui/login?return_to=/a?b%3D1"), "{login}");
    assert_eq!(login.header("location"), None, "{login}");
    let api = nauth.send(&question_of_nginx("GET", "/api/x")).await.expect(401);
    assert_eq!(api.header("x-nauth-redirect"), None, "{api}");
    for (method, target) in [("GET", "/boss"), ("POST", "/get"), ("GET", "/a/../b"), ("get", "/"), ("GET", "//a")] {
        nauth.send(&question_of_nginx(method, target).bearer(&ada.access_token)).await.expect(403);
    }
    nauth.send(&Request::get("/auth/verify")).await.expect(403);

    // Other proxies may be as taciturn.
    let nauth = Nauth::start(config("x-forwarded").set("forward_auth.redirect", "header")).await;
    let login = nauth.send(&navigation(question("GET", "/a"))).await.expect(401);
    assert_eq!(login.header("x-nauth-redirect"), Some("/auth/ui/login?return_to=/a"), "{login}");
    nauth.send(&question("GET", "//a")).await.expect(403);
}

#[tokio::test]
async fn a_host_that_is_not_served_is_not_asked_about() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let about = |host: &str| {
        Request::get("/auth/verify")
            .header("Host", "127.0.0.1")
            .header("X-Forwarded-Method", "GET")
            .header("X-Forwarded-Proto", "http")
            .header("X-Forwarded-Host", host)
            .header("X-Forwarded-Uri", "/public")
            .header("X-Forwarded-For", "203.0.113.9")
    };

    nauth.send(&about("evil.example")).await.expect_error(421, "MISDIRECTED_REQUEST");
    nauth.send(&about(HOST)).await.expect(200);
    let by_proxy = about(HOST).header("X-Unused", "1");
    nauth.send(&by_proxy).await.expect(200);
}

#[tokio::test]
async fn the_proxys_own_name_for_nauth_needs_no_admission() {
    let nauth = Nauth::start(config("x-forwarded")).await;

    let ask = question("GET", "/public").header("Host", "nauth:8080");

    nauth.send(&ask).await.expect(200);
}

#[tokio::test]
async fn a_question_that_reads_in_two_ways_is_refused() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;

    let targets = [
        "/public/../boss",
        "/public/..%2fboss",
        "/public/..%2Fboss",
        "/public/%2e%2e/boss",
        "/public/..;/boss",
        "//public",
        "/public//x",
        "/public%2fx",
        "/public%2Fx",
        "/public\\..\\boss",
        "/public%5cboss",
        "/%70ublic",
        "/public#/boss",
        "http://app.localhost/public",
        "https://evil.example/public",
        "public",
        "",
    ];
    for target in targets {
        let answer = nauth.send(&question("GET", target).cookies(&ada.cookies())).await;
        assert_eq!(answer.status, 400, "{target}: {answer}");
        assert_eq!(answer.header("remote-user"), None, "{target}: {answer}");
    }
    nauth.send(&question("GET", "/slash/a%2Fb")).await.expect(200);
    for method in ["get", "", "GET /public"] {
        nauth.send(&question(method, "/public")).await.expect_error(400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn other_descriptions_beside_the_declared_one_are_refused() {
    let kinds: [(&str, Ask); 3] =
        [("x-forwarded", question), ("x-original", question_of_nginx), ("envoy", question_of_envoy)];
    let all = [
        ("X-Forwarded-Uri", "/public"),
        ("X-Forwarded-Method", "GET"),
        ("X-Original-URL", "http://app.localhost/public"),
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/public"),
        ("X-Rewrite-URL", "/public"),
        ("X-Envoy-Original-Path", "/public"),
        ("X_Forwarded_Uri", "/public"),
        ("X_Original_URL", "/public"),
    ];
    for (kind, ask) in kinds {
        let nauth = Nauth::start(config(kind)).await;
        nauth.send(&ask("GET", "/public")).await.expect(200);
        for (name, value) in all {
            // What is its own is there twice now, which is no better.
            let answer = nauth.send(&ask("GET", "/boss").header(name, value)).await;
            assert!([400, 403].contains(&answer.status), "{kind} {name}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_clients_own_identity_headers_say_nothing() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;

    let forged = |ask: Request| {
        ask.header("X-Forwarded-User", "root")
            .header("X-Forwarded-Groups", "boss")
            .header("Remote-User", "root")
            .header("X-Nauth-Assertion", "root")
    };
    assert_names(&nauth.send(&forged(question("GET", "/public"))).await, "");
    assert_names(&nauth.send(&forged(question("GET", "/a")).cookies(&ada.cookies())).await, &ada.sub);
    nauth.send(&forged(question("GET", "/boss")).cookies(&ada.cookies())).await.expect(403);
    // A proxy does not overwrite these; an app may read them all the same.
    nauth.send(&question("GET", "/public").header("X_Forwarded_User", "root")).await.expect_error(400, "BAD_REQUEST");
    nauth.send(&question("GET", "/public").header("Remote_User", "root")).await.expect_error(400, "BAD_REQUEST");
}

#[tokio::test]
async fn a_route_may_tell_its_proxy_in_other_words() {
    let route = "path = \"/grafana\"\nidentity = { preset = \"grafana\", user = \"email\" }";
    let nauth = Nauth::start(config("x-forwarded").route(route)).await;
    let ada = nauth.signup("ada@example.com").await;

    let answer = nauth.send(&question("GET", "/grafana").cookies(&ada.cookies())).await.expect(200);
    assert_eq!(answer.header("x-webauth-groups"), Some("user"), "{answer}");
    assert_eq!(answer.header("remote-user"), Some(""), "what the proxy copies is there all the same: {answer}");

    nauth.reconfigure(&config("x-forwarded").set("forward_auth.identity", "auth_request"));
    let told = eventually(secs(10), async || {
        let answer = nauth.send(&question("GET", "/a").cookies(&ada.cookies())).await;
        (answer.header("x-auth-request-user") == Some(ada.sub.as_str())).then_some(answer)
    });
    let answer = told.await.expect("a reload takes over what is told");
    assert_eq!(answer.header("remote-user"), None, "{answer}");
}

#[tokio::test]
async fn a_proxy_that_asks_gets_what_is_signed_under_the_names_its_application_reads() {
    let nauth = Nauth::start(
        config("x-forwarded")
            .route("path = \"/authentik\"\nidentity = { preset = \"authentik\" }")
            .route("path = \"/bearer\"\naccess = \"optional\"\nidentity = { preset = \"bearer\" }"),
    )
    .await;
    let ada = nauth.signup("ada@example.com").await;
    let by_cookies = |path: &str| question("GET", path).cookies(&ada.cookies());

    let answer = nauth.send(&by_cookies("/authentik")).await.expect(200);
    let claims = claims_of(answer.header("x-authentik-jwt").unwrap_or_default());
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!(ada.sub), &json!("app")), "{answer}");
    let keys = format!("{}/auth/.well-known/jwks.json", nauth.origin());
    assert_eq!(answer.header("x-authentik-meta-jwks"), Some(keys.as_str()), "{answer}");

    let answer = nauth.send(&by_cookies("/bearer").header("Authorization", "Basic YTpi")).await.expect(200);
    let bearer = answer.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    assert_eq!(claims_of(bearer)["sub"], json!(ada.sub), "{answer}");
    let nobody = nauth.send(&question("GET", "/bearer").header("Authorization", "Basic YTpi")).await.expect(200);
    assert_eq!(nobody.header("authorization"), Some(""), "the proxy copies it over what the client sent");
}

#[tokio::test]
async fn credentials_that_were_for_nauth_are_left_out_of_what_is_left() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;

    let cookies = format!("theme=dark; {}", ada.cookies());
    let by_cookie = nauth.send(&question("GET", "/a").cookies(&cookies).header("Authorization", "Basic YTpi")).await;
    assert_eq!(by_cookie.header("cookie"), Some("theme=dark"), "{by_cookie}");
    assert_eq!(by_cookie.header("authorization"), Some("Basic YTpi"), "{by_cookie}");
    let by_bearer = nauth.send(&question("GET", "/a").bearer(&ada.access_token)).await;
    assert_eq!((by_bearer.header("authorization"), by_bearer.header("cookie")), (Some(""), Some("")), "{by_bearer}");
}

#[tokio::test]
async fn nobody_is_asked_about_the_auth_api() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;

    // A page that could ask would read in the answer what it cannot read in its own cookies.
    for target in ["/auth/login", "/auth", "/auth/verify", "/auth/verify?x", "/auth/verify/x"] {
        let answer = nauth.send(&question("POST", target).cookies(&ada.cookies())).await;
        let answer = answer.expect_error(404, "RESOURCE_NOT_FOUND");
        assert_eq!(answer.header("cookie"), None, "{answer}");
    }
}

#[tokio::test]
async fn addresses_are_those_of_clients() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let from = |addresses: &[&str]| {
        let ask = Request::get("/auth/verify")
            .header("X-Forwarded-Method", "GET")
            .header("X-Forwarded-Proto", "http")
            .header("X-Forwarded-Host", HOST)
            .header("X-Forwarded-Uri", "/office");
        addresses.iter().fold(ask, |ask, address| ask.header("X-Forwarded-For", address))
    };

    nauth.send(&from(&["192.0.2.7"])).await.expect(200);
    nauth.send(&from(&["192.0.2.7, 127.0.0.1"])).await.expect(200);
    nauth.send(&from(&["203.0.113.9"])).await.expect_error(403, "FORBIDDEN");
    nauth.send(&from(&["192.0.2.7, 203.0.113.9"])).await.expect_error(403, "FORBIDDEN");
    nauth.send(&from(&["192.0.2.7", "203.0.113.9"])).await.expect_error(403, "FORBIDDEN");
    for nameless in [&[][..], &[""], &["unknown"], &["192.0.2.7, unknown"]] {
        nauth.send(&from(nameless)).await.expect_error(400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn questions_follow_each_other_on_one_connection_whatever_they_are_about() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let mut connection = Connection::open(nauth.public()).await;

    for method in ["HEAD", "GET", "OPTIONS", "POST", "HEAD"] {
        connection.ask(&question(method, "/public")).await.expect(200);
        let refused = connection.ask(&question(method, "/a")).await.expect(401);
        assert_eq!(refused.code(), "AUTH_TOKEN_INVALID", "the question was a GET, so its answer has a body");
    }

    let of_envoy = Nauth::start(config("envoy")).await;
    let head = of_envoy.send(&question_of_envoy("HEAD", "/a")).await.expect(401);
    assert!(head.body.is_empty(), "{head}");
}

#[tokio::test]
async fn sockets_are_opened_by_our_own_pages_only() {
    let nauth = Nauth::start(config("x-forwarded")).await;
    let ada = nauth.signup("ada@example.com").await;
    let socket = |target: &str, origin: &str| {
        question("GET", target).cookies(&ada.cookies()).header("Origin", origin).header("Sec-WebSocket-Version", "13")
    };
    let own = format!("http://{HOST}");

    // Traefik keeps `Upgrade` to itself.
    let key = |request: Request| request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let whole = |request: Request| key(request).header("Connection", "Upgrade").header("Upgrade", "websocket");
    nauth.send(&key(socket("/chat", &own))).await.expect(200);
    nauth.send(&whole(socket("/chat", &own))).await.expect(200);
    for foreign in ["https://evil.example", "null"] {
        nauth.send(&key(socket("/chat", foreign))).await.expect_error(403, "FORBIDDEN");
        nauth.send(&whole(socket("/chat", foreign))).await.expect_error(403, "FORBIDDEN");
    }
    nauth.send(&key(socket("/public", &own))).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn preflights_reach_the_app_without_an_identity() {
    let listed = json!(["http://spa.example"]);
    let nauth = Nauth::start(config("x-forwarded").set("token_delivery.web_origins", listed)).await;
    let preflight = |target: &str, origin: &str| {
        question("OPTIONS", target).header("Origin", origin).header("Access-Control-Request-Method", "PUT")
    };

    assert_names(&nauth.send(&preflight("/a", "http://spa.example")).await, "");
    nauth.send(&preflight("/a", "https://evil.example")).await.expect_error(403, "FORBIDDEN");
    assert_names(&nauth.send(&preflight("/optional", "https://evil.example")).await, "");
}

fn short_lived() -> Config {
    config("x-forwarded").set("jwt.access_ttl", "1s").set("jwt.leeway", "0s").set("jwt.refresh_grace", "1s")
}

async fn expired(nauth: &Nauth, account: &Account) {
    let lapsed = eventually(secs(5), async || {
        let answer = nauth.send(&question("GET", "/a").bearer(&account.access_token)).await;
        (answer.status == 401).then_some(())
    });
    assert!(lapsed.await.is_some(), "the access token does not expire");
}

#[tokio::test]
async fn an_expired_access_cookie_is_no_matter_beside_a_current_refresh_cookie() {
    let nauth = Nauth::start(short_lived()).await;
    let ada = nauth.signup("ada@example.com").await;
    expired(&nauth, &ada).await;

    for cookies in [ada.cookies(), ada.refresh_cookie()] {
        for _ in 0..3 {
            let answer = nauth.send(&question("GET", "/a").cookies(&cookies)).await;
            assert_names(&answer, &ada.sub);
            assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");
        }
    }
    let rotated = nauth.metric("nauth_session_refreshes_total", &["rotated"]).await;
    assert!(rotated < 0.5, "nothing is rotated, because the browser would not learn of it");
    nauth.refresh(&ada).await;
}

#[tokio::test]
async fn roles_are_as_they_are_now_when_the_refresh_cookie_speaks() {
    let nauth = Nauth::start(short_lived()).await;
    let ada = nauth.signup("ada@example.com").await;
    expired(&nauth, &ada).await;
    let ask = question("GET", "/boss").cookies(&ada.cookies());
    nauth.send(&ask).await.expect_error(403, "FORBIDDEN");

    nauth.command(&["user", "grant-role", "ada@example.com", "boss"]).await.expect(0);

    let granted = eventually(secs(5), async || (nauth.send(&ask).await.status == 200).then_some(())).await;
    assert!(granted.is_some(), "the new role is not seen");
    nauth.command(&["user", "disable", "ada@example.com", "--reason", "left"]).await.expect(0);
    let ended = eventually(secs(5), async || (nauth.send(&ask).await.status == 401).then_some(())).await;
    assert!(ended.is_some(), "a disabled user is let in");
}

#[tokio::test]
async fn a_logout_counts_at_once() {
    let nauth = Nauth::start(short_lived()).await;
    let ada = nauth.signup("ada@example.com").await;
    expired(&nauth, &ada).await;
    nauth.send(&question("GET", "/a").cookies(&ada.cookies())).await.expect(200);

    let logout = Request::post("/auth/logout").cookies(&ada.cookies()).header("Sec-Fetch-Site", "same-origin");
    nauth.send(&logout).await.expect(200);

    let answer = nauth.send(&question("GET", "/a").cookies(&ada.cookies())).await.expect(401);
    assert!(answer.clears_cookie("nauth_refresh_token"), "{answer}");
}

#[tokio::test]
async fn a_former_refresh_cookie_is_good_for_the_grace_alone() {
    let nauth = Nauth::start(short_lived()).await;
    let ada = nauth.signup("ada@example.com").await;
    let ask = |account: &Account| question("GET", "/a").cookies(&account.refresh_cookie());
    let renewed = nauth.refresh(&ada).await;

    // Nobody has seen the new one: a browser that lost it on the way still has the former.
    assert_names(&nauth.send(&ask(&ada)).await, &ada.sub);
    assert_names(&nauth.send(&ask(&renewed)).await, &ada.sub);

    let refused = eventually(secs(10), async || (nauth.send(&ask(&ada)).await.status == 401).then_some(())).await;
    assert!(refused.is_some(), "a former token is good for ever");
    nauth.send(&ask(&renewed)).await.expect(401);
    assert!(nauth.metric("nauth_sessions_ended_total", &["token_reuse"]).await > 0.5, "reuse ends the family");
}

#[tokio::test]
async fn a_refresh_cookie_does_not_speak_for_other_sites_pages() {
    let nauth = Nauth::start(short_lived()).await;
    let ada = nauth.signup("ada@example.com").await;

    let cross_site = |ask: Request| ask.cookies(&ada.refresh_cookie()).header("Sec-Fetch-Site", "cross-site");
    nauth.send(&cross_site(question("GET", "/a"))).await.expect(401);
    nauth.send(&cross_site(question("POST", "/a"))).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_route_without_an_upstream_only_says_who_may() {
    let nauth = Nauth::start(config("x-forwarded").table("[[routes]]\npath = \"/rule\"")).await;
    let ada = nauth.signup("ada@example.com").await;

    assert_names(&nauth.send(&question("GET", "/rule").cookies(&ada.cookies())).await, &ada.sub);
    nauth.send(&question("GET", "/rule")).await.expect(401);
    nauth.send(&Request::get("/rule").cookies(&ada.cookies())).await.expect_error(404, "RESOURCE_NOT_FOUND");
    nauth.writes("route=\"/rule\"").await;
}

#[tokio::test]
async fn questions_come_by_http2_too() {
    let of_envoy: Ask = |method, target| {
        Request::new(method, &format!("/auth/verify{target}")).header("X-Forwarded-For", "203.0.113.9")
    };
    let kinds: [(&str, Ask); 3] = [("x-forwarded", question), ("x-original", question_of_nginx), ("envoy", of_envoy)];
    for (kind, ask) in kinds {
        let nauth = Nauth::start(config(kind).listener("addr = \"{public}\"\nhttp2 = true")).await;
        let mut client = Http2::open(nauth.public()).await;
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let signup = client.ask(&Request::post("/auth/signup").json(&body)).await.expect(201);
        let ada = Account::in_answer(&signup);

        for method in ["HEAD", "GET", "POST"] {
            assert_names(&client.ask(&ask(method, "/a").bearer(&ada.access_token)).await, &ada.sub);
            let refused = client.ask(&ask(method, "/a")).await.expect(401);
            let is_head = kind == "envoy" && method == "HEAD";
            assert_eq!(refused.body.is_empty(), is_head, "{kind} {method}: {refused}");
        }
        let refused = client.ask(&ask("GET", "/public//x")).await;
        assert!([400, 403].contains(&refused.status), "{kind}: {refused}");
    }
}
