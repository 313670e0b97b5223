//! Configuration changes under load: good ones count, bad ones change nothing, no request notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::support::{Answer, Config, Connection, Echo, Nauth, Request, Seen, eventually, millis, secs};

const SUCCESSFUL: &str = "nauth_config_last_reload_successful";

/// `/steady` is always open; `/turn` is what the reloads change.
fn config(echo: &Echo, turn: &str) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("server.keepalive_requests", 1_000_000)
        .set("reload.debounce", "100ms")
        .route("path = \"/steady\"\naccess = \"public\"")
        .route(&format!("path = \"/turn\"\naccess = \"{turn}\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_good_and_bad_fail_no_request_and_close_no_connection() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required")).await;
    let load = Load::begin(&nauth, 6);
    decides(&nauth, 401).await;

    let good = |turn: &str| nauth.with_own_addresses(config(&echo, turn)).to_toml();
    let mut turn = "public";
    let bad = [
        ("bad", good("public").replace("access = \"public\"", "acess = \"public\"")),
        ("truncated", good("public")[..good("public").len() / 2].to_owned()),
        ("empty", String::new()),
        ("without routes", good("public").split("[[routes]]").next().unwrap().to_owned()),
    ];
    for (kind, text) in bad {
        nauth.reconfigure(&config(&echo, turn));
        nauth.metric_becomes(SUCCESSFUL, 1.0).await;
        let status = if turn == "public" { 200 } else { 401 };
        decides(&nauth, status).await;

        nauth.write_config(&text);
        nauth.metric_becomes(SUCCESSFUL, 0.0).await;
        assert_eq!(nauth.send(&Request::get("/turn")).await.status, status, "a {kind} file changes nothing");
        turn = if turn == "public" { "required" } else { "public" };
    }
    std::fs::remove_file(nauth.config_path()).unwrap();
    nauth.reconfigure(&config(&echo, "public"));
    nauth.metric_becomes(SUCCESSFUL, 1.0).await;
    decides(&nauth, 200).await;

    let served = load.end().await;
    assert!(served > 100, "only {served} requests");
}

#[tokio::test]
async fn a_removed_file_changes_nothing() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required")).await;

    std::fs::remove_file(nauth.config_path()).unwrap();

    nauth.metric_becomes(SUCCESSFUL, 0.0).await;
    decides(&nauth, 401).await;
    nauth.reconfigure(&config(&echo, "public"));
    decides(&nauth, 200).await;
    nauth.metric_becomes(SUCCESSFUL, 1.0).await;
}

#[tokio::test]
async fn one_line_puts_nauth_in_front_of_a_real_app() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    let request = Request::get("/").bearer(&ada.access_token);
    assert!(!nauth.send(&request).await.expect(200).text().starts_with('{'));

    let text = std::fs::read_to_string(nauth.config_path()).unwrap();
    nauth.write_config(&text.replace("whoami:", &echo.url()));

    let through = eventually(secs(5), async || {
        let answer = nauth.send(&request).await.expect(200);
        answer.text().starts_with('{').then_some(())
    });
    assert!(through.await.is_some());
}

#[tokio::test]
async fn a_file_written_in_pieces_is_taken_once_it_is_whole() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required").set("reload.debounce", "300ms")).await;
    let text = nauth.with_own_addresses(config(&echo, "public").set("reload.debounce", "300ms")).to_toml();

    let mut written = 0;
    for piece in [text.len() / 4, text.len() / 2, text.len() * 3 / 4, text.len()] {
        let flags = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(nauth.config_path());
        std::io::Write::write_all(&mut flags.unwrap(), &text.as_bytes()[..piece]).unwrap();
        written = piece;
        tokio::time::sleep(millis(100)).await;
    }

    assert_eq!(written, text.len());
    decides(&nauth, 200).await;
    assert!(nauth.metric("nauth_config_reloads_total", &["rejected"]).await.abs() < f64::EPSILON, "{}", nauth.output());
}

#[tokio::test]
async fn a_bad_file_is_reported_with_its_line() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required")).await;

    nauth.reconfigure(&config(&echo, "required").set("jwt.acess_ttl", "2s"));

    nauth.metric_becomes(SUCCESSFUL, 0.0).await;
    nauth.writes("acess_ttl").await;
    nauth.writes("nauth.toml:").await;
    nauth.writes("access_ttl").await;
}

#[tokio::test]
async fn a_hang_up_reloads_where_nothing_is_watched() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required").set("reload.watch", false)).await;

    nauth.reconfigure(&config(&echo, "public").set("reload.watch", false));
    tokio::time::sleep(millis(700)).await;
    decides(&nauth, 401).await;
    nauth.signal(Signal::HUP);

    decides(&nauth, 200).await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_not_half_applied() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required")).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.reconfigure(&config(&echo, "required").set("server.data_dir", "./elsewhere"));

    nauth.writes("server.data_dir").await;
    nauth.writes("restart").await;
    nauth.login("ada@example.com").await;
    nauth.send(&Request::get("/turn").bearer(&ada.access_token)).await.expect(200);
    assert!(!nauth.config_path().with_file_name("elsewhere").exists());
}

