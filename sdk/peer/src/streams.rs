//! Which streams go in band over a connection that passes no descriptors (protocol section 6).
//!
//! What it deliberately does not do: carry them; its shell relays between descriptors and frames.
//!
//! What always holds: at most [`STREAMS_MAX`] are open of those that either side began; the host's own have even
//! numbers, the plugin's odd ones; a number is free once both sides have sent the end and the drop of the stream, as soon
//! as that is read, so that the peer may use the room in its very next frame; nothing of one of ours is carried before the frame that announces it has begun to be
//! written, and where that is withdrawn the stream never was.

use crate::check::Refused;
use crate::role::Role;
use crate::send_queue::Span;
use crate::violation::Violation;
use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::limits::{REQUEST_ID_MAX, STREAMS_MAX};
use rpc_plugin_wire::stream::StreamFrame;
use std::collections::BTreeMap;

/// Descriptors that go out as streams in band, under these numbers.
pub type Named<F> = Vec<(u64, F)>;

/// Streams that a frame is to announce.
#[derive(Debug)]
struct Announcing<F> {
    /// `None` until the frame is in the queue.
    frame: Option<Span>,
    named: Named<F>,
}

/// What was said of a stream, as bits: the end and the drop that this side sent, and those that came.
type Said = u8;

/// All of it: the stream is over.
const ALL: Said = 0b1111;

/// The streams of one connection. `F` is what a stream of ours carries.
#[derive(Debug)]
pub struct Streams<F> {
    role: Role,
    /// Whether both sides agreed on them.
    agreed: bool,
    open: BTreeMap<u64, Said>,
    /// How many this side began.
    begun: u64,
    announcing: Vec<Announcing<F>>,
}

impl<F> Streams<F> {
    /// Streams of a connection on which this side has that role. None may be until [`Streams::agree`].
    #[must_use]
    pub fn new(role: Role) -> Streams<F> {
        Streams { role, agreed: false, open: BTreeMap::new(), begun: 0, announcing: Vec::new() }
    }

    /// Both sides agreed on them.
    pub fn agree(&mut self) {
        self.agreed = true;
    }

    /// Whether both sides agreed on them.
    #[must_use]
    pub fn are_agreed(&self) -> bool {
        self.agreed
    }

    /// Whether so many more can go out.
    ///
    /// # Errors
    /// `invalid_params` where the connection has none, `overloaded`.
    pub fn check(&self, count: usize) -> Result<(), Refused> {
        if !self.agreed {
            let why =
                "it comes with file descriptors, and this connection passes neither them nor streams in band";
            return Err(Refused::new(ErrorCode::InvalidParams, why));
        }
        let (open, other) = (self.count(self.role), self.role.other());
        if open + count > STREAMS_MAX {
            let why = format!("{open} streams to the {other} are open in band, at most {STREAMS_MAX} may be");
            return Err(Refused::new(ErrorCode::Overloaded, why));
        }
        Ok(())
    }

    /// Gives numbers to streams of ours. [`Streams::announce`] is to follow, or [`Streams::never_sent`].
    ///
    /// # Errors
    /// As [`Streams::check`].
    pub fn open(&mut self, fds: Vec<F>) -> Result<Vec<u64>, Refused> {
        if fds.is_empty() {
            return Ok(Vec::new());
        }
        self.check(fds.len())?;
        let first = if self.role == Role::Host { 0 } else { 1 };
        let numbers: Vec<u64> = (self.begun..).take(fds.len()).map(|number| number * 2 + first).collect();
        self.begun += numbers.len() as u64;
        self.open.extend(numbers.iter().map(|number| (*number, 0)));
        self.announcing.push(Announcing { frame: None, named: numbers.iter().copied().zip(fds).collect() });
        Ok(numbers)
    }

    /// The frame that announces these streams of ours lies at `frame` in the queue.
    pub fn announce(&mut self, numbers: &[u64], frame: Span) {
        let is_named = |entry: &&mut Announcing<F>| entry.has_first_of(numbers);
        if let Some(entry) = self.announcing.iter_mut().find(is_named) {
            entry.frame = Some(frame);
        }
    }

    /// The frame that was to announce these streams of ours was not put into the queue.
    pub fn never_sent(&mut self, numbers: &[u64]) {
        self.forget(|entry| entry.has_first_of(numbers));
    }

