//! The writer thread: takes what waits, turns it into lines, has each file written once a batch.
//!
//! What this file deliberately does not do: open or write a file; `files.rs` does.
//!
//! What always holds: it sleeps until it is given something, unless a file failed and is to be tried
//! again; it ends when the queue is empty and nobody can send any more.

use super::entry::Entry;
use super::files::Files;
use super::{Counts, Item};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rpc_plugin_wire::event::{EventKind, Level};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A batch is written when it has this many bytes, or when nothing more waits.
const BATCH_BYTES: usize = 256 * 1024;
/// How long until a file that could not be written is tried again without a new event.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the record says that events were lost, at most.
const GAP_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    items: Receiver<Item>,
    files: Files,
    counts: Arc<Counts>,
    line: Vec<u8>,
    /// How many lost events the record has told of, and when it did so last.
    gap_told: u64,
    gap_told_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(items: Receiver<Item>, files: Files, counts: Arc<Counts>) -> Writer {
        Writer { items, files, counts, line: Vec::new(), gap_told: 0, gap_told_at: None }
    }

    /// Runs until every sender is gone and everything is written, as far as that is possible.
    pub(super) fn run(mut self) {
        loop {
            let item = if self.files.has_backlog() {
                self.items.recv_timeout(RETRY_INTERVAL)
            } else {
                self.items.recv().map_err(RecvTimeoutError::from)
            };
            match item {
                Ok(item) => self.batch(item),
                Err(RecvTimeoutError::Timeout) => self.write(true),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.write(true);
        self.tell_gap(true);
    }

    fn batch(&mut self, first: Item) {
        let mut flushes: Vec<Sender<bool>> = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Event(entry) => bytes += self.take(*entry),
                Item::Flush(done) => flushes.push(done),
            }
            next = if bytes < BATCH_BYTES { self.items.try_recv().ok() } else { None };
        }
        self.write(!flushes.is_empty());
        self.tell_gap(false);
        for done in flushes {
            // Who asked may have stopped waiting.
            let _ = done.try_send(!self.files.has_backlog());
        }
    }

    /// Turns an event into a line of its file; returns the line's length.
    fn take(&mut self, entry: Entry) -> usize {
        self.counts.queued_bytes.fetch_sub(entry.bytes(), Ordering::Relaxed);
        self.append(entry)
    }

    fn append(&mut self, entry: Entry) -> usize {
        self.line.clear();
        let whose = entry.whose();
        if !entry.write_line(&mut self.line) || !self.files.append(whose, &self.line) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.line.len()
    }

    /// Writes the files that have new lines; `all`: also those that failed and have none.
    fn write(&mut self, all: bool) {
        let outcome = self.files.write(all);
        self.counts.written.fetch_add(outcome.written, Ordering::Relaxed);
        self.counts.write_errors.fetch_add(outcome.errors, Ordering::Relaxed);
    }

    /// Says in the record that events were lost, once there is room for saying so. `last`: the writer
    /// ends, and what could not be written is lost as well.
    fn tell_gap(&mut self, last: bool) {
        if last {
            self.counts.dropped.fetch_add(self.files.abandon(), Ordering::Relaxed);
        }
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        let told_lately = self.gap_told_at.is_some_and(|at| at.elapsed() < GAP_INTERVAL);
        if dropped == self.gap_told || (!last && (told_lately || !self.items.is_empty())) {
            return;
        }
        let lost = dropped - self.gap_told;
        let mut entry = Entry::new(EventKind::HostFault)
            .level(Level::Warn)
            .message(format!("{lost} events were not recorded"))
            .reason("they came faster than they could be written, or their file could not be written")
            .details_of(&serde_json::json!({ "events_dropped": lost, "events_dropped_total": dropped }));
        if let Some(error) = self.files.take_last_error() {
            entry = entry.error(error);
        }
        entry.fit();
        self.append(entry);
        self.write(false);
        self.gap_told = dropped;
        self.gap_told_at = Some(Instant::now());
    }
}
