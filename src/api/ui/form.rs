//! The fields of a form.

use std::collections::HashMap;

/// Field names and values; of a name that occurs twice, the first.
#[derive(Debug, Default)]
pub(super) struct Fields(HashMap<String, String>);

impl Fields {
    /// Reads `application/x-www-form-urlencoded`. Never fails: what cannot be read is not there.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            fields.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        Self(fields)
    }

    /// The same with other values for some.
    pub(super) fn with<const N: usize>(&self, others: [(&str, String); N]) -> Self {
        let mut fields = self.0.clone();
        fields.extend(others.map(|(name, value)| (name.to_owned(), value)));
        Self(fields)
    }

    /// A field's value; empty when it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}
