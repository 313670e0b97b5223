//! Where one WebSocket frame ends and the next begins, in the bytes nauth writes to a client.
//!
//! A close frame may only stand between two frames (RFC 6455, section 5.4): in the middle of one
//! it would be read as payload. So every written byte is counted, from the end of the 101 head
//! on. The upstream's framing is trusted: a wrong length loses the close frame, nothing else.

/// The close codes nauth sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The server is going away (1001).
    GoingAway,
    /// The connection broke a rule, such as a deadline (1008).
    Policy,
    /// The session has ended (4401, from the range for applications).
    SessionEnded,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::Policy => 1008,
            Self::SessionEnded => 4401,
        }
    }

    /// The words on the wire.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away",
            Self::Policy => "policy violation",
            Self::SessionEnded => "session ended",
        }
    }

    /// A whole close frame, unmasked as servers send it.
    #[must_use]
    pub fn frame(self) -> Vec<u8> {
        let reason = self.reason().as_bytes();
        let length = u8::try_from(reason.len() + 2).expect("reasons are short");
        let mut frame = vec![0x88, length];
        frame.extend_from_slice(&self.number().to_be_bytes());
        frame.extend_from_slice(reason);
        frame
    }
}

/// Counts written bytes: first the 101 head, then frames.
#[derive(Debug, Default)]
pub struct Frames {
    at: Place,
}

#[derive(Debug)]
enum Place {
    /// In the head of the 101; so many bytes of its final CR LF CR LF were seen.
    Head(u8),
    /// In a frame's header, of which this much was seen.
    Header { seen: [u8; 10], length: usize },
    /// In a frame's payload, with this much to come.
    Payload(u64),
}

impl Default for Place {
    fn default() -> Self {
        Self::Head(0)
    }
}

const BETWEEN: Place = Place::Header { seen: [0; 10], length: 0 };

impl Frames {
    /// Takes note of bytes that were written.
    pub fn wrote(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.at {
                Place::Head(matched) => {
                    *matched = head_end(*matched, first);
                    if *matched == 4 {
                        self.at = BETWEEN;
                    }
                    bytes = rest;
                }
                Place::Header { seen, length } => {
                    seen[*length] = first;
                    *length += 1;
                    if let Some(payload) = payload_length(&seen[..*length]) {
                        self.at = if payload == 0 { BETWEEN } else { Place::Payload(payload) };
                    }
                    bytes = rest;
                }
                Place::Payload(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.at = BETWEEN;
                    }
                    bytes = &bytes[taken..];
                }
            }
        }
    }

    /// Whether a frame of ours may follow what was written.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        matches!(self.at, Place::Header { length: 0, .. })
    }
}

/// How many bytes of CR LF CR LF are matched once `byte` has followed `matched` of them.
fn head_end(matched: u8, byte: u8) -> u8 {
    match (matched, byte) {
        (0 | 2, b'\r') | (1 | 3, b'\n') => matched + 1,
        (_, b'\r') => 1,
        _ => 0,
    }
}

/// The payload length, once the header says it. Server frames carry no mask.
fn payload_length(header: &[u8]) -> Option<u64> {
    let [_, second, extended @ ..] = header else { return None };
    match second & 0x7f {
        126 => Some(u16::from_be_bytes(extended.try_into().ok()?).into()),
        127 => Some(u64::from_be_bytes(extended.try_into().ok()?)),
        short => Some(short.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> bool {
        let mut at_once = Frames::default();
        at_once.wrote(b"HTTP/1.1 101 x\r\na: b\r\n\r\n");
        at_once.wrote(bytes);
        let mut byte_by_byte = Frames::default();
        for byte in b"HTTP/1.1 101 x\r\na: b\r\n\r\n".iter().chain(bytes) {
            byte_by_byte.wrote(std::slice::from_ref(byte));
        }
        assert_eq!(at_once.at_boundary(), byte_by_byte.at_boundary());
        at_once.at_boundary()
    }

    #[test]
    fn a_boundary_is_after_a_whole_frame_only() {
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let huge = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![7; 65536]].concat();
        let cases: [(&[u8], bool); 9] = [
            (b"", true),
            (b"\x81", false),
            (b"\x81\x02h", false),
            (b"\x81\x02hi", true),
            (b"\x81\x02hi\x89\x00", true),
            (&long, true),
            (&long[..100], false),
            (&huge, true),
            (&huge[..65545], false),
        ];
        for (bytes, boundary) in cases {
            assert_eq!(after(bytes), boundary, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn nothing_is_a_boundary_inside_the_head() {
        let mut frames = Frames::default();
        frames.wrote(b"HTTP/1.1 101 x\r\na: b\r\n\r");

        assert!(!frames.at_boundary());
    }

    #[test]
    fn a_close_frame_names_its_code() {
        assert_eq!(CloseCode::SessionEnded.frame(), b"\x88\x0f\x11\x31session ended");
    }
}