    /// The frame at `frame` was withdrawn from the queue.
    pub fn withdrawn(&mut self, frame: Span) {
        self.forget(|entry| entry.frame == Some(frame));
    }

    fn forget(&mut self, is_meant: impl Fn(&Announcing<F>) -> bool) {
        let Some(at) = self.announcing.iter().position(is_meant) else { return };
        for (number, _) in self.announcing.remove(at).named {
            self.open.remove(&number);
        }
    }

    /// Streams of ours whose frames are among the first `begun` bytes ([`crate::SendQueue::begun`]), each once.
    pub fn announced(&mut self, begun: u64) -> Named<F> {
        let mut named = Named::new();
        let has_begun = |entry: &mut Announcing<F>| entry.frame.is_some_and(|frame| frame.has_begun(begun));
        self.announcing.extract_if(.., has_begun).for_each(|entry| named.extend(entry.named));
        named
    }

    /// Begins streams of ours whose frame is about to be written: for a shell whose frames carry their streams along
    /// until then, and that needs no [`Streams::announce`].
    pub fn begin(&mut self, numbers: &[u64]) -> Named<F> {
        let is_named = |entry: &mut Announcing<F>| entry.has_first_of(numbers);
        self.announcing.extract_if(.., is_named).flat_map(|entry| entry.named).collect()
    }

    /// A frame of the peer brings these.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn came(&mut self, numbers: &[u64]) -> Result<(), Violation> {
        for number in numbers {
            let wrong =
                |what: String| Err(Violation::invalid(format!("a frame brings stream {number}{what}")));
            if !self.role.other().owns(*number) || *number > REQUEST_ID_MAX {
                let parity = if self.role == Role::Host { "odd" } else { "even" };
                return wrong(format!("; its own have {parity} numbers below 2^53"));
            }
            if self.count(self.role.other()) >= STREAMS_MAX {
                return wrong(format!(", and {STREAMS_MAX} of its own are open"));
            }
            if self.open.insert(*number, 0).is_some() {
                return wrong(", which is open".to_owned());
            }
        }
        Ok(())
    }

    /// A frame of a stream came. With the last one the number is free, before any frame behind it is looked at.
    ///
    /// # Errors
    /// The stream is not open.
    pub fn received(&mut self, frame: &StreamFrame) -> Result<(), Violation> {
        if !self.agreed {
            return Err(Violation::invalid("a frame is of a stream in band, which were not agreed on"));
        }
        let number = frame.stream();
        if !self.open.contains_key(&number) {
            return Err(Violation::invalid(format!("a frame is of stream {number}, which is not open")));
        }
        self.say(number, said_by(frame));
        Ok(())
    }

    /// A frame of a stream was put into the queue.
    pub fn sent(&mut self, frame: &StreamFrame) {
        self.say(frame.stream(), said_by(frame) << 2);
    }

    fn say(&mut self, number: u64, more: Said) {
        if let Some(said) = self.open.get_mut(&number) {
            *said |= more;
            if *said == ALL {
                self.open.remove(&number);
            }
        }
    }

    /// How many are open that this role began.
    fn count(&self, role: Role) -> usize {
        self.open.keys().filter(|number| role.owns(**number)).count()
    }
}

/// What a frame says of its stream's end.
fn said_by(frame: &StreamFrame) -> Said {
    match frame {
        StreamFrame::End { .. } => 0b01,
        StreamFrame::Drop { .. } => 0b10,
        StreamFrame::Data { .. } | StreamFrame::Ack { .. } => 0,
    }
}

