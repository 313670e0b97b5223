//! Reads the fields of a body and remembers everything that is wrong with them.
//!
//! The wire reports all problems of a body at once, a wrong type being one of them, and ignores
//! properties it does not know. serde stops at the first problem, so bodies are read by hand.

use serde_json::Value;

use crate::api::json::Object;
use crate::domain::error::{Error, FieldError};

/// What is wrong with a value, each sentence without its subject: `must be a string`.
pub(crate) type Problems = Vec<String>;

/// One body while it is read.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    body: &'a Object,
    problems: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Begins to read `body`.
    pub(crate) fn of(body: &'a Object) -> Self {
        Self { body, problems: Vec::new() }
    }

    /// A string that must be there and pass `rule`.
    pub(crate) fn required<T>(&mut self, name: &str, rule: impl Fn(&str) -> Result<T, Problems>) -> Option<T> {
        match self.body.get(name) {
            None | Some(Value::Null) => self.note(name, Err(vec!["is required".to_owned()])),
            Some(value) => self.text(name, value, rule),
        }
    }

    /// A string that passes `rule`, when there is one. `null` is none.
    pub(crate) fn optional<T>(&mut self, name: &str, rule: impl Fn(&str) -> Result<T, Problems>) -> Option<T> {
        match self.body.get(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.text(name, value, rule),
        }
    }

    /// An object, when there is one. `null` is none.
    pub(crate) fn optional_object(&mut self, name: &str) -> Option<Object> {
        match self.body.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object.clone()),
            Some(_) => self.note(name, Err(vec!["must be an object".to_owned()])),
        }
    }

    /// A value as it came.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.body.get(name)
    }

    /// An object that must be there.
    pub(crate) fn required_object(&mut self, name: &str) -> Option<Object> {
        match self.body.get(name) {
            None | Some(Value::Null) => self.note(name, Err(vec!["is required".to_owned()])),
            Some(_) => self.optional_object(name),
        }
    }

    /// Yes or no, when it is there. Queries say it in words.
    pub(crate) fn optional_bool(&mut self, name: &str) -> Option<bool> {
        match self.body.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(value)) => Some(*value),
            Some(Value::String(text)) if text == "true" => Some(true),
            Some(Value::String(text)) if text == "false" => Some(false),
            Some(_) => self.note(name, Err(vec!["must be a boolean".to_owned()])),
        }
    }

    /// A whole number, when there is one.
    pub(crate) fn optional_integer(&mut self, name: &str) -> Option<i64> {
        match self.body.get(name) {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_i64() {
                Some(number) => Some(number),
                None => self.note(name, Err(vec!["must be an integer number".to_owned()])),
            },
        }
    }

    /// Notes the problems of a value within this one.
    pub(crate) fn adopt(&mut self, inner: Fields<'_>) {
        self.problems.extend(inner.problems);
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn are_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// Everything that is wrong.
    pub(crate) fn into_error(self) -> Error {
        Error::Validation(self.problems)
    }

    fn text<T>(&mut self, name: &str, value: &Value, rule: impl Fn(&str) -> Result<T, Problems>) -> Option<T> {
        match value {
            Value::String(text) => self.note(name, rule(text)),
            _ => self.note(name, Err(vec!["must be a string".to_owned()])),
        }
    }

    fn note<T>(&mut self, name: &str, result: Result<T, Problems>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                let named = problems.into_iter().map(|problem| FieldError::new(name, format!("{name} {problem}")));
                self.problems.extend(named);
                None
            }
        }
    }
}
