//! The time as the state machines know it: handed in, never read.
//!
//! What always holds: arithmetic saturates; it cannot wrap or panic.

use std::time::Duration;

/// A point on the host's monotonic clock: nanoseconds since the host began. Covers 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(u64);

impl Time {
    /// When the host began.
    pub const ZERO: Time = Time(0);

    /// The point `nanos` nanoseconds after the host began.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the host began.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The next whole multiple of `step` after this point, so that what recurs for many plugins
    /// recurs for all of them in one wake-up.
    #[must_use]
    pub fn next_multiple(self, step: Duration) -> Time {
        let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
        Time((self.0 / step).saturating_add(1).saturating_mul(step))
    }
}

/// A duration in whole milliseconds, as it goes on the wire and into records.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The nearest whole millisecond, for people: `{:?}` of a measured or random duration shows every
/// nanosecond.
#[must_use]
pub fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(millis(duration.saturating_add(Duration::from_micros(500))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_whole_milliseconds() {
        let shown = |micros| format!("{:?}", rounded(Duration::from_micros(micros)));
        assert_eq!(shown(201_882), "202ms");
        assert_eq!(shown(1_500_499), "1.5s");
        assert_eq!((shown(499), shown(0)), ("0ns".to_owned(), "0ns".to_owned()));
        assert_eq!(rounded(Duration::MAX).as_millis(), u128::from(u64::MAX));
    }
}
