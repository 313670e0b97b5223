//! What the raw head of a request tells that a parsed one hides.

use memchr::{memchr, memchr_iter};

/// Why a head is refused: two readers could see two requests in it (RFC 9112, section 6.3), or it
/// holds a fragment, which a parser drops and a router upstream may not.
#[must_use]
pub fn ambiguity(raw: &[u8]) -> Option<&'static str> {
    let target = memchr(b'\n', raw).map_or(raw, |end| &raw[..end]);
    if memchr(b'#', target).is_some() {
        return Some("a request target has no fragment");
    }
    let (mut lengths, mut encodings) = (0, 0);
    for end in memchr_iter(b'\n', raw) {
        let line = &raw[end + 1..];
        lengths += usize::from(is_named(line, b"content-length"));
        encodings += usize::from(is_named(line, b"transfer-encoding"));
    }
    match (lengths, encodings) {
        (0 | 1, 0) | (0, 1) => None,
        (_, 0) => Some("the request has more than one Content-Length"),
        _ => Some("the request has more than one way to find its end"),
    }
}

/// Whether a line begins with this field name.
fn is_named(line: &[u8], name: &[u8]) -> bool {
    let (Some(found), after) = (line.get(..name.len()), line.get(name.len())) else { return false };
    matches!(after, None | Some(b':' | b' ' | b'\t' | b'\r')) && found.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_with_two_readings_are_refused() {
        let cases: [(&[u8], bool); 6] = [
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (b"GET /a#b HTTP/1.1\r\n\r\n", true),
        ];
        for (raw, refused) in cases {
            assert_eq!(ambiguity(raw).is_some(), refused, "{}", String::from_utf8_lossy(raw));
        }
    }
}
