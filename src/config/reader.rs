//! Reading keys. A key is declared in one place: the call that reads it.
//!
//! Each call names the key, its default as it would be written, and what it means. From these calls
//! come the settings, the errors (wrong types, unknown keys, values out of range), the overrides
//! from the environment, and the reference in `docs/configuration.md`: read an empty document, and
//! the calls themselves are the list of keys.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::declared::{DocKey, Kind};
use crate::config::environment::OVERRIDE;
use crate::config::reading::Reader;
use crate::config::report::Problem;
use crate::config::settings::Window;
use crate::config::tree::{self, At, Entry, Table, Value};
use crate::config::values;

/// How many a window may hold.
const WINDOW: std::ops::RangeInclusive<i64> = 0..=1_000_000;

/// One table of the configuration, being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    path: String,
    table: Option<&'a Table>,
    at: Option<At>,
    in_array: bool,
    known: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(reader: &'a Reader<'a>, table: &'a Table) -> Self {
        Self { reader, path: String::new(), table: Some(table), at: None, in_array: false, known: BTreeSet::new() }
    }

    /// Where the section begins, when it is written at all.
    pub(super) fn at(&self) -> Option<At> {
        self.at.clone()
    }

    /// The file and line where the section begins: `nauth.toml:12`.
    pub(super) fn origin(&self) -> String {
        let Some(at) = &self.at else { return String::new() };
        tree::origin(self.reader.sources, at)
    }

    /// Whether what a key path names is written.
    pub(super) fn has(&self, path: &str) -> bool {
        self.walk(path).1
    }

    /// The place of what a key path such as `jwt.access_ttl` names, else of the nearest table around it.
    fn place(&self, path: &str) -> Option<At> {
        self.walk(path).0
    }

    /// The last place on a key path, and whether the path goes all the way.
    fn walk(&self, path: &str) -> (Option<At>, bool) {
        let mut table = self.table;
        let mut place = self.at();
        for key in path.split('.') {
            let Some(entry) = table.and_then(|table| table.get(key)) else { return (place, false) };
            (table, place) = match &entry.value {
                Value::Table(inner) => (Some(inner), Some(entry.key_at.clone())),
                _ => (None, Some(entry.at.clone())),
            };
        }
        (place, true)
    }

    /// Reports an error at a key path, or at the variable that overrides it.
    pub(super) fn error(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let problem = match self.overriding(key) {
            Some(_) => Problem::error(None, format!("{}: {}", self.variable(key), message.into())),
            None => Problem::error(self.place(key), message),
        };
        self.reader.report(problem.hint(hint));
    }

    /// Reports a warning at a key path.
    pub(super) fn warning(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.report(Problem::warning(self.place(key), message).hint(hint));
    }

    /// Reports an error at a place.
    pub(super) fn report_at(&self, at: Option<At>, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.report(Problem::error(at, message).hint(hint));
    }

    /// Reports an error at the line a section's [`Section::origin`] named.
    pub(super) fn report_in(&self, origin: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.report(Problem::error(tree::locate(self.reader.sources, origin), message).hint(hint));
    }

    /// The same for what is probably a mistake.
    pub(super) fn warn_in(&self, origin: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.report(Problem::warning(tree::locate(self.reader.sources, origin), message).hint(hint));
    }

    /// A table below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        self.known.insert(key);
        let (table, at) = match self.entry(key) {
            None => (None, None),
            Some(Entry { value: Value::Table(table), key_at, .. }) => (Some(table), Some(key_at.clone())),
            Some(entry) => {
                self.wrong_type(key, entry, "a table");
                (None, None)
            }
        };
        self.child(key, table, at, false)
    }

    /// The tables of an array below this one. An empty one is read for the reference when there are none.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        self.known.insert(key);
        self.reader.declared.borrow_mut().arrays.insert(self.path_of(key));
        let entries = match self.entry(key) {
            None => return Vec::new(),
            Some(Entry { value: Value::Array(entries), .. }) => entries,
            Some(entry) => {
                self.wrong_type(key, entry, "an array of tables");
                return Vec::new();
            }
        };
        let mut sections = Vec::with_capacity(entries.len());
        for entry in entries {
            match &entry.value {
                Value::Table(table) => sections.push(self.child(key, Some(table), Some(entry.at.clone()), true)),
                _ => self.wrong_type(key, entry, "a table"),
            }
        }
        sections
    }

    /// A section that is not there, to let its keys be declared.
    pub(super) fn absent(&self, key: &'static str) -> Section<'a> {
        self.child(key, None, None, true)
    }

    fn child(&self, key: &'static str, table: Option<&'a Table>, at: Option<At>, in_array: bool) -> Section<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let in_array = in_array || self.in_array;
        Section { reader: self.reader, path, table, at, in_array, known: BTreeSet::new() }
    }

    /// A text; the default when it is absent or empty.
    pub(super) fn text(&mut self, key: &'static str, default: &str, doc: &'static str) -> String {
        self.text_of(Kind::Text, key, default, doc)
    }

    fn text_of(&mut self, kind: Kind, key: &'static str, default: &str, doc: &'static str) -> String {
        self.declare(key, &quoted(default), doc, kind);
        self.written_text(key).filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
    }

    /// A text of which `true` and `false` may stand without quotes.
    pub(super) fn word(&mut self, key: &'static str, default: &str, doc: &'static str) -> String {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Boolean(value)) if self.overriding(key).is_none() => {
                self.declare(key, &quoted(default), doc, Kind::Word);
                value.to_string()
            }
            _ => self.text_of(Kind::Word, key, default, doc),
        }
    }

    /// A text that may be absent; empty is absent.
    pub(super) fn optional(&mut self, key: &'static str, doc: &'static str) -> Option<String> {
        self.declare(key, "\"\"", doc, Kind::Text);
        self.written_text(key).filter(|text| !text.is_empty())
    }

    /// A text with a default; written empty, it is nothing.
    pub(super) fn unless_empty(&mut self, key: &'static str, default: &str, doc: &'static str) -> Option<String> {
        self.declare(key, &quoted(default), doc, Kind::Text);
        self.written_text(key).map_or_else(|| Some(default.to_owned()), |text| (!text.is_empty()).then_some(text))
    }

    /// A path, taken from beside the file that names it; empty is absent.
    pub(super) fn path(&mut self, key: &'static str, doc: &'static str) -> Option<PathBuf> {
        let path = self.optional(key, doc)?;
        let file = self.entry(key).map(|entry| entry.at.file);
        let path = self.reader.beside(file, &path);
        if !path.is_dir() {
            self.reader.name(&path, std::fs::read(&path).ok().as_deref());
        }
        Some(path)
    }

    /// A text that reads as something.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: &str,
        doc: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.parsed_of(Kind::Text, key, default, doc, parse)
    }

    fn parsed_of<T>(
        &mut self,
        kind: Kind,
        key: &'static str,
        default: &str,
        doc: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let text = self.text_of(kind, key, default, doc);
        match parse(&text) {
            Ok(value) => value,
            Err(message) => {
                self.error(key, message, format!("the default is {}", quoted(default)));
                parse(default).unwrap_or_else(|message| panic!("the default of `{key}` is good: {message}"))
            }
        }
    }

    /// A duration.
    pub(super) fn duration(&mut self, key: &'static str, default: &str, doc: &'static str) -> Duration {
        self.parsed_of(Kind::Duration, key, default, doc, values::duration)
    }

    /// A duration that is longer than nothing.
    pub(super) fn lasting(&mut self, key: &'static str, default: &str, doc: &'static str) -> Duration {
        let path = self.path_of(key);
        self.parsed_of(Kind::Duration, key, default, doc, |text| match values::duration(text)? {
            Duration::ZERO => Err(format!("`{path}` must be longer than nothing")),
            duration => Ok(duration),
        })
    }

    /// A size in bytes.
    pub(super) fn size(&mut self, key: &'static str, default: &str, doc: &'static str) -> u64 {
        self.parsed_of(Kind::Size, key, default, doc, values::size)
    }

    /// One of a closed list of words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: &'static str,
        choices: &[(&'static str, T)],
        doc: &'static str,
    ) -> T {
        self.parsed_of(Kind::Choice(names(choices)), key, default, doc, |text| pick(text, choices))
    }

    /// A number within bounds.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        default: i64,
        bounds: std::ops::RangeInclusive<i64>,
        doc: &'static str,
    ) -> i64 {
        self.declare(key, &default.to_string(), doc, Kind::Integer(bounds.clone()));
        let written = match self.overriding(key) {
            Some(text) => text.trim().parse().ok(),
            None => match self.entry(key) {
                None => return default,
                Some(Entry { value: Value::Integer(number), .. }) => *number,
                Some(entry) => {
                    self.wrong_type(key, entry, "an integer");
                    return default;
                }
            },
        };
        if let Some(number) = written.filter(|number| bounds.contains(number)) {
            number
        } else {
            let message = format!("`{}` must be from {} to {}", self.path_of(key), bounds.start(), bounds.end());
            self.error(key, message, format!("the default is {default}"));
            default
        }
    }

    /// A share of something: a number from 0 to 1.
    pub(super) fn fraction(&mut self, key: &'static str, default: &'static str, doc: &'static str) -> f64 {
        self.declare(key, default, doc, Kind::Fraction);
        let written = match self.overriding(key) {
            Some(text) => text.trim().parse().ok(),
            None => match self.entry(key) {
                None => default.parse().ok(),
                Some(Entry { value: Value::Float(number), .. }) => *number,
                Some(Entry { value: Value::Integer(number), .. }) => {
                    number.and_then(|number| u8::try_from(number).ok()).map(f64::from)
                }
                Some(entry) => {
                    self.wrong_type(key, entry, "a number");
                    return 0.0;
                }
            },
        };
        written.filter(|share| (0.0..=1.0).contains(share)).unwrap_or_else(|| {
            self.error(
                key,
                format!("`{}` must be from 0 to 1", self.path_of(key)),
                format!("the default is {default}"),
            );
            0.0
        })
    }

    /// Yes or no.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool, doc: &'static str) -> bool {
        self.declare(key, if default { "true" } else { "false" }, doc, Kind::Boolean);
        if let Some(text) = self.overriding(key) {
            return text.trim().parse().unwrap_or_else(|_| {
                self.error(key, format!("`{}` must be true or false", self.path_of(key)), "see the environment");
                default
            });
        }
        match self.entry(key) {
            None => default,
            Some(Entry { value: Value::Boolean(value), .. }) => *value,
            Some(entry) => {
                self.wrong_type(key, entry, "true or false");
                default
            }
        }
    }

    /// A list of texts, each read as something; `None` when it is not written.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        default: &str,
        doc: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list_of(Kind::Texts, key, default, doc, parse)
    }

    /// A list of words out of a closed one; `None` when it is not written.
    pub(super) fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        default: &str,
        choices: &[(&'static str, T)],
        doc: &'static str,
    ) -> Option<Vec<T>> {
        self.list_of(Kind::Choices(names(choices)), key, default, doc, |text| pick(text, choices))
    }

    fn list_of<T>(
        &mut self,
        kind: Kind,
        key: &'static str,
        default: &str,
        doc: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.declare(key, default, doc, kind);
        let entries = match self.entry(key)? {
            Entry { value: Value::Array(entries), .. } => entries,
            entry => {
                self.wrong_type(key, entry, "an array of strings");
                return None;
            }
        };
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Text(text) = &entry.value else {
                self.wrong_type(key, entry, "a string");
                continue;
            };
            match self.interpolated(text, entry).and_then(|text| parse(&text)) {
                Ok(value) => values.push(value),
                Err(message) => self.reader.report(Problem::error(Some(entry.at.clone()), message)),
            }
        }
        Some(values)
    }

    /// The raw entries of an array whose elements have a form of their own.
    pub(super) fn entries(&mut self, key: &'static str, default: &str, doc: &'static str) -> Option<&'a [Entry]> {
        self.declare(key, default, doc, Kind::Entries);
        match self.entry(key)? {
            Entry { value: Value::Array(entries), .. } => Some(entries),
            entry => {
                self.wrong_type(key, entry, "an array");
                None
            }
        }
    }

    /// `{ max = 3, window = "1h" }`
    pub(super) fn window(&mut self, key: &'static str, default: Window, doc: &'static str) -> Window {
        let text = humantime::format_duration(default.window).to_string().replace(' ', "");
        let shown = format!("{{ max = {}, window = \"{text}\" }}", default.max);
        self.declare(key, &shown, doc, Kind::Window(WINDOW));
        if !self.has(key) {
            return default;
        }
        let mut section = self.section(key);
        let max = section.integer("max", i64::from(default.max), WINDOW, "");
        let window = section.lasting("window", &text, "");
        section.finish();
        Window { max: u32::try_from(max).unwrap_or(default.max), window }
    }

    /// The text of an array's element, filled in.
    pub(super) fn element_text(&self, key: &str, entry: &Entry) -> Option<String> {
        let Value::Text(text) = &entry.value else {
            self.wrong_type(key, entry, "a string");
            return None;
        };
        self.filled(text, entry)
    }

    /// A table as a section of its own, from an array's element.
    pub(super) fn element_section(&self, key: &'static str, entry: &'a Entry) -> Option<Section<'a>> {
        match &entry.value {
            Value::Table(table) => Some(self.child(key, Some(table), Some(entry.at.clone()), true)),
            _ => None,
        }
    }

    /// The pairs of a table of texts: header names to values.
    pub(super) fn pairs(&mut self, key: &'static str, doc: &'static str) -> Vec<(String, String, At)> {
        self.declare(key, "{}", doc, Kind::Pairs);
        let table = match self.entry(key) {
            None => return Vec::new(),
            Some(Entry { value: Value::Table(table), .. }) => table,
            Some(entry) => {
                self.wrong_type(key, entry, "a table");
                return Vec::new();
            }
        };
        table
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), self.element_text(name, entry)?, entry.at.clone())))
            .collect()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, entry) in table.iter().filter(|(key, _)| !self.known.contains(key.as_str())) {
            let place = if self.path.is_empty() { String::new() } else { format!(" in `[{}]`", self.path) };
            let mut problem = Problem::error(Some(entry.key_at.clone()), format!("unknown key `{key}`{place}"));
            if let Some(near) = nearest(key, self.known.iter().copied()) {
                problem = problem.hint(format!("did you mean `{near}`?"));
            }
            self.reader.report(problem);
        }
    }

    fn declare(&mut self, key: &'static str, default: &str, doc: &'static str, kind: Kind) {
        self.known.insert(key);
        if !doc.is_empty() {
            let (section, default) = (self.path.clone(), default.to_owned());
            self.reader.declared.borrow_mut().keys.push(DocKey { section, key, default, text: doc, kind });
        }
    }

    fn written_text(&self, key: &str) -> Option<String> {
        if let Some(text) = self.overriding(key) {
            return Some(text);
        }
        match self.entry(key)? {
            entry @ Entry { value: Value::Text(text), .. } => self.filled(text, entry),
            entry => {
                self.wrong_type(key, entry, "a string");
                None
            }
        }
    }

    fn filled(&self, text: &str, entry: &Entry) -> Option<String> {
        match self.interpolated(text, entry) {
            Ok(text) => Some(text),
            Err(message) => {
                self.reader.report(Problem::error(Some(entry.at.clone()), message));
                None
            }
        }
    }

    fn interpolated(&self, text: &str, entry: &Entry) -> Result<String, String> {
        values::interpolate(text, |what| self.reader.fetch(what, Some(entry.at.file)))
    }

    /// What the environment says of a single value; elements of arrays cannot be named there.
    fn overriding(&self, key: &str) -> Option<String> {
        if self.in_array {
            return None;
        }
        let name = self.variable(key);
        let text = self.reader.environment.get(&name)?.to_owned();
        self.reader.overridden.borrow_mut().insert(name);
        Some(text)
    }

    fn variable(&self, key: &str) -> String {
        format!("{OVERRIDE}{}", self.path_of(key).replace('.', "__").to_uppercase())
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.table?.get(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong_type(&self, key: &str, entry: &Entry, expected: &str) {
        let message = format!("`{}` must be {expected}, not {}", self.path_of(key), entry.value.kind());
        self.reader.report(Problem::error(Some(entry.at.clone()), message));
    }
}

/// One of a closed list of words, or what they are.
pub(super) fn pick<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!("`{text}` is not one of {}", names.join(", "))
    })
}

fn names<T>(choices: &[(&'static str, T)]) -> Vec<&'static str> {
    choices.iter().map(|(name, _)| *name).collect()
}

/// The known word a mistyped one was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
