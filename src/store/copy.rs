//! Every row of one database into another, empty one: how an installation moves to another kind.
//!
//! What is read is one moment of the source, what is written is one transaction of the target: it ends
//! with everything, counted, or as empty as it was.

use crate::store::db::{Db, Dialect, On, Row, Statement, StoreError, Tx, Value, sql};
use crate::store::migrations;

/// Rows read at once.
const BATCH: i64 = 500;
/// Rows written by one statement: a server is waited for once for all of them. The texts below say it too.
const TOGETHER: usize = 50;

/// One table as it is copied.
struct Table {
    name: &'static str,
    columns: &'static [Column],
    /// `?` for each column of the key, twice where there are two, then how many.
    page: &'static str,
    insert: &'static str,
    /// The same of [`TOGETHER`] rows.
    insert_many: &'static str,
    count: &'static str,
    clear: &'static str,
    key: Key,
}

/// A column and what is in it.
enum Column {
    Int(&'static str),
    Text(&'static str),
}

/// What the rows of a table are told apart by, and read in the order of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Int(&'static str),
    Text(&'static str),
    /// Text first by one, then by another.
    Texts(&'static str, &'static str),
}

/// A table by its name, its key and its columns, the first one of them first.
macro_rules! table {
    ($name:literal, $key:expr, $after:literal, $order:literal, $kind:ident $first:literal $(, $kinds:ident $columns:literal)*) => {
        Table {
            name: $name,
            columns: &[Column::$kind($first) $(, Column::$kinds($columns))*],
            page: concat!(
                "SELECT ", $first $(, ", ", $columns)*, " FROM ", $name, " WHERE ", $after, " ORDER BY ", $order, " LIMIT ?"
            ),
            insert: concat!(
                "INSERT INTO ", $name, " (", $first $(, ", ", $columns)*, ") VALUES (?" $(, table!(@mark $columns))*, ")"
            ),
            insert_many: concat!(
                "INSERT INTO ", $name, " (", $first $(, ", ", $columns)*, ") VALUES ",
                table!(@five table!(@ten "(?" $(, table!(@mark $columns))*, ")"))
            ),
            count: concat!("SELECT COUNT(*) AS number FROM ", $name),
            clear: concat!("DELETE FROM ", $name),
            key: $key,
        }
    };
    (@mark $column:literal) => { ", ?" };
    (@five $($row:tt)*) => { concat!($($row)*, ", ", $($row)*, ", ", $($row)*, ", ", $($row)*, ", ", $($row)*) };
    (@ten $($row:tt)*) => {
        table!(@five concat!($($row)*, ", ", $($row)*))
    };
}

/// Every table but the one that tells the schema and the one of counters, which stands for no more than
/// the last minutes; those that others refer to before them.
const TABLES: &[Table] = &[
    table!("nauth_installation", Key::Text("name"), "name > ?", "name", Text "name", Int "value"),
    table!("nauth_revocation_counter", Key::Int("id"), "id > ?", "id", Int "id", Int "value"),
    table!("nauth_master_keys", Key::Text("check_value"), "check_value > ?", "check_value",
        Text "check_value", Int "created_at"),
    table!("nauth_signing_keys", Key::Text("kid"), "kid > ?", "kid",
        Text "kid", Text "purpose", Text "alg", Text "master", Text "state", Int "created_at", Text "public_key",
        Text "sealed", Int "expires_at"),
    table!("nauth_users", Key::Text("id"), "id > ?", "id",
        Text "id", Int "number", Text "email", Int "email_verified", Text "username", Text "first_name",
        Text "last_name", Text "password_hash", Int "locked_at", Text "lock_reason", Int "auth_epoch",
        Int "claims_version", Int "completed_at", Text "timezone", Text "locale", Text "metadata",
        Int "last_login_at", Int "created_at", Int "updated_at", Text "phone", Int "phone_verified",
        Text "phone_claim", Text "pending_email", Text "pending_phone", Int "password_changed_at",
        Int "must_change_password", Int "device_epoch", Int "locked_until", Text "metadata_admin",
        Int "mfa_exempt_at", Text "mfa_exempt_reason", Int "lockouts_ended_at"),
    table!("nauth_user_roles", Key::Texts("user_id", "role"), "user_id > ? OR (user_id = ? AND role > ?)", "user_id, role",
        Text "user_id", Text "role", Text "granted_by", Int "granted_at"),
    table!("nauth_sessions", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "family", Int "generation", Int "rotated_at", Int "refresh_expires_at",
        Text "refresh_kid", Int "seen_generation", Int "seen_at", Text "seen_prefix", Text "seen_user_agent",
        Int "auth_epoch", Int "latest_exp", Text "amr", Text "acr", Int "auth_time", Text "dialect",
        Text "delivery", Text "auth_method", Text "ip", Text "user_agent", Int "created_at",
        Int "last_activity_at", Int "expires_at", Int "revoked_at", Text "revoke_reason", Text "device_id",
        Text "device_name", Text "device_type", Text "platform", Text "browser", Int "trusted_device",
        Text "claims", Text "ip_country", Text "ip_city", Int "latitude", Int "longitude"),
    table!("nauth_challenges", Key::Text("id"), "id > ?", "id",
        Text "id", Text "user_id", Text "step", Int "auth_epoch", Int "attempts", Int "max_attempts",
        Int "password_proven", Text "amr", Text "client_binding", Int "created_at", Int "expires_at",
        Int "completed_at", Int "decoy", Text "entry", Int "renews", Text "method"),
    table!("nauth_one_time_secrets", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "purpose", Text "challenge_id", Text "destination", Text "secret_hash",
        Int "auth_epoch", Int "attempts", Int "max_attempts", Int "created_at", Int "expires_at", Int "used_at",
        Text "link_hash", Text "client_binding"),
    table!("nauth_outbox", Key::Int("id"), "id > ?", "id",
        Int "id", Text "kind", Text "state", Text "sealed", Int "attempts", Int "due_at", Int "expires_at",
        Text "last_error", Int "created_at", Int "finished_at", Text "channel", Text "target"),
    table!("nauth_revocations", Key::Int("number"), "number > ?", "number",
        Int "number", Text "kind", Text "subject", Int "value", Int "made_at", Int "expires_at"),
    table!("nauth_audit", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "event_type", Text "event_status", Int "session_id", Text "challenge_id",
        Text "performed_by", Text "reason", Text "ip", Text "user_agent", Text "request_id", Text "details",
        Int "created_at", Text "device_id", Text "device_name", Text "device_type"),
    table!("nauth_trusted_devices", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "token_hash", Text "previous_hash", Int "device_epoch", Text "device_id",
        Text "device_name", Text "device_type", Text "platform", Text "browser", Text "ip", Text "user_agent",
        Int "trusted_until", Int "last_used_at", Int "created_at"),
    table!("nauth_factors", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "method", Text "name", Text "address", Text "sealed", Text "credential_hash",
        Int "counter", Int "preferred", Int "created_at", Int "last_used_at"),
    table!("nauth_backup_codes", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "code_hash", Int "created_at", Int "used_at"),
    table!("nauth_ceremonies", Key::Int("id"), "id > ?", "id",
        Int "id", Text "purpose", Text "user_id", Text "bound_to", Text "handle", Text "sealed", Int "expires_at"),
    table!("nauth_password_history", Key::Int("id"), "id > ?", "id",
        Int "id", Text "user_id", Text "password_hash", Int "created_at"),
    table!("nauth_invitations", Key::Int("id"), "id > ?", "id",
        Int "id", Text "code_hash", Text "email", Int "uses", Int "max_uses", Int "created_at", Int "expires_at"),
    table!("nauth_jobs", Key::Text("name"), "name > ?", "name",
        Text "name", Text "holder", Int "locked_until", Int "ran_at"),
];

/// What a new schema brings along.
const BROUGHT: [&str; 2] = ["nauth_installation", "nauth_revocation_counter"];

/// The columns of every table that is copied, as `table.column`.
#[must_use]
pub fn columns() -> Vec<String> {
    let of = |table: &'static Table| table.columns.iter().map(|column| format!("{}.{}", table.name, column.name()));
    TABLES.iter().flat_map(of).collect()
}

/// How far a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The table, without the prefix.
    pub table: &'static str,
    /// Rows copied.
    pub rows: u64,
    /// Rows there are.
    pub of: u64,
}

impl Progress {
    /// Whether nothing is left to copy.
    #[must_use]
    pub fn is_done(self) -> bool {
        self.rows == self.of
    }
}

/// Copies everything, and tells of each table how far it is, and once that it is done.
///
/// # Errors
/// [`StoreError::Schema`] when the source is not up to date, or the target is not empty.
pub async fn copy(from: &Db, to: &Db, mut tell: impl FnMut(Progress)) -> Result<(), StoreError> {
    if !migrations::status(from).await?.pending.is_empty() {
        return Err(StoreError::Schema("the source has an older schema; run `nauth migrate` on it first".to_owned()));
    }
    let mut source = from.begin().await?;
    hold_still(&mut source).await?;
    let mut target = to.begin().await?;
    refuse_filled(&mut target).await?;
    for table in TABLES {
        let read = table.count(&mut source).await?;
        let mut progress = Progress { table: table.name.trim_start_matches("nauth_"), rows: 0, of: read };
        let rows = table
            .copy(&mut source, &mut target, |rows| {
                progress.rows = rows;
                if !progress.is_done() {
                    tell(progress);
                }
            })
            .await?;
        let written = table.count(&mut target).await?;
        if read != rows || written != rows {
            return Err(StoreError::Schema(format!(
                "`{}` has {read} rows, {rows} were read and {written} written: is something else at work in it?",
                table.name
            )));
        }
        tell(Progress { rows, ..progress });
    }
    target.commit().await
}

/// From here on a transaction sees one moment.
async fn hold_still(tx: &mut Tx) -> Result<(), StoreError> {
    match tx.dialect() {
        // Nobody else writes while it is open.
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => tx.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
        // Its isolation is that of the next transaction.
        Dialect::MariaDb => {
            tx.script(
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; COMMIT; \
                 START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            )
            .await
        }
    }
}

async fn refuse_filled(target: &mut Tx) -> Result<(), StoreError> {
    for table in TABLES {
        if BROUGHT.contains(&table.name) {
            sql(table.clear).execute(&mut On::Tx(target)).await?;
        } else if table.count(target).await? > 0 {
            return Err(StoreError::Schema(format!(
                "the target is not empty: there are rows in `{}`; name one that nauth was never started on",
                table.name
            )));
        }
    }
    Ok(())
}

impl Table {
    /// Tells after each page how many rows there are by then.
    async fn copy(&self, source: &mut Tx, target: &mut Tx, mut tell: impl FnMut(u64)) -> Result<u64, StoreError> {
        let mut copied = 0;
        let mut after = self.key.beginning();
        loop {
            let page = after.into_iter().fold(sql(self.page), Statement::bind).bind(BATCH);
            let rows = page.fetch_all(&mut On::Tx(source)).await?;
            let Some(last) = rows.last() else { return Ok(copied) };
            after = self.key.of(last)?;
            let (many, rest) = rows.as_chunks::<TOGETHER>();
            for together in many {
                copied += self.insert(self.insert_many, together, target).await?;
            }
            for row in rest {
                copied += self.insert(self.insert, std::slice::from_ref(row), target).await?;
            }
            tell(copied);
        }
    }

