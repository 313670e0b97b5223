//! On which database the suites run: a file in each nauth's own directory, or another kind that
//! `NAUTH_TEST_DATABASE` names (`scripts/test-everywhere`).

use sqlx::{Connection as _, Executor as _};

use crate::servers::{Kind, Room, environment};

use super::Config;

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

    /// Runs a statement in it, beside whoever works there. `{schema}` is where its tables are.
    pub(crate) async fn execute(&self, statement: &str) {
        let room = self.0.as_ref().expect("it is there until it is dropped");
        let schema = room.schema.as_deref().map_or(String::new(), |schema| format!("{schema}."));
        let statement = sqlx::AssertSqlSafe(statement.replace("{schema}", &schema));
        if room.kind == Kind::Postgres {
            sqlx::PgConnection::connect(&room.url).await.unwrap().execute(statement).await.unwrap();
        } else {
            sqlx::MySqlConnection::connect(&room.url).await.unwrap().execute(statement).await.unwrap();
        }
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
