//! `[database]`: where users and sessions are stored.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::certificates::Unusable;
use crate::config::pem;
use crate::config::reader::Section;
use crate::config::sections::server::number;
use crate::config::settings::{
    Database, DatabasePlace, DatabaseServer, DatabaseTls, Server, ServerAddress, SslMode, is_loopback_host,
};
use crate::domain::secret::Secret;

/// Names of tables and schemas stand in statements as they are.
const LONGEST_NAME: usize = 20;
const FORMS: &str = "write postgres://USER:PASSWORD@HOST/DATABASE, mariadb://USER:PASSWORD@HOST/DATABASE or \
    sqlite:///var/lib/nauth/nauth.db";

const URL: &str = "Where users and sessions are stored: `postgres://USER:PASSWORD@HOST:PORT/DATABASE` (15 or newer), \
    `mariadb://USER:PASSWORD@HOST:PORT/DATABASE` (MariaDB 10.6 or MySQL 8.0.17 or newer; `mysql://` is the same), or \
    `sqlite://PATH`. A server's socket is named instead of the host: `postgres://USER@/DATABASE?host=/run/postgresql`, \
    `mariadb://USER@/DATABASE?socket=/run/mysqld/mysqld.sock`. Several nodes share a server. Empty means \
    `sqlite://{data_dir}/nauth.db`.";
const TABLE_PREFIX: &str = "What the names of all tables begin with.";
const MAX_CONNECTIONS: &str = "Connections at most; of SQLite those that read side by side.";
const MIN_CONNECTIONS: &str = "Connections that are kept open when there is nothing to do.";
const ACQUIRE_TIMEOUT: &str = "Longest wait for a connection, new ones included; then the answer is 503.";
const STATEMENT_TIMEOUT: &str = "Longest time for one statement, waiting for others included; then the answer is 503.";
const SSL_MODE: &str = "What is demanded of the way to a server: `disable` (no TLS), `prefer` (TLS if it has it), \
    `require` (TLS, but nobody vouches for the server), `verify-ca` (an authority does) or `verify-full` (for its name \
    too). Empty means `verify-full`, and `prefer` for a server on this machine. A socket needs none.";
const SSL_CA: &str = "Authorities that may vouch for the server, a PEM file, beside the public ones.";
const SSL_CERT: &str = "What nauth shows a server of itself: a PEM file with its certificate.";
const SSL_KEY: &str = "The private key of `ssl_cert`, a PEM file.";
const SCHEMA: &str = "PostgreSQL's `search_path`: the schema that holds the tables. Empty means the server's own.";
const MIGRATE: &str = "Whether `nauth run` brings the schema up to date by itself. Of several nodes one does.";

pub(super) fn database(root: &mut Section<'_>, server: &Server) -> Database {
    let mut s = root.section("database");
    let place = place(&mut s, server);
    let table_prefix = s.parsed("table_prefix", "nauth_", TABLE_PREFIX, name);
    let max_connections = s.integer("max_connections", 20, 1..=1000, MAX_CONNECTIONS);
    let min_connections = s.integer("min_connections", 1, 0..=1000, MIN_CONNECTIONS);
    if min_connections > max_connections {
        let message = format!("`min_connections` is {min_connections}, `max_connections` is {max_connections}");
        s.error("min_connections", message, "keep no more than there may be");
    }
    let database = Database {
        place,
        table_prefix,
        max_connections: number(max_connections),
        min_connections: number(min_connections),
        acquire_timeout: s.lasting("acquire_timeout", "5s", ACQUIRE_TIMEOUT),
        statement_timeout: s.lasting("statement_timeout", "10s", STATEMENT_TIMEOUT),
        migrate: s.boolean("migrate", true, MIGRATE),
    };
    s.finish();
    database
}

fn place(s: &mut Section<'_>, server: &Server) -> DatabasePlace {
    let own_file = || DatabasePlace::Sqlite(server.data_dir.join("nauth.db"));
    let place = match s.optional("url", URL) {
        None => own_file(),
        Some(url) => parse(&url).unwrap_or_else(|message| {
            s.error("url", message, FORMS);
            own_file()
        }),
    };
    let tls = tls(s);
    let schema = schema(s);
    match place {
        DatabasePlace::Sqlite(_) => {
            let written = [
                ("ssl_mode", tls.mode.is_some()),
                ("ssl_ca", tls.ca.is_some()),
                ("ssl_cert", tls.client.is_some()),
                ("schema", schema.is_some()),
            ];
            for (key, _) in written.iter().filter(|(_, is_written)| *is_written) {
                s.error(key, format!("`{key}` is for a database on a server"), "`url` names a file: leave it out");
            }
            place
        }
        DatabasePlace::Postgres(server) => {
            let tls = tls.towards(&server);
            DatabasePlace::Postgres(DatabaseServer { schema, tls, ..server })
        }
        DatabasePlace::MariaDb(server) => {
            if schema.is_some() {
                s.error("schema", "`schema` is for PostgreSQL", "in MariaDB a schema is a database: name it in `url`");
            }
            let tls = tls.towards(&server);
            DatabasePlace::MariaDb(DatabaseServer { tls, ..server })
        }
    }
}

