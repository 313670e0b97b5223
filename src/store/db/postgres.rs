//! `PostgreSQL`.

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Postgres, SqlStr};

use crate::config::settings::{Database, DatabaseServer, DatabaseTls, ServerAddress, SslMode};
use crate::store::db::held::{self, Server};
use crate::store::db::{StoreError, Value};

/// Statements kept ready on each connection: more than there are.
const PREPARED: usize = 256;

impl Server for Postgres {
    fn say<'c>(connection: &'c mut PgConnection, text: &'static str) -> BoxFuture<'c, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(text).execute(connection).await.map(drop) })
    }
}

/// Connects to a server.
pub(super) async fn open(server: &DatabaseServer, settings: &Database) -> Result<PgPool, StoreError> {
    let options = options(server);
    let schema = server.schema.clone();
    let limit = settings.statement_timeout.as_millis().to_string();
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .min_connections(settings.min_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| Box::pin(held::stands::<Postgres>(connection, meta)))
        .after_connect(move |connection, _| {
            let (limit, schema) = (limit.clone(), schema.clone());
            Box::pin(async move { prepare(connection, &limit, schema.as_deref()).await })
        });
    let pool = match pool.connect_with(options.clone()).await {
        Ok(pool) => pool,
        // It was tried again and again; once more says why it did not work.
        Err(sqlx::Error::PoolTimedOut) => {
            return Err(options.connect().await.err().unwrap_or(sqlx::Error::PoolTimedOut).into());
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(schema) = &server.schema {
        demand_schema(&pool, schema).await?;
    }
    Ok(pool)
}

/// The server takes a name that is no schema's without a word, and complains about the first table.
async fn demand_schema(pool: &PgPool, schema: &str) -> Result<(), StoreError> {
    let found = sqlx::query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1").bind(schema);
    if found.fetch_optional(pool).await?.is_none() {
        return Err(StoreError::Schema(format!(
            "there is no schema `{schema}`; make it with `CREATE SCHEMA {schema}`"
        )));
    }
    Ok(())
}

/// Whatever the server's own settings say, these hold.
async fn prepare(connection: &mut PgConnection, limit: &str, schema: Option<&str>) -> Result<(), sqlx::Error> {
    // A server that acknowledges before it has written loses revocations when it dies.
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $1, \
         false), set_config('default_transaction_isolation', 'read committed', false), \
         set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
         ELSE current_setting('synchronous_commit') END, false)",
    )
    .bind(limit)
    .execute(&mut *connection)
    .await?;
    if let Some(schema) = schema {
        sqlx::query("SELECT set_config('search_path', $1, false)").bind(schema).execute(connection).await?;
    }
    Ok(())
}

fn options(server: &DatabaseServer) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .username(&server.user)
        .database(&server.name)
        .application_name("nauth")
        .statement_cache_capacity(PREPARED);
    let options = match &server.address {
        ServerAddress::Tcp { host, port } => options.host(host).port(*port),
        ServerAddress::Socket { path, port } => options.socket(path).port(*port),
    };
    let options = match &server.password {
        Some(password) => options.password(password.expose()),
        None => options,
    };
    encrypted(options, &server.tls)
}

fn encrypted(options: PgConnectOptions, tls: &DatabaseTls) -> PgConnectOptions {
    let mut options = options.ssl_mode(match tls.mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    });
    if let Some(ca) = &tls.ca {
        options = options.ssl_root_cert(ca);
    }
    if let Some((certificate, key)) = &tls.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}

/// A statement with its values.
pub(super) fn query(text: SqlStr, values: Vec<Value>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}
