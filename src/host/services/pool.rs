//! Threads that run what plugins ask of the embedding program.
//!
//! They are made when there is something to do, and end when there has been nothing for a while. One that waits for a
//! plugin gives its place to another, so that calls can go back and forth to any depth.
//!
//! What always holds: at most `threads` of those that do not wait run at once, but for those that have just stopped
//! waiting; there are at most [`WAITING_MAX`] threads more; the queue is bounded.

use super::current::Current;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads that may wait for a plugin and have given up their place.
pub(super) const WAITING_MAX: usize = 64;
/// How long a thread without anything to do stays.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// One piece of work, and what it is part of.
pub(super) struct Job {
    pub(super) current: Arc<Current>,
    pub(super) run: Box<dyn FnOnce() + Send>,
}

/// Why a job was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many wait.
    Full(usize),
    /// All threads wait, in calls that led to this one: it could only wait for itself.
    WouldDeadlock,
    /// No thread can be made.
    NoThread(String),
    /// The host ends.
    Ended,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// What runs, in no order.
    running: Vec<Arc<Current>>,
    /// How many of those wait for a plugin.
    waiting: usize,
    threads: usize,
    idle: usize,
    ended: bool,
}

/// See the module's text. Clones are the same pool.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    threads: usize,
    queue_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Pool {
    pub(super) fn new(threads: usize, queue_max: usize) -> Pool {
        Pool(Arc::new(Inner { threads, queue_max, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Queues a job. Never waits.
    pub(super) fn submit(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.0.lock();
        if state.ended {
            return Err(Refused::Ended);
        }
        if state.queue.len() >= self.0.queue_max {
            return Err(Refused::Full(self.0.queue_max));
        }
        let stuck =
            state.waiting >= state.running.len() && state.running.len() >= self.0.threads + WAITING_MAX;
        if stuck && state.running.iter().all(|current| current.led_to(&job.current)) {
            return Err(Refused::WouldDeadlock);
        }
        state.queue.push_back(job);
        self.have_it_taken(state).map_err(Refused::NoThread)
    }

    /// Has a thread look at the queue, if one may work on it. On failure nothing is queued that nobody will take.
    fn have_it_taken(&self, mut state: MutexGuard<'_, State>) -> Result<(), String> {
        if state.queue.is_empty() || !self.0.has_place(&state) {
            return Ok(());
        }
        if state.idle > 0 {
            self.0.changed.notify_one();
            return Ok(());
        }
        if state.threads >= self.0.threads + WAITING_MAX {
            return Ok(());
        }
        let pool = self.clone();
        let thread = std::thread::Builder::new().name("rpcplugin-serve".into());
        match thread.spawn(move || pool.0.work()) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.queue.pop_back();
                return Err(error.to_string());
            }
            // Those that there are get to it.
            Err(_) => {}
        }
        Ok(())
    }

    /// A thread that runs a job is about to wait for a plugin.
    pub(super) fn begin_wait(&self) {
        let mut state = self.0.lock();
        state.waiting += 1;
        let _ = self.have_it_taken(state);
    }

    /// It goes on.
    pub(super) fn end_wait(&self) {
        self.0.lock().waiting -= 1;
    }

    /// Takes no more, and cancels what runs; what is queued is dropped.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.ended = true;
        let queued = std::mem::take(&mut state.queue);
        let running = state.running.clone();
        drop(state);
        self.0.changed.notify_all();
        drop(queued);
        for current in running {
            let _ = catch_unwind(AssertUnwindSafe(|| current.context.cancel()));
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_place(&self, state: &State) -> bool {
        state.running.len() - state.waiting < self.threads
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.ended {
                break;
            }
            if self.has_place(&state)
                && let Some(job) = state.queue.pop_front()
            {
                let Job { current, run } = job;
                state.running.push(Arc::clone(&current));
                drop(state);
                // The panic handler has reported it; who asked is answered by what the job dropped.
                let _ = catch_unwind(AssertUnwindSafe(|| current.enter(run)));
                state = self.lock();
                state.running.retain(|known| !Arc::ptr_eq(known, &current));
                continue;
            }
            state.idle += 1;
            let (next, timed_out) =
                self.changed.wait_timeout(state, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            let has_work = self.has_place(&state) && !state.queue.is_empty();
            if timed_out.timed_out() && !has_work {
                break;
            }
        }
        state.threads -= 1;
    }
}
