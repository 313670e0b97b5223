//! The shipped alerts and the shipped dashboard ask for what nauth tells, in words Prometheus understands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use regex::Regex;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{Config, Nauth, Request, described_metrics};

/// What Prometheus adds to every series, and what a histogram's buckets have.
const BESIDE: [&str; 3] = ["instance", "job", "le"];

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

/// Runs Prometheus' own tool and returns what it says when it is not content.
async fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut command = tokio::process::Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|_| panic!("install prometheus (scripts/test does)"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let finished = child.wait_with_output().await.unwrap();
    let said = [finished.stdout, finished.stderr].concat();
    if finished.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

/// Each alert: its name, what it asks, and everything it says.
fn alerts() -> Vec<(String, String, String)> {
    let documents = YamlLoader::load_from_str(&text("examples/prometheus/alerts.yml")).unwrap();
    let rules = documents[0]["groups"][0]["rules"].as_vec().unwrap();
    let word = |value: &Yaml| value.as_str().unwrap().to_owned();
    let said = |rule: &Yaml| {
        let notes = rule["annotations"].as_hash().unwrap();
        notes.values().map(word).collect::<Vec<_>>().join("\n")
    };
    rules.iter().map(|rule| (word(&rule["alert"]), word(&rule["expr"]), said(rule))).collect()
}

/// What each panel asks, and how it names what comes back.
fn panels() -> Vec<(String, String, String)> {
    let dashboard: Value = serde_json::from_str(&text("examples/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    let word = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
    let asked = shown.flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("it asks nothing: {panel}"));
        targets.iter().map(|target| (word(&panel["title"]), word(&target["expr"]), word(&target["legendFormat"])))
    });
    asked.collect()
}

/// Complains of every metric and label in a question that nauth does not tell.
fn complaints(expression: &str, said: &str, described: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let metric = Regex::new(r"\b((?:nauth|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"([a-z_0-9]+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let grouping = Regex::new(r"\b(?:by|on|group_left|group_right|without|ignoring)\s*\(([^)]*)\)").unwrap();
    let shown = Regex::new(r"\{\{\s*(?:\$labels\.)?([a-z_0-9]+)\s*\}\}").unwrap();
    let mut found = Vec::new();
    let mut all: BTreeSet<String> = BESIDE.map(str::to_owned).into();
    for named in metric.captures_iter(expression) {
        let name = &named[1];
        // The labels of a histogram's parts are its own.
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| described.get(name.strip_suffix(part)?));
        let labels = match described.get(name).or(whole) {
            Some(labels) => labels.clone(),
            None if name.starts_with("process_") => BTreeSet::new(),
            None => {
                found.push(format!("no metric `{name}`"));
                continue;
            }
        };
        let matched = named.get(2).map_or("", |matchers| matchers.as_str());
        let unknown = matcher.captures_iter(matched).map(|found| found[1].to_owned());
        let unknown = unknown.filter(|label| !labels.contains(label) && !BESIDE.contains(&label.as_str()));
        found.extend(unknown.map(|label| format!("`{name}` has no label `{label}`")));
        all.extend(labels);
    }
    let grouped = grouping.captures_iter(expression).flat_map(|list| {
        let labels: Vec<String> = list[1].split(',').map(|label| label.trim().to_owned()).collect();
        labels
    });
    let told = shown.captures_iter(said).map(|label| label[1].to_owned());
    found.extend(grouped.chain(told).filter(|label| !all.contains(label)).map(|label| format!("no label `{label}`")));
    found
}

#[test]
fn alerts_and_dashboard_ask_for_what_is_told() {
    let described = described_metrics();
    let asked = [alerts(), panels()].concat();
    let complaints: Vec<String> = asked
        .iter()
        .flat_map(|(name, expression, said)| {
            complaints(expression, said, &described).into_iter().map(move |complaint| format!("{name}: {complaint}"))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));

    let unseen: Vec<&String> =
        described.keys().filter(|name| !asked.iter().any(|(_, expression, _)| expression.contains(*name))).collect();
    assert!(unseen.is_empty(), "neither alert nor panel shows {unseen:?}");
}

#[test]
fn what_is_not_told_is_noticed() {
    let described = described_metrics();
    for (expression, said, expected) in [
        ("sum(rate(nauth_http_request_total[5m]))", "", "no metric `nauth_http_request_total`"),
        ("nauth_http_requests_total{status=\"200\"}", "", "`nauth_http_requests_total` has no label `status`"),
        ("sum by (path) (nauth_http_requests_total)", "", "no label `path`"),
        ("nauth_http_requests_total", "{{ $labels.user }}", "no label `user`"),
        ("nauth_http_requests_total", "{{user}}", "no label `user`"),
    ] {
        assert_eq!(complaints(expression, said, &described), [expected], "{expression}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_can_lay_out() {
    let dashboard: Value = serde_json::from_str(&text("examples/grafana/dashboard.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38, "Grafana 10 and later");

    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        let places = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(places.into_iter().all(|place| taken.insert(place)), "it lies on another one: {panel}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let named: BTreeSet<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(named, BTreeSet::from(["datasource", "instance", "route"]));
}

#[tokio::test]
async fn prometheus_reads_the_examples() {
    let config = file("examples/prometheus/prometheus.yml");
    promtool(&["check", "config", config.to_str().unwrap()], "").await.unwrap();

    // As rules, the panels' questions are checked like the alerts'.
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    for (number, (_, expression, _)) in panels().iter().enumerate() {
        let filled = expression.replace("$__rate_interval", "5m");
        writeln!(rules, "  - record: panel:{number}\n    expr: {}", Value::from(filled)).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("panels.yml");
    std::fs::write(&path, rules).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()], "").await.unwrap();
}

#[tokio::test]
async fn alerts_are_raised_when_they_should_be_and_not_before() {
    let tests = file("tests/prometheus/alerts.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "").await.unwrap();

    let tests = text("tests/prometheus/alerts.yml");
    for (alert, ..) in alerts() {
        assert!(tests.matches(&format!("alertname: {alert}\n")).count() >= 2, "`{alert}` is never tried");
    }
}

#[tokio::test]
async fn prometheus_finds_no_fault_in_what_is_scraped() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    nauth.signup("ada@example.com").await;

    let scraped = nauth.manage(&Request::get("/metrics")).await.expect(200).text();

    promtool(&["check", "metrics"], &scraped).await.unwrap();
}
