//! What a browser meets: the login page, cookies and their flags, and requests other sites make it send.

use serde_json::json;

use crate::support::{Answer, Browser, Config, Echo, Form, Nauth, PASSWORD, Request, Seen, eventually, secs};

const TOKEN_COOKIES: [&str; 2] = ["nauth_access_token", "nauth_refresh_token"];

#[tokio::test]
async fn a_navigation_is_led_to_the_login_page_and_remembers_where_it_wanted_to_go() {
    let nauth = Nauth::start(Config::whoami()).await;
    let mut browser = Browser::new(&nauth);

    let answer = browser.visit("/reports?year=2026&x=%2F").await.expect(302);

    let location = answer.header("location").unwrap();
    let query = location.strip_prefix("/auth/ui/login?").unwrap_or_else(|| panic!("led to {location}"));
    let wanted = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to").unwrap().1;
    assert_eq!(wanted, "/reports?year=2026&x=%2F");
    assert_eq!(answer.header("x-nauth-intercepted"), Some("1"));
    assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-store")), "{answer}");
}

#[tokio::test]
async fn a_person_signs_up_on_the_page_enters_the_code_and_lands_where_they_wanted_to_go() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;
    let mut browser = Browser::new(&nauth);

    let page = browser.open("/reports?year=2026").await.expect(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page}");
    let page = browser.submit(&signup_form(&page, "ada@example.com")).await.expect(200);
    let code = nauth.code_for("ada@example.com").await;
    let landed = browser.submit(&Form::with_fields(&page, &["code"]).fill("code", &code)).await.expect(200);

    let seen = Seen::in_answer(&landed);
    assert_eq!(seen.target, "/reports?year=2026");
    assert!(seen.header("X-Forwarded-User").is_some(), "{seen:?}");
    assert!(TOKEN_COOKIES.iter().all(|name| browser.cookie(name).is_some()), "{}", browser.cookie_line());
}

#[tokio::test]
async fn a_person_logs_in_on_the_page_after_a_wrong_password() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let mut browser = Browser::new(&nauth);

    let page = browser.open("/reports").await.expect(200);
    let again = browser.submit(&login_form(&page, "ada@example.com", "not the password")).await;
    assert!([200, 401].contains(&again.status), "{again}");
    let landed = browser.submit(&login_form(&again, "ada@example.com", PASSWORD)).await.expect(200);

    let seen = Seen::in_answer(&landed);
    assert_eq!((seen.target.as_str(), seen.header("X-Forwarded-User")), ("/reports", Some(ada.sub.as_str())));
}

