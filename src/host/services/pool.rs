//! Threads that run what plugins ask of the embedding program.
//!
//! They are made when there is something to do, and end when there has been nothing for a while. One that waits for a
//! plugin gives its place to another, so that calls can go back and forth to any depth.
//!
//! What always holds: at most `threads` of those that do not wait run at once, but for those that have just stopped
//! waiting; there are at most [`WAITING_MAX`] threads more; the queue is bounded, and plugins share it; what nobody can ever run, because all
//! threads wait for what is queued, is refused and not left to its deadline.

use crate::state::time::Time;
use rpc_plugin_interface::deadlock::wait_for_each_other;
use rpc_plugin_interface::{CancelCause, Context};
use rpc_plugin_peer::{Amount, Party, ShareUsed, Shares};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads that may wait for a plugin and have given up their place.
pub(super) const WAITING_MAX: usize = 64;
/// How long a thread without anything to do stays.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(10);

/// The call of a plugin that a service serves.
pub(super) struct ServedCall {
    pub(super) context: Context,
    /// When its caller stops waiting, by the time of the loop.
    pub(super) until: Option<Time>,
    /// The entry in the chain of the calls that it leads to.
    pub(super) entry: String,
}

/// One piece of work and the call that it serves; `run` is given the reason where it cannot be done.
pub(super) struct ServiceJob {
    /// Party whose share of the queue it takes.
    pub(super) party: Party,
    pub(super) call: Arc<ServedCall>,
    pub(super) run: Box<dyn FnOnce(Result<(), JobRefused>) + Send>,
}

/// Why a job is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JobRefused {
    /// Too many wait for its party, or for all.
    Full(ShareUsed),
    /// All threads wait, for this one and others that no thread is left for.
    WouldDeadlock,
    /// No thread can be made.
    NoThread(String),
    /// The host ends.
    Ended,
}

struct PoolState {
    queue: VecDeque<ServiceJob>,
    /// Who has how much of the queue.
    shares: Shares,
    /// What runs, in no order.
    running: Vec<Arc<ServedCall>>,
    /// How many of those wait for a plugin.
    waiting: usize,
    threads: usize,
    ended: bool,
}

/// Threads that run services, and the queue of calls for them. Clones are the same pool.
#[derive(Clone)]
pub(super) struct Pool(Arc<PoolShared>);

struct PoolShared {
    threads: usize,
    idle_max: Duration,
    state: Mutex<PoolState>,
    changed: Condvar,
}

impl Pool {
    pub(super) fn new(threads: usize, queue_max: usize, idle_max: Duration) -> Pool {
        let state = PoolState {
            queue: VecDeque::new(),
            shares: Shares::new(Amount::of(queue_max)),
            running: Vec::new(),
            waiting: 0,
            threads: 0,
            ended: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Pool(Arc::new(PoolShared { threads, idle_max, state, changed }))
    }

    /// Queues a job. Never waits.
    pub(super) fn submit(&self, job: ServiceJob) -> Result<(), (JobRefused, ServiceJob)> {
        let mut state = self.0.lock();
        if state.ended {
            return Err((JobRefused::Ended, job));
        }
        if let Err(used) = state.shares.check(&job.party, Amount::ONE) {
            return Err((JobRefused::Full(used), job));
        }
        if self.0.is_stuck(&state, &job.call) {
            return Err((JobRefused::WouldDeadlock, job));
        }
        let _ = state.shares.enter(&job.party, Amount::ONE);
        state.queue.push_back(job);
        self.have_it_taken(&mut state).map_err(|(why, job)| (JobRefused::NoThread(why), job))
    }

    /// Has threads look at the queue, where they may work on it. On failure nothing is queued that nobody will take.
    fn have_it_taken(&self, state: &mut PoolState) -> Result<(), (String, ServiceJob)> {
        let places = self.0.threads.saturating_sub(state.running.len() - state.waiting);
        let wanted = state.queue.len().min(places);
        if wanted == 0 {
            return Ok(());
        }
        self.0.changed.notify_one();
        // Those that are idle, or begin, or have been notified and not looked yet: each takes one.
        let free = state.threads.saturating_sub(state.running.len());
        if free >= wanted || state.threads >= self.0.threads + WAITING_MAX {
            return Ok(());
        }
        let pool = self.clone();
        let thread = crate::threads::program_builder("rpcplugin-serve");
        match (thread.spawn(move || pool.work()), state.threads) {
            (Ok(_), _) => state.threads += 1,
            (Err(error), 0) => {
                if let Some(job) = state.pop_back() {
                    return Err((error.to_string(), job));
                }
            }
            // Those that there are get to it.
            (Err(_), _) => {}
        }
        Ok(())
    }

    /// A thread that runs a job is about to wait for a plugin.
    pub(super) fn begin_wait(&self) {
        let mut state = self.0.lock();
        state.waiting += 1;
        let _ = self.have_it_taken(&mut state);
        // What was queued before this wait began may be what it waits for.
        let newest = state.queue.back().filter(|job| self.0.is_stuck(&state, &job.call));
        let refused = newest.is_some().then(|| state.pop_back()).flatten();
        drop(state);
        if let Some(job) = refused {
            let _ = catch_unwind(AssertUnwindSafe(|| (job.run)(Err(JobRefused::WouldDeadlock))));
        }
    }

    /// How many jobs run, and how many wait for a thread.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.running.len(), state.queue.len())
    }

