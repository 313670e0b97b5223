//! `examples/kubernetes`: what the manifests say of each other, and a pod played by hand: its mounts are made and swapped
//! as Kubernetes does it, and nauth runs in it as the manifest says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use regex::Regex;
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use yaml_rust2::{Yaml, YamlLoader};

use crate::redis_server::RedisServer;
use crate::servers::Kind;
use crate::support::{Authority, Connection, Database, Echo, Request, eventually, free_port, secs, server_name};

/// What `server.public_url` of the manifest says.
const HOST: &str = "app.example.com";

fn documents(name: &str) -> Vec<Yaml> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes").join(name);
    YamlLoader::load_from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All of what `kubectl apply --kustomize` applies.
fn manifests() -> Vec<Yaml> {
    let named = &documents("kustomization.yaml")[0]["resources"];
    named.as_vec().unwrap().iter().flat_map(|name| documents(name.as_str().unwrap())).collect()
}

fn manifest(kind: &str, name: &str) -> Yaml {
    let found =
        manifests().into_iter().find(|found| text(&found["kind"]) == kind && text(&found["metadata"]["name"]) == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[track_caller]
fn text(value: &Yaml) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}"))
}

#[track_caller]
fn number(value: &Yaml) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no number: {value:?}"))
}

#[track_caller]
fn list(value: &Yaml) -> &[Yaml] {
    value.as_vec().unwrap_or_else(|| panic!("no list: {value:?}"))
}

fn toml_text() -> String {
    text(&manifest("ConfigMap", "nauth")["data"]["nauth.toml"]).to_owned()
}

fn pod() -> Yaml {
    manifest("Deployment", "nauth")["spec"]["template"].clone()
}

fn container() -> Yaml {
    pod()["spec"]["containers"][0].clone()
}

/// The names of the keys that a secret of the manifests has.
fn keys_of(secret: &str) -> BTreeSet<String> {
    // What `kubectl create secret tls` and cert-manager make.
    if secret == "nauth-tls" {
        return ["tls.crt", "tls.key"].map(str::to_owned).into();
    }
    let secret = manifest("Secret", secret);
    secret["stringData"].as_hash().unwrap().keys().map(|key| text(key).to_owned()).collect()
}

/// Where each volume is mounted: path → what is in it.
fn mounted() -> BTreeMap<String, BTreeSet<String>> {
    let (pod, container) = (pod(), container());
    let volumes = list(&pod["spec"]["volumes"]);
    let content = |name: &str| {
        let volume = volumes.iter().find(|volume| text(&volume["name"]) == name);
        let volume = volume.unwrap_or_else(|| panic!("no volume {name}"));
        if let Some(map) = volume["configMap"]["name"].as_str() {
            let map = manifest("ConfigMap", map);
            return map["data"].as_hash().unwrap().keys().map(|key| text(key).to_owned()).collect();
        }
        volume["secret"]["secretName"].as_str().map_or_else(BTreeSet::new, keys_of)
    };
    let mounts = list(&container["volumeMounts"]).iter();
    mounts.map(|mount| (text(&mount["mountPath"]).to_owned(), content(text(&mount["name"])))).collect()
}

#[test]
fn every_file_that_the_configuration_names_is_mounted_where_it_can_change() {
    let (toml, mounted, container) = (toml_text(), mounted(), container());
    let named = Regex::new(r"/etc/nauth/[a-z_./]+").unwrap();
    let config = list(&container["args"]).iter().map(|argument| text(argument).to_owned());
    let paths: Vec<String> = named.find_iter(&toml).map(|found| found.as_str().to_owned()).chain(config).collect();

    assert!(paths.len() > 6, "{paths:?}");
    for path in paths.iter().filter(|path| path.starts_with('/')) {
        let (directory, file) = path.rsplit_once('/').unwrap();
        assert!(mounted.get(directory).is_some_and(|files| files.contains(file)), "{path} of {mounted:?}");
    }
    let data_dir: toml::Table = toml.parse().unwrap();
    assert!(mounted.contains_key(data_dir["server"]["data_dir"].as_str().unwrap()), "all else is read-only");
    for mount in list(&container["volumeMounts"]) {
        assert!(mount["subPath"].is_badvalue(), "it would stay as it was: {mount:?}");
    }
}

