//! When the monitor ticks, and what it makes of what it sees.
//!
//! What it deliberately does not do: read a clock, wait, or take the reading role from anybody.
//!
//! What always holds: it is awake only while about one call a tick is run by reading threads, and while
//! such a call runs; a call counts as blocked when two ticks in a row, a tick apart, have seen it.

use std::time::{Duration, Instant};

/// From one look at the reading thread to the next.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call after which the monitor goes to sleep.
const CREDIT_MAX: u64 = 10;

#[derive(Default)]
pub(crate) struct Watch {
    awake: bool,
    /// `None` until the first tick after it woke.
    next: Option<Instant>,
    /// The call that ran at the last tick.
    seen: Option<u64>,
    /// How many calls there had been by the last tick.
    runs: u64,
    credit: u64,
    #[cfg(test)]
    pub(crate) ticks: u64,
}

impl Watch {
    pub(crate) fn is_awake(&self) -> bool {
        self.awake
    }

    pub(crate) fn wake(&mut self) {
        (self.awake, self.next, self.seen, self.credit) = (true, None, None, CREDIT_MAX);
    }

    /// The time until the next tick; `None` when there is none.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let next = self.next.unwrap_or(now);
        self.awake.then(|| next.saturating_duration_since(now))
    }

    /// Looks, if it is time to: `run` is the call that a reading thread runs now, `runs` how many there have
    /// been. Says whether it is blocked.
    pub(crate) fn tick(&mut self, now: Instant, run: Option<u64>, runs: u64) -> bool {
        if !self.awake || self.next.is_some_and(|next| now < next) {
            return false;
        }
        #[cfg(test)]
        {
            self.ticks += 1;
        }
        self.next = Some(now + TICK);
        let blocked = run.is_some() && run == self.seen;
        self.seen = if blocked { None } else { run };
        self.credit = (self.credit + runs.wrapping_sub(self.runs)).min(CREDIT_MAX).saturating_sub(1);
        self.runs = runs;
        self.awake = blocked || run.is_some() || self.credit > 0;
        blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_two_ticks_see_is_blocked_and_others_are_not() {
        let mut watch = Watch::default();
        let begin = Instant::now();
        let at = |tenths: u32| begin + TICK * tenths / 10;
        assert!(!watch.tick(at(0), Some(1), 1), "it sleeps");
        watch.wake();
        assert!(!watch.tick(at(0), Some(1), 1));
        assert!(!watch.tick(at(9), Some(1), 1), "too early");
        assert_eq!(watch.left(at(9)), Some(TICK / 10));
        assert!(!watch.tick(at(10), Some(2), 2), "another one");
        assert!(!watch.tick(at(20), None, 2));
        assert!(!watch.tick(at(30), Some(3), 3));
        assert!(watch.tick(at(40), Some(3), 3));
    }

    #[test]
    fn it_sleeps_after_some_idle_ticks_but_not_during_a_call() {
        let mut watch = Watch::default();
        let begin = Instant::now();
        watch.wake();
        let awake = (0..100).take_while(|tick| {
            watch.tick(begin + TICK * *tick, None, 5);
            watch.is_awake()
        });
        assert!((5..=10).contains(&awake.count()));
        assert_eq!(watch.left(begin), None);
        watch.wake();
        for tick in 100..200 {
            watch.tick(begin + TICK * tick, Some(u64::from(tick)), 5);
            assert!(watch.is_awake());
        }
    }
}
