//! The metrics as `docs/operations.md` describes them to operators.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// Every described metric and its labels.
pub(crate) fn described_metrics() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let row = Regex::new(r"(?m)^\| `(nauth_[a-z0-9_]+)` \| ([^|]*) \|").unwrap();
    let label = Regex::new(r"`([a-z0-9_]+)`").unwrap();
    let labels = |cell: &str| label.captures_iter(cell).map(|found| found[1].to_owned()).collect();
    let rows: Vec<_> = row.captures_iter(&page).map(|found| (found[1].to_owned(), labels(&found[2]))).collect();
    let metrics: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert!(metrics.len() > 40 && metrics.len() == rows.len(), "the table describes each metric once: {rows:?}");
    metrics
}
