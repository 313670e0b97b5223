//! `nauth restored`: to be run once after the database was put back to an earlier state.

use clap::Args;

use crate::cli::user;
use crate::config::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Log everybody out, too: sessions that were ended since the backup live again otherwise
    #[arg(long)]
    end_sessions: bool,
}

pub(super) fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let done = super::block_on(async {
        let auth = user::open(settings).await?;
        let done = auth.void_after_restore(arguments.end_sessions).await;
        auth.flush().await;
        Ok::<_, anyhow::Error>(done?)
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
