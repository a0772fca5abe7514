//! The record of what happened: JSON lines, one file a plugin and one for the daemon.
//!
//! What this module is for: taking events from any thread without ever making it wait, and writing
//! them in the order in which they came to `RUNTIME/ID/events.jsonl` (events of a plugin) and
//! `RUNTIME/events.jsonl` (events of the host itself).
//!
//! What it deliberately does not do: sync to disk, rotate, read or filter; decide what is worth
//! recording.
//!
//! What always holds: [`EventLog::record`] never blocks and never fails; an event that was handed
//! over is written, still waits, or is counted in [`EventLog::dropped`]; a line is whole, is one JSON
//! object, and is at most [`LINE_BYTES_MAX`] long; memory and file descriptors are bounded.

mod entry;
mod files;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::Entry;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use files::Files;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use writer::Writer;

/// The name of a record file in its folder.
pub const FILE_NAME: &str = "events.jsonl";

/// Longest line, its line end included. Bytes. Longer events have their texts cut, with a marker.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Most events that wait for the writer, unless the host says otherwise.
pub const QUEUE_MAX_DEFAULT: usize = 8192;

/// Most bytes of events that wait for the writer, however few they are; more are dropped.
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long dropping the last handle waits for the writer to write what it was given.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// What the writer thread is sent.
enum Item {
    Event(Box<Entry>),
    /// Answered with whether everything handed over before is in its file.
    Flush(Sender<bool>),
}

/// Counts that outlive a batch.
#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicU64,
    written: AtomicU64,
    write_errors: AtomicU64,
    queued_bytes: AtomicUsize,
}

/// A handle on the record. Clones share one writer thread; dropping the last one writes what waits
/// and ends the thread.
#[derive(Debug, Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    counts: Arc<Counts>,
    /// Absent in a log that records nothing.
    writer: Option<Handle>,
}

#[derive(Debug)]
struct Handle {
    queue: Sender<Item>,
    /// Disconnected when the thread is at its end; nothing is ever sent.
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl EventLog {
    /// Starts the writer. `runtime_dir` must exist; `queue_max` events may wait, at least one.
    ///
    /// # Errors
    /// `runtime_dir` cannot be opened, is no folder, or is a symbolic link; or the thread cannot be
    /// started.
    pub fn start(runtime_dir: &Path, queue_max: usize) -> io::Result<EventLog> {
        let files = Files::open(runtime_dir)?;
        let counts = Arc::new(Counts::default());
        let (queue, items) = bounded(queue_max.max(1));
        let (alive, ended) = bounded(0);
        let writer = Writer::new(items, files, Arc::clone(&counts));
        let thread = std::thread::Builder::new().name("event-log".into()).spawn(move || {
            let _alive: Sender<()> = alive;
            writer.run();
        })?;
        Ok(EventLog { inner: Arc::new(Inner { counts, writer: Some(Handle { queue, ended, thread }) }) })
    }

    /// A log that records nothing and has no thread, for programs that want none.
    #[must_use]
    pub fn disabled() -> EventLog {
        EventLog { inner: Arc::new(Inner { counts: Arc::default(), writer: None }) }
    }

    /// Hands an event to the writer. Never blocks: when too much waits already, the event is dropped
    /// and counted.
    pub fn record(&self, mut entry: Entry) {
        let Some(writer) = &self.inner.writer else { return };
        let counts = &self.inner.counts;
        entry.fit();
        let bytes = entry.bytes();
        let before = counts.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let full = before.saturating_add(bytes) > QUEUE_BYTES_MAX;
        if full || writer.queue.try_send(Item::Event(Box::new(entry))).is_err() {
            counts.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until every event that was handed over before is in its file, at most `deadline`.
    /// False if it is not by then, or if a file could not be written.
    #[must_use]
    pub fn flush(&self, deadline: Duration) -> bool {
        let Some(writer) = &self.inner.writer else { return true };
        // A deadline too far to name is a day.
        let now = Instant::now();
        let end = now.checked_add(deadline).unwrap_or(now + Duration::from_secs(86_400));
        let (done, answer) = bounded(1);
        writer.queue.send_deadline(Item::Flush(done), end).is_ok()
            && answer.recv_deadline(end).unwrap_or(false)
    }

    /// Events that were lost: the queue was full, or a file could not be written for too long.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.counts.dropped.load(Ordering::Relaxed)
    }

    /// Events that are in their file.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.inner.counts.written.load(Ordering::Relaxed)
    }

    /// Attempts to open or write a file that failed. What they were to write is tried again.
    #[must_use]
    pub fn write_errors(&self) -> u64 {
        self.inner.counts.write_errors.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(Handle { queue, ended, thread }) = self.writer.take() else { return };
        // The writer ends when it has taken everything from a queue that nobody can send to.
        drop(queue);
        // A disk that hangs must not hang the program: then the thread is left behind.
        if ended.recv_timeout(DRAIN_DEADLINE) == Err(RecvTimeoutError::Disconnected) {
            let _ = thread.join();
        }
    }
}