#[tokio::test]
async fn the_page_runs_no_script_and_is_framed_by_nobody() {
    let nauth = Nauth::start(Config::whoami()).await;

    let page = Browser::new(&nauth).open("/auth/ui/login").await.expect(200);

    let policy = page.header("content-security-policy").unwrap_or_else(|| panic!("no policy: {page}"));
    assert!(policy.contains("default-src 'none'") || policy.contains("script-src 'none'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    assert!(!page.text().to_lowercase().contains("<script"), "{page}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn the_page_leads_nowhere_else() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    nauth.signup("ada@example.com").await;
    let elsewhere = [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/%5Cevil.example",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/\t/evil.example",
        "http:evil.example",
    ];

    for target in elsewhere {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", target).finish();
        let mut browser = Browser::new(&nauth);
        let page = browser.open(&format!("/auth/ui/login?{query}")).await.expect(200);
        // `Browser` refuses to follow a redirect to another origin.
        let landed = browser.submit(&login_form(&page, "ada@example.com", PASSWORD)).await.expect(200);
        let path = Seen::in_answer(&landed).target;
        assert!(!path.contains("evil"), "{target:?} led to {path}");
    }
}

#[tokio::test]
async fn the_page_shows_markup_as_text() {
    let nauth = Nauth::start(Config::whoami()).await;

    let page = Browser::new(&nauth).open("/auth/ui/login?return_to=%2F%22%3E%3Cb%3Ebold").await.expect(200);

    assert!(!page.text().contains("<b>bold"), "{page}");
}

#[tokio::test]
async fn other_sites_cannot_post_to_the_page() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    nauth.signup("ada@example.com").await;
    let mut browser = Browser::new(&nauth);
    browser.open("/auth/ui/login").await.expect(200);

    let fields =
        [("identifier".to_owned(), "ada@example.com".to_owned()), ("password".to_owned(), PASSWORD.to_owned())];
    let forged = Request::post("/auth/ui/login")
        .form(&fields)
        .header("Origin", "https://evil.example")
        .header("Sec-Fetch-Site", "cross-site")
        .header("Sec-Fetch-Mode", "navigate");
    let answer = browser.send(&forged).await;

    assert!([401, 403].contains(&answer.status), "{answer}");
    assert!(answer.cookie("nauth_access_token").is_none(), "{answer}");
}

#[tokio::test]
async fn a_script_gets_a_401_it_can_read() {
    let nauth = Nauth::start(Config::whoami()).await;

    let answer = Browser::new(&nauth).fetch(Request::get("/reports")).await;

    let answer = answer.expect_error(401, "AUTH_TOKEN_INVALID");
    assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{answer}");
    assert_eq!(answer.header("x-nauth-intercepted"), Some("1"));
}

#[tokio::test]
async fn who_is_led_to_the_login_page_is_decided_by_what_the_request_says() {
    let nauth = Nauth::start(Config::whoami().route("path = \"/\"\naccess = \"required\"")).await;
    let html = "text/html,*/*;q=0.8";
    let cases = [
        (302, Request::get("/").header("Accept", html)),
        (302, Request::get("/").header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Site", "cross-site")),
        (401, Request::get("/").header("Sec-Fetch-Mode", "cors").header("Accept", html)),
        (401, Request::get("/").header("Accept", "application/json")),
        (401, Request::get("/")),
        (401, Request::get("/api/users").header("Accept", html)),
        (302, Request::get("/apis").header("Accept", html)),
        (401, Request::post("/").header("Accept", html)),
        (
            401,
            Request::get("/")
                .header("Accept", html)
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ),
    ];

    for (status, request) in cases {
        let answer = nauth.send(&request).await;
        // An Upgrade on a route without `websocket` may be refused as such before it is asked who it is.
        let refused_upgrade = format!("{request:?}").contains("websocket") && answer.status == 403;
        assert!(answer.status == status || refused_upgrade, "{request:?}\n{answer}");
    }
}

#[tokio::test]
async fn a_route_may_always_redirect_or_never() {
    let config = Config::whoami()
        .route("path = \"/always\"\naccess = \"required\"\non_unauthenticated = \"redirect\"")
        .route("path = \"/never\"\naccess = \"required\"\non_unauthenticated = \"401\"");
    let nauth = Nauth::start(config).await;

    nauth.send(&Request::get("/always")).await.expect(302);
    Browser::new(&nauth).visit("/never").await.expect(401);
}

#[tokio::test]
async fn who_shows_signs_of_a_browser_gets_cookies_and_who_does_not_gets_json() {
    let config =
        Config::whoami().without_verification().set("token_delivery.native_origins", json!(["http://app.local"]));
    let nauth = Nauth::start(config).await;
    nauth.signup("ada@example.com").await;
    let login = || Request::post("/auth/login").json(&json!({ "identifier": "ada@example.com", "password": PASSWORD }));

    let by_cookie = [login().header("Origin", &nauth.origin()), login().header("Sec-Fetch-Site", "same-origin")];
    for request in by_cookie {
        let answer = nauth.send(&request).await.expect(200);
        assert!(TOKEN_COOKIES.iter().all(|name| answer.cookie(name).is_some()), "{answer}");
        let body = answer.json();
        assert!(body.get("accessToken").is_none() && body.get("refreshToken").is_none(), "{answer}");
        assert!(body.get("accessTokenExpiresAt").is_none() && body["user"].is_object(), "{answer}");
    }
    for request in [login(), login().header("Origin", "http://app.local")] {
        let answer = nauth.send(&request).await.expect(200);
        assert!(answer.json()["accessToken"].is_string(), "{answer}");
        assert!(TOKEN_COOKIES.iter().all(|name| answer.cookie(name).is_none()), "{answer}");
    }
}

#[tokio::test]
async fn what_came_in_a_cookie_is_answered_in_cookies_and_what_came_in_a_body_in_json() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let in_body = Request::post("/auth/refresh")
        .json(&json!({ "refreshToken": ada.refresh_token }))
        .header("Origin", &nauth.origin());
    let answer = nauth.send(&in_body).await.expect(200);
    assert!(answer.json()["refreshToken"].is_string(), "{answer}");
    assert!(answer.cookie("nauth_refresh_token").is_none(), "{answer}");

    let current = answer.json()["refreshToken"].as_str().unwrap().to_owned();
    let in_cookie = Request::post("/auth/refresh").cookies(&format!("nauth_refresh_token={current}"));
    let answer = nauth.send(&in_cookie).await.expect(200);
    assert_eq!(answer.json(), json!({}));
    assert!(TOKEN_COOKIES.iter().all(|name| answer.cookie(name).is_some()), "{answer}");
}

#[tokio::test]
async fn cookies_carry_their_flags() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let answer = login_by_cookie(&nauth).await;

    for name in TOKEN_COOKIES {
        let flags = flags(&answer, name);
        for wanted in ["httponly", "samesite=lax", "path=/", "priority=high"] {
            assert!(flags.contains(&wanted.to_owned()), "{name}: {flags:?}");
        }
        assert!(flags.iter().any(|flag| flag.starts_with("max-age=")), "{name}: {flags:?}");
        assert!(!flags.iter().any(|flag| flag == "secure" || flag.starts_with("domain=")), "{name}: {flags:?}");
    }
    let csrf = flags(&answer, "nauth_csrf_token");
    assert!(csrf.contains(&"samesite=strict".to_owned()) && !csrf.contains(&"httponly".to_owned()), "{csrf:?}");
    let value = answer.cookie("nauth_csrf_token").unwrap();
    assert!(value.split_once('.').is_some_and(|(random, mac)| random.len() >= 32 && mac.len() >= 32), "{value}");
}

