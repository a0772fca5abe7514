//! All streams of a host: one a plugin, one of its own; few files open at a time.
//!
//! What it deliberately does not do: wait; in mode relaxed not for the disk either, which the syncer does.
//!
//! What always holds: a group of events costs each file one write and at most one sync; one stream that
//! fails harms no other; at most [`OPEN_MAX`] files are open, and about [`BACKLOG_BYTES_MAX`] bytes wait
//! for files that cannot be written.

use super::lane::Lane;
use super::owner::StreamOwner;
use super::progress::LogProgress;
use super::syncer::Syncer;
use super::trouble::{ToldTrouble, TroubleNotice};
use super::written::{WrittenLines, WrittenNotice};
use rpc_plugin_record::{Disk, Entry, FILE_NAME, Place, Stream, StreamOptions, StreamSync};
use rpc_plugin_wire::event::Level;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most files that are open at once; the one that was used longest ago is closed for another.
pub(super) const OPEN_MAX: usize = 64;
/// Most bytes that wait for files that cannot be written; beyond it, events for them are dropped.
pub(super) const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Streams owner place is remembered although nothing happens to them.
const REMEMBERED_MAX: usize = 4096;

/// Which files are to be synced after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncScope {
    All,
    /// Those that got something that is not to wait.
    Urgent,
    Never,
}

/// What became of a group.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) lines: u64,
    pub(super) errors: u64,
}

#[derive(Debug)]
pub(super) struct Lanes {
    runtime_dir: PathBuf,
    options: StreamOptions,
    hold_max: Duration,
    disk: Arc<dyn Disk>,
    written: Arc<WrittenNotice>,
    /// What syncs beside. `None`: syncing is done here, and waited for.
    syncer: Option<Syncer>,
    trouble: Arc<TroubleNotice>,
    told_trouble: ToldTrouble,
    lanes: BTreeMap<StreamOwner, Lane>,
    /// Those with something to be done.
    active: BTreeSet<StreamOwner>,
    uses: u64,
    last_error: Option<String>,
}

impl Lanes {
    pub(super) fn new(
        runtime_dir: &Path,
        options: StreamOptions,
        hold_max: Duration,
        disk: Arc<dyn Disk>,
        written: Arc<WrittenNotice>,
    ) -> Lanes {
        Lanes {
            runtime_dir: runtime_dir.to_owned(),
            options,
            hold_max,
            disk,
            written,
            syncer: None,
            trouble: Arc::default(),
            told_trouble: ToldTrouble::default(),
            lanes: BTreeMap::new(),
            active: BTreeSet::new(),
            uses: 0,
            last_error: None,
        }
    }

    /// Has files be synced beside: events are settled once they are written.
    pub(super) fn with_syncer(self, syncer: Syncer) -> Lanes {
        Lanes { syncer: Some(syncer), ..self }
    }

    /// Has it told when files cannot be written or synced.
    pub(super) fn with_trouble(self, trouble: Arc<TroubleNotice>) -> Lanes {
        Lanes { trouble, ..self }
    }

    /// Takes the results of syncs that ran beside. `all`: once none runs any more. How many failed.
    pub(super) fn take_synced(&mut self, now: Instant, all: bool) -> u64 {
        let mut errors = 0;
        while let Some(ended) = self.syncer.as_mut().and_then(|syncer| syncer.take(all)) {
            let Some(lane) = self.lanes.get_mut(&ended.owner) else { continue };
            self.active.insert(ended.owner.clone());
            errors += u64::from(lane.end_sync(now, &ended.sync, ended.result).is_err());
        }
        errors
    }

    /// Takes an event for the next write. False if its file fails and too much waits already.
    pub(super) fn append(&mut self, entry: Box<Entry>, ticket: Option<u64>) -> bool {
        let owner = entry.plugin_id().cloned();
        self.uses += 1;
        if !self.lanes.contains_key(&owner) {
            let place = Place::of(&self.runtime_dir, owner.as_ref());
            let stream = Stream::new(place, FILE_NAME, self.options, Arc::clone(&self.disk));
            self.lanes.insert(owner.clone(), Lane::new(stream, owner.clone()));
        }
        let is_full = |lanes: &BTreeMap<StreamOwner, Lane>| {
            let failing = lanes.values().filter(|lane| lane.is_failing());
            failing.map(|lane| lane.waiting_bytes).sum::<usize>() + entry.bytes() > BACKLOG_BYTES_MAX
        };
        let is_lost = self.lanes.get(&owner).is_some_and(Lane::is_failing) && is_full(&self.lanes);
        let Some(lane) = self.lanes.get_mut(&owner) else { return false };
        lane.last_used = self.uses;
        if is_lost {
            lane.lose();
        } else {
            lane.wants_sync |= entry.level_of() >= Level::Warn;
            lane.append(entry, ticket);
        }
        self.active.insert(owner);
        !is_lost
    }

