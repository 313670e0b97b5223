//! The real nginx, Caddy, `HAProxy` and Envoy in front of an app, asking nauth as `examples/forward-auth` says.
//!
//! The files are taken as they are shipped; only the three addresses in them are replaced. Envoy is no
//! package of most systems: it is run where `NAUTH_ENVOY` or the path leads to it, and its file is always
//! checked for its form.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{Answer, Config, Connection, Echo, Nauth, PASSWORD, Request, Seen, eventually, free_port, secs};

/// Where the examples have the proxy, nauth and the app.
const PROXY: &str = "127.0.0.1:8000";
const NAUTH: &str = "127.0.0.1:8080";
const APP: &str = "127.0.0.1:3000";

#[derive(Debug, Clone, Copy)]
enum Program {
    Nginx,
    Caddy,
    Haproxy,
    Envoy,
}

/// Where Envoy is, if it is anywhere.
#[expect(clippy::disallowed_methods, reason = "where programs are is no setting of nauth")]
fn envoy() -> Option<PathBuf> {
    let named = std::env::var_os("NAUTH_ENVOY").map(PathBuf::from);
    let places = ["/usr/bin/envoy", "/usr/local/bin/envoy"].map(PathBuf::from);
    named.or_else(|| places.into_iter().find(|place| place.exists()))
}

impl Program {
    /// Whether it can be run here. All but Envoy must be.
    fn is_here(self) -> bool {
        !matches!(self, Self::Envoy) || envoy().is_some()
    }

    /// `forward_auth.headers` of nauth behind it.
    fn headers(self) -> &'static str {
        match self {
            Self::Nginx => "x-original",
            Self::Caddy | Self::Haproxy => "x-forwarded",
            Self::Envoy => "envoy",
        }
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::Caddy => &["Caddyfile"],
            Self::Haproxy => &["haproxy.cfg", "nauth.lua"],
            Self::Envoy => &["envoy.yaml"],
        }
    }

    fn command(self, directory: &Path) -> Command {
        let program = |names: [&str; 2]| {
            let found = names.into_iter().find(|name| Path::new(name).exists());
            Command::new(found.unwrap_or_else(|| panic!("install {} (scripts/test does)", names[0])))
        };
        let mut command = match self {
            Self::Nginx => {
                std::fs::write(directory.join("main.conf"), NGINX).unwrap();
                let mut command = program(["/usr/sbin/nginx", "/usr/bin/nginx"]);
                command.args(["-e", "stderr", "-c", "main.conf", "-p"]).arg(directory);
                command
            }
            Self::Caddy => {
                let mut command = program(["/usr/bin/caddy", "/usr/local/bin/caddy"]);
                command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]);
                command
            }
            Self::Haproxy => {
                let mut command = program(["/usr/sbin/haproxy", "/usr/bin/haproxy"]);
                command.args(["-db", "-f", "haproxy.cfg"]);
                command
            }
            Self::Envoy => {
                let mut command = Command::new(envoy().unwrap());
                // Without it they would share memory by their number.
                command.args(["-c", "envoy.yaml", "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]);
                command
            }
        };
        command.env_clear().env("HOME", directory).current_dir(directory);
        command
    }
}

/// What stands around a file of `conf.d`: one process, and nothing written elsewhere.
const NGINX: &str = "daemon off; master_process off; pid nginx.pid; error_log stderr;
events { }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include nginx.conf;
}
";

/// A proxy, nauth and an app, as the examples put them together.
struct Site {
    proxy: Child,
    _directory: TempDir,
    _nauth: Nauth,
    app: Echo,
    address: SocketAddr,
}

impl Site {
    async fn start(program: Program) -> Self {
        Self::start_with(program, |config| config).await
    }

    async fn start_with(program: Program, more: impl FnOnce(Config) -> Config) -> Self {
        Self::start_by(program, "", more).await
    }

