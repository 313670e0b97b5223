//! `[[upstreams]]`

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;

use crate::config::certificates::Unusable;
use crate::config::pem;
use crate::config::reader::Section;
use crate::config::sections::gateway::header_name;
use crate::config::sections::identity::{self, Written};
use crate::config::sections::server::number;
use crate::config::settings::{
    Balance, ClientCertificate, Destination, HashOn, HealthCheck, HostHeader, Probe, Scheme, Target, Upstream,
    UpstreamTls,
};
use crate::config::tree::{Entry, Value};
use crate::config::values;

const TARGETS: &str = "Where requests go: `\"http://host:port\"`, `\"https://…\"` (HTTP/2 where the target speaks it), \
    `\"h2c://…\"` (HTTP/2 without TLS, such as gRPC), `{ url = \"…\", weight = 2 }`, or `\"whoami:\"`, a \
    built-in page that shows what an upstream receives. A target that fails three times in a row is left \
    out for a second, then longer, as long as there is another one.";
const BALANCE: &str = "Which target is next, each by its `weight`: `round_robin`, `random`, `least_conn` (where the fewest \
    requests are under way), or `hash` (the same one for the same key).";
const HASH_ON: &str = "The key of `balance = \"hash\"`: `ip` (the client's address), `user`, `header:NAME` or \
    `cookie:NAME`. A request without it goes to whichever is next.";
const READ_TIMEOUT: &str = "Longest silence while an answer arrives; the wait for its head is bounded by the route's `timeout` \
    alone. On HTTP/2 towards clients, `timeout` counts for the rest as well.";
const RETRIES: &str = "Further tries, at other targets where there are any, when one cannot be connected to, or breaks off \
    before its answer to a request that may be sent twice (GET, HEAD, OPTIONS, PUT, DELETE, with at most \
    64 KiB of body).";
const MAX_CONNECTIONS: &str = "Most requests under way to the upstream at once, open WebSockets among them; 0 means any \
    number. Whoever finds no room waits for at most `connect_timeout`, as many as there is room for; all others get 503 \
    with Retry-After.";
const HEALTH: &str = "How targets are asked how they are, where there is a `health`: `http` (a GET that must be answered with \
    the status `expect`) or `tcp` (a connection). A target that is not well is left out as long as there is another one.";
const HEALTH_PATH: &str = "What is asked for, with the target's own `Host`, or the one named in `host_header`.";
const HOST_HEADER: &str = "`Host` towards the upstream: `preserve` what the client sent, `upstream` for the target's, or a \
    name.";
const CA: &str = "The authorities that may vouch for https:// targets, a PEM file. Empty means those the system \
    trusts. Taken up when the file changes, like the other files.";

/// `[[upstreams]]`, and what each of them is told about users, by name.
pub(super) fn upstreams(root: &mut Section<'_>) -> (Vec<Upstream>, HashMap<String, Written>) {
    let sections = root.sections("upstreams");
    if sections.is_empty() {
        upstream(root.absent("upstreams"), false);
    }
    let mut told = HashMap::new();
    let mut upstreams = Vec::with_capacity(sections.len());
    for section in sections {
        let at = section.at();
        let (upstream, identity) = upstream(section, true);
        if told.insert(upstream.name.clone(), identity).is_some() {
            let message = format!("there is another upstream `{}`", upstream.name);
            root.report_at(at, message, "names are unique");
        }
        upstreams.push(upstream);
    }
    (upstreams, told)
}

fn upstream(mut s: Section<'_>, is_written: bool) -> (Upstream, Written) {
    let name = s.text("name", "", "Unique; routes and metrics name it.");
    if is_written && name.is_empty() {
        s.error("name", "an upstream needs a `name`", "routes refer to it");
    }
    let targets = targets(&mut s);
    if is_written && targets.is_empty() {
        s.error("targets", format!("upstream `{name}` has no targets"), "write targets = [\"http://127.0.0.1:3000\"]");
    }
    let upstream = Upstream {
        name,
        balance: balance(&mut s),
        connect_timeout: s.lasting("connect_timeout", "3s", "Longest wait for a connection."),
        read_timeout: s.lasting("read_timeout", "60s", READ_TIMEOUT),
        write_timeout: s.lasting("write_timeout", "60s", "Longest silence while writing a request."),
        idle_timeout: s.lasting("idle_timeout", "90s", "How long an idle connection is kept."),
        retries: number(s.integer("retries", 1, 0..=10, RETRIES)) as usize,
        max_connections: Some(number(s.integer("max_connections", 0, 0..=100_000, MAX_CONNECTIONS)) as usize)
            .filter(|most| *most > 0),
        host_header: s.parsed("host_header", "preserve", HOST_HEADER, host_header),
        tls: tls(&mut s),
        health: health(&mut s),
        targets,
    };
    if upstream.health.is_some() && upstream.is_whoami() {
        s.error("health", "`whoami:` is always well", "remove `health`");
    }
    let identity = identity::overrides(&mut s);
    s.finish();
    (upstream, identity)
}

