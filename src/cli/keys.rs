//! `nauth keys …`: the keys that sign, from the command line, beside a running server.
//!
//! The server follows within seconds. What a key is made of is never shown.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};

use crate::app::{DataDir, Schema, master_keys, open_store};
use crate::config::settings::Settings;
use crate::domain::clock::{Clock, Time};
use crate::store::Store;
use crate::store::keys::KeyRow;
use crate::tokens::rotation::{Former, Rotating, Rotation, Schedule};
use crate::tokens::{Keychain, Wanted};

/// Columns of the table.
const COLUMNS: usize = 6;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys: what they are for, how they sign, since when
    List,
    /// Publish new keys, which sign when everybody has had time to read them
    ///
    /// What the keys before them signed is accepted until it expires. Without --now the running server
    /// lets the new keys sign: ten minutes later where others verify with them, else half a minute.
    Rotate {
        /// Only the keys for this
        #[arg(long, value_enum)]
        purpose: Option<Purpose>,
        /// Let keys that are published sign at once
        ///
        /// Whoever has not read them yet, such as a program that keeps the published keys for a while,
        /// refuses what they sign until it has.
        #[arg(long)]
        now: bool,
        /// What the keys before them signed is accepted no more: for a key that has leaked
        #[arg(long, requires = "now")]
        revoke: bool,
    },
}

/// What keys sign.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Purpose {
    /// Access tokens
    Access,
    /// Assertions for upstreams
    Assertion,
    /// Refresh tokens
    Refresh,
}

impl From<Purpose> for Rotating {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Access => Self::Access,
            Purpose::Assertion => Self::Assertion,
            Purpose::Refresh => Self::Refresh,
        }
    }
}

pub(super) fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    super::block_on(async {
        let clock = Clock::system();
        let data = DataDir::open(&settings.server.data_dir)?;
        let store = open_store(settings, &data, Schema::Expect, &clock).await?;
        let Command::Rotate { purpose, now, revoke } = command else {
            return list(settings, &store, clock.now()).await;
        };
        let masters = master_keys(settings, &data, &store).await?;
        let keys = Keychain::open(store, masters, &Wanted::by(settings), clock.now()).await;
        let keys = keys.context("the keys cannot be read")?;
        let purposes = purpose.map_or(Rotating::ALL.to_vec(), |purpose| vec![purpose.into()]);
        if *now {
            promote(&keys, &purposes, if *revoke { Former::Go } else { Former::VerifyOn }).await
        } else {
            publish(&keys, &purposes, &Schedule::by(settings), clock.now()).await
        }
    })
}

async fn list(settings: &Settings, store: &Store, now: Time) -> anyhow::Result<()> {
    let schedule = Schedule::by(settings);
    let keys = store.keys().all().await.context("the keys cannot be read")?;
    let head = ["PURPOSE", "KEY", "ALGORITHM", "STATE", "CREATED", "AGE"];
    super::table::print(head, keys.iter().map(|key| row(key, &schedule, now)))
}

fn row(key: &KeyRow, schedule: &Schedule, now: Time) -> [String; COLUMNS] {
    let state = match (key.state.as_str(), key.expires_at) {
        ("upcoming", _) => format!("upcoming, signs {}", schedule.signs_at(key)),
        (state, Some(until)) => format!("{state}, until {until}"),
        (state, None) => state.to_owned(),
    };
    let age = now.since(key.created_at);
    [key.purpose.clone(), key.kid.clone(), key.alg.clone(), state, key.created_at.to_string(), rounded(age)]
}

/// `3days 4h`: the two largest units.
fn rounded(age: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

async fn publish(keys: &Keychain, purposes: &[Rotating], schedule: &Schedule, now: Time) -> anyhow::Result<()> {
    for purpose in purposes {
        let name = purpose.as_str();
        match keys.publish(*purpose, schedule, now).await.context("no key can be made")? {
            Rotation::Published { kid, signs_at } => println!("{name}: `{kid}` is published and signs {signs_at}"),
            Rotation::Fixed if purposes.len() == 1 => {
                bail!("the key for `{name}` comes from the configuration; change it there")
            }
            Rotation::Fixed => println!("{name}: comes from the configuration; change it there"),
        }
    }
    Ok(())
}

async fn promote(keys: &Keychain, purposes: &[Rotating], former: Former) -> anyhow::Result<()> {
    let mut promoted = false;
    for purpose in purposes {
        if let Some(kid) = keys.promote(*purpose, former).await.context("the key cannot be changed")? {
            println!("{}: `{kid}` signs now", purpose.as_str());
            promoted = true;
        }
    }
    if !promoted {
        bail!("no key is published that could sign; hint: run `nauth keys rotate` first");
    }
    Ok(())
}
