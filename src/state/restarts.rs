//! Whether a plugin that failed is replaced, and after how long.
//!
//! What always holds: no more than [`Policy::restarts_max`] replacements within [`Policy::restart_window`].

use super::launch_failure::{LOOK_INTERVAL, PermanentFault};
use super::policy::{Policy, RestartPolicy};
use super::time::Time;
use rpc_plugin_wire::phrase::count;
use std::collections::VecDeque;
use std::time::Duration;

/// Failures in a row, and when replacements were decided on.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Failures since the last healthy stretch.
    failures_in_row: u32,
    /// When the replacements within the restart window were decided. At most `restarts_max`.
    recent: VecDeque<Time>,
}

/// Why a plugin that failed is not replaced.
#[derive(Debug)]
pub(super) enum NoRestart {
    /// The policy says never.
    Never,
    /// A further launch would fail too, until files are changed.
    Permanent,
    /// There were that many restarts within that time already.
    TooMany(usize, Duration),
}

impl NoRestart {
    /// The same in words, with the last failure.
    pub(super) fn text(&self, reason: &str) -> String {
        match self {
            NoRestart::Never => format!("the restart policy is never; the failure: {reason}"),
            NoRestart::Permanent => format!(
                "every further launch would fail too until this is mended; its files are looked at every {LOOK_INTERVAL:?}; \
                 the failure: {reason}"
            ),
            NoRestart::TooMany(number, window) => {
                let restarts = count(*number as u64, "restart");
                format!("{restarts} within {window:?}, which is the most; the last failure: {reason}")
            }
        }
    }
}

impl Restarts {
    /// Whether the replacements within the window are few.
    #[cfg(test)]
    pub(super) fn is_small(&self) -> bool {
        self.recent.capacity() <= 8
    }

    /// Failures in a row, the last one included.
    pub(super) fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    /// Counts a failure of a generation that was healthy for this long, if it ever was; gives the wait before its
    /// replacement.
    ///
    /// # Errors
    /// There is to be none, until an operator acts or, after a permanent failure, its files have changed.
    pub(super) fn after_failure(
        &mut self,
        now: Time,
        policy: &Policy,
        fault: PermanentFault,
        healthy_for: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Result<Duration, NoRestart> {
        if policy.restart == RestartPolicy::Never {
            return Err(NoRestart::Never);
        }
        if fault.is_permanent {
            return Err(NoRestart::Permanent);
        }
        let was_stable = healthy_for.is_some_and(|stretch| stretch >= policy.healthy_stretch);
        if was_stable {
            self.failures_in_row = 0;
        }
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        let delay = policy.backoff_jittered(self.failures_in_row, was_stable, rng.u32(..));
        if !policy.has_restarts_max() {
            return Ok(delay);
        }
        let window = policy.restart_window;
        while self.recent.front().is_some_and(|at| now.since(*at) >= window) {
            self.recent.pop_front();
        }
        let count = self.recent.len();
        if count >= policy.restarts_max as usize {
            return Err(NoRestart::TooMany(count, window));
        }
        self.recent.push_back(now);
        Ok(delay)
    }
}