#[tokio::test]
async fn behind_https_cookies_are_secure_and_only_our_names_are_served() {
    let config = Config::whoami()
        .without_verification()
        .set("server.public_url", "https://app.example.com")
        .set("email.provider", "smtp")
        .set("email.smtp.url", "smtp://127.0.0.1:9")
        .route("path = \"/\"\naccess = \"required\"\nallow_ips = [\"127.0.0.0/8\"]");
    let nauth = Nauth::start(config).await;
    let signup = Request::post("/auth/signup")
        .json(&json!({ "email": "ada@example.com", "password": PASSWORD }))
        .header("Origin", "https://app.example.com");

    let answer = nauth.send(&signup.clone().header("Host", "app.example.com")).await.expect(201);
    assert!(flags(&answer, "nauth_access_token").contains(&"secure".to_owned()), "{answer}");

    for host in ["localhost", "127.0.0.1", "evil.example", "app.example.com.evil.example"] {
        let answer = nauth.send(&Request::get("/").header("Host", host)).await;
        answer.expect_error(421, "MISDIRECTED_REQUEST");
    }
}

#[tokio::test]
async fn a_browser_is_known_behind_the_gateway_by_its_cookies() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let mut browser = logged_in(&nauth).await;
    browser.set_cookie("theme", "dark");

    let seen = Seen::in_answer(&browser.fetch(Request::get("/")).await.expect(200));

    assert!(seen.header("X-Forwarded-User").is_some(), "{seen:?}");
    assert_eq!(seen.header("Cookie"), Some("theme=dark"));
}

#[tokio::test]
async fn other_sites_cannot_make_a_browser_act_behind_the_gateway() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let browser = logged_in(&nauth).await;
    let own = nauth.origin();
    let with_cookies = || Request::post("/orders").cookies(&browser.cookie_line());
    let refused = [
        with_cookies().header("Sec-Fetch-Site", "cross-site"),
        with_cookies().header("Sec-Fetch-Site", "same-site"),
        with_cookies().header("Sec-Fetch-Site", "cross-site").header("Origin", "https://evil.example"),
        with_cookies().header("Origin", "https://evil.example"),
        with_cookies().header("Origin", "null"),
        with_cookies().header("Origin", &own.replace("http:", "https:")),
        with_cookies().header("Referer", "https://evil.example/page"),
    ];
    let allowed = [
        with_cookies().header("Sec-Fetch-Site", "same-origin"),
        with_cookies().header("Sec-Fetch-Site", "none"),
        with_cookies().header("Origin", &own),
        with_cookies().header("Referer", &format!("{own}/page")),
        with_cookies(),
    ];

    for request in refused {
        let answer = nauth.send(&request).await.expect_error(403, "FORBIDDEN");
        assert_eq!(answer.json()["details"]["reason"], "cross_site", "{request:?}");
    }
    assert_eq!(echo.seen().len(), 0, "nothing reached the upstream");
    for request in allowed {
        let answer = nauth.send(&request).await;
        assert_eq!(answer.status, 200, "{request:?}\n{answer}");
    }
}

