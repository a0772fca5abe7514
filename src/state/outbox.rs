//! Bytes on their way to a peer: whole frames in order, written as far as the peer takes them.
//!
//! What it deliberately does not do: write; the event loop does. What always holds: the offset of a
//! frame tells, at any later time, whether a byte of it has been handed to the kernel.

/// Capacity above this is given back when the outbox runs empty. Bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// `bytes[..written]` is with the kernel already.
    written: usize,
    /// Bytes written and dropped from `bytes` since the beginning.
    dropped: u64,
}

impl Outbox {
    /// Bytes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0
    }

    /// Where the next frame will begin, counted from the first byte ever put in.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.dropped + self.bytes.len() as u64
    }

    /// Whether a byte of the frame that began at `offset` has been written.
    #[must_use]
    pub fn has_begun(&self, offset: u64) -> bool {
        offset < self.dropped + self.written as u64
    }

    /// The buffer to append whole frames to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        // Moving the rest to the front only when at least half is free keeps the cost per byte constant.
        if self.written > 0 && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.dropped += self.written as u64;
            self.written = 0;
        }
        &mut self.bytes
    }

    /// Says that the first `bytes` of [`Outbox::waiting`] were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.bytes.len());
        if self.written == self.bytes.len() {
            self.dropped += self.written as u64;
            self.written = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_tell_what_has_begun() {
        let mut outbox = Outbox::default();
        let first = outbox.next_offset();
        outbox.buffer().extend_from_slice(b"first\n");
        let second = outbox.next_offset();
        outbox.buffer().extend_from_slice(b"second\n");
        assert!(!outbox.has_begun(first));
        outbox.wrote(1);
        assert!(outbox.has_begun(first) && !outbox.has_begun(second));
        outbox.wrote(5);
        assert!(!outbox.has_begun(second), "the first is whole, the second has not begun");
        outbox.buffer().extend_from_slice(b"third\n");
        assert_eq!(outbox.waiting(), b"second\nthird\n");
        outbox.wrote(100);
        assert!(outbox.is_empty() && outbox.has_begun(second));
        assert_eq!(outbox.next_offset(), 19);
    }
}
