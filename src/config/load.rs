//! From a path to settings: read the files, follow includes, read the keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::declared::Declared;
use crate::config::environment::Environment;
use crate::config::reader::Section;
use crate::config::reading::{Found, Reader};
use crate::config::report::{Problem, Report, Severity};
use crate::config::sections;
use crate::config::settings::Settings;
use crate::config::tree::{self, Source, Table, Value};

/// A configuration without errors.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the program runs on.
    pub settings: Arc<Settings>,
    /// What is worth a look.
    pub warnings: Report,
    /// SHA-256 of all files, those that are named in them among them, in hexadecimal.
    pub fingerprint: String,
    /// Environment variables that override keys.
    pub overridden: Vec<String>,
}

/// Loads a configuration.
///
/// # Errors
/// Every problem at once, pointing at its line.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Report> {
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    let table = read_all(path, &mut sources, &mut problems);
    let (settings, found) = read_keys(&sources, &table, environment);
    // Where the text itself is broken, what is missing is most likely behind the break.
    if problems.is_empty() {
        problems.extend(found.problems);
    }
    problems.extend(sources.iter().filter_map(|source| writable_by_others(&source.path)));

    let failed = problems.iter().any(|problem| problem.severity() == Severity::Error);
    let read = sources.iter().map(|source| (source.path.clone(), Some(source.digest)));
    let (files, digests): (Vec<_>, Vec<_>) = read.chain(found.named).unzip();
    let fingerprint = fingerprint(digests);
    let report = Report::new(sources, problems);
    if failed {
        return Err(report);
    }
    let settings = Arc::new(Settings { files, ..settings });
    Ok(Loaded { settings, warnings: report, fingerprint, overridden: found.overridden })
}

/// Loads a configuration that replaces a running one: an empty file or one without routes is an
/// editor's half-written save, not a wish.
pub fn load_for_reload(path: &Path, environment: &Environment) -> Result<Loaded, Report> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if text.trim().is_empty() {
        let problem = Problem::error(None, format!("`{}` is missing or empty", path.display()));
        return Err(Report::new(Vec::new(), vec![problem.hint("nothing is changed")]));
    }
    load(path, environment)
}

/// Every key with its default and meaning, as the readers declare them.
pub(super) fn declared() -> Declared {
    let environment = Environment::default();
    read_keys(&[], &Table::new(), &environment).1.declared
}

/// The settings of an empty file: every default.
#[cfg(test)]
pub(crate) fn defaults() -> Settings {
    read_keys(&[], &Table::new(), &Environment::default()).0
}

fn read_keys(sources: &[Source], table: &Table, environment: &Environment) -> (Settings, Found) {
    let reader = Reader::new(sources, environment);
    let settings = sections::settings(Section::root(&reader, table));
    (settings, reader.finish())
}

fn read_all(path: &Path, sources: &mut Vec<Source>, problems: &mut Vec<Problem>) -> Table {
    let mut table = read_one(path, sources, problems);
    for included in included(path, &table, problems) {
        let more = read_one(&included, sources, problems);
        tree::merge(&mut table, more, "", problems);
    }
    table
}

fn read_one(path: &Path, sources: &mut Vec<Source>, problems: &mut Vec<Problem>) -> Table {
    let text = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            problems.push(Problem::error(None, format!("`{}` is not UTF-8 text", path.display())));
            return Table::new();
        }
        Err(error) => {
            let problem = Problem::error(None, format!("`{}` cannot be read: {error}", path.display()));
            problems.push(problem.hint("name the file with --config PATH"));
            return Table::new();
        }
    };
    let file = sources.len();
    let table = tree::parse(file, &text, problems);
    let digest = digest(text.as_bytes());
    sources.push(Source { path: path.to_owned(), text: tree::masked(&text, &table), digest });
    table
}

/// The files that `include` names, each once, the including one left out.
fn included(path: &Path, table: &Table, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let Some(Value::Array(patterns)) = table.get("include").map(|entry| &entry.value) else { return Vec::new() };
    let base = path.parent().unwrap_or(Path::new(""));
    let mut seen: BTreeSet<PathBuf> = path.canonicalize().into_iter().collect();
    let mut files = Vec::new();
    for entry in patterns {
        // What is no text is reported by the reader of the key.
        let Value::Text(pattern) = &entry.value else { continue };
        match matching(base, pattern) {
            Ok(found) => {
                files.extend(found.into_iter().filter(|file| seen.insert(file.canonicalize().unwrap_or(file.clone()))));
            }
            Err(message) => problems.push(Problem::error(Some(entry.at.clone()), message)),
        }
    }
    files
}

/// The files of one pattern, by name. A name without wildcards must exist: routes that silently
/// vanish with their file would leave what they guard to a wider route.
fn matching(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    if !pattern.contains(['*', '?', '[']) {
        let file = base.join(pattern);
        return match std::fs::metadata(&file) {
            Ok(_) => Ok(vec![file]),
            Err(error) => Err(format!("`{}` cannot be read: {error}", file.display())),
        };
    }
    let full = Path::new(&glob::Pattern::escape(&base.to_string_lossy())).join(pattern);
    let paths = glob::glob(&full.to_string_lossy()).map_err(|error| format!("`{pattern}`: {error}"))?;
    paths.collect::<Result<_, _>>().map_err(|error| format!("`{pattern}`: {error}"))
}

/// SHA-256 over the digests of all files, those that cannot be read among them, in hexadecimal.
pub(super) fn fingerprint(digests: impl IntoIterator<Item = Option<[u8; 32]>>) -> String {
    let digests: Vec<u8> = digests.into_iter().flat_map(Option::unwrap_or_default).collect();
    crate::domain::hex::hex(&digest(&digests))
}

/// SHA-256 of one file.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whoever can write the file can let anybody in.
fn writable_by_others(path: &Path) -> Option<Problem> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    let world = meta.mode() & 0o002 != 0;
    let foreign_group = meta.mode() & 0o020 != 0 && meta.gid() != meta.uid();
    (world || foreign_group).then(|| {
        Problem::warning(None, format!("`{}` can be written by others than its owner", path.display()))
            .hint("chmod 0640 it")
    })
}
