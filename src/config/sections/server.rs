//! `[server]`, `[reload]`, `[secrets]`, `[log]`, `[metrics]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ipnet::IpNet;
use tracing_subscriber::filter::LevelFilter;

use crate::config::reader::Section;
use crate::config::sections::{listeners, tls};
use crate::config::settings::{
    Audit, AuditSink, ClientIpHeader, Instances, Log, LogFormat, Management, Metrics, PublicUrl, Reload, Secrets,
    Server, Tls, default_origin, web_scheme,
};
use crate::config::values;
use crate::domain::secret::Secret;

/// Shortest master key, in bytes.
const MASTER_KEY_BYTES: usize = 32;
/// A request head is at least worth this many bytes, and at most this many.
const HEAD_BYTES: RangeInclusive<u64> = 1024..=1024 * 1024;
/// What the management listener answers besides metrics.
const MANAGEMENT_PATHS: [&str; 4] = ["/livez", "/readyz", "/healthz", "/reload"];

const INSTANCES: &str = "Whether this node is the only one on its database (`single`) or one of several (`multi`). Several \
    count together and cannot each make a master key: `multi` needs a `database.url` of a server and a \
    `secrets.master_key`, and limits are counted in the database where there is no Redis.";

pub(super) fn version(root: &mut Section<'_>) {
    let doc = "The version of this format. Only 1 exists.";
    root.integer("config_version", 1, 1..=1, doc);
    let doc = "Further files, as globs relative to this one, merged in order. Arrays of tables are appended; \
               a key may stand in one file only.";
    root.list("include", "[]", doc, |text| Ok(text.to_owned()));
}

pub(super) fn server(root: &mut Section<'_>) -> (Server, Management, Tls) {
    let mut s = root.section("server");
    let listeners = listeners::listeners(&mut s);
    let doc = "Scheme, host and port that browsers see. Cookies, CSRF checks and links derive from it. Empty means \
               `http://localhost:<port of the first listener>`. While its host is loopback, plain cookies and console mail are \
               allowed; any other host is production and refuses them.";
    let default = default_origin(&listeners);
    let written = s.optional("public_url", doc).unwrap_or_else(|| default.clone());
    let public_url = public_url(&written).unwrap_or_else(|message| {
        s.error("public_url", message, "write it as https://app.example.com");
        self::public_url(&default).expect("the default is good")
    });
    let threads = s.integer("threads", 0, 0..=1024, "Worker threads. 0 means one for each core.");
    let threads = usize::try_from(threads).unwrap_or(0);
    let server = Server {
        public_url,
        listeners,
        data_dir: PathBuf::from(s.text("data_dir", "./data", "Where the database and the generated master key live.")),
        instances: s.choice(
            "instances",
            "single",
            &[("single", Instances::Single), ("multi", Instances::Multi)],
            INSTANCES,
        ),
        threads: if threads == 0 { cores() } else { threads },
        trusted_proxies: s
            .list(
                "trusted_proxies",
                "[]",
                "Networks of the proxies in front of nauth. Only their forwarding headers are believed; empty means \
                 the peer of the socket is the client.",
                network,
            )
            .unwrap_or_default(),
        client_ip_header: s.choice(
            "client_ip_header",
            "x-forwarded-for",
            &[
                ("x-forwarded-for", ClientIpHeader::XForwardedFor),
                ("x-real-ip", ClientIpHeader::XRealIp),
                ("cf-connecting-ip", ClientIpHeader::CfConnectingIp),
                ("forwarded", ClientIpHeader::Forwarded),
            ],
            "The header in which trusted proxies name the client; the right-most address that is not a trusted \
             proxy counts.",
        ),
        max_body: s.size("max_body", "10MiB", "Largest request body towards an upstream. \"0\" means unlimited."),
        header_timeout: s.lasting("header_timeout", "10s", "A whole request head must arrive within this."),
        write_timeout: s.lasting(
            "write_timeout",
            "60s",
            "Longest wait for a client to take a piece of an answer (64 KiB at most). Who takes nothing holds an \
             upstream for no longer.",
        ),
        body_read_timeout: s.lasting(
            "body_read_timeout",
            "30s",
            "A whole body for the auth API must arrive within this.",
        ),
        keepalive_timeout: s.lasting("keepalive_timeout", "60s", "An idle connection is closed after this."),
        keepalive_requests: number(s.integer(
            "keepalive_requests",
            1000,
            0..=1_000_000_000,
            "A connection is closed after this many requests. 0 means unlimited.",
        )),
        max_connections_per_ip: number(s.integer(
            "max_connections_per_ip",
            0,
            0..=1_000_000,
            "Open connections of one address (IPv6: one /64). 0 means unlimited.",
        )) as usize,
        max_header: s.parsed("max_header", "32KiB", "Largest request head; beyond it the answer is 431.", head_size),
        request_timeout: s.lasting("request_timeout", "60s", "An upstream's response head must arrive within this."),
        shutdown_grace: s.duration(
            "shutdown_grace",
            "30s",
            "Longest wait for requests in flight at shutdown; nauth exits as soon as there are none.",
        ),
    };
    let tls = tls::tls(&mut s, &server.listeners);
    let management = management(&mut s);
    s.finish();
    (server, management, tls)
}

