//! The writer thread: takes all that waits, has each file written and synced once, says how far it is recorded.
//!
//! In mode relaxed syncs run on a thread of their own, and do not hold writes back.
//!
//! What this file deliberately does not do: open or write a file; `lanes.rs` has it done.
//!
//! What always holds: it sleeps until it is given something, unless a file is to be synced or tried again;
//! it ends when the queue is closed and empty.

use super::lanes::{Lanes, SyncScope};
use super::options::{Durability, LogOptions};
use super::progress::LogProgress;
use super::queue::{Batching, EventQueue, QueuedEvents};
use rpc_plugin_record::Entry;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::phrase::{count, were};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the record says that events were lost, at most.
const GAP_INTERVAL: Duration = Duration::from_secs(10);

/// The longest time that awaited events wait for others that are likely to come.
const BATCHING_TIME_MAX: Duration = Duration::from_millis(1);

/// Counts of a log's whole life.
#[derive(Debug, Default)]
pub(super) struct LogCounts {
    pub(super) dropped: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) not_durable: AtomicU64,
}

/// What the writer shares with its handles.
#[derive(Debug)]
pub(super) struct LogShared {
    pub(super) queue: EventQueue,
    pub(super) progress: LogProgress,
    pub(super) counts: LogCounts,
    /// The runtime folder is another one of the same path: files that are open belong to the one before.
    pub(super) is_moved: AtomicBool,
}

impl LogShared {
    /// What is shared of a log that was given nothing, with room for so many events.
    pub(super) fn new(queue_max: usize) -> LogShared {
        LogShared {
            queue: EventQueue::new(queue_max),
            progress: LogProgress::default(),
            counts: LogCounts::default(),
            is_moved: AtomicBool::default(),
        }
    }
}

pub(super) struct Writer {
    shared: Arc<LogShared>,
    lanes: Lanes,
    durability: Durability,
    sync_interval: Duration,
    /// When what is unsynced has to be synced.
    sync_at: Option<Instant>,
    /// Flushes that were answered.
    flushes: u64,
    /// How many lost events the record has told of, and when it did so last.
    gap_told: u64,
    gap_told_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<LogShared>, lanes: Lanes, options: &LogOptions) -> Writer {
        Writer {
            shared,
            lanes,
            durability: options.durability,
            sync_interval: options.sync_interval,
            sync_at: None,
            flushes: 0,
            gap_told: 0,
            gap_told_at: None,
        }
    }

    /// Runs until the queue is closed and everything is written, as far as that is possible.
    pub(super) fn run(mut self) {
        let (mut spare, mut batching) = (Vec::new(), Batching::default());
        loop {
            let until = [self.sync_at, self.lanes.next_at()].into_iter().flatten().min();
            let mut taken = self.shared.queue.take(until, batching, spare);
            let begun = Instant::now();
            self.group(&mut taken);
            // Where nobody waits for a sync, a write costs less than to wait for others.
            if taken.awaited > 0 && self.durability == Durability::Strict {
                // Callers come again once they are told. To wait for them a part of what a sync takes is
                // cheaper than to have each half of them wait for the other's sync.
                let time = (begun.elapsed() / 2).min(BATCHING_TIME_MAX);
                batching = Batching { awaited: taken.awaited, time };
            }
            spare = taken.events;
            if taken.is_over {
                break;
            }
        }
        let lost = self.lanes.abandon();
        self.shared.counts.dropped.fetch_add(lost, Ordering::Relaxed);
        self.tell_lost(true);
        self.shared.progress.end();
    }

    /// Writes what was taken, syncs what is due, and says how far all is recorded.
    fn group(&mut self, taken: &mut QueuedEvents) {
        let shared = Arc::clone(&self.shared);
        if shared.is_moved.swap(false, Ordering::AcqRel) {
            self.lanes.close_all(Instant::now());
        }
        let flushes = taken.flushes > self.flushes;
        let first = taken.last + 1 - taken.events.len() as u64;
        for (ticket, entry) in (first..).zip(taken.events.drain(..)) {
            if !self.lanes.append(entry, Some(ticket)) {
                shared.progress.give_up(ticket, ticket);
                shared.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.write(flushes || taken.is_over);
        self.tell_lost(false);
        let (settled, given_up) = self.lanes.settle(Instant::now(), taken.last, &shared.progress);
        shared.counts.not_durable.fetch_add(given_up, Ordering::Relaxed);
        shared.progress.settle(settled);
        if flushes {
            self.flushes = taken.flushes;
            let is_clean = !self.lanes.has_backlog() && !self.lanes.has_unsynced();
            shared.progress.flushed(taken.flushes, is_clean);
        }
    }

    /// Writes what waits; `all`: also files that failed lately, and syncs in every mode that syncs.
    fn write(&mut self, all: bool) {
        let now = Instant::now();
        let is_due = all || self.sync_at.is_some_and(|at| at <= now);
        let sync = match self.durability {
            Durability::None => SyncScope::Never,
            Durability::Strict => SyncScope::All,
            Durability::Relaxed if is_due => SyncScope::All,
            Durability::Relaxed => SyncScope::Urgent,
        };
        let outcome = self.lanes.write(now, all, sync);
        let counts = &self.shared.counts;
        counts.written.fetch_add(outcome.lines, Ordering::Relaxed);
        counts.write_errors.fetch_add(outcome.errors, Ordering::Relaxed);
        self.sync_at = match self.lanes.has_unsynced() {
            true if is_due => Some(now + self.sync_interval),
            true => self.sync_at.or(Some(now + self.sync_interval)),
            false => None,
        };
    }

    /// Says in the host's record that events were lost, once there is room for saying so. `last`: the writer
    /// ends.
    fn tell_lost(&mut self, last: bool) {
        let counts = &self.shared.counts;
        let dropped = counts.dropped.load(Ordering::Relaxed);
        let told_lately = self.gap_told_at.is_some_and(|at| at.elapsed() < GAP_INTERVAL);
        if dropped == self.gap_told || (!last && told_lately) {
            return;
        }
        let lost = dropped - self.gap_told;
        let mut entry = Entry::new(EventKind::RecordGap)
            .message(format!("{} {} not recorded", count(lost, "event"), were(lost)))
            .reason("they came faster than they could be written, or their file could not be written")
            .details_of(&serde_json::json!({ "events_dropped": lost, "events_dropped_total": dropped }));
        if let Some(error) = self.lanes.take_last_error() {
            entry = entry.error(error);
        }
        entry.fit();
        self.lanes.append(Box::new(entry), None);
        self.write(last);
        (self.gap_told, self.gap_told_at) = (dropped, Some(Instant::now()));
    }
}
