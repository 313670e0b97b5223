//! `nauth migrate [status]`.

use clap::Subcommand;

use crate::app::{DataDir, open_database, unusable};
use crate::config::settings::Settings;
use crate::domain::clock::Clock;
use crate::store::{Db, migrations};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show which steps are applied and which are pending
    Status,
}

pub(super) fn run(settings: &Settings, command: Option<&Command>) -> anyhow::Result<()> {
    super::block_on(async {
        let data = DataDir::open(&settings.server.data_dir)?;
        let db = open_database(&settings.database, &data).await?;
        match command {
            None => apply(settings, &db).await,
            Some(Command::Status) => status(settings, &db).await,
        }
    })
}

async fn apply(settings: &Settings, db: &Db) -> anyhow::Result<()> {
    let applied =
        migrations::apply(db, Clock::system().now()).await.map_err(|error| unusable(&settings.database, error))?;
    if applied.is_empty() {
        println!("nothing to do: the schema is up to date");
    }
    for (version, name) in applied {
        println!("applied {version:04} {name}");
    }
    Ok(())
}

async fn status(settings: &Settings, db: &Db) -> anyhow::Result<()> {
    let status = migrations::status(db).await.map_err(|error| unusable(&settings.database, error))?;
    for (version, name, at) in status.applied {
        println!("{version:04} {name}  applied {at}");
    }
    for (version, name) in status.pending {
        println!("{version:04} {name}  pending");
    }
    Ok(())
}
