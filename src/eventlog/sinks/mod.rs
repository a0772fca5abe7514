//! Sinks: where events go beside their files, each at least once.
//!
//! What this folder is for: one thread a sink reads the record's own files, from a cursor that survives the
//! host, and hands events to a [`Target`]. The files are the queue: a sink that is down or slow is behind, and
//! nothing else waits for it. What it deliberately does not do: know plugins, processes or the event loop;
//! the targets that need them are in `src/host/sinks`.
//!
//! What always holds: the cursor moves only over events that the other side has taken; what retention removed
//! before a sink took it is counted and told, on record and in the sink; memory is one batch a sink; a
//! sink that waits holds no file open.

mod batch;
mod cursor;
mod datagram;
mod format;
mod options;
mod runner;
mod status;
mod stderr;
mod window;

pub use datagram::{Datagram, DatagramFormat};
pub use format::json_line;
pub use options::{BATCH_MAX, CommandLine, Prefix, SINKS_MAX, SinkOptions, SinkTarget, SyslogFormat};
pub use status::Status;
pub use stderr::Stderr;
pub use window::{Window, write_by};

use super::thread::RecordThread;
use super::{EventLog, StreamWaker};
use rpc_plugin_wire::event::Record;
use runner::Runner;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder of the cursors in the runtime folder.
pub const FOLDER: &str = "sinks";

/// One event on its way to a sink.
#[derive(Debug, Clone)]
pub struct Event {
    /// The line as it is on record, without its end; of a gap, a line without `seq`.
    pub text: String,
    /// What it says.
    pub record: Record,
}

/// Why not all events were taken.
#[derive(Debug)]
pub struct Fault {
    /// How many were, from the first on.
    pub taken: usize,
    /// Of all that were handed over, the newest that the other side has not read, and never will.
    pub unread: usize,
    /// The one after them can never be taken, such as one that is too long; the others can.
    pub is_refused: bool,
    /// What failed, and where.
    pub error: String,
}

impl Fault {
    /// The other side cannot be reached, or takes nothing.
    #[must_use]
    pub fn down(taken: usize, error: impl Into<String>) -> Fault {
        Fault { taken, unread: 0, is_refused: false, error: error.into() }
    }
}

/// The other side of a sink. Only its own thread calls it.
pub trait Target: Send {
    /// Hands events over, in their order. May block for `timeout` without any progress.
    ///
    /// # Errors
    /// Not all were taken. After an error that is no refusal the next call begins anew: it connects again.
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), Fault>;

    /// How many of the events that were handed over, the newest ones, the other side has not read yet.
    ///
    /// # Errors
    /// It is gone, and will not read them.
    fn unread(&mut self) -> Result<usize, Fault> {
        Ok(0)
    }

    /// Descriptors at which something may happen while there is nothing to hand over.
    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Looks after them.
    ///
    /// # Errors
    /// The other side is gone.
    fn tend(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    /// The end: lets the other side read what it was given, until `deadline`, and closes. How many events it
    /// has not read.
    fn finish(&mut self, deadline: Instant) -> usize {
        let _ = deadline;
        0
    }
}

/// A sink that runs. Dropping it ends its thread without waiting.
#[derive(Debug)]
pub struct Sink {
    waker: Arc<StreamWaker>,
    status: Arc<Status>,
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
        target: Box<dyn Target>,
        log: EventLog,
    ) -> io::Result<Sink> {
        let waker = Arc::new(StreamWaker::new()?);
        let status = Arc::new(Status::new(&options.name, kind));
        let runner = Runner::new(runtime_dir, options, target, log, Arc::clone(&waker), Arc::clone(&status));
        let thread = RecordThread::start("log-sink", move || runner.run())?;
        Ok(Sink { waker, status, thread })
    }

    /// Where it is to be told what was written.
    #[must_use]
    pub fn waker(&self) -> &Arc<StreamWaker> {
        &self.waker
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
