//! How much of what is printed goes on record.
//!
//! What always holds: over any time, no more than the bytes of that time, and of one second, and one event;
//! what is refused is counted, and told as soon as there is room.

use super::printed::Printed;
use crate::state::time::Time;
use std::time::Duration;

/// What each event counts beside its text: about what it takes in memory while it waits to be written.
const EVENT_BYTES: u64 = 512;
/// How far ahead of the rate a stream may be before it is refused.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// A bucket that leaks, kept as the time at which it will be empty.
#[derive(Debug)]
pub(in crate::state) struct Rate {
    bytes_per_second_max: u64,
    empty_at: Time,
    /// Refused since something was, until the bucket is empty: so that a flood is told once a second, and not
    /// with each event that just fits.
    refused_lines: u64,
    refused_bytes: u64,
}

impl Rate {
    pub(in crate::state) fn new(bytes_per_second_max: usize) -> Rate {
        let bytes_per_second_max = (bytes_per_second_max as u64).max(1);
        Rate { bytes_per_second_max, empty_at: Time::ZERO, refused_lines: 0, refused_bytes: 0 }
    }

    /// Changes how much comes through from now on.
    pub(in crate::state) fn set_bytes_per_second_max(&mut self, bytes_per_second_max: usize) {
        self.bytes_per_second_max = (bytes_per_second_max as u64).max(1);
    }

    /// Whether an event has no room; it is counted then. Tells before it of those that had none.
    pub(in crate::state) fn refuse(
        &mut self,
        now: Time,
        lines: usize,
        bytes: usize,
        out: &mut Vec<Printed>,
    ) -> bool {
        out.extend(self.resume(now));
        if self.refused_lines > 0 || self.empty_at.since(now) >= AHEAD_MAX {
            self.refused_lines += lines as u64;
            self.refused_bytes += bytes as u64;
            return true;
        }
        let cost = (EVENT_BYTES + bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second_max;
        self.empty_at = self.empty_at.max(now).plus(Duration::from_nanos(cost));
        false
    }

    /// When what was refused can be told.
    pub(in crate::state) fn next_at(&self) -> Option<Time> {
        (self.refused_lines > 0).then_some(self.empty_at)
    }

    /// Tells what was refused, if there is room again.
    pub(in crate::state) fn resume(&mut self, now: Time) -> Option<Printed> {
        if self.empty_at > now { None } else { self.finish() }
    }

    /// Tells what was refused.
    pub(in crate::state) fn finish(&mut self) -> Option<Printed> {
        let (lines, bytes) =
            (std::mem::take(&mut self.refused_lines), std::mem::take(&mut self.refused_bytes));
        (lines > 0).then_some(Printed::Dropped { lines, bytes })
    }
}