#[tokio::test]
async fn reading_and_bearers_need_no_proof_of_where_they_come_from() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let reading = Request::get("/").cookies(&ada.cookies()).header("Sec-Fetch-Site", "cross-site");
    nauth.send(&reading).await.expect(200);
    let bearer = Request::post("/").bearer(&ada.access_token).header("Sec-Fetch-Site", "cross-site");
    nauth.send(&bearer).await.expect(200);
}

#[tokio::test]
async fn a_listed_origin_may_act() {
    let echo = Echo::start().await;
    let origins = json!(["http://spa.local"]);
    let config = Config::in_front_of(&echo).without_verification().set("token_delivery.web_origins", origins);
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    let act = |origin: &str| Request::post("/").cookies(&ada.cookies()).header("Origin", origin);
    nauth.send(&act("http://spa.local").header("Sec-Fetch-Site", "cross-site")).await.expect(200);
    nauth.send(&act("http://other.local").header("Sec-Fetch-Site", "cross-site")).await.expect(403);

    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/").header("Origin", origin).header("Access-Control-Request-Method", "POST")
    };
    let answer = nauth.send(&preflight("http://spa.local")).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://spa.local"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    nauth.send(&preflight("http://other.local")).await.expect(403);
}

#[tokio::test]
async fn other_sites_cannot_make_a_browser_log_in_or_refresh() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let login = Request::post("/auth/login").json(&json!({ "identifier": "ada@example.com", "password": PASSWORD }));
    let refresh = Request::post("/auth/refresh").cookies(&ada.refresh_cookie());

    for request in [login, refresh] {
        let forged = request.header("Origin", "https://evil.example").header("Sec-Fetch-Site", "cross-site");
        let answer = nauth.send(&forged).await.expect_error(403, "FORBIDDEN");
        assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");
    }
}

#[tokio::test]
async fn a_logout_by_cookie_needs_proof_that_our_page_asked_for_it() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let own = nauth.origin();

    for (method, path) in [("GET", "/auth/logout"), ("POST", "/auth/logout"), ("POST", "/auth/logout/all")] {
        let logout = || Request::new(method, path).cookies(&ada.cookies());
        let refused = [
            logout(),
            logout().header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "navigate"),
            logout().header("Sec-Fetch-Site", "same-site"),
            logout().header("Origin", "https://evil.example"),
            logout().header("Sec-Fetch-Site", "same-origin").header("Sec-Purpose", "prefetch"),
            logout().header("Sec-Fetch-Site", "same-origin").header("Purpose", "prefetch"),
        ];
        for request in refused {
            let answer = nauth.send(&request).await.expect_error(403, "FORBIDDEN");
            assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");
        }
    }
    nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await.expect(200);

    let logout = Request::get("/auth/logout").cookies(&ada.cookies()).header("Referer", &format!("{own}/account"));
    let answer = nauth.send(&logout).await.expect(200);
    assert!(TOKEN_COOKIES.iter().all(|name| answer.clears_cookie(name)), "{answer}");
    nauth.send(&Request::get("/auth/profile").bearer(&ada.access_token)).await.expect(401);
}

#[tokio::test]
async fn a_logout_works_with_the_refresh_cookie_alone() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let logout = Request::post("/auth/logout").cookies(&ada.refresh_cookie()).header("Sec-Fetch-Site", "same-origin");
    nauth.send(&logout).await.expect(200);

    let gone = eventually(secs(1), async || {
        let answer = nauth.send(&Request::get("/").bearer(&ada.access_token)).await;
        (answer.status == 401).then_some(())
    });
    assert!(gone.await.is_some());
}

