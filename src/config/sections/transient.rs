//! `[redis]`, `[transient]`: where counters stand, and what happens without them.

use redis::cluster::ClusterClient;
use redis::{ConnectionAddr, IntoConnectionInfo as _};

use crate::config::pem;
use crate::config::reader::Section;
use crate::config::sections::server::number;
use crate::config::settings::{DatabasePlace, Instances, OnError, Redis, RedisPlace, Transient, TransientBackend};
use crate::domain::secret::Secret;

const LONGEST_PREFIX: usize = 64;
const FORMS: &str = "write redis://:PASSWORD@HOST:PORT/0, rediss://… for TLS, or redis+unix:///run/redis/redis.sock";

const URL: &str = "Redis (7 or newer), for what several nodes count together: `redis://USER:PASSWORD@HOST:PORT/NUMBER`, \
    `rediss://…` with TLS, or `redis+unix:///PATH` for a socket of this machine. Nodes also tell each other through \
    it that something was revoked, so that nobody waits for `session.revocation_poll`. Empty means there is none.";
const CLUSTER: &str = "Nodes of a Redis cluster, instead of `url`: `[\"redis://:PASSWORD@10.0.0.1:7000\", …]`, two or three of \
    them, which know the others. With `rediss://…` the certificate of a node must be for the address that the cluster \
    announces it by.";
const POOL: &str = "Connections to Redis, to each node of a cluster, that questions are spread over, so that nobody waits \
    behind all others. Each is made when its first turn comes.";
const KEY_PREFIX: &str = "What the names of all keys in Redis begin with.";
const TIMEOUT: &str = "Longest wait for a connection to Redis, and for each of its answers.";
const SSL_CA: &str = "Authorities that may vouch for Redis, a PEM file, instead of the system's.";
const BACKEND: &str = "Where limits are counted: in `memory`, which is each node's own and empty after a start; in `redis`, \
    which nodes share; or in the `database`, a server's, which they share as well: each count is two statements there, on \
    a quarter as many connections again as `database.max_connections`. `auto` means `redis` where there is one, else \
    `database` for `server.instances = \"multi\"`, else `memory`.";
const ON_ERROR_AUTH: &str = "What happens to a request of the auth API that cannot be counted, because Redis or the database \
    does not answer: `closed` refuses it (503), `open` lets it pass uncounted.";
const ON_ERROR_PROXY: &str = "The same for a proxied request that a route's `rate_limit` is to count.";

#[derive(Clone, Copy)]
enum Backend {
    Auto,
    Memory,
    Database,
    Redis,
}

pub(super) fn redis(root: &mut Section<'_>) -> Option<Redis> {
    let mut s = root.section("redis");
    let place = place(&mut s);
    let key_prefix = s.parsed("key_prefix", "nauth:", KEY_PREFIX, prefix);
    let pool = number(s.integer("pool", 16, 1..=256, POOL)) as usize;
    let timeout = s.lasting("timeout", "500ms", TIMEOUT);
    let ssl_ca = s.path("ssl_ca", SSL_CA);
    if let Some(Err(message)) = ssl_ca.as_deref().map(pem::authorities) {
        s.error("ssl_ca", message, "a PEM file with one or more authorities");
    }
    let is_plain = |place: &RedisPlace| place.urls().iter().any(|url| !url.expose().starts_with("rediss:"));
    if ssl_ca.is_some() && place.as_ref().is_some_and(is_plain) {
        s.error("ssl_ca", "`ssl_ca` is for a Redis that speaks TLS", "begin `url` with rediss://, or leave it out");
    }
    s.finish();
    place.map(|place| Redis { place, key_prefix, pool, timeout, ssl_ca })
}

fn place(s: &mut Section<'_>) -> Option<RedisPlace> {
    let url = s.optional("url", URL).filter(|url| match refused(url) {
        Some(wrong) => {
            s.error("url", format!("`redis.url` {wrong}"), FORMS);
            false
        }
        None => true,
    });
    let node = |url: &str| match refused(url) {
        Some(wrong) => Err(format!("a node of `redis.cluster` {wrong}; {FORMS}")),
        None => Ok(Secret::new(url.to_owned())),
    };
    let nodes = s.list("cluster", "[]", CLUSTER, node).unwrap_or_default();
    if let Some(wrong) = unlike(&nodes) {
        s.error("cluster", wrong, "write all of them alike: redis://USER:PASSWORD@HOST:PORT");
        return None;
    }
    if url.is_some() && !nodes.is_empty() {
        s.error("cluster", "`redis.url` and `redis.cluster` are both written", "keep the one that is meant");
    }
    if nodes.is_empty() { url.map(|url| RedisPlace::One(Secret::new(url))) } else { Some(RedisPlace::Cluster(nodes)) }
}

