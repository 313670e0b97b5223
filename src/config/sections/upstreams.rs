//! `[[upstreams]]`

use std::collections::HashMap;

use http::HeaderValue;

use crate::config::reader::Section;
use crate::config::sections::identity::{self, Written};
use crate::config::sections::server::number;
use crate::config::settings::{HostHeader, Target, Upstream};
use crate::config::tree::{Entry, Value};

/// `[[upstreams]]`, and what each of them is told about users, by name.
pub(super) fn upstreams(root: &mut Section<'_>) -> (Vec<Upstream>, HashMap<String, Written>) {
    let sections = root.sections("upstreams");
    if sections.is_empty() {
        upstream(root.absent("upstreams"), false);
        root.error("upstreams", "there is no `[[upstreams]]`", "add one with a name and targets");
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
    let doc = "Where requests go, in turn: `\"http://host:port\"`, `\"https://…\"`, `{ url = \"…\" }`, or `\"whoami:\"`, a \
               built-in page that shows what an upstream receives.";
    let entries = s.entries("targets", "[]", doc);
    let targets: Vec<Target> = entries.unwrap_or_default().iter().filter_map(|entry| target_entry(&s, entry)).collect();
    if is_written && targets.is_empty() {
        s.error("targets", format!("upstream `{name}` has no targets"), "write targets = [\"http://127.0.0.1:3000\"]");
    }
    let upstream = Upstream {
        name,
        targets,
        connect_timeout: s.lasting("connect_timeout", "3s", "Longest wait for a connection."),
        read_timeout: s.lasting("read_timeout", "60s", "Longest silence while reading an answer."),
        write_timeout: s.lasting("write_timeout", "60s", "Longest silence while writing a request."),
        idle_timeout: s.lasting("idle_timeout", "90s", "How long an idle connection is kept."),
        retries: number(s.integer("retries", 1, 0..=10, "Further targets tried when one cannot be connected to."))
            as usize,
        host_header: s.parsed(
            "host_header",
            "preserve",
            "`Host` towards the upstream: `preserve` what the client sent, `upstream` for the target's, or a name.",
            |text| match text {
                "preserve" => Ok(HostHeader::Preserve),
                "upstream" => Ok(HostHeader::Upstream),
                name if HeaderValue::from_str(name).is_ok() && !name.contains(['/', ' ']) => {
                    Ok(HostHeader::Fixed(name.to_owned()))
                }
                name => Err(format!("`{name}` is not a host name")),
            },
        ),
    };
    let identity = identity::overrides(&mut s);
    s.finish();
    (upstream, identity)
}

fn target_entry(s: &Section<'_>, entry: &Entry) -> Option<Target> {
    let text = match &entry.value {
        Value::Table(_) => {
            let mut table = s.element_section("targets", entry)?;
            let text = table.text("url", "", "");
            table.finish();
            text
        }
        _ => s.element_text("targets", entry)?,
    };
    match target(&text) {
        Ok(target) => Some(target),
        Err(message) => {
            s.report_at(Some(entry.at.clone()), message, "write http://127.0.0.1:3000");
            None
        }
    }
}

fn target(text: &str) -> Result<Target, String> {
    if text == "whoami:" {
        return Ok(Target::Whoami);
    }
    let url = url::Url::parse(text).map_err(|_| format!("`{text}` is not a target"))?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(format!("`{text}` must begin with http:// or https://")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a target holds no user and no password".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` must be scheme, host and port alone"));
    }
    let host = url.host_str().ok_or_else(|| format!("`{text}` has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().ok_or_else(|| format!("`{text}` has no port"))?;
    Ok(Target::Http { tls, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_scheme_host_and_port() {
        assert_eq!(target("whoami:"), Ok(Target::Whoami));
        let app = Target::Http { tls: false, host: "app".to_owned(), port: 80 };
        assert_eq!(target("http://app"), Ok(app));
        let six = Target::Http { tls: true, host: "::1".to_owned(), port: 8443 };
        assert_eq!(target("https://[::1]:8443"), Ok(six));
        for bad in ["app:3000", "ftp://app", "http://app/path", "http://u:p@app", ""] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
