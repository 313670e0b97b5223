//! `nauth user export`: every account as `nauth user import` reads it, page by page, beside a running server.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::auth::Auth;
use crate::cli::import::fields::Fields;
use crate::domain::user::User;

/// Accounts read at a time.
const PAGE: i64 = 500;
/// How often it is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// Export every account.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// A file that is not there yet, and that only its owner can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What became of the accounts.
#[derive(Debug, Default)]
struct Done {
    written: u64,
    unfinished: u64,
}

pub(super) async fn run(auth: &Auth, export: &Export) -> anyhow::Result<()> {
    let done = match &export.output {
        None => {
            let out = BufWriter::new(std::io::stdout().lock());
            write(auth, out).await.context("standard output has not got every account")?
        }
        Some(path) => {
            let shown = path.display();
            // Made by us, for its owner alone, before anything is in it; never over something.
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = made.with_context(|| format!("`{shown}` cannot be made"))?;
            let written = write_durably(auth, &file).await;
            if written.is_err() {
                // Half of it must not be taken for the whole.
                let _ = std::fs::remove_file(path);
            }
            written.with_context(|| format!("`{shown}` is not written"))?
        }
    };
    eprintln!("{} accounts exported, {} left out that were never finished", done.written, done.unfinished);
    Ok(())
}

async fn write_durably(auth: &Auth, file: &File) -> anyhow::Result<Done> {
    let done = write(auth, BufWriter::new(file)).await?;
    file.sync_all()?;
    Ok(done)
}

async fn write(auth: &Auth, mut out: impl Write) -> anyhow::Result<Done> {
    let mut done = Done::default();
    let mut last: Option<User> = None;
    let mut told = Instant::now();
    loop {
        let page = auth.list_users(last.as_ref(), PAGE).await.context("the users cannot be read")?;
        for user in &page {
            // It holds no claim to its address; an import would give it one.
            if user.completed_at.is_none() {
                done.unfinished += 1;
                continue;
            }
            let fields = Fields::of(user).with_context(|| format!("{} cannot be read", user.id))?;
            serde_json::to_writer(&mut out, &fields)?;
            out.write_all(b"\n")?;
            done.written += 1;
        }
        let Some(user) = page.into_iter().last() else { break };
        last = Some(user);
        if told.elapsed() >= TOLD_EVERY {
            eprintln!("{} accounts", done.written);
            told = Instant::now();
        }
    }
    out.flush()?;
    Ok(done)
}
