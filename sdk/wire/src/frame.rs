//! Cutting a byte stream into frames (protocol section 1).
//!
//! What this file is for: [`FrameDecoder`] collects bytes as they arrive and hands out one line at a
//! time. What it deliberately does not do: look inside a line; [`crate::message`] does that.
//!
//! What always holds: at most the limit plus one read is buffered; each byte is searched for a line
//! end once; the frames are the same for any split of the bytes; after an error nothing comes out.

use crate::error::ErrorCode;
use crate::memory::{may_be_copied, reserve};
use std::fmt;

/// Why a byte stream cannot be cut into frames any further. Final for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// More bytes than allowed without a line end: the limit that was in force. Bytes.
    TooLong {
        /// The largest frame allowed, line end not counted.
        frame_bytes_max: usize,
    },
    /// The stream ended inside a frame.
    Truncated {
        /// Bytes of the frame that did arrive.
        bytes: usize,
    },
    /// There is no memory for a frame of so many bytes, or to make something of it.
    NoMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
}

impl FrameError {
    /// The code by which a peer is told.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            FrameError::Truncated { .. } => ErrorCode::ParseError,
            FrameError::NoMemory { .. } => ErrorCode::Overloaded,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { frame_bytes_max } => {
                write!(f, "a frame is longer than the {frame_bytes_max} bytes allowed")
            }
            FrameError::Truncated { bytes } => {
                write!(f, "the stream ended {bytes} bytes into a frame, before its line end")
            }
            FrameError::NoMemory { bytes } => write!(f, "there is no memory for {bytes} bytes of a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Buffers that grew past this are given back once they are empty and little of them is used. Bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// Little: less than this part of the buffer. What is used this much would only be made again.
const KEPT_PART: usize = 4;

/// Whether a buffer that has become empty is to be given back: it is larger than `kept_bytes_max`, and less than a
/// quarter of it was used. The rule for all buffers that hold frames. Bytes.
#[must_use]
pub fn is_oversized(capacity: usize, used: usize, kept_bytes_max: usize) -> bool {
    used < capacity / KEPT_PART && capacity > kept_bytes_max
}

/// Collects bytes and yields frames. See the module's invariants.
#[derive(Debug)]
pub struct FrameDecoder {
    /// `buffer[start..end]` is received and not yet handed out; the rest is scratch space.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// `buffer[start..scanned]` is known to hold no line end.
    scanned: usize,
    frame_bytes_max: usize,
    failed: Option<FrameError>,
    /// Whether the buffer is somebody else's.
    lent: bool,
    /// The highest `end` since the buffer was lent.
    used: usize,
}

impl FrameDecoder {
    /// A decoder for frames of at most `frame_bytes_max` bytes, line end not counted.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> FrameDecoder {
        FrameDecoder {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            scanned: 0,
            frame_bytes_max,
            failed: None,
            lent: false,
            used: 0,
        }
    }

    /// Changes the limit, from the next frame on.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Room to read `read_bytes` more bytes into; follow with [`FrameDecoder::filled`].
    pub fn space(&mut self, read_bytes: usize) -> &mut [u8] {
        // What still arrives after an error is dropped, or it would pile up.
        if self.start == self.end || self.failed.is_some() {
            let unused = !self.lent && self.is_unused(self.end, KEPT_BYTES_MAX.max(read_bytes));
            (self.start, self.end, self.scanned) = (0, 0, 0);
            if unused {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.end < read_bytes && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        let needed = self.end + read_bytes;
        if self.buffer.len() < needed {
            // Doubling keeps the copying of a long frame linear; the limit keeps the doubling in hand.
            let doubled = (self.buffer.len() * 2).min(self.frame_bytes_max.saturating_add(read_bytes));
            if !self.grow(needed.max(doubled)) && !self.grow(needed) {
                self.fail(FrameError::NoMemory { bytes: needed });
                // What was there is free now; without even this the reader has no room, and finds the error.
                self.grow(read_bytes);
                return &mut self.buffer;
            }
        }
        self.buffer.get_mut(self.end..needed).unwrap_or_default()
    }

    /// Makes the buffer so long, if there is memory for it.
    fn grow(&mut self, len: usize) -> bool {
        let more = len.saturating_sub(self.buffer.len());
        let is_there = reserve(&mut self.buffer, more);
        if is_there {
            self.buffer.resize(len, 0);
        }
        is_there
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.failed = Some(error);
        self.buffer = Vec::new();
        (self.start, self.end, self.scanned) = (0, 0, 0);
        error
    }

    /// Whether the buffer is large, and a use up to `end` would have done with much less.
    fn is_unused(&self, end: usize, kept_bytes_max: usize) -> bool {
        is_oversized(self.buffer.len(), end, kept_bytes_max)
    }

    /// Uses `buffer` from now on, unless part of a frame waits in a buffer of its own. For who has many
    /// decoders and reads from one at a time: between [`FrameDecoder::lend`] and
    /// [`FrameDecoder::give_back`] all use the same memory, and one that has nothing holds none.
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.start == self.end && !self.lent {
            (self.start, self.end, self.scanned, self.used) = (0, 0, 0, 0);
            if self.buffer.len() > buffer.len() {
                // A long frame made this one, and more may come: it is the common one from now on.
                *buffer = Vec::new();
            } else {
                std::mem::swap(&mut self.buffer, buffer);
            }
            self.lent = true;
        }
    }

    /// Gives a lent buffer back, and keeps what is not a whole frame yet: a short piece copied, a long one
    /// with the buffer that it is in.
    pub fn give_back(&mut self, buffer: &mut Vec<u8>) {
        if !self.lent {
            return;
        }
        self.lent = false;
        if self.end - self.start >= KEPT_BYTES_MAX {
            return;
        }
        let rest = self.buffer.get(self.start..self.end).unwrap_or_default().to_vec();
        if self.is_unused(self.used, KEPT_BYTES_MAX * KEPT_PART) {
            self.buffer = Vec::new();
        }
        *buffer = std::mem::replace(&mut self.buffer, rest);
        self.scanned -= self.start;
        self.end -= self.start;
        self.start = 0;
    }

    /// Says how many bytes of the last [`FrameDecoder::space`] were filled. More than it gave count
    /// as all that it gave.
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
        self.used = self.used.max(self.end);
    }

    /// Copies `bytes` in: [`FrameDecoder::space`] and [`FrameDecoder::filled`] in one.
    pub fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// The next whole frame, without its line end; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] as soon as more bytes than the limit are there without a line end;
    /// [`FrameError::NoMemory`] where no memory was left for the frame, or is for copies of it.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let unscanned = self.buffer.get(self.scanned..self.end).unwrap_or_default();
        let line_end = memchr::memchr(b'\n', unscanned).map(|at| self.scanned + at);
        let frame_end = line_end.unwrap_or(self.end);
        if frame_end - self.start > self.frame_bytes_max {
            return Err(self.fail(FrameError::TooLong { frame_bytes_max: self.frame_bytes_max }));
        }
        let bytes = frame_end - self.start;
        if line_end.is_some() && !may_be_copied(bytes) {
            return Err(self.fail(FrameError::NoMemory { bytes }));
        }
        match line_end {
            None => {
                self.scanned = self.end;
                Ok(None)
            }
            Some(at) => {
                let frame = self.buffer.get(self.start..at);
                self.start = at + 1;
                self.scanned = self.start;
                Ok(frame)
            }
        }
    }

