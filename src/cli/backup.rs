//! `nauth backup FILE`: a copy of a `SQLite` database as it is at one moment, beside a node that runs.
//!
//! Servers have programs for it that do more than this could: they are named instead.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::app::unusable;
use crate::config::settings::{Database, DatabasePlace, Settings};
use crate::store::db::Db;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the copy goes: a file that is not there yet. Only its owner can read it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let database = &settings.database;
    let source = match &database.place {
        DatabasePlace::Sqlite(path) => path,
        DatabasePlace::Postgres(_) => bail!("`{}` is backed up with pg_dump or pg_basebackup", database.place),
        DatabasePlace::MariaDb(_) => bail!("`{}` is backed up with mariadb-dump or mariadb-backup", database.place),
    };
    anyhow::ensure!(source.exists(), "there is no database `{}` yet", source.display());
    let shown = arguments.file.display();
    // Made by us, for its owner alone, before anything is in it; never over something.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&arguments.file);
    made.with_context(|| format!("`{shown}` cannot be made"))?;
    if let Err(error) = copy(source, database, &arguments.file) {
        let _ = std::fs::remove_file(&arguments.file);
        return Err(error);
    }
    println!("`{shown}` holds `{}` as it was; keep the master key as well, and apart from it", source.display());
    println!("to restore: stop nauth, put the file in its place, remove its -wal and -shm, run `nauth restored`");
    Ok(())
}

fn copy(source: &Path, database: &Database, file: &Path) -> anyhow::Result<()> {
    super::block_on(async {
        let failed = |error| unusable(database, error);
        let db = Db::peek(source, database).await.map_err(failed)?;
        db.copy_into(file).await.map_err(failed)?;
        db.close().await;
        Ok(())
    })?;
    // It counts as made when a power cut leaves it there.
    File::open(file)?.sync_all().with_context(|| format!("`{}` cannot be written", file.display()))
}
