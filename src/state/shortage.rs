//! What the host lacks for a while: descriptors, processes, memory, room on a disk.
//!
//! What this file is for: when to try again what failed for want of something, and what of it is told. What it
//! deliberately does not do: try, or know what failed.
//!
//! What always holds: attempts come in pauses of 100 ms at first and 10 s at most, without end; a shortage is told once
//! when it begins and once when it is over, however many attempts lie between.

use super::time::Time;
use std::time::Duration;

/// The pause before the second attempt; each further one is twice as long.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

/// One thing that is tried again until the host has what it takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shortage {
    /// When to try again; `None`: no attempt is to be made.
    again_at: Option<Time>,
    /// The pause before that; zero: nothing is lacking.
    pause: Duration,
}

impl Shortage {
    /// An attempt failed. Whether the shortage begins with it, and is to be told.
    pub fn failed(&mut self, now: Time) -> bool {
        let begins = self.pause.is_zero();
        self.pause = if begins { PAUSE_MIN } else { self.pause.saturating_mul(2).min(PAUSE_MAX) };
        self.again_at = Some(now.plus(self.pause));
        begins
    }

    /// When the next attempt is to be made.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.again_at
    }

    /// Whether an attempt is to be made now; then its outcome is to be told.
    pub fn is_due(&mut self, now: Time) -> bool {
        self.again_at.take_if(|at| *at <= now).is_some()
    }

    /// An attempt succeeded. Whether a shortage is over with it, and that is to be told.
    pub fn passed(&mut self) -> bool {
        let lasted = !self.pause.is_zero();
        *self = Shortage::default();
        lasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_twice_and_tried_again_in_growing_pauses() {
        let mut shortage = Shortage::default();
        let mut now = Time::ZERO;
        assert!(shortage.next_at().is_none() && !shortage.is_due(now) && !shortage.passed());
        let mut pauses = Vec::new();
        for attempt in 0..10 {
            assert_eq!(shortage.failed(now), attempt == 0);
            let at = shortage.next_at().unwrap();
            assert!(!shortage.is_due(Time::from_nanos(at.as_nanos() - 1)));
            pauses.push(at.since(now).as_millis());
            now = at;
            assert!(shortage.is_due(now) && !shortage.is_due(now), "one attempt");
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert!(shortage.passed() && !shortage.passed());
        assert!(shortage.failed(now), "the next one is another");
        assert_eq!(shortage.next_at().unwrap().since(now), PAUSE_MIN);
    }
}
