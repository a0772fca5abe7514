//! The record as its users hold it: a handle from any thread, and the writer behind it.
//!
//! What always holds: [`EventLog::record`] never blocks and never fails; an event that was handed over is written,
//! still waits, or is counted in [`EventLog::dropped`].

use super::lanes::Lanes;
use super::options::{Durability, LogOptions};
use super::owner::owners;
use super::progress::{Settled, Ticket};
use super::syncer::Syncer;
use super::thread::RecordThread;
use super::trouble::{RecordTrouble, TroubleNotice};
use super::writer::{LogShared, Writer};
use super::written::{WrittenLines, WrittenNotice};
use rpc_plugin_peer::Party;
use rpc_plugin_record::{Disk, Entry, FILE_NAME, Place, SystemDisk, remove_leftovers};
use rpc_plugin_wire::event::Level;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long dropping the last handle waits for the writer to write what it was given.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A handle on the record. Clones share one writer thread; dropping the last one writes what waits
/// and ends the thread.
#[derive(Debug, Clone)]
pub struct EventLog {
    inner: Arc<LogInner>,
}

#[derive(Debug)]
struct LogInner {
    shared: Arc<LogShared>,
    written: Arc<WrittenNotice>,
    trouble: Arc<TroubleNotice>,
    durability: Durability,
    hold_max: Duration,
    /// Absent in a log that records nothing.
    writer: Option<RecordThread>,
}

impl EventLog {
    /// Starts the writer. `runtime_dir` must exist.
    ///
    /// # Errors
    /// `runtime_dir` cannot be opened, is no folder, or is a symbolic link; or the thread cannot be
    /// started.
    pub fn start(runtime_dir: &Path, options: &LogOptions) -> io::Result<EventLog> {
        EventLog::start_on(runtime_dir, options, Arc::new(SystemDisk))
    }

    /// The same on a file system that is given, for tests that make it fail.
    ///
    /// # Errors
    /// As [`EventLog::start`].
    pub fn start_on(runtime_dir: &Path, options: &LogOptions, disk: Arc<dyn Disk>) -> io::Result<EventLog> {
        // What is wrong from the start is told at the start.
        drop(disk.open_folder(&Place::of(runtime_dir, None))?);
        for owner in owners(runtime_dir) {
            // What stays costs room, and is told when its file is packed again.
            let _ = remove_leftovers(&Place::of(runtime_dir, owner.as_ref()).path(), FILE_NAME);
        }
        let shared = Arc::new(LogShared::new(options.queue_max));
        let (written, trouble) = (Arc::new(WrittenNotice::default()), Arc::new(TroubleNotice::default()));
        let sync_disk = Arc::clone(&disk);
        let mut lanes =
            Lanes::new(runtime_dir, options.stream(), options.hold_max, disk, Arc::clone(&written))
                .with_trouble(Arc::clone(&trouble));
        if options.durability == Durability::Relaxed {
            let shared = Arc::clone(&shared);
            lanes = lanes.with_syncer(Syncer::start(sync_disk, move || shared.queue.hurry())?);
        }
        let writer = Writer::new(Arc::clone(&shared), lanes, options);
        let writer = Some(RecordThread::start("event-log", move || writer.run())?);
        let (durability, hold_max) = (options.durability, options.hold_max);
        Ok(EventLog { inner: Arc::new(LogInner { shared, written, trouble, durability, hold_max, writer }) })
    }

    /// A log that records nothing and has no thread, for programs that want none.
    #[must_use]
    pub fn disabled() -> EventLog {
        let (shared, written, trouble) = (Arc::new(LogShared::new(1)), Arc::default(), Arc::default());
        let (durability, hold_max) = (Durability::None, Duration::ZERO);
        let inner = LogInner { shared, written, trouble, durability, hold_max, writer: None };
        EventLog { inner: Arc::new(inner) }
    }

    /// Hands an event to the writer. Never blocks: when too much waits already, the event is dropped
    /// and counted, and there is no ticket. Events of level debug may wait a moment for others.
    pub fn record(&self, entry: Entry) -> Option<Ticket> {
        let party = entry.plugin_id().map_or(Party::Program, |id| Party::Plugin(id.clone()));
        self.record_of(&party, entry)
    }

    /// The same for an event that `party` caused, which has a share of the room.
    pub fn record_of(&self, party: &Party, entry: Entry) -> Option<Ticket> {
        let is_urgent = entry.level_of() > Level::Debug;
        self.record_boxed(party, Box::new(entry), is_urgent)
    }

