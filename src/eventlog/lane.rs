//! What waits for one stream, and what went wrong with it.
//!
//! What it deliberately does not do: know other streams, or wait.
//!
//! What always holds: events stay in their order; a ticket leaves here once, recorded or given up; what was
//! lost is told in the stream itself as soon as it takes something again.

use super::progress::LogProgress;
use crate::state::shortage::Shortage;
use crate::state::time::Time;
use crate::sys::file_error::FileError;
use rpc_plugin_record::{Entry, FILE_NAME, Repair, Stream, StreamSync};
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::phrase::{count, were};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// Lines are written when there are this many bytes of them, or no more.
const PART_BYTES: usize = 256 * 1024;
/// The time after which it is told what a failed sync left unconfirmed, though syncing still fails.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// A stream that cannot be written.
#[derive(Debug)]
struct Failing {
    since: Instant,
    /// When it is tried again. Times are since `since`.
    attempts: Shortage,
    is_given_up: bool,
    /// Which file, why, and what to do.
    error: String,
}

impl Failing {
    fn retry_at(&self) -> Instant {
        self.since + self.attempts.next_at().map_or(Duration::ZERO, |at| at.since(Time::ZERO))
    }
}

/// What is to be told once the stream takes something again.
#[derive(Debug, Default)]
struct LaneGap {
    /// Events that were dropped.
    lost: u64,
    /// Numbers of lines that the disk did not confirm.
    unconfirmed: Option<(u64, u64)>,
    error: Option<String>,
    /// When it is told although syncing still fails.
    tell_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) stream: Stream,
    owner: Option<PluginId>,
    waiting: VecDeque<Box<Entry>>,
    /// The number that was given last.
    pushed_seq: u64,
    pub(super) waiting_bytes: usize,
    /// First and last ticket that are not settled.
    tickets: Option<(u64, u64)>,
    /// The same, of which some are certainly not recorded.
    failed: Option<(u64, u64)>,
    failing: Option<Failing>,
    /// Why the last sync failed.
    sync_error: Option<String>,
    gap: LaneGap,
    /// Lines that were settled when they were written, and that the disk did not confirm.
    unconfirmed_count: u64,
    /// A sync is due, as soon as none runs.
    pub(super) wants_sync: bool,
    pub(super) last_used: u64,
}

impl Lane {
    pub(super) fn new(stream: Stream, owner: Option<PluginId>) -> Lane {
        Lane {
            stream,
            owner,
            waiting: VecDeque::new(),
            pushed_seq: 0,
            waiting_bytes: 0,
            tickets: None,
            failed: None,
            failing: None,
            sync_error: None,
            gap: LaneGap::default(),
            unconfirmed_count: 0,
            wants_sync: false,
            last_used: 0,
        }
    }

    pub(super) fn append(&mut self, entry: Box<Entry>, ticket: Option<u64>) {
        self.waiting_bytes += entry.bytes();
        self.waiting.push_back(entry);
        if let Some(ticket) = ticket {
            self.tickets = Some((self.tickets.map_or(ticket, |(first, _)| first), ticket));
        }
    }

    /// Counts an event that there is no room for.
    pub(super) fn lose(&mut self) {
        self.gap.lost += 1;
    }

    /// The number of the last line that is in a file, once there was one to write.
    pub(super) fn written_seq(&self) -> u64 {
        self.pushed_seq.saturating_sub(self.stream.pending_count())
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Whether events wait that could not be written.
    pub(super) fn has_backlog(&self) -> bool {
        !self.waiting.is_empty() || self.stream.pending_bytes() > 0
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_done(&self) -> bool {
        let is_written = !self.has_backlog() && !self.stream.is_unsynced();
        is_written && self.tickets.is_none() && self.failed.is_none() && !self.has_gap()
    }

    fn has_gap(&self) -> bool {
        self.gap.lost > 0 || self.gap.unconfirmed.is_some()
    }

    pub(super) fn first_ticket(&self) -> Option<u64> {
        self.tickets.map(|(first, _)| first)
    }

    /// When there is something to be done although nothing comes.
    pub(super) fn next_at(&self, hold_max: Duration) -> Option<Instant> {
        let Some(failing) = &self.failing else {
            let can_tell = !self.has_backlog() && !self.stream.is_unsynced();
            return self.gap.tell_at.filter(|_| can_tell);
        };
        let give_up_at = (!failing.is_given_up).then(|| failing.since + hold_max);
        Some(give_up_at.map_or(failing.retry_at(), |at| at.min(failing.retry_at())))
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.failing.as_ref().is_none_or(|failing| failing.retry_at() <= now)
    }

    /// Writes all that waits; how many lines that were.
    pub(super) fn write(&mut self, now: Instant) -> (u64, io::Result<()>) {
        let mut lines = 0;
        let result = self.write_waiting(&mut lines);
        match &result {
            Ok(()) => self.failing = None,
            Err(error) => self.fail(now, error),
        }
        self.take_unconfirmed(now);
        (lines, result)
    }

    fn write_waiting(&mut self, lines: &mut u64) -> io::Result<()> {
        loop {
            while self.stream.pending_bytes() < PART_BYTES
                && let Some(entry) = self.waiting.front()
            {
                self.pushed_seq = self.stream.push(entry)?;
                self.waiting_bytes -= entry.bytes();
                self.waiting.pop_front();
                if let Some(repair) = self.stream.take_repair() {
                    self.pushed_seq = self.stream.push(&repaired(&repair, self.owner.as_ref()))?;
                }
            }
            let before = self.stream.pending_count();
            if before == 0 {
                return Ok(());
            }
            let result = self.stream.write();
            *lines += before - self.stream.pending_count();
            result?;
        }
    }

    fn fail(&mut self, now: Instant, error: &io::Error) {
        self.gap.error = Some(format!("{}: {error}", self.stream.place().path().display()));
        let text = self.describe("write", error);
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: now,
            attempts: Shortage::default(),
            is_given_up: false,
            error: String::new(),
        });
        failing.error = text;
        failing.attempts.failed(Time::ZERO.plus(now.saturating_duration_since(failing.since)));
    }

