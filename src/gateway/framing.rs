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
        if is_named(line, b"content-length") {
            lengths += 1;
            if !value_of(line).iter().all(u8::is_ascii_digit) {
                return Some("Content-Length is not a number");
            }
        } else if is_named(line, b"transfer-encoding") {
            encodings += 1;
            // Of other codings, and of one applied twice, an upstream may know more or less than we do.
            if !value_of(line).eq_ignore_ascii_case(b"chunked") {
                return Some("the only Transfer-Encoding is chunked");
            }
        }
    }
    match (lengths, encodings) {
        (0 | 1, 0) | (0, 1) => None,
        (_, 0) => Some("the request has more than one Content-Length"),
        _ => Some("the request has more than one way to find its end"),
    }
}

/// What stands between the colon and the end of the line.
fn value_of(line: &[u8]) -> &[u8] {
    let line = &line[..memchr(b'\n', line).unwrap_or(line.len())];
    memchr(b':', line).map_or(b"".as_slice(), |colon| line[colon + 1..].trim_ascii())
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
        let cases: [(&[u8], bool); 11] = [
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (b"GET /a#b HTTP/1.1\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding:Chunked \r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\n", true),
            (b"POST / HTTP/1.1\r\nContent-Length:\t2 \r\n\r\n", false),
        ];
        for (raw, refused) in cases {
            assert_eq!(ambiguity(raw).is_some(), refused, "{}", String::from_utf8_lossy(raw));
        }
    }
}
