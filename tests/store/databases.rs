//! A fresh database for each test, on each kind of server.

use nauth::config::settings::Database;
use nauth::domain::clock::Time;
use nauth::store::{Db, Store, migrations};

pub(crate) use crate::servers::Kind;
use crate::servers::Room;

/// A time to begin at.
pub(crate) const NOW: Time = Time::from_secs(1_800_000_000);

/// An empty database that is nobody else's.
pub(crate) struct Fresh {
    /// What `[database]` says of it.
    pub(crate) settings: Database,
    room: Room,
}

impl Fresh {
    /// `None` where there is no server of this kind.
    pub(crate) async fn of(kind: Kind) -> Option<Self> {
        let room = Room::on(kind).await?;
        // All of them at once: whoever waited for a connection to be opened would be no part of a race.
        let settings = room.settings("max_connections = 12\nmin_connections = 12");
        Some(Self { settings, room })
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

    /// Takes it away again. One whose test failed stays where it is.
    pub(crate) async fn remove(self) {
        self.room.remove().await;
    }
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
