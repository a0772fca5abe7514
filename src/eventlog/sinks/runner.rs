//! The thread of one sink: reads, hands over, waits after failures, keeps the cursor.
//!
//! What it deliberately does not do: know what the other side is.
//!
//! What always holds: it sleeps unless there is something to do; nothing waits for it; its failures and gaps are
//! put on record at most once in [`TELL_INTERVAL`], and so is damage, so that events about a sink do not keep it
//! busy.

use super::batch::{EventOrigin, SinkBatch};
use super::cursor::Cursor;
use super::options::SinkOptions;
use super::status::Status;
use super::target::{EventTarget, SinkFault};
use super::unrecorded::Unrecorded;
use crate::eventlog::log::EventLog;
use crate::eventlog::owner::{StreamOwner, owners};
use crate::eventlog::waker::StreamWaker;
use rpc_plugin_record::{Damage, Entry, FILE_NAME, Forward, Place, Position, segments};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::phrase::count;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time until the cursor is written, unless [`SAVE_EVENTS`] were handed over.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Events that are handed over before the cursor is written at once.
const SAVE_EVENTS: u64 = 1000;
/// The first wait before the other side is asked again whether it has read everything; it doubles.
const SETTLE_FIRST: Duration = Duration::from_millis(5);
/// The longest wait before the other side is asked again.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Damaged parts that are remembered as told.
const DAMAGE_TOLD_MAX: usize = 64;
/// How often the record tells of one sink, at most.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// What the thread of a sink shares with others.
pub(super) struct SinkShared {
    pub(super) waker: Arc<StreamWaker>,
    pub(super) status: Arc<Status>,
    pub(super) unrecorded: Unrecorded,
}

pub(super) struct Runner {
    runtime_dir: PathBuf,
    options: SinkOptions,
    target: Box<dyn EventTarget>,
    log: EventLog,
    waker: Arc<StreamWaker>,
    status: Arc<Status>,
    unrecorded: Unrecorded,
    cursor: Cursor,
    batch: SinkBatch,
    /// Events that were handed over, and are not known to be read.
    unread: VecDeque<EventOrigin>,
    settle_at: Option<Instant>,
    settle_wait: Duration,
    retry_at: Option<Instant>,
    retry_wait: Duration,
    save_at: Option<Instant>,
    unsaved: u64,
    told_at: Option<Instant>,
    /// Damage has a time of its own: what is lost by it would else be told, and the damage not.
    damage_told_at: Option<Instant>,
    /// The damage that was told last: after a failure the same is read again.
    damage_told: VecDeque<Damage>,
    is_failure_told: bool,
    lost_untold: u64,
}

impl Runner {
    pub(super) fn new(
        runtime_dir: &Path,
        options: SinkOptions,
        target: Box<dyn EventTarget>,
        log: EventLog,
        shared: SinkShared,
    ) -> Runner {
        let SinkShared { waker, status, unrecorded } = shared;
        Runner {
            runtime_dir: runtime_dir.to_owned(),
            cursor: Cursor::new(runtime_dir, &options.name),
            batch: SinkBatch::new(runtime_dir, &options),
            retry_wait: options.backoff_initial,
            options,
            target,
            log,
            waker,
            status,
            unrecorded,
            unread: VecDeque::new(),
            settle_at: None,
            settle_wait: SETTLE_FIRST,
            retry_at: None,
            save_at: None,
            unsaved: 0,
            told_at: None,
            damage_told_at: None,
            damage_told: VecDeque::new(),
            is_failure_told: false,
            lost_untold: 0,
        }
    }

    pub(super) fn run(mut self) {
        self.begin();
        loop {
            let mut changed = self.waker.take();
            changed.retain(|owner| self.wants(owner));
            if !changed.is_empty() {
                self.status.know(&changed);
                self.batch.wake(changed);
            }
            if let Some(event) = self.unrecorded.take().filter(|_| self.options.host) {
                self.batch.add_unrecorded(event);
            }
            let (now, end_by) = (Instant::now(), self.waker.ends());
            let may_try = self.retry_at.is_none_or(|at| at <= now) && end_by.is_none_or(|by| now < by);
            let mut delivered = false;
            if may_try {
                if let Err(error) = self.batch.fill() {
                    self.fail(format!("the record cannot be read: {error}"));
                }
                if !self.batch.events().is_empty() {
                    delivered = self.deliver(end_by);
                }
            }
            self.settle();
            if self.batch.take_moved() {
                self.save_at = self.save_at.or(Some(Instant::now() + SAVE_INTERVAL));
            }
            self.tell_damage(false);
            self.tell_lost(false);
            if self.unsaved >= SAVE_EVENTS || self.save_at.is_some_and(|at| at <= Instant::now()) {
                self.save();
            }
            let goes_on = delivered || self.retry_at.is_none() && !self.batch.is_empty();
            if goes_on && end_by.is_none_or(|by| now < by) {
                continue;
            }
            if let Some(end_by) = end_by {
                return self.end(end_by);
            }
            self.sleep();
        }
    }