    /// Hands an urgent event to the writer, whatever its level; else as [`EventLog::record_of`].
    pub fn record_urgent_of(&self, party: &Party, entry: Entry) -> Option<Ticket> {
        self.record_boxed(party, Box::new(entry), true)
    }

    fn record_boxed(&self, party: &Party, mut entry: Box<Entry>, is_urgent: bool) -> Option<Ticket> {
        self.inner.writer.as_ref()?;
        entry.fit();
        let ticket = self.inner.shared.queue.push(entry, party, is_urgent);
        if ticket.is_none() {
            self.inner.shared.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        ticket.map(Ticket)
    }

    /// When events are synced, and what waits for it.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.inner.durability
    }

    /// How long an answer is held for its record at the most.
    #[must_use]
    pub fn hold_max(&self) -> Duration {
        self.inner.hold_max
    }

    /// What became of an event.
    #[must_use]
    pub fn settled(&self, ticket: Ticket) -> Settled {
        self.inner.shared.progress.of(ticket)
    }

    /// Whether all that was handed over up to that event is recorded or given up.
    #[must_use]
    pub fn is_settled_to(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.inner.shared.progress.settled()
    }

    /// Waits until an event is recorded or given up, at most `deadline`.
    #[must_use]
    pub fn wait(&self, ticket: Ticket, deadline: Duration) -> Settled {
        self.inner.shared.progress.wait(ticket, deadline)
    }

    /// What is called, by the writer, when something was settled after [`EventLog::want_notice`]. It must
    /// not block.
    pub fn on_settled(&self, notice: impl Fn() + Send + Sync + 'static) {
        self.inner.shared.progress.on_settled(Box::new(notice));
    }

    /// What is called, by the writer, for each stream that got lines. It must not block. Only the first counts.
    pub fn on_written(&self, notice: impl Fn(WrittenLines<'_>) + Send + Sync + 'static) {
        self.inner.written.set(Box::new(notice));
    }

    /// What is called, by the writer, when files of the record cannot be written or synced, and when they are again. It
    /// must not block. Only the first counts.
    pub fn on_trouble(&self, notice: impl Fn(RecordTrouble<'_>) + Send + Sync + 'static) {
        self.inner.trouble.set(Box::new(notice));
    }

    /// Why a file of the record cannot be written or synced now, with what to do.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.inner.trouble.now()
    }

    /// Has every file opened anew before anything more is written: the folder of this path is another one now.
    pub fn reopen(&self) {
        self.inner.shared.is_moved.store(true, Ordering::Release);
        self.hurry();
    }

    /// Has it told beside the record, which may be out of reach, why the host ends. The first reason counts.
    pub fn tell_end(&self, reason: &str) {
        self.inner.trouble.tell_end(reason);
    }

    /// Has what waits be written now, also what would wait a moment for others.
    pub fn hurry(&self) {
        self.inner.shared.queue.hurry();
    }

    /// Asks for one notice. What was settled before this call may give none: look again after it.
    pub fn want_notice(&self) {
        self.inner.shared.progress.want();
    }

    /// Waits until every event that was handed over before is in its file and, but in mode none, synced;
    /// at most `deadline`. False if it is not by then, or if a file failed.
    #[must_use]
    pub fn flush(&self, deadline: Duration) -> bool {
        if self.inner.writer.is_none() {
            return true;
        }
        let number = self.inner.shared.queue.flush();
        self.inner.shared.progress.wait_flushed(number, deadline)
    }

    /// Events that were lost: the queue was full, or a file could not be written for too long.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.shared.counts.dropped.load(Ordering::Relaxed)
    }

    /// Events that are in their file.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.inner.shared.counts.written.load(Ordering::Relaxed)
    }

    /// Attempts to open, write or sync a file that failed. What could not be written is tried again.
    #[must_use]
    pub fn write_errors(&self) -> u64 {
        self.inner.shared.counts.write_errors.load(Ordering::Relaxed)
    }

    /// Events that were given up as not recorded, or that the disk did not confirm: they may be written, and may be missing after a power
    /// failure.
    #[must_use]
    pub fn not_durable(&self) -> u64 {
        self.inner.shared.counts.not_durable.load(Ordering::Relaxed)
    }
}

impl Drop for LogInner {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            self.shared.queue.close();
            writer.wait_end(DRAIN_DEADLINE);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