    /// It goes on.
    pub(super) fn end_wait(&self) {
        self.0.lock().waiting -= 1;
    }

    /// Takes no more, and cancels what runs; what is queued is refused.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.ended = true;
        let queued = std::mem::take(&mut state.queue);
        state.shares.clear();
        let running = state.running.clone();
        drop(state);
        self.0.changed.notify_all();
        for job in queued {
            let _ = catch_unwind(AssertUnwindSafe(|| (job.run)(Err(JobRefused::Ended))));
        }
        for call in running {
            let _ = catch_unwind(AssertUnwindSafe(|| call.context.cancel(Some(CancelCause::ENDING))));
        }
    }

    fn work(&self) {
        let inner = &self.0;
        let mut state = inner.lock();
        loop {
            if state.ended {
                break;
            }
            if inner.has_place(&state)
                && let Some(job) = state.pop_front()
            {
                let ServiceJob { call, run, .. } = job;
                state.running.push(Arc::clone(&call));
                // Where more wait and more may run, this thread is not to be their only one.
                let _ = self.have_it_taken(&mut state);
                drop(state);
                // The panic handler has reported it; who asked is answered by what the job dropped.
                let _ = catch_unwind(AssertUnwindSafe(|| run(Ok(()))));
                state = inner.lock();
                state.running.retain(|known| !Arc::ptr_eq(known, &call));
                continue;
            }
            let (next, timed_out) =
                inner.changed.wait_timeout(state, inner.idle_max).unwrap_or_else(PoisonError::into_inner);
            state = next;
            let is_wanted = inner.has_place(&state) && !state.queue.is_empty();
            if timed_out.timed_out() && !is_wanted {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl PoolState {
    fn pop_front(&mut self) -> Option<ServiceJob> {
        let job = self.queue.pop_front()?;
        self.shares.leave(&job.party, Amount::ONE);
        Some(job)
    }

    fn pop_back(&mut self) -> Option<ServiceJob> {
        let job = self.queue.pop_back()?;
        self.shares.leave(&job.party, Amount::ONE);
        Some(job)
    }
}

impl PoolShared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_place(&self, state: &PoolState) -> bool {
        state.running.len() - state.waiting < self.threads
    }

    /// Whether nobody will ever run this: there can be no more threads, and each of them waits in a call that led to
    /// this one or to another that is queued.
    fn is_stuck(&self, state: &PoolState, wanted: &ServedCall) -> bool {
        let all_wait = state.waiting >= state.running.len();
        if !all_wait || state.running.len() < self.threads + WAITING_MAX {
            return false;
        }
        let queued = state.queue.iter().map(|job| &*job.call);
        let chains = queued.chain([wanted]).map(|call| call.context.chain());
        wait_for_each_other(state.running.iter().map(|running| running.entry.as_str()), chains)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