    fn wants(&self, owner: &StreamOwner) -> bool {
        match owner {
            None => self.options.host,
            Some(id) => {
                let is_named = self.options.plugins.as_ref().is_none_or(|plugins| plugins.contains(id));
                is_named && !self.options.except.contains(id)
            }
        }
    }

    /// Finds the streams that are there, and where to go on in each.
    fn begin(&mut self) {
        let before = self.cursor.read();
        let mut streams = owners(&self.runtime_dir);
        streams.retain(|owner| self.wants(owner));
        for owner in streams {
            let folder = Place::of(&self.runtime_dir, owner.as_ref()).path();
            if segments(&folder, FILE_NAME).is_ok_and(|found| found.is_empty()) {
                continue;
            }
            let newest = newest(&folder);
            // Numbers that are smaller than the cursor's belong to a record that was begun anew.
            let after = before.get(&owner).copied().filter(|seq| newest.is_none_or(|newest| *seq <= newest));
            self.batch.begin(&owner, after.unwrap_or_else(|| before_oldest(&folder)));
            self.waker.notify(owner.as_ref(), newest.unwrap_or(0));
        }
        // From here on a gap shows, also to a sink that never took anything.
        self.save();
    }

    /// Hands the batch over; whether that may go on at once.
    fn deliver(&mut self, end_by: Option<Instant>) -> bool {
        let left = end_by.map(|by| by.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(self.options.timeout, |left| left.min(self.options.timeout));
        let count = self.batch.events().len();
        match self.target.deliver(self.batch.events(), timeout) {
            Ok(()) => self.handed_over(count),
            Err(SinkFault { taken, is_refused: true, error, .. }) => {
                self.handed_over(taken + 1);
                let mut state = self.status.state();
                state.shown.refused += 1;
                state.shown.delivered = state.shown.delivered.saturating_sub(1);
                state.shown.last_error = Some(error);
            }
            Err(fault) => {
                self.handed_over(fault.taken);
                self.fault(fault);
                return false;
            }
        }
        self.recovered();
        true
    }

    fn handed_over(&mut self, count: usize) {
        self.unread.extend(self.batch.hand_over(count));
        (self.settle_at, self.settle_wait) = (Some(Instant::now()), SETTLE_FIRST);
    }

    /// Finds out what the other side has read by now, and moves the cursor.
    fn settle(&mut self) {
        let now = Instant::now();
        if self.unread.is_empty() || self.settle_at.is_none_or(|at| at > now) {
            return;
        }
        match self.target.unread() {
            Ok(unread) => self.settle_all_but(unread),
            Err(fault) => return self.fault(fault),
        }
        self.settle_at = (!self.unread.is_empty()).then(|| now + self.settle_wait);
        self.settle_wait = (self.settle_wait * 2).min(SETTLE_MAX);
    }

    fn settle_all_but(&mut self, unread: usize) {
        let count = self.unread.len().saturating_sub(unread);
        if count == 0 {
            return;
        }
        let mut lost = 0;
        for taken in self.unread.drain(..count) {
            self.batch.settle(&taken);
            lost += taken.lost;
        }
        self.lost_untold += lost;
        self.unsaved += count as u64;
        self.save_at = self.save_at.or(Some(Instant::now() + SAVE_INTERVAL));
        let mut state = self.status.state();
        state.shown.delivered += count as u64;
        state.shown.lost += lost;
        for (owner, seq) in self.batch.taken() {
            if state.taken.get(owner) != Some(&seq) {
                state.taken.insert(owner.clone(), seq);
            }
        }
    }

    fn fault(&mut self, fault: SinkFault) {
        self.settle_all_but(fault.unread);
        self.fail(fault.error);
    }

    fn fail(&mut self, error: String) {
        self.unread.clear();
        self.batch.rewind();
        (self.settle_at, self.retry_at) = (None, Some(Instant::now() + self.retry_wait));
        self.retry_wait = (self.retry_wait * 2).min(self.options.backoff_max);
        {
            let mut state = self.status.state();
            state.shown.is_failing = true;
            state.shown.last_error = Some(error.clone());
        }
        if !self.is_failure_told && self.may_tell(false) {
            self.is_failure_told = true;
            let entry = Entry::new(EventKind::SinkFailed).error(error).message(format!(
                "sink {} takes no events; they are kept as long as the record keeps them",
                self.options.name
            ));
            self.tell(entry, &serde_json::json!({"sink": self.options.name}));
        }
    }

    fn recovered(&mut self) {
        (self.retry_at, self.retry_wait) = (None, self.options.backoff_initial);
        self.status.state().shown.is_failing = false;
        if std::mem::take(&mut self.is_failure_told) {
            let message = format!("sink {} takes events again", self.options.name);
            let entry = Entry::new(EventKind::SinkRecovered).message(message);
            self.tell(entry, &serde_json::json!({"sink": self.options.name}));
        }
    }

    fn tell_lost(&mut self, last: bool) {
        if self.lost_untold == 0 || !self.may_tell(last) {
            return;
        }
        let (lost, name) = (std::mem::take(&mut self.lost_untold), &self.options.name);
        let message = format!(
            "{} could no longer be read from the record when sink {name} came to it",
            count(lost, "event")
        );
        let entry = Entry::new(EventKind::SinkGap).message(message);
        let details = serde_json::json!({"sink": name, "events_lost": lost});
        self.tell(entry, &details);
    }

    fn tell_damage(&mut self, last: bool) {
        if !self.batch.has_damage() || !last && !is_due(self.damage_told_at) {
            return;
        }
        let mut found = self.batch.take_damage();
        found.retain(|damage| !self.damage_told.contains(damage));
        if found.is_empty() {
            return;
        }
        self.damage_told_at = Some(Instant::now());
        let damage: Vec<String> = found.iter().map(ToString::to_string).collect();
        self.damage_told.extend(found);
        let too_many = self.damage_told.len().saturating_sub(DAMAGE_TOLD_MAX);
        self.damage_told.drain(..too_many);
        let entry = Entry::new(EventKind::HostFault)
            .message("a packed file of the record is damaged; the events in the damaged part are lost")
            .error(damage.join("; "));
        self.put(entry, &serde_json::json!({"sink": self.options.name, "damaged": damage.len()}));
    }

    fn may_tell(&self, last: bool) -> bool {
        last || is_due(self.told_at)
    }

    fn tell(&mut self, entry: Entry, details: &serde_json::Value) {
        self.told_at = Some(Instant::now());
        self.put(entry, details);
    }

    fn put(&self, entry: Entry, details: &serde_json::Value) {
        // It never waits; a full queue counts it as dropped.
        let _ = self.log.record(entry.details_of(details));
    }

    fn save(&mut self) {
        (self.unsaved, self.save_at) = (0, None);
        if let Err(error) = self.cursor.write(self.batch.taken()) {
            let path = self.cursor.path();
            let error = format!("{} cannot be written: {error}", path.display());
            self.status.state().shown.last_error = Some(error);
            self.save_at = Some(Instant::now() + TELL_INTERVAL);
        }
        let mut state = self.status.state();
        state.taken = self.batch.taken().map(|(owner, seq)| (owner.clone(), seq)).collect();
    }

    fn sleep(&mut self) {
        let retry_at = self.retry_at.filter(|_| !self.batch.is_empty());
        let tell_at = self.told_at.filter(|_| self.lost_untold > 0).map(|at| at + TELL_INTERVAL);
        let damage_at = self.damage_told_at.filter(|_| self.batch.has_damage()).map(|at| at + TELL_INTERVAL);
        let until = [retry_at, tell_at, damage_at, self.settle_at, self.save_at].into_iter().flatten().min();
        match self.waker.sleep(until, &self.target.watched()) {
            Ok(false) => {}
            // Poll fails only where memory does; then the next round is not a busy one.
            Err(error) => self.fail(format!("waiting failed: {error}")),
            Ok(true) => {
                if let Err(fault) = self.target.tend() {
                    self.fault(fault);
                }
            }
        }
    }

    fn end(mut self, end_by: Instant) {
        if !self.unread.is_empty() || self.retry_at.is_none() {
            let unread = self.target.finish(end_by);
            self.settle_all_but(unread);
        }
        self.tell_damage(true);
        self.tell_lost(true);
        self.save();
    }
}

/// Whether what was told then may be told again.
fn is_due(told_at: Option<Instant>) -> bool {
    told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL)
}

/// The number of a stream's last line.
fn newest(folder: &Path) -> Option<u64> {
    let end = Forward::new(folder, FILE_NAME, Position::End).ok()?;
    Some(end.last_seq()).filter(|seq| *seq > 0)
}

/// The number before the oldest line that is there.
fn before_oldest(folder: &Path) -> u64 {
    let Ok(mut lines) = Forward::new(folder, FILE_NAME, Position::Oldest) else { return 0 };
    while let Ok(Some(line)) = lines.next_line() {
        if let Some(seq) = line.seq {
            return seq.saturating_sub(1);
        }
    }
    0
}