pub(super) fn transient(
    root: &mut Section<'_>,
    redis: Option<&Redis>,
    instances: Instances,
    database: &DatabasePlace,
) -> Transient {
    let mut s = root.section("transient");
    let backends = [
        ("auto", Backend::Auto),
        ("redis", Backend::Redis),
        ("database", Backend::Database),
        ("memory", Backend::Memory),
    ];
    let is_server = !matches!(database, DatabasePlace::Sqlite(_));
    let backend = match (s.choice("backend", "auto", &backends, BACKEND), redis) {
        (Backend::Auto | Backend::Redis, Some(redis)) => TransientBackend::Redis(redis.clone()),
        (Backend::Redis, None) => {
            s.error("backend", "`backend` is `redis`, and there is none", "set `redis.url` or `redis.cluster`");
            TransientBackend::Memory
        }
        (Backend::Database, _) if !is_server => {
            let message = "`backend` is `database`, and that is a SQLite file: it has one writer, and one node";
            s.error("backend", message, "leave it out: one node counts in memory; or set `database.url` to a server");
            TransientBackend::Memory
        }
        (Backend::Memory, _) if instances == Instances::Multi => {
            let message = "`backend` is `memory`, and `server.instances` is `multi`: each node would count alone";
            s.error("backend", message, "leave it out, or set it to \"database\" or \"redis\"");
            TransientBackend::Memory
        }
        (Backend::Database, _) => TransientBackend::Database,
        (Backend::Auto, None) if instances == Instances::Multi && is_server => TransientBackend::Database,
        (Backend::Auto, None) | (Backend::Memory, _) => TransientBackend::Memory,
    };
    let choices = [("closed", OnError::Closed), ("open", OnError::Open)];
    let transient = Transient {
        backend,
        on_error_auth: s.choice("on_error_auth", "closed", &choices, ON_ERROR_AUTH),
        on_error_proxy: s.choice("on_error_proxy", "open", &choices, ON_ERROR_PROXY),
    };
    s.finish();
    transient
}

/// What is wrong with a URL. Messages do not quote it: there may be a password in it.
fn refused(url: &str) -> Option<&'static str> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("redis" | "rediss" | "redis+unix")) {
        return Some("is no URL of a Redis");
    }
    if url.contains('#') {
        return Some("ends with a `#…` that nauth does not know");
    }
    url.into_connection_info().is_err().then_some("cannot be read")
}

/// What keeps nodes from being those of one cluster.
fn unlike(nodes: &[Secret<String>]) -> Option<&'static str> {
    let read: Vec<_> = nodes.iter().filter_map(|node| node.expose().as_str().into_connection_info().ok()).collect();
    if read.iter().any(|node| matches!(node.addr(), ConnectionAddr::Unix(_))) {
        return Some("the nodes of `redis.cluster` have addresses, not sockets of this machine");
    }
    if read.iter().any(|node| node.redis_settings().db() != 0) {
        return Some("a Redis cluster has one database, number 0");
    }
    let is_unlike = !read.is_empty() && ClusterClient::new(read).is_err();
    is_unlike.then_some("the nodes of `redis.cluster` differ in user, password or TLS")
}

fn prefix(text: &str) -> Result<String, String> {
    let is_plain = text.chars().all(|c| c.is_ascii_graphic());
    if is_plain && text.len() <= LONGEST_PREFIX {
        return Ok(text.to_owned());
    }
    Err(format!("`key_prefix` must be letters, digits and signs without spaces, {LONGEST_PREFIX} at most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_redis() {
        for good in [
            "redis://127.0.0.1",
            "redis://:hunter2@redis.internal:6380/3",
            "rediss://nauth:hunter2@redis.internal",
            "redis+unix:///run/redis/redis.sock",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        for bad in [
            "127.0.0.1:6379",
            "http://redis.internal",
            "redis://:hunter2@redis.internal/first",
            "rediss://:hunter2@redis.internal/#insecure",
            "redis://",
        ] {
            let message = refused(bad).unwrap_or_else(|| panic!("{bad} is no Redis"));
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn the_nodes_of_a_cluster_are_alike() {
        let unlike = |urls: &[&str]| unlike(&urls.iter().map(|url| Secret::new((*url).to_owned())).collect::<Vec<_>>());

        assert_eq!(unlike(&[]), None);
        assert_eq!(unlike(&["redis://a:7000", "redis://b:7001"]), None);
        assert_eq!(unlike(&["rediss://nauth:pw@a", "rediss://nauth:pw@b"]), None);
        for (bad, wanted) in [
            (&["redis://:one@a", "redis://:two@b"][..], "differ"),
            (&["redis://a", "rediss://b"], "differ"),
            (&["redis://a/0", "redis://b/1"], "one database"),
            (&["redis+unix:///run/redis.sock"], "addresses"),
        ] {
            assert!(unlike(bad).unwrap().contains(wanted), "{bad:?}");
        }
    }
}
