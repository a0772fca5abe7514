//! Whether the event loop hangs in a descriptor of a plugin, and what is to be done about it.
//!
//! What it deliberately does not do: look at the loop, kill, or end anything; `reactor::watchdog` does.
//!
//! What always holds: a standstill of the whole process, and a machine on which the loop's thread gets no time, are no hang:
//! only looks count that came in time, and that found the thread asleep in the same call.

use super::time::Time;
use std::time::Duration;

/// Time between two looks.
pub const TICK: Duration = Duration::from_millis(250);
/// Looks in a row that find the loop in one and the same call: then the process that it waits for is killed.
pub const KILL_TICKS: u32 = 8;
/// The same: then the loop is given up.
pub const GIVE_UP_TICKS: u32 = 16;

/// What a look at the thread that drives the loop shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadState {
    /// It runs, or would if it had a processor.
    Running,
    /// It sleeps, and has been switched out so often.
    Asleep(u64),
    /// The system does not say.
    Unknown,
}

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangVerdict {
    /// The loop goes on.
    Fine,
    /// The group of the process whose descriptor it is, is to be killed. Said once a hang.
    Kill,
    /// The process that has this loop is to end. Said once a hang.
    GiveUp,
}

/// Looks at the loop while it works. The default: no look yet.
#[derive(Debug, Default)]
pub struct HangJudge {
    /// When it looked last, and the call and state of the thread that it saw.
    last: Option<(Time, u64, ThreadState)>,
    ticks: u32,
}

impl HangJudge {
    /// Judges a look: the number of the call that the loop is in, if it is in one, and its thread.
    pub fn look(&mut self, now: Time, call: Option<(u64, ThreadState)>) -> HangVerdict {
        let Some((call, state)) = call else {
            *self = HangJudge::default();
            return HangVerdict::Fine;
        };
        let last = self.last.replace((now, call, state));
        let is_same = |(_, seen, seen_state)| seen == call && seen_state == state;
        if state == ThreadState::Running || !last.is_some_and(is_same) {
            self.ticks = 0;
            return HangVerdict::Fine;
        }
        // Whoever did not get to look in time knows of its own standstill, not of one of the loop.
        if last.is_some_and(|(at, ..)| now.since(at) <= TICK * 2) {
            self.ticks += 1;
        } else {
            return HangVerdict::Fine;
        }
        match self.ticks {
            KILL_TICKS => HangVerdict::Kill,
            GIVE_UP_TICKS => HangVerdict::GiveUp,
            _ => HangVerdict::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ThreadState::{Asleep, Running, Unknown};
    use super::*;

    /// A judge, and the time in which it looks.
    #[derive(Default)]
    struct Scene {
        judge: HangJudge,
        now: Duration,
    }

    impl Scene {
        fn look(&mut self, after: Duration, call: Option<(u64, ThreadState)>) -> HangVerdict {
            self.now += after;
            self.judge.look(Time::from_nanos(self.now.as_nanos().try_into().unwrap()), call)
        }

        /// The verdicts of so many looks in time that all see the same.
        fn looks(&mut self, count: usize, call: u64, state: ThreadState) -> Vec<HangVerdict> {
            let verdicts = (0..count).map(|_| self.look(TICK, Some((call, state))));
            verdicts.filter(|verdict| *verdict != HangVerdict::Fine).collect()
        }
    }

    #[test]
    fn one_call_for_two_seconds_kills_and_for_four_ends() {
        for state in [Asleep(7), Unknown] {
            let mut scene = Scene::default();
            assert_eq!(scene.looks(8, 1, state), []);
            assert_eq!(
                scene.look(TICK, Some((1, state))),
                HangVerdict::Kill,
                "two seconds after the first look"
            );
            assert_eq!(scene.looks(7, 1, state), []);
            assert_eq!(scene.look(TICK, Some((1, state))), HangVerdict::GiveUp);
            assert_eq!(scene.looks(1000, 1, state), [], "each once");
            assert_eq!(scene.looks(17, 2, state), [HangVerdict::Kill, HangVerdict::GiveUp], "the next hang");
        }
    }

    #[test]
    fn what_moves_does_not_hang() {
        let mut scene = Scene::default();
        for round in 0..100 {
            assert_eq!(scene.looks(8, round, Asleep(1)), [], "other calls");
        }
        for round in 0..100 {
            assert_eq!(scene.looks(8, 1, Asleep(round)), [], "it was woken meanwhile");
        }
        assert_eq!(scene.looks(1000, 1, Running), [], "it would run if it could");
        for _ in 0..100 {
            assert_eq!(scene.looks(8, 1, Asleep(1)), []);
            assert_eq!(scene.look(TICK, None), HangVerdict::Fine, "it was in no call");
        }
    }

    #[test]
    fn a_standstill_of_everything_counts_for_nothing() {
        let mut scene = Scene::default();
        let call = Some((1, Asleep(1)));
        for _ in 0..100 {
            assert_eq!(scene.look(Duration::from_secs(3600), call), HangVerdict::Fine);
        }
        assert_eq!(scene.looks(7, 1, Asleep(1)), []);
        assert_eq!(scene.look(Duration::from_secs(60), call), HangVerdict::Fine);
        assert_eq!(scene.looks(1, 1, Asleep(1)), [HangVerdict::Kill], "what was seen before still counts");
    }
}
