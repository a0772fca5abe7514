//! What became of the calls of a set: counts, and how long they took.
//!
//! What it deliberately does not do: keep anything of a single call.
//!
//! What always holds: it has a fixed size, and counting an end costs the same however many there were.

use super::call_reply::CallResult;
use std::time::Duration;

/// What became of the calls of a [`CallSet`](super::CallSet) so far, as a copy: from [`CallSet::metrics`](super::CallSet::metrics).
/// An end counts once it was taken from the set.
///
/// Times are those of [`CallReply::took`](super::CallReply::took), from the host's send to the answer, of the calls that
/// succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallSetMetrics {
    /// Calls that were added.
    pub submitted: u64,
    /// Calls that ended with a result.
    pub succeeded: u64,
    /// Calls that ended with an error.
    pub failed: u64,
    /// Tries of all calls that have ended. As many as these, unless idempotent ones were repeated.
    pub attempts: u64,
    /// The shortest time that a call took; `None` before one has succeeded.
    pub shortest: Option<Duration>,
    /// The longest time that a call took; `None` before one has succeeded.
    pub longest: Option<Duration>,
    /// The times that all calls took, added up.
    pub total: Duration,
}

impl CallSetMetrics {
    /// Calls that have not ended, or whose end was not taken yet.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.submitted.saturating_sub(self.succeeded.saturating_add(self.failed))
    }

    /// The mean of the times that calls took; `None` before one has succeeded.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.total.as_nanos().checked_div(self.succeeded.into())?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// Counts a call that was added.
    pub(super) fn count_submitted(&mut self) {
        self.submitted = self.submitted.saturating_add(1);
    }

    /// Counts the end of a call.
    pub(super) fn count(&mut self, end: &CallResult) {
        let tries = match end {
            Ok(reply) => {
                self.succeeded = self.succeeded.saturating_add(1);
                self.shortest = Some(self.shortest.map_or(reply.took, |shortest| shortest.min(reply.took)));
                self.longest = Some(self.longest.map_or(reply.took, |longest| longest.max(reply.took)));
                self.total = self.total.saturating_add(reply.took);
                reply.tries
            }
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                error.tries
            }
        };
        self.attempts = self.attempts.saturating_add(tries.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CallReply;
    use rpc_plugin_wire::{CallError, ErrorCode};

    fn succeeded(took_ms: u64, tries: u32) -> CallResult {
        let took = Duration::from_millis(took_ms);
        let (result, fds) = (Default::default(), Vec::new());
        Ok(CallReply { result, fds, plugin_id: None, generation: None, took, tries })
    }

    #[test]
    fn ends_are_counted_with_their_tries_and_their_times() {
        let mut metrics = CallSetMetrics::default();
        assert_eq!((metrics.shortest, metrics.longest, metrics.mean()), (None, None, None));
        (0..5).for_each(|_| metrics.count_submitted());
        for end in [succeeded(30, 1), succeeded(10, 3), succeeded(20, 1)] {
            metrics.count(&end);
        }
        let error = CallError { tries: 4, ..CallError::not_sent(ErrorCode::Unavailable, "down") };
        metrics.count(&Err(error));
        assert_eq!((metrics.submitted, metrics.succeeded, metrics.failed), (5, 3, 1));
        assert_eq!((metrics.attempts, metrics.unfinished()), (9, 1));
        let ms = |number| Some(Duration::from_millis(number));
        assert_eq!((metrics.shortest, metrics.longest, metrics.mean()), (ms(10), ms(30), ms(20)));
    }
}