fn management(server: &mut Section<'_>) -> Management {
    let mut s = server.section("management");
    let doc = "Where the management listener binds: `/livez`, `/readyz`, `/metrics`, and `POST /reload`.";
    let addr = s.parsed("addr", "127.0.0.1:9901", doc, address);
    let doc = "What `POST /reload` needs as `Authorization: Bearer`. Required when `addr` is not loopback.";
    let token = s.optional("token", doc).map(Secret::new);
    if token.is_none() && !addr.ip().to_canonical().is_loopback() {
        s.error("addr", "a management listener that is not loopback needs `token`", "set `server.management.token`");
    }
    s.finish();
    Management { addr, token }
}

pub(super) fn reload(root: &mut Section<'_>) -> Reload {
    let mut s = root.section("reload");
    let reload = Reload {
        watch: s.boolean("watch", true, "Whether a changed file is loaded by itself. SIGHUP always loads it."),
        debounce: s.lasting("debounce", "500ms", "A changed file must rest for two of these before it is loaded."),
    };
    s.finish();
    reload
}

pub(super) fn secrets(root: &mut Section<'_>) -> Secrets {
    let mut s = root.section("secrets");
    let doc = "The key all other keys derive from: base64 of 32 bytes or more (`openssl rand -base64 32`). Empty \
               means one is generated into `server.data_dir`, readable by its owner only.";
    let written = s.optional("master_key", doc);
    let master_key = written.and_then(|text| match key(&text) {
        Ok(key) => Some(key),
        Err(message) => {
            s.error("master_key", message, "make one with `openssl rand -base64 32`");
            None
        }
    });
    let doc = "Former master keys. What they signed still verifies, what they sealed still opens.";
    let previous = s.list("previous", "[]", doc, key).unwrap_or_default();
    s.finish();
    Secrets { master_key, previous }
}

pub(super) fn log(root: &mut Section<'_>) -> Log {
    let mut s = root.section("log");
    let log = Log {
        format: s.choice(
            "format",
            "json",
            &[("json", LogFormat::Json), ("text", LogFormat::Text)],
            "One JSON object a line, or text for people.",
        ),
        level: s.parsed(
            "level",
            "info",
            "`error`, `warn`, `info`, `debug`, `trace`, or directives such as `nauth=debug`.",
            level,
        ),
        redact_pii: s.boolean(
            "redact_pii",
            true,
            "Whether client addresses are cut in the access log, and in audit entries on standard output.",
        ),
        access_log: s.boolean("access_log", true, "Whether each request gets a line."),
    };
    s.finish();
    log
}

const SINK: &str = "Where entries go besides the database: `stdout-json` (a line of JSON each on standard output, with \
    client addresses cut where `log.redact_pii` is on), `file:/path` (appended to a file; SIGHUP and a reload open it \
    anew), `webhook:name` (delivered to one of `[[webhooks]]`, at least once). A line that a full disk or a slow reader \
    does not take holds nothing up and is counted in `nauth_audit_dropped_total`.";

/// Reads one of `audit.sink`.
fn sink(text: &str) -> Result<AuditSink, String> {
    match text.split_once(':') {
        None if text == "stdout-json" => Ok(AuditSink::Stdout),
        Some(("file", path)) if path.starts_with('/') && path.len() > 1 => Ok(AuditSink::File(path.into())),
        Some(("file", _)) => Err(format!("`{text}`: a file needs an absolute path, as in `file:/var/log/audit.jsonl`")),
        Some(("webhook", name)) if !name.is_empty() => Ok(AuditSink::Webhook(name.to_owned())),
        _ => Err(format!("`{text}` is none of `stdout-json`, `file:/path`, `webhook:name`")),
    }
}

