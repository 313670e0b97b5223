//! The frames a client sends on HTTP/2, by their outlines.
//!
//! The `h2` crate waits for the rest of a header block as long as it takes, and answers every PING.
//! Here it is seen that a block has begun and not ended, so that it can have a deadline like any
//! head, and how many frames there are that ask for nothing.

/// What comes before the first frame.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the bytes of a connection.
#[derive(Debug)]
pub(super) struct ReceivedFrames {
    head: [u8; FRAME_HEAD],
    known: usize,
    /// Bytes to pass over: of the preface, then of each frame's payload.
    passing: usize,
    /// A header block has begun, and its end has not been announced.
    block: bool,
    /// The payload that is passing belongs to a header block.
    of_block: bool,
    idle_frames: u32,
}

impl ReceivedFrames {
    pub(super) fn new() -> Self {
        Self { head: [0; FRAME_HEAD], known: 0, passing: PREFACE.len(), block: false, of_block: false, idle_frames: 0 }
    }

    /// Takes note of what was received.
    pub(super) fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let passed = self.passing.min(bytes.len());
                self.passing -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let wanted = (FRAME_HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + wanted].copy_from_slice(&bytes[..wanted]);
            self.known += wanted;
            bytes = &bytes[wanted..];
            if self.known == FRAME_HEAD {
                self.frame();
            }
        }
    }

    /// Whether a header block is on its way.
    pub(super) fn in_block(&self) -> bool {
        self.block || (self.of_block && self.passing > 0)
    }

    /// The frames since the last time that neither ask for anything nor belong to what was asked for.
    pub(super) fn take_idle_frames(&mut self) -> u32 {
        std::mem::take(&mut self.idle_frames)
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.known = 0;
        self.passing = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.of_block = matches!(kind, HEADERS | CONTINUATION);
        if self.of_block {
            self.block = flags & END_HEADERS == 0;
        }
        if matches!(kind, PRIORITY | SETTINGS | PING) {
            self.idle_frames = self.idle_frames.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn after(bytes: &[u8], pieces: usize) -> ReceivedFrames {
        let mut frames = ReceivedFrames::new();
        frames.received(PREFACE);
        bytes.chunks(pieces).for_each(|piece| frames.received(piece));
        frames
    }

    #[test]
    fn a_header_block_is_open_until_its_last_byte() {
        let whole = frame(HEADERS, END_HEADERS, b"abc");
        let half = [frame(HEADERS, 0, b"abc"), frame(CONTINUATION, 0, b"d")].concat();
        let ended = [half.clone(), frame(CONTINUATION, END_HEADERS, b"e")].concat();
        let cases = [
            (whole.clone(), false),
            (whole[..whole.len() - 1].to_vec(), true),
            (half, true),
            (ended, false),
            (frame(0, 0, b"body"), false),
            (frame(0, 0, b"body")[..10].to_vec(), false),
        ];
        for (bytes, open) in cases {
            for pieces in 1..20 {
                assert_eq!(after(&bytes, pieces).in_block(), open, "{bytes:?} in pieces of {pieces}");
            }
        }
    }

    #[test]
    fn frames_that_ask_for_nothing_are_counted() {
        let bytes = [frame(PING, 0, &[0; 8]), frame(SETTINGS, 0, &[]), frame(HEADERS, 4, b"x"), frame(0, 0, b"y")];
        let mut frames = after(&bytes.concat(), 5);

        assert_eq!(frames.take_idle_frames(), 2);
        assert_eq!(frames.take_idle_frames(), 0);
    }
}
