//! The reference of all keys, from the calls that read them.

use std::fmt::Write;

use crate::config::load::declared;

/// `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration reference\n\n\
         Every key of `nauth.toml` with its default. This page is generated from the code that reads the keys.\n\n\
         Durations are written `\"500ms\"`, `\"90s\"`, `\"15m\"`, `\"1h30m\"`, `\"7d\"`; sizes `\"64KiB\"`, `\"10MiB\"`. In every \
         string, `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}` and `${file:PATH:-default}` are filled in. A single \
         value can be overridden by an environment variable `NAUTH__SECTION__KEY`. Unknown keys are errors.\n\n\
         [nauth.schema.json](nauth.schema.json), which `nauth schema` prints, says the same to editors: with \
         `#:schema ./nauth.schema.json` as the first line of `nauth.toml`, those that know TOML (Even Better TOML, Taplo) \
         complete keys and mark what is wrong.\n",
    );
    let declared = declared();
    let arrays = declared.arrays.clone();
    for (section, keys) in declared.by_section() {
        let title = match section.as_str() {
            "" => "Top level".to_owned(),
            name if arrays.contains(name) => format!("`[[{name}]]`"),
            name => format!("`[{name}]`"),
        };
        write!(text, "\n## {title}\n\n| key | default | |\n|---|---|---|\n").expect("writing to a string");
        for key in keys {
            let [default, meaning] = [key.default.as_str(), key.text].map(|cell| cell.replace('|', "\\|"));
            writeln!(text, "| `{}` | `{default}` | {meaning} |", key.key).expect("writing to a string");
        }
    }
    text
}
