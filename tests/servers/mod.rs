//! Database servers for tests, where there are any, and an empty database for each test on them.
//!
//! `scripts/with-servers` starts them and says where they are.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Once;

use nauth::config::Environment;
use nauth::domain::id::random_number;
use sqlx::{Connection as _, Executor as _};

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// An empty database that is nobody else's: on a server a database or a schema of its own, else a file.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) kind: Kind,
    /// `database.url`
    pub(crate) url: String,
    /// `database.schema`, where there is one.
    pub(crate) schema: Option<String>,
    name: String,
    file: Option<PathBuf>,
}

impl Room {
    /// `None` where there is no server of this kind.
    pub(crate) async fn on(kind: Kind) -> Option<Self> {
        let name = format!("t_{:x}", random_number());
        let room = match kind {
            Kind::Sqlite => {
                let file = std::env::temp_dir().join(format!("{name}.db"));
                Self { kind, url: format!("sqlite://{}", file.display()), schema: None, name, file: Some(file) }
            }
            Kind::Postgres => {
                Self { kind, url: server("NAUTH_TEST_POSTGRES")?, schema: Some(name.clone()), name, file: None }
            }
            Kind::MariaDb => {
                let url = server("NAUTH_TEST_MYSQL")?;
                let (server, _) = url.rsplit_once('/').unwrap();
                Self { kind, url: format!("{server}/{name}"), schema: None, name, file: None }
            }
        };
        run_beside(kind, &format!("CREATE {} {}", room.what(), room.name)).await;
        Some(room)
    }

    /// Takes it away again, whoever is still in it.
    pub(crate) async fn remove(self) {
        let Some(file) = &self.file else {
            let how = if self.kind == Kind::Postgres { " CASCADE" } else { "" };
            return run_beside(self.kind, &format!("DROP {} {}{how}", self.what(), self.name)).await;
        };
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
    }

    /// What separates tests from each other on its server.
    fn what(&self) -> &'static str {
        if self.kind == Kind::Postgres { "SCHEMA" } else { "DATABASE" }
    }
}

/// Runs a statement on a server, outside of any test's database.
async fn run_beside(kind: Kind, text: &str) {
    match kind {
        Kind::Sqlite => {}
        Kind::Postgres => {
            let mut server = sqlx::PgConnection::connect(&server("NAUTH_TEST_POSTGRES").unwrap()).await.unwrap();
            server.execute("SET lock_timeout = '5s'").await.unwrap();
            server.execute(names_of_ours(text)).await.unwrap();
        }
        Kind::MariaDb => {
            let mut server = sqlx::MySqlConnection::connect(&server("NAUTH_TEST_MYSQL").unwrap()).await.unwrap();
            server.execute("SET lock_wait_timeout = 5").await.unwrap();
            server.execute(names_of_ours(text)).await.unwrap();
        }
    }
}

/// Text with names that this test made up.
fn names_of_ours(text: &str) -> sqlx::SqlStr {
    sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(text.to_owned()))
}

/// Where a server is; says once that it is not there. The runner keeps back only what is printed with macros.
fn server(variable: &'static str) -> Option<String> {
    static POSTGRES: Once = Once::new();
    static MYSQL: Once = Once::new();

    if let Some(url) = environment(variable) {
        return Some(url);
    }
    assert!(environment("NAUTH_TEST_ALL").is_none(), "{variable} names no server");
    let once = if variable == "NAUTH_TEST_POSTGRES" { &POSTGRES } else { &MYSQL };
    once.call_once(|| {
        let message = format!("{variable} names no server: nothing is tested there (scripts/with-servers)");
        let _ = writeln!(std::io::stderr(), "{message}");
    });
    None
}

/// A variable that is set to something.
pub(crate) fn environment(variable: &str) -> Option<String> {
    Environment::process().get(variable).filter(|value| !value.is_empty()).map(str::to_owned)
}
