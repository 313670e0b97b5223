//! Bodies of requests: JSON objects, or nothing.
//!
//! Only `application/json` is taken: a foreign page can send every other type without a preflight.

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

use crate::domain::error::Error;

/// A JSON object as it came.
pub type Object = serde_json::Map<String, Value>;

/// Reads a body. An empty one is `{}`, whatever type it claims.
///
/// # Errors
/// [`Error::UnsupportedMediaType`], or [`Error::InvalidInput`] for what is not one JSON object.
pub fn object(headers: &HeaderMap, body: &Bytes) -> Result<Object, Error> {
    if body.is_empty() {
        return Ok(Object::new());
    }
    if !is_json(headers) {
        return Err(Error::UnsupportedMediaType);
    }
    // serde_json bounds the depth (128) by itself; the size is bounded where the body is read.
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => {
            Err(Error::InvalidInput("Invalid input: expected an object, received a primitive or array".to_owned()))
        }
        Err(problem) => {
            Err(Error::InvalidInput(format!("Malformed JSON at line {}, column {}", problem.line(), problem.column())))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: Option<&str>, body: &str) -> Result<Object, String> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        object(&headers, &Bytes::copy_from_slice(body.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_body_is_a_json_object_or_empty() {
        const JSON: Option<&str> = Some("application/json");
        let not_an_object = Err("Invalid input: expected an object, received a primitive or array");
        let deep = "[".repeat(200);
        let cases = [
            (JSON, r#"{"a":1}"#, Ok(1)),
            (Some("Application/JSON; charset=utf-8"), r#"{"a":1}"#, Ok(1)),
            (JSON, "", Ok(0)),
            (None, "", Ok(0)),
            (None, "{}", Err("send application/json")),
            (Some("text/plain"), "{}", Err("send application/json")),
            (Some("application/x-www-form-urlencoded"), "a=1", Err("send application/json")),
            (JSON, "[]", not_an_object),
            (JSON, "1", not_an_object),
            (JSON, "null", not_an_object),
            (JSON, "{", Err("Malformed JSON at line 1, column 1")),
            (JSON, &deep, Err("Malformed JSON at line 1, column 128")),
            (JSON, r#"{"a":1,"a":2}"#, Ok(1)),
        ];
        for (content_type, body, expected) in cases {
            let found = read(content_type, body).map(|object| object.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{content_type:?} {body}");
        }
    }
}
