//! `nauth user …`: accounts, from the command line, beside a running server.
//!
//! The server follows within a second. Passwords are read from standard input, never from an
//! argument that every process of the machine can see.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::app::{DataDir, Schema, World, master_keys, open_store};
use crate::auth::Auth;
use crate::auth::operator::NewUser;
use crate::cli::export::Export;
use crate::cli::import::Import;
use crate::config::settings::{AuditSink, Settings};
use crate::domain::clock::Clock;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::error::Error;
use crate::domain::secret::Secret;
use crate::domain::user::{MAX_METADATA_ADMIN, Role, User};
use crate::metrics::Metrics;

/// Users read at a time.
const PAGE: i64 = 500;
/// Longest reason, in characters.
pub(super) const MAX_REASON: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a complete account; the password is read from standard input
    ///
    /// With --invite no account is made, but a code that opens signup while `signup.invite_only` is set.
    Create {
        /// The e-mail address, taken as proven; with --invite the only one the code is good for
        #[arg(required_unless_present = "invite")]
        email: Option<String>,
        /// A user name
        #[arg(long)]
        username: Option<String>,
        /// A phone number such as +41791234567, taken as proven
        #[arg(long)]
        phone: Option<String>,
        /// The first login must set another password
        #[arg(long)]
        must_change_password: bool,
        /// Print an invitation code instead of making an account
        #[arg(long, conflicts_with_all = ["username", "phone", "must_change_password", "roles", "metadata_admin"])]
        invite: bool,
        /// How many signups the invitation opens
        #[arg(long, default_value_t = 1, requires = "invite", value_parser = clap::value_parser!(u32).range(1..))]
        max_uses: u32,
        /// Life of the invitation
        #[arg(long, default_value = "7d", requires = "invite", value_parser = parse_duration)]
        ttl: Duration,
        /// A role; may be given several times [default: `signup.default_roles`]
        #[arg(long = "role")]
        roles: Vec<String>,
        /// What headers may tell upstreams of the user, a JSON object such as {"tenant":"acme"}
        #[arg(long, value_name = "JSON", value_parser = parse_metadata)]
        metadata_admin: Option<Map<String, Value>>,
    },
    /// List all users
    List,
    /// Show one user
    Show {
        /// E-mail address, user name or id
        user: String,
    },
    /// Disable an account and end its sessions
    Disable {
        /// E-mail address, user name or id
        user: String,
        /// Shown to the user
        #[arg(long, default_value = "disabled by an operator", value_parser = parse_reason)]
        reason: String,
    },
    /// Enable an account again
    Enable {
        /// E-mail address, user name or id
        user: String,
    },
    /// Let a user in again whom too many failures keep out; with an option, one who has no second factor to show
    ///
    /// Without an option every lockout of the user ends, at once and on every node: failed logins, wrong codes and
    /// blocks of unusual logins are forgotten. What was counted for an address, whoever tried there, stays until it
    /// ends by itself, and a disabled account stays disabled.
    Unlock {
        /// E-mail address, user name or id
        user: String,
        #[command(flatten)]
        how: MfaRelief,
    },
    /// Delete an account, its sessions and everything else of it but its audit trail. There is no way back
    Delete {
        /// E-mail address, user name or id
        user: String,
        /// Yes, delete it
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Set a password, read from standard input, and end all sessions
    SetPassword {
        /// E-mail address, user name, phone number or id
        user: String,
        /// The next login must set another one
        #[arg(long)]
        must_change: bool,
        /// Send the user a code for `POST /reset-password/confirm` instead of setting a password
        #[arg(long, conflicts_with = "must_change")]
        send_code: bool,
    },
    /// Grant a role
    GrantRole {
        /// E-mail address, user name or id
        user: String,
        /// The role
        role: String,
    },
    /// Take a role away
    RevokeRole {
        /// E-mail address, user name or id
        user: String,
        /// The role
        role: String,
    },
    /// Import accounts of another system from a JSONL or CSV file
    Import(Import),
    /// Write every account in the form that `import` reads, one JSON object on each line
    ///
    /// With the hashes of passwords: keep it like the database. Left out are second factors and backup codes, which
    /// their users set up again, sessions and trusted devices, earlier passwords, the audit trail, and accounts that
    /// were never finished.
    Export(Export),
}

/// What stands between a user and a login, and how it goes.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct MfaRelief {
    /// Take away all second factors and backup codes, end all sessions, trust no device any more
    #[arg(long)]
    reset_mfa: bool,
    /// Ask for no second factor, for this reason; roles of `mfa.require_for_roles` demand one all the same
    #[arg(long, value_name = "REASON", value_parser = parse_reason)]
    mfa_exempt: Option<String>,
    /// Ask for a second factor again
    #[arg(long)]
    end_mfa_exemption: bool,
}

pub(super) fn run(settings: &Arc<Settings>, command: Command) -> anyhow::Result<()> {
    super::block_on(async {
        let auth = open(settings).await?;
        let done = execute(&auth, command).await;
        auth.flush().await;
        done
    })
}