pub(super) fn audit(root: &mut Section<'_>) -> Audit {
    let mut s = root.section("audit");
    let doc = "Whether entries of what changed nothing, such as failed logins, go through a bounded queue. Else each is \
               written before its answer, which a flood of guesses then waits for.";
    let audit = Audit {
        enabled: s.boolean("enabled", true, "Whether there is an audit trail."),
        queued: s.boolean("async", true, doc),
        retention: s.lasting("retention", "400d", "How long entries of the audit trail are kept."),
        login_attempt_retention: s.lasting(
            "login_attempt_retention",
            "90d",
            "How long logins, good and bad, are kept in it.",
        ),
        sinks: s.list("sink", "[]", SINK, sink).unwrap_or_default(),
    };
    let is_double = |(at, sink): (usize, &AuditSink)| audit.sinks[..at].contains(sink);
    if audit.sinks.iter().enumerate().any(is_double) {
        s.error("sink", "one of `audit.sink` is there twice", "name each once");
    }
    if !audit.enabled && !audit.sinks.is_empty() {
        let message = "entries cannot go to `audit.sink` while `audit.enabled` is false";
        s.error("sink", message, "set `audit.enabled = true`, or empty the list");
    }
    s.finish();
    audit
}

pub(super) fn metrics(root: &mut Section<'_>) -> Metrics {
    let mut s = root.section("metrics");
    let metrics = Metrics {
        enabled: s.boolean("enabled", true, "Whether Prometheus can scrape."),
        path: s.parsed("path", "/metrics", "Where, on the management listener.", |text| {
            if !text.starts_with('/') {
                return Err(format!("`{text}` must begin with `/`"));
            }
            if MANAGEMENT_PATHS.contains(&text) {
                return Err(format!("`{text}` is taken by the management listener itself"));
            }
            Ok(text.to_owned())
        }),
        per_route_labels: s.boolean(
            "per_route_labels",
            true,
            "Whether the `route` label names routes; else it is `_all`.",
        ),
    };
    s.finish();
    metrics
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let single = text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or(single).map_err(|_| format!("`{text}` is not an address or a network such as 10.0.0.0/8"))
}

/// `scheme://host[:port]`, taken apart.
pub(super) fn public_url(text: &str) -> Result<PublicUrl, String> {
    let url = url::Url::parse(text).map_err(|_| format!("`{text}` is not a URL"))?;
    let Some(scheme) = web_scheme(url.scheme()) else {
        return Err(format!("`{text}` must begin with http:// or https://"));
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` must be scheme, host and port alone, without a path"));
    }
    let host = url.host_str().ok_or_else(|| format!("`{text}` has no host"))?.to_owned();
    let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    let origin = format!("{scheme}://{authority}");
    Ok(PublicUrl { scheme, host, authority, origin })
}

/// `scheme://host[:port]` as browsers write it into `Origin`; also `app://…` and the like for native clients.
pub(super) fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("`*` would let every site in; list the origins".to_owned());
    }
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => public_url(text).map(|url| url.origin),
        Ok(url) if is_native_origin(&url, text) => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("`{text}` is not an origin such as https://app.example.com")),
    }
}

/// `app://name`. A forgotten scheme (`localhost:3000`) parses as a URL too, but has no host.
fn is_native_origin(url: &url::Url, text: &str) -> bool {
    let authority = text.split_once("://").map_or("", |(_, authority)| authority);
    url.has_host() && !authority.is_empty() && !authority.contains(['/', '?', '#', '@'])
}

pub(super) fn number(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn head_size(text: &str) -> Result<usize, String> {
    let bytes = values::size(text)?;
    let fits = usize::try_from(bytes).ok().filter(|_| HEAD_BYTES.contains(&bytes));
    fits.ok_or_else(|| "`server.max_header` must be from 1KiB to 1MiB".to_owned())
}

/// A level, or directives `target=level`, divided by commas.
///
/// The filter itself takes any word for a target and would log nothing for `inof`.
fn level(text: &str) -> Result<String, String> {
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if level.parse::<LevelFilter>().is_err() {
            return Err(format!("`{level}` is no log level"));
        }
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map_err(|_| format!("`{text}` are no log directives such as `info,nauth=debug`"))?;
    Ok(text.to_owned())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| format!("`{text}` is not an address and port such as 127.0.0.1:8080"))
}

fn key(text: &str) -> Result<Secret<Vec<u8>>, String> {
    let text = text.trim();
    let decoded =
        STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    let bytes = decoded.map_err(|_| "a master key must be base64".to_owned())?;
    if bytes.len() < MASTER_KEY_BYTES {
        return Err(format!("a master key must be at least {MASTER_KEY_BYTES} bytes, this one is {}", bytes.len()));
    }
    Ok(Secret::new(bytes))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::is_loopback_host;

    #[test]
    fn public_urls_are_taken_apart() {
        let url = public_url("https://App.example.com:8443").unwrap();

        assert_eq!((url.host.as_str(), url.authority.as_str()), ("app.example.com", "app.example.com:8443"));
        assert_eq!(url.origin, "https://app.example.com:8443");
        assert_eq!(public_url("https://app.example.com:443").unwrap().authority, "app.example.com");
        for bad in ["app.example.com", "ftp://x", "https://x/path", "https://x?y", "https://u@x", "https://"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for host in ["localhost", "app.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1", "0.0.0.0"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
