//! What the calls that read keys tell about them: the material of the reference and of the schema.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// One key.
#[derive(Debug, Clone)]
pub(super) struct DocKey {
    pub(super) section: String,
    pub(super) key: &'static str,
    /// As it would be written.
    pub(super) default: String,
    pub(super) text: &'static str,
    pub(super) kind: Kind,
}

/// What may stand behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A string, or `true` or `false` without quotes.
    Word,
    /// A string such as `"15m"`.
    Duration,
    /// A string such as `"64KiB"`.
    Size,
    /// One of these strings.
    Choice(Vec<&'static str>),
    /// A number within bounds.
    Integer(RangeInclusive<i64>),
    /// A number from 0 to 1.
    Fraction,
    /// `true` or `false`.
    Boolean,
    /// Strings.
    Texts,
    /// Some of these strings.
    Choices(Vec<&'static str>),
    /// Strings or tables of a form of their own.
    Entries,
    /// A table of strings.
    Pairs,
    /// So many in so long.
    Window(RangeInclusive<i64>),
}

/// Every key, in the order in which they are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    pub(super) keys: Vec<DocKey>,
    /// The sections that are arrays of tables.
    pub(super) arrays: BTreeSet<String>,
}

impl Declared {
    /// The keys of each section, the sections in the order in which they are first read.
    pub(super) fn by_section(self) -> Vec<(String, Vec<DocKey>)> {
        let mut sections: Vec<(String, Vec<DocKey>)> = Vec::new();
        for key in self.keys {
            match sections.iter_mut().find(|(section, _)| *section == key.section) {
                Some((_, keys)) => keys.push(key),
                None => sections.push((key.section.clone(), vec![key])),
            }
        }
        sections
    }
}
