//! The files as written: parsed, with a finger on every key and value, and merged into one tree.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::report::Problem;

/// A file as read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it says, with stars in place of secrets: reports quote it, and reports are logged.
    pub(super) text: String,
    /// SHA-256 of what it says.
    pub(super) digest: [u8; 32],
}

/// A file as seen from the main one's directory: `nauth.toml`, `more/routes.toml`.
fn name_of(sources: &[Source], source: &Source) -> String {
    let base = sources.first().and_then(|main| main.path.parent());
    let name = base.and_then(|base| source.path.strip_prefix(base).ok()).unwrap_or(&source.path);
    name.display().to_string()
}

/// The file and line of a place: `nauth.toml:12`.
pub(super) fn origin(sources: &[Source], at: &At) -> String {
    let source = &sources[at.file];
    let line = source.text[..at.span.start.min(source.text.len())].matches('\n').count() + 1;
    format!("{}:{line}", name_of(sources, source))
}

/// The place of `nauth.toml:12`.
pub(super) fn locate(sources: &[Source], origin: &str) -> Option<At> {
    let (name, line) = origin.rsplit_once(':')?;
    let line: usize = line.parse().ok()?;
    let file = sources.iter().position(|source| name_of(sources, source) == name)?;
    let text = &sources[file].text;
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    Some(At { file, span: start..end })
}

/// A key with one of these in its name has a secret for a value, misspelt or not.
const SECRET_KEYS: [&str; 5] = ["secret", "token", "passw", "master", "previous"];

/// `text` with a star for each byte of a secret that is written out, so that places stay the same.
pub(super) fn masked(text: &str, table: &Table) -> String {
    let mut spans = Vec::new();
    find_secrets(table, &mut spans);
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        // The quotes stay, and so do the lines.
        let inside = bytes.get_mut(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default();
        inside.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
    }
    String::from_utf8(bytes).expect("whole strings became stars")
}

fn find_secrets(table: &Table, spans: &mut Vec<Range<usize>>) {
    for (key, entry) in table {
        let key = key.to_ascii_lowercase();
        find_secret(entry, SECRET_KEYS.iter().any(|part| key.contains(part)), spans);
    }
}

fn find_secret(entry: &Entry, is_secret: bool, spans: &mut Vec<Range<usize>>) {
    match &entry.value {
        Value::Table(table) => find_secrets(table, spans),
        Value::Array(entries) => entries.iter().for_each(|entry| find_secret(entry, is_secret, spans)),
        // Where a secret comes from is none; a URL may carry a user and a password.
        Value::Text(text) if !text.starts_with("${") && (is_secret || has_userinfo(text)) => {
            spans.push(entry.at.span.clone());
        }
        _ => {}
    }
}

fn has_userinfo(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|authority| authority.contains('@')))
}

/// A place in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    /// Which file, in the order they were read.
    pub(super) file: usize,
    /// Bytes of its text.
    pub(super) span: Range<usize>,
}

/// A value, where it stands, and where its key stands.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) at: At,
    pub(super) key_at: At,
}

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Table(Table),
    Array(Vec<Entry>),
    Text(String),
    Integer(Option<i64>),
    Float(Option<f64>),
    Boolean(bool),
    Datetime,
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "an array",
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
        }
    }
}

/// Parses one file. Every syntax error is a problem; what could be read is in the table.
pub(super) fn parse(file: usize, text: &str, problems: &mut Vec<Problem>) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map(|span| At { file, span });
        problems.push(Problem::error(at, error.message().to_owned()));
    }
    convert_table(file, table.into_inner())
}

/// Adds what `from` says to `into`. Tables merge, arrays of tables append, anything else may be said once.
pub(super) fn merge(into: &mut Table, from: Table, prefix: &str, problems: &mut Vec<Problem>) {
    for (key, entry) in from {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(held) = into.get_mut(&key) else {
            into.insert(key, entry);
            continue;
        };
        match (&mut held.value, entry.value) {
            (Value::Table(held), Value::Table(more)) => merge(held, more, &path, problems),
            (Value::Array(held), Value::Array(more)) if is_tables(held) && is_tables(&more) => held.extend(more),
            _ => problems.push(
                Problem::error(Some(entry.key_at), format!("`{path}` is set in another file already"))
                    .hint("a key stands in one file; only arrays of tables are appended"),
            ),
        }
    }
}

fn is_tables(entries: &[Entry]) -> bool {
    entries.iter().all(|entry| matches!(entry.value, Value::Table(_)))
}

fn convert_table(file: usize, table: DeTable<'_>) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let key_at = At { file, span: key.span() };
            (key.into_inner().into_owned(), convert(file, value, key_at))
        })
        .collect()
}

fn convert(file: usize, value: Spanned<DeValue<'_>>, key_at: At) -> Entry {
    let at = At { file, span: value.span() };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(array) => {
            let entries = array.into_iter().map(|value| {
                let own = At { file, span: value.span() };
                convert(file, value, own)
            });
            Value::Array(entries.collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(file, table)),
    };
    Entry { value, at, key_at }
}