fn schema(s: &mut Section<'_>) -> Option<String> {
    let written = s.optional("schema", SCHEMA)?;
    match name(&written) {
        Ok(schema) => Some(schema),
        Err(message) => {
            s.error("schema", message, "the default is \"\"");
            None
        }
    }
}

/// What is written of TLS, before it is known for which server.
struct WrittenTls {
    mode: Option<SslMode>,
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl WrittenTls {
    fn towards(self, server: &DatabaseServer) -> DatabaseTls {
        let mode = match &server.address {
            ServerAddress::Socket { .. } => SslMode::Disable,
            ServerAddress::Tcp { host, .. } => {
                let usual = if is_loopback_host(host) { SslMode::Prefer } else { SslMode::VerifyFull };
                self.mode.unwrap_or(usual)
            }
        };
        DatabaseTls { mode, ca: self.ca, client: self.client }
    }
}

fn tls(s: &mut Section<'_>) -> WrittenTls {
    let mode = s.choice(
        "ssl_mode",
        "",
        &[
            ("", None),
            ("disable", Some(SslMode::Disable)),
            ("prefer", Some(SslMode::Prefer)),
            ("require", Some(SslMode::Require)),
            ("verify-ca", Some(SslMode::VerifyCa)),
            ("verify-full", Some(SslMode::VerifyFull)),
        ],
        SSL_MODE,
    );
    let ca = s.path("ssl_ca", SSL_CA);
    if let Some(Err(message)) = ca.as_deref().map(pem::authorities) {
        s.error("ssl_ca", message, "a PEM file with one or more authorities");
    }
    let client = match (s.path("ssl_cert", SSL_CERT), s.path("ssl_key", SSL_KEY)) {
        (Some(certificate), Some(key)) => {
            if let Err(Unusable { key, message, hint }) = pem::own(&certificate, &key) {
                s.error(if key == "cert" { "ssl_cert" } else { "ssl_key" }, message, hint);
            }
            Some((certificate, key))
        }
        (None, None) => None,
        (Some(_), None) => {
            s.error("ssl_cert", "`ssl_cert` needs an `ssl_key`", "name the file with its private key");
            None
        }
        (None, Some(_)) => {
            s.error("ssl_key", "`ssl_key` needs an `ssl_cert`", "name the file with the certificate");
            None
        }
    };
    WrittenTls { mode, ca, client }
}

/// A name that stands in statements as it is.
fn name(text: &str) -> Result<String, String> {
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if begins && is_plain && text.len() <= LONGEST_NAME {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` must be lower-case letters, digits and `_`, {LONGEST_NAME} at most, and begin with a letter"))
}

/// Messages do not quote the URL: there may be a password in it.
pub(super) fn parse(url: &str) -> Result<DatabasePlace, String> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return sqlite(path).map(DatabasePlace::Sqlite);
    }
    let (scheme, rest) = url.split_once("://").ok_or("`database.url` is not a URL")?;
    match scheme {
        "postgres" | "postgresql" => server(rest, 5432, "host").map(DatabasePlace::Postgres),
        "mariadb" | "mysql" => server(rest, 3306, "socket").map(DatabasePlace::MariaDb),
        _ => Err(format!("`{scheme}` is no database that nauth knows")),
    }
}

fn sqlite(path: &str) -> Result<PathBuf, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.ends_with('/') {
        return Err("`database.url` names no file".to_owned());
    }
    if path.contains('?') {
        return Err("`database.url` takes no parameters for SQLite".to_owned());
    }
    Ok(PathBuf::from(path))
}

/// `user:password@host:port/database`, or without a host and with a parameter that names the socket.
fn server(rest: &str, default_port: u16, socket_parameter: &str) -> Result<DatabaseServer, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_local = authority.is_empty() || authority.ends_with('@');
    // A user without a host is no URL to the parser.
    let host = if is_local { "localhost" } else { "" };
    let url = Url::parse(&format!("db://{authority}{host}/{path}")).map_err(|_| "`database.url` is not a URL")?;

    let user = decoded(url.username())?;
    if user.is_empty() {
        return Err("`database.url` names no user".to_owned());
    }
    let name = decoded(url.path().trim_start_matches('/'))?;
    if name.is_empty() || name.contains('/') {
        return Err("`database.url` names no database".to_owned());
    }
    let parameters = Parameters::of(&url, socket_parameter)?;
    let address = match parameters.socket {
        Some(path) if is_local => ServerAddress::Socket { path, port: parameters.port.unwrap_or(default_port) },
        Some(_) => return Err("`database.url` names a host and a socket".to_owned()),
        None if is_local => return Err("`database.url` names no host".to_owned()),
        None if parameters.port.is_some() => return Err("`database.url` takes the port after the host".to_owned()),
        None => ServerAddress::Tcp { host: host_of(&url)?, port: url.port().unwrap_or(default_port) },
    };
    let password = url.password().map(decoded).transpose()?.map(Secret::new);
    let tls = DatabaseTls { mode: SslMode::VerifyFull, ca: None, client: None };
    Ok(DatabaseServer { address, user, password, name, schema: None, tls })
}

/// What stands after the `?`: a socket, and of PostgreSQL the number in its name.
#[derive(Default)]
struct Parameters {
    socket: Option<PathBuf>,
    port: Option<u16>,
}

impl Parameters {
    fn of(url: &Url, socket: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for (name, value) in url.query_pairs() {
            match &*name {
                name if name == socket => {
                    if !Path::new(&*value).is_absolute() {
                        return Err(format!("`{socket}` in `database.url` must be a whole path"));
                    }
                    parameters.socket = Some(PathBuf::from(&*value));
                }
                "port" if socket == "host" => {
                    let port = value.parse().map_err(|_| "`port` in `database.url` must be a number")?;
                    parameters.port = Some(port);
                }
                _ => {
                    return Err(format!(
                        "`database.url` has a parameter `{name}`; TLS and limits have keys of their own"
                    ));
                }
            }
        }
        Ok(parameters)
    }
}

fn host_of(url: &Url) -> Result<String, String> {
    let host = decoded(url.host_str().unwrap_or_default())?;
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() { Ok(bare.to_owned()) } else { Ok(host) }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "`database.url` is not UTF-8")?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_of(url: &str) -> DatabaseServer {
        match parse(url).unwrap() {
            DatabasePlace::Postgres(server) | DatabasePlace::MariaDb(server) => server,
            DatabasePlace::Sqlite(path) => panic!("a file: {}", path.display()),
        }
    }

    #[test]
    fn a_url_names_a_file_or_a_server() {
        for (url, shown) in [
            ("sqlite:///var/lib/nauth.db", "/var/lib/nauth.db"),
            ("sqlite://data/nauth.db", "data/nauth.db"),
            ("sqlite:nauth.db", "nauth.db"),
            ("postgres://nauth:pw@db.internal/auth", "postgres://db.internal:5432/auth"),
            ("postgresql://nauth@db.internal:6432/auth", "postgres://db.internal:6432/auth"),
            ("postgres://nauth@[::1]/auth", "postgres://::1:5432/auth"),
            ("postgres://nauth@/auth?host=/run/postgresql", "postgres:///run/postgresql:auth"),
            ("postgres://nauth@/auth?host=/run/postgresql&port=5433", "postgres:///run/postgresql:auth"),
            ("mysql://nauth:pw@10.0.0.7/auth", "mariadb://10.0.0.7:3306/auth"),
            ("mariadb://nauth@/auth?socket=/run/mysqld/mysqld.sock", "mariadb:///run/mysqld/mysqld.sock:auth"),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn what_logs_in_is_decoded() {
        let server = server_of("postgres://na%40uth:p%2Fw%3A@db.internal/a%20b");

        assert_eq!((server.user.as_str(), server.name.as_str()), ("na@uth", "a b"));
        assert_eq!(server.password.unwrap().expose(), "p/w:");
    }

    #[test]
    fn a_url_that_is_wrong_is_refused_and_not_quoted() {
        for (url, complaint) in [
            ("oracle://nauth:hunter2@db/auth", "`oracle`"),
            ("nauth:hunter2@db/auth", "not a URL"),
            ("postgres://db.internal/auth", "no user"),
            ("postgres://nauth:hunter2@db.internal", "no database"),
            ("postgres://nauth:hunter2@db.internal/a/b", "no database"),
            ("postgres://nauth:hunter2@/auth", "no host"),
            ("postgres://nauth:hunter2@db.internal:99999/auth", "not a URL"),
            ("postgres://nauth:hunter2@db.internal/auth?sslmode=disable", "`sslmode`"),
            ("postgres://nauth:hunter2@db.internal/auth?host=/run", "a host and a socket"),
            ("postgres://nauth:hunter2@/auth?host=run", "a whole path"),
            ("mariadb://nauth:hunter2@/auth?host=/run", "`host`"),
            ("mariadb://nauth:hunter2@/auth?socket=/run/db.sock&port=1", "`port`"),
            ("postgres://nauth:hunter2@db.internal/auth?port=1", "after the host"),
            ("sqlite://", "no file"),
            ("sqlite:///data/", "no file"),
            ("sqlite://nauth.db?mode=ro", "no parameters"),
        ] {
            let message = parse(url).unwrap_err();
            assert!(message.contains(complaint), "{url}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["nauth_", "a", "_x9"] {
            assert_eq!(name(good).unwrap(), good);
        }
        for bad in ["", "9a", "Nauth", "a-b", "a;b", "a b", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_elsewhere_has_to_prove_its_name() {
        let written = || WrittenTls { mode: None, ca: None, client: None };
        let towards = |url: &str| written().towards(&server_of(url)).mode;

        assert_eq!(towards("postgres://a@db.internal/b"), SslMode::VerifyFull);
        assert_eq!(towards("postgres://a@127.0.0.1/b"), SslMode::Prefer);
        assert_eq!(towards("mariadb://a@localhost/b"), SslMode::Prefer);
        assert_eq!(towards("postgres://a@/b?host=/run"), SslMode::Disable);
    }
}