#[test]
fn ports_and_labels_lead_to_the_pods() {
    let (pod, container) = (pod(), container());
    let ports = list(&container["ports"]).iter();
    let ports: BTreeMap<&str, i64> = ports.map(|port| (text(&port["name"]), number(&port["containerPort"]))).collect();
    let toml = toml_text();
    for port in ports.values() {
        assert!(toml.contains(&format!("addr = \"0.0.0.0:{port}\"")), "{port}");
    }
    assert_eq!(toml.matches("addr = ").count(), ports.len());

    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(text(&container[probe]["httpGet"]["port"]), "management");
    }
    for service in ["nauth", "nauth-management"] {
        let service = manifest("Service", service);
        assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
        assert!(list(&service["spec"]["ports"]).iter().all(|port| ports.contains_key(text(&port["targetPort"]))));
    }
    let policy = manifest("NetworkPolicy", "nauth");
    for rule in list(&policy["spec"]["ingress"]) {
        for port in list(&rule["ports"]) {
            let port = text(&port["port"]);
            assert!(ports.contains_key(port));
            assert_eq!(rule["from"].is_badvalue(), port != "management", "management is not for everybody");
        }
    }
    for (kind, selector) in
        [("Deployment", "selector"), ("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")]
    {
        assert_eq!(manifest(kind, "nauth")["spec"][selector]["matchLabels"], pod["metadata"]["labels"], "{kind}");
    }
}

#[test]
fn a_pod_has_the_time_it_needs() {
    let (pod, container) = (pod(), container());
    let settings: toml::Table = toml_text().parse().unwrap();
    let seconds = |text: &str| text.strip_suffix('s').unwrap().parse::<i64>().unwrap();
    let sleep = list(&container["lifecycle"]["preStop"]["exec"]["command"]);
    assert_eq!(text(&sleep[0]), "sleep");
    let pre_stop: i64 = text(&sleep[1]).parse().unwrap();

    let drain = seconds(settings["server"]["shutdown_grace"].as_str().unwrap());
    assert!(number(&pod["spec"]["terminationGracePeriodSeconds"]) >= pre_stop + drain + 5, "killed while it drains");

    let lasts =
        |probe: &str| number(&container[probe]["periodSeconds"]) * number(&container[probe]["failureThreshold"]);
    // The default of session.revocation_max_stale, from which on routes with roles are refused anyway.
    assert_eq!(lasts("readinessProbe"), 60);
    assert!(lasts("startupProbe") >= 120, "a large database takes its time to be brought up to date");
    assert_ne!(text(&container["livenessProbe"]["httpGet"]["path"]), "/readyz", "a restart brings no database back");
}

/// A directory as Kubernetes mounts a `ConfigMap` or a Secret: each file is a link by way of `..data`, which is a link to
/// a directory of that version.
struct Mount {
    directory: PathBuf,
    versions: u32,
}

impl Mount {
    fn new(directory: PathBuf) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory, versions: 0 }
    }

    /// Brings other contents, in the steps of the kubelet: a new directory, one link swapped, the old directory gone.
    fn publish(&mut self, files: &[(&str, &str)]) {
        let of_version = |version: u32| format!("..2026_01_01_00_00_00.{version}");
        let (old, new) = (of_version(self.versions), of_version(self.versions + 1));
        self.versions += 1;
        std::fs::create_dir(self.directory.join(&new)).unwrap();
        for (name, text) in files {
            std::fs::write(self.directory.join(&new).join(name), text).unwrap();
        }
        symlink(&new, self.directory.join("..data_tmp")).unwrap();
        std::fs::rename(self.directory.join("..data_tmp"), self.directory.join("..data")).unwrap();
        for (name, _) in files {
            let link = self.directory.join(name);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        let _ = std::fs::remove_dir_all(self.directory.join(old));
    }
}

