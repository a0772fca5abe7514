//! How long the calls of one method take, and whether a further one is short enough for the thread that
//! reads from the host.
//!
//! What it deliberately does not do: read a clock, or run anything.
//!
//! What always holds: a method is quick only after several quick calls; one that blocked the reading
//! thread is slow at once, and each time it has to prove itself for longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
}
