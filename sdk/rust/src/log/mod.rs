//! The plugin's own record: what the SDK and the author's handlers say, on its way to a file or to the host.
//!
//! What this folder is for: [`Log`], which any thread may use; `writer` does the rest on a thread of its own.
//! What it deliberately does not do: sync: what was written survives the end of the process, not of the
//! machine.
//!
//! What always holds: saying something never waits for a disk or the host; what waits is bounded, and what
//! found no room is counted and told; below its level an event costs one comparison.

mod event;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use event::{Event, HandlerFailure, OfCall};

use crate::config::Config;
use crate::connection::Outbox;
use event::Rate;
use rpc_plugin_wire::event::{Component, Level};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use writer::{Sink, Writer};

/// Events that wait to be written; a further one is dropped and counted.
pub(crate) const QUEUE_MAX: usize = 1024;
/// The same in bytes.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// How many more the SDK itself may add, so that an author's flood does not hide how the plugin ended.
const QUEUE_RESERVE: usize = 64;
/// How long the end of a plugin waits for its record to be written.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);
/// No level is as high: nothing is recorded.
const OFF: u8 = u8::MAX;

/// Where a plugin's own record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTarget {
    /// To `plugin-events.jsonl` in the plugin's folder, beside the host's own record of it.
    File,
    /// To the host, which puts it on its record, as far as its rate allows.
    Host,
    /// Nowhere: the plugin keeps no record.
    Nowhere,
}

/// What the author of a plugin decides about its record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogOptions {
    pub(crate) level: Level,
    pub(crate) target: LogTarget,
    pub(crate) file_bytes_max: u64,
    pub(crate) files_max: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        let file_bytes_max = 8 * 1024 * 1024;
        LogOptions { level: Level::Info, target: LogTarget::File, file_bytes_max, files_max: 4 }
    }
}

/// A handle on the plugin's own record. Clones are the same record. One that comes from
/// [`Call::log`](crate::Call::log) names its call with all that it records.
#[derive(Clone)]
pub struct Log {
    queue: Arc<LogQueue>,
    call: Option<OfCall>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct LogState {
    queue: Vec<Event>,
    queue_bytes: usize,
    /// Events that found no room since one did.
    dropped: u64,
    /// Write now; do not wait for the batch to fill.
    is_urgent: bool,
    /// Where to, until the writer has it. `None`, too, before that is known.
    sink: Option<Sink>,
    /// It is known where to.
    is_open: bool,
    /// The writer's thread runs.
    is_running: bool,
    /// The writer has taken events and not finished.
    is_writing: bool,
    /// Nothing is taken any more; what waits is written.
    is_closed: bool,
    failures: Rate,
}

/// Events that wait to be written, which all clones of a [`Log`] and its writer share.
pub(crate) struct LogQueue {
    /// The least level that is recorded, as a number.
    level: AtomicU8,
    state: Mutex<LogState>,
    /// For the writer.
    pushed: Condvar,
    /// For who waits until all is written.
    written: Condvar,
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    pub(crate) fn new(options: &LogOptions) -> Log {
        let log = Log::off();
        log.set(options);
        log
    }

    /// A record that takes nothing.
    pub(crate) fn off() -> Log {
        let (pushed, written) = (Condvar::new(), Condvar::new());
        let queue = LogQueue { level: AtomicU8::new(OFF), state: Mutex::default(), pushed, written };
        Log { queue: Arc::new(queue), call: None }
    }

    pub(crate) fn set(&self, options: &LogOptions) {
        let level = if options.target == LogTarget::Nowhere { OFF } else { options.level as u8 };
        self.queue.level.store(level, Ordering::Relaxed);
    }

    /// The same record, for what is said about a call.
    pub(crate) fn of_call(&self, call: OfCall) -> Log {
        Log { queue: Arc::clone(&self.queue), call: Some(call) }
    }

    /// Whether events of that level are recorded; for what costs something to put together.
    #[must_use]
    pub fn is_on(&self, level: Level) -> bool {
        level as u8 >= self.queue.level.load(Ordering::Relaxed)
    }

    /// Records a sentence.
    pub fn record(&self, level: Level, message: impl Into<String>) {
        if self.is_on(level) {
            self.push(Event::new("log", Component::Plugin, level, message));
        }
    }

    /// Records an event with a name of the author's own, at most 160 bytes, and details for programs. A value
    /// that cannot be written as JSON is left out; in all, an event has at most 64 KiB.
    pub fn event<T: Serialize + ?Sized>(
        &self,
        level: Level,
        event: impl Into<String>,
        message: impl Into<String>,
        details: &T,
    ) {
        if self.is_on(level) {
            let event = Event::new(Cow::Owned(event.into()), Component::Plugin, level, message);
            self.push(event.details(details));
        }
    }

