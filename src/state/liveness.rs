//! Signs of life beside the answer to a heartbeat: bytes that move within a frame, and the call that a plugin serves.
//!
//! What it deliberately does not do: count bytes or calls; the session does.
//!
//! What always holds: a peer that feeds a frame drop by drop is not alive by that; a call excuses nothing for longer than
//! the plugin's own `call_timeout`.

use super::policy::Policy;
use super::time::Time;
use std::fmt;
use std::time::Duration;

/// Bytes of an unfinished frame that have to move in an interval of heartbeats to count as life.
pub const MOVED_BYTES_MIN: u64 = 16 * 1024;

/// How far a connection has come. Bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// All that were received.
    pub received: u64,
    /// All that were written.
    pub written: u64,
    /// Those received of a frame that is not whole yet.
    pub unfinished: u64,
    /// Those that wait to be written.
    pub waiting: u64,
}

/// What is known of the bytes that moved lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Liveness {
    measured_at: Time,
    before: Moved,
    moves: bool,
    /// Whether the last heartbeat was not answered, and bytes moved instead.
    is_excused: bool,
}

impl Liveness {
    /// Begins to measure.
    #[must_use]
    pub fn new(signs: &Signs<'_>) -> Liveness {
        Liveness { measured_at: signs.now, before: signs.moved, ..Liveness::default() }
    }

    /// Whether no heartbeat is to be asked for now: the plugin does one thing at a time and serves a call, or a frame
    /// moves before which one waits already.
    pub fn may_wait(&mut self, policy: &Policy, is_serial: bool, signs: &Signs<'_>) -> bool {
        let moves = self.moves(signs.now, policy.heartbeat_interval, signs.moved);
        let is_busy = signs.under_way.is_some_and(|call| call.excuses(policy.call_timeout));
        (is_serial && is_busy) || (self.is_excused && moves)
    }

    /// Whether a heartbeat that has ended, `is_late` or not, was not answered for a frame that moves.
    pub fn excuses(&mut self, policy: &Policy, is_late: bool, signs: &Signs<'_>) -> bool {
        self.is_excused = self.moves(signs.now, policy.heartbeat_interval, signs.moved) && is_late;
        self.is_excused
    }

    /// Whether enough bytes of an unfinished frame moved, in either direction, within the last whole `interval` that was
    /// measured.
    fn moves(&mut self, now: Time, interval: Duration, moved: Moved) -> bool {
        if now.since(self.measured_at) >= interval {
            let received = moved.received.saturating_sub(self.before.received).min(moved.unfinished);
            let written = moved.written.saturating_sub(self.before.written);
            let written = if moved.waiting > 0 { written } else { 0 };
            (self.measured_at, self.before) = (now, moved);
            self.moves = received.max(written) >= MOVED_BYTES_MIN;
        }
        self.moves
    }
}

/// What a connection tells of its plugin's life.
#[derive(Debug, Clone, Copy)]
pub struct Signs<'a> {
    /// When it was asked.
    pub now: Time,
    /// How far it has come.
    pub moved: Moved,
    /// The oldest call that is not answered.
    pub under_way: Option<UnderWay<'a>>,
}

/// A call that the plugin has and has not answered.
#[derive(Debug, Clone, Copy)]
pub struct UnderWay<'a> {
    /// Its method.
    pub method: &'a str,
    /// How long it has been under way.
    pub ran: Duration,
    /// What its caller gave it.
    pub timeout: Duration,
}

impl UnderWay<'_> {
    /// Whether a plugin that does one thing at a time need not answer a heartbeat meanwhile.
    #[must_use]
    pub fn excuses(&self, call_timeout: Duration) -> bool {
        self.ran < self.timeout.min(call_timeout)
    }
}

impl fmt::Display for UnderWay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} ran, {} s of {} s", self.method, seconds(self.ran), seconds(self.timeout))
    }
}

/// Seconds with at most one decimal.
fn seconds(duration: Duration) -> String {
    let text = format!("{:.1}", duration.as_secs_f64());
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn begun(moved: Moved) -> Liveness {
        Liveness::new(&Signs { now: at(0), moved, under_way: None })
    }

    /// A frame of which more and more has come.
    fn coming(received: u64) -> Moved {
        Moved { received, unfinished: received, ..Moved::default() }
    }

    #[test]
    fn bytes_of_an_unfinished_frame_are_life_and_drops_are_not() {
        let mut liveness = begun(coming(100));
        assert!(liveness.moves(at(2000), INTERVAL, coming(100 + MOVED_BYTES_MIN)));
        assert!(
            liveness.moves(at(3999), INTERVAL, coming(100 + MOVED_BYTES_MIN)),
            "the interval is not over"
        );
        assert!(!liveness.moves(at(4000), INTERVAL, coming(99 + 2 * MOVED_BYTES_MIN)));
        assert!(liveness.moves(at(6000), INTERVAL, coming(3 * MOVED_BYTES_MIN + 99)));
    }

    #[test]
    fn whole_frames_are_none_and_both_directions_count() {
        let mut liveness = begun(Moved::default());
        // Many small frames came, and a drop of another.
        let small = Moved { received: 1 << 20, unfinished: 10, ..Moved::default() };
        assert!(!liveness.moves(at(2000), INTERVAL, small));
        // Written, and nothing waits any more.
        let written = Moved { written: 1 << 20, ..small };
        assert!(!liveness.moves(at(4000), INTERVAL, written));
        let writes = Moved { written: (1 << 20) + MOVED_BYTES_MIN, waiting: 1, ..written };
        assert!(liveness.moves(at(6000), INTERVAL, writes));
        assert!(!liveness.moves(at(8000), INTERVAL, writes), "it stopped");
    }

    #[test]
    fn a_call_excuses_until_its_deadline_or_the_plugins_own() {
        let (s, own) = (Duration::from_secs, Duration::from_secs(30));
        let call = |ran, timeout| UnderWay { method: "x", ran, timeout };
        assert!(call(s(9), s(10)).excuses(own) && !call(s(10), s(10)).excuses(own));
        assert!(call(s(29), s(60)).excuses(own) && !call(s(30), s(60)).excuses(own));
        let call = call(Duration::from_millis(6949), s(30));
        assert_eq!(call.to_string(), "call x ran, 6.9 s of 30 s");
    }
}
