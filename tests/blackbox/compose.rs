//! `examples/compose`: what its files say of each other, and the same nodes, servers and balancer run by hand.
//!
//! The files are taken as they are shipped; only what a container would have for itself is replaced: addresses, the
//! directory of the secrets, the network.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use regex::Regex;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

use crate::redis_server::RedisServer;
use crate::servers::Kind;
use crate::support::{
    Account, Condition, Config, Database, Echo, Finished, Line, Load, Nauth, PASSWORD, Request, eventually, free_port,
    millis, secs,
};

const NODES: [&str; 2] = ["nauth-1", "nauth-2"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compose").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn composition() -> Yaml {
    YamlLoader::load_from_str(&text("compose.yaml")).unwrap().remove(0)
}

fn settings() -> toml::Table {
    text("config/nauth.toml").parse().unwrap()
}

fn strings(list: &Yaml) -> Vec<&str> {
    list.as_vec().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// `30s`
fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// What a file names by an expression's group.
fn named(expression: &str, text: &str) -> BTreeSet<String> {
    Regex::new(expression).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn what_the_files_name_is_there() {
    let composition = composition();
    let services = &composition["services"];
    let names: BTreeSet<&str> = services.as_hash().unwrap().keys().map(|name| name.as_str().unwrap()).collect();

    let toml = text("config/nauth.toml");
    let hosts = [
        named(r"@([a-z0-9-]+)/", &toml),
        named(r"redis://([a-z0-9-]+)", &toml),
        named(r#""http://([a-z0-9-]+):80""#, &toml),
        named(r"server nauth-\d ([a-z0-9-]+):8080", &text("balancer/haproxy.cfg")),
    ];
    for hosts in hosts {
        assert!(!hosts.is_empty() && hosts.iter().all(|host| names.contains(host.as_str())), "{hosts:?} of {names:?}");
    }
    for (name, service) in services.as_hash().unwrap() {
        for volume in service["volumes"].as_vec().into_iter().flatten() {
            let (source, _) = volume.as_str().unwrap().split_once(':').unwrap();
            let is_there = match source.strip_prefix("./") {
                Some(directory) => file(directory).is_dir() && volume.as_str().unwrap().ends_with(":ro"),
                None => !composition["volumes"][source].is_badvalue(),
            };
            assert!(is_there, "{name:?}: {source}");
        }
        for needed in service["depends_on"].as_hash().into_iter().flat_map(|needed| needed.keys()) {
            assert!(names.contains(needed.as_str().unwrap()), "{name:?}: {needed:?}");
        }
    }
}

#[test]
fn the_files_agree_with_each_other() {
    let (composition, settings, balancer) = (composition(), settings(), text("balancer/haproxy.cfg"));
    let server = &settings["server"];

    let published = composition["services"]["balancer"]["ports"][0].as_str().unwrap();
    assert_eq!(published, "127.0.0.1:8000:8000");
    assert_eq!(server["public_url"].as_str(), Some("http://localhost:8000"));
    assert!(balancer.contains("bind :8000\n"));
    assert_eq!(server["listen"].as_str(), Some("0.0.0.0:8080"));
    assert_eq!(server["management"]["addr"].as_str(), Some("0.0.0.0:9901"));
    assert_eq!(balancer.matches(":8080 check port 9901\n").count(), NODES.len());

    let subnet = composition["networks"]["default"]["ipam"]["config"][0]["subnet"].as_str();
    assert_eq!(server["trusted_proxies"][0].as_str(), subnet);
    for node in NODES {
        let node = &composition["services"][node];
        let grace = seconds(server["shutdown_grace"].as_str().unwrap());
        assert!(seconds(node["stop_grace_period"].as_str().unwrap()) >= grace + 5, "killed while it drains");
        let tmpfs = node["tmpfs"][0].as_str().unwrap();
        assert_eq!(tmpfs.split_once(':').map(|(directory, _)| directory), server["data_dir"].as_str());
        let used = named(r"\$\{file:/run/secrets/([a-z_]+)\}", &text("config/nauth.toml"));
        assert_eq!(used, strings(&node["secrets"]).into_iter().map(str::to_owned).collect());
    }
}

#[test]
fn the_image_is_made_of_what_is_there_and_runs_as_nobody_else() {
    let dockerfile = text("Dockerfile");
    let build = &composition()["services"]["nauth-1"]["build"];
    assert_eq!(file(build["context"].as_str().unwrap()).canonicalize().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(build["dockerfile"].as_str(), Some("examples/compose/Dockerfile"));

    let lines: Vec<&str> = dockerfile.lines().collect();
    assert!(lines.contains(&r#"ENTRYPOINT ["nauth"]"#) && lines.contains(&"USER 10001:10001"));
    assert!(lines.contains(&r#"CMD ["run", "--config", "/etc/nauth/nauth.toml"]"#));
    assert!(dockerfile.contains(r#"CMD ["nauth", "health", "--config", "/etc/nauth/nauth.toml"]"#));
    assert!(dockerfile.contains("cargo build --release --locked && cp target/release/nauth /usr/local/bin/nauth"));
    let ignored = text("Dockerfile.dockerignore");
    assert!(
        ["target", ".git", "examples/compose/secrets"].iter().all(|name| ignored.lines().any(|line| line == *name))
    );
}

/// Everything that the example starts, on this machine.
struct Site {
    nodes: [Nauth; 2],
    balancer: Child,
    address: SocketAddr,
    directory: TempDir,
    /// The nodes' way to the database.
    line: Line,
    _redis: RedisServer,
    _database: Database,
    _app: Echo,
}

impl Site {
    /// `None` where there is no PostgreSQL or no Redis.
    async fn start() -> Option<Self> {
        let (database, redis) = (Database::on(Kind::Postgres)?, RedisServer::start()?);
        let (app, directory) = (Echo::start().await, tempfile::tempdir().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        make_secrets(directory.path());
        let secrets = directory.path().join("secrets");
        let toml = replaced(&text("config/nauth.toml"), "/run/secrets", secrets.to_str().unwrap());
        let toml = replaced(&toml, "172.30.80.0/24", "127.0.0.1");
        let toml = replaced(&toml, "http://app:80", &app.url());
        let config = Config::shipped(toml)
            .set("server.public_url", format!("http://localhost:{}", address.port()))
            .set("server.data_dir", "./data")
            .set("redis.url", redis.url());
        let (before, rest) = database.url().split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let line = Line::to(server.parse().unwrap()).await;
        let config = config.set("database.url", format!("{before}@{}/{name}", line.address()));
        let config = database.of(config);
        let (one, other) = tokio::join!(Nauth::start(config.clone()), Nauth::start(config));
        let nodes = [one, other];
        let balancer = balance(&nodes, address, directory.path()).await;
        Some(Self { nodes, balancer, address, directory, line, _redis: redis, _database: database, _app: app })
    }

    async fn signup(&self, email: &str) -> Account {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = Request::post("/auth/signup").json(&body).send_to(self.address).await.expect(201);
        let session = answer.json()["session"].as_str().unwrap().to_owned();
        // The mail leaves from either of them.
        let code = eventually(secs(10), async || self.nodes.iter().flat_map(|node| node.codes_for(email)).next());
        let code = code.await.expect("a code is mailed");
        let body = json!({ "session": session, "type": "VERIFY_EMAIL", "code": code });
        let answer = Request::post("/auth/respond-challenge").json(&body).send_to(self.address).await;
        Account::in_answer(&answer.expect(200))
    }

    /// Waits until the balancer sends requests to a node.
    async fn is_asked(&self, node: &Nauth) {
        let before = node.metric("nauth_http_requests_total", &[]).await;
        let asked =
            eventually(secs(10), async || (node.metric("nauth_http_requests_total", &[]).await > before).then_some(()));
        assert!(asked.await.is_some(), "the balancer sends nothing to a node:\n{}", self.balancer_said());
    }

    fn balancer_said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.balancer.kill();
        let _ = self.balancer.wait();
    }
}

async fn balance(nodes: &[Nauth; 2], address: SocketAddr, directory: &Path) -> Child {
    let mut config = replaced(&text("balancer/haproxy.cfg"), "bind :8000", &format!("bind {address}"));
    for (name, node) in NODES.into_iter().zip(nodes) {
        let there = format!("{} check port {}", node.public(), node.management().port());
        config = replaced(&config, &format!("{name}:8080 check port 9901"), &there);
    }
    std::fs::write(directory.join("haproxy.cfg"), config).unwrap();
    let haproxy = ["/usr/sbin/haproxy", "/usr/bin/haproxy"].into_iter().find(|path| Path::new(path).exists());
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let mut command = Command::new(haproxy.expect("install haproxy (scripts/test does)"));
    command.args(["-db", "-f", "haproxy.cfg"]).current_dir(directory);
    let mut balancer = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let listens = eventually(secs(20), async || {
        let written = || std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(balancer.try_wait().unwrap().is_none(), "HAProxy ended:\n{}", written());
        tokio::net::TcpStream::connect(address).await.ok()
    });
    assert!(listens.await.is_some(), "HAProxy does not listen");
    balancer
}

/// As somebody who follows the example makes them.
fn make_secrets(directory: &Path) {
    std::fs::copy(file("make-secrets"), directory.join("make-secrets")).unwrap();
    let made = Command::new("sh").arg(directory.join("make-secrets")).status().unwrap();
    assert!(made.success());
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in:\n{text}");
    text.replace(from, to)
}

#[test]
fn secrets_are_made_once_and_are_good() {
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(directory.path().join("secrets").join(name)).unwrap();
    make_secrets(directory.path());

    let composition = composition();
    for (name, secret) in composition["secrets"].as_hash().unwrap() {
        let name = name.as_str().unwrap();
        assert_eq!(secret["file"].as_str().unwrap(), format!("secrets/{name}"));
        assert!(read(name).len() >= 44, "{name}");
    }
    assert!(read("database_password").chars().all(|c| c.is_ascii_hexdigit()), "it stands in a URL");
    let before = read("master_key");
    make_secrets(directory.path());
    assert_eq!(read("master_key"), before, "a second run leaves what is there");
}

#[tokio::test]
async fn the_configuration_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    make_secrets(directory.path());
    let secrets = directory.path().join("secrets");
    let toml = replaced(&text("config/nauth.toml"), "/run/secrets", secrets.to_str().unwrap());
    std::fs::write(directory.path().join("nauth.toml"), toml).unwrap();

    let checked = Finished::of(directory.path(), &["check", "--strict"]).await.expect(0);

    assert!(!checked.output.contains("warning"), "{}", checked.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_behind_the_balancer_are_one() {
    let Some(site) = Site::start().await else { return };
    let ada = site.signup("ada@example.com").await;
    let body = json!({ "identifier": ada.email, "password": PASSWORD });
    let there = Account::in_answer(&Request::post("/auth/login").json(&body).send_to(site.address).await.expect(200));
    let page = Request::get("/").bearer(&there.access_token);
    let lets_in = async |node: &Nauth| node.send(&page).await.status == 200;
    for node in &site.nodes {
        assert!(lets_in(node).await, "what one has begun is good on the other");
    }

    Request::post("/auth/logout").bearer(&there.access_token).send_to(site.address).await.expect(200);

    for node in &site.nodes {
        let ended = eventually(secs(1), async || (!lets_in(node).await).then_some(())).await;
        assert!(ended.is_some(), "a logout holds on both within a second");
        let still = node.send(&Request::get("/").bearer(&ada.access_token)).await;
        still.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_costs_nobody_a_request() {
    let Some(mut site) = Site::start().await else { return };
    let ada = site.signup("ada@example.com").await;
    let load = Load::begin(site.address, &Request::get("/").bearer(&ada.access_token));
    load.serves(100).await;

    site.nodes[0].kill();
    load.serves(300).await;
    site.nodes[0].start_again().await;
    site.is_asked(&site.nodes[0]).await;

    load.serves(100).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_request() {
    let Some(mut site) = Site::start().await else { return };
    let ada = site.signup("ada@example.com").await;
    let load = Load::begin(site.address, &Request::get("/").bearer(&ada.access_token));
    load.serves(100).await;

    for node in 0..NODES.len() {
        let (slow, address) = (Request::post("/slow/1000").bearer(&ada.access_token), site.address);
        let in_flight =
            (0..6).map(|_| slow.clone()).map(|slow| tokio::spawn(async move { slow.send_to(address).await }));
        let in_flight: Vec<_> = in_flight.collect();
        load.serves(50).await;
        site.nodes[node].signal(Signal::TERM);
        site.nodes[node].finished_within(Duration::from_secs(20)).await.expect(0).says("stopped");
        for slow in in_flight {
            slow.await.unwrap().expect(200);
        }
        site.nodes[node].start_again().await;
        site.is_asked(&site.nodes[node]).await;
    }

    load.serves(100).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_keeps_nobody_out_who_is_in() {
    let Some(site) = Site::start().await else { return };
    let ada = site.signup("ada@example.com").await;
    let page = Request::get("/").bearer(&ada.access_token);

    site.line.becomes(Condition::Cut);
    for node in &site.nodes {
        let unready =
            eventually(secs(20), async || (node.manage(&Request::get("/readyz")).await.status == 503).then_some(()));
        assert!(unready.await.is_some(), "{}", node.output());
    }

    // Longer than the balancer needs to give up a node that does not answer at all.
    for _ in 0..50 {
        page.send_to(site.address).await.expect(200);
        tokio::time::sleep(millis(100)).await;
    }
    site.line.becomes(Condition::Good);
    let body = json!({ "identifier": ada.email, "password": PASSWORD });
    let back = eventually(secs(10), async || {
        (Request::post("/auth/login").json(&body).send_to(site.address).await.status == 200).then_some(())
    });
    assert!(back.await.is_some(), "{}", site.balancer_said());
}
