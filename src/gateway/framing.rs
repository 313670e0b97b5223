//! What the raw head of a request tells that a parsed one hides.

/// Why a head is refused: two readers could see two requests in it (RFC 9112, section 6.3), or it
/// holds a fragment, which a parser drops and a router upstream may not.
#[must_use]
pub fn ambiguity(raw: &[u8]) -> Option<&'static str> {
    let mut lines = raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if lines.next().is_some_and(|line| line.contains(&b'#')) {
        return Some("a request target has no fragment");
    }
    let (mut lengths, mut encodings) = (0, 0);
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or(line);
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        encodings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    match (lengths, encodings) {
        (0 | 1, 0) | (0, 1) => None,
        (_, 0) => Some("the request has more than one Content-Length"),
        _ => Some("the request has more than one way to find its end"),
    }
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
