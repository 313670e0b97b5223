//! Refusals as gRPC clients read them.
//!
//! To them an HTTP status says next to nothing: the answer is 200, and what happened stands in
//! `grpc-status`. There is no body, so the head is all of it ("Trailers-Only" of the protocol).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What a message may not hold as it is; beyond ASCII nothing may.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is a gRPC call, gRPC-Web among them.
#[must_use]
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc".as_slice());
    rest.is_some_and(|rest| rest.is_empty() || b"+-;".contains(&rest[0]))
}

/// What would have been refused with `status`. `kind` is the type of the request.
#[must_use]
pub fn refusal(status: StatusCode, message: &str, kind: Option<&HeaderValue>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    let kind = kind.cloned().unwrap_or(HeaderValue::from_static("application/grpc"));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(STATUS, HeaderValue::from(code(status)));
    let message = percent_encode(message.as_bytes(), ESCAPED).to_string();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert(MESSAGE, message);
    }
    response
}

/// The status codes of gRPC that say the same.
fn code(status: StatusCode) -> u16 {
    match status.as_u16() {
        // INVALID_ARGUMENT
        400 | 415 | 421 => 3,
        // DEADLINE_EXCEEDED
        408 | 504 => 4,
        // PERMISSION_DENIED
        403 => 7,
        // RESOURCE_EXHAUSTED
        413 | 429 | 431 => 8,
        // UNIMPLEMENTED: no such service, or no such way of calling it
        404 | 405 => 12,
        // INTERNAL
        500 => 13,
        // UNAVAILABLE
        502 | 503 => 14,
        // UNAUTHENTICATED
        401 => 16,
        // UNKNOWN
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_type() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web-text", true),
            ("application/grpc;charset=x", true),
            ("application/grpcs", false),
            ("application/json", false),
            ("", false),
        ];
        for (kind, expected) in cases {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_call(&headers), expected, "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn a_refusal_is_a_head_with_a_status_and_a_message() {
        let kind = HeaderValue::from_static("application/grpc+proto");

        let refused = refusal(StatusCode::UNAUTHORIZED, "100 % of “it”\nmore", Some(&kind));

        assert_eq!((refused.status(), refused.body().len()), (StatusCode::OK, 0));
        assert_eq!(refused.headers()[header::CONTENT_TYPE], kind);
        assert_eq!(refused.headers()[STATUS], "16");
        assert_eq!(refused.headers()[MESSAGE], "100 %25 of %E2%80%9Cit%E2%80%9D%0Amore");
    }

    #[test]
    fn every_refusal_has_its_code() {
        let cases = [(401, 16), (403, 7), (404, 12), (405, 12), (413, 8), (429, 8), (502, 14), (503, 14), (504, 4)];
        for (status, expected) in cases {
            assert_eq!(code(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