impl<F> Announcing<F> {
    fn has_first_of(&self, numbers: &[u64]) -> bool {
        self.named.first().map(|(number, _)| number) == numbers.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send_queue::SendQueue;

    /// Whether a frame of the peer may be of this stream.
    fn is_open(streams: &mut Streams<char>, stream: u64) -> bool {
        streams.received(&StreamFrame::Ack { stream, credit: 1 }).is_ok()
    }

    /// Lets a stream be over.
    fn close(streams: &mut Streams<char>, stream: u64) {
        for frame in [StreamFrame::End { stream }, StreamFrame::Drop { stream }] {
            streams.sent(&frame);
            assert!(is_open(streams, stream), "the peer has not said all");
            streams.received(&frame).unwrap();
        }
    }

    /// Streams that both sides agreed on.
    fn agreed(role: Role) -> Streams<char> {
        let mut streams = Streams::new(role);
        streams.agree();
        streams
    }

    #[test]
    fn numbers_belong_to_a_side_and_are_open_once() {
        for (role, other) in [(Role::Host, Role::Plugin), (Role::Plugin, Role::Host)] {
            let none = Streams::<char>::new(role);
            assert_eq!(none.check(1).unwrap_err().code, ErrorCode::InvalidParams);
            assert!(!none.are_agreed() && !is_open(&mut Streams::<char>::new(role), 1));
            let (mut streams, mut theirs) = (agreed(role), agreed(other));
            let numbers = theirs.open(vec!['a', 'b']).unwrap();
            streams.came(&numbers).unwrap();
            let last = REQUEST_ID_MAX - u64::from(!other.owns(REQUEST_ID_MAX));
            for wrong in [numbers[0], numbers[1], last + 1, last + 2, u64::MAX, u64::MAX - 1] {
                assert!(streams.came(&[wrong]).is_err(), "{wrong} of {other}");
            }
            assert!(streams.came(&[last]).is_ok());
            assert!(is_open(&mut streams, numbers[1]) && !is_open(&mut streams, numbers[1] + 2));
            let ours = streams.open(vec!['c']).unwrap();
            assert!(streams.came(&ours).is_err() && is_open(&mut streams, ours[0]));
            close(&mut streams, numbers[1]);
            assert!(!is_open(&mut streams, numbers[1]));
            assert!(streams.came(&[numbers[1]]).is_ok(), "it is free again");
        }
    }

    #[test]
    fn each_side_has_its_own_bound_and_room_comes_back() {
        let mut streams = agreed(Role::Host);
        for at in 0..STREAMS_MAX as u64 {
            streams.came(&[at * 2 + 1]).unwrap();
        }
        assert!(streams.came(&[1001]).unwrap_err().why.contains("16 of its own are open"));
        assert_eq!(streams.open(vec!['x'; STREAMS_MAX]).unwrap().len(), STREAMS_MAX);
        let refused = streams.open(vec!['x']).unwrap_err();
        assert!(
            refused.code == ErrorCode::Overloaded && refused.why.contains("to the plugin"),
            "{refused:?}"
        );
        close(&mut streams, 0);
        assert!(streams.check(1).is_ok() && streams.check(2).is_err());
    }

    #[test]
    fn a_stream_begins_with_its_frame_and_never_was_where_that_is_not_sent() {
        let (mut streams, mut queue) = (agreed(Role::Plugin), SendQueue::<()>::default());
        let mut announced = |fds: &[char]| {
            let numbers = streams.open(fds.to_vec()).unwrap();
            let span = queue.write(|out| out.extend_from_slice(b"1234567890"));
            streams.announce(&numbers, span);
            (numbers, span)
        };
        let (first, second, third) = (announced(&['a']), announced(&['b', 'c']), announced(&['d']));
        assert_eq!((first.0, second.0.as_slice(), third.0), (vec![1], &[3, 5][..], vec![7]));
        assert!(streams.announced(0).is_empty());
        streams.withdrawn(second.1);
        assert!(!is_open(&mut streams, 3) && is_open(&mut streams, 7));
        assert_eq!(streams.announced(11), [(1, 'a')], "of two that may have begun, one was withdrawn");
        let carried = streams.open(vec!['x', 'y']).unwrap();
        assert_eq!(streams.begin(&carried), [(9, 'x'), (11, 'y')], "by its numbers alone");
        assert!(streams.begin(&carried).is_empty() && is_open(&mut streams, 9));
        carried.iter().for_each(|number| close(&mut streams, *number));
        let unsent = streams.open(vec!['e', 'f']).unwrap();
        assert_eq!(unsent, [13, 15]);
        assert_eq!(streams.announced(30), [(7, 'd')]);
        assert!(streams.announced(u64::MAX).is_empty(), "its frame is in no queue");
        streams.never_sent(&unsent);
        assert!(!is_open(&mut streams, 13) && streams.check(STREAMS_MAX - 2).is_ok());
    }
}
