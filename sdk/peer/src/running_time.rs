//! Time during which this process itself did not run, and what it takes from whom: from nobody who waits.
//!
//! What it deliberately does not do: read a clock; whoever does hands the reading in.
//!
//! What always holds: the time of [`RunningTime`] never goes backwards, and a standstill takes nothing from anything that
//! waits in it; a wait that ends is longer than it was to be only where this process ran late.

use crate::time::Time;
use std::time::Duration;

/// How much later than planned the clock may be read. Beyond it the host stood still.
pub const LATE_MAX: Duration = Duration::from_secs(1);

/// How much later than planned a thread may look after its wait. Beyond it others of its process, that were as late, are to
/// take in what came meanwhile before it judges.
const HURRIED_MAX: Duration = Duration::from_millis(10);
/// Time that they have for that.
pub const GRACE: Duration = Duration::from_millis(100);
/// Longest sleep of a thread that waits, so that it notices a standstill long before the end of its wait.
const SLEEP_MAX: Duration = Duration::from_secs(1);

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

    /// What was left out so far.
    #[must_use]
    pub fn left_out(&self) -> Duration {
        Duration::from_nanos(self.gaps)
    }

    /// The time at the last reading.
    #[must_use]
    pub fn latest(&self) -> Time {
        Time::from_nanos(self.last.saturating_sub(self.gaps))
    }
}

/// The end of one thread's wait, for whoever waits outside of the state machines. A standstill puts it off, as it does
/// everything that the thread may wait for, and what came in time is taken in before it is judged.
#[derive(Debug, Clone)]
pub struct WaitLimit {
    clock: RunningTime,
    until: Time,
    /// What the thread was told to sleep last.
    sleep: Duration,
    has_had_grace: bool,
}

impl WaitLimit {
    /// The end of a wait that begins now and lasts so long.
    #[must_use]
    pub fn new(timeout: Duration) -> WaitLimit {
        let (clock, until) = (RunningTime::default(), Time::ZERO.plus(timeout));
        WaitLimit { clock, until, sleep: Duration::ZERO, has_had_grace: false }
    }

    /// How long the thread may sleep before it asks again, a second at the most; zero once the wait is over. `elapsed` is the
    /// monotonic time since it began.
    pub fn left(&mut self, elapsed: Duration) -> Duration {
        let planned = self.clock.latest().plus(self.sleep);
        let (now, _) = self.clock.read(elapsed);
        let is_late = now.since(planned) > HURRIED_MAX;
        if self.until <= now && is_late && !self.has_had_grace {
            self.has_had_grace = true;
            self.until = now.plus(GRACE);
        }
        self.sleep = self.until.since(now).min(SLEEP_MAX);
        self.clock.sleeps(Some(self.sleep));
        self.sleep
    }

    /// What of the wait so far does not count.
    #[must_use]
    pub fn left_out(&self) -> Duration {
        self.clock.left_out()
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

    /// The waits that are asked for from now on: when each look comes, and how long may be slept then.
    fn looks<const N: usize>(limit: &mut WaitLimit, looks: [(u64, u64); N]) {
        for (at, left) in looks {
            assert_eq!(limit.left(ms(at)), ms(left), "at {at} ms");
        }
    }

    #[test]
    fn a_wait_ends_in_time_where_nothing_is_late() {
        looks(&mut WaitLimit::new(ms(2500)), [(0, 1000), (1000, 1000), (2010, 490), (2510, 0), (2511, 0)]);
        looks(&mut WaitLimit::new(ms(0)), [(0, 0)]);
        assert_eq!(WaitLimit::new(Duration::MAX).left(ms(1)), SLEEP_MAX);
    }

    #[test]
    fn a_standstill_puts_the_end_of_a_wait_off() {
        // Of the sleep in which it began nothing counts.
        looks(
            &mut WaitLimit::new(ms(2500)),
            [(0, 1000), (700, 1000), (15_000, 1000), (16_000, 800), (16_800, 0)],
        );
        // Stopped again in its last sleep, and again.
        let mut often = WaitLimit::new(ms(500));
        looks(&mut often, [(0, 500), (5000, 500), (9000, 500), (9500, 0)]);
    }

    #[test]
    fn a_wait_whose_end_is_late_is_judged_after_others_had_time_to_take_in_what_came() {
        // By less than a standstill: once a hundred milliseconds more, however late that ends.
        looks(&mut WaitLimit::new(ms(500)), [(0, 500), (900, 100), (1000, 0)]);
        looks(&mut WaitLimit::new(ms(500)), [(0, 500), (900, 100), (1400, 0)]);
        looks(&mut WaitLimit::new(ms(500)), [(0, 500), (900, 100), (5000, 100), (5100, 0)]);
        // Whoever begins to wait when it is too late already.
        looks(&mut WaitLimit::new(ms(500)), [(900, 100), (1000, 0)]);
    }
}