/// A pod with what it needs around it.
struct Pod {
    process: Child,
    directory: TempDir,
    config: Mount,
    secrets: Mount,
    tls: Mount,
    /// The `ConfigMap`'s text with the addresses of this pod in it.
    toml: String,
    https: SocketAddr,
    management: SocketAddr,
    authority: Authority,
    database: Database,
    redis: RedisServer,
    _app: Echo,
}

impl Pod {
    /// `None` where there is no PostgreSQL or no Redis.
    async fn start() -> Option<Self> {
        let (database, redis) = (Database::on(Kind::Postgres)?, RedisServer::start()?);
        let (app, authority, directory) = (Echo::start().await, Authority::new(), tempfile::tempdir().unwrap());
        let [https, http, management] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut toml = at_home(&toml_text(), directory.path());
        for (port, address) in [(8443, https), (8080, http), (9901, management)] {
            toml = toml.replace(&format!("0.0.0.0:{port}"), &address.to_string());
        }
        let toml = toml.replace("http://app.default.svc.cluster.local:80", &app.url());
        let [config, secrets, tls] = ["config", "secrets", "tls"].map(|name| Mount::new(directory.path().join(name)));
        // Nothing runs until everything is mounted.
        let process = Command::new("true").spawn().unwrap();
        let mut pod = Self {
            process,
            directory,
            config,
            secrets,
            tls,
            toml,
            https,
            management,
            authority,
            database,
            redis,
            _app: app,
        };
        pod.config.publish(&[("nauth.toml", &pod.toml)]);
        pod.publish_certificate();
        pod.publish_secrets("smtp://127.0.0.1:1");
        pod.run().await;
        Some(pod)
    }

