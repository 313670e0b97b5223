//! `nauth user import`: accounts of another system, from a file, beside a running server.
//!
//! The file is read row by row and stored some hundred accounts at a time, so its length does not
//! matter. A row that cannot be imported leaves no trace but a line in the report.

pub(super) mod fields;
mod rows;

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};

use self::rows::{Csv, JsonLines, Row, Rows};
use crate::auth::Auth;
use crate::auth::import::{Clash, ImportedUser, Writing};
use crate::domain::error::Error;

/// Accounts stored in one transaction. A running server waits for as long as one takes.
const BATCH: usize = 500;
/// How often a terminal is told how far it is.
const PROGRESS: Duration = Duration::from_secs(3);

/// Import accounts of another system.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file, one account on each line
    file: PathBuf,
    /// How it is written [default: by its extension]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Check everything, store nothing
    #[arg(long)]
    dry_run: bool,
    /// Write rejected rows to this file, as JSONL, instead of standard error
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

/// Imports a file; fails when a row was rejected.
pub(super) async fn run(auth: &Auth, import: &Import) -> anyhow::Result<()> {
    let file = File::open(&import.file).with_context(|| format!("`{}` cannot be read", import.file.display()))?;
    let file = BufReader::new(file);
    let mut rows: Box<dyn Rows> = match format(import)? {
        Format::Jsonl => Box::new(JsonLines::new(file)),
        Format::Csv => Box::new(Csv::new(file)?),
    };
    let mut work = Work {
        auth,
        writing: if import.dry_run { Writing::DryRun } else { Writing::Store },
        report: Report::open(import)?,
        seen: Seen { one_phone_each: !auth.settings().signup.allow_duplicate_phones, ..Seen::default() },
        batch: Vec::with_capacity(BATCH),
        read: 0,
        imported: 0,
    };
    let mut told = Instant::now();
    while let Some(row) = rows.next(auth.clock().now())? {
        work.take(row).await?;
        if told.elapsed() > PROGRESS && std::io::stderr().is_terminal() {
            eprintln!("{} rows read, {} rejected", work.read, work.report.rejected);
            told = Instant::now();
        }
    }
    work.store().await?;
    work.finish()
}

fn format(import: &Import) -> anyhow::Result<Format> {
    let extension = import.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match (import.format, extension.to_ascii_lowercase().as_str()) {
        (Some(format), _) => Ok(format),
        (None, "jsonl" | "ndjson") => Ok(Format::Jsonl),
        (None, "csv") => Ok(Format::Csv),
        (None, _) => bail!("`{}` ends in neither .jsonl nor .csv: say --format", import.file.display()),
    }
}

/// An import under way.
struct Work<'a> {
    auth: &'a Auth,
    writing: Writing,
    report: Report,
    seen: Seen,
    batch: Vec<(u64, ImportedUser)>,
    read: u64,
    imported: u64,
}

impl Work<'_> {
    async fn take(&mut self, row: Row) -> anyhow::Result<()> {
        self.read += 1;
        match row.user {
            Err(reason) => self.report.reject(row.line, &reason)?,
            Ok(user) => match self.seen.clash(&user) {
                Some(clash) => self.report.reject(row.line, &clash.to_string())?,
                None => self.batch.push((row.line, user)),
            },
        }
        if self.batch.len() == BATCH { self.store().await } else { Ok(()) }
    }

    async fn store(&mut self) -> anyhow::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let (lines, users): (Vec<u64>, Vec<ImportedUser>) = self.batch.drain(..).unzip();
        let done = self.auth.import(&users, self.writing).await.map_err(|error| {
            let stored = format!("stopped before line {}: {} accounts are in", lines[0], self.imported);
            anyhow!("{}", failure(&error)).context(stored)
        })?;
        for ((line, user), done) in lines.into_iter().zip(&users).zip(done) {
            if let Err(clash) = done {
                self.report.reject(line, &clash.to_string())?;
                continue;
            }
            self.imported += 1;
            if self.writing == Writing::DryRun {
                self.seen.note(user);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.report.out.flush().context("the report cannot be written")?;
        let (read, imported, rejected) = (self.read, self.imported, self.report.rejected);
        let verb = if self.writing == Writing::DryRun { "would be imported" } else { "imported" };
        writeln!(std::io::stdout(), "{read} rows: {imported} {verb}, {rejected} rejected")?;
        if rejected > 0 {
            bail!("{rejected} of {read} rows were rejected");
        }
        Ok(())
    }
}

fn failure(error: &Error) -> String {
    match error {
        Error::Unavailable(source) | Error::Internal(source) => crate::logging::chain(source.as_ref()),
        other => other.to_string(),
    }
}

/// Where rejected rows are told.
struct Report {
    out: Box<dyn Write>,
    /// What stands in front of line numbers; `None` writes JSONL.
    name: Option<String>,
    rejected: u64,
}

impl Report {
    fn open(import: &Import) -> anyhow::Result<Self> {
        let (out, name): (Box<dyn Write>, _) = match &import.report {
            Some(path) => (Box::new(BufWriter::new(create(path)?)), None),
            None => (Box::new(std::io::stderr()), Some(import.file.display().to_string())),
        };
        Ok(Self { out, name, rejected: 0 })
    }

    fn reject(&mut self, line: u64, reason: &str) -> anyhow::Result<()> {
        self.rejected += 1;
        match &self.name {
            Some(name) => writeln!(self.out, "{name}:{line}: {reason}"),
            None => writeln!(self.out, "{}", serde_json::json!({ "line": line, "reason": reason })),
        }
        .context("the report cannot be written")
    }
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("`{}` cannot be written", path.display()))
}

/// What the accounts of a dry run would have taken, as keyed 64-bit hashes: some bytes for each row.
/// Otherwise the database knows.
#[derive(Default)]
struct Seen {
    taken: HashSet<u64>,
    hasher: RandomState,
    /// Whether a phone number has one holder only.
    one_phone_each: bool,
}

impl Seen {
    fn clash(&self, user: &ImportedUser) -> Option<Clash> {
        let mut values = self.values(user);
        values.find(|(_, hash)| self.taken.contains(hash)).map(|(clash, _)| clash)
    }

    fn note(&mut self, user: &ImportedUser) {
        let hashes: Vec<u64> = self.values(user).map(|(_, hash)| hash).collect();
        self.taken.extend(hashes);
    }

    fn values(&self, user: &ImportedUser) -> impl Iterator<Item = (Clash, u64)> {
        let email = Some((Clash::Email, user.email.to_string()));
        let username = user.username.as_ref().map(|name| (Clash::Username, name.to_string()));
        let phone = user.phone.as_ref().filter(|_| self.one_phone_each).map(|phone| (Clash::Phone, phone.to_string()));
        let id = user.id.map(|id| (Clash::Id, id.to_string()));
        [email, username, phone, id]
            .into_iter()
            .flatten()
            .map(|(clash, text)| (clash, self.hasher.hash_one((clash, text))))
    }
}