    /// Bytes received and not yet handed out.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Whether the stream may end here, once [`FrameDecoder::next_frame`] has nothing more.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] inside a frame, or the error that ended the decoder before.
    pub fn finish(&self) -> Result<(), FrameError> {
        match (self.failed, self.buffered_bytes()) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(()),
            (None, bytes) => Err(FrameError::Truncated { bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut FrameDecoder) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame.to_vec());
        }
        Ok(frames)
    }

    #[test]
    fn every_split_yields_the_same_frames() {
        let bytes = b"{}\n{\"a\":1}\n\n{\"long\":\"xxxxxxxxxxxxxxxx\"}\n";
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut decoder = FrameDecoder::new(64);
                let mut frames = Vec::new();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    decoder.push(part);
                    frames.extend(all(&mut decoder).unwrap());
                }
                let expected: Vec<Vec<u8>> =
                    bytes[..bytes.len() - 1].split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                assert_eq!(frames, expected, "split at {first} and {second}");
                decoder.finish().unwrap();
            }
        }
    }

    #[test]
    fn with_a_lent_buffer_the_frames_are_the_same_and_nothing_is_kept() {
        let bytes = b"{}\n{\"a\":1}\n\n{\"long\":\"xxxxxxxxxxxxxxxx\"}\n";
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let (mut decoder, mut lent) = (FrameDecoder::new(64), vec![0; 16]);
                let mut frames = Vec::new();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    decoder.lend(&mut lent);
                    decoder.lend(&mut lent);
                    decoder.push(part);
                    frames.extend(all(&mut decoder).unwrap());
                    decoder.give_back(&mut lent);
                    decoder.give_back(&mut lent);
                    assert!(decoder.buffer.len() <= 64 + part.len());
                }
                let expected: Vec<Vec<u8>> =
                    bytes[..bytes.len() - 1].split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                assert_eq!(frames, expected, "split at {first} and {second}");
                decoder.lend(&mut lent);
                decoder.give_back(&mut lent);
                assert_eq!(decoder.buffer.capacity(), 0, "nothing waits, so nothing is kept");
                assert!(lent.len() >= 16);
            }
        }
    }

    #[test]
    fn a_long_frame_keeps_the_lent_buffer_and_gives_it_back_whole() {
        let (mut decoder, mut lent) = (FrameDecoder::new(1 << 22), Vec::new());
        let long = vec![b'x'; 1 << 20];
        for _ in 0..3 {
            for piece in long.chunks(100_000) {
                decoder.lend(&mut lent);
                decoder.push(piece);
                assert_eq!(decoder.next_frame(), Ok(None));
                decoder.give_back(&mut lent);
            }
            assert!(lent.is_empty(), "the frame has it");
            decoder.push(b"\n");
            assert_eq!(decoder.next_frame().unwrap().map(<[u8]>::len), Some(1 << 20));
            decoder.lend(&mut lent);
            decoder.push(b"{}\n");
            assert_eq!(decoder.next_frame().unwrap(), Some(&b"{}"[..]));
            decoder.give_back(&mut lent);
            assert_eq!(decoder.buffer.capacity(), 0);
            assert!(lent.is_empty(), "little of it was used");
        }
    }

    #[test]
    fn the_limit_holds_while_bytes_arrive() {
        let mut decoder = FrameDecoder::new(10);
        decoder.push(b"0123456789\n");
        assert_eq!(decoder.next_frame().unwrap(), Some(&b"0123456789"[..]));
        decoder.push(b"0123456789");
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.push(b"x");
        let error = FrameError::TooLong { frame_bytes_max: 10 };
        assert_eq!(decoder.next_frame(), Err(error));
        decoder.push(b"\n{}\n");
        assert_eq!(decoder.next_frame(), Err(error), "an error is final");
        assert_eq!(decoder.finish(), Err(error));
    }

    #[test]
    fn the_limit_holds_for_a_frame_that_arrives_whole() {
        let mut decoder = FrameDecoder::new(4);
        decoder.push(b"ok\n12345\n");
        assert_eq!(decoder.next_frame().unwrap(), Some(&b"ok"[..]));
        assert!(decoder.next_frame().is_err());
    }

    #[test]
    fn the_buffer_never_exceeds_the_limit_plus_one_read() {
        let mut decoder = FrameDecoder::new(1 << 20);
        loop {
            let space = decoder.space(4096);
            space.fill(b'x');
            decoder.filled(4096);
            let result = decoder.next_frame().map(|_| ());
            assert!(decoder.buffer.len() <= (1 << 20) + 4096);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    #[test]
    fn what_arrives_after_an_error_does_not_pile_up() {
        let mut decoder = FrameDecoder::new(10);
        for _ in 0..100 {
            decoder.push(&[b'x'; 64]);
            assert!(decoder.next_frame().is_err());
            assert!(decoder.buffered_bytes() <= 64, "{}", decoder.buffered_bytes());
        }
    }

    #[test]
    fn a_long_frame_is_given_back_after_use() {
        let mut decoder = FrameDecoder::new(1 << 22);
        decoder.push(&vec![b'x'; 1 << 21]);
        decoder.push(b"\n");
        assert_eq!(decoder.next_frame().unwrap().map(<[u8]>::len), Some(1 << 21));
        for _ in 0..2 {
            decoder.push(b"{}\n");
            assert_eq!(decoder.next_frame().unwrap(), Some(&b"{}"[..]));
        }
        assert!(decoder.buffer.len() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_truncated() {
        let mut decoder = FrameDecoder::new(64);
        decoder.push(b"{}\n{\"a\"");
        assert_eq!(all(&mut decoder).unwrap().len(), 1);
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { bytes: 4 }));
    }
}
