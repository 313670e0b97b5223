//! `nauth restored`: to be run once after the database was put back to an earlier state.
//!
//! What happened since that state is lost: codes that were used are unused again, revocations are
//! gone, and numbers will be given out twice. So no code of that time counts any more, and every
//! access token has to be refreshed, which asks the database as it is now. Nodes that run follow
//! within a second.

use clap::Args;

use crate::app::{DataDir, Schema, open_store};
use crate::config::settings::Settings;
use crate::domain::clock::Clock;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Log everybody out, too: sessions that were ended since the backup live again otherwise
    #[arg(long)]
    end_sessions: bool,
}

/// What was done.
struct Done {
    codes: u64,
    backup_codes: u64,
    invitations: u64,
    users: Option<u64>,
}

pub(super) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let done = super::block_on(async {
        let clock = Clock::system();
        let data = DataDir::open(&settings.server.data_dir)?;
        let store = open_store(settings, &data, Schema::Expect, &clock).await?;
        let now = clock.now();
        let mut tx = store.begin().await?;
        let codes = tx.one_time_secrets().void_all(now).await?;
        let invitations = tx.invitations().void_all(now).await?;
        let backup_codes = tx.backup_codes().void_all(now).await?;
        tx.ceremonies().end_all().await?;
        let users = if arguments.end_sessions { Some(tx.users().raise_every_epoch(now).await?) } else { None };
        tx.revocations().begin_anew(now).await?;
        tx.commit().await?;
        Ok::<_, anyhow::Error>(Done { codes, backup_codes, invitations, users })
    })?;
    println!(
        "every access token must be refreshed; void are {} codes and {} invitations, and {} backup codes of second factors",
        done.codes, done.invitations, done.backup_codes
    );
    match done.users {
        Some(users) => println!("every session of {users} users has ended"),
        None => println!("sessions that were ended since the backup live again; --end-sessions ends them all"),
    }
    Ok(())
}
