//! The database: `[database]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::secret::Secret;

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Which, and where.
    pub place: DatabasePlace,
    /// What the names of all tables begin with.
    pub table_prefix: String,
    /// Connections; of SQLite those that read, writing has one of its own.
    pub max_connections: u32,
    /// Connections kept open.
    pub min_connections: u32,
    /// Longest wait for a connection, then 503.
    pub acquire_timeout: Duration,
    /// Longest time for a statement, waiting for others included.
    pub statement_timeout: Duration,
    /// Whether `run` applies pending migrations.
    pub migrate: bool,
}

/// Where users and sessions are stored. Shown without what logs in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabasePlace {
    /// In a SQLite file.
    Sqlite(PathBuf),
    /// On a PostgreSQL server.
    Postgres(DatabaseServer),
    /// On a MariaDB server.
    MariaDb(DatabaseServer),
}

/// A database on a server.
#[derive(Debug, Clone)]
pub struct DatabaseServer {
    /// Where the server listens.
    pub address: ServerAddress,
    /// Who nauth is there.
    pub user: String,
    /// And how it proves that; `None` = the server does not ask.
    pub password: Option<Secret<String>>,
    /// Which of the server's databases.
    pub name: String,
    /// Which schema of it; `None` = the server decides. PostgreSQL only.
    pub schema: Option<String>,
    /// How the way there is protected.
    pub tls: DatabaseTls,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// On the network.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// On a socket of this machine.
    Socket {
        /// The socket; of PostgreSQL the directory it stands in.
        path: PathBuf,
        /// The number in the name of PostgreSQL's socket.
        port: u16,
    },
}

/// How the way to a server is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseTls {
    /// What is demanded.
    pub mode: SslMode,
    /// Authorities that may vouch for the server, beside the public ones: a PEM file.
    pub ca: Option<PathBuf>,
    /// What nauth shows of itself: its certificate and the private key, PEM files.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What is demanded of the way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it; nothing is verified.
    Prefer,
    /// TLS; nothing is verified.
    Require,
    /// TLS, and an authority vouches for the server.
    VerifyCa,
    /// TLS, and an authority vouches for the server under the name it was asked by.
    VerifyFull,
}

impl PartialEq for DatabaseServer {
    fn eq(&self, other: &Self) -> bool {
        fn told(server: &DatabaseServer) -> impl PartialEq {
            let password = server.password.as_ref().map(|password| password.expose().clone());
            let DatabaseServer { address, user, name, schema, tls, .. } = server.clone();
            (address, user, password, name, schema, tls)
        }
        told(self) == told(other)
    }
}

impl Eq for DatabaseServer {}

impl fmt::Display for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(server) => write!(f, "postgres://{server}"),
            Self::MariaDb(server) => write!(f, "mariadb://{server}"),
        }
    }
}

impl fmt::Display for DatabaseServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            ServerAddress::Tcp { host, port } => write!(f, "{host}:{port}/{}", self.name),
            ServerAddress::Socket { path, .. } => write!(f, "{}:{}", path.display(), self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(password: &str) -> DatabasePlace {
        DatabasePlace::Postgres(DatabaseServer {
            address: ServerAddress::Tcp { host: "db.internal".to_owned(), port: 5432 },
            user: "nauth".to_owned(),
            password: Some(Secret::new(password.to_owned())),
            name: "auth".to_owned(),
            schema: None,
            tls: DatabaseTls { mode: SslMode::VerifyFull, ca: None, client: None },
        })
    }

    #[test]
    fn a_server_is_shown_without_what_logs_in_there() {
        let place = server("hunter2");

        assert_eq!(place.to_string(), "postgres://db.internal:5432/auth");
        assert!(!format!("{place:?}").contains("hunter2"));
    }

    #[test]
    fn another_password_is_another_setting() {
        assert_eq!(server("a"), server("a"));
        assert_ne!(server("a"), server("b"));
    }
}
