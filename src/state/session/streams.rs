//! Which streams go in band over a connection that passes no descriptors (protocol section 6).
//!
//! What it deliberately does not do: carry them; the event loop relays between descriptors and frames.
//!
//! What always holds: at most [`STREAMS_MAX`] are open of those that either side began; the host's own have even
//! numbers, the plugin's odd ones; nothing of one of the host's is carried before the frame that announces it has
//! begun to be written, and where that is withdrawn the stream never was.

use crate::state::fds::{Fd, Fds};
use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::limits::{REQUEST_ID_MAX, STREAMS_MAX};
use std::collections::{BTreeSet, VecDeque};

/// Descriptors that go out as streams in band, under these numbers.
pub type Named = Vec<(u64, Fd)>;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Whether both sides agreed on them.
    agreed: bool,
    ours: BTreeSet<u64>,
    theirs: BTreeSet<u64>,
    /// How many the host began.
    begun: u64,
    /// Those that wait for the frame at this offset of the outbox to be begun, in order.
    waiting: VecDeque<(u64, Named)>,
}

impl Streams {
    /// Both sides agreed on them.
    pub(super) fn agree(&mut self) {
        self.agreed = true;
    }

    /// Whether so many more can go out.
    pub(super) fn check(&self, count: usize) -> Result<(), (ErrorCode, String)> {
        if !self.agreed {
            let text =
                "it comes with file descriptors, and this connection passes neither them nor streams in band";
            return Err((ErrorCode::InvalidParams, text.to_owned()));
        }
        if self.ours.len() + count > STREAMS_MAX {
            let open = self.ours.len();
            let text = format!("{open} streams to the plugin are open in band, at most {STREAMS_MAX} may be");
            return Err((ErrorCode::Overloaded, text));
        }
        Ok(())
    }

    /// The numbers that the next so many of the host's will have.
    pub(super) fn next_numbers(&self, count: usize) -> Vec<u64> {
        (self.begun..).take(count).map(|number| number * 2).collect()
    }

    /// Opens streams of the host's, under [`Streams::next_numbers`], which the frame at that offset announces.
    pub(super) fn open(&mut self, offset: u64, fds: Fds) {
        let numbers = self.next_numbers(fds.len());
        self.begun += numbers.len() as u64;
        self.ours.extend(&numbers);
        self.waiting.push_back((offset, numbers.into_iter().zip(fds).collect()));
    }

    /// The frame at that offset was withdrawn.
    pub(super) fn withdrawn(&mut self, offset: u64) {
        let Some(at) = self.waiting.iter().position(|(other, _)| *other == offset) else { return };
        for (number, _) in self.waiting.remove(at).map(|(_, named)| named).unwrap_or_default() {
            self.ours.remove(&number);
        }
    }

    /// Those whose frames have been begun since this was asked last.
    pub(super) fn announced(&mut self, has_begun: impl Fn(u64) -> bool) -> Named {
        let mut named = Named::new();
        while self.waiting.front().is_some_and(|(offset, _)| has_begun(*offset)) {
            named.extend(self.waiting.pop_front().map(|(_, named)| named).unwrap_or_default());
        }
        named
    }

    /// A frame of the plugin brings these.
    pub(super) fn came(&mut self, numbers: &[u64]) -> Result<(), String> {
        for number in numbers {
            if !self.agreed {
                return Err("a frame brings streams in band, which were not agreed on".to_owned());
            }
            if number % 2 == 0 || *number > REQUEST_ID_MAX {
                return Err(format!("a frame brings stream {number}; its own have odd numbers below 2^53"));
            }
            if self.theirs.len() >= STREAMS_MAX {
                return Err(format!("a frame brings stream {number}, and {STREAMS_MAX} of its own are open"));
            }
            if !self.theirs.insert(*number) {
                return Err(format!("a frame brings stream {number}, which is open"));
            }
        }
        Ok(())
    }

    /// A frame of the plugin is about this one.
    pub(super) fn named(&self, number: u64) -> Result<(), String> {
        if !self.agreed {
            return Err("a frame is of a stream in band, which were not agreed on".to_owned());
        }
        if self.ours.contains(&number) || self.theirs.contains(&number) {
            return Ok(());
        }
        Err(format!("a frame is of stream {number}, which is not open"))
    }

    /// One is over.
    pub(super) fn closed(&mut self, number: u64) {
        let _ = self.ours.remove(&number) || self.theirs.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fds::{any as fd, held};

    #[test]
    fn numbers_belong_to_a_side_and_are_open_once() {
        let mut streams = Streams::default();
        assert_eq!(streams.check(1).unwrap_err().0, ErrorCode::InvalidParams);
        assert!(streams.came(&[1]).is_err() && streams.came(&[]).is_ok() && streams.named(1).is_err());
        streams.agree();
        streams.came(&[3, 1]).unwrap();
        for wrong in [0, 2, 3, 1, REQUEST_ID_MAX + 2, u64::MAX] {
            assert!(streams.came(&[wrong]).is_err(), "{wrong}");
        }
        assert!(streams.came(&[REQUEST_ID_MAX]).is_ok());
        assert!(streams.named(3).is_ok() && streams.named(5).is_err() && streams.named(0).is_err());
        streams.open(0, vec![fd(), fd()]);
        assert!(streams.named(2).is_ok() && streams.named(4).is_err());
        assert_eq!(streams.next_numbers(2), [4, 6]);
        streams.closed(3);
        assert!(streams.named(3).is_err() && streams.came(&[3]).is_ok(), "it is free again");
    }

    #[test]
    fn each_side_has_its_own_bound_and_room_comes_back() {
        let mut streams = Streams::default();
        streams.agree();
        for at in 0..STREAMS_MAX as u64 {
            streams.came(&[at * 2 + 1]).unwrap();
        }
        assert!(streams.came(&[1001]).unwrap_err().contains("16 of its own are open"));
        assert!(streams.check(STREAMS_MAX).is_ok());
        streams.open(7, (0..STREAMS_MAX).map(|_| fd()).collect());
        assert_eq!(streams.check(1).unwrap_err().0, ErrorCode::Overloaded);
        streams.closed(0);
        assert!(streams.check(1).is_ok() && streams.check(2).is_err());
    }

    #[test]
    fn a_stream_begins_with_its_frame_and_never_was_where_that_is_withdrawn() {
        let mut streams = Streams::default();
        streams.agree();
        let (ends, writer) = held(1);
        streams.open(10, vec![fd()]);
        streams.open(20, writer.into_iter().chain([fd()]).collect());
        streams.open(30, vec![fd()]);
        assert!(streams.announced(|offset| offset < 10).is_empty());
        streams.withdrawn(20);
        streams.withdrawn(25);
        assert_eq!(ends.open(), 0, "its descriptor is closed");
        assert!(streams.named(2).is_err() && streams.named(6).is_ok());
        let numbers = |named: Named| named.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(streams.announced(|offset| offset < 30)), [0]);
        assert_eq!(numbers(streams.announced(|_| true)), [6]);
    }
}
