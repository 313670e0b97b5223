//! `[redis]`, `[transient]`: where counters stand, and what happens without them.

use redis::IntoConnectionInfo as _;

use crate::config::pem;
use crate::config::reader::Section;
use crate::config::settings::{DatabasePlace, Instances, OnError, Redis, Transient, TransientBackend};
use crate::domain::secret::Secret;

const LONGEST_PREFIX: usize = 64;
const FORMS: &str = "write redis://:PASSWORD@HOST:PORT/0, rediss://… for TLS, or redis+unix:///run/redis/redis.sock";

const URL: &str = "Redis (7 or newer), for what several nodes count together: `redis://USER:PASSWORD@HOST:PORT/NUMBER`, \
    `rediss://…` with TLS, or `redis+unix:///PATH` for a socket of this machine. Nodes also tell each other through \
    it that something was revoked, so that nobody waits for `session.revocation_poll`. Empty means there is none.";
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
    let url = s.optional("url", URL).filter(|url| match refused(url) {
        Some(message) => {
            s.error("url", message, FORMS);
            false
        }
        None => true,
    });
    let key_prefix = s.parsed("key_prefix", "nauth:", KEY_PREFIX, prefix);
    let timeout = s.lasting("timeout", "500ms", TIMEOUT);
    let ssl_ca = s.path("ssl_ca", SSL_CA);
    if let Some(Err(message)) = ssl_ca.as_deref().map(pem::authorities) {
        s.error("ssl_ca", message, "a PEM file with one or more authorities");
    }
    if ssl_ca.is_some() && url.as_ref().is_some_and(|url| !url.starts_with("rediss:")) {
        s.error("ssl_ca", "`ssl_ca` is for a Redis that speaks TLS", "begin `url` with rediss://, or leave it out");
    }
    s.finish();
    url.map(|url| Redis { url: Secret::new(url), key_prefix, timeout, ssl_ca })
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
            s.error("backend", "`backend` is `redis`, and there is none", "set `redis.url`");
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
        return Some("`redis.url` is no URL of a Redis");
    }
    if url.contains('#') {
        return Some("`redis.url` ends with a `#…` that nauth does not know");
    }
    url.into_connection_info().is_err().then_some("`redis.url` cannot be read")
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
}