    fn describe(&self, operation: &'static str, error: &io::Error) -> String {
        let path = self.stream.place().path().join(FILE_NAME);
        match error.raw_os_error() {
            Some(_) => FileError::io(operation, &path, error).to_string(),
            None => format!("cannot {operation} {}: {error}", path.display()),
        }
    }

    /// Why it cannot be written or synced now, with what to do.
    pub(super) fn trouble(&self) -> Option<&str> {
        let sync_error = self.sync_error.as_deref().filter(|_| self.stream.is_failing());
        self.failing.as_ref().map(|failing| failing.error.as_str()).or(sync_error)
    }

    /// Why it failed last.
    pub(super) fn error(&self) -> Option<&str> {
        self.gap.error.as_deref()
    }

    /// Takes the result of a sync of its stream, and gives it back.
    pub(super) fn end_sync(
        &mut self,
        now: Instant,
        sync: &StreamSync,
        result: io::Result<()>,
    ) -> io::Result<()> {
        let result = self.stream.end_sync(sync, result);
        if let Err(error) = &result {
            self.gap.error = Some(format!("{}: {error}", self.stream.place().path().display()));
            self.sync_error = Some(self.describe("sync", error));
        }
        self.take_unconfirmed(now);
        result
    }

    fn take_unconfirmed(&mut self, now: Instant) {
        if let Some((first, last)) = self.stream.take_unconfirmed() {
            let lines = last + 1 - first;
            let first = self.gap.unconfirmed.map_or(first, |(before, _)| before.min(first));
            self.gap.unconfirmed = Some((first, last));
            self.gap.tell_at = Some(now + TELL_AFTER);
            if let Some((first, last)) = self.tickets.take() {
                self.failed = Some((self.failed.map_or(first, |(before, _)| before), last));
            } else if self.failed.is_none() {
                self.unconfirmed_count += lines;
            }
        }
    }

    /// Gives tickets up where that is due, and settles those that are recorded: written, and synced if that
    /// `needs_sync`. How many events were given up.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        hold_max: Duration,
        needs_sync: bool,
        progress: &LogProgress,
    ) -> u64 {
        if let Some(failing) = &mut self.failing {
            failing.is_given_up |= now.saturating_duration_since(failing.since) >= hold_max;
            if failing.is_given_up
                && let Some((first, last)) = self.tickets.take()
            {
                self.failed = Some((self.failed.map_or(first, |(before, _)| before), last));
            }
        }
        let given_up = self.failed.take().map_or(0, |(first, last)| {
            progress.give_up(first, last);
            last - first + 1
        });
        let waits_for_sync = needs_sync && self.stream.is_unsynced();
        if !(self.has_backlog() || waits_for_sync) {
            self.tickets = None;
        }
        given_up + std::mem::take(&mut self.unconfirmed_count)
    }

    /// Puts on record what was lost, if the stream takes events again. True if that is to be written.
    pub(super) fn tell_gap(&mut self, now: Instant) -> bool {
        if !self.has_gap() || self.is_failing() || self.has_backlog() || self.stream.is_unsynced() {
            return false;
        }
        if self.stream.is_failing() && self.gap.tell_at.is_some_and(|at| at > now) {
            return false;
        }
        let LaneGap { lost, unconfirmed, error, .. } = std::mem::take(&mut self.gap);
        let message = match (lost, unconfirmed) {
            (0, Some((first, last))) => {
                format!("events {first} to {last} may be missing after a power failure")
            }
            (lost, None) => format!("{} {} not recorded", count(lost, "event"), were(lost)),
            (lost, Some((first, last))) => format!(
                "{} {} not recorded, and events {first} to {last} may be missing after a power failure",
                count(lost, "event"),
                were(lost)
            ),
        };
        let mut details = serde_json::json!({ "events_dropped": lost });
        if let (Some((first, last)), Some(details)) = (unconfirmed, details.as_object_mut()) {
            details.insert("unconfirmed".into(), serde_json::json!([first, last]));
        }
        let mut entry = Entry::new(EventKind::RecordGap)
            .message(message)
            .details_of(&details)
            .reason("its file could not be written or synced")
            .with(error, Entry::error)
            .with(self.owner.clone(), Entry::plugin);
        entry.fit();
        self.append(Box::new(entry), None);
        true
    }

    /// Events that wait to be written.
    pub(super) fn waiting_count(&self) -> u64 {
        self.waiting.len() as u64 + self.stream.pending_count()
    }
}

fn repaired(repair: &Repair, owner: Option<&PluginId>) -> Entry {
    let done = if repair.was_cut { "was removed" } else { "was ended, because the file cannot be cut" };
    let message = format!("the record ended within a line, which {done}");
    let details = serde_json::json!({
        "offset": repair.offset, "torn_bytes": repair.torn_bytes, "torn": repair.torn,
    });
    let entry = Entry::new(EventKind::RecordRepaired).message(message).details_of(&details);
    entry.with(owner.cloned(), Entry::plugin)
}