fn targets(s: &mut Section<'_>) -> Vec<Target> {
    let entries = s.entries("targets", "[]", TARGETS).unwrap_or_default();
    if entries.len() > Upstream::MAX_TARGETS {
        let message = format!("an upstream has at most {} targets", Upstream::MAX_TARGETS);
        s.error("targets", message, "a name that resolves to many addresses is one target");
    }
    let targets: Vec<Target> = entries.iter().filter_map(|entry| target_entry(s, entry)).collect();
    if targets.len() > 1 && targets.iter().any(|target| target.to == Destination::Whoami) {
        s.error("targets", "`whoami:` has no other targets beside it", "give it an upstream of its own");
    }
    let repeated = targets.iter().enumerate().find(|(at, one)| targets[..*at].iter().any(|other| other.to == one.to));
    if let Some((_, target)) = repeated {
        s.error("targets", format!("`{}` stands there twice", target.url), "use `weight`");
    }
    targets
}

fn health(parent: &mut Section<'_>) -> Option<HealthCheck> {
    let is_wanted = parent.has("health");
    let mut s = parent.section("health");
    let is_http = s.choice("type", "http", &[("http", true), ("tcp", false)], HEALTH);
    let path = s.parsed("path", "/healthz", HEALTH_PATH, |path| match path.parse::<http::uri::PathAndQuery>() {
        Ok(_) if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(format!("`{path}` is not a path")),
    });
    let expect = s.integer("expect", 200, 100..=599, "The status of a target that is well.");
    for key in ["path", "expect"] {
        if !is_http && s.has(key) {
            s.warning(key, format!("`{key}` says nothing with `type = \"tcp\"`"), "remove it, or ask by http");
        }
    }
    let check = HealthCheck {
        probe: if is_http { Probe::Http { path, expect: u16::try_from(expect).unwrap_or(200) } } else { Probe::Tcp },
        interval: s.parsed("interval", "10s", "How long between two checks of a target, 100ms at least.", interval),
        timeout: s.lasting("timeout", "2s", "Longest wait for the answer to one."),
        healthy: number(s.integer("healthy", 1, 1..=100, "Good checks in a row that bring a target back.")),
        unhealthy: number(s.integer("unhealthy", 3, 1..=100, "Bad checks in a row that take a target out.")),
    };
    s.finish();
    is_wanted.then_some(check)
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = values::duration(text)?;
    if interval < Duration::from_millis(100) { Err(format!("`{text}` is too often")) } else { Ok(interval) }
}

fn target_entry(s: &Section<'_>, entry: &Entry) -> Option<Target> {
    let (url, weight) = match &entry.value {
        Value::Table(_) => {
            let mut table = s.element_section("targets", entry)?;
            let url = table.text("url", "", "");
            let weight = table.integer("weight", 1, 1..=100, "");
            table.finish();
            (url, number(weight))
        }
        _ => (s.element_text("targets", entry)?, 1),
    };
    match destination(&url) {
        Ok(to) => Some(Target { url: url.trim_end_matches('/').to_owned(), to, weight }),
        Err(message) => {
            s.report_at(Some(entry.at.clone()), message, "write http://127.0.0.1:3000");
            None
        }
    }
}

fn balance(s: &mut Section<'_>) -> Balance {
    let kinds = [("round_robin", 0), ("random", 1), ("least_conn", 2), ("hash", 3)];
    let kind = s.choice("balance", "round_robin", &kinds, BALANCE);
    let hash_on = s.parsed("hash_on", "ip", HASH_ON, hash_on);
    if kind != 3 && s.has("hash_on") {
        s.warning("hash_on", "`hash_on` says nothing without `balance = \"hash\"`", "add it, or remove the line");
    }
    match kind {
        0 => Balance::RoundRobin,
        1 => Balance::Random,
        2 => Balance::LeastConn,
        _ => Balance::Hash(hash_on),
    }
}

fn hash_on(text: &str) -> Result<HashOn, String> {
    match (text, text.split_once(':')) {
        ("ip", _) => Ok(HashOn::Ip),
        ("user", _) => Ok(HashOn::User),
        (_, Some(("header", name))) => header_name(name).map(HashOn::Header),
        (_, Some(("cookie", name))) if is_token(name) => Ok(HashOn::Cookie(name.to_owned())),
        _ => Err(format!("`{text}` is none of `ip`, `user`, `header:NAME` and `cookie:NAME`")),
    }
}

