//! Whole frames on their way to the peer: sent in order, as far as the peer takes them.
//!
//! What it deliberately does not do: write to a socket; its shell does. What always holds: the [`Span`] of a frame
//! tells, at any later time, whether a byte of it has been handed to the kernel; a frame that was withdrawn before that
//! is never handed out; descriptors go out with the first byte of their frame.

use rpc_plugin_wire::frame::is_oversized;
use rpc_plugin_wire::memory::reserve;
use std::collections::VecDeque;

/// Capacity above this is given back when the queue runs empty and little of it was used. Bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a frame beside its params or result, for which there is room too.
const ROOM_BESIDE: usize = 8 * 1024;

/// Where a frame lies among all bytes that were ever put into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    from: u64,
    to: u64,
}

impl Span {
    /// Whether a byte of the frame is among the first `begun` ([`SendQueue::begun`]).
    #[must_use]
    pub fn has_begun(self, begun: u64) -> bool {
        self.from < begun
    }

    /// How many bytes it has, line end included.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.to - self.from).unwrap_or(usize::MAX)
    }

    /// How many of them are not among the first `begun` ([`SendQueue::begun`]).
    #[must_use]
    pub fn unsent_bytes(self, begun: u64) -> usize {
        let (from, to) = (self.from.max(begun), self.to.max(begun));
        Span { from, to }.bytes()
    }
}

/// Frames that wait to be written, and the descriptors that travel with some of them.
#[derive(Debug)]
pub struct SendQueue<F> {
    bytes: Vec<u8>,
    /// `bytes[..written]` is with the kernel already.
    written: usize,
    /// Bytes written and removed from `bytes` since the beginning.
    removed: u64,
    /// Withdrawn frames that lie ahead, in order. None begins at `written`.
    withdrawn: VecDeque<Span>,
    withdrawn_bytes: usize,
    /// Descriptors that go with the first byte of their frames, in order.
    attached: VecDeque<(Span, Vec<F>)>,
}

impl<F> Default for SendQueue<F> {
    fn default() -> SendQueue<F> {
        SendQueue {
            bytes: Vec::new(),
            written: 0,
            removed: 0,
            withdrawn: VecDeque::new(),
            withdrawn_bytes: 0,
            attached: VecDeque::new(),
        }
    }
}

