//! `MariaDB`, and `MySQL` by the same texts.
//!
//! Where the two have different words, a text has both, each in a comment that only one of them reads:
//! `/*M! … */` is for `MariaDB`, `/*!80017 … */` for `MySQL` from that release on.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _, MySql, Row as _, SqlStr};

use crate::config::settings::{Database, DatabaseServer, DatabaseTls, ServerAddress, SslMode};
use crate::store::db::held::{self, Server};
use crate::store::db::{StoreError, Value};

/// Statements kept ready on each connection: more than there are.
const PREPARED: usize = 256;
/// The oldest releases the store is made for.
const OLDEST_MARIADB: Release = (10, 6, 0);
/// Before it there was no collation in which a trailing space counts.
const OLDEST_MYSQL: Release = (8, 0, 17);

type Release = (u32, u32, u32);

impl Server for MySql {
    fn say<'c>(connection: &'c mut MySqlConnection, text: &'static str) -> BoxFuture<'c, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(text).execute(connection).await.map(drop) })
    }
}

/// Connects to a server.
pub(super) async fn open(server: &DatabaseServer, settings: &Database) -> Result<MySqlPool, StoreError> {
    let options = options(server);
    let limit = settings.statement_timeout;
    let pool = MySqlPoolOptions::new()
        .max_connections(settings.max_connections)
        .min_connections(settings.min_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| Box::pin(held::stands::<MySql>(connection, meta)))
        .after_connect(move |connection, _| Box::pin(async move { prepare(connection, limit).await }));
    let pool = match pool.connect_with(options.clone()).await {
        Ok(pool) => pool,
        // It was tried again and again; once more says why it did not work.
        Err(sqlx::Error::PoolTimedOut) => {
            return Err(options.connect().await.err().unwrap_or(sqlx::Error::PoolTimedOut).into());
        }
        Err(error) => return Err(error.into()),
    };
    let version: String = pool.fetch_one("SELECT VERSION() AS version").await?.try_get("version")?;
    refuse_others(&version)?;
    let native = pool.fetch_optional("SHOW VARIABLES LIKE 'innodb\\_native\\_foreign\\_keys'").await?;
    let native: Option<String> = native.map(|row| row.try_get("Value")).transpose()?;
    refuse_loose_ends(native.as_deref())?;
    Ok(pool)
}

/// Whatever the server's own settings say, these hold: nothing is cut to fit, and a statement sees
/// what was committed before it began.
///
/// `MySQL` bounds by itself what reads and what waits for a lock; whatever else takes too long is given up by who asks.
async fn prepare(connection: &mut MySqlConnection, limit: Duration) -> Result<(), sqlx::Error> {
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    sqlx::query("SET @limit_seconds = ?, @limit_milliseconds = ?, SESSION innodb_lock_wait_timeout = ?")
        .bind(limit.as_secs_f64())
        .bind(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
        .bind(limit.as_secs().max(1))
        .execute(&mut *connection)
        .await?;
    connection
        .execute(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
             /*M! SESSION max_statement_time = @limit_seconds, */ \
             /*!80017 SESSION max_execution_time = @limit_milliseconds, */ \
             SESSION autocommit = 1",
        )
        .await?;
    Ok(())
}

fn refuse_others(version: &str) -> Result<(), StoreError> {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse().ok());
    let mut next = || numbers.next().unwrap_or(0);
    let release: Release = (next(), next(), next());
    let oldest = if version.contains("MariaDB") { OLDEST_MARIADB } else { OLDEST_MYSQL };
    if release < oldest {
        return Err(StoreError::Schema(format!(
            "the server is version `{version}`; nauth runs on MariaDB 10.6, MySQL 8.0.17 or newer, on PostgreSQL and on \
             SQLite"
        )));
    }
    Ok(())
}

/// `MySQL` 9 has foreign keys of its own in the place of those of `InnoDB`, and lets rows in that point at nothing.
fn refuse_loose_ends(innodb_native_foreign_keys: Option<&str>) -> Result<(), StoreError> {
    match innodb_native_foreign_keys {
        None | Some("ON") => Ok(()),
        Some(_) => Err(StoreError::Schema(
            "the server does not check all foreign keys; start it with `innodb_native_foreign_keys = ON`".to_owned(),
        )),
    }
}

fn options(server: &DatabaseServer) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .username(&server.user)
        .database(&server.name)
        .charset("utf8mb4")
        .statement_cache_capacity(PREPARED);
    let options = match &server.address {
        ServerAddress::Tcp { host, port } => options.host(host).port(*port),
        ServerAddress::Socket { path, .. } => options.socket(path),
    };
    let options = match &server.password {
        Some(password) => options.password(password.expose()),
        None => options,
    };
    encrypted(options, &server.tls)
}

fn encrypted(options: MySqlConnectOptions, tls: &DatabaseTls) -> MySqlConnectOptions {
    let mut options = options.ssl_mode(match tls.mode {
        SslMode::Disable => MySqlSslMode::Disabled,
        SslMode::Prefer => MySqlSslMode::Preferred,
        SslMode::Require => MySqlSslMode::Required,
        SslMode::VerifyCa => MySqlSslMode::VerifyCa,
        SslMode::VerifyFull => MySqlSslMode::VerifyIdentity,
    });
    if let Some(ca) = &tls.ca {
        options = options.ssl_ca(ca);
    }
    if let Some((certificate, key)) = &tls.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}

/// A statement with its values.
pub(super) fn query(text: SqlStr, values: Vec<Value>) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for good in [
            "10.11.19-MariaDB-0+deb12u1",
            "11.4.2-MariaDB",
            "10.6.0-MariaDB-log",
            "8.0.17",
            "8.0.36-28",
            "8.4.0-commercial",
            "9.7.4-2",
        ] {
            assert!(refuse_others(good).is_ok(), "{good}");
        }
        for bad in ["5.7.44", "8.0.16", "8.0.11-TiDB-v7.5.1", "10.5.23-MariaDB", ""] {
            let refused = refuse_others(bad).unwrap_err().to_string();
            assert!(refused.contains(bad) && refused.contains("MariaDB 10.6"), "{refused}");
        }
    }

    #[test]
    fn a_server_that_lets_rows_point_at_nothing_is_refused() {
        assert!(refuse_loose_ends(None).is_ok() && refuse_loose_ends(Some("ON")).is_ok());

        let refused = refuse_loose_ends(Some("OFF")).unwrap_err().to_string();

        assert!(refused.contains("innodb_native_foreign_keys = ON"), "{refused}");
    }
}