#[tokio::test]
async fn a_changed_secret_is_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required").set("jwt.access_secret", "a".repeat(32))).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.reconfigure(&config(&echo, "public").set("jwt.access_secret", "b".repeat(32)));

    nauth.metric_becomes(SUCCESSFUL, 0.0).await;
    nauth.writes("access_secret").await;
    nauth.send(&Request::get("/turn")).await.expect(401);
    nauth.send(&Request::get("/turn").bearer(&ada.access_token)).await.expect(200);
    assert!(!nauth.output().contains(&"b".repeat(32)));
}

#[tokio::test]
async fn sessions_and_revocations_outlive_a_reload() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo, "required")).await;
    let ada = nauth.signup("ada@example.com").await;
    let gone = nauth.login("ada@example.com").await;
    nauth.send(&Request::post("/auth/logout").bearer(&gone.access_token)).await.expect(200);

    nauth
        .reconfigure(&config(&echo, "required").set("jwt.leeway", "10s").route("path = \"/new\"\naccess = \"public\""));

    let reloaded = eventually(secs(5), async || (nauth.send(&Request::get("/new")).await.status == 200).then_some(()));
    assert!(reloaded.await.is_some());
    nauth.send(&Request::get("/turn").bearer(&ada.access_token)).await.expect(200);
    nauth.send(&Request::get("/turn").bearer(&gone.access_token)).await.expect(401);
}

#[tokio::test]
async fn a_rotated_secret_file_counts_without_a_word() {
    let echo = Echo::start().await;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "first\n").unwrap();
    let header = format!(
        "path = \"/\"\naccess = \"public\"\nset_request_headers = {{ x-key = \"${{file:{}}}\" }}",
        secret.display()
    );
    let nauth = Nauth::start(Config::in_front_of(&echo).set("reload.debounce", "50ms").route(&header)).await;
    let sent = async || {
        let answer = nauth.send(&Request::get("/")).await.expect(200);
        Seen::in_answer(&answer).header("X-Key").map(str::to_owned)
    };
    assert_eq!(sent().await.as_deref(), Some("first"));

    // As secret stores do it: a new file takes the name.
    std::fs::write(directory.path().join("next"), "second\n").unwrap();
    std::fs::rename(directory.path().join("next"), &secret).unwrap();

    let rotated = eventually(secs(5), async || (sent().await.as_deref() == Some("second")).then_some(())).await;
    assert!(rotated.is_some(), "{}", nauth.output());

    std::fs::remove_file(&secret).unwrap();
    nauth.metric_becomes(SUCCESSFUL, 0.0).await;
    assert_eq!(sent().await.as_deref(), Some("second"), "a file that is gone changes nothing");
    std::fs::write(&secret, "third").unwrap();
    let restored = eventually(secs(5), async || (sent().await.as_deref() == Some("third")).then_some(())).await;
    assert!(restored.is_some(), "{}", nauth.output());
}

#[tokio::test]
async fn a_file_that_others_can_write_is_warned_about_and_refused_by_a_strict_check() {
    use std::os::unix::fs::PermissionsExt as _;

    let echo = Echo::start().await;
    let token = "a token of the operator, long enough";
    let nauth = Nauth::start(config(&echo, "required").set("server.management.token", token)).await;
    nauth.command(&["check", "--strict"]).await.expect(0);

    std::fs::set_permissions(nauth.config_path(), std::fs::Permissions::from_mode(0o646)).unwrap();

    nauth.command(&["check"]).await.expect(0).says("can be written by others");
    nauth.command(&["check", "--strict"]).await.expect(2).says("chmod 0640");
    let answer = nauth.manage(&Request::post("/reload").bearer(token)).await.expect(200);
    assert!(answer.json()["report"]["warnings"].as_str().unwrap().contains("can be written by others"), "{answer}");
    nauth.writes("can be written by others").await;
}

async fn decides(nauth: &Nauth, status: u16) {
    let decided =
        eventually(secs(5), async || (nauth.send(&Request::get("/turn")).await.status == status).then_some(()));
    assert!(decided.await.is_some(), "/turn is not answered with {status}:\n{}", nauth.output());
}

/// Clients that ask without pause over connections they never give up.
struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin(nauth: &Nauth, clients: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let address = nauth.public();
        let clients = (0..clients)
            .map(|_| {
                let (is_over, served) = (is_over.clone(), served.clone());
                tokio::spawn(async move {
                    let mut connection = Connection::open(address).await;
                    while !is_over.load(Ordering::Relaxed) {
                        let answer: Option<Answer> = connection.try_ask(&Request::get("/steady")).await;
                        answer.expect("no connection is closed").expect(200);
                        served.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(millis(2)).await;
                    }
                })
            })
            .collect();
        Self { is_over, served, clients }
    }

    /// Ends the clients; fails when one of them met a failure. Returns how much was served.
    async fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no request fails");
        }
        self.served.load(Ordering::Relaxed)
    }
}
