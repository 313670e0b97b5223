//! Where a request head ends.
//!
//! nauth waits for the whole head before it hands a request to pingora: so a head has one
//! deadline and one exact limit, and a slow one costs a few bytes instead of a request's memory.

use memchr::memchr;

/// Looks for the empty line that ends a head, going on where it stopped.
#[derive(Debug, Default)]
pub struct HeadScanner {
    scanned: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The head is not complete.
    Partial,
    /// The head takes this many bytes, the empty line included.
    Complete(usize),
    /// A line ends without a carriage return. Parsers disagree about those, so nobody gets to see one.
    BareLineFeed,
}

impl HeadScanner {
    /// Looks at everything received of this head. `received` only grows between calls.
    pub fn scan(&mut self, received: &[u8]) -> Scan {
        while let Some(found) = memchr(b'\n', &received[self.scanned..]) {
            let at = self.scanned + found;
            self.scanned = at + 1;
            if at == 0 || received[at - 1] != b'\r' {
                return Scan::BareLineFeed;
            }
            if at >= 3 && received[at - 3..at] == *b"\r\n\r" {
                return Scan::Complete(at + 1);
            }
        }
        self.scanned = received.len();
        Scan::Partial
    }
}

/// How many bytes of empty lines stand before a request line; they are ignored (RFC 9112, section 2.2).
#[must_use]
pub fn leading_empty_lines(received: &[u8]) -> usize {
    received.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        let cases: [(&[u8], Scan); 7] = [
            (b"", Scan::Partial),
            (b"GET / HTTP/1.1\r\n", Scan::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Scan::Partial),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Scan::Complete(27)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", Scan::Complete(27)),
            (b"GET / HTTP/1.1\nHost: a\n\n", Scan::BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Scan::BareLineFeed),
        ];
        for (received, found) in cases {
            assert_eq!(HeadScanner::default().scan(received), found, "{:?}", received.escape_ascii().to_string());

            let mut slow = HeadScanner::default();
            let last = (0..=received.len()).map(|end| slow.scan(&received[..end])).find(|scan| *scan != Scan::Partial);
            assert_eq!(last.unwrap_or(Scan::Partial), found);
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_counted() {
        assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
        assert_eq!(leading_empty_lines(b"\rGET"), 0);
    }
}
