//! `nauth copy --from URL --to URL`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::app::{DataDir, open_database, unusable};
use crate::config::settings::Settings;
use crate::config::{Environment, load};
use crate::domain::clock::Clock;
use crate::store::copy::{self, Progress};
use crate::store::migrations;

/// How often it is told how far a large table is.
const TOLD_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the users and sessions are, written as `database.url`. Stop nauth first
    #[arg(long, value_name = "URL", env = "NAUTH_COPY_FROM", hide_env_values = true)]
    from: String,
    /// Where they go: a database that nauth was never started on
    #[arg(long, value_name = "URL", env = "NAUTH_COPY_TO", hide_env_values = true)]
    to: String,
}

pub(super) fn run(path: &Path, environment: &Environment, arguments: &Arguments) -> ExitCode {
    // Everything else that `[database]` says counts for both.
    let at = |url: &str| load(path, &environment.with_database(url));
    let (from, to) = match (at(&arguments.from), at(&arguments.to)) {
        (Ok(from), Ok(to)) => (from.settings, to.settings),
        (Err(report), _) | (_, Err(report)) => return super::wrong(&report),
    };
    super::ended(super::block_on(copy_all(&from, &to)))
}

async fn copy_all(from: &Settings, to: &Settings) -> anyhow::Result<()> {
    let data = DataDir::open(&from.server.data_dir)?;
    // What a nauth of this directory still wrote would be left behind.
    let _lock = data.lock()?;
    let (from, to) = (&from.database, &to.database);
    anyhow::ensure!(from.place != to.place, "`--from` and `--to` are the same database");
    let source = open_database(from, &data).await?;
    let target = open_database(to, &data).await?;
    migrations::apply(&target, Clock::system().now()).await.map_err(|error| unusable(to, error))?;
    copy::copy(&source, &target, teller()).await.map_err(|error| {
        anyhow::Error::new(error).context(format!("`{}` is not copied, and `{}` is as it was", from.place, to.place))
    })?;
    source.close().await;
    target.close().await;
    println!("`{}` holds what `{}` does; set `database.url`, and keep the master key", to.place, from.place);
    Ok(())
}

/// Tells of each table when it is done, and of one that takes long how far it is.
fn teller() -> impl FnMut(Progress) {
    let mut told = Instant::now();
    move |progress| {
        let Progress { table, rows, of } = progress;
        if progress.is_done() {
            eprintln!("{table}: {rows}");
        } else if told.elapsed() >= TOLD_EVERY {
            eprintln!("{table}: {rows} of {of}");
        } else {
            return;
        }
        told = Instant::now();
    }
}
