//! What is shared while one configuration is read: where values come from, and what was found.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::declared::Declared;
use crate::config::environment::Environment;
use crate::config::load::digest;
use crate::config::report::Problem;
use crate::config::tree::Source;

/// What all sections share while one configuration is read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) sources: &'a [Source],
    pub(super) environment: &'a Environment,
    problems: RefCell<Vec<Problem>>,
    pub(super) declared: RefCell<Declared>,
    pub(super) overridden: RefCell<BTreeSet<String>>,
    named: RefCell<Named>,
}

/// Files that the configuration names, with the SHA-256 of what they say; `None` for one that cannot be read.
pub(super) type Named = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// What was found, once everything was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    pub(super) declared: Declared,
    /// Environment variables that override keys.
    pub(super) overridden: Vec<String>,
    pub(super) named: Named,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a [Source], environment: &'a Environment) -> Self {
        Self {
            sources,
            environment,
            problems: RefCell::default(),
            declared: RefCell::default(),
            overridden: RefCell::default(),
            named: RefCell::default(),
        }
    }

    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Ends the reading.
    pub(super) fn finish(self) -> Found {
        let overridden = self.overridden.into_inner();
        let mut problems = self.problems.into_inner();
        for name in self.environment.overrides().filter(|name| !overridden.contains(*name)) {
            problems.push(
                Problem::error(None, format!("the environment sets `{name}`, but there is no such key"))
                    .hint("an override is NAUTH__SECTION__KEY and works for single values only"),
            );
        }
        Found {
            problems,
            declared: self.declared.into_inner(),
            overridden: overridden.into_iter().collect(),
            named: self.named.into_inner(),
        }
    }

    pub(super) fn fetch(&self, what: &str, file: Option<usize>) -> Result<String, String> {
        let (name, default) = what.split_once(":-").map_or((what, None), |(name, default)| (name, Some(default)));
        let found = match name.split_once(':') {
            Some(("env", variable)) => self
                .environment
                .get(variable)
                .map(str::to_owned)
                .ok_or_else(|| format!("the environment variable `{variable}` is not set")),
            Some(("file", path)) => {
                let path = self.beside(file, path);
                let text = std::fs::read_to_string(&path);
                self.name(&path, text.as_ref().ok().map(String::as_bytes));
                text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                    .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
            }
            _ => return Err(format!("`${{{what}}}` is neither `${{env:NAME}}` nor `${{file:PATH}}`")),
        };
        match (found, default) {
            (Ok(found), _) => Ok(found),
            (Err(_), Some(default)) => Ok(default.to_owned()),
            (Err(missing), None) => Err(missing),
        }
    }

    /// Remembers a file, so that a change of it is noticed. What it says at first counts.
    pub(super) fn name(&self, path: &Path, bytes: Option<&[u8]>) {
        self.named.borrow_mut().entry(path.to_owned()).or_insert_with(|| bytes.map(digest));
    }

    pub(super) fn beside(&self, file: Option<usize>, path: &str) -> PathBuf {
        let base = file.and_then(|file| self.sources.get(file)).and_then(|source| source.path.parent());
        base.unwrap_or(Path::new("")).join(path)
    }
}
