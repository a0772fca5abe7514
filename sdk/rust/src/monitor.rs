//! Which calls the reading thread runs itself: those of methods that have been quick, and what notices one that blocks.
//!
//! What it deliberately does not do: read a clock, run anything, wait, or take the reading role from anybody.
//!
//! What always holds: a method is quick only after several quick calls; one that blocked the reading thread is slow at
//! once, and each time it has to prove itself for longer. The monitor is awake only while about one call a tick is run by
//! reading threads, and while such a call runs; a call counts as blocked when two ticks in a row, a tick apart, have
//! seen it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Handing a call to another thread costs 5 to 50 us; a handler that takes less is cheaper in place.
pub(crate) const QUICK_NS_MAX: u64 = 50_000;
/// A longer call counts as this: one during which the thread lost its processor shall not make a quick
/// method slow.
const SAMPLE_NS_MAX: u64 = 4 * QUICK_NS_MAX;
/// Calls before a method can be quick.
const TRIAL_CALLS: u64 = 4;
/// The same after it has blocked once; doubles each time.
const TRIAL_CALLS_BLOCKED: u64 = 64;
const BLOCKED_MAX: u64 = 10;

/// The running estimate. Threads that update it at once may lose an update, which an estimate survives.
pub(crate) struct Pace(AtomicU64);

/// What the number holds: 32 bits of mean, 24 of calls to go, 8 of how often it blocked.
#[derive(Clone, Copy)]
struct Parts {
    mean_ns: u64,
    trial: u64,
    blocked: u64,
}

impl Parts {
    fn pack(self) -> u64 {
        self.mean_ns << 32 | self.trial << 8 | self.blocked
    }

    fn unpack(packed: u64) -> Parts {
        Parts { mean_ns: packed >> 32, trial: packed >> 8 & 0xff_ffff, blocked: packed & 0xff }
    }
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace(AtomicU64::new(Parts { mean_ns: 0, trial: TRIAL_CALLS, blocked: 0 }.pack()))
    }

    /// What a call takes on average, when that is known and short. Nanoseconds.
    pub(crate) fn quick_ns(&self) -> Option<u64> {
        let Parts { mean_ns, trial, .. } = self.parts();
        (trial == 0 && mean_ns <= QUICK_NS_MAX).then_some(mean_ns)
    }

    /// Counts a call that took `time`.
    pub(crate) fn took(&self, time: Duration) {
        let parts = self.parts();
        let sample_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(SAMPLE_NS_MAX);
        // The weight of the newest is 1/8; the first one is all that is known.
        let untried = parts.trial == TRIAL_CALLS && parts.blocked == 0;
        let mean_ns = if untried { sample_ns } else { (parts.mean_ns * 7 + sample_ns) / 8 };
        let trial = parts.trial.saturating_sub(1);
        self.0.store(Parts { mean_ns, trial, ..parts }.pack(), Ordering::Relaxed);
    }

    /// Counts a call for which the reading thread had to be replaced.
    pub(crate) fn blocked(&self) {
        let Parts { blocked, .. } = self.parts();
        let trial = TRIAL_CALLS_BLOCKED << blocked;
        let blocked = (blocked + 1).min(BLOCKED_MAX);
        self.0.store(Parts { mean_ns: SAMPLE_NS_MAX, trial, blocked }.pack(), Ordering::Relaxed);
    }

    fn parts(&self) -> Parts {
        Parts::unpack(self.0.load(Ordering::Relaxed))
    }
}

/// From one look at the reading thread to the next.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call after which the monitor goes to sleep.
const CREDIT_MAX: u64 = 10;

#[derive(Default)]
pub(crate) struct Monitor {
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

impl Monitor {
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

    fn quick_after(pace: &Pace, micros: u64, calls_max: usize) -> Option<usize> {
        (1..=calls_max).find(|_| {
            pace.took(Duration::from_micros(micros));
            pace.quick_ns().is_some()
        })
    }

    #[test]
    fn a_method_is_quick_after_a_few_quick_calls_and_never_while_slow() {
        let pace = Pace::new();
        assert_eq!(pace.quick_ns(), None);
        assert_eq!(quick_after(&pace, 3, 100), Some(4));
        assert_eq!(pace.quick_ns(), Some(3000));
        assert_eq!(quick_after(&Pace::new(), 60, 1000), None);
        assert_eq!(quick_after(&Pace::new(), u64::MAX, 1000), None);
    }

    #[test]
    fn one_long_call_changes_nothing_and_several_do() {
        let pace = Pace::new();
        quick_after(&pace, 1, 100);
        pace.took(Duration::from_secs(5));
        assert!(pace.quick_ns().is_some(), "it may have lost its processor");
        for _ in 0..2 {
            pace.took(Duration::from_secs(5));
        }
        assert!(pace.quick_ns().is_none());
        assert!(quick_after(&pace, 1, 20).is_some(), "and it comes back");
    }

    #[test]
    fn one_that_blocked_is_slow_at_once_and_longer_each_time() {
        let pace = Pace::new();
        quick_after(&pace, 1, 100);
        let mut expected = 64;
        for _ in 0..20 {
            pace.blocked();
            assert_eq!(pace.quick_ns(), None);
            assert_eq!(quick_after(&pace, 1, 1 << 20), Some(expected));
            expected = (expected * 2).min(64 << 10);
        }
    }

    #[test]
    fn a_call_that_two_ticks_see_is_blocked_and_others_are_not() {
        let mut monitor = Monitor::default();
        let begin = Instant::now();
        let at = |tenths: u32| begin + TICK * tenths / 10;
        assert!(!monitor.tick(at(0), Some(1), 1), "it sleeps");
        monitor.wake();
        assert!(!monitor.tick(at(0), Some(1), 1));
        assert!(!monitor.tick(at(9), Some(1), 1), "too early");
        assert_eq!(monitor.left(at(9)), Some(TICK / 10));
        assert!(!monitor.tick(at(10), Some(2), 2), "another one");
        assert!(!monitor.tick(at(20), None, 2));
        assert!(!monitor.tick(at(30), Some(3), 3));
        assert!(monitor.tick(at(40), Some(3), 3));
    }

    #[test]
    fn it_sleeps_after_some_idle_ticks_but_not_during_a_call() {
        let mut monitor = Monitor::default();
        let begin = Instant::now();
        monitor.wake();
        let awake = (0..100).take_while(|tick| {
            monitor.tick(begin + TICK * *tick, None, 5);
            monitor.is_awake()
        });
        assert!((5..=10).contains(&awake.count()));
        assert_eq!(monitor.left(begin), None);
        monitor.wake();
        for tick in 100..200 {
            monitor.tick(begin + TICK * tick, Some(u64::from(tick)), 5);
            assert!(monitor.is_awake());
        }
    }
}
