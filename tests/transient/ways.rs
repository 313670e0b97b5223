//! The ways to Redis: over TLS, vouched for by an authority of our own, and by a socket of this machine.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nauth::config::settings::{self, RedisPlace};
use nauth::domain::clock::Clock;
use nauth::domain::secret::Secret;
use nauth::transient::{Redis, Shared, Transient as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::MINUTE;

/// A Redis with these arguments; gone when it is dropped.
struct Process(Child);

impl Process {
    /// `None` where Redis is not installed.
    fn start<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Option<Self> {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--port", "0"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok().map(Self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whether Redis can be used by this way before long.
async fn answers(url: String, ssl_ca: Option<&Path>, patience: Duration) -> bool {
    is_there(RedisPlace::One(Secret::new(url)), ssl_ca, patience).await
}

async fn is_there(place: RedisPlace, ssl_ca: Option<&Path>, patience: Duration) -> bool {
    let ssl_ca = ssl_ca.map(Path::to_owned);
    let timeout = Duration::from_secs(1);
    let settings = settings::Redis { place, key_prefix: String::new(), pool: 2, timeout, ssl_ca };
    let node = Shared::new(Redis::new(&settings).unwrap(), Clock::system());
    let patience = Instant::now() + patience;
    while Instant::now() < patience {
        if node.put("a", vec![1], MINUTE).await.is_ok() {
            return node.get("a").await.unwrap() == Some(vec![1]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Writes an authority and a certificate of `127.0.0.1` that it vouches for.
fn write_certificates(directory: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    for (name, text) in [("ca", authority.pem()), ("cert", own.pem()), ("key", key.serialize_pem())] {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// What makes a Redis speak TLS and nothing else, with the certificates of this directory.
fn speaking_tls(port: u16, directory: &Path) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let (port, ca, cert, key) = (port.to_string(), file("ca"), file("cert"), file("key"));
    let written = ["--bind", "127.0.0.1", "--tls-port", &port, "--tls-auth-clients", "no"];
    let files = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key];
    written.into_iter().chain(files).map(str::to_owned).collect()
}

#[tokio::test]
async fn over_tls_an_authority_has_to_vouch_for_it() {
    // As the program does first of all.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_certificates(ours.path());
    write_certificates(theirs.path());
    let port = free_port();
    let Some(_redis) = Process::start(&speaking_tls(port, ours.path())) else { return };
    let url = || format!("rediss://127.0.0.1:{port}");

    assert!(answers(url(), Some(&ours.path().join("ca")), Duration::from_secs(10)).await);

    assert!(!answers(url(), Some(&theirs.path().join("ca")), Duration::from_secs(1)).await);
    assert!(!answers(url(), None, Duration::from_secs(1)).await);
    assert!(!answers(format!("redis://127.0.0.1:{port}"), None, Duration::from_secs(1)).await);
}

#[tokio::test]
async fn over_tls_an_authority_has_to_vouch_for_the_nodes_of_a_cluster() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_certificates(ours.path());
    write_certificates(theirs.path());
    let (port, bus, ca) = (free_port(), free_port().to_string(), ours.path().join("ca"));
    let own = |name: &str| ours.path().join(name).display().to_string();
    let (nodes, password) = (own("nodes.conf"), "hunter2");
    let mut arguments = speaking_tls(port, ours.path());
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-config-file", &nodes];
    arguments.extend(cluster.map(str::to_owned));
    arguments.extend(["--tls-cluster", "yes", "--requirepass", password].map(str::to_owned));
    let Some(_redis) = Process::start(&arguments) else { return };
    let (at, patience) = (port.to_string(), Instant::now() + Duration::from_secs(10));
    let takes_all_slots = || {
        let mut command = Command::new("redis-cli");
        command.args(["--tls", "--insecure", "-h", "127.0.0.1", "-p", &at, "-a", password]);
        let said = command.args(["cluster", "addslotsrange", "0", "16383"]).output().unwrap();
        said.stdout.starts_with(b"OK")
    };
    while !takes_all_slots() {
        assert!(Instant::now() < patience, "the node takes no slots");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let place =
        |password: &str| RedisPlace::Cluster(vec![Secret::new(format!("rediss://:{password}@127.0.0.1:{port}"))]);

    assert!(is_there(place(password), Some(&ca), Duration::from_secs(10)).await);

    assert!(!is_there(place("wrong"), Some(&ca), Duration::from_secs(1)).await);
    assert!(!is_there(place(password), Some(&theirs.path().join("ca")), Duration::from_secs(1)).await);
    assert!(!is_there(place(password), None, Duration::from_secs(1)).await);
}

#[tokio::test]
async fn a_socket_is_a_way_and_a_password_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock").display().to_string();
    let Some(_redis) = Process::start(&["--unixsocket", &socket, "--requirepass", "hunter2"]) else { return };

    assert!(answers(format!("redis+unix://{socket}?pass=hunter2"), None, Duration::from_secs(10)).await);

    assert!(!answers(format!("redis+unix://{socket}"), None, Duration::from_secs(1)).await);
}