#[tokio::test]
async fn json_delivery_reads_no_cookies_and_cookie_delivery_no_bearers() {
    let echo = Echo::start().await;
    let json_only =
        Nauth::start(Config::in_front_of(&echo).without_verification().set("token_delivery.method", "json"));
    let cookies_only =
        Nauth::start(Config::in_front_of(&echo).without_verification().set("token_delivery.method", "cookies"));
    let (json_only, cookies_only) = tokio::join!(json_only, cookies_only);

    let ada = json_only.signup("ada@example.com").await;
    json_only.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    json_only.send(&Request::get("/").cookies(&ada.cookies())).await.expect(401);
    let answer = json_only.send(&Request::get("/auth/profile").cookies(&ada.cookies())).await;
    answer.expect_error(401, "AUTH_COOKIES_NOT_ALLOWED");

    let answer = cookies_only.try_signup("ada@example.com", PASSWORD).await.expect(201);
    let access = answer.cookie("nauth_access_token").unwrap();
    cookies_only.send(&Request::get("/").cookies(&format!("nauth_access_token={access}"))).await.expect(200);
    let answer = cookies_only.send(&Request::get("/auth/profile").bearer(&access)).await;
    answer.expect_error(401, "AUTH_BEARER_NOT_ALLOWED");
}

/// The form for new accounts: on the page itself, or on the page it links to.
fn signup_form(page: &Answer, email: &str) -> Form {
    let form = Form::saying(page, "sign up");
    let name = if form.has("email") { "email" } else { "identifier" };
    form.fill(name, email).fill("password", PASSWORD)
}

fn login_form(page: &Answer, identifier: &str, password: &str) -> Form {
    Form::with_fields(page, &["identifier", "password"]).fill("identifier", identifier).fill("password", password)
}

async fn login_by_cookie(nauth: &Nauth) -> Answer {
    nauth.signup("ada@example.com").await;
    let login = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    nauth.send(&Request::post("/auth/login").json(&login).header("Origin", &nauth.origin())).await.expect(200)
}

async fn logged_in(nauth: &Nauth) -> Browser<'_> {
    nauth.signup("ada@example.com").await;
    let login = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    let mut browser = Browser::new(nauth);
    browser.fetch_with_origin(Request::post("/auth/login").json(&login)).await.expect(200);
    browser
}

/// The flags of a cookie, in lower case.
fn flags(answer: &Answer, name: &str) -> Vec<String> {
    let line = answer.set_cookie(name).unwrap_or_else(|| panic!("no {name}: {answer}"));
    line.split(';').skip(1).map(|flag| flag.trim().to_lowercase()).collect()
}

#[tokio::test]
async fn a_listed_pages_preflight_may_ask_for_what_the_app_takes() {
    let echo = Echo::start().await;
    let origin = "https://spa.example.com";
    let config = Config::in_front_of(&echo).table(&format!("[security.cors]\norigins = [\"{origin}\"]"));
    let nauth = Nauth::start(config).await;
    let asks = |path: &str| {
        Request::new("OPTIONS", path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PURGE")
            .header("Access-Control-Request-Headers", "x-app")
    };

    let app = nauth.send(&asks("/")).await.expect(204);
    let api = nauth.send(&asks("/auth/login")).await.expect(204);

    assert_eq!(app.header("access-control-allow-methods"), Some("PURGE"));
    assert_eq!(app.header("access-control-allow-headers"), Some("x-app"));
    assert_eq!(app.header("access-control-allow-origin"), Some(origin));
    assert!(!api.header("access-control-allow-methods").unwrap().contains("PURGE"));
    assert!(!api.header("access-control-allow-headers").unwrap().contains("x-app"));
    assert!(echo.seen().is_empty(), "the gateway answered both itself");
}

#[tokio::test]
async fn who_may_frame_our_pages_is_said_twice_and_alike() {
    let echo = Echo::start().await;
    for (written, frame_options, ancestors) in [
        ("", "DENY", "'none'"),
        ("frame_options = \"SAMEORIGIN\"\nreferrer_policy = \"no-referrer\"", "SAMEORIGIN", "'self'"),
    ] {
        let nauth = Nauth::start(Config::in_front_of(&echo).table(&format!("[security.headers]\n{written}"))).await;
        let page = nauth.send(&Request::get("/auth/ui/login")).await.expect(200);
        let error = nauth.send(&Request::get("/auth/session")).await;
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.ends_with(&format!("frame-ancestors {ancestors}")), "{policy}");
        let referrer = if written.is_empty() { "strict-origin-when-cross-origin" } else { "no-referrer" };
        for answer in [page, error] {
            assert_eq!(answer.header("x-frame-options"), Some(frame_options));
            assert_eq!(answer.header("referrer-policy"), Some(referrer));
        }
    }
}