impl<F> SendQueue<F> {
    /// Whether there is memory for a frame with so many bytes of params or result, which is taken then.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        self.close_up();
        let (bytes, capacity) = (bytes.saturating_add(ROOM_BESIDE), self.bytes.capacity());
        let has_room = capacity - self.bytes.len() >= bytes;
        // Doubling keeps the copying of many frames linear.
        has_room || reserve(&mut self.bytes, bytes.max(capacity)) || reserve(&mut self.bytes, bytes)
    }

    fn close_up(&mut self) {
        // Moving the rest to the front only when at least half is free keeps the cost per byte constant.
        if self.written > 0 && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.removed += self.written as u64;
            self.written = 0;
        }
    }

    /// Appends one frame, which `write` puts behind what is in the buffer.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        self.close_up();
        let from = self.end();
        write(&mut self.bytes);
        Span { from, to: self.end() }
    }

    /// The same for a frame of at most `frame_bytes_max` bytes, line end not counted.
    ///
    /// # Errors
    /// How many bytes it would have. Nothing is appended.
    pub fn write_within(
        &mut self,
        frame_bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Span, usize> {
        let mut frame_bytes = 0;
        let span = self.write(|out| {
            let start = out.len();
            write(out);
            frame_bytes = (out.len() - start).saturating_sub(1);
            if frame_bytes > frame_bytes_max {
                out.truncate(start);
            }
        });
        if frame_bytes > frame_bytes_max { Err(frame_bytes) } else { Ok(span) }
    }

    /// Sends these descriptors with the frame at `span`, which is the last one.
    pub fn attach(&mut self, span: Span, fds: Vec<F>) {
        if !fds.is_empty() {
            self.attached.push_back((span, fds));
        }
    }

    /// Moves all that waits in `more` behind what waits here. For `more` that counts as written.
    pub fn append(&mut self, more: &mut SendQueue<F>) -> Span {
        if self.is_empty() && more.withdrawn.is_empty() && more.written == 0 {
            // Nothing to keep, nothing to leave out: without a copy.
            let from = self.end();
            (self.removed, self.written) = (from, 0);
            self.bytes.clear();
            std::mem::swap(&mut self.bytes, &mut more.bytes);
            self.attached.extend(more.attached.drain(..).map(|(span, fds)| {
                let (start, bytes) = (from + (span.from - more.removed), span.bytes() as u64);
                (Span { from: start, to: start + bytes }, fds)
            }));
            let span = Span { from, to: self.end() };
            more.removed += span.bytes() as u64;
            return span;
        }
        let from = self.end();
        if more.attached.is_empty() && more.withdrawn.is_empty() {
            self.bytes.extend_from_slice(more.bytes.get(more.written..).unwrap_or_default());
            more.written = more.bytes.len();
            more.forget_written();
            return Span { from, to: self.end() };
        }
        while !more.is_empty() {
            let begins = more.attached.front().is_some_and(|(span, _)| more.index(span.from) == more.written);
            let fds = if begins { more.attached.pop_front() } else { None };
            let part = more.waiting().0;
            let (at, bytes) = (self.end(), part.len());
            self.bytes.extend_from_slice(part);
            if let Some((span, fds)) = fds {
                self.attached.push_back((Span { from: at, to: at + span.bytes() as u64 }, fds));
            }
            more.wrote(bytes);
        }
        Span { from, to: self.end() }
    }

    /// Counts what waits in `frames` as written, in the order of this queue, which is empty: for a caller that writes
    /// them itself.
    pub fn pass(&mut self, frames: &SendQueue<F>) -> Span {
        let span = self.write(|_| ());
        self.removed += frames.waiting_bytes() as u64;
        Span { to: self.end(), ..span }
    }

    /// Bytes to write now, and the descriptors that go with the first of them. There may be more behind a withdrawn frame,
    /// and before one with descriptors. Empty only when nothing waits.
    #[must_use]
    pub fn waiting(&self) -> (&[u8], &[F]) {
        if self.attached.is_empty() && self.withdrawn.is_empty() {
            return (self.bytes.get(self.written..).unwrap_or_default(), &[]);
        }
        let withdrawn = self.withdrawn.front().map(|span| self.index(span.from));
        let mut attached = self.attached.iter().map(|(span, fds)| (self.index(span.from), fds));
        let mut next = attached.next();
        let fds = next.filter(|(at, _)| *at == self.written).map_or(const { &Vec::new() }, |(_, fds)| {
            next = attached.next();
            fds
        });
        let ends = [withdrawn, next.map(|(at, _)| at)].into_iter().flatten();
        let end = ends.min().unwrap_or(self.bytes.len());
        (self.bytes.get(self.written..end).unwrap_or_default(), fds)
    }

    /// The descriptors that go with the first byte of [`SendQueue::waiting`], for a shell that prepares them.
    pub fn attached_mut(&mut self) -> &mut [F] {
        let written = self.removed + self.written as u64;
        match self.attached.front_mut() {
            Some((span, fds)) if span.from == written => fds,
            _ => &mut [],
        }
    }

    /// Says that the first `bytes` of [`SendQueue::waiting`] were written.
    pub fn wrote(&mut self, bytes: usize) {
        let (waiting, fds) = self.waiting();
        let (bytes, begins) = (bytes.min(waiting.len()), !fds.is_empty());
        if bytes > 0 && begins {
            self.attached.pop_front();
        }
        self.written += bytes;
        self.skip_withdrawn();
    }

    /// How many bytes have been handed out, withdrawn ones included: a frame that begins before that has begun.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.removed + self.written as u64
    }

    /// Takes back the frame at `span` if no byte of it has been written; whether that was so.
    pub fn withdraw(&mut self, span: Span) -> bool {
        if span.has_begun(self.begun()) || span.to > self.end() {
            return false;
        }
        let at = self.withdrawn.partition_point(|other| other.from < span.from);
        self.withdrawn.insert(at, span);
        self.attached.retain(|(other, _)| *other != span);
        self.withdrawn_bytes += span.bytes();
        self.skip_withdrawn();
        true
    }

    /// Takes back the next frame, whose descriptors cannot be sent; its bytes. `None` where it has none.
    pub fn withdraw_attached(&mut self) -> Option<(Span, Vec<u8>)> {
        let span = self.attached.front().map(|(span, _)| *span)?;
        let at = self.index(span.from);
        let frame = self.bytes.get(at..at + span.bytes()).filter(|_| at == self.written)?.to_vec();
        self.withdraw(span).then_some((span, frame))
    }

    /// Takes back every frame whose descriptors have not been sent: for bytes that are sent without.
    pub fn withdraw_all_attached(&mut self) {
        while let Some((span, _)) = self.attached.pop_front() {
            self.withdraw(span);
        }
    }

    /// All that waits, in one piece.
    #[must_use]
    pub fn all_waiting(&self) -> Vec<u8> {
        let (mut all, mut at) = (Vec::new(), self.written);
        for span in &self.withdrawn {
            all.extend_from_slice(self.bytes.get(at..self.index(span.from)).unwrap_or_default());
            at = self.index(span.to);
        }
        all.extend_from_slice(self.bytes.get(at..).unwrap_or_default());
        all
    }

    /// How many bytes wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.written - self.withdrawn_bytes
    }

    /// How many descriptors wait.
    #[must_use]
    pub fn waiting_fds(&self) -> usize {
        self.attached.iter().map(|(_, fds)| fds.len()).sum()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0
    }

    fn end(&self) -> u64 {
        self.removed + self.bytes.len() as u64
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.removed)).unwrap_or(usize::MAX)
    }

    /// Passes over the withdrawn frames that are next, and frees what is written once nothing waits.
    fn skip_withdrawn(&mut self) {
        while let Some(span) = self.withdrawn.front().copied()
            && self.index(span.from) == self.written
        {
            self.withdrawn.pop_front();
            self.withdrawn_bytes -= span.bytes();
            self.written = self.index(span.to);
        }
        if self.written == self.bytes.len() {
            self.forget_written();
        }
    }

    /// Frees what is written, which is all there is.
    fn forget_written(&mut self) {
        self.removed += self.written as u64;
        self.written = 0;
        if is_oversized(self.bytes.capacity(), self.bytes.len(), KEPT_BYTES_MAX) {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }
}

#[cfg(test)]
#[path = "send_queue_tests.rs"]
mod tests;
