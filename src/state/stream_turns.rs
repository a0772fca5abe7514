//! Turns of the streams in band of one connection: which may send next, and how much (protocol section 6).
//!
//! What it deliberately does not do: keep account of a stream's window (`rpc_plugin_wire::stream` does), or read or
//! write one.
//!
//! What always holds: of all streams together no more than [`WAITING_BYTES_MAX`] and a frame wait to be written, so that
//! calls and heartbeats need not wait behind them for long; a stream that wants to send has its turn after at most one
//! turn of each other one.

use rpc_plugin_wire::limits::STREAM_DATA_BYTES_MAX;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Bytes that wait for a plugin to read them, from which on nothing more is read from streams to it.
pub const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Bytes that the data of one frame take in it, as base64.
const FRAME_BYTES: usize = STREAM_DATA_BYTES_MAX * 4 / 3;

/// Permission for one stream to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTurn {
    /// The number of the stream.
    pub stream: u64,
    /// How many frames with data it may send, at least one.
    pub frames_max: usize,
}

/// The streams of one connection that want to send. The default: none.
#[derive(Debug, Default)]
pub struct StreamTurns {
    wanting: BTreeSet<u64>,
    /// The stream that had the last turn; the one after it has the next.
    last: Option<u64>,
}

impl StreamTurns {
    /// Says whether a stream may have something to send. One that has ended wants nothing any more.
    pub fn set_wanting(&mut self, stream: u64, wants: bool) {
        if wants {
            self.wanting.insert(stream);
        } else {
            self.wanting.remove(&stream);
        }
    }

    /// The next turn, while `waiting_bytes` wait to be written to the plugin; `None`: no stream wants one, or there is no
    /// room. A stream keeps wanting until [`StreamTurns::set_wanting`] says that it does not.
    pub fn next(&mut self, waiting_bytes: usize) -> Option<StreamTurn> {
        let room = WAITING_BYTES_MAX.saturating_sub(waiting_bytes).div_ceil(FRAME_BYTES);
        if room == 0 {
            return None;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.wanting.range((after, Bound::Unbounded)).next().or_else(|| self.wanting.first());
        let stream = *next?;
        self.last = Some(stream);
        // Alone, it need not share.
        let frames_max = if self.wanting.len() == 1 { room } else { 1 };
        Some(StreamTurn { stream, frames_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_wire::limits::{STREAM_WINDOW_BYTES, STREAMS_MAX};
    use std::collections::BTreeMap;

    #[test]
    fn equals_take_turns_and_one_alone_has_all_the_room() {
        let mut turns = StreamTurns::default();
        assert_eq!(turns.next(0), None);
        turns.set_wanting(4, true);
        let room = WAITING_BYTES_MAX.div_ceil(FRAME_BYTES);
        assert_eq!(turns.next(0), Some(StreamTurn { stream: 4, frames_max: room }));
        assert_eq!(turns.next(WAITING_BYTES_MAX - 1), Some(StreamTurn { stream: 4, frames_max: 1 }));
        assert_eq!(turns.next(WAITING_BYTES_MAX), None);
        turns.set_wanting(0, true);
        turns.set_wanting(7, true);
        let order: Vec<_> = (0..6).filter_map(|_| turns.next(0)).collect();
        assert!(order.iter().all(|turn| turn.frames_max == 1));
        assert_eq!(order.iter().map(|turn| turn.stream).collect::<Vec<_>>(), [7, 0, 4, 7, 0, 4]);
        turns.set_wanting(7, false);
        turns.set_wanting(0, false);
        assert_eq!(turns.next(0).map(|turn| turn.stream), Some(4), "it is the only one left");
    }

    /// One stream of the simulation.
    #[derive(Default)]
    struct Sender {
        /// Bytes that its program has written and it has not sent.
        readable: usize,
        /// Bytes that may be on their way.
        window: usize,
        sent: usize,
        /// Turns of others since its own, while it wanted one.
        waited: usize,
    }

    impl Sender {
        fn may_send(&self) -> usize {
            self.readable.min(self.window).min(STREAM_DATA_BYTES_MAX)
        }
    }

    /// A connection with streams whose programs write, and whose plugin reads, as a seed says.
    struct Connection {
        rng: fastrand::Rng,
        turns: StreamTurns,
        senders: BTreeMap<u64, Sender>,
        /// Frames that wait to be written: of which stream, bytes of data.
        outbox: Vec<(u64, usize)>,
    }

    impl Connection {
        fn new(seed: u64) -> Connection {
            let mut rng = fastrand::Rng::with_seed(seed);
            let window = STREAM_WINDOW_BYTES;
            let numbers: Vec<u64> = (0..rng.u64(1..=STREAMS_MAX as u64)).map(|_| rng.u64(0..1000)).collect();
            let sender = |number| (number, Sender { window, ..Sender::default() });
            let senders = numbers.into_iter().map(sender).collect();
            Connection { rng, turns: StreamTurns::default(), senders, outbox: Vec::new() }
        }

        fn waiting_bytes(&self) -> usize {
            self.outbox.iter().map(|(_, bytes)| bytes * 4 / 3).sum()
        }

        /// Gives turns as long as there are any, as the event loop does.
        fn send(&mut self) {
            while let Some(StreamTurn { stream, frames_max }) = self.turns.next(self.waiting_bytes()) {
                for (number, other) in &mut self.senders {
                    let waits = *number != stream && other.may_send() > 0;
                    other.waited = if waits { other.waited + 1 } else { 0 };
                }
                let others = self.senders.len();
                assert!(self.senders.values().all(|sender| sender.waited < others), "one waits for ever");
                let sender = self.senders.get_mut(&stream).unwrap();
                for _ in 0..frames_max {
                    let bytes = sender.may_send();
                    if bytes == 0 {
                        break;
                    }
                    sender.readable -= bytes;
                    sender.window -= bytes;
                    sender.sent += bytes;
                    self.outbox.push((stream, bytes));
                }
                let wants = sender.may_send() > 0;
                self.turns.set_wanting(stream, wants);
                let bound = WAITING_BYTES_MAX + FRAME_BYTES;
                assert!(self.waiting_bytes() <= bound, "{} bytes wait", self.waiting_bytes());
            }
        }

        /// The plugin reads some frames, and gives credit for them.
        fn read(&mut self, frames: usize) {
            for (stream, bytes) in self.outbox.drain(..frames.min(self.outbox.len())) {
                let sender = self.senders.get_mut(&stream).unwrap();
                sender.window += bytes;
                self.turns.set_wanting(stream, true);
            }
        }
    }

    #[test]
    fn whatever_programs_write_and_plugins_read_all_is_sent_in_fair_turns_within_the_bound() {
        for seed in 0..200 {
            let mut connection = Connection::new(seed);
            let mut written = 0;
            for _ in 0..300 {
                let number = connection.rng.usize(0..connection.senders.len());
                let bytes = connection.rng.usize(0..400_000);
                let (stream, sender) = connection.senders.iter_mut().nth(number).unwrap();
                sender.readable += bytes;
                written += bytes;
                connection.turns.set_wanting(*stream, true);
                connection.send();
                let frames = connection.rng.usize(0..12);
                connection.read(frames);
                connection.send();
            }
            while !connection.outbox.is_empty() {
                connection.read(1);
                connection.send();
            }
            let sent: usize = connection.senders.values().map(|sender| sender.sent).sum();
            assert_eq!(sent, written, "seed {seed}");
        }
    }
}
