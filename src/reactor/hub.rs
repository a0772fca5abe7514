//! Poller, supervisor and recorder: what each owner of the event loop works with.
//!
//! What always holds: the time is read here and nowhere else in the loop.

use super::closers::Closers;
use super::poller::{Poller, Source};
use super::recorder::Recorder;
use super::watchdog::RunningWatchdog;
use crate::state::action::{Action, Note};
use crate::state::keys::PluginKey;
use crate::state::shortage::Shortage;
use crate::state::standstill::{DueTimers, LATE_MAX, RunningTime, Suspends};
use crate::state::supervisor::Supervisor;
use crate::state::time::{Time, millis, rounded};
use crate::sys::clock::boottime;
use rpc_plugin_interface::context::StoodStill;
use rpc_plugin_wire::event::EventKind;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Connections accepted from one listener in a turn.
pub(super) const ACCEPTS_PER_TURN: usize = 16;

/// The parts of an event loop that every owner uses.
pub(super) struct Hub {
    pub(super) poller: Poller,
    pub(super) supervisor: Supervisor,
    pub(super) recorder: Recorder,
    pub(super) watchdog: RunningWatchdog,
    pub(super) closers: Closers,
    origin: Instant,
    clock: RunningTime,
    /// All that was left out, for what is served on other threads.
    pub(super) stood_still: StoodStill,
    due_timers: DueTimers,
    suspends: Suspends,
    suspends_looked_at: Time,
    /// Listeners whose connections could not be accepted, and when that is tried again.
    accept_later: BTreeSet<u64>,
    accepting: Shortage,
    accept_error: Option<String>,
    /// Sources of plugins that are left unread. At most three a plugin.
    paused: BTreeMap<u64, PausedSource>,
}

/// A source that is left unread for a while.
#[derive(Debug, Clone, Copy)]
struct PausedSource {
    fd: RawFd,
    /// Whether it is watched for room to write.
    is_written: bool,
    until: Time,
}

impl Hub {
    pub(super) fn new(
        poller: Poller,
        recorder: Recorder,
        watchdog: RunningWatchdog,
        starting_max: usize,
        closers: Closers,
    ) -> Hub {
        let mut supervisor = Supervisor::new(fastrand::u64(..));
        supervisor.set_starting_max(starting_max);
        Hub {
            poller,
            supervisor,
            recorder,
            watchdog,
            closers,
            origin: Instant::now(),
            clock: RunningTime::default(),
            stood_still: StoodStill::default(),
            due_timers: DueTimers::default(),
            suspends: Suspends::default(),
            suspends_looked_at: Time::ZERO,
            accept_later: BTreeSet::new(),
            accepting: Shortage::default(),
            accept_error: None,
            paused: BTreeMap::new(),
        }
    }

    /// The time since the loop was made, less what the host stood still, which is put on record here.
    pub(super) fn now(&mut self) -> Time {
        let (now, stood_still) = self.clock.read(self.origin.elapsed());
        if let Some(length) = stood_still {
            self.stood_still.add(self.clock.left_out().saturating_sub(self.stood_still.total()));
            let text = format!(
                "the host stood still for {:?} (stopped, frozen or starved); every timer is that much later",
                rounded(length)
            );
            self.note_standstill(text, length, false);
        }
        now
    }

    /// The time when it was read last.
    pub(super) fn latest(&self) -> Time {
        self.clock.latest()
    }

