//! How far events are recorded, for those who wait for it: in mode strict on the disk, else handed to the kernel.
//!
//! What this file is for: the writer says up to which ticket everything is settled, and which tickets were
//! settled without being recorded; threads wait for that with a deadline, the event loop asks and is told.
//! What it deliberately does not do: I/O.
//!
//! What always holds: the settled ticket never goes back; a ticket that was not recorded is never called
//! recorded, however long ago it was.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ranges of tickets that were not recorded, of which the oldest are joined beyond this many.
const RANGES_MAX: usize = 64;
/// A deadline too far to name is a day.
const FAR: Duration = Duration::from_secs(86_400);

/// The place of an event among all that were handed to one log: from 1 on, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is in its file: in mode strict on the disk, in the others handed to the kernel.
    Recorded,
    /// The file did not take it, or in mode strict the disk did not confirm it, within the time for that. It may
    /// still come.
    NotRecorded,
    /// That is not known yet.
    Waiting,
}

type Notice = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(super) struct LogProgress {
    settled: AtomicU64,
    state: Mutex<ProgressState>,
    changed: Condvar,
    is_wanted: AtomicBool,
    notice: Mutex<Option<Notice>>,
}

#[derive(Default)]
struct ProgressState {
    settled: u64,
    /// Disjoint, in order: first and last ticket.
    not_recorded: VecDeque<(u64, u64)>,
    /// Threads that wait for something to change: where there are none, none is woken.
    waiting: usize,
    is_over: bool,
    /// The number of the last flush that was done, and whether all files were clean then.
    flushed: (u64, bool),
}

impl std::fmt::Debug for LogProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogProgress").field("settled", &self.settled).finish_non_exhaustive()
    }
}

impl ProgressState {
    fn of(&self, ticket: u64) -> Settled {
        if self.not_recorded.iter().any(|(first, last)| (*first..=*last).contains(&ticket)) {
            Settled::NotRecorded
        } else if ticket <= self.settled {
            Settled::Recorded
        } else {
            Settled::Waiting
        }
    }
}

impl LogProgress {
    fn state(&self) -> MutexGuard<'_, ProgressState> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes tickets that are given up; to be called before they are settled.
    pub(super) fn give_up(&self, first: u64, last: u64) {
        let mut state = self.state();
        match state.not_recorded.back_mut() {
            Some((from, to)) if first <= to.saturating_add(1) => {
                (*from, *to) = ((*from).min(first), (*to).max(last));
            }
            _ => state.not_recorded.push_back((first, last)),
        }
        if state.not_recorded.len() > RANGES_MAX
            && let Some((first, _)) = state.not_recorded.pop_front()
            && let Some(second) = state.not_recorded.front_mut()
        {
            // Some between them are called not recorded that were; never the other way round.
            second.0 = first;
        }
    }

    /// Says that everything up to `ticket` is recorded or given up.
    pub(super) fn settle(&self, ticket: u64) {
        let mut state = self.state();
        if ticket <= state.settled {
            return;
        }
        state.settled = ticket;
        self.settled.store(ticket, Ordering::SeqCst);
        self.wake(state);
        if self.is_wanted.swap(false, Ordering::SeqCst) {
            let notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(notice) = &*notice {
                notice();
            }
        }
    }

    /// Wakes those who wait, to look at what has changed.
    fn wake(&self, state: MutexGuard<'_, ProgressState>) {
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
    }

    /// Waits for something to change, at most so long.
    fn wait_changed<'s>(
        &'s self,
        mut state: MutexGuard<'s, ProgressState>,
        left: Duration,
    ) -> MutexGuard<'s, ProgressState> {
        state.waiting += 1;
        let mut state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state
    }

    /// Says that there is no writer any more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        self.wake(state);
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::SeqCst)
    }

    pub(super) fn of(&self, ticket: Ticket) -> Settled {
        self.state().of(ticket.0)
    }

    pub(super) fn wait(&self, ticket: Ticket, deadline: Duration) -> Settled {
        let now = Instant::now();
        let end = now.checked_add(deadline).unwrap_or(now + FAR);
        let mut state = self.state();
        loop {
            let settled = state.of(ticket.0);
            let left = end.saturating_duration_since(Instant::now());
            if settled != Settled::Waiting || left.is_zero() || state.is_over {
                return settled;
            }
            state = self.wait_changed(state, left);
        }
    }

    /// Says that flushes up to this number are done.
    pub(super) fn flushed(&self, number: u64, is_clean: bool) {
        let mut state = self.state();
        state.flushed = (number, is_clean);
        self.wake(state);
    }

    /// Waits for a flush; whether it found all files clean.
    pub(super) fn wait_flushed(&self, number: u64, deadline: Duration) -> bool {
        let now = Instant::now();
        let end = now.checked_add(deadline).unwrap_or(now + FAR);
        let mut state = self.state();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if state.flushed.0 >= number {
                return state.flushed.1;
            }
            if left.is_zero() || state.is_over {
                return false;
            }
            state = self.wait_changed(state, left);
        }
    }

    pub(super) fn on_settled(&self, notice: Notice) {
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice);
    }

    /// The next time something is settled, the notice is given, once.
    pub(super) fn want(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_never_called_recorded() {
        let progress = LogProgress::default();
        for n in 0..200 {
            progress.give_up(10 * n + 5, 10 * n + 6);
            progress.settle(10 * n + 9);
        }
        for n in 0..200 {
            assert_eq!(progress.of(Ticket(10 * n + 5)), Settled::NotRecorded);
            assert_eq!(progress.of(Ticket(10 * n + 6)), Settled::NotRecorded);
        }
        assert_eq!(progress.of(Ticket(1999)), Settled::Recorded);
        assert_eq!(progress.of(Ticket(2000)), Settled::Waiting);
        assert!(progress.state().not_recorded.len() <= RANGES_MAX);
        progress.settle(5);
        assert_eq!(progress.settled(), 1999, "it never goes back");
    }

    #[test]
    fn waiting_ends_at_its_deadline_or_with_the_writer() {
        let progress = LogProgress::default();
        assert_eq!(progress.wait(Ticket(1), Duration::from_millis(1)), Settled::Waiting);
        progress.end();
        assert_eq!(progress.wait(Ticket(1), Duration::MAX), Settled::Waiting);
        progress.settle(1);
        assert_eq!(progress.wait(Ticket(1), Duration::ZERO), Settled::Recorded);
    }
}
