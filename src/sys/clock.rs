//! The clock that goes on while the machine is suspended.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since the machine was started, suspends included (CLOCK_BOOTTIME, clock_gettime(2)). `None` on a kernel without it.
#[must_use]
pub fn boottime() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let before = boottime().unwrap();
        assert!(before > Duration::ZERO && boottime().unwrap() >= before);
    }
}
