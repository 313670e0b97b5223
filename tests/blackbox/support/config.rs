//! A `nauth.toml` for a test: small defaults, keys set by their dotted name, routes as TOML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use super::Echo;

/// The settings of one nauth.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Section → key → value as TOML.
    sections: BTreeMap<String, BTreeMap<String, String>>,
    upstreams: Vec<String>,
    routes: Vec<String>,
    listeners: Vec<String>,
    /// Whole tables after everything else: `[[webhooks]]` and their like.
    tables: Vec<String>,
    /// What nauth is started with, beside `PATH`.
    environment: Vec<(String, String)>,
    /// The whole file, where it is not made of the above.
    text: Option<String>,
}

impl Config {
    /// In front of the built-in page that shows what an upstream receives.
    pub(crate) fn whoami() -> Self {
        Self::in_front_of_target("whoami:")
    }

    /// In front of an upstream that tells what it received.
    pub(crate) fn in_front_of(echo: &Echo) -> Self {
        Self::in_front_of_target(&echo.url())
    }

    /// In front of one target.
    pub(crate) fn in_front_of_target(target: &str) -> Self {
        Self::empty().target(target).set("email.provider", "console").set("log.format", "text")
    }

    /// A file as it was shipped; what is set of it goes into the environment.
    pub(crate) fn shipped(text: String) -> Self {
        Self { text: Some(text), ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            sections: BTreeMap::new(),
            upstreams: vec![],
            routes: vec![],
            listeners: vec![],
            tables: vec![],
            environment: vec![],
            text: None,
        }
    }

    /// The one upstream goes to `target` from here on.
    pub(crate) fn target(self, target: &str) -> Self {
        self.targets(&[target])
    }

    /// The one upstream has these targets from here on.
    pub(crate) fn targets(self, targets: &[&str]) -> Self {
        self.targets_as(&toml(&Value::from(targets.to_vec())))
    }

    /// The same, given as TOML.
    pub(crate) fn targets_as(mut self, targets: &str) -> Self {
        self.upstreams = vec![format!("name = \"app\"\ntargets = {targets}")];
        self
    }

    /// Adds lines to the one upstream.
    pub(crate) fn upstream(mut self, lines: &str) -> Self {
        let upstream = self.upstreams.last_mut().expect("there is one");
        write!(upstream, "\n{lines}").unwrap();
        self
    }

    /// Accounts need no verification: one signup brings tokens.
    pub(crate) fn without_verification(self) -> Self {
        self.set("signup.verification_method", "none")
    }

    /// Sets `section.key`; the last word of a name counts.
    pub(crate) fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        if self.text.is_some() {
            let value = value.into();
            return self.env(&variable(name), &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), toml(&value.into()));
        self
    }

    /// On a file, also where the suites run on another database.
    pub(crate) fn on_a_file(self) -> Self {
        self.set("database.url", "")
    }

    /// Sets `section.key` unless it is set.
    pub(crate) fn set_default(self, name: &str, value: impl Into<Value>) -> Self {
        if self.sets(name) { self } else { self.set(name, value) }
    }

    /// Whether `section.key` is set.
    pub(crate) fn sets(&self, name: &str) -> bool {
        if self.text.is_some() {
            let variable = variable(name);
            return self.environment.iter().any(|(set, _)| *set == variable);
        }
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        self.sections.get(section).is_some_and(|keys| keys.contains_key(key))
    }

    /// Adds one of `[[routes]]`, given as its TOML lines; the upstream is filled in.
    pub(crate) fn route(mut self, lines: &str) -> Self {
        self.routes.push(lines.to_owned());
        self
    }

    /// Adds one of `[[server.listeners]]`, given as its TOML lines. `{public}` is where [`super::Nauth::public`] is.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listeners.push(lines.to_owned());
        self
    }

    /// Fills in where the public listener is, unless the test has said it.
    pub(crate) fn listen(mut self, public: SocketAddr) -> Self {
        if self.listeners.is_empty() {
            return self.set_default("server.listen", public.to_string());
        }
        for listener in &mut self.listeners {
            *listener = listener.replace("{public}", &public.to_string());
        }
        self
    }

    /// Adds a table of an array, such as one of `[[webhooks]]`, given as its TOML.
    pub(crate) fn table(mut self, text: &str) -> Self {
        self.tables.push(text.to_owned());
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The variables set.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The file. Without a route of its own, everything is behind one that requires a login.
    pub(crate) fn to_toml(&self) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                writeln!(text, "[{section}]").unwrap();
            }
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").unwrap();
            }
            text.push('\n');
        }
        for listener in &self.listeners {
            writeln!(text, "[[server.listeners]]\n{}\n", listener.trim()).unwrap();
        }
        for upstream in &self.upstreams {
            writeln!(text, "[[upstreams]]\n{upstream}\n").unwrap();
        }
        let everything = ["path = \"/\"\naccess = \"required\"".to_owned()];
        let routes = if self.routes.is_empty() { &everything[..] } else { &self.routes[..] };
        for route in routes {
            writeln!(text, "[[routes]]\nupstream = \"app\"\n{}\n", route.trim()).unwrap();
        }
        for table in &self.tables {
            writeln!(text, "{}\n", table.trim()).unwrap();
        }
        text
    }
}

/// What overrides `section.key`.
fn variable(name: &str) -> String {
    format!("NAUTH__{}", name.replace('.', "__").to_uppercase())
}

/// A JSON value as TOML writes it: only tables differ.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(keys) => {
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        scalar => scalar.to_string(),
    }
}

#[test]
fn a_config_reads_back_as_the_toml_it_stands_for() {
    let text = Config::whoami()
        .set("jwt.access_ttl", "2s")
        .set("signup.email_verification.send_limit", serde_json::json!({ "max": 2, "window": "1h" }))
        .to_toml();

    let read: toml::Table = text.parse().unwrap();
    assert_eq!(read["jwt"]["access_ttl"].as_str(), Some("2s"));
    assert_eq!(read["signup"]["email_verification"]["send_limit"]["max"].as_integer(), Some(2));
    assert_eq!(read["upstreams"][0]["targets"][0].as_str(), Some("whoami:"));
    assert_eq!(read["routes"][0]["access"].as_str(), Some("required"));
}
