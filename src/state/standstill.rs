//! Time during which the host itself did not run: whether the machine was suspended, and when timers may be judged. Which part
//! of the clock the state machines do not see is in the peer crate, whose other users wait too.
//!
//! What it deliberately does not do: read a clock; whoever does hands the reading in.
//!
//! What always holds: the time of the state machines never goes backwards, and a standstill takes nothing from anything
//! that waits in it; a timer is judged only after what came before it was read, for at most [`DRAIN_TURNS_MAX`] turns.

use super::time::Time;
pub use rpc_plugin_peer::running_time::{LATE_MAX, RunningTime};
use std::time::Duration;

/// Turns in a row that read sources before timers that are due are judged nevertheless.
pub const DRAIN_TURNS_MAX: u32 = 16;

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