/// The use cases, for a command beside a running server. No entry of the audit trail goes to standard output:
/// what a command writes there is its answer.
pub(super) async fn open(settings: &Settings) -> anyhow::Result<Auth> {
    let mut settings = settings.clone();
    settings.audit.sinks.retain(|sink| *sink != AuditSink::Stdout);
    let settings = Arc::new(settings);
    let data = DataDir::open(&settings.server.data_dir)?;
    let clock = Clock::system();
    let schema = if settings.database.migrate { Schema::Migrate } else { Schema::Expect };
    let store = open_store(&settings, &data, schema, &clock).await?;
    let masters = master_keys(&settings, &data, &store).await?;
    Ok(World::build(&settings, store, &masters, clock, Metrics::new()).await?.auth)
}

async fn execute(auth: &Auth, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { email, invite: true, max_uses, ttl, .. } => {
            invite(auth, email.as_deref(), max_uses, ttl).await
        }
        Command::Create { email, username, phone, must_change_password, roles, metadata_admin, .. } => {
            let email = email.context("name an e-mail address")?;
            let new = NewUser {
                email: parse_email(&email)?,
                username: username.as_deref().map(parse_username).transpose()?,
                phone: phone.as_deref().map(parse_phone).transpose()?,
                roles: roles.iter().map(|role| parse_role(role)).collect::<Result<_, _>>()?,
                password: password()?,
                must_change_password,
                metadata_admin: metadata_admin.unwrap_or_default(),
            };
            create(auth, &email, new).await
        }
        Command::List => list(auth).await,
        Command::Show { user } => show(auth, &find(auth, &user).await?).await,
        Command::Disable { user, reason } => {
            let id = find(auth, &user).await?.id;
            let done = auth.disable(id, reason).await.map_err(|error| refused(&user, &error))?;
            tell(&user, done, "disabled", "is disabled already")
        }
        Command::Enable { user } => {
            let id = find(auth, &user).await?.id;
            let done = auth.enable(id).await.map_err(|error| refused(&user, &error))?;
            tell(&user, done, "enabled", "is not disabled")
        }
        Command::Delete { user, .. } => {
            let id = find(auth, &user).await?.id;
            let done = auth.delete(id).await.map_err(|error| refused(&user, &error))?;
            tell(&user, done, "deleted", "is gone already")
        }
        Command::Unlock { user, how } => unlock(auth, &user, how).await,
        Command::SetPassword { user, send_code: true, .. } => {
            let found = find(auth, &user).await?;
            let sent = auth.send_admin_reset(&found).await.map_err(|error| match error {
                Error::NotFound => anyhow!("{user}: no proven address a code could be sent to"),
                other => refused(&user, &other),
            })?;
            tell(&user, true, &format!("gets a code at {sent}"), "")
        }
        Command::SetPassword { user, must_change, .. } => {
            let found = find(auth, &user).await?;
            auth.set_password(&found, password()?, must_change).await.map_err(|error| refused(&user, &error))?;
            tell(&user, true, "has a new password; all sessions ended", "")
        }
        Command::GrantRole { user, role } => {
            let id = find(auth, &user).await?.id;
            let done = auth.grant_role(id, parse_role(&role)?).await.map_err(|error| refused(&user, &error))?;
            tell(&user, done, &format!("has role {role}"), &format!("has role {role} already"))
        }
        Command::RevokeRole { user, role } => {
            let id = find(auth, &user).await?.id;
            let done = auth.revoke_role(id, parse_role(&role)?).await.map_err(|error| refused(&user, &error))?;
            tell(&user, done, &format!("no longer has role {role}"), &format!("does not have role {role}"))
        }
        Command::Import(import) => super::import::run(auth, &import).await,
        Command::Export(export) => super::export::run(auth, &export).await,
    }
}

async fn create(auth: &Auth, email: &str, new: NewUser) -> anyhow::Result<()> {
    let user = auth.create_user(new).await.map_err(|error| refused(email, &error))?;
    writeln!(std::io::stdout(), "{email} created: {}", user.id)?;
    Ok(())
}

async fn invite(auth: &Auth, email: Option<&str>, max_uses: u32, ttl: Duration) -> anyhow::Result<()> {
    let email = email.map(parse_email).transpose()?;
    let code = auth.invite(email, max_uses, ttl).await.map_err(|error| refused("invitation", &error))?;
    writeln!(std::io::stdout(), "{}", code.expose())?;
    Ok(())
}

async fn list(auth: &Auth) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut last: Option<User> = None;
    loop {
        let page = auth.list_users(last.as_ref(), PAGE).await.context("the users cannot be read")?;
        for user in &page {
            writeln!(out, "{}  {}  {}  {}", user.id, user.email, state(user), role_names(user))?;
        }
        match page.into_iter().last() {
            Some(user) => last = Some(user),
            None => return Ok(()),
        }
    }
}