    /// Waits for events from now on, at most so long; see [`Poller::wait`].
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.clock.sleeps(timeout);
        self.poller.wait(timeout)
    }

    /// Judges the timers that were due when sources were asked for, unless these have not been read to their end.
    pub(super) fn handle_time(&mut self, asked_at: Time) {
        let is_all_read = self.poller.is_drained();
        if self.due_timers.may_be_judged(asked_at, is_all_read, self.supervisor.next_at()) {
            self.supervisor.handle_time(asked_at);
        }
        if asked_at.since(self.suspends_looked_at) >= LATE_MAX {
            self.suspends_looked_at = asked_at;
            let suspended = boottime().and_then(|boot| self.suspends.look(self.origin.elapsed(), boot));
            if let Some(length) = suspended {
                let text = format!("the machine was suspended for {:?}; no timer went on", rounded(length));
                self.note_standstill(text, length, true);
            }
        }
    }

    fn note_standstill(&mut self, text: String, length: Duration, suspended: bool) {
        let details = serde_json::json!({"length_ms": millis(length), "suspended": suspended});
        self.recorder.record(Note::new(EventKind::HostStoodStill, text).details(details));
    }

    /// Puts on record that the environment failed. The host goes on.
    pub(super) fn fault(&mut self, what: &str, error: &io::Error) {
        self.recorder.record(Note::new(EventKind::HostFault, what).error(error.to_string()));
    }

    /// Puts a step of a call, or what happened, on the records that it belongs to.
    pub(super) fn put_on_record(&mut self, now: Time, action: Action) {
        match action {
            Action::Called(mut record) => {
                let is_placed = self.supervisor.place_call(now, &mut record);
                if is_placed {
                    self.recorder.called(*record);
                }
            }
            Action::Note(note) if self.supervisor.place_note(now, &note) => self.recorder.record(*note),
            _ => {}
        }
    }

    /// Says whether to tell when a socket takes bytes again.
    pub(super) fn watch_writing(&mut self, fd: RawFd, source: u64, writing: bool) {
        let paused = self.paused.get_mut(&source);
        let is_read = paused.map(|paused| paused.is_written = writing).is_none();
        if let Err(error) = self.poller.watch(fd, source, is_read, writing) {
            self.fault("a connection cannot be watched any more", &error);
        }
    }

    /// Leaves a source of a plugin unread until then, because of what it brought: it fills, and costs nothing more.
    /// `tells`: that is put on record.
    pub(super) fn pause(
        &mut self,
        (fd, source, is_written): (RawFd, u64, bool),
        until: Time,
        tells: Option<(PluginKey, &str)>,
    ) {
        self.paused.insert(source, PausedSource { fd, is_written, until });
        if let Err(error) = self.poller.watch(fd, source, false, is_written) {
            self.fault("a connection or pipe cannot be left unread", &error);
        }
        let Some((key, name)) = tells else { return };
        let Some(plugin) = self.supervisor.plugin(key) else { return };
        let text = format!(
            "so much comes over its {name} that nobody asked for that it is read a part of the time only"
        );
        let mut note = Note::new(EventKind::ReadingPaused, text).details(serde_json::json!({"source": name}));
        (note.plugin_id, note.generation, note.pid) =
            (Some(plugin.id().clone()), plugin.generation(), plugin.pid());
        self.recorder.record(note);
    }

    /// Whether a source is not to be read now.
    pub(super) fn is_paused(&self, source: u64) -> bool {
        self.paused.contains_key(&source)
    }

    /// Notes that a connection could not be accepted, for want of descriptors or memory most likely. It waits in the
    /// kernel, and no further edge tells of it.
    pub(super) fn accept_failed(&mut self, now: Time, source: Option<u64>, whose: &str, error: &io::Error) {
        if let Some(Source::Listener(key, generation)) = source.and_then(|source| self.poller.source(source))
        {
            self.supervisor
                .with_plugin(now, key, |plugin, step| plugin.handle_accept_shortage(step, generation));
        }
        self.accept_later.extend(source);
        if self.accepting.failed(now) {
            let text = format!("{whose} could not be accepted, and is tried again; raise `ulimit -n`");
            self.accept_error = Some(format!("{text}: {error}"));
            self.recorder.record(Note::new(EventKind::HostShortage, text).error(error.to_string()));
        }
    }

    /// What the host itself lacks now, with what to do.
    pub(super) fn shortages(&self) -> Vec<String> {
        self.accept_error.iter().cloned().chain(self.recorder.log().trouble()).collect()
    }

    /// Notes that a connection was accepted, or could have been.
    pub(super) fn accepted(&mut self) {
        if self.accept_later.is_empty() && self.accepting.passed() {
            self.accept_error = None;
            self.recorder.record(Note::new(EventKind::HostShortageOver, "connections are accepted again"));
        }
    }

    /// When sources are to be looked at again: listeners whose connections could not be accepted, and what was left unread.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.paused.values().map(|paused| paused.until).chain(self.accepting.next_at()).min()
    }

    /// The sources that are to be looked at again now.
    pub(super) fn take_due(&mut self, now: Time) -> BTreeSet<u64> {
        let is_due = self.accepting.is_due(now);
        let mut due = if is_due { std::mem::take(&mut self.accept_later) } else { BTreeSet::new() };
        let mut over = Vec::new();
        self.paused.retain(|source, paused| {
            let is_over = paused.until <= now;
            over.extend(is_over.then_some((*source, *paused)));
            !is_over
        });
        for (source, PausedSource { fd, is_written, .. }) in over {
            // One that was closed meanwhile is another's descriptor by now.
            if self.poller.source(source).is_none() {
                continue;
            }
            if let Err(error) = self.poller.watch(fd, source, true, is_written) {
                self.fault("a connection or pipe cannot be watched any more", &error);
            }
            due.insert(source);
        }
        due
    }
}
