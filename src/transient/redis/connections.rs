//! Connections to Redis: to one, or to the nodes of a cluster.
//!
//! A connection carries the questions of many at a time; several spread them, so that nobody's answer
//! stands behind all of the others'. Each is made when its first turn comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, Pipeline, RedisFuture, RedisResult, TlsCertificates, Value};

use crate::config::settings::{self, RedisPlace};
use crate::transient::TransientError;
use crate::transient::redis::failed;

/// What makes connections.
pub(super) struct Maker {
    way: Way,
    size: usize,
    timeout: Duration,
}

enum Way {
    /// To one Redis.
    One(Box<Client>),
    /// To the nodes of a cluster.
    Cluster(Arc<ClusterClient>),
}

/// Connections that stand or will, used in turns.
pub(super) struct Pool {
    connections: Connections,
    turn: AtomicUsize,
}

enum Connections {
    One(Vec<ConnectionManager>),
    Cluster(Arc<ClusterClient>, Vec<OnceLock<ClusterConnection>>),
}

/// A connection, shared by those who use it at a time.
pub(super) enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Maker {
    /// Makes what the settings ask for. Nothing is connected yet.
    pub(super) fn new(settings: &settings::Redis) -> Result<Self, TransientError> {
        let timeout = settings.timeout;
        let way = match &settings.place {
            RedisPlace::One(url) => Way::One(Box::new(client(url.expose(), settings)?)),
            RedisPlace::Cluster(urls) => {
                let nodes = urls.iter().map(|url| url.expose().as_str());
                let builder = ClusterClient::builder(nodes).connection_timeout(timeout).response_timeout(timeout);
                let builder = match certificates(settings)? {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                Way::Cluster(Arc::new(builder.build().map_err(failed)?))
            }
        };
        Ok(Self { way, size: settings.pool, timeout })
    }

    /// A new set of connections, none of them made yet.
    pub(super) fn pool(&self) -> RedisResult<Pool> {
        let connections = match &self.way {
            Way::One(client) => {
                let config = ConnectionManagerConfig::new()
                    // Whoever asks next tries again.
                    .set_number_of_retries(0)
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(Some(self.timeout));
                let lazy = || ConnectionManager::new_lazy_with_config(Client::clone(client), config.clone());
                Connections::One((0..self.size).map(|_| lazy()).collect::<RedisResult<_>>()?)
            }
            Way::Cluster(client) => {
                Connections::Cluster(Arc::clone(client), (0..self.size).map(|_| OnceLock::new()).collect())
            }
        };
        Ok(Pool { connections, turn: AtomicUsize::new(0) })
    }
}

impl Pool {
    /// The connection whose turn it is.
    pub(super) fn next(&self) -> Connection {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match &self.connections {
            Connections::One(all) => Connection::One(all[turn % all.len()].clone()),
            Connections::Cluster(client, all) => {
                let made = || client.get_pending_async_connection_with_config(ClusterConfig::new());
                Connection::Cluster(all[turn % all.len()].get_or_init(made).clone())
            }
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Clients of every Redis that the settings name.
pub(in crate::transient) fn clients(settings: &settings::Redis) -> Result<Vec<Client>, TransientError> {
    settings.place.urls().iter().map(|url| client(url.expose(), settings)).collect()
}

/// A client that trusts what the settings say.
fn client(url: &str, settings: &settings::Redis) -> Result<Client, TransientError> {
    let client = match certificates(settings)? {
        Some(certificates) => Client::build_with_tls(url, certificates),
        None => Client::open(url),
    };
    client.map_err(failed)
}

fn certificates(settings: &settings::Redis) -> Result<Option<TlsCertificates>, TransientError> {
    let Some(ca) = &settings.ssl_ca else { return Ok(None) };
    let root_cert = std::fs::read(ca).map_err(|error| TransientError(error.into()))?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
}
