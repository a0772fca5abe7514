//! Work that may block, off the event loop: a few threads, a queue.
//!
//! What always holds: a job that panics costs its own result only; the queue is bounded, and full
//! means that the job is handed back to wait its turn; a worker that has nothing to do sleeps at once, for a launch on
//! one core waits for whoever looks around a while before.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Threads, unless the host says otherwise.
pub(super) const WORKERS_DEFAULT: usize = 2;

/// Jobs that wait for a worker.
const QUEUE_MAX: usize = 256;

/// One piece of work for a thread.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// The jobs that wait.
#[derive(Default)]
struct Jobs {
    queue: VecDeque<Work>,
    /// Nothing more will come.
    is_closed: bool,
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    /// A job came, or nothing more will.
    changed: Condvar,
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Nothing in this file panics while it holds the lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, waiting for it. `None`: there is none, and none will come.
    fn next(&self) -> Option<Work> {
        let waits = |jobs: &mut Jobs| jobs.queue.is_empty() && !jobs.is_closed;
        let jobs = self.changed.wait_while(self.jobs(), waits);
        jobs.unwrap_or_else(PoisonError::into_inner).queue.pop_front()
    }
}

/// The threads, and their queue.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads.
    pub(super) fn start(threads: usize) -> io::Result<Workers> {
        let mut workers = Workers { shared: Arc::default(), threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&workers.shared);
            let thread = crate::threads::builder("rpcplugin-work");
            workers.threads.push(thread.spawn(move || {
                while let Some(job) = shared.next() {
                    // The job's own channel tells whoever waits that there is no result.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?);
        }
        Ok(workers)
    }

    /// Hands over a job, or hands it back when the queue is full.
    pub(super) fn submit(&self, job: Work) -> Result<(), Work> {
        let mut jobs = self.shared.jobs();
        if jobs.is_closed {
            return Ok(());
        }
        if jobs.queue.len() >= QUEUE_MAX {
            return Err(job);
        }
        jobs.queue.push_back(job);
        drop(jobs);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Ends the threads that have nothing to do; one that hangs in a job is left to it.
    pub(super) fn end(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    fn close(&self) {
        self.shared.jobs().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn jobs_run_in_order_past_one_that_panics_and_what_waits_at_the_end_is_still_done() {
        let mut workers = Workers::start(1).unwrap();
        let (done, results) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        assert!(workers.submit(Box::new(move || gate.recv().unwrap_or_default())).is_ok());
        assert!(workers.submit(Box::new(|| panic!("a job that fails"))).is_ok());
        for number in 0..2 {
            let done = done.clone();
            assert!(workers.submit(Box::new(move || done.send(number).unwrap())).is_ok());
        }
        workers.end();
        // It comes after the end, and is dropped.
        assert!(workers.submit(Box::new(move || done.send(2).unwrap())).is_ok());
        go.send(()).unwrap();
        assert_eq!([(); 2].map(|()| results.recv_timeout(SOON).unwrap()), [0, 1]);
        assert!(results.recv_timeout(SOON).is_err(), "nothing else comes");
    }

    #[test]
    fn a_job_that_finds_no_room_comes_back() {
        let workers = Workers::start(1).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (_go, gate) = mpsc::channel::<()>();
        let hangs = move || {
            begun.send(()).unwrap();
            let _ = gate.recv();
        };
        assert!(workers.submit(Box::new(hangs)).is_ok());
        has_begun.recv_timeout(SOON).unwrap();
        for _ in 0..QUEUE_MAX {
            assert!(workers.submit(Box::new(|| ())).is_ok());
        }
        assert!(workers.submit(Box::new(|| ())).is_err());
    }
}
