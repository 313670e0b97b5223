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
    /// What it says.
    pub(super) text: String,
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
    Float,
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
            Self::Float => "a float",
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
        DeValue::Float(_) => Value::Float,
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
