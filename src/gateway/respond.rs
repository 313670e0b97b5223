//! The gateway's own answers.

use bytes::Bytes;
use serde_json::json;

use crate::domain::clock::Time;

/// A whole HTTP/1.1 answer for a client whose request could not even be parsed. The connection closes after it.
#[must_use]
pub fn raw(status: u16, now: Time) -> Bytes {
    let (reason, code, message) = match status {
        405 => ("Method Not Allowed", "METHOD_NOT_ALLOWED", "method not allowed"),
        408 => ("Request Timeout", "REQUEST_TIMEOUT", "the request did not arrive in time"),
        431 => ("Request Header Fields Too Large", "HEADER_TOO_LARGE", "the request header is too large"),
        _ => ("Bad Request", "BAD_REQUEST", "the request cannot be parsed"),
    };
    let status = if reason == "Bad Request" { 400 } else { status };
    let body =
        json!({"statusCode": status, "code": code, "message": message, "timestamp": now.to_string(), "path": ""});
    let body = body.to_string();
    Bytes::from(format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Nauth-Intercepted: 1\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}
