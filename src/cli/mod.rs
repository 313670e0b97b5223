//! The commands.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 the configuration or the command line is wrong.

mod backup;
mod check;
mod copy;
mod diff;
mod explain;
mod export;
mod health;
mod import;
mod keys;
mod migrate;
mod restored;
mod routes;
mod run;
mod schema;
mod table;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Environment, Loaded, Report, load};

/// Where the configuration is looked for after `./nauth.toml`.
const SYSTEM_FILE: &str = "/etc/nauth/nauth.toml";
/// The exit code of a wrong configuration or command line.
const WRONG: u8 = 2;

/// The auth gateway in front of the backends you already have.
#[derive(Debug, Parser)]
#[command(name = "nauth", version, propagate_version = true)]
struct Arguments {
    /// The configuration file [default: ./nauth.toml, then /etc/nauth/nauth.toml]
    #[arg(long, short, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what `nauth` alone does)
    Run,
    /// Check the configuration; exits 2 when it has errors
    Check {
        /// Warnings count as errors
        #[arg(long)]
        strict: bool,
    },
    /// Show which decisions differ between two files; exits 1 when some do
    Diff(diff::Arguments),
    /// Say what becomes of a request, and why
    Explain(explain::Arguments),
    /// List the routes in the order they are tried
    Routes,
    /// Print the JSON Schema of nauth.toml, for editors
    Schema,
    /// Bring the database to this version's schema, or show how far it is
    Migrate {
        #[command(subcommand)]
        command: Option<migrate::Command>,
    },
    /// Copy everything from one database into another, empty one
    Copy(copy::Arguments),
    /// Copy a SQLite database into a file, beside a node that runs
    Backup(backup::Arguments),
    /// Void what an older backup would bring back; run it once after restoring one
    Restored(restored::Arguments),
    /// Ask the running gateway whether it is ready; exits 1 when it is not
    Health,
    /// List and rotate the keys that sign
    Keys {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Manage users
    User {
        #[command(subcommand)]
        command: user::Command,
    },
}

/// Runs a command; answers the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG) } else { ExitCode::SUCCESS };
        }
    };
    // Two crates bring a TLS provider; whoever uses TLS first must find one chosen.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let environment = Environment::process();
    let path = arguments.config.unwrap_or_else(default_path);
    match arguments.command.unwrap_or(Command::Run) {
        Command::Check { strict } => check::run(&path, &environment, strict),
        Command::Run => run::run(&path, &environment),
        Command::Diff(arguments) => diff::run(&environment, &arguments),
        Command::Explain(arguments) => {
            with_config(&path, &environment, |loaded| explain::run(&loaded.settings, arguments))
        }
        Command::Routes => with_config(&path, &environment, |loaded| routes::run(&loaded.settings)),
        Command::Schema => ended(schema::run()),
        Command::Migrate { command } => {
            with_config(&path, &environment, |loaded| migrate::run(&loaded.settings, command.as_ref()))
        }
        Command::Copy(arguments) => copy::run(&path, &environment, &arguments),
        Command::Backup(arguments) => {
            with_config(&path, &environment, |loaded| backup::run(&loaded.settings, &arguments))
        }
        Command::Restored(arguments) => {
            with_config(&path, &environment, |loaded| restored::run(&loaded.settings, &arguments))
        }
        Command::Health => with_config(&path, &environment, |loaded| health::run(&loaded.settings)),
        Command::Keys { command } => with_config(&path, &environment, |loaded| keys::run(&loaded.settings, &command)),
        Command::User { command } => with_config(&path, &environment, |loaded| user::run(&loaded.settings, command)),
    }
}

fn default_path() -> PathBuf {
    let here = PathBuf::from("nauth.toml");
    if here.exists() || !PathBuf::from(SYSTEM_FILE).exists() { here } else { PathBuf::from(SYSTEM_FILE) }
}

/// Loads the configuration and runs a command with it.
fn with_config(
    path: &std::path::Path,
    environment: &Environment,
    command: impl FnOnce(Loaded) -> anyhow::Result<()>,
) -> ExitCode {
    match load(path, environment) {
        Ok(loaded) => ended(command(loaded)),
        Err(report) => wrong(&report),
    }
}

/// The exit code of a wrong configuration, which is shown.
fn wrong(report: &Report) -> ExitCode {
    eprintln!("{}", check::shown(report));
    ExitCode::from(WRONG)
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A small runtime for the commands beside the server.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
