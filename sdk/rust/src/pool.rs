//! The requests that are not answered yet, and the queue from which the worker threads take them.
//!
//! What it deliberately does not do: run handlers or write answers; the service does that.
//!
//! What always holds: the queue is bounded; an id is in here from the request until just before its answer
//! is sent, so that the host may use it again as soon as it has the answer; while something is queued,
//! a worker is on its way to it, or all are busy. At most one worker is being woken at a time.

use crate::call::Call;
use rpc_plugin_wire::RequestId;
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A request for a handler.
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) params: Option<Box<RawValue>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Queued and running calls. Only looked up, never walked to decide anything.
    unanswered: HashMap<RequestId, Call>,
    /// Workers that wait for a job.
    idle: usize,
    /// Whether one of them has been woken and is not there yet.
    waking: bool,
    /// Workers that run a handler or send its answer.
    running: usize,
    closed: bool,
}

pub(crate) struct Pool {
    queue_max: usize,
    state: Mutex<State>,
    queued: Condvar,
    /// Told when the pool is closed and no worker runs any more.
    all_done: Condvar,
}

impl Pool {
    pub(crate) fn new(queue_max: usize) -> Pool {
        Pool { queue_max, state: Mutex::default(), queued: Condvar::new(), all_done: Condvar::new() }
    }

