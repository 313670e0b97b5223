//! A fresh database for each test, on each kind of server.

use std::io::Write as _;
use std::sync::Once;

use nauth::config::Environment;
use nauth::config::settings::{Database, Settings};
use nauth::domain::clock::Time;
use nauth::domain::id::random_number;
use nauth::store::{Db, Store, migrations};
use sqlx::{Connection as _, Executor as _};

/// A time to begin at.
pub(crate) const NOW: Time = Time::from_secs(1_800_000_000);

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// An empty database that is nobody else's.
pub(crate) struct Fresh {
    pub(crate) kind: Kind,
    /// What `[database]` says of it.
    pub(crate) settings: Database,
    /// The name of the schema or database, on a server.
    name: String,
    _directory: tempfile::TempDir,
}

impl Fresh {
    /// `None` where there is no server of this kind.
    pub(crate) async fn of(kind: Kind) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("t_{:x}", random_number());
        let (url, more) = match kind {
            Kind::Sqlite => (format!("sqlite://{}/nauth.db", directory.path().display()), String::new()),
            Kind::Postgres => (server("NAUTH_TEST_POSTGRES")?, format!("schema = \"{name}\"")),
            Kind::MariaDb => {
                let url = server("NAUTH_TEST_MYSQL")?;
                let (before, _) = url.rsplit_once('/').unwrap();
                (format!("{before}/{name}"), String::new())
            }
        };
        run_beside(kind, &format!("CREATE {} {name}", what(kind))).await;
        let settings = read(directory.path(), &format!("url = \"{url}\"\n{more}\nmax_connections = 12"));
        Some(Self { kind, settings, name, _directory: directory })
    }

    /// Opens it as it is.
    pub(crate) async fn open(&self) -> Db {
        Db::open(&self.settings).await.unwrap()
    }

    /// Opens it with the schema in it.
    pub(crate) async fn store(&self) -> Store {
        let db = self.open().await;
        migrations::apply(&db, NOW).await.unwrap();
        Store::new(db)
    }

    /// Takes it away again. One whose test failed stays with its server.
    pub(crate) async fn remove(self) {
        let how = if self.kind == Kind::Postgres { " CASCADE" } else { "" };
        run_beside(self.kind, &format!("DROP {} {}{how}", what(self.kind), self.name)).await;
    }
}

/// What separates tests from each other on a server.
fn what(kind: Kind) -> &'static str {
    if kind == Kind::Postgres { "SCHEMA" } else { "DATABASE" }
}

/// Runs a statement on a server, outside of any test's database.
async fn run_beside(kind: Kind, text: &str) {
    match kind {
        Kind::Sqlite => {}
        Kind::Postgres => {
            let mut server = sqlx::PgConnection::connect(&server("NAUTH_TEST_POSTGRES").unwrap()).await.unwrap();
            server.execute(safe(text)).await.unwrap();
            server.close().await.unwrap();
        }
        Kind::MariaDb => {
            let mut server = sqlx::MySqlConnection::connect(&server("NAUTH_TEST_MYSQL").unwrap()).await.unwrap();
            server.execute(safe(text)).await.unwrap();
            server.close().await.unwrap();
        }
    }
}

/// Text with names that this test made up.
fn safe(text: &str) -> sqlx::SqlStr {
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
        let _ =
            writeln!(std::io::stderr(), "{variable} names no server: nothing is tested there (scripts/with-servers)");
    });
    None
}

fn environment(variable: &str) -> Option<String> {
    Environment::process().get(variable).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// `[database]` with these lines, read as nauth reads it.
fn read(directory: &std::path::Path, lines: &str) -> Database {
    let path = directory.join("nauth.toml");
    let text = format!(
        "[database]\n{lines}\n\n[[upstreams]]\nname = \"app\"\ntargets = [\"whoami:\"]\n\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let loaded = nauth::config::load(&path, &Environment::default()).unwrap_or_else(|report| panic!("{report}"));
    Settings::clone(&loaded.settings).database
}

/// Makes one test of a function for each kind of database.
macro_rules! on_every_database {
    ($($(#[$meta:meta])* async fn $name:ident($fresh:ident: &Fresh) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                async fn contract($fresh: &Fresh) $body

                async fn on(kind: crate::databases::Kind) {
                    let Some(fresh) = Fresh::of(kind).await else { return };
                    contract(&fresh).await;
                    fresh.remove().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    on(crate::databases::Kind::Sqlite).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    on(crate::databases::Kind::Postgres).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn mariadb() {
                    on(crate::databases::Kind::MariaDb).await;
                }
            }
        )*
    };
}
pub(crate) use on_every_database;
