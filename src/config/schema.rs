//! The JSON Schema of `nauth.toml`, from the calls that read the keys: what editors complete and check.

use serde_json::{Map, Value, json};

use crate::config::declared::{Declared, DocKey, Kind};
use crate::config::load::declared;

/// A string that is filled in before it is read may become anything.
const FILLED: &str = r"\$\{";
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*[a-zA-Z]+\s*)+$|^0?$|\$\{";
const SIZE: &str = r"^\s*[0-9]+\s*([KMG]i?)?B?\s*$|^$|\$\{";

/// `docs/nauth.schema.json` (draft 2020-12).
#[must_use]
pub fn schema() -> String {
    let Declared { keys, arrays } = declared();
    let mut root = Node::default();
    for array in &arrays {
        root.below(array).is_array = true;
    }
    for key in keys {
        root.below(&key.section).keys.push(key);
    }
    let mut schema = root.object();
    let head = [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("title", json!("nauth.toml")),
        ("$defs", definitions()),
    ];
    schema.extend(head.map(|(key, value)| (key.to_owned(), value)));
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}

fn definitions() -> Value {
    json!({
        "duration": { "type": "string", "pattern": DURATION },
        "size": { "type": "string", "pattern": SIZE },
        "filled": { "type": "string", "pattern": FILLED },
    })
}

/// A section, its keys, and the sections below it.
#[derive(Default)]
struct Node {
    keys: Vec<DocKey>,
    sections: Vec<(String, Node)>,
    is_array: bool,
}

impl Node {
    /// The section of a dotted path; itself for the empty one.
    fn below(&mut self, path: &str) -> &mut Self {
        path.split('.').filter(|name| !name.is_empty()).fold(self, |node, name| {
            let at = node.sections.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                node.sections.push((name.to_owned(), Self::default()));
                node.sections.len() - 1
            });
            &mut node.sections[at].1
        })
    }

    fn object(&self) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in &self.keys {
            properties.insert(key.key.to_owned(), Value::Object(property(key)));
        }
        for (name, section) in &self.sections {
            // What a key says of its elements stands with the key.
            properties.entry(name.as_str()).or_insert_with(|| section.value());
        }
        object(properties)
    }

    fn value(&self) -> Value {
        let object = Value::Object(self.object());
        if self.is_array { json!({ "type": "array", "items": object }) } else { object }
    }
}

fn object(properties: Map<String, Value>) -> Map<String, Value> {
    let fields =
        [("type", json!("object")), ("properties", Value::Object(properties)), ("additionalProperties", json!(false))];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn property(key: &DocKey) -> Map<String, Value> {
    let mut property = of_kind(&key.kind);
    property.insert("description".to_owned(), json!(key.text));
    if let Some(default) = default(&key.default) {
        property.insert("default".to_owned(), default);
    }
    property
}

fn of_kind(kind: &Kind) -> Map<String, Value> {
    let value = match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Word => json!({ "type": ["string", "boolean"] }),
        Kind::Duration => json!({ "$ref": "#/$defs/duration" }),
        Kind::Size => json!({ "$ref": "#/$defs/size" }),
        Kind::Choice(words) => one_of(words),
        Kind::Integer(bounds) => json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() }),
        Kind::Fraction => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Choices(words) => json!({ "type": "array", "items": one_of(words) }),
        Kind::Entries => json!({ "type": "array", "items": { "type": ["string", "object"] } }),
        Kind::Pairs => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Window(bounds) => {
            let max = Value::Object(of_kind(&Kind::Integer(bounds.clone())));
            let window = Value::Object(of_kind(&Kind::Duration));
            Value::Object(object([("max".to_owned(), max), ("window".to_owned(), window)].into_iter().collect()))
        }
    };
    let Value::Object(fields) = value else { unreachable!("every kind is an object") };
    fields
}

fn one_of(words: &[&str]) -> Value {
    json!({ "anyOf": [{ "enum": words }, { "$ref": "#/$defs/filled" }] })
}

/// A default, which is written as TOML.
fn default(written: &str) -> Option<Value> {
    let table: toml::Table = format!("value = {written}").parse().ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values;

    #[test]
    fn every_default_is_valid_and_told() {
        let Declared { keys, .. } = declared();
        for key in keys {
            assert!(default(&key.default).is_some(), "`{}` has the default `{}`", key.key, key.default);
        }
    }

    #[test]
    fn what_reads_as_a_duration_or_a_size_is_one_in_the_schema() {
        let matches = |pattern: &str, text: &str| regex::Regex::new(pattern).unwrap().is_match(text);
        for text in ["500ms", "90s", "1h30m", "1h 30m", "7d", "0s", "soon", "-1s", "15", "1.5h"] {
            assert_eq!(matches(DURATION, text), values::duration(text).is_ok(), "{text}");
        }
        for text in ["0", "512B", "64KiB", "64KB", "10MiB", "MiB", "-1", "1.5MiB", "1TB"] {
            assert_eq!(matches(SIZE, text), values::size(text).is_ok(), "{text}");
        }
        assert!(matches(DURATION, "${env:TTL:-15m}") && matches(SIZE, "${env:MAX}"));
    }

    #[test]
    fn sections_are_closed_and_arrays_are_arrays() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();

        let routes = &schema["properties"]["routes"];
        let route = &routes["items"]["properties"];
        assert_eq!((&routes["type"], &routes["items"]["additionalProperties"]), (&json!("array"), &json!(false)));
        assert_eq!(route["access"]["anyOf"][0]["enum"], json!(["public", "optional", "required"]));
        assert_eq!(route["ws"]["properties"]["recheck"]["default"], "30s");
        assert_eq!(schema["properties"]["server"]["properties"]["management"]["type"], "object");
        assert_eq!(schema["additionalProperties"], false);
    }
}
