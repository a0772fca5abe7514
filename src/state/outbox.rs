//! Bytes on their way to a peer: whole frames in order, written as far as the peer takes them.
//!
//! What it deliberately does not do: write; the event loop does. What always holds: the offset of a
//! frame tells, at any later time, whether a byte of it has been handed to the kernel; a frame that was
//! withdrawn before that is never handed out.

use super::fds::Fds;
use rpc_plugin_wire::RequestId;
use rpc_plugin_wire::frame::is_oversized;
use std::collections::VecDeque;

/// Capacity above this is given back when the outbox runs empty and little of it was used. Bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Descriptors of one frame.
#[derive(Debug)]
struct Parcel {
    /// Where the frame begins.
    at: u64,
    fds: Fds,
    /// The request that the frame answers, if it is an answer.
    answers: Option<RequestId>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// `bytes[..written]` is with the kernel already.
    written: usize,
    /// Bytes written and dropped from `bytes` since the beginning.
    dropped: u64,
    /// Withdrawn frames that lie ahead, by their offsets (from, to), in order. None begins at `written`.
    withdrawn: VecDeque<(u64, u64)>,
    withdrawn_bytes: usize,
    /// Descriptors that go with the first byte of their frames, in order.
    parcels: VecDeque<Parcel>,
}

impl Outbox {
    /// Bytes that wait to be written, as far as they lie together: there may be more behind a withdrawn
    /// frame, and before one with descriptors. Empty only when nothing waits.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        let withdrawn = self.withdrawn.front().map(|(from, _)| self.index(*from));
        let parcel = self.parcels.iter().map(|parcel| self.index(parcel.at)).find(|at| *at > self.written);
        let end = [withdrawn, parcel].into_iter().flatten().min().unwrap_or(self.bytes.len());
        self.bytes.get(self.written..end).unwrap_or_default()
    }

    /// The descriptors that go with the first byte of [`Outbox::waiting`].
    #[must_use]
    pub fn waiting_fds(&self) -> &Fds {
        match self.parcels.front() {
            Some(parcel) if self.index(parcel.at) == self.written => &parcel.fds,
            _ => const { &Fds::new() },
        }
    }

    /// How many descriptors wait.
    #[must_use]
    pub fn waiting_fds_count(&self) -> usize {
        self.parcels.iter().map(|parcel| parcel.fds.len()).sum()
    }

    /// Says that these descriptors go with the frame that begins at `offset`, which is the last one put in; and which
    /// request of the peer it answers, if it does.
    pub fn attach(&mut self, offset: u64, fds: Fds, answers: Option<&RequestId>) {
        if !fds.is_empty() {
            self.parcels.push_back(Parcel { at: offset, fds, answers: answers.cloned() });
        }
    }

    /// Takes back the next frame, which has descriptors that cannot be sent: where it began, and the request that it
    /// answers. `None` where the next one has none.
    pub fn withdraw_parcel(&mut self) -> Option<(u64, Option<RequestId>)> {
        let at = self.parcels.front().map(|parcel| parcel.at).filter(|at| self.index(*at) == self.written)?;
        let to = self.frame_end(at);
        let answers = self.parcels.front_mut().and_then(|parcel| parcel.answers.take());
        self.withdraw(at, to).then_some((at, answers))
    }

    /// Takes back every frame that has descriptors with it still: for bytes that are sent without.
    pub fn withdraw_parcels(&mut self) {
        while let Some(at) = self.parcels.front().map(|parcel| parcel.at) {
            let to = self.frame_end(at);
            if !self.withdraw(at, to) {
                self.parcels.pop_front();
            }
        }
    }

    /// Where the frame that begins at `offset` ends: behind its line end, which is the first one.
    fn frame_end(&self, offset: u64) -> u64 {
        let frame = self.bytes.get(self.index(offset)..).unwrap_or_default();
        let bytes = frame.iter().position(|byte| *byte == b'\n').map_or(frame.len(), |last| last + 1);
        offset + bytes as u64
    }

    /// All that waits, in one piece.
    #[must_use]
    pub fn all_waiting(&self) -> Vec<u8> {
        let (mut all, mut at) = (Vec::new(), self.written);
        for (from, to) in &self.withdrawn {
            all.extend_from_slice(self.bytes.get(at..self.index(*from)).unwrap_or_default());
            at = self.index(*to);
        }
        all.extend_from_slice(self.bytes.get(at..).unwrap_or_default());
        all
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.dropped)).unwrap_or(usize::MAX)
    }

    /// How many bytes wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.written - self.withdrawn_bytes
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

    /// Takes back the frame at `from..to` if no byte of it has been written; whether that was so.
    pub fn withdraw(&mut self, from: u64, to: u64) -> bool {
        if self.has_begun(from) || to > self.next_offset() {
            return false;
        }
        let at = self.withdrawn.partition_point(|(other, _)| *other < from);
        self.withdrawn.insert(at, (from, to));
        self.parcels.retain(|parcel| parcel.at != from);
        self.withdrawn_bytes += usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        self.skip_withdrawn();
        true
    }

    /// Passes over the withdrawn frames that are next.
    fn skip_withdrawn(&mut self) {
        while let Some((from, to)) = self.withdrawn.front().copied()
            && self.index(from) == self.written
        {
            self.withdrawn.pop_front();
            self.withdrawn_bytes -= self.index(to) - self.index(from);
            self.written = self.index(to);
        }
        self.give_back();
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
        let bytes = bytes.min(self.waiting().len());
        if bytes > 0 && !self.waiting_fds().is_empty() {
            // They went with the first byte.
            self.parcels.pop_front();
        }
        self.written += bytes;
        self.skip_withdrawn();
    }

    /// Frees what is written once nothing waits.
    fn give_back(&mut self) {
        if self.written == self.bytes.len() {
            self.dropped += self.written as u64;
            self.written = 0;
            if is_oversized(self.bytes.capacity(), self.bytes.len(), KEPT_BYTES_MAX) {
                self.bytes = Vec::new();
            }
            self.bytes.clear();
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

    #[test]
    fn descriptors_go_with_the_first_byte_of_their_frame() {
        let fd = crate::state::fds::any;
        let mut outbox = Outbox::default();
        let push = |outbox: &mut Outbox, frame: &str, fds: Fds| {
            let from = outbox.next_offset();
            outbox.buffer().extend_from_slice(frame.as_bytes());
            outbox.attach(from, fds, None);
            (from, outbox.next_offset())
        };
        push(&mut outbox, "one\n", vec![]);
        push(&mut outbox, "two\n", vec![fd(), fd()]);
        push(&mut outbox, "three\n", vec![]);
        let four = push(&mut outbox, "four\n", vec![fd()]);
        push(&mut outbox, "five\n", vec![fd()]);
        assert_eq!((outbox.waiting(), outbox.waiting_fds().len()), (&b"one\n"[..], 0));
        outbox.wrote(4);
        assert_eq!((outbox.waiting(), outbox.waiting_fds().len()), (&b"two\nthree\n"[..], 2));
        outbox.wrote(0);
        assert_eq!(outbox.waiting_fds().len(), 2, "no byte was written");
        outbox.wrote(1);
        assert_eq!((outbox.waiting(), outbox.waiting_fds().len()), (&b"wo\nthree\n"[..], 0));
        assert!(outbox.withdraw(four.0, four.1));
        outbox.wrote(9);
        assert_eq!((outbox.waiting(), outbox.waiting_fds().len()), (&b"five\n"[..], 1));
        outbox.wrote(5);
        assert!(outbox.is_empty() && outbox.parcels.is_empty());
    }

    #[test]
    fn what_is_withdrawn_in_time_is_never_handed_out() {
        let mut outbox = Outbox::default();
        let mut ranges = Vec::new();
        for frame in ["one\n", "two\n", "three\n", "four\n"] {
            let from = outbox.next_offset();
            outbox.buffer().extend_from_slice(frame.as_bytes());
            ranges.push((from, outbox.next_offset()));
        }
        outbox.wrote(2);
        let mut withdraw = |index: usize| outbox.withdraw(ranges[index].0, ranges[index].1);
        assert!(!withdraw(0), "it has begun");
        assert!(withdraw(2) && withdraw(1), "in any order");
        assert_eq!(outbox.all_waiting(), b"e\nfour\n");
        assert_eq!(outbox.waiting_bytes(), 7);
        assert_eq!(outbox.waiting(), b"e\n");
        outbox.wrote(100);
        assert_eq!(outbox.waiting(), b"four\n", "no more than was handed out counts as written");
        assert!(!outbox.has_begun(ranges[3].0));
        outbox.buffer().extend_from_slice(b"five\n");
        assert!(outbox.withdraw(ranges[3].0, ranges[3].1));
        assert_eq!(outbox.waiting(), b"five\n");
        outbox.wrote(5);
        assert!(outbox.is_empty() && outbox.waiting().is_empty());
        assert_eq!(outbox.next_offset(), 24);
    }
}