    /// Runs nauth with the arguments of the manifest, and waits for what its probes wait for.
    async fn run(&mut self) {
        let container = container();
        let arguments = list(&container["args"]).iter().map(|argument| at_home(text(argument), self.directory.path()));
        let mut command = nauth(self.directory.path(), &arguments.collect::<Vec<_>>());
        if let Some(schema) = self.database.schema() {
            command.env("NAUTH__DATABASE__SCHEMA", schema);
        }
        self.process = command.spawn().unwrap();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = text(&container[probe]["httpGet"]["path"]);
            let passes = eventually(secs(30), async || {
                assert!(self.process.try_wait().unwrap().is_none(), "nauth ended:\n{}", self.said());
                TcpStream::connect(self.management).await.ok()?;
                // The kubelet asks by the pod's address.
                let asked = Request::get(path).header("Host", &self.management.to_string());
                (asked.send_to(self.management).await.status == 200).then_some(())
            });
            assert!(passes.await.is_some(), "{probe}:\n{}", self.said());
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn publish_secrets(&mut self, mail: &str) {
        let (database, redis) = (self.database.url().to_owned(), self.redis.url());
        let files = [
            ("master_key", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="),
            ("management_token", "a token of the operator, long enough"),
            ("database_url", &database),
            ("redis_url", &redis),
            ("smtp_url", mail),
        ];
        assert_eq!(files.map(|(name, _)| name.to_owned()).into_iter().collect::<BTreeSet<_>>(), keys_of("nauth"));
        self.secrets.publish(&files);
    }

    /// A new certificate, and what it is.
    fn publish_certificate(&mut self) -> Vec<u8> {
        let issued = self.authority.issue(&[HOST, "localhost"]);
        let made = tempfile::tempdir().unwrap();
        let (certificate, key) = issued.write(made.path(), "tls");
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        self.tls.publish(&[("tls.crt", &read(certificate)), ("tls.key", &read(key))]);
        issued.der().to_vec()
    }

    /// The status of a page for somebody unknown.
    async fn status(&self) -> u16 {
        let mut connection = Connection::open_tls(self.https, self.client()).await;
        connection.try_ask(&Request::get("/page").header("Host", HOST)).await.unwrap().status
    }

    async fn certificate_shown(&self) -> Vec<u8> {
        let socket = TcpStream::connect(self.https).await.unwrap();
        let stream = TlsConnector::from(self.client()).connect(server_name(HOST), socket).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.authority.client(&["http/1.1"])
    }

    async fn writes(&self, wanted: &str) {
        let written = eventually(secs(10), async || self.said().contains(wanted).then_some(())).await;
        assert!(written.is_some(), "`{wanted}` was not written:\n{}", self.said());
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- nauth wrote ---\n{}\n---", self.said());
        }
    }
}

/// A container's paths, in a directory of this machine.
fn at_home(text: &str, directory: &Path) -> String {
    let root = directory.display();
    text.replace("/etc/nauth/", &format!("{root}/")).replace("/var/lib/nauth", &format!("{root}/data"))
}

fn nauth<S: AsRef<std::ffi::OsStr>>(directory: &Path, arguments: &[S]) -> Command {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nauth"));
    command.args(arguments).current_dir(directory).env_clear();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

#[tokio::test]
async fn a_config_map_that_changes_is_in_force_without_a_restart() {
    let Some(mut pod) = Pod::start().await else { return };
    assert_eq!(pod.status().await, 401);
    assert!(!pod.said().contains("warning"), "{}", pod.said());

    let open = pod.toml.replace("access = \"required\"", "access = \"public\"");
    pod.config.publish(&[("nauth.toml", &open)]);
    let changed = eventually(secs(10), async || (pod.status().await == 200).then_some(())).await;
    assert!(changed.is_some(), "{}", pod.said());

    pod.config.publish(&[("nauth.toml", &open.replace("access =", "acess ="))]);
    pod.writes("settings not reloaded").await;
    assert_eq!(pod.status().await, 200, "an unsound one changes nothing");

    pod.config.publish(&[("nauth.toml", &pod.toml)]);
    let back = eventually(secs(10), async || (pod.status().await == 401).then_some(())).await;
    assert!(back.is_some(), "{}", pod.said());
}

#[tokio::test]
async fn secrets_that_change_are_in_force_without_a_restart() {
    let Some(mut pod) = Pod::start().await else { return };
    let first = pod.certificate_shown().await;

    let second = pod.publish_certificate();
    let renewed = eventually(secs(10), async || (pod.certificate_shown().await == second).then_some(())).await;
    assert!(renewed.is_some() && first != second, "{}", pod.said());

    pod.publish_secrets("smtp://127.0.0.1:2");
    pod.writes("\"applied\":\"email\"").await;
    assert_eq!(pod.status().await, 401);
}

#[test]
fn nobody_starts_before_the_secrets_are_filled_in() {
    let directory = tempfile::tempdir().unwrap();
    let secret = manifest("Secret", "nauth");
    let written = secret["stringData"].as_hash().unwrap().iter().map(|(name, value)| (text(name), text(value)));
    Mount::new(directory.path().join("secrets")).publish(&written.collect::<Vec<_>>());
    let toml = at_home(&toml_text(), directory.path());
    Mount::new(directory.path().join("config")).publish(&[("nauth.toml", &toml)]);

    let refused = nauth(directory.path(), &["check", "--config", "config/nauth.toml"]).status().unwrap();

    assert_eq!(refused.code(), Some(2));
    let said = std::fs::read_to_string(directory.path().join("log")).unwrap();
    for wanted in ["needs `token`", "set `secrets.master_key`", "set `database.url`"] {
        assert!(said.contains(wanted), "`{wanted}` is not in:\n{said}");
    }
}
