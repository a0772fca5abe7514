//! One connection: two directions of bytes that are split, merged and delayed, in order each.
//!
//! What always holds: what the host wrote is looked at as it passes, so that the ledger knows of each
//! call whether one byte of it was ever handed over.

use rpc_plugin_system::state::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// What travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Piece {
    fn bytes(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::End => 0,
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
pub struct Direction {
    pieces: VecDeque<(Time, Piece)>,
    bytes: usize,
    last_arrival: Time,
    ended: bool,
}

impl Direction {
    /// Puts bytes on the way in random pieces; when the pieces arrive.
    pub fn send(&mut self, now: Time, rng: &mut fastrand::Rng, ms_max: u64, bytes: &[u8]) -> Vec<Time> {
        let mut arrivals = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && !self.ended {
            let most = if rng.u8(0..8) == 0 { 9 } else { 3000 };
            let (piece, later) = rest.split_at(rng.usize(1..=most).min(rest.len()));
            arrivals.push(self.push(now, rng, ms_max, Piece::Bytes(piece.to_vec())));
            rest = later;
        }
        // What arrives at once is one.
        arrivals.dedup();
        arrivals
    }

    /// Ends the direction, behind all that is on the way.
    pub fn end(&mut self, now: Time, rng: &mut fastrand::Rng, ms_max: u64) -> Option<Time> {
        if self.ended {
            return None;
        }
        let at = self.push(now, rng, ms_max, Piece::End);
        self.ended = true;
        Some(at)
    }

    /// Loses what is on the way, from a random piece on.
    pub fn cut(&mut self, rng: &mut fastrand::Rng) {
        self.pieces.truncate(rng.usize(0..=self.pieces.len()));
        self.bytes = self.pieces.iter().map(|(_, piece)| piece.bytes()).sum();
    }

    fn push(&mut self, now: Time, rng: &mut fastrand::Rng, ms_max: u64, piece: Piece) -> Time {
        let delay = Duration::from_nanos(rng.u64(0..=ms_max * 1_000_000));
        self.last_arrival = self.last_arrival.max(now.plus(delay));
        self.bytes += piece.bytes();
        self.pieces.push_back((self.last_arrival, piece));
        self.last_arrival
    }

    /// All that has arrived: the bytes as one, and whether the end is there.
    pub fn arrived(&mut self, now: Time) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        while self.pieces.front().is_some_and(|(at, _)| *at <= now) {
            match self.pieces.pop_front() {
                Some((_, Piece::Bytes(more))) => {
                    self.bytes -= more.len();
                    bytes.extend(more);
                }
                _ => return (bytes, true),
            }
        }
        (bytes, false)
    }

    /// Bytes on the way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Link {
    pub host_open: bool,
    pub child_open: bool,
    pub to_host: Direction,
    pub to_child: Direction,
    /// Arrived at the child and not read by it.
    pub unread: Vec<u8>,
    pub capacity_bytes: usize,
    pub ms_max: u64,
    /// The host is busy elsewhere until then, and writes nothing.
    pub busy_until: Time,
    /// The last byte that the host wrote was not a line end.
    pub mid_frame: bool,
}

impl Link {
    pub fn new(capacity_bytes: usize, ms_max: u64) -> Link {
        Link {
            host_open: true,
            child_open: true,
            to_host: Direction::default(),
            to_child: Direction::default(),
            unread: Vec::new(),
            capacity_bytes,
            ms_max,
            busy_until: Time::ZERO,
            mid_frame: false,
        }
    }

    /// How many bytes the host can write now.
    pub fn room(&self) -> usize {
        if !self.child_open {
            return 0;
        }
        self.capacity_bytes.saturating_sub(self.to_child.bytes() + self.unread.len())
    }

    /// The frames that begin within the first `taken` of `waiting`, each to its line end.
    pub fn frames_begun<'a>(&mut self, waiting: &'a [u8], taken: usize) -> Vec<&'a [u8]> {
        let mut frames = Vec::new();
        let mut at = 0;
        let mut whole = !self.mid_frame;
        while at < taken {
            // The sim's bytes are ASCII; searching text is quick even without optimisation.
            let rest = std::str::from_utf8(&waiting[at..]).expect("the host writes UTF-8");
            let end = rest.find('\n').map(|end| at + end);
            let end = end.expect("the outbox holds whole frames");
            if whole {
                frames.push(&waiting[at..end]);
            }
            whole = true;
            at = end + 1;
        }
        if taken > 0 {
            self.mid_frame = waiting[taken - 1] != b'\n';
        }
        frames
    }
}
