//! On which database the suites run: a file in each nauth's own directory, or another kind that
//! `NAUTH_TEST_DATABASE` names (`scripts/test-everywhere`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection, Row as _, SqlSafeStr as _};

use crate::servers::{Kind, Room, environment};

use super::{Config, Line};

/// A database of one nauth or of several that share it; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Database(Option<Room>);

impl Database {
    /// `None` where there is no server of this kind.
    pub(crate) fn on(kind: Kind) -> Option<Self> {
        waiting(async move { Room::on(kind).await.map(|room| Self(Some(room))) })
    }

    /// The database of a nauth that does not care which; `None` leaves it to its defaults.
    pub(crate) fn asked_for() -> Option<Self> {
        let kind = match environment("NAUTH_TEST_DATABASE")?.as_str() {
            "sqlite" => Kind::Sqlite,
            "postgres" => Kind::Postgres,
            "mariadb" => Kind::MariaDb,
            other => panic!("NAUTH_TEST_DATABASE is `{other}`, not `sqlite`, `postgres` or `mariadb`"),
        };
        let asked_for = || Self::on(kind).expect("there is a server of the kind that was asked for");
        (kind != Kind::Sqlite).then(asked_for)
    }

    /// The configuration of a nauth on it, unless it names another one itself.
    pub(crate) fn of(&self, config: Config) -> Config {
        let room = self.0.as_ref().expect("it is there until it is dropped");
        let config = config.set_default("database.url", room.url.as_str());
        match &room.schema {
            Some(schema) => config.set_default("database.schema", schema.as_str()),
            None => config,
        }
    }

    /// `database.schema`, where there is one.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.0.as_ref().expect("it is there until it is dropped").schema.as_deref()
    }

    /// Runs a statement in it, beside whoever works there.
    pub(crate) async fn execute(&self, statement: &str) {
        self.beside().await.run(statement).await;
    }

    /// The configuration of one of several nauths on it.
    pub(crate) fn shared(&self, config: Config) -> Config {
        let config = self.of(config).set("server.public_url", "http://localhost");
        config.set("secrets.master_key", STANDARD.encode([7; 32]))
    }

    /// A connection of a test's own.
    pub(crate) async fn beside(&self) -> Beside {
        let room = self.0.as_ref().expect("it is there until it is dropped");
        if room.kind == Kind::MariaDb {
            return Beside::MariaDb(MySqlConnection::connect(&room.url).await.unwrap());
        }
        let mut beside = Beside::Postgres(PgConnection::connect(&room.url).await.unwrap());
        beside.run(&format!("SET search_path TO {}", room.schema.as_ref().expect("it is one of several"))).await;
        beside
    }

    /// A way to it that can be disturbed, and `database.url` along it.
    pub(crate) async fn over_a_line(&self) -> (Line, String) {
        let (before, rest) = self.url().split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let line = Line::to(server.parse().unwrap()).await;
        let url = format!("{before}@{}/{name}", line.address());
        (line, url)
    }

    /// `database.url`
    pub(crate) fn url(&self) -> &str {
        &self.0.as_ref().expect("it is there until it is dropped").url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever panics has nauth's output to read; what is left behind is a schema of a throw-away server.
        if let Some(room) = self.0.take().filter(|_| !std::thread::panicking()) {
            waiting(room.remove());
        }
    }
}

/// Waits where nothing can be awaited: while a configuration is put together, and in `drop`.
fn waiting<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::spawn(run).join().unwrap()
}

/// A connection beside nauth's own, to look into its database and to stand in its way.
#[derive(Debug)]
pub(crate) enum Beside {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Beside {
    /// Runs a statement; `ours` in it comes from this test.
    pub(crate) async fn run(&mut self, ours: &str) {
        match self {
            Self::Postgres(connection) => drop(connection.execute(text(ours)).await.unwrap()),
            Self::MariaDb(connection) => drop(connection.execute(text(ours)).await.unwrap()),
        }
    }

    /// The number that a query answers.
    pub(crate) async fn number(&mut self, ours: &str) -> i64 {
        match self {
            Self::Postgres(connection) => connection.fetch_one(text(ours)).await.unwrap().get(0),
            Self::MariaDb(connection) => connection.fetch_one(text(ours)).await.unwrap().get(0),
        }
    }
}

fn text(ours: &str) -> sqlx::SqlStr {
    sqlx::AssertSqlSafe(ours.to_owned()).into_sql_str()
}

/// Makes one test of a function for each kind of server.
macro_rules! on_every_server {
    ($(async fn $name:ident($database:ident: &Database) $body:block)*) => {
        $(
            mod $name {
                use super::*;

                async fn on(kind: Kind) {
                    let Some(database) = Database::on(kind) else { return };
                    let $database = &database;
                    $body
                }

                #[tokio::test]
                async fn postgres() {
                    on(Kind::Postgres).await;
                }

                #[tokio::test]
                async fn mariadb() {
                    on(Kind::MariaDb).await;
                }
            }
        )*
    };
}

pub(crate) use on_every_server;
