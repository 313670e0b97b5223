//! `nauth diff OLD NEW`: which decisions a change of the file changes. Nothing is sent anywhere.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::config::{Environment, Loaded, load};
use crate::domain::clock::Clock;
use crate::gateway::policy::{Change, Policy, Representative, changes};

/// Most questions that are asked; each is asked twice and takes about a microsecond.
const MOST: usize = 1_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file as it is
    old: PathBuf,
    /// The file as it is meant to be
    new: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(environment: &Environment, arguments: &Arguments) -> ExitCode {
    let read = |path: &Path| load(path, environment).map_err(|report| super::wrong(&report));
    let (old, new) = match (read(&arguments.old), read(&arguments.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    match compare(&old, &new, arguments.json) {
        Ok(true) => ExitCode::FAILURE,
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(super::WRONG)
        }
    }
}

/// Shows what changes; answers whether anything does.
fn compare(old: &Loaded, new: &Loaded, json: bool) -> anyhow::Result<bool> {
    let representative = Representative::of(&[&old.settings, &new.settings]);
    let (before, after) = (Policy::new(&old.settings), Policy::new(&new.settings));
    let mut asked = 0;
    let pairs = representative.pairs().take(MOST).inspect(|_| asked += 1);
    let changes = changes(&before, &after, pairs, Clock::system().now());
    let unseen = representative.unseen;
    let mut out = std::io::stdout().lock();
    if json {
        let shown: Vec<_> = changes.iter().map(shown).collect();
        let whole = json!({ "asked": asked, "complete": asked < MOST, "unseenRoutes": unseen, "changes": shown });
        writeln!(out, "{whole:#}")?;
    } else {
        for change in &changes {
            writeln!(out, "{change}")?;
        }
        if !unseen.is_empty() {
            writeln!(out, "not asked about, for want of a path that matches: routes {}", unseen.join(", "))?;
        }
        if asked == MOST {
            writeln!(out, "only the first {MOST} questions were asked")?;
        }
        writeln!(
            out,
            "{} of {asked} questions are answered otherwise",
            changes.iter().map(|change| change.personas.len()).sum::<usize>()
        )?;
    }
    Ok(!changes.is_empty())
}

fn shown(change: &Change) -> serde_json::Value {
    json!({
        "request": change.request.to_string(),
        "as": change.personas.iter().map(|persona| crate::domain::outcome::named(persona.as_ref())).collect::<Vec<_>>(),
        "before": change.before.to_string(),
        "after": change.after.to_string(),
        "decidedBefore": change.decided_before,
        "decidesAfter": change.decides_after,
    })
}
