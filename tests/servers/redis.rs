//! A Redis of a test's own, that can be ended, frozen and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nauth::config::Environment;
use rustix::process::{Pid, Signal, kill_process};

/// A running Redis that keeps nothing; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// `None` where Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        // Below the range of outgoing connections nobody would be told where it is; so it is asked for and given back.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { port, process: None };
        if !server.start_again() {
            let all = Environment::process().get("NAUTH_TEST_ALL").is_some_and(|value| !value.is_empty());
            assert!(!all, "there is no redis-server");
            return None;
        }
        Some(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `redis.url`
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Ends it at once, with all it holds.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it where it was; answers whether there is such a program.
    pub(crate) fn start_again(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &self.port.to_string()]);
        let Ok(process) = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn() else { return false };
        self.process = Some(process);
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < patience, "Redis does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// It accepts, and answers nothing any more.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// It answers again.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
