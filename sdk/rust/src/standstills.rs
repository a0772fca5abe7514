//! Time during which this process stood still, as threads see it that wait for the host.
//!
//! What it deliberately does not do: wake anybody up in order to see more. Where nobody waits, nobody is late either.
//!
//! What always holds: what several threads have seen counts once.

use rpc_plugin_interface::context::StoodStill;
use rpc_plugin_peer::running_time::WaitLimit;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Standstills {
    total: StoodStill,
    /// The end of the last one.
    end: Mutex<Option<Instant>>,
}

impl Standstills {
    /// How much of its time this process stood still, for the deadlines of calls that are served.
    pub(crate) fn total(&self) -> StoodStill {
        self.total.clone()
    }

    /// How long a thread may sleep that waits since `begun`; zero once its wait is over.
    pub(crate) fn left(&self, limit: &mut WaitLimit, begun: Instant) -> std::time::Duration {
        let (before, now) = (limit.left_out(), Instant::now());
        let left = limit.left(now.saturating_duration_since(begun));
        let length = limit.left_out().saturating_sub(before);
        if let Some(from) = now.checked_sub(length).filter(|_| !length.is_zero()) {
            self.note(from, now);
        }
        left
    }

    fn note(&self, from: Instant, to: Instant) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let from = end.map_or(from, |end| end.max(from));
        self.total.add(to.saturating_duration_since(from));
        *end = Some(end.map_or(to, |end| end.max(to)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_several_threads_see_counts_once() {
        let (standstills, begun) = (Standstills::default(), Instant::now());
        let at = |secs| begun + Duration::from_secs(secs);
        let total = || standstills.total().total().as_secs();
        standstills.note(at(1), at(11));
        standstills.note(at(2), at(10));
        standstills.note(at(3), at(12));
        assert_eq!(total(), 11);
        standstills.note(at(20), at(25));
        assert_eq!(total(), 16);
    }
}
