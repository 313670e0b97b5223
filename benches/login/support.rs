//! The built program in front of an upstream that answers at once, and how to ask it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The password of everybody.
pub(super) const PASSWORD: &str = "a long walk by the sea";

/// A running nauth; it ends with its owner.
pub(super) struct Nauth {
    child: Child,
    url: String,
    pub(super) client: Client,
    directory: TempDir,
}

/// An answer, and what it took.
pub(super) struct Timed {
    pub(super) status: u16,
    pub(super) retry_after: bool,
    pub(super) took: Duration,
    pub(super) body: Value,
}

impl Nauth {
    /// Starts it with this `signup.verification_method` and further settings, in TOML, without limits
    /// of requests.
    pub(super) async fn start(verification: &str, further: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().expect("a directory");
        let upstream = upstream().await;
        let (public, management) = (free_port(), free_port());
        let zero = "{ max = 0, window = \"1m\" }";
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{public}\"\n[server.management]\naddr = \"127.0.0.1:{management}\"\n\
             [log]\nlevel = \"error\"\naccess_log = false\n[signup]\nverification_method = \"{verification}\"\n\
             [rate_limit]\nlogin = {zero}\nsignup = {zero}\nforgot_password = {zero}\nchallenge = {zero}\ndefault = {zero}\n\
             [[upstreams]]\nname = \"app\"\ntargets = [\"http://{upstream}\"]\n\
             [[routes]]\npath = \"/\"\nupstream = \"app\"\naccess = \"required\"\n{further}\n"
        );
        std::fs::write(directory.path().join("nauth.toml"), config).expect("a configuration");
        let child = run(directory.path());
        let url = format!("http://127.0.0.1:{public}");
        let client = Client::builder().no_proxy().build().expect("a client");
        let nauth = Self { child, url, client, directory };
        for _ in 0..200 {
            if nauth
                .client
                .get(format!("http://127.0.0.1:{management}/readyz"))
                .send()
                .await
                .is_ok_and(|a| a.status() == 200)
            {
                return nauth;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nauth is not ready");
    }

    /// Posts JSON.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Timed {
        let request = self.client.post(format!("{}{path}", self.url));
        let begun = Instant::now();
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
        timed(begun, answer.expect("an answer")).await
    }

    /// Gets something behind the gateway.
    pub(super) async fn proxied(&self, token: &str) -> Timed {
        let begun = Instant::now();
        let answer = self.client.get(format!("{}/page", self.url)).bearer_auth(token).send().await;
        timed(begun, answer.expect("an answer")).await
    }

    /// Signs somebody up; answers the access token, if that is enough to get one.
    pub(super) async fn signup(&self, email: &str) -> Option<String> {
        let answer = self.post("/auth/signup", &json!({ "email": email, "password": PASSWORD })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["accessToken"].as_str().map(str::to_owned)
    }

    /// Runs a command of nauth beside it, with the password on its standard input.
    pub(super) fn command(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauth"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut running = command.spawn().expect("it runs");
        let _ = running.stdin.take().expect("a pipe").write_all(PASSWORD.as_bytes());
        assert!(running.wait().expect("it ends").success(), "{arguments:?}");
    }

    /// Memory in use, in MiB.
    pub(super) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }
}

impl Drop for Nauth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The share `p` of values lies at or below what is answered.
pub(super) fn percentile(values: &mut [Duration], p: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let at = (last as f64 * p).round() as usize;
    values.get(at).copied().unwrap_or_default()
}

/// Milliseconds, as people read them.
pub(super) fn ms(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

fn run(directory: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nauth"));
    command.arg("run").current_dir(directory).stdout(Stdio::null()).spawn().expect("nauth starts")
}

async fn timed(begun: Instant, answer: reqwest::Response) -> Timed {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().contains_key("retry-after");
    let body = answer.bytes().await.unwrap_or_default();
    let took = begun.elapsed();
    Timed { status, retry_after, took, body: serde_json::from_slice(&body).unwrap_or_default() }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Answers everything with two bytes, on connections that stay open.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    }
                }
            });
        }
    });
    address
}
