//! A sink that runs: its thread, and what others see of it.

use super::options::SinkOptions;
use super::runner::{Runner, SinkShared};
use super::status::Status;
use super::target::EventTarget;
use super::unrecorded::Unrecorded;
use crate::eventlog::log::EventLog;
use crate::eventlog::thread::RecordThread;
use crate::eventlog::waker::StreamWaker;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A sink that runs. Dropping it ends its thread without waiting.
#[derive(Debug)]
pub struct Sink {
    waker: Arc<StreamWaker>,
    status: Arc<Status>,
    unrecorded: Unrecorded,
    thread: RecordThread,
}

impl Sink {
    /// Starts the thread. `kind` is a word for what the target is.
    ///
    /// # Errors
    /// The thread, or the pipe that wakes it, cannot be made.
    pub fn start(
        runtime_dir: &Path,
        options: SinkOptions,
        kind: &'static str,
        target: Box<dyn EventTarget>,
        log: EventLog,
    ) -> io::Result<Sink> {
        let waker = Arc::new(StreamWaker::new()?);
        let status = Arc::new(Status::new(&options.name, kind));
        let unrecorded = Unrecorded::new(&waker);
        let shared = SinkShared {
            waker: Arc::clone(&waker),
            status: Arc::clone(&status),
            unrecorded: unrecorded.clone(),
        };
        let runner = Runner::new(runtime_dir, options, target, log, shared);
        let thread = RecordThread::start("log-sink", move || runner.run())?;
        Ok(Sink { waker, status, unrecorded, thread })
    }

    /// Where it is to be told what was written.
    #[must_use]
    pub fn waker(&self) -> &Arc<StreamWaker> {
        &self.waker
    }

    /// Where it is handed what is not on record.
    #[must_use]
    pub fn unrecorded(&self) -> &Unrecorded {
        &self.unrecorded
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Asks the thread to hand over what is left, until `deadline`, and to end.
    pub fn begin_end(&self, deadline: Instant) {
        self.waker.end_by(deadline);
    }

    /// Waits for its end until `deadline`; a thread that hangs is left behind.
    pub fn wait_end(&mut self, deadline: Instant) {
        self.thread.wait_end(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.waker.end_by(Instant::now());
    }
}