    /// Writes what waits. Without `all`, a file that failed is tried only when its time has come. With it, what is
    /// synced is waited for.
    pub(super) fn write(&mut self, now: Instant, all: bool, sync: SyncScope) -> Outcome {
        let mut outcome = Outcome { errors: self.take_synced(now, all), ..Outcome::default() };
        let mut syncer = self.syncer.as_mut().filter(|_| !all);
        let disk = &*self.disk;
        for owner in &self.active {
            let Some(lane) = self.lanes.get_mut(owner) else { continue };
            // Twice: what was lost is told once the rest is written.
            for _ in 0..2 {
                if !(all || lane.is_due(now)) {
                    break;
                }
                let (lines, written) = lane.write(now);
                outcome.lines += lines;
                if lines > 0 {
                    let (seq, was_rotated) = (lane.written_seq(), lane.stream.take_rotated());
                    self.written.tell(WrittenLines { owner: owner.as_ref(), seq, was_rotated });
                }
                outcome.errors += u64::from(written.is_err());
                let mut syncs = lane.stream.take_syncs();
                if sync == SyncScope::All || sync == SyncScope::Urgent && lane.wants_sync {
                    // One at a time beside: what is written meanwhile is synced together, next.
                    lane.wants_sync = syncer.is_some() && lane.stream.is_syncing();
                    if !lane.wants_sync {
                        syncs.extend(lane.stream.begin_sync());
                    }
                }
                outcome.errors += run_syncs(now, owner, lane, syncer.as_deref_mut(), disk, syncs);
                if !lane.tell_gap(now) {
                    break;
                }
            }
            if lane.is_failing() {
                self.last_error = lane.error().map(str::to_owned);
            }
        }
        self.close_some(now);
        if outcome.errors > 0 || self.told_trouble.has_begun() {
            self.look_at_trouble(now);
        }
        outcome
    }

    fn look_at_trouble(&mut self, now: Instant) {
        let own = self.lanes.get(&None).and_then(Lane::trouble);
        let any = own.or_else(|| self.lanes.values().find_map(Lane::trouble));
        self.told_trouble.look(now, &self.trouble, any, own);
    }

    /// Gives tickets up where that is due: the last one up to which all is recorded or given up, and how many
    /// were given up.
    pub(super) fn settle(&mut self, now: Instant, last: u64, progress: &LogProgress) -> (u64, u64) {
        let (mut settled, mut given_up) = (last, 0);
        let active = std::mem::take(&mut self.active);
        for owner in active {
            let Some(lane) = self.lanes.get_mut(&owner) else { continue };
            given_up += lane.settle(now, self.hold_max, self.syncer.is_none(), progress);
            if let Some(first) = lane.first_ticket() {
                settled = settled.min(first - 1);
            }
            if !lane.is_done() {
                self.active.insert(owner);
            }
        }
        self.forget_some();
        (settled, given_up)
    }

    pub(super) fn has_unsynced(&self) -> bool {
        self.active_lanes().any(|lane| lane.stream.is_unsynced())
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.active_lanes().any(Lane::has_backlog)
    }

    /// When something is to be done although nothing comes.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.active_lanes().filter_map(|lane| lane.next_at(self.hold_max)).min()
    }

    fn active_lanes(&self) -> impl Iterator<Item = &Lane> {
        self.active.iter().filter_map(|owner| self.lanes.get(owner))
    }

    /// Why a file could not be written, if that happened since the last question.
    pub(super) fn take_last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Drops what waits; how many events.
    pub(super) fn abandon(&mut self) -> u64 {
        let abandoned = self.active_lanes().map(Lane::waiting_count).sum();
        self.lanes.clear();
        self.active.clear();
        abandoned
    }

    fn close_some(&mut self, now: Instant) {
        if self.lanes.len() <= OPEN_MAX {
            return;
        }
        let mut open: Vec<(u64, StreamOwner)> = (self.lanes.iter())
            .filter(|(_, lane)| lane.stream.is_open())
            .map(|(owner, lane)| (lane.last_used, owner.clone()))
            .collect();
        if open.len() <= OPEN_MAX {
            return;
        }
        open.sort();
        open.truncate(open.len() - OPEN_MAX);
        for (_, owner) in open {
            self.close(now, &owner);
        }
    }

    /// Closes every file. What was written is synced.
    pub(super) fn close_all(&mut self, now: Instant) {
        let open = self.lanes.iter().filter(|(_, lane)| lane.stream.is_open());
        for owner in open.map(|(owner, _)| owner.clone()).collect::<Vec<_>>() {
            self.close(now, &owner);
        }
    }

    fn close(&mut self, now: Instant, owner: &StreamOwner) {
        let Some(lane) = self.lanes.get_mut(owner) else { return };
        let mut syncs = lane.stream.take_syncs();
        syncs.extend(lane.stream.begin_sync());
        lane.stream.close();
        // A failure is told as a gap of the stream.
        run_syncs(now, owner, lane, self.syncer.as_mut(), &*self.disk, syncs);
    }

    fn forget_some(&mut self) {
        while self.lanes.len() > REMEMBERED_MAX {
            let idle = self
                .lanes
                .iter()
                .filter(|(owner, lane)| !self.active.contains(*owner) && !lane.stream.is_open());
            let oldest = idle.min_by_key(|(_, lane)| lane.last_used).map(|(owner, _)| owner.clone());
            let Some(oldest) = oldest else { return };
            self.lanes.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.lanes.values().filter(|lane| lane.stream.is_open()).count()
    }
}

/// Runs syncs of a stream, or has them run beside; how many failed by now.
fn run_syncs(
    now: Instant,
    owner: &StreamOwner,
    lane: &mut Lane,
    mut syncer: Option<&mut Syncer>,
    disk: &dyn Disk,
    syncs: Vec<StreamSync>,
) -> u64 {
    let mut errors = 0;
    for sync in syncs {
        let left = match syncer.as_mut() {
            Some(syncer) => syncer.order(owner.clone(), sync),
            None => Err(sync),
        };
        let Err(sync) = left else { continue };
        let result = sync.run(disk);
        errors += u64::from(lane.end_sync(now, &sync, result).is_err());
    }
    errors
}
