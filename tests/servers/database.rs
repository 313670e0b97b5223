//! A database server of a test's own, that can be killed and started again. What it has
//! acknowledged it keeps: commits reach the system's memory, which outlives every process.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;

use crate::servers::{Kind, environment};

/// Servers refuse to run as root; this user and this group own nothing.
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server with one empty database; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct DatabaseServer {
    kind: Kind,
    directory: TempDir,
    program: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl DatabaseServer {
    /// `None` where it is not installed.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        let Some(program) = installed(kind) else {
            assert!(environment("NAUTH_TEST_ALL").is_none(), "there is no server of {kind:?}");
            return None;
        };
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { kind, directory, program, port, process: None };
        server.make_data();
        server.start_again().await;
        if kind == Kind::MariaDb {
            let mut connection = sqlx::MySqlConnection::connect(&server.url_of("mysql")).await.unwrap();
            connection.execute("CREATE DATABASE nauth").await.unwrap();
        }
        Some(server)
    }

    /// `database.url`
    pub(crate) fn url(&self) -> String {
        self.url_of(if self.kind == Kind::Postgres { "postgres" } else { "nauth" })
    }

    fn url_of(&self, name: &str) -> String {
        let start = if self.kind == Kind::Postgres { "postgres://nauth" } else { "mariadb://root" };
        format!("{start}@127.0.0.1:{}/{name}", self.port)
    }

    /// `kill -9`: itself, and whatever it has started.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let own = Pid::from_child(&process);
        // Stopped first, so that it starts nothing while its children are listed.
        kill_process(own, Signal::STOP).unwrap();
        let children = children_of(own);
        process.kill().unwrap();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        process.wait().unwrap();
    }

    /// Starts it where it was, and waits until it serves.
    pub(crate) async fn start_again(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.process.is_none() || !self.serves().await {
            assert!(Instant::now() < deadline, "the server does not start: {}", self.log());
            let ended = self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some());
            if ended {
                // One that was killed may hold on to its memory for a moment, and then the next one refuses.
                self.process = Some(self.command().spawn().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn serves(&self) -> bool {
        if self.kind == Kind::Postgres {
            sqlx::PgConnection::connect(&self.url_of("postgres")).await.is_ok()
        } else {
            sqlx::MySqlConnection::connect(&self.url_of("mysql")).await.is_ok()
        }
    }

    fn command(&self) -> Command {
        let (home, port) = (self.directory.path(), self.port.to_string());
        let mut command = self.as_nobody(&self.program);
        if self.kind == Kind::Postgres {
            command.arg("-D").arg(home.join("data")).arg("-k").arg(home).args(["-p", &port]);
            // Whoever needs to know that something is kept has to say so.
            let settings =
                ["fsync=off", "synchronous_commit=off", "listen_addresses=127.0.0.1", "log_min_messages=fatal"];
            for setting in settings {
                command.args(["-c", setting]);
            }
        } else {
            command.arg("--no-defaults").args(["--bind-address=127.0.0.1", &format!("--port={port}")]);
            command.arg(format!("--datadir={}", home.join("data").display()));
            command.arg(format!("--socket={}", home.join("socket").display()));
            command.args(["--skip-log-bin", "--innodb-buffer-pool-size=64M"]);
            command.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"]);
        }
        command
    }

    fn make_data(&self) {
        let (home, data) = (self.directory.path(), self.directory.path().join("data"));
        if geteuid().is_root() {
            std::os::unix::fs::chown(home, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let made = if self.kind == Kind::Postgres {
            let mut command = self.as_nobody(&self.program.with_file_name("initdb"));
            command.args(["--username=nauth", "--auth=trust", "--encoding=UTF8", "--no-sync", "--pgdata"]).arg(&data);
            command.status().unwrap()
        } else {
            let mut command = self.as_nobody(Path::new("mariadb-install-db"));
            command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            command.arg(format!("--datadir={}", data.display())).status().unwrap()
        };
        assert!(made.success(), "no data for {:?}: {}", self.kind, self.log());
    }

    fn as_nobody(&self, program: &Path) -> Command {
        let log = File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the program of a server is. Debian keeps those of PostgreSQL where no path leads.
fn installed(kind: Kind) -> Option<PathBuf> {
    let candidates = match kind {
        Kind::Postgres => {
            let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
            let mut versions: Vec<_> = versions.map(|version| version.path().join("bin/postgres")).collect();
            versions.sort();
            versions.reverse();
            versions
        }
        _ => ["/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/local/bin/mariadbd"].map(PathBuf::from).to_vec(),
    };
    candidates.into_iter().find(|program| program.exists())
}

fn children_of(process: Pid) -> Vec<Pid> {
    let pid = process.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