    /// Inserts as many rows as the text has places for; answers how many.
    async fn insert(&self, text: &'static str, rows: &[Row], target: &mut Tx) -> Result<u64, StoreError> {
        let mut insert = sql(text);
        for row in rows {
            for column in self.columns {
                insert = insert.bind(column.of(row)?);
            }
        }
        insert.execute(&mut On::Tx(target)).await
    }

    async fn count(&self, tx: &mut Tx) -> Result<u64, StoreError> {
        let row = sql(self.count).fetch_optional(&mut On::Tx(tx)).await?;
        let number = row.ok_or(StoreError::Corrupt("number"))?.int("number")?;
        u64::try_from(number).map_err(|_| StoreError::Corrupt("number"))
    }
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Self::Int(name) | Self::Text(name) => name,
        }
    }

    fn of(&self, row: &Row) -> Result<Value, StoreError> {
        Ok(match self {
            Self::Int(name) => Value::Int(row.opt_int(name)?),
            Self::Text(name) => Value::Text(row.opt_text(name)?),
        })
    }
}

impl Key {
    /// What comes before every row.
    fn beginning(self) -> Vec<Value> {
        match self {
            Self::Int(_) => vec![Value::from(i64::MIN)],
            Self::Text(_) => vec![Value::from("")],
            Self::Texts(..) => vec![Value::from(""), Value::from(""), Value::from("")],
        }
    }

    fn of(self, row: &Row) -> Result<Vec<Value>, StoreError> {
        Ok(match self {
            Self::Int(name) => vec![Value::from(row.int(name)?)],
            Self::Text(name) => vec![Value::from(row.text(name)?)],
            Self::Texts(first, second) => {
                vec![Value::from(row.text(first)?), Value::from(row.text(first)?), Value::from(row.text(second)?)]
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_as_many_times_one() {
        for table in TABLES {
            let one = table.insert.matches('?').count();
            assert_eq!(one, table.columns.len(), "{}", table.name);
            assert_eq!(table.insert_many.matches('?').count(), TOGETHER * one, "{}", table.name);
        }
    }
}
