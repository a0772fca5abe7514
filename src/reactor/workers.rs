//! Work that may block, off the event loop: a few threads, a queue.
//!
//! What always holds: a job that panics costs its own result only; the queue is bounded, and full
//! means that the job is handed back to wait its turn.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

/// Threads, unless the host says otherwise.
pub(super) const WORKERS_DEFAULT: usize = 2;

/// Jobs that wait for a worker.
const QUEUE_MAX: usize = 256;

/// One piece of work for a thread.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// The threads, and their queue.
#[derive(Debug)]
pub(super) struct Workers {
    /// `None` once the pool is being ended.
    jobs: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads.
    pub(super) fn start(threads: usize) -> io::Result<Workers> {
        let (jobs, queue) = bounded::<Work>(QUEUE_MAX);
        let threads = (0..threads.max(1))
            .map(|_| {
                let queue: Receiver<Work> = queue.clone();
                std::thread::Builder::new().name("rpcplugin-work".into()).spawn(move || {
                    for job in queue {
                        // The job's own channel tells whoever waits that there is no result.
                        let _ = catch_unwind(AssertUnwindSafe(job));
                    }
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Workers { jobs: Some(jobs), threads })
    }

    /// Hands over a job, or hands it back when the queue is full.
    pub(super) fn submit(&self, job: Work) -> Result<(), Work> {
        match &self.jobs {
            None => Ok(()),
            Some(jobs) => jobs.try_send(job).map_err(TrySendError::into_inner),
        }
    }

    /// Ends the threads that have nothing to do; one that hangs in a job is left to it.
    pub(super) fn end(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}
