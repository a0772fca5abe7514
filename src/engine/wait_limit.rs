//! How long a thread of the embedding program waits at the most.

use crate::state::standstill::RunningTime;
use crate::state::time::Time;
use std::time::{Duration, Instant};

/// The end of one thread's wait. A standstill of the host puts it off, as it does everything that the thread may wait
/// for.
#[derive(Debug)]
pub(super) struct WaitLimit {
    origin: Instant,
    clock: RunningTime,
    until: Time,
}

impl WaitLimit {
    /// The end of a wait that begins now.
    pub(super) fn new(timeout: Duration) -> WaitLimit {
        WaitLimit { origin: Instant::now(), clock: RunningTime::default(), until: Time::ZERO.plus(timeout) }
    }

    /// How long the thread may sleep before it asks again; zero once the wait is over.
    pub(super) fn left(&mut self) -> Duration {
        self.left_at(self.origin.elapsed())
    }

    fn left_at(&mut self, monotonic: Duration) -> Duration {
        let left = self.until.since(self.clock.read(monotonic).0);
        self.clock.sleeps(Some(left));
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_puts_the_end_off() {
        let ms = Duration::from_millis;
        let mut limit = WaitLimit::new(ms(5000));
        assert_eq!(limit.left_at(ms(0)), ms(5000));
        assert_eq!(limit.left_at(ms(2000)), ms(3000), "woken early");
        assert_eq!(limit.left_at(ms(15_000)), ms(3000), "stood still");
        assert_eq!(limit.left_at(ms(18_001)), ms(0));
        assert_eq!(
            WaitLimit::new(Duration::MAX).left_at(ms(1)),
            Time::from_nanos(u64::MAX).since(Time::from_nanos(1_000_000))
        );
    }
}
