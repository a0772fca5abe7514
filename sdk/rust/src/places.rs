//! Who has a place among the threads while handlers wait for calls of their own.
//!
//! A handler that waits gives its place, and the reading role if it has that, to another thread; one more is
//! started where there would be none left. Where it keeps its place instead, a call that could only wait for
//! itself is found.
//!
//! What it deliberately does not do: wait, or start threads; whoever suspends brings a way to start one.
//!
//! What always holds: there is a thread for each place, for each handler that waits without one, and one more to
//! read; at most [`WAITING_MAX`] wait without a place, further ones keep theirs; a handler that goes on
//! does so at once, so that for a moment more than `threads` may run.

use crate::calls::Slot;
use crate::frames::Frames;
use crate::pool::{Pool, Role, State};
use crate::task::Job;
use rpc_plugin_wire::Chain;
use std::mem::take;
use std::sync::Arc;

/// Handlers that wait without a place, and so threads beyond those that were asked for.
pub(crate) const WAITING_MAX: usize = 64;

/// A handler that waits.
pub(crate) struct Waiter {
    number: u64,
    /// Its call, as it stands in chains.
    entry: String,
    /// What it waits for.
    slot: Arc<Slot>,
    keeps_place: bool,
}

/// What is left to do for who suspends a handler.
#[derive(Default)]
pub(crate) struct Suspended {
    /// For [`Pool::resume`].
    pub(crate) number: u64,
    /// Answers of this thread that were collected and not sent.
    pub(crate) answers: Frames,
    /// The number of the method that had the reading role.
    pub(crate) method: Option<usize>,
    /// Calls that could only wait for themselves now, to be answered.
    pub(crate) stuck: Vec<Job>,
}

impl Pool {
    /// A handler waits for `slot` from now on. `run` is its number if it may have the reading role; `spawn` starts
    /// one more worker.
    pub(crate) fn suspend(
        &self,
        run: Option<u64>,
        entry: String,
        slot: &Arc<Slot>,
        spawn: impl FnOnce(usize) -> bool,
    ) -> Suspended {
        let mut state = self.lock();
        let mut suspended = Suspended { number: state.last_waiter + 1, ..Suspended::default() };
        state.last_waiter += 1;
        let gives_place = self.reentrant && state.waiting < WAITING_MAX && {
            let is_enough = state.workers > self.threads + 1 + state.waiting;
            // With the lock held, because there has to be a thread before somebody relies on it. This happens once
            // for each of at most 64.
            let is_there = is_enough || spawn(state.workers);
            state.workers += usize::from(is_there && !is_enough);
            is_there
        };
        if gives_place {
            state.waiting += 1;
            state.running -= 1;
        }
        let (number, slot) = (suspended.number, Arc::clone(slot));
        state.waiters.push(Waiter { number, entry, slot, keeps_place: !gives_place });
        if let Role::Running { run: running, method } = state.role
            && run == Some(running)
        {
            state.role = Role::Free;
            state.collected_frames = 0;
            suspended.answers = take(&mut state.collected);
            suspended.method = Some(method);
        }
        if !gives_place {
            suspended.stuck = self.take_stuck(&mut state);
        }
        self.wake_one(state);
        suspended
    }

    /// The handler goes on.
    pub(crate) fn resume(&self, number: u64) {
        let mut state = self.lock();
        let Some(at) = state.waiters.iter().position(|waiter| waiter.number == number) else { return };
        if !state.waiters.swap_remove(at).keeps_place {
            state.waiting -= 1;
            state.running += 1;
        }
    }

    /// Whether every place is taken by a handler that waits, each for a call that led to one of this chain.
    pub(crate) fn is_stuck(&self, state: &State, chain: &Chain) -> bool {
        let kept = state.waiters.iter().filter(|waiter| waiter.keeps_place).count();
        !chain.is_empty()
            && state.running >= self.threads
            && kept == state.running
            && state.waiters.iter().all(|waiter| chain.contains(&waiter.entry) && !waiter.slot.is_over())
    }

    fn take_stuck(&self, state: &mut State) -> Vec<Job> {
        let mut stuck = Vec::new();
        while let Some(at) = state.queue.iter().position(|job| self.is_stuck(state, job.call.chain())) {
            if let Some(job) = state.queue.remove(at) {
                state.unanswered.remove(job.call.id());
                stuck.push(job);
            }
        }
        stuck
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
