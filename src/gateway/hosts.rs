//! Which Hosts are served: what nauth was not told about may be somebody's DNS rebinding.

use std::collections::HashSet;

use crate::config::settings::{Settings, is_loopback_host};
use crate::domain::error::Error;
use crate::gateway::canonical::Host;

/// The names nauth answers to.
#[derive(Debug, Clone)]
pub struct Admission {
    loopback: bool,
    exact: HashSet<String>,
    suffixes: Vec<String>,
}

impl Admission {
    /// `public_url`, the routes' hosts and the web origins; at a loopback `public_url` every loopback name.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let hosts = settings.routes.iter().flat_map(|route| &route.hosts);
        Self::of(
            &settings.server.public_url.host,
            hosts.map(String::as_str),
            settings.delivery.web_origins.iter().map(String::as_str),
        )
    }

    fn of<'a>(
        public_host: &str,
        hosts: impl Iterator<Item = &'a str>,
        web_origins: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut exact = HashSet::from([public_host.to_ascii_lowercase()]);
        let mut suffixes = Vec::new();
        for host in hosts {
            match host.strip_prefix('*') {
                Some(suffix) => suffixes.push(suffix.to_ascii_lowercase()),
                None => drop(exact.insert(host.to_ascii_lowercase())),
            }
        }
        let origins = web_origins.filter_map(|origin| url::Url::parse(origin).ok());
        exact.extend(origins.filter_map(|origin| origin.host_str().map(str::to_owned)));
        let loopback = is_loopback_host(public_host);
        // A page on the visitor's own machine must not speak in the name of a public site.
        if !loopback {
            exact.retain(|host| !is_loopback_host(host));
        }
        Self { loopback, exact, suffixes }
    }

    /// Whether requests for `host` are served; the refusal names the line to add.
    pub fn admit(&self, host: &Host) -> Result<(), Error> {
        let name = host.name();
        let is_loopback = is_loopback_host(name);
        let admitted = self.exact.contains(name)
            || (self.loopback && is_loopback)
            || (!is_loopback && self.suffixes.iter().any(|suffix| is_below(name, suffix)));
        if admitted {
            return Ok(());
        }
        Err(Error::Misdirected(format!(
            "`{name}` is not served here; add it to a route (`hosts = [\"{name}\"]`) or set \
             `server.public_url` to it in nauth.toml"
        )))
    }
}

/// Whether a name lies below a suffix that begins with a dot.
pub(super) fn is_below(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_settings_are_served() {
        let cases = [
            ("localhost", "localhost:8080", true),
            ("localhost", "app.localhost", true),
            ("127.0.0.1", "[::1]:8080", true),
            ("localhost", "rebound.example", false),
            ("localhost", "api.example.com", true),
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com.:443", true),
            ("example.com", "localhost", false),
            ("example.com", "127.0.0.1", false),
            ("example.com", "a.b.apps.example.com", true),
            ("example.com", "apps.example.com", false),
            ("example.com", "evilapps.example.com", false),
            ("example.com", "spa.example.net", true),
            ("example.com", "other.example", false),
        ];
        for (public, host, admitted) in cases {
            let hosts = ["api.example.com", "*.apps.example.com"].into_iter();
            let admission = Admission::of(public, hosts, ["https://spa.example.net:8443"].into_iter());
            let host = Host::parse(host.as_bytes()).unwrap();
            assert_eq!(admission.admit(&host).is_ok(), admitted, "{public} {host:?}");
        }
    }
}
