//! The environment: where values may come from, and what may override them.

use std::collections::BTreeMap;

/// In front of variables that override keys.
pub(super) const OVERRIDE: &str = "NAUTH__";

/// Environment variables, taken once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's environment now.
    #[must_use]
    pub fn process() -> Self {
        // Names and values that are not text cannot be meant for us.
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// The same, with another database in place of the one that is written. Keys that are for other
    /// kinds of databases count as not written.
    #[must_use]
    pub fn with_database(&self, url: &str) -> Self {
        let foreign: &[&str] = match url.split(':').next() {
            Some("sqlite") => &["SCHEMA", "SSL_MODE", "SSL_CA", "SSL_CERT", "SSL_KEY"],
            Some("mariadb" | "mysql") => &["SCHEMA"],
            _ => &[],
        };
        let mut variables = self.0.clone();
        let empty = foreign.iter().map(|key| (*key, ""));
        for (key, value) in empty.chain([("URL", url)]) {
            variables.insert(format!("{OVERRIDE}DATABASE__{key}"), value.to_owned());
        }
        Self(variables)
    }

    /// One variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Environment {
    /// The names of all variables that are meant to override a key.
    pub(super) fn overrides(&self) -> impl Iterator<Item = &String> {
        self.0.keys().filter(|name| name.starts_with(OVERRIDE))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
