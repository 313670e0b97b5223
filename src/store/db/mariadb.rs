//! `MariaDB`.

use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, MySql, Row as _, SqlStr};

use crate::config::settings::{Database, DatabaseServer, DatabaseTls, ServerAddress, SslMode};
use crate::store::db::{StoreError, Value};

/// Statements kept ready on each connection: more than there are.
const PREPARED: usize = 256;
/// A connection that rested longer is asked whether it still stands before it is used.
const RESTED: Duration = Duration::from_secs(1);
/// The oldest release the store is made for.
const OLDEST: (u32, u32) = (10, 6);

/// Connects to a server.
pub(super) async fn open(server: &DatabaseServer, settings: &Database) -> Result<MySqlPool, StoreError> {
    let options = options(server);
    let limit = settings.statement_timeout;
    let pool = MySqlPoolOptions::new()
        .max_connections(settings.max_connections)
        .min_connections(settings.min_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > RESTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
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
    Ok(pool)
}

/// Whatever the server's own settings say, these hold: nothing is cut to fit, and a statement sees
/// what was committed before it began.
async fn prepare(connection: &mut MySqlConnection, limit: Duration) -> Result<(), sqlx::Error> {
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    sqlx::query(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         SESSION max_statement_time = ?, SESSION innodb_lock_wait_timeout = ?, SESSION autocommit = 1",
    )
    .bind(limit.as_secs_f64())
    .bind(limit.as_secs().max(1))
    .execute(connection)
    .await?;
    Ok(())
}

/// The texts are for `MariaDB`; `MySQL` lacks a collation in which a trailing space counts.
fn refuse_others(version: &str) -> Result<(), StoreError> {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse().ok());
    let release: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if !version.contains("MariaDB") || release < OLDEST {
        let (major, minor) = OLDEST;
        return Err(StoreError::Schema(format!(
            "the server is version `{version}`; nauth runs on MariaDB {major}.{minor} or newer, on PostgreSQL and on SQLite"
        )));
    }
    Ok(())
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
    fn a_server_that_is_something_else_or_too_old_is_refused() {
        for good in ["10.11.19-MariaDB-0+deb12u1", "11.4.2-MariaDB", "10.6.0-MariaDB-log"] {
            assert!(refuse_others(good).is_ok(), "{good}");
        }
        for bad in ["8.0.36", "8.4.0-commercial", "10.5.23-MariaDB", ""] {
            let refused = refuse_others(bad).unwrap_err().to_string();
            assert!(refused.contains(bad) && refused.contains("MariaDB 10.6"), "{refused}");
        }
    }
}
