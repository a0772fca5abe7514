//! Time during which the host itself did not run: which part of the clock the state machines do not see, and when their
//! timers may be judged.
//!
//! What it deliberately does not do: read a clock; whoever does hands the reading in.
//!
//! What always holds: the time of the state machines never goes backwards, and a standstill takes nothing from anything
//! that waits in it; a timer is judged only after what came before it was read, for at most [`DRAIN_TURNS_MAX`] turns.

use super::time::Time;
use std::time::Duration;

/// How much later than planned the clock may be read. Beyond it the host stood still.
pub const LATE_MAX: Duration = Duration::from_secs(1);

/// Turns in a row that read sources before timers that are due are judged nevertheless.
pub const DRAIN_TURNS_MAX: u32 = 16;

/// The monotonic clock less the standstills of the host: stopped by a signal, frozen, or starved of the processor.
#[derive(Debug, Clone, Default)]
pub struct RunningTime {
    /// The last reading. Nanoseconds.
    last: u64,
    /// How long the host sleeps after it at the most, as planned; `None` until something happens. Nanoseconds.
    sleep: Option<u64>,
    /// What was left out so far. Nanoseconds.
    gaps: u64,
}

impl RunningTime {
    /// Says that the host sleeps after the last reading, for so long at the most; `None`: until something happens, which
    /// is never too late.
    pub fn sleeps(&mut self, sleep: Option<Duration>) {
        self.sleep = sleep.map(nanos);
    }

    /// The time at this reading of the monotonic clock, and how much later than planned it comes where the host stood
    /// still. When it began to within a sleep cannot be told, so that no part of that sleep counts.
    pub fn read(&mut self, monotonic: Duration) -> (Time, Option<Duration>) {
        let reading = nanos(monotonic);
        let elapsed = reading.saturating_sub(self.last);
        let late = self.sleep.map_or(0, |sleep| elapsed.saturating_sub(sleep));
        (self.last, self.sleep) = (reading, Some(0));
        let stood_still = (late > nanos(LATE_MAX)).then(|| Duration::from_nanos(late));
        if stood_still.is_some() {
            self.gaps = self.gaps.saturating_add(elapsed);
        }
        (self.latest(), stood_still)
    }

    /// The time at the last reading.
    #[must_use]
    pub fn latest(&self) -> Time {
        Time::from_nanos(self.last.saturating_sub(self.gaps))
    }
}

/// What tells that the machine was suspended: CLOCK_BOOTTIME goes on then, and CLOCK_MONOTONIC does not
/// (clock_gettime(2)).
#[derive(Debug, Clone, Default)]
pub struct Suspends {
    /// How much the one clock was ahead of the other.
    ahead: Option<Duration>,
}

impl Suspends {
    /// How long the machine was suspended since the last time this was asked; `None`: not for a second.
    pub fn look(&mut self, monotonic: Duration, boottime: Duration) -> Option<Duration> {
        let ahead = boottime.saturating_sub(monotonic);
        let suspended = ahead.saturating_sub(self.ahead.replace(ahead)?);
        (suspended >= LATE_MAX).then_some(suspended)
    }
}

/// What puts timers off that are due until sources were read that may tell of their answers.
#[derive(Debug, Clone, Default)]
pub struct DueTimers {
    put_off: u32,
}

impl DueTimers {
    /// Whether timers that were due at `asked_at` may be judged in this turn. `asked_at` is when the kernel was asked for
    /// events; `is_all_read` says whether all that it had was read, `due` is the first timer.
    pub fn may_be_judged(&mut self, asked_at: Time, is_all_read: bool, due: Option<Time>) -> bool {
        let is_due = due.is_some_and(|due| due <= asked_at);
        if is_all_read || !is_due || self.put_off >= DRAIN_TURNS_MAX {
            self.put_off = 0;
            return true;
        }
        self.put_off += 1;
        false
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_reading_in_time_is_the_clocks_own() {
        let mut clock = RunningTime::default();
        assert_eq!(clock.read(ms(5000)), (at(5000), None), "nothing was planned before the first reading");
        assert_eq!(clock.read(ms(6000)), (at(6000), None), "a second without a plan is no standstill");
        clock.sleeps(Some(ms(2000)));
        assert_eq!(clock.read(ms(6001)), (at(6001), None), "woken early");
        clock.sleeps(Some(ms(2000)));
        assert_eq!(clock.read(ms(9001)), (at(9001), None), "a second late");
        clock.sleeps(None);
        assert_eq!(clock.read(ms(999_001)), (at(999_001), None), "a sleep without an end is never too long");
    }

    #[test]
    fn a_standstill_takes_no_time_from_a_timer() {
        let mut clock = RunningTime::default();
        clock.read(ms(1000));
        clock.sleeps(Some(ms(2000)));
        assert_eq!(clock.read(ms(16_000)), (at(1000), Some(ms(13_000))), "of a sleep of two seconds");
        assert_eq!(clock.read(ms(16_500)), (at(1500), None));
        // Within a turn, which plans no sleep.
        assert_eq!(clock.read(ms(17_501)), (at(1500), Some(ms(1001))));
        assert_eq!(clock.read(ms(17_502)), (at(1501), None));
        clock.sleeps(Some(ms(10_000)));
        assert_eq!(clock.read(ms(27_502)), (at(11_501), None), "a plan that was kept");
        assert_eq!(clock.latest(), at(11_501));
    }

    #[test]
    fn the_time_never_goes_backwards() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut clock, mut monotonic, mut before) = (RunningTime::default(), Duration::ZERO, Time::ZERO);
        for _ in 0..10_000 {
            clock.sleeps(rng.bool().then(|| ms(rng.u64(..3000))));
            let elapsed = ms(rng.u64(..6000));
            monotonic += elapsed;
            let (now, stood_still) = clock.read(monotonic);
            let ran = now.since(before);
            assert!(now >= before && ran == if stood_still.is_some() { Duration::ZERO } else { elapsed });
            before = now;
        }
    }

    #[test]
    fn a_suspend_is_what_boottime_gains() {
        let mut suspends = Suspends::default();
        assert_eq!(suspends.look(ms(10), ms(70_010)), None);
        assert_eq!(suspends.look(ms(5010), ms(75_900)), None, "two readings are never at once");
        assert_eq!(suspends.look(ms(6010), ms(3_676_900)), Some(ms(3_600_000)));
        assert_eq!(suspends.look(ms(7010), ms(3_677_900)), None);
    }

    #[test]
    fn a_timer_waits_for_what_came_before_it() {
        let mut timers = DueTimers::default();
        assert!(timers.may_be_judged(at(9), false, Some(at(10))), "nothing is due");
        assert!(timers.may_be_judged(at(9), false, None));
        assert!(timers.may_be_judged(at(10), true, Some(at(10))), "all was read");
        assert!(!timers.may_be_judged(at(10), false, Some(at(10))));
        assert!(timers.may_be_judged(at(10), true, Some(at(10))));
        // Whoever never stops sending puts nothing off for ever.
        for _ in 0..DRAIN_TURNS_MAX {
            assert!(!timers.may_be_judged(at(11), false, Some(at(10))));
        }
        assert!(timers.may_be_judged(at(11), false, Some(at(10))));
        assert!(!timers.may_be_judged(at(11), false, Some(at(10))), "counted from the beginning");
    }
}
