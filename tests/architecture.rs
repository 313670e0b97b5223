//! The rules of the house that a compiler does not know.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The most lines of one file.
const MOST_LINES: usize = 600;

#[test]
fn modules_import_only_what_the_table_in_lib_rs_shows_after_them() {
    let table = table();
    let mut complaints = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let place = table.iter().find(|place| place.module == module);
        let place = place.unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to the table in src/lib.rs"));
        for imported in source.imports() {
            let Some(other) = table.iter().find(|other| other.module == imported) else { continue };
            if other.position < place.position {
                complaints.push(format!(
                    "`{}` imports `{imported}`: {module} is floor {}, {imported} is floor {} and stands before it",
                    source.name(),
                    place.floor,
                    other.floor,
                ));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_module_stands_in_the_table() {
    let modules: BTreeSet<String> = sources().iter().filter_map(Source::module).collect();
    let shown: BTreeSet<String> = table().into_iter().map(|place| place.module).collect();
    assert_eq!(modules, shown);
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source.name(), source.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(name, lines)| format!("`{name}` has {lines} lines: what are the two things it is?"))
        .collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

#[test]
fn lints_are_expected_with_a_reason_and_nothing_is_left_to_do() {
    let marks = [
        ("#[allow(", "say `#[expect(…, reason = …)]`"),
        ("#![allow(", "say `#![expect(…, reason = …)]`"),
        ("todo!(", "finish it"),
        ("unimplemented!(", "finish it"),
        ("TODO", "finish it or open an issue"),
        ("FIXME", "fix it"),
        ("dbg!(", "take it out"),
    ];
    let mut complaints = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for (mark, advice) in marks {
                if line.contains(mark) {
                    complaints.push(format!("{}:{}: `{mark}`: {advice}", source.name(), number + 1));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent: Vec<String> =
        sources().iter().filter(|source| !source.text.starts_with("//!")).map(Source::name).collect();
    assert!(silent.is_empty(), "these files do not say what they are for: {silent:?}");
}

#[test]
fn migrations_have_the_same_names_for_every_database() {
    let folders = ["sqlite", "postgres", "mysql"].map(|dialect| root().join("migrations").join(dialect));
    let steps = |folder: &PathBuf| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "sql")).collect()
    };

    // A folder without a step is one whose database is not supported yet.
    let filled: Vec<BTreeSet<String>> = folders.iter().map(steps).filter(|steps| !steps.is_empty()).collect();

    assert!(!filled.is_empty(), "no migrations at all");
    assert!(filled.windows(2).all(|pair| pair[0] == pair[1]), "{filled:?}");
}

#[test]
fn every_metric_is_described_to_operators() {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let name = Regex::new(r#""(nauth_[a-z0-9_]+)""#).unwrap();
    let mut registered = BTreeSet::new();
    for source in sources().iter().filter(|source| source.module().as_deref() == Some("metrics")) {
        registered.extend(name.captures_iter(source.without_tests()).map(|found| found[1].to_owned()));
    }

    let undescribed: Vec<&String> = registered.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(undescribed.is_empty(), "docs/operations.md does not describe {undescribed:?}");

    let described = Regex::new(r"(?m)^\| `(nauth_[a-z0-9_]+)`").unwrap();
    let gone: Vec<&str> = described
        .captures_iter(&page)
        .map(|found| found.get(1).unwrap().as_str())
        .filter(|name| !registered.contains(*name))
        .collect();
    assert!(gone.is_empty(), "docs/operations.md describes what nobody registers: {gone:?}");
}

/// Where a module stands in the table of `src/lib.rs`.
struct Place {
    module: String,
    floor: String,
    /// From the top, and from left to right within a floor: a module imports from its right neighbours
    /// and from the floors below, so there are no circles.
    position: usize,
}

fn table() -> Vec<Place> {
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let row = Regex::new(r"(?m)^//! \| (\d) \| ([^|]*) \|").unwrap();
    let name = Regex::new(r"\[`(\w+)`\]").unwrap();
    let mut places = Vec::new();
    for row in row.captures_iter(&library) {
        for module in name.captures_iter(&row[2]) {
            places.push(Place { module: module[1].to_owned(), floor: row[1].to_owned(), position: places.len() });
        }
    }
    assert!(!places.is_empty(), "src/lib.rs shows the floors");
    places
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `src/`.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `src/store/users.rs`
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
    }

    /// `store`; `None` for the crate's roots, which stand above every floor.
    fn module(&self) -> Option<String> {
        let name = self.name();
        let first = name.strip_prefix("src/").unwrap().split('/').next().unwrap();
        let module = first.trim_end_matches(".rs");
        (!["lib", "main"].contains(&module)).then(|| module.to_owned())
    }

    /// The modules named by `crate::x`, in imports and in code; tests may look anywhere.
    fn imports(&self) -> BTreeSet<String> {
        let single = Regex::new(r"\bcrate::(\w+)").unwrap();
        let grouped = Regex::new(r"\bcrate::\{([^;]*)\};").unwrap();
        let member = Regex::new(r"(?:^|,)\s*(\w+)").unwrap();
        let code = self.code();
        let mut imports: BTreeSet<String> = single.captures_iter(&code).map(|found| found[1].to_owned()).collect();
        for group in grouped.captures_iter(&code) {
            imports.extend(member.captures_iter(&group[1]).map(|found| found[1].to_owned()));
        }
        imports
    }

    /// What is compiled outside of tests, without comments.
    fn code(&self) -> String {
        let lines = self.without_tests().lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn without_tests(&self) -> &str {
        // Inner test modules stand last in a file.
        self.text.split("#[cfg(test)]\nmod ").next().unwrap()
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source { text: std::fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

#[test]
fn imports_are_found_in_every_form_and_not_in_tests() {
    let text = "//! Why.\nuse crate::store::Db;\nuse crate::{domain::id, mail};\nfn f() { crate::tokens::x() }\n// crate::cli\n#[cfg(test)]\nmod tests { use crate::app; }\n";
    let source = Source { path: root().join("src/auth/x.rs"), text: text.to_owned() };

    assert_eq!(source.module().as_deref(), Some("auth"));
    assert_eq!(source.imports().into_iter().collect::<Vec<_>>(), ["domain", "mail", "store", "tokens"]);
}