    /// Queues all of `jobs`, in order. Those that find the queue full go to `refused`.
    ///
    /// # Errors
    /// The id of a job whose id is in use already; that job and those after it are not queued.
    pub(crate) fn submit(
        &self,
        jobs: &mut Vec<Job>,
        mut refused: impl FnMut(&Call),
    ) -> Result<(), RequestId> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        let mut twice = Ok(());
        for job in jobs.drain(..) {
            if state.unanswered.contains_key(job.call.id()) {
                twice = Err(job.call.id().clone());
                break;
            }
            if state.queue.len() >= self.queue_max {
                refused(&job.call);
                continue;
            }
            state.unanswered.insert(job.call.id().clone(), job.call.clone());
            state.queue.push_back(job);
        }
        self.wake_one(state);
        twice
    }

    /// Whether a request of that id is not answered yet.
    pub(crate) fn is_unanswered(&self, id: &RequestId) -> bool {
        self.lock().unanswered.contains_key(id)
    }

    /// The next job; waits for one. `None` once the pool is closed. A worker passes whether it has just
    /// sent the answer of another.
    pub(crate) fn next(&self, has_answered: bool) -> Option<Job> {
        let mut state = self.lock();
        if has_answered {
            state.running -= 1;
        }
        loop {
            if state.closed {
                if state.running == 0 {
                    self.all_done.notify_all();
                }
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                state.running += 1;
                self.wake_one(state);
                return Some(job);
            }
            state.idle += 1;
            state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            state.waking = false;
        }
    }

    /// Says that the answer of `call` is about to be sent.
    pub(crate) fn answered(&self, call: &Call) {
        self.lock().unanswered.remove(call.id());
    }

    /// Cancels a request. When no worker has it yet, it is taken out and returned, to be answered by the
    /// caller. An id that is not in use means that the answer was faster.
    pub(crate) fn cancel(&self, id: &RequestId) -> Option<Call> {
        let mut state = self.lock();
        let call = state.unanswered.get(id).cloned()?;
        let Some(at) = state.queue.iter().position(|job| job.call.id() == id) else {
            drop(state);
            call.cancel();
            return None;
        };
        state.queue.remove(at);
        state.unanswered.remove(id);
        Some(call)
    }

    /// Takes no more jobs, cancels what runs, and returns what was queued, to be answered by the caller.
    pub(crate) fn close(&self) -> Vec<Call> {
        let mut state = self.lock();
        state.closed = true;
        let queued: Vec<Call> = state.queue.drain(..).map(|job| job.call).collect();
        for call in &queued {
            state.unanswered.remove(call.id());
        }
        let running: Vec<Call> = state.unanswered.values().cloned().collect();
        drop(state);
        self.queued.notify_all();
        running.iter().for_each(Call::cancel);
        queued
    }

    /// After [`Pool::close`]: waits until every handler has answered, at most until `deadline`.
    pub(crate) fn wait_all_done(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.all_done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a worker where one is needed. The woken one wakes the next, so nobody wakes more than one.
    /// A notify is a system call in any case, which is why it is avoided here and made without the lock.
    fn wake_one(&self, mut state: MutexGuard<'_, State>) {
        if !state.queue.is_empty() && state.idle > 0 && !state.waking {
            state.waking = true;
            drop(state);
            self.queued.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{HandlerError, Method, typed};
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::Duration;

    fn job(id: u64) -> Job {
        let handler = typed(|_: &Call, (): ()| Ok::<(), HandlerError>(()));
        let method = Arc::new(Method { name: "m".into(), handler });
        Job { call: Call::new(RequestId::Number(id), method, None), params: None }
    }

    #[test]
    fn the_queue_is_bounded_and_ids_are_unique_until_answered() {
        let pool = Pool::new(2);
        let mut refused = Vec::new();
        let mut submit = |ids: &[u64]| {
            pool.submit(&mut ids.iter().copied().map(job).collect(), |call| refused.push(call.id().clone()))
        };
        submit(&[1, 2, 3]).unwrap();
        assert_eq!(submit(&[2]), Err(RequestId::Number(2)));
        let first = pool.next(false).unwrap();
        assert_eq!(submit(&[1]), Err(RequestId::Number(1)), "running is not answered");
        pool.answered(&first.call);
        submit(&[1]).unwrap();
        assert_eq!(refused, [RequestId::Number(3)]);
    }

    #[test]
    fn what_is_queued_when_cancelled_never_runs() {
        let pool = Pool::new(9);
        pool.submit(&mut vec![job(1), job(2), job(3)], |_| panic!("refused")).unwrap();
        assert_eq!(pool.cancel(&RequestId::Number(2)).unwrap().id(), &RequestId::Number(2));
        assert!(pool.cancel(&RequestId::Number(2)).is_none());
        let first = pool.next(false).unwrap();
        assert!(pool.cancel(&RequestId::Number(1)).is_none(), "a worker has it, and answers it");
        assert!(first.call.is_cancelled());
        let left = pool.close();
        assert_eq!(left.iter().map(|call| call.id().clone()).collect::<Vec<_>>(), [RequestId::Number(3)]);
        assert!(pool.next(true).is_none());
        pool.wait_all_done(Instant::now() + Duration::from_secs(20));
    }

    /// Workers that tell which job they took, and hold each until `holds` lets go or it is cancelled.
    fn workers(
        pool: &Arc<Pool>,
        count: usize,
        holds: fn(&RequestId) -> bool,
    ) -> (Vec<std::thread::JoinHandle<()>>, mpsc::Receiver<RequestId>) {
        let (taken, seen) = mpsc::channel();
        let spawn = |_| {
            let (pool, taken) = (Arc::clone(pool), taken.clone());
            std::thread::spawn(move || {
                let mut has_answered = false;
                while let Some(job) = pool.next(has_answered) {
                    taken.send(job.call.id().clone()).unwrap();
                    if holds(job.call.id()) {
                        let _ = job.call.wait(Duration::MAX);
                    }
                    pool.answered(&job.call);
                    has_answered = true;
                }
            })
        };
        ((0..count).map(spawn).collect(), seen)
    }

    fn end(pool: &Pool, workers: Vec<std::thread::JoinHandle<()>>) {
        assert!(pool.close().is_empty());
        pool.wait_all_done(Instant::now() + Duration::from_secs(20));
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    }

    #[test]
    fn every_job_finds_a_worker_while_one_is_free() {
        let pool = Arc::new(Pool::new(1000));
        // The first job holds its worker until the end: the others must do the rest.
        let (workers, seen) = workers(&pool, 3, |id| id == &RequestId::Number(0));
        for round in 0..500 {
            pool.submit(&mut vec![job(round * 2), job(round * 2 + 1)], |_| panic!("refused")).unwrap();
            for _ in 0..2 {
                seen.recv_timeout(Duration::from_secs(20)).expect("a job was forgotten");
            }
        }
        end(&pool, workers);
    }

    #[test]
    fn one_batch_wakes_as_many_workers_as_it_needs() {
        let pool = Arc::new(Pool::new(1000));
        let (workers, seen) = workers(&pool, 4, |_| true);
        while pool.lock().idle < 4 {
            std::thread::yield_now();
        }
        pool.submit(&mut (0..4).map(job).collect(), |_| panic!("refused")).unwrap();
        for _ in 0..4 {
            seen.recv_timeout(Duration::from_secs(5)).expect("a worker sleeps beside a queued job");
        }
        end(&pool, workers);
    }
}
