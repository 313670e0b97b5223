//! A PostgreSQL and a MariaDB of a test's own, that let nobody in but by their socket, or over TLS with a
//! certificate. They take a moment to make, so what can share the servers of `scripts/with-servers` does.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor as _};
use tempfile::TempDir;

use super::servers::{Kind, environment};

/// Who runs servers in the place of root, whom they refuse.
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_mins(1);

/// What such a server shows of itself and what it trusts, in PEM files.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whose certificates let `certified` in.
    pub(crate) clients: PathBuf,
}

/// The running server; gone when it is dropped.
///
/// By the socket it knows its client by the system's user and lets nobody else in, over TCP only `certified`, with TLS
/// and a certificate of that name.
#[derive(Debug)]
pub(crate) struct SecuredServer {
    kind: Kind,
    port: u16,
    process: Child,
    directory: TempDir,
}

impl SecuredServer {
    /// Starts it on this port. `None` where there is no such program.
    pub(crate) async fn start(kind: Kind, port: u16, papers: &Papers) -> Option<Self> {
        let Some(programs) = Programs::of(kind) else {
            assert!(environment("NAUTH_TEST_ALL").is_none(), "there is no {kind:?}");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();
        own(home);
        for (from, name) in [(&papers.certificate, "cert"), (&papers.key, "key"), (&papers.clients, "clients")] {
            let file = home.join(name);
            std::fs::copy(from, &file).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            own(&file);
        }
        let made = unprivileged(&programs.maker).args(making(kind, home)).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        if kind == Kind::Postgres {
            let rules = "local all nauth peer map=here\nhostssl all certified 127.0.0.1/32 cert\n";
            std::fs::write(home.join("data/pg_hba.conf"), rules).unwrap();
            std::fs::write(home.join("data/pg_ident.conf"), format!("here {} nauth\n", system_user())).unwrap();
        }
        let process = unprivileged(&programs.server).args(running(kind, home, port)).spawn().unwrap();
        let server = Self { kind, port, process, directory };
        server.introduce_users().await;
        Some(server)
    }

    /// `database.url` by way of the socket.
    pub(crate) fn by_socket(&self) -> String {
        let home = self.directory.path().display();
        match self.kind {
            Kind::Postgres => format!("postgres://nauth@/postgres?host={home}&port={}", self.port),
            _ => format!("mariadb://{}@/auth?socket={home}/socket", system_user()),
        }
    }

    /// `database.url` of `certified`.
    pub(crate) fn by_certificate(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://certified@127.0.0.1:{}/postgres", self.port),
            _ => format!("mariadb://certified:nauth@127.0.0.1:{}/auth", self.port),
        }
    }

    async fn introduce_users(&self) {
        let home = self.directory.path();
        if self.kind == Kind::Postgres {
            let options = PgConnectOptions::new_without_pgpass().socket(home).port(self.port).username("nauth");
            let mut server = once_it_runs(&options.database("postgres")).await;
            for statement in ["CREATE ROLE certified LOGIN", "GRANT CREATE ON SCHEMA public TO certified"] {
                server.execute(statement).await.unwrap();
            }
            return;
        }
        let options = MySqlConnectOptions::new().socket(home.join("socket")).username("root");
        let mut server = once_it_runs(&options).await;
        let ours = format!("{}@localhost", system_user());
        for statement in [
            "CREATE DATABASE auth",
            "CREATE USER certified@'127.0.0.1' IDENTIFIED BY 'nauth' REQUIRE SUBJECT '/CN=certified'",
            &format!("CREATE USER IF NOT EXISTS {ours}"),
            &format!("GRANT ALL ON auth.* TO {ours}, certified@'127.0.0.1'"),
            &format!("ALTER USER {ours} IDENTIFIED VIA unix_socket"),
        ] {
            server.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
        }
    }
}

async fn once_it_runs<O: ConnectOptions<Connection: Sized>>(options: &O) -> O::Connection {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match options.connect().await {
            Ok(server) => return server,
            Err(error) => assert!(Instant::now() < deadline, "the server does not start: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for SecuredServer {
    fn drop(&mut self) {
        // To this signal PostgreSQL ends at once and takes its children with it.
        let signal = if self.kind == Kind::Postgres { Signal::QUIT } else { Signal::KILL };
        let _ = kill_process(Pid::from_child(&self.process), signal);
        let _ = self.process.wait();
    }
}

/// What makes the files of a server, and the server.
struct Programs {
    maker: PathBuf,
    server: PathBuf,
}

impl Programs {
    fn of(kind: Kind) -> Option<Self> {
        let names = match kind {
            Kind::Postgres => ["initdb", "postgres"],
            _ => ["mariadb-install-db", "mariadbd"],
        };
        let [maker, server] = names.map(find);
        Some(Self { maker: maker?, server: server? })
    }
}

/// Debian keeps the programs of PostgreSQL where no path leads.
fn find(program: &str) -> Option<PathBuf> {
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"].map(PathBuf::from);
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let directories = usual.into_iter().chain(releases.map(|release| release.path().join("bin")));
    directories.map(|directory| directory.join(program)).find(|path| path.exists())
}

fn making(kind: Kind, home: &Path) -> Vec<String> {
    let data = home.join("data").display().to_string();
    let arguments = match kind {
        Kind::Postgres => {
            [&format!("--pgdata={data}"), "--username=nauth", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        }
        _ => [
            "--no-defaults",
            &format!("--datadir={data}"),
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ],
    };
    arguments.map(str::to_owned).to_vec()
}

fn running(kind: Kind, home: &Path, port: u16) -> Vec<String> {
    let home = home.display();
    let text = match kind {
        Kind::Postgres => format!(
            "-D {home}/data -k {home} -p {port} -c listen_addresses=127.0.0.1 -c fsync=off -c ssl=on \
             -c ssl_cert_file={home}/cert -c ssl_key_file={home}/key -c ssl_ca_file={home}/clients"
        ),
        // Without names, `localhost` is who comes by the socket.
        _ => format!(
            "--no-defaults --datadir={home}/data --socket={home}/socket --pid-file={home}/pid --bind-address=127.0.0.1 \
             --port={port} --skip-name-resolve --skip-log-bin --innodb-flush-log-at-trx-commit=0 \
             --ssl-cert={home}/cert --ssl-key={home}/key --ssl-ca={home}/clients"
        ),
    };
    text.split_whitespace().map(str::to_owned).collect()
}

/// Servers do not run as root.
fn unprivileged(program: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn system_user() -> String {
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(name).unwrap().trim().to_owned()
}

fn own(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