/// Whether a text can be the name of a cookie (RFC 6265, section 4.1.1).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn host_header(text: &str) -> Result<HostHeader, String> {
    match text {
        "preserve" => Ok(HostHeader::Preserve),
        "upstream" => Ok(HostHeader::Upstream),
        name if HeaderValue::from_str(name).is_ok() && !name.contains(['/', ' ']) => {
            Ok(HostHeader::Fixed(name.to_owned()))
        }
        name => Err(format!("`{name}` is not a host name")),
    }
}

fn tls(parent: &mut Section<'_>) -> UpstreamTls {
    let mut s = parent.section("tls");
    let verify = s.boolean("verify", true, "Whether an https:// target must prove who it is.");
    if !verify {
        s.warning("verify", "whoever answers in place of a target is believed", "name its authority in `ca` instead");
    }
    let sni = s.optional("sni", "The name an https:// target must prove, also sent to it. Empty means its host.");
    if let Some(name) = sni.as_ref().filter(|name| ServerName::try_from(name.as_str()).is_err()) {
        s.error("sni", format!("`{name}` is not a host name"), "such as app.internal");
    }
    let ca = s.path("ca", CA).map(|path| pem::authorities(&path)).transpose().unwrap_or_else(|message| {
        s.error("ca", message, "a PEM file with one or more authorities");
        None
    });
    let client = client_certificate(&mut s);
    let tls = UpstreamTls { verify, sni, ca: ca.unwrap_or_default(), client };
    s.finish();
    tls
}

fn client_certificate(s: &mut Section<'_>) -> Option<ClientCertificate> {
    let doc = "What nauth shows targets of itself: a PEM file with its certificate, then those that vouch for it.";
    let certificate = s.path("client_cert", doc);
    let key = s.path("client_key", "The private key of `client_cert`, a PEM file.");
    let (certificate, key) = match (certificate, key) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            s.error("client_cert", "`client_cert` needs a `client_key`", "name the file with its private key");
            return None;
        }
        (None, Some(_)) => {
            s.error("client_key", "`client_key` needs a `client_cert`", "name the file with the certificate");
            return None;
        }
    };
    match pem::own(&certificate, &key) {
        Ok(own) => Some(own),
        Err(Unusable { key, message, hint }) => {
            s.error(if key == "cert" { "client_cert" } else { "client_key" }, message, hint);
            None
        }
    }
}

fn destination(text: &str) -> Result<Destination, String> {
    if text == "whoami:" {
        return Ok(Destination::Whoami);
    }
    let url = url::Url::parse(text).map_err(|_| format!("`{text}` is not a target"))?;
    let (scheme, default_port) = match url.scheme() {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        "h2c" => (Scheme::H2c, 80),
        _ => return Err(format!("`{text}` must begin with http://, https:// or h2c://")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a target holds no user and no password".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` must be scheme, host and port alone"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("`{text}` has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(default_port);
    Ok(Destination::Http { scheme, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_scheme_host_and_port() {
        let http = |scheme, host: &str, port| Ok(Destination::Http { scheme, host: host.to_owned(), port });
        assert_eq!(destination("whoami:"), Ok(Destination::Whoami));
        assert_eq!(destination("http://app"), http(Scheme::Http, "app", 80));
        assert_eq!(destination("https://[::1]:8443"), http(Scheme::Https, "::1", 8443));
        assert_eq!(destination("h2c://grpc.internal:50051"), http(Scheme::H2c, "grpc.internal", 50051));
        assert_eq!(destination("h2c://[::1]"), http(Scheme::H2c, "::1", 80));
        for bad in ["app:3000", "ftp://app", "http://app/path", "h2c://app/path", "http://u:p@app", "h2c://", ""] {
            assert!(destination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hash_is_taken_of_a_known_part_of_the_request() {
        assert_eq!(hash_on("ip"), Ok(HashOn::Ip));
        assert_eq!(hash_on("user"), Ok(HashOn::User));
        assert_eq!(hash_on("header:X-Tenant"), Ok(HashOn::Header("x-tenant".parse().unwrap())));
        assert_eq!(hash_on("cookie:app_session"), Ok(HashOn::Cookie("app_session".to_owned())));
        for bad in ["", "path", "header:", "header:a b", "cookie:", "cookie:a=b", "ip:4"] {
            assert!(hash_on(bad).is_err(), "{bad}");
        }
    }
}
