//! The gateway's own answers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::domain::clock::Time;

/// Marks what nauth said itself: an app's own 401 is another one.
pub const INTERCEPTED: HeaderName = HeaderName::from_static("x-nauth-intercepted");
/// Names a request in logs, answers and towards upstreams.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The way to another page.
#[must_use]
pub fn redirect(location: &str, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    marked(response, request_id)
}

/// The way to the same thing by https. Whatever was asked is asked again there, body and all.
#[must_use]
pub fn to_https(location: &str, request_id: &str) -> Response<Bytes> {
    let mut response = redirect(location, request_id);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response
}

/// Nothing but a head.
#[must_use]
pub fn no_content(headers: Vec<(HeaderName, HeaderValue)>, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().extend(headers);
    marked(response, request_id)
}

/// Plain text, in place of an upstream's answer: not marked.
#[must_use]
pub fn text(body: String, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// An answer marked as the gateway's own.
#[must_use]
pub fn marked(mut response: Response<Bytes>, request_id: &str) -> Response<Bytes> {
    response.headers_mut().insert(INTERCEPTED, HeaderValue::from_static("1"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A whole HTTP/1.1 answer for a client whose request could not even be parsed. The connection closes after it.
#[must_use]
pub fn raw(status: u16, request_id: &str, now: Time) -> Bytes {
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
         Cache-Control: no-store\r\nX-Nauth-Intercepted: 1\r\nX-Request-Id: {request_id}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nauth_says_itself_is_marked() {
        let now = Time::from_secs(1);
        let answers = [
            redirect("/auth/ui/login", "id"),
            to_https("https://app.example.com/", "id"),
            no_content(Vec::new(), "id"),
        ];
        for answer in answers {
            assert_eq!(answer.headers()[INTERCEPTED], "1", "{}", answer.status());
        }
        for status in [400, 405, 408, 431] {
            let raw = String::from_utf8(raw(status, "one", now).to_vec()).unwrap();
            assert!(raw.contains("\r\nX-Nauth-Intercepted: 1\r\n"), "{raw}");
        }
        assert!(!text("an upstream's".to_owned(), "id").headers().contains_key(INTERCEPTED));
    }
}
