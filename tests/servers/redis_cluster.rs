//! A Redis cluster of a test's own: three nodes that share the keys, and keep nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nauth::config::Environment;

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(40);

/// A running cluster; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    ports: Vec<u16>,
    processes: Vec<Child>,
    /// Nodes write there who the others are.
    directory: tempfile::TempDir,
}

impl RedisCluster {
    /// `None` where Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // All at once, so that they differ.
        let listeners: Vec<TcpListener> =
            (0..2 * NODES).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let free: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let (ports, buses) = free.split_at(NODES);
        let mut cluster = Self { ports: ports.to_vec(), processes: Vec::new(), directory };
        for (port, bus) in ports.iter().zip(buses) {
            let (port, bus, nodes) = (port.to_string(), bus.to_string(), format!("nodes-{port}.conf"));
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &port, "--cluster-port", &bus, "--save", ""]);
            command.args(["--appendonly", "no", "--cluster-enabled", "yes", "--cluster-config-file", &nodes]);
            command.args(["--enable-debug-command", "local"]);
            command.current_dir(cluster.directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
            let Ok(process) = command.spawn() else {
                let all = Environment::process().get("NAUTH_TEST_ALL").is_some_and(|value| !value.is_empty());
                assert!(!all, "there is no redis-server");
                return None;
            };
            cluster.processes.push(process);
        }
        cluster.join();
        Some(cluster)
    }

    /// `redis.cluster`
    pub(crate) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    fn join(&self) {
        self.until("answer", |cluster| cluster.urls().iter().all(|url| redis_cli(url, &["ping"]).starts_with("PONG")));
        let addresses = self.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes");
        let made = command.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        self.until("agree", |cluster| {
            cluster.urls().iter().all(|url| redis_cli(url, &["cluster", "info"]).contains("cluster_state:ok"))
        });
    }

    fn until(&self, wanted: &str, holds: impl Fn(&Self) -> bool) {
        let patience = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < patience, "the nodes do not {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a Redis answers.
pub(crate) fn redis_cli(url: &str, question: &[&str]) -> String {
    let said = Command::new("redis-cli").args(["-u", url]).args(question).output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