async fn unlock(auth: &Auth, user: &str, how: MfaRelief) -> anyhow::Result<()> {
    let found = find(auth, user).await?;
    let refused = |error| refused(user, &error);
    match how.mfa_exempt {
        Some(reason) => {
            let done = auth.exempt(found.id, reason).await.map_err(refused)?;
            tell(user, done, "is not asked for a second factor any more", "is exempt already")
        }
        None if how.end_mfa_exemption => {
            let done = auth.end_exemption(found.id).await.map_err(refused)?;
            tell(user, done, "is asked for a second factor again", "is not exempt")
        }
        None if how.reset_mfa => {
            let count = auth.reset_factors(&found).await.map_err(refused)?;
            let changed = format!("has no second factor any more ({count} removed); all sessions ended");
            tell(user, count > 0, &changed, "has no second factor")
        }
        None => {
            auth.end_lockouts(found.id).await.map_err(refused)?;
            let forgotten = "failed logins, wrong codes and blocks are forgotten";
            let done = match found.lock {
                Some(_) => format!("is disabled, see `nauth user enable`; {forgotten}"),
                None => format!("may log in again: {forgotten}"),
            };
            tell(user, true, &done, "")
        }
    }
}

async fn show(auth: &Auth, user: &User) -> anyhow::Result<()> {
    let (factors, backup_codes) = auth.factors_of(user.id).await.context("the second factors cannot be read")?;
    let mut out = std::io::stdout().lock();
    let verified = if user.email_verified { "verified" } else { "not verified" };
    writeln!(out, "id        {}", user.id)?;
    writeln!(out, "email     {} ({verified})", user.email)?;
    writeln!(out, "username  {}", user.username.as_ref().map_or("-", |name| name.as_str()))?;
    let phone = user.phone.as_ref().map_or("-", |phone| phone.as_str());
    let proven = if user.phone_verified { " (verified)" } else { "" };
    writeln!(out, "phone     {phone}{proven}")?;
    writeln!(out, "roles     {}", role_names(user))?;
    writeln!(out, "state     {}", state(user))?;
    for factor in &factors {
        let preferred = if factor.preferred { ", asked for first" } else { "" };
        writeln!(out, "factor    {} ({}{preferred})", factor.method.as_str(), factor.name)?;
    }
    if backup_codes > 0 {
        writeln!(out, "codes     {backup_codes} backup codes left")?;
    }
    if let Some(exempt) = &user.mfa_exempt {
        writeln!(out, "exempt    {} ({})", exempt.at, exempt.reason.as_deref().unwrap_or("-"))?;
    }
    if let Some(at) = user.lockouts_ended_at {
        writeln!(out, "unlocked  {at}")?;
    }
    if let Some(lock) = &user.lock {
        writeln!(out, "disabled  {} ({})", lock.at, lock.reason)?;
    }
    if user.metadata_admin != "{}" {
        writeln!(out, "metadata  {}", user.metadata_admin)?;
    }
    writeln!(out, "created   {}", user.created_at)?;
    Ok(())
}

async fn find(auth: &Auth, text: &str) -> anyhow::Result<User> {
    auth.find_user(text).await.map_err(|error| match error {
        Error::NotFound => anyhow!("there is no user `{text}`"),
        other => refused(text, &other),
    })
}

fn refused(user: &str, error: &Error) -> anyhow::Error {
    let message = match error {
        Error::WeakPassword(missed) => missed.join("; "),
        Error::Unavailable(source) | Error::Internal(source) => crate::logging::chain(source.as_ref()),
        other => other.to_string(),
    };
    anyhow!("{user}: {message}")
}

fn tell(user: &str, done: bool, changed: &str, unchanged: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{user} {}", if done { changed } else { unchanged })?;
    Ok(())
}

fn parse_email(text: &str) -> anyhow::Result<Email> {
    text.parse().map_err(|_| anyhow!("`{text}` is not an e-mail address"))
}

fn parse_username(text: &str) -> anyhow::Result<Username> {
    text.parse().map_err(|_| anyhow!("`{text}` is not a user name: 3 to 255 of a-z 0-9 _ -"))
}

fn parse_phone(text: &str) -> anyhow::Result<Phone> {
    text.parse().map_err(|_| anyhow!("`{text}` is not a phone number such as +41791234567"))
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !(1..=MAX_REASON).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return Err(format!("1 to {MAX_REASON} characters, and no control characters"));
    }
    Ok(text.to_owned())
}

fn parse_metadata(text: &str) -> Result<Map<String, Value>, String> {
    if text.len() > MAX_METADATA_ADMIN {
        return Err(format!("more than {MAX_METADATA_ADMIN} bytes"));
    }
    serde_json::from_str(text).map_err(|_| "not a JSON object".to_owned())
}

fn parse_role(text: &str) -> anyhow::Result<Role> {
    text.parse().map_err(|error| anyhow!("`{text}`: {error}"))
}

fn role_names(user: &User) -> String {
    let names: Vec<&str> = user.roles.iter().map(Role::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

fn state(user: &User) -> &'static str {
    match (&user.lock, user.completed_at) {
        (Some(_), _) => "disabled",
        (None, None) => "unfinished",
        (None, Some(_)) => "active",
    }
}

/// One line from standard input.
fn password() -> anyhow::Result<Secret<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("password (shown while you type): ");
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line).context("no password can be read from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        bail!("no password on standard input; pipe one in, as in: printf %s \"$PASSWORD\" | nauth user …");
    }
    Ok(Secret::new(password))
}
