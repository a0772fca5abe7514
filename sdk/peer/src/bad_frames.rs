//! How many frames of a peer were no messages, within a minute.
//!
//! What it deliberately does not do: look at frames. What always holds: at most [`BAD_FRAMES_MAX`] times are kept.

use crate::time::Time;
use crate::violation::Violation;
use rpc_plugin_wire::BadFrame;
use std::collections::VecDeque;
use std::time::Duration;

/// Bad frames of one connection within [`BAD_FRAMES_TIME`] that cost no more than what each was about. One more ends the
/// connection.
pub const BAD_FRAMES_MAX: usize = 16;
/// Time for which a bad frame counts.
pub const BAD_FRAMES_TIME: Duration = Duration::from_secs(60);

/// When the last bad frames of a connection came.
#[derive(Debug, Default)]
pub struct BadFrames {
    came_at: VecDeque<Time>,
}

impl BadFrames {
    /// Counts one.
    ///
    /// # Errors
    /// It is one too many.
    pub fn count(&mut self, now: Time, bad: &BadFrame) -> Result<(), Violation> {
        self.count_one(now)
            .map_err(|why| Violation { code: bad.code(), why: format!("{why}; the last: {bad}") })
    }

    /// Counts a notification that is a message, and whose params are not those of its method, for this reason.
    ///
    /// # Errors
    /// It is one too many.
    pub fn count_params(&mut self, now: Time, why: Violation) -> Result<(), Violation> {
        let Violation { code, why: last } = why;
        self.count_one(now).map_err(|why| Violation { code, why: format!("{why}; the last: {last}") })
    }

    fn count_one(&mut self, now: Time) -> Result<(), String> {
        while self.came_at.front().is_some_and(|at| now.since(*at) >= BAD_FRAMES_TIME) {
            self.came_at.pop_front();
        }
        if self.came_at.len() >= BAD_FRAMES_MAX {
            return Err(format!("more than {BAD_FRAMES_MAX} bad frames came within {BAD_FRAMES_TIME:?}"));
        }
        self.came_at.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventeenth_within_a_minute_is_one_too_many() {
        let (mut bad, second) = (BadFrames::default(), Duration::from_secs(1));
        let mut now = Time::ZERO;
        for _ in 0..100 {
            assert_eq!(bad.count_params(now, Violation::invalid("x")), Ok(()));
            now = now.plus(4 * second);
        }
        for _ in 0..BAD_FRAMES_MAX - 14 {
            assert_eq!(bad.count_params(now, Violation::invalid("x")), Ok(()));
        }
        let why = bad.count_params(now, Violation::invalid("it is odd")).unwrap_err().why;
        assert_eq!(why, "more than 16 bad frames came within 60s; the last: it is odd");
        assert_eq!(bad.count_params(now.plus(60 * second), Violation::invalid("x")), Ok(()));
        assert!(bad.came_at.len() <= BAD_FRAMES_MAX);
    }
}