    /// Waits until what was recorded so far is written, at most `timeout`; whether it is. For an author who
    /// ends the process without returning from `main`.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let mut state = self.queue.lock();
        if !state.is_running {
            return state.queue.is_empty();
        }
        state.is_urgent = true;
        self.queue.pushed.notify_one();
        let is_busy =
            |state: &mut LogState| state.is_running && (state.is_writing || !state.queue.is_empty());
        let waited = self.queue.written.wait_timeout_while(state, timeout, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Records what the SDK has to say, if its level is recorded.
    pub(crate) fn say(&self, event: Event) {
        if self.is_on(event.level) {
            self.push_within(event, QUEUE_MAX + QUEUE_RESERVE, 2 * QUEUE_BYTES_MAX);
        }
    }

    /// Records how a call ended. Of those that fail, only so many in a second.
    #[cold]
    pub(crate) fn called(&self, of: OfCall, took: Duration, failure: Option<&HandlerFailure>) {
        let mut event = Event::of_call(of, took, failure);
        if failure.is_some() {
            if !self.is_on(event.level) {
                return;
            }
            let Some(more) = self.queue.lock().failures.take(Instant::now()) else { return };
            if more > 0 {
                event = event.details(&serde_json::json!({"failures_left_out": more}));
            }
        }
        self.push(event);
    }

    fn push(&self, event: Event) {
        self.push_within(event, QUEUE_MAX, QUEUE_BYTES_MAX);
    }

    fn push_within(&self, mut event: Event, queue_max: usize, queue_bytes_max: usize) {
        event.call = event.call.or_else(|| self.call.clone());
        let mut state = self.queue.lock();
        if state.is_closed {
            return;
        }
        let bytes = event.bytes();
        if state.queue.len() >= queue_max || state.queue_bytes + bytes > queue_bytes_max {
            state.dropped += 1;
            return;
        }
        let was_empty = state.queue.is_empty();
        let is_urgent = event.level >= Level::Warn || state.queue.len() >= QUEUE_MAX / 2;
        let wakes = was_empty || (is_urgent && !state.is_urgent);
        state.is_urgent |= is_urgent;
        state.queue_bytes += bytes;
        state.queue.push(event);
        if wakes && state.is_running {
            self.queue.pushed.notify_one();
        }
    }

    /// Says where the record is to be, once it is known; whether that is new.
    pub(crate) fn open(&self, options: &LogOptions, config: &Config) -> bool {
        let mut state = self.queue.lock();
        if std::mem::replace(&mut state.is_open, true) {
            return false;
        }
        match (options.target, &config.log_folder) {
            (LogTarget::File, Some(folder)) => {
                let (id, generation) = (config.plugin_id.clone(), config.generation);
                state.sink = Some(Sink::file(folder.clone(), options, id, generation));
            }
            (LogTarget::Host, _) => {}
            (LogTarget::File | LogTarget::Nowhere, _) => {
                (state.is_closed, state.queue) = (true, Vec::new());
                self.queue.level.store(OFF, Ordering::Relaxed);
            }
        }
        true
    }

    /// Starts to write. Events that are for the host go to `outbox`.
    pub(crate) fn start(&self, outbox: Option<&Arc<Outbox>>) {
        let mut state = self.queue.lock();
        let sink = match (state.sink.take(), outbox) {
            (Some(sink), _) => sink,
            (None, Some(outbox)) if self.queue.level.load(Ordering::Relaxed) != OFF => {
                Sink::Host(Arc::clone(outbox))
            }
            _ => return,
        };
        if state.is_running || state.is_closed {
            return;
        }
        let writer = Writer::new(Arc::clone(&self.queue), sink);
        let thread = crate::threads::builder("plugin-log");
        // Without a thread there is no record, and the plugin goes on.
        state.is_running = thread.spawn(move || writer.run()).is_ok();
        state.is_closed = !state.is_running;
    }

    /// Takes nothing more, and waits a moment until what is there is written.
    pub(crate) fn finish(&self) {
        self.start(None);
        self.queue.level.store(OFF, Ordering::Relaxed);
        let mut state = self.queue.lock();
        state.is_closed = true;
        self.queue.pushed.notify_one();
        let waited = self.queue.written.wait_timeout_while(state, FINISH_TIMEOUT, |state| state.is_running);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the writer takes at once.
struct Batch {
    events: Vec<Event>,
    dropped: u64,
}

impl LogQueue {
    /// Waits for events, and then for the batch to fill, unless one is urgent. `None`: nothing comes any more.
    fn next_batch(&self, batching: Duration) -> Option<Batch> {
        let mut state = self.lock();
        state.is_writing = false;
        self.written.notify_all();
        while state.queue.is_empty() && !state.is_closed {
            state = self.pushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let waited =
            self.pushed.wait_timeout_while(state, batching, |state| !state.is_urgent && !state.is_closed);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.queue.is_empty() && state.is_closed {
            state.is_running = false;
            self.written.notify_all();
            return None;
        }
        (state.is_urgent, state.is_writing, state.queue_bytes) = (false, true, 0);
        let (events, dropped) = (std::mem::take(&mut state.queue), std::mem::take(&mut state.dropped));
        Some(Batch { events, dropped })
    }
}