    /// With further rules behind those of the example.
    async fn start_by(program: Program, rules: &str, more: impl FnOnce(Config) -> Config) -> Self {
        let app = Echo::start().await;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = Config::shipped(example("nauth.toml") + rules)
            .set("server.public_url", format!("http://localhost:{}", address.port()))
            .set("forward_auth.headers", program.headers())
            .set("signup.verification_method", "none");
        let nauth = Nauth::start(more(config)).await;

        let directory = tempfile::tempdir().unwrap();
        for file in program.files() {
            let text = example(file)
                .replace("http://localhost:8000", &format!("http://localhost:{}", address.port()))
                .replace(PROXY, &address.to_string())
                .replace(NAUTH, &nauth.public().to_string())
                .replace(APP, &app.address().to_string())
                .replace(&in_envoy(PROXY), &in_envoy(&address.to_string()))
                .replace(&in_envoy(NAUTH), &in_envoy(&nauth.public().to_string()))
                .replace(&in_envoy(APP), &in_envoy(&app.address().to_string()));
            std::fs::write(directory.path().join(file), text).unwrap();
        }
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = program.command(directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut proxy = command.spawn().unwrap();
        let listens = eventually(secs(20), async || {
            let written = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            assert!(proxy.try_wait().unwrap().is_none(), "{program:?} ended:\n{}", written());
            tokio::net::TcpStream::connect(address).await.ok()
        });
        assert!(listens.await.is_some(), "{program:?} does not listen");
        Self { proxy, _directory: directory, _nauth: nauth, app, address }
    }

    async fn send(&self, request: &Request) -> Answer {
        request.send_to(self.address).await
    }

    fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Signs up through the proxy, as a page would; the user and the cookies.
    async fn signup(&self) -> (String, String) {
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let request = self.of_our_page(Request::post("/auth/signup").json(&body));
        let answer = self.send(&request).await.expect(201);
        let cookie = |name: &str| format!("{name}={}", answer.cookie(name).unwrap_or_else(|| panic!("{answer}")));
        let cookies = format!("{}; {}", cookie("nauth_access_token"), cookie("nauth_refresh_token"));
        (answer.json()["sub"].as_str().unwrap().to_owned(), cookies)
    }

    fn of_our_page(&self, request: Request) -> Request {
        request.header("Origin", &self.origin()).header("Sec-Fetch-Site", "same-origin")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

fn example(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/forward-auth").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An address as Envoy spells it.
fn in_envoy(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("{{ address: {host}, port_value: {port} }}")
}

fn navigation(target: &str) -> Request {
    Request::get(target).header("Sec-Fetch-Mode", "navigate").header("Accept", "text/html")
}

/// The way in: to the login page, and back with a session.
async fn users_log_in_and_are_known_to_the_app(program: Program) {
    let site = Site::start(program).await;

    let login = site.send(&navigation("/page?a=b%20c")).await.expect(302);
    let place = login.header("location").unwrap();
    assert_eq!(place, "/auth/ui/login?return_to=/page?a%3Db%2520c", "{login}");
    assert!(site.send(&navigation(place)).await.expect(200).text().contains("<form"));
    site.send(&Request::get("/page").header("Accept", "application/json")).await.expect(401);
    assert!(site.app.seen().is_empty(), "the app is asked nothing before");

    let (ada, cookies) = site.signup().await;
    let request = Request::post("/page?a=b%20c").cookies(&format!("theme=dark; {cookies}")).body("three apples");
    let answer = site.send(&site.of_our_page(request)).await.expect(200);
    let seen = Seen::in_answer(&answer);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/page?a=b%20c"));
    assert_eq!(answer.json()["body"], "three apples", "the question takes nothing of the body");
    assert_eq!(seen.header("Remote-User"), Some(ada.as_str()));
    assert_eq!(seen.header("Remote-Groups"), Some("user"));
    assert_eq!(seen.header("Cookie"), Some("theme=dark"), "nauth's cookies are not the app's");
    assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");

    site.send(&Request::get("/admin").cookies(&cookies)).await.expect(403);
    let foreign = Request::post("/page").cookies(&cookies).header("Origin", "https://evil.example");
    site.send(&foreign).await.expect(403);
}

/// What clients say about themselves, and about what they ask for.
async fn nothing_a_client_says_is_believed(program: Program) {
    let site = Site::start(program).await;
    let (ada, cookies) = site.signup().await;
    let forged = |request: Request| {
        request
            .header("Remote-User", "root")
            .header("remote-groups", "admin")
            .header("Remote-Email", "root@example.com")
    };
    let told = |seen: &Seen, name: &str| seen.header(name).unwrap_or_default().to_owned();

    let public = Seen::in_answer(&site.send(&forged(Request::get("/public"))).await.expect(200));
    for name in ["Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name"] {
        assert_eq!(told(&public, name), "", "{name}");
    }
    let known = Seen::in_answer(&site.send(&forged(Request::get("/page").cookies(&cookies))).await.expect(200));
    assert_eq!(told(&known, "Remote-User"), ada);
    assert_eq!(told(&known, "Remote-Groups"), "user");

    let asked = site.app.seen().len();
    site.send(&forged(Request::get("/admin").cookies(&cookies))).await.expect(403);
    let descriptions = [
        ("X-Forwarded-Uri", "/public"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Original-URL", "http://localhost/public"),
        ("X-Original-Method", "GET"),
        ("X-Rewrite-URL", "/public"),
        ("X_Forwarded_Uri", "/public"),
    ];
    for (name, value) in descriptions {
        let answer = site.send(&Request::get("/admin").cookies(&cookies).header(name, value)).await;
        assert!([400, 401, 403].contains(&answer.status), "{name}: {answer}");
    }
    assert_eq!(site.app.seen().len(), asked, "none of these reached the app");

    site.send(&Request::get("/public").header("Remote_User", "root").header("REMOTE.GROUPS", "admin")).await;
    let believed = site.app.seen().into_iter().flat_map(|seen| seen.headers).any(|(_, value)| value.contains("root"));
    assert!(!believed, "the app was told that a client is root");
}

/// Where a client comes from is the proxy's to say.
async fn no_client_chooses_its_address(program: Program) {
    let office = "\n[[routes]]\npath = \"/office\"\naccess = \"public\"\nallow_ips = [\"198.51.100.0/24\"]\n\
                  [[routes]]\npath = \"/here\"\naccess = \"public\"\nallow_ips = [\"127.0.0.1\"]\n";
    let site = Site::start_by(program, office, |config| config).await;

    // For a client on its own machine, Envoy gives whichever address that has.
    if !matches!(program, Program::Envoy) {
        site.send(&Request::get("/here")).await.expect(200);
    }
    for name in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
        let value = if name == "Forwarded" { "for=198.51.100.7" } else { "198.51.100.7" };
        site.send(&Request::get("/office").header(name, value)).await.expect(403);
    }
}

/// Paths that the proxy, nauth and the app could read in different ways.
async fn no_path_leads_around_the_rules(program: Program) {
    let site = Site::start(program).await;
    let tricks = [
        "/public/../admin",
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "/public/..;/admin",
        "/public\\..\\admin",
        "/public/..%5cadmin",
        "//admin",
        "/public//..//admin",
        "/./admin",
        "/%61dmin",
        "/admin%00",
        "/auth/../admin",
        "/auth/..%2fadmin",
        "/auth/%2e%2e/admin",
        "/auth%2f../admin",
        "/auth/verify/../../admin",
        "/public#/../admin",
    ];

    // Envoy gives everybody one form of a path, and of this one it is another: nothing leads out of /public.
    let is_one_of_public = |trick: &str| matches!(program, Program::Envoy) && trick == "/public//..//admin";
    for trick in tricks {
        let answer = site.send(&Request::get(trick)).await;
        if is_one_of_public(trick) {
            assert_eq!(Seen::in_answer(&answer).target, "/public/admin", "{answer}");
            continue;
        }
        assert_ne!(answer.status, 200, "{trick}: {answer}");
        assert_ne!(answer.status, 500, "{trick}: a refusal is no failure: {answer}");
    }
    let reached: Vec<String> = site.app.seen().into_iter().map(|seen| seen.target).collect();
    assert!(reached.iter().all(|target| target == "/public/admin"), "reached the app: {reached:?}");
    for question in ["/auth/verify", "/auth/verify?x", "/auth/verify/public"] {
        let answer = site.send(&Request::get(question).header("X-Forwarded-Uri", "/public")).await;
        assert!([400, 403, 404].contains(&answer.status), "only the proxy asks: {question}: {answer}");
    }
}

/// The access cookie lapses, the session goes on, and ends when it is ended.
async fn sessions_outlive_their_access_cookie_and_end_at_logout(program: Program) {
    let site = Site::start_with(program, |config| config.set("jwt.access_ttl", "1s").set("jwt.leeway", "0s")).await;
    let (ada, cookies) = site.signup().await;
    let refresh = cookies.split("; ").last().unwrap().to_owned();
    let access = cookies.split("; ").next().unwrap().to_owned();
    let page = |cookies: &str| Request::get("/page").cookies(cookies);
    let lapsed = eventually(secs(5), async || (site.send(&page(&access)).await.status == 401).then_some(())).await;
    assert!(lapsed.is_some(), "the access token does not expire");

    for cookies in [&cookies, &refresh, &cookies] {
        let answer = site.send(&page(cookies)).await.expect(200);
        assert_eq!(Seen::in_answer(&answer).header("Remote-User"), Some(ada.as_str()));
    }

    site.send(&site.of_our_page(Request::post("/auth/logout").cookies(&cookies))).await.expect(200);
    site.send(&page(&cookies)).await.expect(401);
    assert_eq!(site.send(&navigation("/page").cookies(&cookies)).await.status, 302);
}

/// Requests follow each other on a connection; a refusal of a HEAD has no body there.
async fn connections_go_on_after_refusals(program: Program) {
    let site = Site::start(program).await;
    let mut connection = Connection::open(site.address).await;

    for method in ["HEAD", "GET", "HEAD", "DELETE"] {
        let refused = connection.ask(&Request::new(method, "/page")).await;
        assert_eq!(refused.status, 401, "{method}: {refused}");
        if refused.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = Connection::open(site.address).await;
        }
        let public = Request::new(method, "/public");
        assert_eq!(connection.ask(&public).await.status, 200, "{method}");
    }
}

/// A socket is opened by our own pages alone, and works.
async fn sockets_pass_for_our_own_pages(program: Program) {
    let site = Site::start(program).await;
    let (_, cookies) = site.signup().await;
    let connect = async |cookies: &str, origin: &str| {
        let mut request = format!("ws://{}/ws", site.address).into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("host", format!("localhost:{}", site.address.port()).parse().unwrap());
        headers.insert("cookie", cookies.parse().unwrap());
        headers.insert("origin", origin.parse().unwrap());
        let stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await
    };

    let (mut socket, _) = connect(&cookies, &site.origin()).await.expect("our own page opens a socket");
    socket.send(Message::text("over the proxy")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("over the proxy"));

    for (cookies, origin) in [(cookies.as_str(), "https://evil.example"), ("a=b", &site.origin())] {
        let refused = connect(cookies, origin).await.unwrap_err();
        let tungstenite::Error::Http(answer) = refused else { panic!("{refused}") };
        assert!([401, 403].contains(&answer.status().as_u16()), "{origin}: {answer:?}");
    }
    assert_eq!(site.app.seen().len(), 1);
}

/// What every proxy copies from the answer into the request: what nauth tells, and what is left of its credentials.
async fn copied_names() -> Vec<String> {
    let config = Config::shipped(example("nauth.toml")).set("forward_auth.headers", "x-forwarded");
    let nauth = Nauth::start(config).await;
    let question = Request::get("/auth/verify")
        .header("X-Forwarded-Method", "GET")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", "localhost")
        .header("X-Forwarded-Uri", "/public")
        .header("X-Forwarded-For", "203.0.113.9");
    let answer = nauth.send(&question).await.expect(200);
    let is_copied = |name: &str| name.starts_with("remote-") || ["cookie", "authorization"].contains(&name);
    let mut names: Vec<String> =
        answer.headers.into_iter().map(|(name, _)| name).filter(|name| is_copied(name)).collect();
    names.sort();
    names
}

fn yaml(file: &str) -> Yaml {
    YamlLoader::load_from_str(&example(file)).unwrap().swap_remove(0)
}

fn keys(table: &Yaml) -> Vec<&str> {
    table.as_hash().unwrap().keys().map(|key| key.as_str().unwrap()).collect()
}

fn texts(list: &Yaml) -> Vec<String> {
    list.as_vec().unwrap().iter().map(|item| item.as_str().unwrap().to_lowercase()).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn every_proxy_copies_every_header() {
    let names = copied_names().await;
    assert_eq!(names.len(), 7, "{names:?}");
    for file in ["nginx.conf", "Caddyfile", "nauth.lua", "traefik-rules.yml", "envoy.yaml"] {
        let text = example(file).to_lowercase();
        for name in &names {
            assert!(text.contains(name), "{file} does not copy {name}");
        }
    }
}

#[tokio::test]
async fn the_files_for_traefik_hold_together() {
    let (fixed, rules) = (yaml("traefik.yml"), yaml("traefik-rules.yml"));
    let http = &rules["http"];
    let asks = &http["middlewares"]["nauth"]["forwardAuth"];

    assert_eq!(keys(asks), ["address", "authResponseHeaders"]);
    assert_eq!(asks["address"].as_str(), Some("http://127.0.0.1:8080/auth/verify"));
    assert_eq!(sorted(texts(&asks["authResponseHeaders"])), copied_names().await);
    for name in keys(&http["routers"]) {
        let router = &http["routers"][name];
        assert!(keys(&http["services"]).contains(&router["service"].as_str().unwrap()), "{name}");
        assert!(
            texts(&router["entryPoints"]).iter().all(|point| keys(&fixed["entryPoints"]).contains(&point.as_str()))
        );
        let is_asked_about = !router["middlewares"].is_badvalue();
        assert_eq!(is_asked_about, name != "nauth", "only the auth API asks for itself");
    }
    assert_eq!(fixed["providers"]["file"]["filename"].as_str(), Some("traefik-rules.yml"));
    assert_eq!(fixed["entryPoints"]["web"]["address"].as_str(), Some(PROXY));
}

#[tokio::test]
async fn the_file_for_envoy_holds_together() {
    let file = yaml("envoy.yaml");
    let resources = &file["static_resources"];
    let manager = &resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_vec().unwrap();
    let names: Vec<&str> = filters.iter().map(|filter| filter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["envoy.filters.http.ext_authz", "envoy.filters.http.router"], "the question comes first");

    let asks = &filters[0]["typed_config"];
    let service = &asks["http_service"];
    let exact = |list: &Yaml| {
        let patterns = list["patterns"].as_vec().unwrap().iter();
        patterns.filter_map(|pattern| Some(pattern["exact"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(asks["failure_mode_allow"].as_bool(), Some(false));
    assert_eq!(service["path_prefix"].as_str(), Some("/auth/verify"));
    assert_eq!(sorted(exact(&service["authorization_response"]["allowed_upstream_headers"])), copied_names().await);
    let told = exact(&asks["allowed_headers"]);
    for read in ["cookie", "origin", "referer", "accept", "purpose", "upgrade", "x-forwarded-for", "x-forwarded-proto"]
    {
        assert!(told.iter().any(|name| name == read), "nauth is not told {read}");
    }
    assert_eq!(manager["path_with_escaped_slashes_action"].as_str(), Some("REJECT_REQUEST"));
    assert_eq!((manager["normalize_path"].as_bool(), manager["merge_slashes"].as_bool()), (Some(true), Some(true)));

    let clusters = resources["clusters"].as_vec().unwrap();
    let known: Vec<&str> = clusters.iter().map(|cluster| cluster["name"].as_str().unwrap()).collect();
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_vec().unwrap();
    assert_eq!(routes[0]["match"]["prefix"].as_str(), Some("/auth/verify"), "questions stay closed");
    for route in &routes[1..] {
        assert!(known.contains(&route["route"]["cluster"].as_str().unwrap()), "{route:?}");
        let is_asked_about = route["typed_per_filter_config"].is_badvalue();
        assert_eq!(is_asked_about, route["match"]["prefix"].as_str() != Some("/auth/"), "{route:?}");
    }
    assert!(known.contains(&service["server_uri"]["cluster"].as_str().unwrap()));
}

macro_rules! with {
    ($program:ident: $name:ident) => {
        mod $name {
            use super::Program::$program;

            #[tokio::test]
            async fn users_log_in_and_are_known_to_the_app() {
                if $program.is_here() {
                    super::users_log_in_and_are_known_to_the_app($program).await;
                }
            }

            #[tokio::test]
            async fn nothing_a_client_says_is_believed() {
                if $program.is_here() {
                    super::nothing_a_client_says_is_believed($program).await;
                }
            }

            #[tokio::test]
            async fn no_client_chooses_its_address() {
                if $program.is_here() {
                    super::no_client_chooses_its_address($program).await;
                }
            }

            #[tokio::test]
            async fn no_path_leads_around_the_rules() {
                if $program.is_here() {
                    super::no_path_leads_around_the_rules($program).await;
                }
            }

            #[tokio::test]
            async fn sessions_outlive_their_access_cookie_and_end_at_logout() {
                if $program.is_here() {
                    super::sessions_outlive_their_access_cookie_and_end_at_logout($program).await;
                }
            }

            #[tokio::test]
            async fn connections_go_on_after_refusals() {
                if $program.is_here() {
                    super::connections_go_on_after_refusals($program).await;
                }
            }

            #[tokio::test]
            async fn sockets_pass_for_our_own_pages() {
                if $program.is_here() {
                    super::sockets_pass_for_our_own_pages($program).await;
                }
            }
        }
    };
}

with!(Nginx: nginx);
with!(Caddy: caddy);
with!(Haproxy: haproxy);
with!(Envoy: envoy_proxy);
